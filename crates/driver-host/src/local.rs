//! A sandbox's supervisor and proxy on this kernel, for who keeps no record of them and ends with them: a sidecar.

use std::{path::PathBuf, sync::Arc};

use chiton_api::control::{ProxyConfig, SupervisorRequest};
use chiton_driver::{DriverError, Result, SandboxId};
use tokio::sync::Mutex;

use crate::{Folder, Held, Papers, ProcessId, Proxies, folder::SUPERVISOR, supervisor};

/// One sandbox.
#[derive(Debug)]
pub struct Local {
    id: SandboxId,
    folder: Folder,
    proxies: Arc<Proxies>,
    /// The one that enforces.
    proxy: Mutex<Option<Held>>,
}

impl Local {
    /// Its sockets and files are in this folder, which is there.
    #[must_use]
    pub fn new(id: SandboxId, folder: Folder, proxies: Arc<Proxies>) -> Self {
        Self { id, folder, proxies, proxy: Mutex::default() }
    }

    /// Its log, the supervisor's events, the proxy's and its exit.
    #[must_use]
    pub fn files(&self) -> [PathBuf; 4] {
        ["log", "supervisor.events", "proxy.events", "exit.json"].map(|name| self.folder.file(name))
    }

    /// Opens what the supervisor is given.
    ///
    /// # Errors
    /// What cannot be opened.
    pub fn papers(&self) -> Result<Papers> {
        let [log, events, _, exit] = self.files();
        supervisor::papers(&self.folder, [&log, &events, &exit])
    }

    /// Has a fresh proxy enforce, in the place of the one before.
    ///
    /// # Errors
    /// The supervisor does not send its listeners, or the proxy does not enforce.
    pub async fn attach(&self, config: ProxyConfig) -> Result<()> {
        let mut proxy = self.proxy.lock().await;
        let link = self.folder.connect(SUPERVISOR);
        let link = link.map_err(|_| DriverError::NotRunning(self.id.clone()))?;
        let sent = supervisor::ask(link, &self.id, &SupervisorRequest::Listeners).await?;
        let captured = supervisor::captured(sent, false)?;
        if let Some(old) = proxy.take() {
            old.end().await.map_err(io("cannot end the sandbox's old proxy"))?;
        }
        let [_, _, events, _] = self.files();
        let mut held = None;
        let begun = |id: ProcessId| {
            held = id.hold();
            held.as_ref()
                .map(|_| ())
                .ok_or_else(|| io("cannot hold the proxy")(std::io::ErrorKind::NotFound.into()))
        };
        self.proxies.enforce(&self.folder, captured, (&events, config), begun).await?;
        *proxy = held;
        Ok(())
    }

    /// Ends the proxy, once it has written what it had left to write.
    ///
    /// # Errors
    /// It does not end.
    pub async fn end_proxy(&self) -> Result<()> {
        let Some(proxy) = self.proxy.lock().await.take() else { return Ok(()) };
        proxy.ask_to_end().await;
        proxy.end().await.map_err(io("cannot end the sandbox's proxy"))
    }
}

fn io(doing: &'static str) -> impl FnOnce(std::io::Error) -> DriverError {
    move |source| DriverError::Io { doing, source }
}
