//! The arrows of the state machine, and looking things up.

use chiton_api::{
    http::{Denials, Reason, State},
    name::{SandboxId, looks_like_id},
};
use jiff::Timestamp;
use sqlx::{AssertSqlSafe, SqliteConnection};

use crate::{
    Ended, NewSandbox, Record, Store, StoreError,
    record::{SELECT, to_json},
};

impl Store {
    /// *(none) → creating.* Revision 1 is stored after it, pending; a start that is cut short in between is
    /// undone like any other, so the two need no transaction, which would double the time that they take.
    ///
    /// # Errors
    /// The name is in use, or SQLite failed.
    pub async fn create(&self, new: NewSandbox) -> Result<Record, StoreError> {
        let inserted = sqlx::query(
            "INSERT INTO sandboxes (id, name, state, driver, spec, policy, revision, remove, created) \
             VALUES (?1, ?2, 'creating', ?3, ?4, ?5, 1, ?6, ?7); \
             INSERT INTO revisions (sandbox, revision, policy, digest, created, push) \
             VALUES (?1, 1, ?5, ?8, ?7, 'pending')",
        )
        .bind(new.id.as_str())
        .bind(new.name.as_str())
        .bind(new.driver.as_str())
        .bind(to_json(&new.spec)?)
        .bind(&new.policy)
        .bind(new.remove)
        .bind(new.created.as_microsecond())
        .bind(&new.digest)
        .execute(&mut *self.connection().await)
        .await;
        match inserted {
            Err(sqlx::Error::Database(error)) if error.is_unique_violation() => {
                Err(StoreError::NameInUse(new.name))
            }
            Err(error) => Err(error.into()),
            Ok(_) => Ok(new.into()),
        }
    }

    /// *creating → running.* The revision that it was made with is enforced; where that word is lost, the next
    /// gateway asks the proxy.
    ///
    /// # Errors
    /// It is not being created, or SQLite failed.
    pub async fn started(&self, id: &SandboxId, at: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.connection().await;
        let changed = sqlx::query(
            "UPDATE sandboxes SET state = 'running', started = ?1, ended = NULL, exit_code = NULL, reason = NULL, \
             denials = '{}' WHERE id = ?2 AND state = 'creating'; \
             UPDATE revisions SET push = 'enforced' WHERE changes() > 0 AND sandbox = ?2 AND \
             revision = (SELECT revision FROM sandboxes WHERE id = ?2)",
        )
        .bind(at.as_microsecond())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?
        .rows_affected();
        must_change(&mut connection, id, changed).await
    }

    /// *running → stopping.*
    ///
    /// # Errors
    /// It does not run, or SQLite failed.
    pub async fn stopping(&self, id: &SandboxId) -> Result<(), StoreError> {
        self.plain(id, "UPDATE sandboxes SET state = 'stopping' WHERE id = ? AND state = 'running'").await
    }

    /// *running, stopping → stopped*, with how it ended and what it was refused.
    ///
    /// # Errors
    /// It does not run, or SQLite failed.
    pub async fn stopped(&self, id: &SandboxId, ended: &Ended, denials: &Denials) -> Result<(), StoreError> {
        let mut connection = self.connection().await;
        let changed = sqlx::query(
            "UPDATE sandboxes SET state = 'stopped', exit_code = ?, reason = ?, ended = ?, denials = ? \
             WHERE id = ? AND state IN ('running', 'stopping')",
        )
        .bind(ended.code)
        .bind(ended.reason.as_ref().map(|reason| &reason.0))
        .bind(ended.at.as_microsecond())
        .bind(to_json(denials)?)
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?
        .rows_affected();
        must_change(&mut connection, id, changed).await
    }

    /// *creating, running, stopping → failed*, with the reason.
    ///
    /// # Errors
    /// It had ended, or SQLite failed.
    pub async fn failed(&self, id: &SandboxId, reason: &Reason, at: Timestamp) -> Result<(), StoreError> {
        let mut connection = self.connection().await;
        let changed = sqlx::query(
            "UPDATE sandboxes SET state = 'failed', reason = ?, ended = ? \
             WHERE id = ? AND state IN ('creating', 'running', 'stopping')",
        )
        .bind(&reason.0)
        .bind(at.as_microsecond())
        .bind(id.as_str())
        .execute(&mut *connection)
        .await?
        .rows_affected();
        must_change(&mut connection, id, changed).await
    }

    /// *stopped, failed → creating*: it is made again from its record.
    ///
    /// # Errors
    /// It has not ended, or SQLite failed.
    pub async fn restart(&self, id: &SandboxId) -> Result<(), StoreError> {
        self.plain(
            id,
            "UPDATE sandboxes SET state = 'creating' WHERE id = ? AND state IN ('stopped', 'failed')",
        )
        .await
    }

    /// *stopped, failed → removed.* The name is free again; its record stays. What its variables were is
    /// forgotten.
    ///
    /// # Errors
    /// It has not ended, or SQLite failed.
    pub async fn removed(&self, id: &SandboxId) -> Result<(), StoreError> {
        let statement = "UPDATE sandboxes SET state = 'removed', spec = json_set(spec, '$.env', json('{}')) \
             WHERE id = ? AND state IN ('stopped', 'failed')";
        self.plain(id, statement).await
    }

    /// The sandbox with this identity, or the one with this name that is not removed.
    ///
    /// # Errors
    /// There is none, or SQLite failed.
    pub async fn find(&self, text: &str) -> Result<Record, StoreError> {
        let condition = if looks_like_id(text) { "s.id = ?" } else { "s.name = ? AND s.state <> 'removed'" };
        let found = self.select(condition, Some(text)).await?;
        found.into_iter().next().ok_or_else(|| StoreError::NotFound(text.to_owned()))
    }

    /// As [`Store::find`], and where no sandbox has the name now, the last one that had it.
    ///
    /// # Errors
    /// There never was one, or SQLite failed.
    pub async fn find_also_removed(&self, text: &str) -> Result<Record, StoreError> {
        let condition = if looks_like_id(text) { "s.id = ?" } else { "s.name = ?" };
        let found = self.select(condition, Some(text)).await?;
        let now = found.iter().find(|record| record.state != State::Removed).cloned();
        now.or_else(|| found.into_iter().next()).ok_or_else(|| StoreError::NotFound(text.to_owned()))
    }

    /// Every sandbox that is not removed, newest first.
    ///
    /// # Errors
    /// SQLite failed.
    pub async fn list(&self) -> Result<Vec<Record>, StoreError> {
        self.select("s.state <> 'removed'", None).await
    }

    async fn select(
        &self,
        condition: &'static str,
        argument: Option<&str>,
    ) -> Result<Vec<Record>, StoreError> {
        let statement =
            AssertSqlSafe(format!("{SELECT} WHERE {condition} ORDER BY s.created DESC, s.id DESC"));
        let mut query = sqlx::query(statement);
        if let Some(argument) = argument {
            query = query.bind(argument.to_owned());
        }
        let rows = query.fetch_all(&mut *self.connection().await).await?;
        rows.iter().map(Record::from_row).collect()
    }

    /// An arrow that changes nothing besides.
    async fn plain(&self, id: &SandboxId, statement: &'static str) -> Result<(), StoreError> {
        let mut connection = self.connection().await;
        let done = sqlx::query(statement).bind(id.as_str()).execute(&mut *connection).await?;
        must_change(&mut connection, id, done.rows_affected()).await
    }
}

/// An arrow that changed no row did not start where the sandbox stands.
async fn must_change(
    connection: &mut SqliteConnection,
    id: &SandboxId,
    changed: u64,
) -> Result<(), StoreError> {
    if changed > 0 {
        return Ok(());
    }
    let statement = AssertSqlSafe(format!("{SELECT} WHERE s.id = ?"));
    let row = sqlx::query(statement).bind(id.as_str().to_owned()).fetch_optional(connection).await?;
    let row = row.ok_or_else(|| StoreError::NotFound(id.to_string()))?;
    let record = Record::from_row(&row)?;
    Err(StoreError::WrongState { name: record.name, state: record.state })
}
