//! Places that a process has only so many of, because each may hold more memory than there are connections for.
//!
//! A proxy serves one sandbox, so they are the sandbox's.

use tokio::sync::{Semaphore, SemaphorePermit};

use crate::limits;

/// Of heads over [`limits::SMALL_HEAD`], until the request is answered or the response read; and of `ClientHello`s,
/// until they are passed on.
pub(crate) static LARGE_HEADS: Places = Places::new(limits::LARGE_HEADS);
/// Of connections of the agent that speak HTTP/2.
pub(crate) static HTTP2_CONNECTIONS: Places = Places::new(limits::HTTP2_CONNECTIONS);
/// Of requests on any of these, until the answer is written.
pub(crate) static HTTP2_REQUESTS: Places = Places::new(limits::HTTP2_REQUESTS);

/// So many places of one kind.
#[derive(Debug)]
pub(crate) struct Places(Semaphore);

/// One of them, given up when dropped.
#[derive(Debug)]
pub(crate) struct Place(#[expect(dead_code, reason = "held")] SemaphorePermit<'static>);

impl Places {
    /// None of them taken.
    pub(crate) const fn new(count: usize) -> Self {
        Self(Semaphore::const_new(count))
    }

    /// Waits for one.
    pub(crate) async fn place(&'static self) -> Place {
        match self.0.acquire().await {
            Ok(place) => Place(place),
            // It is never closed.
            Err(_) => std::future::pending().await,
        }
    }

    /// One, where there is one now.
    pub(crate) fn try_place(&'static self) -> Option<Place> {
        self.0.try_acquire().ok().map(Place)
    }
}
