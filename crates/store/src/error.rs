//! What can go wrong with the store.

use std::path::PathBuf;

use chiton_api::{http::State, name::SandboxName};

/// Why the store could not do what was asked.
#[derive(Debug, thiserror::Error)]
pub enum StoreError {
    /// The file cannot be opened.
    #[error("cannot open the database `{path}`: {source}")]
    Open {
        /// The database.
        path: PathBuf,
        /// What the system or SQLite said.
        source: Box<dyn std::error::Error + Send + Sync>,
    },
    /// It is damaged, or no database.
    #[error(
        "the database `{path}` is damaged ({detail}): move it away to begin anew, sandboxes that run are then ended"
    )]
    Corrupt {
        /// The database.
        path: PathBuf,
        /// What SQLite said.
        detail: String,
    },
    /// A newer chiton wrote it.
    #[error(
        "the database `{path}` is of a newer chiton (its version is {found}, this one knows {known}): use that one"
    )]
    Newer {
        /// The database.
        path: PathBuf,
        /// Its version.
        found: i64,
        /// The newest that we know.
        known: i64,
    },
    /// Another sandbox has the name.
    #[error("the name `{0}` is in use")]
    NameInUse(SandboxName),
    /// There is none.
    #[error("no sandbox `{0}`")]
    NotFound(String),
    /// The arrow does not start where the sandbox stands.
    #[error("sandbox `{name}` is {}", .state.as_str())]
    WrongState {
        /// Its name.
        name: SandboxName,
        /// Where it stands.
        state: State,
    },
    /// A row does not hold what we wrote.
    #[error("the database holds what this chiton did not write: {0}")]
    Foreign(String),
    /// SQLite failed.
    #[error("the database did not take the change: {0}")]
    Database(#[from] sqlx::Error),
}
