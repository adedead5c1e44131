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

/// What the thread does in a turn: chains what there is. What went wrong, if anything did.
type Turn = Arc<dyn Fn() -> Option<String> + Send + Sync>;

/// Runs as long as the gateway.
pub(crate) async fn tail(log: Arc<AuditLog>, store: Arc<Store>) {
    let chained = Arc::clone(&log);
    let turn = move || chained.drain_in_time().err().map(|error| error.to_string());
    keep(log, store, Arc::new(turn)).await;
}

/// Takes turns for ever.
pub(super) async fn keep(log: Arc<AuditLog>, store: Arc<Store>, turn: Turn) {
    let mut worker = Worker::start(Arc::clone(&turn));
    let mut flushed = Instant::now();
    let mut fault = None;
    loop {
        if log.follows() {
            sleep(PERIOD).await;
        } else {
            // Own events wake nobody: the wait is only as long as one of them may go unflushed.
            tokio::select! { () = log.wake.notified() => {}, () = sleep(FLUSH) => {} }
        }
        // Tried again five times a second, told of once.
        let turned = worker.turn().await;
        log.set_chainer_ended(turned.is_err());
        let now = turned.unwrap_or_else(|Ended| {
            worker = Worker::start(Arc::clone(&turn));
            Some("the thread that chains them ended".to_owned())
        });
        if now != fault {
            match &now {
                Some(error) => tracing::error!(%error, "events wait in their files"),
                None => tracing::info!("events are chained again"),
            }
            fault = now;
        }
        if flushed.elapsed() >= FLUSH {
            flushed = Instant::now();
            log.checkpoint(&store).await;
        }
    }
}

/// The thread that chains, one turn after the other.
struct Worker(mpsc::UnboundedSender<Reply>);

/// Who waits for what went wrong.
type Reply = oneshot::Sender<Option<String>>;

/// The thread is gone.
struct Ended;

impl Worker {
    fn start(turn: Turn) -> Self {
        let (turns, mut queue) = mpsc::unbounded_channel::<Reply>();
        let run = move || {
            // It works as well without, only less considerately.
            let _ = rustix::process::setpriority_process(None, NICE);
            while let Some(reply) = queue.blocking_recv() {
                let _ = reply.send(turn());
            }
        };
        // Where there is no thread to be had, every turn says so.
        let _ = std::thread::Builder::new().name("audit".to_owned()).spawn(run);
        Self(turns)
    }

    async fn turn(&self) -> Result<Option<String>, Ended> {
        let (reply, answer) = oneshot::channel();
        self.0.send(reply).map_err(|_| Ended)?;
        answer.await.map_err(|_| Ended)
    }
}
