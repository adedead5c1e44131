//! A session: frames from one connection to the other.
//!
//! What the program's frames carry is not read. Before the word that the main program has ended is passed on, the
//! sandbox is marked as ending, so that what its user asks next is answered by its record as it will be, and its user is
//! told what was refused.

use std::{io, sync::Arc};

use chiton_api::frame::{MAX_SESSION_PAYLOAD, SessionKind, parse_session_header, session_header};
use chiton_driver::Link;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter};

use crate::{gateway::Gateway, sandbox::Live};

/// So much of the user's is read at once.
const UP: usize = 8 << 10;
/// Of a frame's header.
const HEADER: usize = 5;

/// Whose end a session tells: a sandbox's own program.
pub(super) struct Main {
    pub(super) gateway: Arc<Gateway>,
    pub(super) live: Arc<Live>,
}

/// Copies until the sandbox's side has ended, or the user's is gone.
pub(super) async fn pump<C>(client: C, sandbox: Link, main: Option<Main>)
where
    C: AsyncRead + AsyncWrite,
{
    let (mut from_client, to_client) = tokio::io::split(client);
    let (from_sandbox, mut to_sandbox) = tokio::io::split(sandbox);
    let up = async {
        let mut buffer = vec![0; UP];
        while let Ok(read @ 1..) = from_client.read(&mut buffer).await {
            let bytes = buffer.get(..read).unwrap_or_default();
            if to_sandbox.write_all(bytes).await.is_err() {
                // Its end may still be told.
                std::future::pending::<()>().await;
            }
        }
        // The user is gone. With the connection the supervisor sees that, and hangs up.
    };
    let down = async {
        let mut to_client = BufWriter::with_capacity(HEADER + MAX_SESSION_PAYLOAD, to_client);
        let from_sandbox = BufReader::with_capacity(MAX_SESSION_PAYLOAD, from_sandbox);
        if let Err(error) = pass_on(from_sandbox, &mut to_client, || refusals(main.as_ref())).await {
            tracing::debug!(%error, "a session was cut");
        }
        let _ = to_client.shutdown().await;
    };
    tokio::select! { () = up => {}, () = down => {} }
}

/// Passes the program's frames on, and before its exit what `ended` answers.
async fn pass_on<E: Future<Output = Option<Vec<u8>>>>(
    mut from: BufReader<impl AsyncRead + Unpin>,
    to: &mut (impl AsyncWrite + Unpin),
    ended: impl Fn() -> E,
) -> io::Result<()> {
    let mut payload = Vec::new();
    loop {
        // Nothing that is whole waits for what is not.
        if from.buffer().len() < HEADER {
            to.flush().await?;
        }
        let mut header = [0; HEADER];
        match from.read_exact(&mut header).await {
            Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => return Ok(()),
            read => read?,
        };
        let (kind, length) = parse_session_header(header)?;
        payload.resize(length, 0);
        if from.buffer().len() < length {
            to.flush().await?;
        }
        from.read_exact(&mut payload).await?;
        match kind {
            SessionKind::Stdout | SessionKind::Stderr => {}
            SessionKind::Exit => {
                to.flush().await?;
                if let Some(refusals) = ended().await {
                    to.write_all(&session_header(SessionKind::Refusals, refusals.len())?).await?;
                    to.write_all(&refusals).await?;
                }
            }
            SessionKind::Stdin | SessionKind::Resize | SessionKind::Signal | SessionKind::Refusals => {
                return Err(io::Error::new(io::ErrorKind::InvalidData, "a frame that no program sends"));
            }
        }
        to.write_all(&header).await?;
        to.write_all(&payload).await?;
    }
}

/// What was refused, of a main program that has ended. None where that cannot be told now: it can be asked for.
async fn refusals(main: Option<&Main>) -> Option<Vec<u8>> {
    let Main { gateway, live } = main?;
    live.exiting();
    gateway.chain_of(&live.handle.id).await.ok()?;
    serde_json::to_vec(&gateway.audit.denials(&live.handle.id)?).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn frame(kind: SessionKind, payload: &[u8]) -> Vec<u8> {
        [&session_header(kind, payload.len()).unwrap()[..], payload].concat()
    }

    async fn passed(bytes: &[u8], refusals: Option<&[u8]>) -> (io::Result<()>, Vec<u8>) {
        let mut to = Vec::new();
        let ended = || async { refusals.map(<[u8]>::to_vec) };
        (pass_on(BufReader::with_capacity(7, bytes), &mut to, ended).await, to)
    }

    #[tokio::test]
    async fn refusals_come_before_the_exit_and_nothing_else_is_changed() {
        let fake = frame(SessionKind::Exit, b"{}");
        let output = [frame(SessionKind::Stdout, &fake), frame(SessionKind::Stderr, b"")].concat();
        let exit = frame(SessionKind::Exit, b"{}");
        let (ended, bytes) = passed(&[&output[..], &exit].concat(), Some(b"[]")).await;
        ended.unwrap();
        assert_eq!(bytes, [&output[..], &frame(SessionKind::Refusals, b"[]"), &exit].concat());
        let (ended, bytes) = passed(&[&output[..], &exit].concat(), None).await;
        ended.unwrap();
        assert_eq!(bytes, [&output[..], &exit].concat());
    }

    #[tokio::test]
    async fn what_no_program_sends_ends_the_session() {
        for bytes in [frame(SessionKind::Refusals, b"[]"), frame(SessionKind::Stdin, b"x"), vec![9; 64]] {
            let (ended, passed) = passed(&bytes, None).await;
            assert_eq!((ended.unwrap_err().kind(), passed), (io::ErrorKind::InvalidData, Vec::new()));
        }
    }

    /// The supervisor would keep the terminal of a program open for a user who only seems to be there.
    #[tokio::test]
    async fn a_session_ends_with_its_user() {
        let (user, client) = tokio::io::duplex(64);
        let (link, mut sandbox) = tokio::io::duplex(64);
        drop(user);
        tokio::time::timeout(std::time::Duration::from_secs(5), pump(client, Box::pin(link), None))
            .await
            .unwrap();
        assert_eq!(sandbox.read(&mut [0; 8]).await.unwrap(), 0);
        assert!(sandbox.write_all(b"x").await.is_err(), "nobody hears the program either");
    }
}
