//! What servers are verified against, read when the first of them is dialled.

use std::sync::{Arc, OnceLock};

use chiton_tls::{Alpn, Roots, SystemRoots, TlsError, client_config};
use rustls::ClientConfig;

/// The system's roots and the operator's.
#[derive(Debug)]
pub(crate) struct Trust {
    system: SystemRoots,
    extra: Roots,
    configs: OnceLock<Configs>,
}

#[derive(Debug)]
struct Configs {
    any: Arc<ClientConfig>,
    http1: Arc<ClientConfig>,
}

impl Trust {
    /// Of both. Nothing is read yet; that there is nothing to read is an error already.
    pub(crate) fn new(system: SystemRoots, extra: Roots) -> Result<Self, TlsError> {
        match &system {
            SystemRoots::File(_) => {}
            // Without a file there is nothing to put off.
            SystemRoots::Read(_) => drop(system.with(&extra)?),
        }
        Ok(Self { system, extra, configs: OnceLock::new() })
    }

    /// A configuration that verifies servers, and offers these protocols.
    pub(crate) fn config(&self, alpn: Alpn) -> Result<Arc<ClientConfig>, TlsError> {
        let configs = match self.configs.get() {
            Some(configs) => configs,
            None => {
                let roots = self.system.with(&self.extra)?;
                let configs = Configs {
                    any: client_config(&roots, Alpn::Http2OrHttp1)?,
                    http1: client_config(&roots, Alpn::Http1)?,
                };
                self.configs.get_or_init(|| configs)
            }
        };
        Ok(match alpn {
            Alpn::Http2OrHttp1 => configs.any.clone(),
            Alpn::Http1 => configs.http1.clone(),
        })
    }
}
