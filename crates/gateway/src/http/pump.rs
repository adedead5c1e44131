//! A session: frames from one connection to the other.
//!
//! What the program's frames carry is not read. Before the word that the main program has ended is passed on, the
//! sandbox is marked as ending, so that what its user asks next is answered by its record as it will be, and its user is
//! told what was refused.

use std::{io, sync::Arc, time::Duration};

use chiton_api::frame::{MAX_SESSION_PAYLOAD, SessionKind, parse_session_header, session_header};
use chiton_driver::Link;
use hyper::body::Bytes;
use rustix::event::{PollFd, PollFlags, Timespec, poll};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, BufReader, BufWriter},
    net::UnixStream,
    time::sleep,
};

use crate::{gateway::Gateway, sandbox::Live};

/// How often a user who sends nothing more is looked for.
const LOOK: Duration = Duration::from_millis(500);
/// So much of the user's is read at once.
const UP: usize = 8 << 10;
/// Of a frame's header.
const HEADER: usize = 5;

/// Whose end a session tells: a sandbox's own program.
pub(super) struct Main {
    pub(super) gateway: Arc<Gateway>,
    pub(super) live: Arc<Live>,
}

/// Copies until the sandbox's side has ended, or the user's is gone. `early` came with the request. A user who sends no
/// more may still listen.
pub(super) async fn pump(client: UnixStream, early: Bytes, sandbox: Link, main: Option<Main>) {
    let (mut from_client, to_client) = client.into_split();
    let (from_sandbox, mut to_sandbox) = tokio::io::split(sandbox);
    let up = async {
        let mut buffer = vec![0; UP];
        let mut early = &*early;
        loop {
            let read = match early.read(&mut buffer).await {
                Ok(read @ 1..) => Ok(read),
                _ => from_client.read(&mut buffer).await,
            };
            let written = match read {
                Ok(0) => to_sandbox.shutdown().await,
                Ok(read) => {
                    let bytes = buffer.get(..read).unwrap_or_default();
                    tokio::select! {
                        biased;
                        written = to_sandbox.write_all(bytes) => written,
                        () = gone(from_client.as_ref()) => return,
                    }
                }
                Err(_) => return,
            };
            match (read, written) {
                (Ok(1..), Ok(())) => {}
                // With the connection the supervisor sees that the user is gone, and hangs up.
                (_, Ok(())) => return gone(from_client.as_ref()).await,
                // The sandbox's end may still be told.
                (_, Err(_)) => std::future::pending().await,
            }
        }
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

/// Until the user has closed both directions, which the event loop does not tell of what nobody reads or writes.
async fn gone(client: &UnixStream) {
    let is_there = || {
        let now = Timespec { tv_sec: 0, tv_nsec: 0 };
        let mut fds = [PollFd::new(client, PollFlags::empty())];
        // A look that failed, as one that a signal interrupts, has seen nothing.
        let _ = poll(&mut fds, Some(&now));
        !fds.iter().any(|fd| fd.revents().contains(PollFlags::HUP))
    };
    while is_there() {
        sleep(LOOK).await;
    }
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
    async fn a_session_ends_with_its_user_also_while_its_input_waits() {
        for input in [&b""[..], &[0; 300]] {
            let (mut user, client) = UnixStream::pair().unwrap();
            let (link, mut sandbox) = tokio::io::duplex(64);
            let pumped = tokio::spawn(pump(client, Bytes::from_static(b"early"), Box::pin(link), None));
            user.write_all(input).await.unwrap();
            let mut early = [0; 5];
            sandbox.read_exact(&mut early).await.unwrap();
            assert_eq!(&early, b"early");
            drop(user);
            tokio::time::timeout(Duration::from_secs(5), pumped).await.unwrap().unwrap();
            assert!(sandbox.write_all(b"x").await.is_err(), "nobody hears the program either");
        }
    }

    #[tokio::test]
    async fn a_user_who_sends_no_more_still_listens() {
        let (mut user, client) = UnixStream::pair().unwrap();
        let (link, mut sandbox) = tokio::io::duplex(64);
        let pumped = tokio::spawn(pump(client, Bytes::new(), Box::pin(link), None));
        user.shutdown().await.unwrap();
        assert_eq!(sandbox.read(&mut [0; 8]).await.unwrap(), 0);
        sleep(LOOK * 2).await;
        let said = frame(SessionKind::Stdout, b"x");
        sandbox.write_all(&said).await.unwrap();
        drop(sandbox);
        let mut heard = Vec::new();
        user.read_to_end(&mut heard).await.unwrap();
        assert_eq!(heard, said);
        pumped.await.unwrap();
    }
}
