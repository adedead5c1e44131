//! Which host answers what.

pub mod anthropic;
pub mod bedrock;
pub mod echo;
pub mod encode;
pub mod git;
pub mod google;
pub mod hostile;
pub mod npm;
pub mod openai;
pub mod pypi;
pub mod scripts;
mod tar;
pub mod websocket;
mod zip;

use std::{future::Future, sync::Arc};

use futures_util::future::BoxFuture;

use crate::server::{Answer, Handler, Received, answer};

type Route = Arc<dyn Fn(Received) -> BoxFuture<'static, Answer> + Send + Sync>;

/// Handlers by host and path prefix; the first that matches answers.
#[derive(Clone, Default)]
pub struct Router {
    routes: Vec<(Option<String>, String, Route)>,
}

impl Router {
    /// Nothing: every request is answered 404.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// A router that answers as [`echo`] does, for every host.
    #[must_use]
    pub fn echo() -> Self {
        Self::new().any("/", echo::answer_request)
    }

    /// Answers requests for a host (`*` is any) whose path begins so.
    #[must_use]
    pub fn on<F, A>(mut self, host: &str, prefix: &str, handler: F) -> Self
    where
        F: Fn(Received) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        let host = (host != "*").then(|| host.to_owned());
        let route: Route = Arc::new(move |received| Box::pin(handler(received)));
        self.routes.push((host, prefix.to_owned(), route));
        self
    }

    /// Answers requests for any host whose path begins so.
    #[must_use]
    pub fn any<F, A>(self, prefix: &str, handler: F) -> Self
    where
        F: Fn(Received) -> A + Send + Sync + 'static,
        A: Future<Output = Answer> + Send + 'static,
    {
        self.on("*", prefix, handler)
    }

    pub(crate) fn handler(self) -> Handler {
        Arc::new(move |received: Received| {
            let host = received.seen.host.split(':').next().unwrap_or_default();
            let found = self.routes.iter().find(|(wanted, prefix, _)| {
                wanted.as_deref().is_none_or(|wanted| wanted == host) && received.path.starts_with(prefix)
            });
            match found {
                Some((_, _, route)) => route(received),
                None => Box::pin(async { answer(404, "text/plain", "no such route\n") }),
            }
        })
    }
}
