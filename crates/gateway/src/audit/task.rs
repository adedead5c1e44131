//! The task that keeps the log up to date while sandboxes run.

use std::{sync::Arc, time::Duration};

use chiton_store::Store;
use tokio::{
    sync::{mpsc, oneshot},
    time::{Instant, sleep},
};

use super::AuditLog;

/// How long an event waits at most before it is chained.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a line waits at most before it is flushed to the disk.
const FLUSH: Duration = Duration::from_secs(1);

/// How much its thread stands back. A busy sandbox writes thousands of events a second; what chains them takes its
/// turn after the proxies that write them, and after the agents.
const NICE: i32 = 10;

/// Runs as long as the gateway.
pub(crate) async fn tail(log: Arc<AuditLog>, store: Arc<Store>) {
    let worker = Worker::start(Arc::clone(&log));
    let mut flushed = Instant::now();
    let mut fault = None;
    loop {
        if log.follows() {
            sleep(PERIOD).await;
        } else {
            // Own events wake nobody: the wait is only as long as one of them may go unflushed.
            tokio::select! { () = log.wake.notified() => {}, () = sleep(FLUSH) => {} }
        }
        let flush = flushed.elapsed() >= FLUSH;
        if flush {
            flushed = Instant::now();
        }
        // Tried again five times a second, told of once.
        let now = worker.drain(flush).await;
        if now != fault {
            match &now {
                Some(error) => tracing::error!(%error, "events wait in their files"),
                None => tracing::info!("events are chained again"),
            }
            fault = now;
        }
        log.checkpoint(&store).await;
    }
}

/// The thread that chains, one turn after the other.
struct Worker(mpsc::UnboundedSender<Turn>);

/// Whether to flush to the disk too, and who waits for what went wrong.
type Turn = (bool, oneshot::Sender<Option<String>>);

impl Worker {
    fn start(log: Arc<AuditLog>) -> Self {
        let (turns, mut queue) = mpsc::unbounded_channel::<Turn>();
        let run = move || {
            // It works as well without, only less considerately.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some((flush, reply)) = queue.blocking_recv() {
                let drained = log.drain();
                if flush {
                    log.sync();
                }
                let _ = reply.send(drained.err().map(|error| error.to_string()));
            }
        };
        // Where there is no thread to be had, every turn says so.
        let _ = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
        Self(turns)
    }

    /// Chains what there is. What went wrong, if anything did.
    async fn drain(&self, flush: bool) -> Option<String> {
        let (reply, answer) = oneshot::channel();
        let _ = self.0.send((flush, reply));
        answer.await.unwrap_or_else(|_| Some("the thread that chains them is gone".to_owned()))
    }
}
