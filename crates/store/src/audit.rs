//! How far the audit log is chained: where it ended, and how far each event file had been read by then.

use chiton_api::name::SandboxId;
use serde::{Deserialize, Serialize};
use sqlx::Row;

use crate::{
    Store, StoreError,
    open::whole,
    record::{from_word, number, signed, to_json},
};

/// Which of a sandbox's two event files.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum SourceKind {
    /// `supervisor.events`.
    Supervisor,
    /// `proxy.events`.
    Proxy,
}

impl SourceKind {
    /// As stored.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Supervisor => "supervisor",
            Self::Proxy => "proxy",
        }
    }
}

/// How far one event file was read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Source {
    /// Whose it is.
    pub sandbox: SandboxId,
    /// Which one.
    pub kind: SourceKind,
    /// Bytes that were chained.
    pub position: u64,
}

impl Source {
    /// As SQLite takes many at once: the columns, in their order.
    fn as_row(&self) -> (&str, &'static str, i64) {
        (self.sandbox.as_str(), self.kind.as_str(), signed(self.position))
    }
}

/// A moment of the audit log. What the log holds after `length` may or may not be counted in the sources;
/// the events there tell, by their ids.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checkpoint {
    /// The log's length in bytes.
    pub length: u64,
    /// Its events.
    pub count: u64,
    /// The hash of the last, in hexadecimal; empty for none.
    pub hash: String,
    /// The event files.
    pub sources: Vec<Source>,
}

impl Store {
    /// Keeps a moment, in place of the one before.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn set_checkpoint(&self, checkpoint: &Checkpoint) -> Result<(), StoreError> {
        let sources: Vec<_> = checkpoint.sources.iter().map(|source| source.as_row()).collect();
        let statements = sqlx::query(
            "BEGIN IMMEDIATE; \
             INSERT OR REPLACE INTO audit_log (one, length, count, hash) VALUES (1, ?1, ?2, ?3); \
             DELETE FROM audit_sources; \
             INSERT INTO audit_sources (sandbox, kind, position) \
             SELECT value ->> 0, value ->> 1, value ->> 2 FROM json_each(?4); \
             COMMIT",
        )
        .bind(signed(checkpoint.length))
        .bind(signed(checkpoint.count))
        .bind(&checkpoint.hash)
        .bind(to_json(&sources)?);
        whole(&mut *self.connection().await, statements).await?;
        Ok(())
    }

    /// The last moment that was kept.
    ///
    /// # Errors
    /// Those of SQLite.
    pub async fn checkpoint(&self) -> Result<Checkpoint, StoreError> {
        let mut connection = self.connection().await;
        let Some(log) = sqlx::query("SELECT * FROM audit_log").fetch_optional(&mut *connection).await? else {
            return Ok(Checkpoint::default());
        };
        let rows = sqlx::query("SELECT * FROM audit_sources").fetch_all(&mut *connection).await?;
        let one = |row: &sqlx::sqlite::SqliteRow| {
            Ok(Source {
                sandbox: SandboxId::try_from(row.try_get::<String, _>("sandbox")?)
                    .map_err(crate::record::foreign)?,
                kind: from_word(row.try_get("kind")?)?,
                position: number(row, "position")?,
            })
        };
        Ok(Checkpoint {
            length: number(&log, "length")?,
            count: number(&log, "count")?,
            hash: log.try_get("hash")?,
            sources: rows.iter().map(one).collect::<Result<_, StoreError>>()?,
        })
    }
}
