//! Revisions of a sandbox's policy. One is stored, pending, before it is pushed to the proxy.

use std::path::Path;

use chiton_api::{http::Push, name::SandboxId};
use jiff::Timestamp;
use sqlx::Row;

use crate::{
    Store, StoreError,
    open::whole,
    record::{from_word, number, signed, time, to_json},
};

/// A revision as it is stored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Revision {
    /// Its number, from 1.
    pub revision: u64,
    /// The document; only its dynamic half counts.
    pub policy: String,
    /// The document's digest.
    pub digest: String,
    /// When it was asked for.
    pub created: Timestamp,
    /// What became of it.
    pub push: Push,
}

impl Store {
    /// Stores the next revision, pending, and says its number: greater than every one before, also than
    /// those that failed.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn add_revision(
        &self,
        id: &SandboxId,
        policy: &str,
        digest: &str,
        at: Timestamp,
    ) -> Result<u64, StoreError> {
        // All of its rows are asked for: what is not stepped to its end does not say that it was not committed.
        let rows = sqlx::query(
            "INSERT INTO revisions (sandbox, revision, policy, digest, created, push) \
             SELECT ?1, 1 + max(revision), ?2, ?3, ?4, 'pending' FROM revisions WHERE sandbox = ?1 RETURNING revision",
        )
        .bind(id.as_str())
        .bind(policy)
        .bind(digest)
        .bind(at.as_microsecond())
        .fetch_all(&mut *self.connection().await)
        .await?;
        number(rows.first().ok_or(sqlx::Error::RowNotFound)?, "revision")
    }

    /// The proxy enforces it: it is the sandbox's revision from now on.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn enforced(&self, id: &SandboxId, revision: u64) -> Result<(), StoreError> {
        let statements = sqlx::query(
            "BEGIN IMMEDIATE; \
             UPDATE revisions SET push = 'enforced' WHERE sandbox = ?1 AND revision = ?2; \
             UPDATE sandboxes SET revision = ?2 WHERE id = ?1; \
             COMMIT",
        )
        .bind(id.as_str())
        .bind(signed(revision));
        whole(&mut *self.connection().await, statements).await?;
        Ok(())
    }

    /// The proxy refused it or did not answer; the one before stays.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn push_failed(&self, id: &SandboxId, revision: u64) -> Result<(), StoreError> {
        sqlx::query("UPDATE revisions SET push = 'failed' WHERE sandbox = ? AND revision = ?")
            .bind(id.as_str())
            .bind(signed(revision))
            .execute(&mut *self.connection().await)
            .await?;
        Ok(())
    }

    /// A sandbox that has ended gets another document, static half and all, from this file; the next start
    /// enforces it.
    ///
    /// # Errors
    /// Those of SQLite; a path that is no text.
    pub async fn replace_policy(
        &self,
        id: &SandboxId,
        revision: u64,
        file: Option<&Path>,
    ) -> Result<(), StoreError> {
        sqlx::query(
            "UPDATE sandboxes SET revision = ?2, policy = (SELECT policy FROM revisions \
             WHERE sandbox = ?1 AND revision = ?2), spec = json_set(spec, '$.policy_file', json(?3)) \
             WHERE id = ?1 AND state IN ('stopped', 'failed')",
        )
        .bind(id.as_str())
        .bind(signed(revision))
        .bind(to_json(&file)?)
        .execute(&mut *self.connection().await)
        .await?;
        Ok(())
    }

    /// Every revision of a sandbox, oldest first.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn revisions(&self, id: &SandboxId) -> Result<Vec<Revision>, StoreError> {
        let rows = sqlx::query("SELECT * FROM revisions WHERE sandbox = ? ORDER BY revision")
            .bind(id.as_str())
            .fetch_all(&mut *self.connection().await)
            .await?;
        let one = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Revision {
                revision: number(row, "revision")?,
                policy: row.try_get("policy")?,
                digest: row.try_get("digest")?,
                created: time(row.try_get("created")?)?,
                push: from_word(row.try_get("push")?)?,
            })
        };
        rows.iter().map(one).collect()
    }
}
