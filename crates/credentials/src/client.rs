//! One question to a server and its answer, over a connection of its own: questions are rare, and servers come and go.
//!
//! The connection goes to the address that is configured, never through `[upstream] proxy`; redirects are not followed.

use std::{
    collections::BTreeMap,
    net::{IpAddr, SocketAddr},
    sync::Arc,
    time::Duration,
};

use bytes::Bytes;
use chiton_policy::Host;
use chiton_tls::{Alpn, Roots, TlsError};
use hickory_resolver::TokioResolver;
use http_body_util::{BodyExt, Full};
use hyper::{Method, Request, Response, body::Incoming, client::conn::http1, header, http::request::Builder};
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

use crate::ServerAddress;

/// No secret is longer, with everything around it.
const LONGEST: usize = 1 << 20;

/// What a server's certificate is verified by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ServerRoots {
    /// These (PEM) alone.
    Only(Vec<String>),
    /// The system's, and these.
    SystemAnd(Vec<String>),
}

/// How servers are reached.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reach {
    /// What their certificates are verified by.
    pub roots: ServerRoots,
    /// `[upstream.resolve]`: `host:port` → address.
    pub resolve: BTreeMap<String, SocketAddr>,
    /// So long an answer is waited for, from the first packet to the last.
    pub timeout: Duration,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum AskError {
    /// TLS cannot be set up.
    #[error(transparent)]
    Tls(#[from] TlsError),
    /// It has a name that no certificate has.
    #[error("its name cannot be verified")]
    Name,
    /// It is not reached.
    #[error("{address} is not reached: {why}")]
    Unreachable {
        /// Host and port.
        address: String,
        /// Why.
        why: String,
    },
    /// It is reached, and does not answer.
    #[error("{address} does not answer within {} ms", .after.as_millis())]
    TimedOut {
        /// Host and port.
        address: String,
        /// How long was waited.
        after: Duration,
    },
    /// It answers with too much.
    #[error("its answer is longer than any secret")]
    TooLong,
    /// What is asked has a letter that no request may have.
    #[error("the question cannot stand in a request")]
    Unaskable,
}

/// How a server is reached.
pub(crate) struct Client {
    address: ServerAddress,
    tls: Option<(TlsConnector, ServerName<'static>)>,
    overridden: Option<SocketAddr>,
    patience: Duration,
}

/// An answer.
pub(crate) struct Answer {
    status: u16,
    retry_after: Option<Duration>,
    body: Zeroizing<Vec<u8>>,
}

impl Answer {
    pub(crate) const fn status(&self) -> u16 {
        self.status
    }

    pub(crate) const fn retry_after(&self) -> Option<Duration> {
        self.retry_after
    }

    pub(crate) fn body(&self) -> &[u8] {
        &self.body
    }
}

impl Client {
    pub(crate) fn new(address: ServerAddress, reach: &Reach) -> Result<Self, AskError> {
        let tls = if address.tls() { Some(connector(&reach.roots, address.host())?) } else { None };
        let overridden = reach.resolve.get(&address.authority()).copied();
        Ok(Self { address, tls, overridden, patience: reach.timeout })
    }

    pub(crate) const fn address(&self) -> &ServerAddress {
        &self.address
    }

    /// Asks, within a time that is bounded.
    pub(crate) async fn ask(&self, request: Request<Full<Bytes>>) -> Result<Answer, AskError> {
        let answered = timeout(self.patience, self.ask_patiently(request)).await;
        let late = |_| AskError::TimedOut { address: self.address.authority(), after: self.patience };
        answered.unwrap_or_else(|elapsed| Err(late(elapsed)))
    }

    async fn ask_patiently(&self, request: Request<Full<Bytes>>) -> Result<Answer, AskError> {
        let stream = self.connect().await?;
        match &self.tls {
            Some((connector, name)) => {
                let stream = connector.connect(name.clone(), stream).await;
                self.exchange(stream.map_err(|error| self.unreachable(error))?, request).await
            }
            None => self.exchange(stream, request).await,
        }
    }

    async fn exchange<S>(&self, stream: S, request: Request<Full<Bytes>>) -> Result<Answer, AskError>
    where
        S: AsyncRead + AsyncWrite + Send + Unpin + 'static,
    {
        let shaken = http1::handshake(TokioIo::new(stream)).await;
        let (mut sender, connection) = shaken.map_err(|error| self.unreachable(error))?;
        let _ends = Ends(tokio::spawn(connection).abort_handle());
        let response = sender.send_request(request).await.map_err(|error| self.unreachable(error))?;
        self.answer(response).await
    }

    async fn answer(&self, mut response: Response<Incoming>) -> Result<Answer, AskError> {
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
                return Err(AskError::TooLong);
            }
            body.extend_from_slice(&data);
            if let Ok(mut data) = data.try_into_mut() {
                data.zeroize();
            }
        }
        Ok(Answer { status, retry_after, body })
    }

    /// The begin of a question; `host` is as its field has it.
    pub(crate) fn question(method: Method, target: &str, host: &str) -> Builder {
        Request::builder().method(method).uri(target).header(header::HOST, host)
    }

    async fn connect(&self) -> Result<TcpStream, AskError> {
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

    async fn addresses(&self) -> Result<Vec<SocketAddr>, AskError> {
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

    fn unreachable(&self, why: impl ToString) -> AskError {
        AskError::Unreachable { address: self.address.authority(), why: why.to_string() }
    }
}

/// The end of a question. A body is wiped when the last piece of it was sent.
pub(crate) fn asked(
    builder: Builder,
    body: Option<Zeroizing<Vec<u8>>>,
) -> Result<Request<Full<Bytes>>, AskError> {
    let body = body.map_or_else(Bytes::new, Bytes::from_owner);
    builder.body(Full::new(body)).map_err(|_| AskError::Unaskable)
}

fn connector(roots: &ServerRoots, host: &Host) -> Result<(TlsConnector, ServerName<'static>), AskError> {
    let roots = match roots {
        ServerRoots::Only(pem) => Roots::only(pem)?,
        ServerRoots::SystemAnd(pem) => Roots::load(pem)?,
    };
    let config = chiton_tls::client_config(&roots, Alpn::Http1)?;
    let name = match host {
        Host::Ip(address) => ServerName::from(*address),
        Host::Name(name) => ServerName::try_from(name.as_str().to_owned()).map_err(|_| AskError::Name)?,
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
