//! Patterns over hosts, request paths, texts and files: the one place where each comparison is written.

mod binary;
mod file;
mod host;
mod path;
mod text;

pub use binary::{BinaryPattern, BinaryPatternError};
pub use file::{FileGlob, FileGlobError};
pub use host::{HostPattern, HostPatternError};
pub use path::{PathPattern, PathPatternError};
pub use text::TextGlob;

pub(crate) use host::HostShape;
pub(crate) use path::loose_segment;
