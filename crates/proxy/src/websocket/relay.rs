//! An open WebSocket: both directions at once, and every way in which it ends.
//!
//! | what happens | agent | server |
//! |---|---|---|
//! | both have closed, or one has and the other is silent | orderly end | orderly end |
//! | one breaks the protocol | close 1002 | close 1002 |
//! | one is gone | abort | abort |
//! | a new revision does not allow it | close 1008, and a reset if it is not answered | close 1008 |

use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering},
};

use bytes::BytesMut;
use hyper::upgrade::{OnUpgrade, Upgraded};
use hyper_util::rt::TokioIo;
use tokio::{
    io::{AsyncRead, AsyncWrite, ReadHalf, WriteHalf},
    time::timeout,
};

use super::{
    frame::Side,
    handshake::Agreed,
    pump::{Pump, Stopped},
};
use crate::{
    limits,
    message::{Response, ResponseBody},
    revision::Redactors,
    running::Exchange,
};

/// A WebSocket of which the server's side is open. Its exchange ends with it.
pub(crate) struct Relay {
    server: TokioIo<Upgraded>,
    agreed: Agreed,
    redactors: Option<Redactors>,
    exchange: Exchange,
}

/// How a WebSocket ended, for the agent's connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum End {
    /// In good order.
    Closed,
    /// Something is missing: the agent must see an abort.
    Aborted,
}

/// An exchange that learns at its end, also at a sudden one, how much has passed.
struct Counted {
    exchange: Exchange,
    bytes: Arc<AtomicUsize>,
}

impl Drop for Counted {
    fn drop(&mut self) {
        self.exchange.passed(self.bytes.load(Ordering::Relaxed));
    }
}

type Halves<S> = (ReadHalf<S>, WriteHalf<S>);
type Up<A> = Pump<ReadHalf<A>, WriteHalf<TokioIo<Upgraded>>>;
type Down<A> = Pump<ReadHalf<TokioIo<Upgraded>>, WriteHalf<A>>;

impl Relay {
    /// Joins the server's stream with the exchange that it is of.
    pub(crate) fn new(
        server: TokioIo<Upgraded>,
        agreed: Agreed,
        redactors: Option<Redactors>,
        exchange: Exchange,
    ) -> Self {
        Self { server, agreed, redactors, exchange }
    }

    /// Relays until the end. `begun` is what the agent said already.
    pub(crate) async fn run<A>(self, agent: A, begun: BytesMut) -> (A, End)
    where
        A: AsyncRead + AsyncWrite + Unpin,
    {
        let (from_agent, to_agent) = tokio::io::split(agent);
        let (from_server, to_server) = tokio::io::split(self.server);
        let compression = self.agreed.compression;
        let mut up: Up<A> = Pump::new(Side::Agent, from_agent, begun, to_server, compression);
        let mut down: Down<A> = Pump::new(Side::Server, from_server, BytesMut::new(), to_agent, compression);
        down.clean(self.redactors);
        let over = self.exchange.over().clone();
        let _counted = Counted { exchange: self.exchange, bytes: down.passed() };
        let ended = tokio::select! {
            biased;
            () = over.cancelled() => None,
            ended = both(&mut up, &mut down) => Some(ended),
        };
        let end = finish(&mut up, &mut down, ended).await;
        let (from_agent, _) = up.into_streams();
        let (_, to_agent) = down.into_streams();
        (join((from_agent, to_agent)), end)
    }
}

/// Runs both directions until both have closed, or one stops.
async fn both<A>(up: &mut Up<A>, down: &mut Down<A>) -> Result<(), Stopped>
where
    A: AsyncRead + AsyncWrite + Unpin,
{
    let (up, down) = (up.run(), down.run());
    tokio::pin!(up, down);
    let other = tokio::select! {
        closed = &mut up => {
            closed?;
            timeout(limits::WEBSOCKET_CLOSE, down).await
        }
        closed = &mut down => {
            closed?;
            timeout(limits::WEBSOCKET_CLOSE, up).await
        }
    };
    match other {
        Ok(Err(stopped @ (Stopped::Violation(_) | Stopped::Unclean))) => Err(stopped),
        // Who was told of the end may well leave without a word.
        Ok(Ok(()) | Err(Stopped::Gone(_))) | Err(_) => Ok(()),
    }
}

/// Ends both sides as it befits; `ended` is none where a new revision cut it.
async fn finish<A>(up: &mut Up<A>, down: &mut Down<A>, ended: Option<Result<(), Stopped>>) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
{
    match ended {
        Some(Ok(())) => {
            let _ = timeout(limits::WEBSOCKET_CLOSE, up.shutdown()).await;
            End::Closed
        }
        Some(Err(Stopped::Gone(_))) => End::Aborted,
        Some(Err(stopped @ (Stopped::Violation(_) | Stopped::Unclean))) => {
            let code = if matches!(stopped, Stopped::Violation(_)) { 1002 } else { 1011 };
            let said = async { tokio::join!(up.say_close(code, ""), down.say_close(code, "")) };
            match timeout(limits::WEBSOCKET_CLOSE, said).await {
                Ok((_, Ok(()))) => End::Closed,
                Ok((_, Err(_))) | Err(_) => End::Aborted,
            }
        }
        None => cut(up, down).await,
    }
}

/// Tells both sides at once. What the kernel, or HTTP/2, still holds back of earlier frames must not reach the agent
/// later: so the agent has to answer, or its whole connection is reset by whoever cut it.
async fn cut<A>(up: &mut Up<A>, down: &mut Down<A>) -> End
where
    A: AsyncRead + AsyncWrite + Unpin,
{
    const WHY: &str = "not allowed any more";
    let told = async {
        let server = timeout(limits::WEBSOCKET_CUT / 4, up.say_close(1008, WHY));
        let (_, agent) = tokio::join!(server, down.say_close(1008, WHY));
        agent.is_ok()
    };
    let answered = async { told.await.then_some(()) };
    // The agent's reading half is of the same pump that has told the server: one after the other.
    let Ok(Some(())) = timeout(limits::WEBSOCKET_CLOSE, answered).await else { return End::Aborted };
    match timeout(limits::WEBSOCKET_CLOSE, up.await_close()).await {
        Ok(()) => End::Closed,
        Err(_) => End::Aborted,
    }
}

fn join<S: Unpin>((read, write): Halves<S>) -> S {
    read.unsplit(write)
}

/// The relay of an answer that opens a WebSocket.
pub(crate) fn switched(response: &mut Response) -> Option<Box<Relay>> {
    match std::mem::replace(response.body_mut(), ResponseBody::Own(None)) {
        ResponseBody::Switched(relay) => Some(relay),
        body @ (ResponseBody::Own(_) | ResponseBody::Relayed(_) | ResponseBody::Connected(_)) => {
            *response.body_mut() = body;
            None
        }
    }
}

/// Relays on a stream of HTTP/2, once the answer is sent.
pub(crate) fn serve_http2(relay: Box<Relay>, stream: OnUpgrade) {
    tokio::spawn(async move {
        let over = relay.exchange.over().clone();
        let opened = tokio::select! {
            biased;
            () = over.cancelled() => return,
            opened = stream => opened,
        };
        if let Ok(stream) = opened {
            let (mut stream, end) = relay.run(TokioIo::new(stream), BytesMut::new()).await;
            if end == End::Closed {
                let _ =
                    timeout(limits::WEBSOCKET_CLOSE, tokio::io::AsyncWriteExt::shutdown(&mut stream)).await;
            }
        }
    });
}
