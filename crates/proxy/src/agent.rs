//! A captured connection of the agent, as a byte stream that its end knows how to leave.

use std::{
    io,
    ops::{Deref, DerefMut},
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, ReadBuf},
    net::TcpStream,
};
use tokio_util::sync::CancellationToken;

use crate::stream::writes_through;

/// The agent's end of a captured connection. Dropped after a cut it is reset: what the kernel holds back for an agent
/// that does not read must not reach it any more. So one descriptor is enough.
#[derive(Debug)]
pub(crate) struct AgentStream {
    stream: TcpStream,
    cut: CancellationToken,
}

impl AgentStream {
    /// `cut` is rung when nothing more may reach the agent.
    pub(crate) const fn new(stream: TcpStream, cut: CancellationToken) -> Self {
        Self { stream, cut }
    }

    /// Ends it so that the agent sees that something is missing.
    pub(crate) fn reset(self) {
        let _ = self.stream.set_zero_linger();
    }
}

impl Drop for AgentStream {
    fn drop(&mut self) {
        if self.cut.is_cancelled() {
            let _ = self.stream.set_zero_linger();
        }
    }
}

impl Deref for AgentStream {
    type Target = TcpStream;

    fn deref(&self) -> &TcpStream {
        &self.stream
    }
}

impl DerefMut for AgentStream {
    fn deref_mut(&mut self) -> &mut TcpStream {
        &mut self.stream
    }
}

impl AsyncRead for AgentStream {
    fn poll_read(self: Pin<&mut Self>, cx: &mut Context<'_>, to: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.get_mut().stream).poll_read(cx, to)
    }
}

writes_through!(impl [] AgentStream => stream);
