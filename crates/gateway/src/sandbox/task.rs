//! The one task that drives a sandbox from the start of its program to its end.

use std::{sync::Arc, time::Duration};

use chiton_driver::{DriverError, Exit};
use chiton_store::Record;
use tokio::sync::mpsc;

use super::{
    end::{End, finish},
    limits::Limits,
    live::{Command, Live},
    network::{Change, Network},
    renewal::Renewal,
};
use crate::gateway::Gateway;

/// Everything that the task holds.
pub(super) struct Task {
    pub(super) gateway: Arc<Gateway>,
    /// As it was when the task began, but for the revision, which this task alone changes.
    pub(super) record: Record,
    pub(super) live: Arc<Live>,
    pub(super) network: Network,
    pub(super) renewal: Renewal,
    limits: Limits,
}

impl Task {
    pub(super) fn new(gateway: Arc<Gateway>, record: Record, live: Arc<Live>, network: Network) -> Self {
        let renewal = Renewal::new(&gateway);
        let limits = Limits::of(&gateway, &record);
        Self { gateway, record, live, network, renewal, limits }
    }

    /// Runs until the sandbox has ended and its record says how.
    pub(super) async fn drive(mut self, mut commands: mpsc::Receiver<Command>) {
        let end = self.until_end(&mut commands).await;
        finish(&self.gateway, &self.record, &self.live, end).await;
    }

    async fn until_end(&mut self, commands: &mut mpsc::Receiver<Command>) -> End {
        let (driver, handle) = (Arc::clone(&self.live.driver), self.live.handle.clone());
        let mut exit = driver.wait(&handle);
        loop {
            tokio::select! {
                biased;
                exit = &mut exit => return End::of(exit, self.live.is_forced()),
                command = commands.recv() => match command {
                    // Nobody can ask any more: the gateway itself is ending.
                    None => return End::of(exit.await, self.live.is_forced()),
                    Some(Command::Stop(grace)) => return self.stop(grace).await,
                    Some(Command::Apply(document, reply)) => {
                        let applied = self.apply(*document).await;
                        self.renewal.begin_anew();
                        let _ = reply.send(applied);
                    }
                    Some(Command::Proxy(reply)) => {
                        let _ = reply.send(self.network.status().await);
                    }
                },
                change = self.network.changed() => match change {
                    Change::Due => {
                        self.network.replace(&self.gateway, &self.record, &self.live).await;
                        self.renewal.begin_anew();
                    }
                    Change::Rejected(references) => self.renewal.rejected(references),
                },
                occasion = self.renewal.occasion() => self.renew(occasion).await,
                () = self.limits.due() => self.limits.watch(&self.gateway, &self.record, &self.live).await,
            }
        }
    }

    async fn stop(&mut self, grace: Duration) -> End {
        let stopped = super::end::stop(&self.gateway, &self.record, &self.live, grace).await;
        End::of(stopped, self.live.is_forced())
    }
}

/// Whoever waits for the end is told of it, also when the task ends by a fault of ours.
impl Drop for Task {
    fn drop(&mut self) {
        self.gateway.clear_live(&self.live);
        self.renewal.release(&self.gateway);
        self.live.set_ended();
    }
}

impl End {
    fn of(exit: Result<Exit, DriverError>, forced: bool) -> Self {
        match exit {
            Ok(exit) => Self::Exited(exit),
            Err(_) if forced => Self::Exited(Exit::of(137)),
            Err(error) => Self::Lost(error.to_string()),
        }
    }
}
