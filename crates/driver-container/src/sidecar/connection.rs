//! One connection of the gateway: standard input and output, joined with a socket of the sidecar. Credentials pass
//! through here, and are not kept.

use std::{ffi::OsStr, io, os::fd::AsFd as _, path::Path, time::Duration};

use chiton_driver_host::Folder;
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    net::{UnixStream, unix::pipe},
};
use zeroize::Zeroizing;

use super::{SOCKET, TMP, program};

/// A sidecar that has just started is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
const AGAIN: Duration = Duration::from_millis(10);

pub(super) fn run(socket: &OsStr) -> io::Result<()> {
    chiton_sys::process::set_undumpable()?;
    let name = socket.to_str().ok_or(io::ErrorKind::InvalidInput)?;
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    runtime.block_on(async {
        let link = connect(name).await?;
        // The engine's pipes.
        let input = pipe::Receiver::from_owned_fd(io::stdin().as_fd().try_clone_to_owned()?)?;
        let output = pipe::Sender::from_owned_fd(io::stdout().as_fd().try_clone_to_owned()?)?;
        join(link, input, output).await;
        Ok(())
    })
}

async fn connect(name: &str) -> io::Result<UnixStream> {
    let began = tokio::time::Instant::now();
    loop {
        match Folder::at(Path::new(TMP).join(program::FOLDER)).connect(name) {
            Err(_) if name == SOCKET && began.elapsed() < PATIENCE => tokio::time::sleep(AGAIN).await,
            connected => return connected,
        }
    }
}

/// Until either side has ended: half a connection is none.
pub(super) async fn join(
    mut link: UnixStream,
    input: impl AsyncRead + Unpin,
    output: impl AsyncWrite + Unpin,
) {
    let (from, to) = link.split();
    tokio::select! {
        _ = pass(input, to) => {}
        _ = pass(from, output) => {}
    }
}

/// Passes bytes on as they come, and wipes what held them.
pub(super) async fn pass(
    mut from: impl AsyncRead + Unpin,
    mut to: impl AsyncWrite + Unpin,
) -> io::Result<()> {
    let mut buffer = Zeroizing::new(vec![0; 64 << 10]);
    loop {
        let read = from.read(&mut buffer).await?;
        if read == 0 {
            return to.shutdown().await;
        }
        to.write_all(buffer.get(..read).unwrap_or_default()).await?;
        to.flush().await?;
    }
}
