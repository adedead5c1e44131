//! What a sandbox's supervisor holds, and asking it.

use std::{io, os::fd::OwnedFd, path::Path};

use chiton_api::control::{Exit, Listeners, SupervisorReply, SupervisorRequest};
use chiton_driver::{DriverError, Result, SandboxId, SandboxSpec};
use tokio::net::UnixStream;

use crate::{
    folder::{self, Folder, SUPERVISOR},
    platform::Papers,
    wire,
};

/// What a supervisor says of a failure is no longer: it is kept, and shown.
const LONGEST_FAILURE: usize = 16 << 10;

/// What a created sandbox hands out.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) listeners: Listeners,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Opens what a supervisor holds: a socket in this folder, its log, its events and its exit.
pub(crate) fn papers(folder: &Folder, [log, events, exit]: [&Path; 3]) -> Result<Papers> {
    let failed = |doing| move |source| DriverError::Io { doing, source };
    Ok(Papers {
        listener: folder.listen(SUPERVISOR).map_err(failed("cannot listen in the runtime directory"))?,
        log: folder::append_to(log).map_err(failed("cannot open the sandbox's log"))?,
        events: folder::append_to(events).map_err(failed("cannot open the sandbox's event file"))?,
        exit: folder::write_anew(exit).map_err(failed("cannot open the sandbox's exit file"))?,
    })
}

/// What a supervisor sent. Where it is apart, its descriptors stay there.
pub(crate) fn captured(
    (reply, descriptors): (SupervisorReply, Vec<OwnedFd>),
    apart: bool,
) -> Result<Captured> {
    let SupervisorReply::Created(listeners) = reply else { return Err(unexpected()) };
    let told = [listeners.tcp, listeners.dns_udp, listeners.dns_tcp, listeners.dropped, listeners.owners];
    let told: usize = told.into_iter().map(usize::from).sum();
    if descriptors.len() != if apart { 0 } else { told } {
        return Err(unexpected());
    }
    Ok(Captured { listeners, descriptors })
}

/// One request that is answered at once.
pub(crate) async fn ask(
    mut link: UnixStream,
    id: &SandboxId,
    request: &SupervisorRequest,
) -> Result<(SupervisorReply, Vec<OwnedFd>)> {
    let answer = wire::ask_soon(&mut link, request).await;
    let (reply, descriptors) = answer.map_err(|e| broken(&e, id))?;
    Ok((refusal(reply)?, descriptors))
}

/// A failure that the supervisor told is an error here.
pub(crate) fn refusal(reply: SupervisorReply) -> Result<SupervisorReply> {
    match reply {
        SupervisorReply::Failed(mut failure) => {
            failure.message.truncate(failure.message.floor_char_boundary(LONGEST_FAILURE));
            Err(failure.into())
        }
        reply => Ok(reply),
    }
}

/// What an error on the link means.
pub(crate) fn broken(error: &io::Error, id: &SandboxId) -> DriverError {
    match error.kind() {
        io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe => {
            DriverError::NotRunning(id.clone())
        }
        kind => DriverError::Io { doing: "cannot talk to the sandbox's supervisor", source: kind.into() },
    }
}

/// An answer that does not belong to its request.
pub(crate) fn unexpected() -> DriverError {
    DriverError::Io {
        doing: "the sandbox's supervisor gave an answer that does not belong to the request",
        source: io::ErrorKind::InvalidData.into(),
    }
}

/// How the main program ended, from the file that outlives the supervisor. In a container its first process can write
/// there whatever it likes.
pub(crate) fn written_exit(spec: &SandboxSpec) -> Option<Exit> {
    serde_json::from_slice(&chiton_sys::file::read_short(&spec.exit, Exit::LONGEST).ok()?).ok()
}
