//! The agent's side: server configurations that present the sandbox's leaves.

use std::{fmt, sync::Arc};

use rustls::{
    ServerConfig,
    crypto::aws_lc_rs::Ticketer,
    server::{ClientHello, ResolvesServerCert, ServerSessionMemoryCache},
    sign::CertifiedKey,
};

use crate::{Leaves, TlsError, upstream::provider};

/// Which protocols an agent may choose from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Offered {
    /// HTTP/2 first.
    Http2OrHttp1,
    /// Without HTTP/2.
    Http1,
}

/// Ends the agent's TLS. One a process: sessions are resumed across connections, by the same server name only.
pub struct Terminator {
    leaves: Arc<Leaves>,
    base: ServerConfig,
}

impl fmt::Debug for Terminator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Terminator").field("leaves", &self.leaves).finish_non_exhaustive()
    }
}

impl Terminator {
    /// TLS 1.2 and 1.3, `h2` before `http/1.1` before `http/1.0` (which `curl -0` names alone), no client
    /// certificates, and our order of ciphers: both ends are on this machine.
    ///
    /// # Errors
    /// When the provider cannot make the key for session tickets.
    pub fn new(leaves: Arc<Leaves>) -> Result<Self, TlsError> {
        let resolver = Resolver { leaves: Arc::clone(&leaves), nameless: None };
        let mut base = ServerConfig::builder_with_provider(provider())
            .with_safe_default_protocol_versions()?
            .with_no_client_auth()
            .with_cert_resolver(Arc::new(resolver));
        base.alpn_protocols = [&b"h2"[..], b"http/1.1", b"http/1.0"].map(<[u8]>::to_vec).into();
        base.ignore_client_order = true;
        base.ticketer = Ticketer::new()?;
        base.session_storage = ServerSessionMemoryCache::new(256);
        Ok(Self { leaves, base })
    }

    /// For a connection whose ClientHello names the server. One without a name gets a leaf for `nameless`: the
    /// name or address that the agent connected to. Without either the handshake fails.
    #[must_use]
    pub fn config(&self, nameless: Option<&str>, offered: Offered) -> Arc<ServerConfig> {
        let mut config = self.base.clone();
        if offered == Offered::Http1 {
            config.alpn_protocols.retain(|protocol| protocol != b"h2");
        }
        let nameless = nameless.map(Into::into);
        config.cert_resolver = Arc::new(Resolver { leaves: Arc::clone(&self.leaves), nameless });
        Arc::new(config)
    }

    /// The leaves that it presents.
    #[must_use]
    pub fn leaves(&self) -> &Arc<Leaves> {
        &self.leaves
    }
}

struct Resolver {
    leaves: Arc<Leaves>,
    nameless: Option<Box<str>>,
}

impl fmt::Debug for Resolver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Resolver").field("nameless", &self.nameless).finish_non_exhaustive()
    }
}

impl ResolvesServerCert for Resolver {
    fn resolve(&self, hello: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        let host = hello.server_name().or(self.nameless.as_deref())?;
        self.leaves.leaf(host).ok()
    }
}
