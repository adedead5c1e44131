//! Starting a sandbox's supervisor, and asking it.

use std::{io, os::fd::AsFd, os::fd::OwnedFd};

use chiton_api::control::{CreateSandbox, Exit, Identity, Listeners, SupervisorReply, SupervisorRequest};
use chiton_driver::{DriverError, Result, SandboxId, SandboxSpec};
use tokio::net::UnixStream;

use crate::{
    folder::{self, Folder, Record, SUPERVISOR},
    spare::{Role, Spare},
    wire,
};

/// What a created sandbox hands out.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) listeners: Listeners,
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// Makes a spare the sandbox's supervisor, and writes it down. Until it has its papers it does nothing.
pub(crate) fn start(spare: Spare, folder: &Folder, record: &mut Record) -> Result<()> {
    let failed = |doing| move |source| DriverError::Io { doing, source };
    let spec = &record.spec;
    let log = folder::append_to(&spec.log).map_err(failed("cannot open the sandbox's log"))?;
    let events =
        folder::append_to(&spec.supervisor_events).map_err(failed("cannot open the sandbox's event file"))?;
    let exit = folder::write_anew(&spec.exit).map_err(failed("cannot open the sandbox's exit file"))?;
    record.supervisor = Some(spare.id());
    let taken = spare
        .move_to(folder, Role::Supervisor)
        .map_err(failed("cannot give the sandbox's supervisor its socket"))?;
    let given = folder.write_record(record).and_then(|()| {
        let papers = taken.papers.ok_or(io::ErrorKind::NotConnected)?;
        chiton_sys::descriptors::send(papers.as_fd(), b"p", &[log.as_fd(), events.as_fd(), exit.as_fd()])?;
        Ok(())
    });
    given.map_err(|e| {
        let _ = taken.held.kill();
        failed("cannot give the sandbox's supervisor its papers")(e)
    })
}

/// Has it make the namespaces and the captured network.
pub(crate) async fn create(folder: &Folder, spec: &SandboxSpec, host_id: Option<u32>) -> Result<Captured> {
    let identity = host_id.map_or(Identity::Caller, |host_id| Identity::Mapped { host_id });
    let request = SupervisorRequest::Create(CreateSandbox { name: spec.name.clone(), identity });
    captured(ask(folder, &spec.id, &request).await?)
}

/// Has it send the listeners again.
pub(crate) async fn listeners(folder: &Folder, id: &SandboxId) -> Result<Captured> {
    captured(ask(folder, id, &SupervisorRequest::Listeners).await?)
}

fn captured((reply, descriptors): (SupervisorReply, Vec<OwnedFd>)) -> Result<Captured> {
    let SupervisorReply::Created(listeners) = reply else { return Err(unexpected()) };
    let told = [listeners.tcp, listeners.dns_udp, listeners.dns_tcp, listeners.dropped, listeners.owners];
    let told: usize = told.into_iter().map(usize::from).sum();
    if told != descriptors.len() {
        return Err(unexpected());
    }
    Ok(Captured { listeners, descriptors })
}

/// A fresh connection to the supervisor.
pub(crate) async fn connect(folder: &Folder, id: &SandboxId) -> Result<UnixStream> {
    folder.connect(SUPERVISOR).await.map_err(|_| DriverError::NotRunning(id.clone()))
}

/// One request that is answered at once.
pub(crate) async fn ask(
    folder: &Folder,
    id: &SandboxId,
    request: &SupervisorRequest,
) -> Result<(SupervisorReply, Vec<OwnedFd>)> {
    let mut link = connect(folder, id).await?;
    let answer = wire::ask_soon(&mut link, request).await;
    let (reply, descriptors) = answer.map_err(|e| broken(&e, id))?;
    Ok((refusal(reply)?, descriptors))
}

/// A failure that the supervisor told is an error here.
pub(crate) fn refusal(reply: SupervisorReply) -> Result<SupervisorReply> {
    match reply {
        SupervisorReply::Failed(failure) => Err(failure.into()),
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

/// How the main program ended, from the file that outlives the supervisor.
pub(crate) fn written_exit(spec: &SandboxSpec) -> Option<Exit> {
    serde_json::from_slice(&std::fs::read(&spec.exit).ok()?).ok()
}
