//! One question to Vault and its answer, over a connection of its own: questions are rare, and servers come and go.

use std::{
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chiton_policy::Host;
use chiton_secret::SecretValue;
use chiton_tls::{Alpn, Roots};
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use rustls::pki_types::ServerName;
use tokio::{
    io::{AsyncRead, AsyncWrite},
    net::TcpStream,
    task::AbortHandle,
    time::timeout,
};
use tokio_rustls::TlsConnector;
use zeroize::{Zeroize, Zeroizing};

use super::{VaultAddress, VaultError, VaultRoots, VaultSettings};

/// No secret is longer, with everything around it.
const LONGEST: usize = 1 << 20;

/// How a Vault is reached.
pub(super) struct Client {
    address: VaultAddress,
    namespace: Option<String>,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    overridden: Option<SocketAddr>,
    patience: Duration,
}

/// A question.
pub(super) struct Ask<'a> {
    method: Method,
    /// Behind `/v1/`.
    target: &'a str,
    token: Option<&'a SecretValue>,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Ask<'a> {
    pub(super) const fn get(target: &'a str) -> Self {
        Self { method: Method::GET, target, token: None, body: None }
    }

    pub(super) const fn post(target: &'a str, body: Zeroizing<Vec<u8>>) -> Self {
        Self { method: Method::POST, target, token: None, body: Some(body) }
    }

    pub(super) fn by(self, token: &'a SecretValue) -> Self {
        Self { token: Some(token), ..self }
    }
}

/// An answer.
pub(super) struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(super) const fn status(&self) -> u16 {
        self.status
    }

    pub(super) fn body(&self) -> &[u8] {
        &self.body
    }

    /// What an answer means that is not the one that was hoped for.
    pub(super) const fn fault(&self) -> VaultError {
        match self.status {
            403 => VaultError::Forbidden,
            429 => VaultError::TooMany { retry_after: self.retry_after },
            472 | 473 => VaultError::Standby(self.status),
            300..400 => VaultError::Redirected(self.status),
            503 => VaultError::Sealed,
            500..600 => VaultError::Failed(self.status),
            _ => VaultError::Odd("its status is not one of this question's"),
        }
    }
}

impl Client {
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let address = settings.address.clone();
        let tls = if address.tls() { Some(connector(&settings.roots, address.host())?) } else { None };
        let overridden = settings.resolve.get(&address.authority()).copied();
        let namespace = settings.namespace.clone();
        Ok(Self { address, namespace, tls, overridden, patience: settings.timeout })
    }

    /// Asks, within a time that is bounded.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, VaultError> {
        let answered = timeout(self.patience, self.ask_patiently(ask)).await;
        let late = |_| VaultError::TimedOut { address: self.address.authority(), after: self.patience };
        answered.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn ask_patiently(&self, ask: Ask<'_>) -> Result<Answer, VaultError> {
        let stream = self.connect().await?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.exchange(stream.map_err(|error| self.unreachable(error))?, ask).await
            }
            None => self.exchange(stream, ask).await,
        }
    }

    async fn exchange<S>(&self, stream: S, ask: Ask<'_>) -> Result<Answer, VaultError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let request = self.request(ask)?;
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.unreachable(error))?;
        let _ends = Ends(tokio::spawn(connection).abort_handle());
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
        self.answer(response).await
    }

    async fn answer(&self, mut response: Response<Incoming>) -> Result<Answer, VaultError> {
        let status = response.status().as_u16();
        let retry_after = response.headers().get(header::RETRY_AFTER);
        let retry_after = retry_after.and_then(|value| value.to_str().ok()?.parse().ok());
        let retry_after = retry_after.map(Duration::from_secs);
        // Grown by copying, and never past its room, so that nothing of it is left where it was.
        let mut body = Zeroizing::new(Vec::with_capacity(LONGEST));
        while let Some(frame) = response.body_mut().frame().await {
            let frame = frame.map_err(|error| self.unreachable(error))?;
            let Ok(data) = frame.into_data() else { continue };
            if body.len() + data.len() > LONGEST {
                return Err(VaultError::Odd("it is longer than any secret"));
            }
            body.extend_from_slice(&data);
            if let Ok(mut data) = data.try_into_mut() {
                data.zeroize();
            }
        }
        Ok(Answer { status, retry_after, body })
    }

    fn request(&self, ask: Ask<'_>) -> Result<Request<Full<Bytes>>, VaultError> {
        let Ask { method, target, token, body } = ask;
        let mut builder = Request::builder()
            .method(method)
            .uri(format!("/v1/{target}"))
            .header(header::HOST, self.address.authority())
            .header("x-vault-request", "true");
        if let Some(token) = token {
            let value = header::HeaderValue::from_bytes(token.dangerous_expose());
            let mut value =
                value.map_err(|_| VaultError::NoMeans("the token cannot stand in a header".to_owned()))?;
            value.set_sensitive(true);
            builder = builder.header("x-vault-token", value);
        }
        if let Some(namespace) = &self.namespace {
            builder = builder.header("x-vault-namespace", namespace);
        }
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        // Wiped when the last piece of it was sent.
        let body = body.map_or_else(Bytes::new, Bytes::from_owner);
        builder.body(Full::new(body)).map_err(|_| VaultError::Odd("a path of it cannot be asked for"))
    }

    async fn connect(&self) -> Result<TcpStream, VaultError> {
        let mut last = "it has no address".to_owned();
        for address in self.addresses().await? {
            match TcpStream::connect(address).await {
                Ok(stream) => {
                    let _ = stream.set_nodelay(true);
                    return Ok(stream);
                }
                Err(error) => last = error.to_string(),
            }
        }
        Err(self.unreachable(last))
    }

    async fn addresses(&self) -> Result<Vec<SocketAddr>, VaultError> {
        if let Some(address) = self.overridden {
            return Ok(vec![address]);
        }
        let port = self.address.port().get();
        let name = match self.address.host() {
            Host::Ip(address) => return Ok(vec![SocketAddr::new(*address, port)]),
            Host::Name(name) => name.as_str(),
        };
        // The host's own settings as they are now: a static program has no other resolver.
        let resolver = TokioResolver::builder_tokio().and_then(|builder| builder.build());
        let found = resolver.map_err(|error| self.unreachable(error))?.lookup_ip(name).await;
        let found: Vec<IpAddr> = found.map_err(|error| self.unreachable(error))?.iter().collect();
        Ok(found.into_iter().map(|address| SocketAddr::new(address, port)).collect())
    }

    fn unreachable(&self, why: impl ToString) -> VaultError {
        VaultError::Unreachable { address: self.address.authority(), why: why.to_string() }
    }
}

fn connector(roots: &VaultRoots, host: &Host) -> Result<(TlsConnector, ServerName<'static>), VaultError> {
    let roots = match roots {
        VaultRoots::Only(pem) => Roots::only(pem)?,
        VaultRoots::SystemAnd(pem) => Roots::load(pem)?,
    };
    let config = chiton_tls::client_config(&roots, Alpn::Http1)?;
    let name = match host {
        Host::Ip(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned())
            .map_err(|_| VaultError::Odd("its name cannot be verified"))?,
    };
    Ok((TlsConnector::from(Arc::clone(&config)), name))
}

/// The connection ends with the question.
struct Ends(AbortHandle);

impl Drop for Ends {
    fn drop(&mut self) {
        self.0.abort();
    }
}
