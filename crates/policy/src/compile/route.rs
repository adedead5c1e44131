//! A route made ready: by which names it is reached, what it opens, and where that leads.

use std::sync::Arc;

use crate::{
    decide::rule,
    model::{BaseUrl, LlmRoute},
    names::Host,
    patterns::PathPattern,
    provider::{Endpoint, Provider, ProviderFacts},
};

/// A route with its provider's endpoints as patterns.
#[derive(Debug)]
pub(crate) struct CompiledRoute {
    pub(crate) route: Arc<LlmRoute>,
    pub(crate) facts: &'static ProviderFacts,
    /// What is known of the provider whose API is behind: the same, where nothing is translated.
    pub(crate) behind: &'static ProviderFacts,
    /// Where translated calls go there.
    pub(crate) translated: Option<&'static Endpoint>,
    /// Where the request goes.
    pub(crate) backend: BaseUrl,
    /// The host by which programs reach it, beside our own names.
    host: Option<Host>,
    /// What stands before an endpoint's path at that host.
    base: Box<str>,
    endpoints: Vec<(&'static Endpoint, PathPattern)>,
    /// What is tried where this one fails, in order.
    pub(crate) fallbacks: Vec<Arc<CompiledRoute>>,
}

/// An endpoint that a route opens, and what of the path is the endpoint's own.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Opened<'a> {
    pub(crate) endpoint: &'static Endpoint,
    pub(crate) path: &'a str,
}

impl CompiledRoute {
    /// None where its backend is nowhere.
    pub(super) fn new(route: &LlmRoute) -> Option<Self> {
        let fallbacks = route.fallback.iter().map(|fallback| fallback.inheriting(route));
        let fallbacks = fallbacks.filter_map(|route| Self::new(&route)).map(Arc::new).collect();
        let (facts, backend) = (route.provider.facts(), route.backend()?);
        let behind = route.behind().facts();
        // What is translated is conversations, and nothing else.
        let only = route.backend_provider.and(facts.conversation);
        let translated = route.backend_provider.and_then(|_| behind.conversation_endpoint());
        let open = facts.endpoints.iter().filter(|end| only.is_none_or(|only| end.path == only.path));
        let endpoints = open.filter_map(|end| Some((end, end.pattern()?))).collect();
        let base = if facts.host.is_some() { facts.base.into() } else { Box::from(&*backend.prefix) };
        let (route, host) = (Arc::new(route.clone()), route.host());
        Some(Self { route, facts, behind, translated, backend, host, base, endpoints, fallbacks })
    }

    pub(super) fn is_reached_by(&self, name: RouteName, host: &Host) -> bool {
        match name {
            RouteName::Any => true,
            RouteName::Provider(provider) => self.route.provider == provider,
            RouteName::Other => self.host.as_ref() == Some(host),
        }
    }

    /// Whether any of its endpoints has this method.
    pub(crate) fn has_method(&self, method: &str) -> bool {
        self.endpoints.iter().any(|(endpoint, _)| rule::method_is(endpoint.method, method))
    }

    /// The endpoint that a request at this host is for.
    pub(crate) fn opens<'a>(&self, host: &Host, method: &str, path: &'a str) -> Option<Opened<'a>> {
        let own = self.host.as_ref() == Some(host);
        let bases = if own { [&*self.base; 2] } else { [self.facts.base, self.facts.inner] };
        bases.into_iter().find_map(|base| self.below(base, method, path))
    }

    /// The endpoint of a fallback that a call of another route can be sent to: the one with its path inside.
    pub(crate) fn opens_call<'a>(&self, method: &str, path: &'a str) -> Option<Opened<'a>> {
        let opened = self.below(self.facts.inner, method, path)?;
        opened.endpoint.calls_model().then_some(opened)
    }

    fn below<'a>(&self, base: &str, method: &str, path: &'a str) -> Option<Opened<'a>> {
        let path = path.strip_prefix(base).filter(|rest| rest.starts_with('/'))?;
        let opens = |(endpoint, pattern): &&(&'static Endpoint, PathPattern)| {
            rule::method_is(endpoint.method, method)
                && pattern.matches(path)
                && (!endpoint.model_in_path() || endpoint.model_of(path).is_some())
        };
        let (endpoint, _) = self.endpoints.iter().find(opens)?;
        Some(Opened { endpoint, path })
    }
}

/// What a host says about a route.
#[derive(Clone, Copy)]
pub(super) enum RouteName {
    /// `llm.internal`
    Any,
    /// `<provider>.llm.internal`
    Provider(Provider),
    /// A real host, or none of ours.
    Other,
}

impl RouteName {
    pub(super) fn of(host: &Host) -> Self {
        let Some(front) = host.name().and_then(|name| name.strip_suffix("llm.internal")) else {
            return Self::Other;
        };
        if front.is_empty() {
            return Self::Any;
        }
        let provider = front
            .strip_suffix('.')
            .and_then(|label| Provider::ALL.into_iter().find(|provider| provider.as_str() == label));
        provider.map_or(Self::Other, Self::Provider)
    }
}
