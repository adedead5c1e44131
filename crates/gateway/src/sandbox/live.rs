//! How the rest of the gateway speaks to the task of a sandbox that runs.

use std::{
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    time::Duration,
};

use chiton_api::{control::ProxyStatus, http::ApplyReply};
use chiton_driver::{ComputeDriver, SandboxHandle};
use tokio::{
    sync::{mpsc, oneshot, watch},
    time::timeout,
};

use crate::{document::Document, error::GatewayError};

/// Between a program's end and its record, which is a matter of milliseconds.
const SETTLING: Duration = Duration::from_secs(10);

/// What the task is asked for.
pub(super) enum Command {
    /// End the sandbox; answered when it has ended.
    Stop(Duration),
    /// Have its proxy enforce another revision.
    Apply(Box<Document>, oneshot::Sender<Result<ApplyReply, GatewayError>>),
    /// Ask its proxy where it stands; none while there is none.
    Proxy(oneshot::Sender<Option<ProxyStatus>>),
}

/// A sandbox that runs.
pub(crate) struct Live {
    pub(crate) handle: SandboxHandle,
    pub(crate) driver: Arc<dyn ComputeDriver>,
    commands: mpsc::Sender<Command>,
    ended: watch::Sender<bool>,
    exiting: AtomicBool,
    finishing: AtomicBool,
    forced: AtomicBool,
}

impl Live {
    pub(super) fn new(
        handle: SandboxHandle,
        driver: Arc<dyn ComputeDriver>,
    ) -> (Arc<Self>, mpsc::Receiver<Command>) {
        let (commands, receiver) = mpsc::channel(8);
        let (ended, _) = watch::channel(false);
        let (exiting, finishing, forced) = Default::default();
        (Arc::new(Self { handle, driver, commands, ended, exiting, finishing, forced }), receiver)
    }

    /// Its user is about to be told that the program has ended.
    pub(crate) fn exiting(&self) {
        self.exiting.store(true, Ordering::Release);
    }

    /// Whether its user has been told so: what is left is its end being written down.
    pub(crate) fn is_exiting(&self) -> bool {
        self.exiting.load(Ordering::Acquire)
    }

    /// Where its user was told so, waits until the record says so too. True when it did.
    pub(crate) async fn settle(&self) -> bool {
        self.ends_soon(&self.exiting).await
    }

    /// The program has ended; what is left of it is taken away next, and that written down.
    pub(super) fn finishing(&self) {
        self.finishing.store(true, Ordering::Release);
    }

    /// Where that has begun, waits until it is done.
    pub(crate) async fn finish(&self) {
        self.ends_soon(&self.finishing).await;
    }

    async fn ends_soon(&self, begun: &AtomicBool) -> bool {
        begun.load(Ordering::Acquire) && timeout(SETTLING, self.until_ended()).await.is_ok()
    }

    /// Waits until it has ended and its record says how.
    pub(crate) async fn until_ended(&self) {
        let mut ended = self.ended.subscribe();
        let _ = ended.wait_for(|ended| *ended).await;
    }

    /// Ends it, and waits until its record says so; not for a disk that does not take that.
    pub(crate) async fn stop(&self, grace: Duration) {
        // Where the task is gone, or busy ending for another reason, the end is what is waited for anyway.
        let _ = self.commands.send(Command::Stop(grace)).await;
        loop {
            let finishing = self.finishing.load(Ordering::Acquire);
            if timeout(SETTLING, self.until_ended()).await.is_ok() || finishing {
                return;
            }
        }
    }

    /// Has its proxy enforce another revision.
    pub(crate) async fn apply(&self, document: Document) -> Result<ApplyReply, GatewayError> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Apply(Box::new(document), reply)).await?;
        answer.await.map_err(|_| self.gone())?
    }

    /// Where its proxy stands; none while there is none.
    pub(crate) async fn proxy(&self) -> Option<ProxyStatus> {
        let (reply, answer) = oneshot::channel();
        self.send(Command::Proxy(reply)).await.ok()?;
        answer.await.ok()?
    }

    /// Says that it is ended without grace, so that its end is no fault.
    pub(super) fn force(&self) {
        self.forced.store(true, Ordering::Release);
    }

    pub(super) fn is_forced(&self) -> bool {
        self.forced.load(Ordering::Acquire)
    }

    pub(super) fn set_ended(&self) {
        self.ended.send_replace(true);
    }

    async fn send(&self, command: Command) -> Result<(), GatewayError> {
        self.commands.send(command).await.map_err(|_| self.gone())
    }

    fn gone(&self) -> GatewayError {
        chiton_driver::DriverError::NotRunning(self.handle.id.clone()).into()
    }
}
