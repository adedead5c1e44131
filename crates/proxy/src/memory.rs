//! Places that a process has only so many of, because each may hold more memory than there are connections for.
//!
//! A proxy serves one sandbox, so they are the sandbox's.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits;

static LARGE_HEADS: Semaphore = Semaphore::const_new(limits::LARGE_HEADS);
static HTTP2_CONNECTIONS: Semaphore = Semaphore::const_new(limits::HTTP2_CONNECTIONS);
static HTTP2_REQUESTS: Semaphore = Semaphore::const_new(limits::HTTP2_REQUESTS);
static WIDE_CONNECTIONS: Semaphore = Semaphore::const_new(limits::WIDE_CONNECTIONS);

/// Given up when dropped.
type Place = SemaphorePermit<'static>;

/// The place of a head over [`limits::SMALL_HEAD`], until its request is answered.
#[derive(Debug)]
pub(crate) struct LargeHead(#[expect(dead_code, reason = "held")] Place);

impl LargeHead {
    /// Waits for one.
    pub(crate) async fn place() -> Self {
        match LARGE_HEADS.acquire().await {
            Ok(place) => Self(place),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// One, where there is one now.
    pub(crate) fn try_place() -> Option<Self> {
        LARGE_HEADS.try_acquire().ok().map(Self)
    }
}

/// The place of a connection of the agent that speaks HTTP/2.
#[derive(Debug)]
pub(crate) struct Http2Connection(#[expect(dead_code, reason = "held")] Place);

impl Http2Connection {
    /// One, where there is one now.
    pub(crate) fn try_place() -> Option<Self> {
        HTTP2_CONNECTIONS.try_acquire().ok().map(Self)
    }
}

/// The place of a request on any of them, until its answer is written.
#[derive(Debug)]
pub(crate) struct Http2Request(#[expect(dead_code, reason = "held")] Place);

impl Http2Request {
    /// One, where there is one now.
    pub(crate) fn try_place() -> Option<Self> {
        HTTP2_REQUESTS.try_acquire().ok().map(Self)
    }
}

/// The place of an HTTP/2 connection to a server whose windows are wide.
#[derive(Debug)]
pub(crate) struct Wide(#[expect(dead_code, reason = "held")] Place);

impl Wide {
    /// One, where there is one now.
    pub(crate) fn try_place() -> Option<Self> {
        WIDE_CONNECTIONS.try_acquire().ok().map(Self)
    }
}
