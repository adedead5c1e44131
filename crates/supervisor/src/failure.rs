//! Making the one line that a person reads.

use std::io;

use chiton_api::control::Failure;

/// A failure of our own: what was being done, and what the system said.
pub(crate) fn ours(doing: &str, error: &io::Error) -> Failure {
    status(125, format!("{doing}: {error}"))
}

/// A request that is not possible now.
pub(crate) fn refused(why: &str) -> Failure {
    status(125, why.to_owned())
}

/// A failure with a status of its own.
pub(crate) fn status(status: u8, message: String) -> Failure {
    Failure { message, status }
}
