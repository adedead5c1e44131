//! A sandbox as it is stored.

use std::{collections::BTreeMap, path::PathBuf};

use chiton_api::{
    http::{Denials, Reason, State},
    name::{DriverName, SandboxId, SandboxName},
};
use jiff::Timestamp;
use serde::{Deserialize, Serialize, de::DeserializeOwned};
use sqlx::{Row, sqlite::SqliteRow};

use crate::StoreError;

/// What a sandbox is made of besides its policy; enough to make it again.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Spec {
    /// The host folder that is `/workspace` inside, canonical.
    pub workspace: PathBuf,
    /// The image whose files are its system.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub image: Option<String>,
    /// The caller's home.
    pub home: PathBuf,
    /// The policy file in use.
    pub policy_file: Option<PathBuf>,
    /// The program and its arguments.
    pub argv: Vec<String>,
    /// Variables given by the caller, with their values.
    pub env: BTreeMap<String, String>,
    /// Paths of `-r`, canonical.
    pub extra_read_only: Vec<PathBuf>,
}

/// A sandbox to be.
#[derive(Clone, Debug)]
pub struct NewSandbox {
    /// Its identity.
    pub id: SandboxId,
    /// Its name.
    pub name: SandboxName,
    /// What runs it.
    pub driver: DriverName,
    /// What it is made of.
    pub spec: Spec,
    /// The document whose static half holds for its life, and whose dynamic half is revision 1.
    pub policy: String,
    /// The digest of that document.
    pub digest: String,
    /// Remove it when it has ended.
    pub remove: bool,
    /// When it was asked for.
    pub created: Timestamp,
}

/// How a program ended.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Ended {
    /// Its status.
    pub code: u8,
    /// Which limit ended it, where one did.
    pub reason: Option<Reason>,
    /// When.
    pub at: Timestamp,
}

/// A sandbox as it stands.
#[derive(Clone, Debug, PartialEq)]
pub struct Record {
    /// Its identity.
    pub id: SandboxId,
    /// Its name.
    pub name: SandboxName,
    /// Where it stands.
    pub state: State,
    /// What runs it.
    pub driver: DriverName,
    /// What it is made of.
    pub spec: Spec,
    /// The document whose static half holds.
    pub policy: String,
    /// The revision in force.
    pub revision: u64,
    /// That revision's digest.
    pub digest: String,
    /// Remove it when it has ended.
    pub remove: bool,
    /// When it was asked for.
    pub created: Timestamp,
    /// When its program last started.
    pub started: Option<Timestamp>,
    /// When it last ended.
    pub ended: Option<Timestamp>,
    /// How its program last ended.
    pub exit_code: Option<u8>,
    /// Why it failed, or which limit it ran into.
    pub reason: Option<Reason>,
    /// What was refused in its last run, once that has ended.
    pub denials: Denials,
}

impl From<NewSandbox> for Record {
    fn from(new: NewSandbox) -> Self {
        let NewSandbox { id, name, driver, spec, policy, digest, remove, created } = new;
        Self {
            id,
            name,
            state: State::Creating,
            driver,
            spec,
            policy,
            revision: 1,
            digest,
            remove,
            created,
            started: None,
            ended: None,
            exit_code: None,
            reason: None,
            denials: Denials::default(),
        }
    }
}

/// The columns of a [`Record`], with the digest of the revision in force.
pub(crate) const SELECT: &str = "SELECT s.*, (SELECT digest FROM revisions r WHERE r.sandbox = s.id AND \
     r.revision = s.revision) AS digest FROM sandboxes s";

impl Record {
    pub(crate) fn from_row(row: &SqliteRow) -> Result<Self, StoreError> {
        let text = |column: &str| row.try_get::<String, _>(column);
        Ok(Self {
            id: SandboxId::try_from(text("id")?).map_err(foreign)?,
            name: SandboxName::try_from(text("name")?).map_err(foreign)?,
            state: from_word(text("state")?)?,
            driver: text("driver")?.parse().map_err(foreign)?,
            spec: from_json(&text("spec")?)?,
            policy: text("policy")?,
            revision: number(row, "revision")?,
            digest: row.try_get::<Option<String>, _>("digest")?.unwrap_or_default(),
            remove: row.try_get("remove")?,
            created: time(row.try_get("created")?)?,
            started: row.try_get::<Option<i64>, _>("started")?.map(time).transpose()?,
            ended: row.try_get::<Option<i64>, _>("ended")?.map(time).transpose()?,
            exit_code: row.try_get::<Option<i64>, _>("exit_code")?.and_then(|code| u8::try_from(code).ok()),
            reason: row.try_get::<Option<String>, _>("reason")?.map(Reason),
            denials: from_json(&text("denials")?)?,
        })
    }
}

pub(crate) fn foreign(error: impl std::fmt::Display) -> StoreError {
    StoreError::Foreign(error.to_string())
}

pub(crate) fn time(micros: i64) -> Result<Timestamp, StoreError> {
    Timestamp::from_microsecond(micros).map_err(foreign)
}

pub(crate) fn number(row: &SqliteRow, column: &str) -> Result<u64, StoreError> {
    u64::try_from(row.try_get::<i64, _>(column)?).map_err(foreign)
}

/// A number as SQLite keeps it; ours never come near the bound.
pub(crate) fn signed(number: u64) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}

pub(crate) fn from_json<T: DeserializeOwned>(text: &str) -> Result<T, StoreError> {
    serde_json::from_str(text).map_err(foreign)
}

pub(crate) fn to_json<T: Serialize>(value: &T) -> Result<String, StoreError> {
    serde_json::to_string(value).map_err(foreign)
}

/// A closed set's value from the word that stands for it on the wire.
pub(crate) fn from_word<T: DeserializeOwned>(word: String) -> Result<T, StoreError> {
    serde_json::from_value(serde_json::Value::String(word)).map_err(foreign)
}
