//! The control link to a proxy: one request, one reply, in order.

use std::{io, time::Duration};

use chiton_api::{
    control::{ProxyReply, ProxyRequest, ProxyStatus},
    frame,
};
use chiton_driver::Link;
use chiton_secret::SecretRef;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::timeout,
};

/// A proxy that has not answered by then is taken for dead.
const PATIENCE: Duration = Duration::from_secs(10);

/// An open link.
pub(crate) struct ProxyLink(Link);

impl ProxyLink {
    pub(crate) fn new(link: Link) -> Self {
        Self(link)
    }

    /// Asks, and waits for the answer.
    pub(crate) async fn ask(&mut self, request: &ProxyRequest) -> io::Result<ProxyReply> {
        let answer = timeout(PATIENCE, self.exchange(request)).await;
        answer.unwrap_or_else(|_| Err(io::Error::new(io::ErrorKind::TimedOut, "the proxy does not answer")))
    }

    /// Where the proxy stands.
    pub(crate) async fn status(&mut self) -> io::Result<ProxyStatus> {
        match self.ask(&ProxyRequest::Status).await? {
            ProxyReply::Status(status) => Ok(status),
            ProxyReply::Failed(failure) => Err(io::Error::other(failure)),
            ProxyReply::Enforcing { .. } | ProxyReply::Rejected(_) | ProxyReply::Done => Err(out_of_order()),
        }
    }

    /// Which credentials servers refused, once they did. Nothing else can be asked on this link meanwhile.
    pub(crate) async fn rejected(&mut self) -> io::Result<Vec<SecretRef>> {
        match self.exchange(&ProxyRequest::AwaitRejected).await? {
            ProxyReply::Rejected(references) => Ok(references),
            ProxyReply::Failed(failure) => Err(io::Error::other(failure)),
            ProxyReply::Enforcing { .. } | ProxyReply::Status(_) | ProxyReply::Done => Err(out_of_order()),
        }
    }

    /// Resolves when the proxy is gone: it says nothing unasked, so anything that comes is its end.
    pub(crate) async fn ended(&mut self) {
        let mut byte = [0; 1];
        let _ = self.0.read(&mut byte).await;
    }

    async fn exchange(&mut self, request: &ProxyRequest) -> io::Result<ProxyReply> {
        self.0.write_all(&frame::encode(request)?).await?;
        self.0.flush().await?;
        let mut length = [0; 4];
        self.0.read_exact(&mut length).await?;
        let mut bytes = vec![0; frame::checked_len(length)?];
        self.0.read_exact(&mut bytes).await?;
        frame::decode(&bytes)
    }
}

/// The answer to another question.
pub(crate) fn out_of_order() -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, "the proxy answered something else than what was asked")
}
