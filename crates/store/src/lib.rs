//! The gateway's persisted state: sandboxes, revisions of their policies, how far the audit log is chained.
//!
//! One SQLite database (mode 0600) with one writer, the gateway. A sandbox is a persisted state machine; each
//! arrow is a method of [`Store`], and one that does not start where the sandbox stands is refused, so that
//! of two callers who want the same thing only one gets it. The intent is written before the deed:
//!
//! ```text
//!            create              started              stopping
//!   (none) ────────▶ creating ───────────▶ running ────────────▶ stopping
//!                     ▲   │ failed          │  │ failed            │  │ failed
//!            restart  │   ▼                 │  ▼                   │  ▼
//!   stopped ──────────┴─ failed ◀───────────┼──┴───────────────────┼──┘
//!      ▲ │                 │ removed        │ stopped              │ stopped
//!      │ │ removed         ▼                │                      │
//!      │ └────────────▶ removed             │                      │
//!      └────────────────────────────────────┴──────────────────────┘
//! ```
//!
//! Journal in WAL mode with `synchronous = NORMAL`: a commit survives the death of any process, and after a
//! loss of power the database is as it was at some earlier commit, never broken; what runs then is gone too.

mod audit;
mod error;
mod open;
mod record;
mod revision;
mod sandbox;

pub use audit::{Checkpoint, Source, SourceKind};
pub use error::StoreError;
pub use open::Store;
pub use record::{Ended, NewSandbox, Record, Spec};
pub use revision::Revision;

#[cfg(test)]
mod tests;
