//! Giving a sandbox its proxy.

use std::{
    io,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
};

use chiton_api::control::{ProxyConfig, ProxyReply, ProxyRequest};
use tokio::net::UnixStream;

use crate::{
    folder::{Folder, PROXY},
    spare::{Role, Spare},
    wire,
};

/// Why a proxy does not enforce.
#[derive(Debug)]
pub(crate) enum AttachError {
    /// It could not be started or reached.
    Io(&'static str, io::Error),
    /// It refused.
    Refused(chiton_api::control::Failure),
}

/// Has a spare enforce for this sandbox. One that does not is killed.
pub(crate) async fn attach(
    spare: Spare,
    sandbox: &Folder,
    config: ProxyConfig,
    descriptors: &[OwnedFd],
) -> Result<(), AttachError> {
    let taken = spare
        .move_to(sandbox, Role::Proxy)
        .map_err(|e| AttachError::Io("cannot give the proxy its socket", e))?;
    let enforcing = configure(sandbox, config, descriptors).await;
    if enforcing.is_err() {
        let _ = taken.held.kill();
    }
    enforcing
}

async fn configure(
    sandbox: &Folder,
    config: ProxyConfig,
    descriptors: &[OwnedFd],
) -> Result<(), AttachError> {
    let reach = |e| AttachError::Io("cannot reach the sandbox's proxy", e);
    let mut link = sandbox.connect(PROXY).await.map_err(reach)?;
    let borrowed: Vec<BorrowedFd<'_>> = descriptors.iter().map(AsFd::as_fd).collect();
    let exchange = exchange(&mut link, config, &borrowed);
    let answer = tokio::time::timeout(wire::PATIENCE, exchange).await;
    match answer.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(reach)? {
        ProxyReply::Enforcing { .. } => Ok(()),
        ProxyReply::Failed(failure) => Err(AttachError::Refused(failure)),
        ProxyReply::Status(_) | ProxyReply::Done => Err(reach(io::ErrorKind::InvalidData.into())),
    }
}

async fn exchange(
    link: &mut UnixStream,
    config: ProxyConfig,
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<ProxyReply> {
    wire::send(link, &ProxyRequest::Configure(Box::new(config)), descriptors).await?;
    Ok(wire::receive(link).await?.0)
}
