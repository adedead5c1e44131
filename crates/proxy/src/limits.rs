//! Every bound of the data plane in one place: what one sandbox may cost the host.

use std::time::Duration;

/// Threads that serve connections, where the machine has as many cores: more would take from other sandboxes.
pub(crate) const WORKERS: usize = 4;
/// So many connections a thread has before another one begins.
pub(crate) const CONNECTIONS_PER_WORKER: usize = 64;
/// Connections of the agent that are served at once; further ones wait in the kernel's backlog. Fewer, where the
/// process may not have so many descriptors: see [`connections`].
pub(crate) const CONNECTIONS: usize = 10_240;
/// Of these, those that speak HTTP/2; over TLS further ones are offered HTTP/1.1 alone.
pub(crate) const HTTP2_CONNECTIONS: usize = 256;
/// Requests under way on all of these, refused ones too.
pub(crate) const HTTP2_REQUESTS: usize = 2048;
/// A head that any connection may hold.
pub(crate) const SMALL_HEAD: usize = 8 << 10;
/// Heads that are larger, at once.
pub(crate) const LARGE_HEADS: usize = 128;
/// The first bytes of a connection: the whole `ClientHello`.
pub(crate) const CLIENT_HELLO: usize = 64 << 10;
/// How long the first bytes, a handshake, or the head of a request may take.
pub(crate) const FIRST_BYTES: Duration = Duration::from_secs(15);
/// How long an agent may say nothing on a port that is not the web's: it waits for a greeting that never comes.
pub(crate) const SILENCE: Duration = Duration::from_secs(2);
/// How long a `tcp` connection says nothing before the kernel asks whether its other end is still there.
pub(crate) const KEEPALIVE: Duration = Duration::from_secs(60);
/// Between two such questions without an answer, and after how many of them the connection is dead.
pub(crate) const KEEPALIVE_AGAIN: (Duration, u32) = (Duration::from_secs(15), 4);
/// How long a server of HTTP may leave unacknowledged, or take nothing of, what is sent to it, before the connection is
/// dead. What the kernel asks it counts too.
pub(crate) const UNANSWERED: Duration = Duration::from_secs(60);
/// How long such a server says nothing before the kernel asks whether it is there, and how long it waits before it asks
/// again: often enough within [`UNANSWERED`] that one lost packet is not taken for a dead server.
pub(crate) const UNANSWERED_ASK: (Duration, Duration) = (Duration::from_secs(30), Duration::from_secs(10));
/// What is held of one direction of a `tcp` connection.
pub(crate) const TCP_BUFFER: usize = 16 << 10;
/// How long a kept-alive connection may be idle between two requests.
pub(crate) const IDLE: Duration = Duration::from_secs(120);
/// How long a body may stand still, on either side.
pub(crate) const BODY_STALL: Duration = Duration::from_secs(if cfg!(test) { 3 } else { 300 });
/// The head of a request, HTTP/1.
pub(crate) const HEAD: usize = 64 << 10;
/// Header fields of one head.
pub(crate) const HEADERS: usize = 128;
/// A chunk's size line, and one trailer line.
pub(crate) const CHUNK_LINE: usize = 4 << 10;
/// All trailers.
pub(crate) const TRAILERS: usize = 16 << 10;
/// What is read and thrown away of a body nobody wants, before the connection is closed instead.
pub(crate) const DISCARD: usize = 256 << 10;
/// One read of an agent's body: as much as a TLS record holds.
pub(crate) const AGENT_READ: usize = 16 << 10;
/// One read of a server's body.
pub(crate) const READ_CHUNK: usize = 64 << 10;
/// One read of TLS records from a server, while it sends.
pub(crate) const READ_AHEAD: usize = 64 << 10;
/// Requests that are under way at once, over all connections: each may hold a head, and a connection upstream.
pub(crate) const EXCHANGES: usize = 1100;
/// Memory of the whole process, beyond which it ends: the last resort, should all other bounds not do.
pub(crate) const MEMORY: u64 = 1 << 30;
/// The event file, beyond which everything is refused: refusals cost the agent nothing, and the host its disk.
pub(crate) const EVENT_FILE: u64 = 4 << 30;
/// Streams of one HTTP/2 connection.
pub(crate) const STREAMS: u32 = 1024;
/// The decoded header list of one HTTP/2 request.
pub(crate) const HEADER_LIST: u32 = 64 << 10;
/// Exchanges that share a connection of HTTP/2 to a server, and so many times the window of one is the connection's.
pub(crate) const STREAMS_SHARED: u32 = 16;
/// Flow-control window of one HTTP/2 stream of an upstream server, where it has a place among [`WIDE_STREAMS`].
pub(crate) const STREAM_WINDOW: u32 = 1 << 20;
/// Exchanges with such a window; further ones have connections of their own, whose streams have [`NARROW_WINDOW`]. The
/// library takes up to twice the memory of what it holds.
pub(crate) const WIDE_STREAMS: usize = 32;
/// The window of the other streams.
pub(crate) const NARROW_WINDOW: u32 = 64 << 10;
/// The same for the agent's side, which is near, and of which there may be many.
pub(crate) const AGENT_STREAM_WINDOW: u32 = 64 << 10;
/// See [`AGENT_STREAM_WINDOW`].
pub(crate) const AGENT_CONNECTION_WINDOW: u32 = 512 << 10;
/// One TCP connection attempt.
pub(crate) const CONNECT: Duration = Duration::from_secs(10);
/// The TLS handshake with an upstream server.
pub(crate) const UPSTREAM_TLS: Duration = Duration::from_secs(15);
/// The answer of a forward proxy to a `CONNECT`, in which it connects by itself.
pub(crate) const TUNNEL: Duration = Duration::from_secs(30);
/// How long the supervisor may take to say whose a connection is. The first time it reads the whole executable.
pub(crate) const OWNER: Duration = Duration::from_secs(10);
/// One name resolution, all tries.
pub(crate) const RESOLVE: Duration = Duration::from_secs(10);
/// How long the addresses of one kind are waited for when those of the other have come.
pub(crate) const RESOLVE_OTHER: Duration = Duration::from_secs(1);
/// How long an unused upstream connection is kept.
pub(crate) const POOL_IDLE: Duration = Duration::from_secs(60);
/// Unused upstream connections kept for one permit identity.
pub(crate) const POOL_PER_KEY: usize = 64;
/// Unused upstream connections kept at all; of HTTP/2, open ones that others may share.
pub(crate) const POOL_TOTAL: usize = 256;
/// Names that no rule could allow and that still get a stand-in.
pub(crate) const STRANGE_NAMES: usize = 512;
/// All names with a stand-in.
pub(crate) const NAMES: usize = 65_536;
/// DNS messages over TCP on one connection, and connections at once.
pub(crate) const DNS_TCP_CONNECTIONS: usize = 32;
/// Refusals that are told at `http://chiton.internal/denials`, the same one counted once.
pub(crate) const DENIALS_TOLD: usize = 100;
/// Events for dropped packets in a second.
pub(crate) const DROP_EVENTS_PER_SECOND: u32 = 20;
/// The largest HTTP/2 frame taken: the smallest limit that there may be.
pub(crate) const FRAME: u32 = 16 << 10;
/// What is kept of one HTTP/2 stream until it can be sent.
pub(crate) const SEND_BUFFER: usize = 64 << 10;
/// The body of a model call that has to be read before it is sent.
pub(crate) const MODEL_CALL: usize = 32 << 20;
/// All such bodies together; further ones wait.
pub(crate) const MODEL_CALLS: usize = 128 << 20;
/// What is held of one WebSocket frame; a longer one is passed on in fragments of this length.
pub(crate) const WEBSOCKET_PIECE: usize = 16 << 10;
/// How long the other side of a WebSocket may take to close when one has.
pub(crate) const WEBSOCKET_CLOSE: Duration = Duration::from_secs(10);
/// How long an agent has to answer a close frame of ours before its connection is reset.
pub(crate) const WEBSOCKET_CUT: Duration = Duration::from_millis(250);
/// Descriptors that are neither the agent's connections nor those to servers: sockets that were handed over, event
/// loops, questions for names, DNS over TCP.
const OTHER_DESCRIPTORS: usize = 128;

/// How many connections of the agent a process with so many descriptors serves at once: what is left when every
/// exchange has its connection to a server; half of all where that is little.
pub(crate) fn connections(descriptors: Option<u64>) -> usize {
    let Some(descriptors) = descriptors.and_then(|most| usize::try_from(most).ok()) else {
        return CONNECTIONS;
    };
    let upstream = EXCHANGES + POOL_TOTAL + OTHER_DESCRIPTORS;
    descriptors.saturating_sub(upstream).max(descriptors / 2).clamp(1, CONNECTIONS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn connections_are_what_the_descriptors_allow() {
        for (descriptors, expected) in [
            (None, CONNECTIONS),
            (Some(20_000), CONNECTIONS),
            (Some(u64::MAX), CONNECTIONS),
            (Some(1024), 512),
            (Some(8192), 8192 - EXCHANGES - POOL_TOTAL - OTHER_DESCRIPTORS),
        ] {
            assert_eq!(connections(descriptors), expected, "{descriptors:?}");
        }
    }
}
