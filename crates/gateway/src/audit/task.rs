//! The task that keeps the log up to date while sandboxes run.

use std::{sync::Arc, time::Duration};

use chiton_store::Store;
use tokio::{
    task::spawn_blocking,
    time::{Instant, sleep},
};

use super::AuditLog;

/// How long an event waits at most before it is chained.
const PERIOD: Duration = Duration::from_millis(200);
/// How long a line waits at most before it is flushed to the disk.
const FLUSH: Duration = Duration::from_secs(1);

/// Runs as long as the gateway.
pub(crate) async fn tail(log: Arc<AuditLog>, store: Arc<Store>) {
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
        let log_there = Arc::clone(&log);
        let drained = spawn_blocking(move || {
            let drained = log_there.drain();
            if flush {
                log_there.sync();
            }
            drained
        });
        // Tried again five times a second, told of once.
        let now = drained.await.ok().and_then(Result::err).map(|error| error.to_string());
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
