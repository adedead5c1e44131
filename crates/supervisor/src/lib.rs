//! A sandbox's supervisor: confines, launches, reaps, carries terminals. Two processes, one program.
//!
//! The *outer supervisor* is what the driver starts. It enters the sandbox's namespaces except the pid
//! namespace, builds the view, forks *init*, the first process inside, and from then on only judges
//! lookups, where no process of the sandbox can see or signal it. Init launches and reaps, and serves the
//! gateway's connections. Each ends when the other does, and with init every process inside ends.
//! Synchronous, small, and without any secret.

mod confinement;
mod counted;
mod ending;
mod environment;
mod events;
mod failure;
mod hand_over;
mod ids;
mod init;
mod judge;
mod kernel;
mod launch;
mod link;
mod links;
mod log;
mod ordered;
mod outer;
mod owners;
mod partner;
mod poll;
mod program;
mod prologue;
mod report;
mod requests;
mod rules;
mod score;
mod standing;
mod standings;

use std::process::ExitCode;

/// The hidden subcommand `chiton supervisor [SOCKET [ORDERED]]`. For the first lines of the process: it takes the descriptors
/// of [`chiton_api::descriptors`] and forks, so that there may be no thread and no other descriptor yet. With a
/// socket's path, as the first process of a container, it fetches them there; with what was ordered for it (JSON of
/// [`chiton_api::ordered::Ordered`]) it looks at itself first.
#[must_use]
pub fn run() -> ExitCode {
    match outer::run() {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever asked was told over the control link; there is nobody else to tell.
        Err(_) => ExitCode::FAILURE,
    }
}
