//! The threads that serve captured connections.
//!
//! The one that accepts serves them itself, and a further one begins where each has as many as it should: few threads
//! wake each other seldom, and each uses its connections to servers again. What a thread was given stays with it.

use std::{
    io,
    sync::{Arc, Mutex, PoisonError},
};

use tokio::{
    net::TcpStream,
    runtime::Runtime,
    sync::{OwnedSemaphorePermit, Semaphore, mpsc},
};

use crate::{accept, capture::Arrived, limits, state::Proxy};

/// The threads of one proxy. With this they end, and what they serve, all but the one that accepts.
pub(crate) struct Workers {
    places: Arc<Semaphore>,
    /// As many threads as there may be.
    most: usize,
    threads: Mutex<Vec<Thread>>,
}

/// One thread: the first is the one that accepts, and is given nothing.
struct Thread {
    /// Each of its connections holds it.
    serving: Arc<()>,
    queue: Option<mpsc::UnboundedSender<Job>>,
}

impl Thread {
    fn load(&self) -> usize {
        Arc::strong_count(&self.serving) - 1
    }
}

/// A connection that is to be served.
struct Job {
    stream: std::net::TcpStream,
    arrived: Arrived,
    proxy: Arc<Proxy>,
    held: (OwnedSemaphorePermit, Arc<()>),
}

impl Job {
    /// It is closed where this thread's event loop cannot take it.
    fn begin(self) {
        if let Ok(stream) = TcpStream::from_std(self.stream) {
            spawn(stream, self.arrived, self.proxy, self.held);
        }
    }
}

/// Serves a connection on this thread; `held` until it ends.
fn spawn(stream: TcpStream, arrived: Arrived, proxy: Arc<Proxy>, held: (OwnedSemaphorePermit, Arc<()>)) {
    // On the heap as it is: the runtime copies what it is given to run from one place to the next.
    tokio::spawn(Box::pin(async move {
        accept::serve(stream, arrived, proxy).await;
        drop(held);
    }));
}

impl Workers {
    /// For so many connections at once, on as many threads as the machine has use for.
    pub(crate) fn new(connections: usize) -> Arc<Self> {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        Self::of(connections, cores.min(limits::WORKERS))
    }

    /// The same on so many threads at most.
    pub(crate) fn of(connections: usize, most: usize) -> Arc<Self> {
        let first = Thread { serving: Arc::default(), queue: None };
        let places = Arc::new(Semaphore::new(connections));
        Arc::new(Self { places, most, threads: Mutex::new(vec![first]) })
    }

    /// Waits for a place for one more connection; none where there will be none.
    pub(crate) async fn place(&self) -> Option<OwnedSemaphorePermit> {
        self.places.clone().acquire_owned().await.ok()
    }

    /// Has a connection served that the caller's thread accepted.
    ///
    /// # Errors
    /// Where it cannot be given away.
    pub(crate) fn serve(
        &self,
        stream: TcpStream,
        arrived: Arrived,
        proxy: Arc<Proxy>,
        place: OwnedSemaphorePermit,
    ) -> io::Result<()> {
        let (serving, queue) = self.next();
        let held = (place, serving);
        let Some(queue) = queue else {
            spawn(stream, arrived, proxy, held);
            return Ok(());
        };
        let job = Job { stream: stream.into_std()?, arrived, proxy, held };
        if let Err(mpsc::error::SendError(job)) = queue.send(job) {
            job.begin();
        }
        Ok(())
    }

    /// The thread for the next connection.
    fn next(&self) -> (Arc<()>, Option<mpsc::UnboundedSender<Job>>) {
        let mut threads = self.threads.lock().unwrap_or_else(PoisonError::into_inner);
        // One that ended by a fault of ours took its connections with it.
        threads.retain(|thread| thread.queue.as_ref().is_none_or(|queue| !queue.is_closed()));
        let full = |thread: &Thread| thread.load() >= limits::CONNECTIONS_PER_WORKER;
        if threads.len() < self.most
            && threads.iter().all(full)
            // Where there is no thread to be had, those that are there go on.
            && let Ok(thread) = begin(std::thread::Builder::new())
        {
            threads.push(thread);
        }
        let free = threads.iter().find(|thread| !full(thread));
        let next = free.or_else(|| threads.iter().min_by_key(|thread| thread.load()));
        next.map_or_else(Default::default, |thread| (thread.serving.clone(), thread.queue.clone()))
    }
}

/// Begins a thread that serves what it is given, until nobody can give it more.
fn begin(thread: std::thread::Builder) -> io::Result<Thread> {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let (queue, mut jobs) = mpsc::unbounded_channel::<Job>();
    // It is given its event loop once there is a thread: to drop one here would be a panic.
    let (give, given) = std::sync::mpsc::channel::<Runtime>();
    let work = move || {
        let Ok(runtime) = given.recv() else { return };
        runtime.block_on(async move {
            while let Some(job) = jobs.recv().await {
                job.begin();
            }
        });
    };
    if let Err(error) = thread.name("chiton-worker".to_owned()).spawn(work) {
        runtime.shutdown_background();
        return Err(error);
    }
    // The thread waits for it.
    let _ = give.send(runtime);
    Ok(Thread { serving: Arc::default(), queue: Some(queue) })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_thread_begins_where_all_are_full_and_the_emptiest_is_next_where_none_may() {
        let workers = Workers::of(1, 2);
        let queued = |(_, queue): &(Arc<()>, Option<_>)| queue.is_some();
        let mut first: Vec<_> = (0..limits::CONNECTIONS_PER_WORKER).map(|_| workers.next()).collect();
        assert!(!first.iter().any(queued));
        let second: Vec<_> = (0..limits::CONNECTIONS_PER_WORKER).map(|_| workers.next()).collect();
        assert!(second.iter().all(queued));
        assert_eq!(workers.threads.lock().unwrap().len(), 2);
        let (third, fourth) = (workers.next(), workers.next());
        assert_ne!(queued(&third), queued(&fourth));
        first.truncate(1);
        assert!(!queued(&workers.next()));
    }

    #[tokio::test]
    async fn a_thread_that_cannot_begin_is_no_panic() {
        let more_than_there_is = std::thread::Builder::new().stack_size(1 << 60);
        assert!(begin(more_than_there_is).is_err());
    }
}
