//! Permits: the proof that a request was judged and allowed. Only [`decide`](crate::decide) makes them.

use std::sync::Arc;

use chiton_secret::SecretRef;

use crate::{
    canonical::Intent,
    compile::CompiledRoute,
    denial::Denial,
    model::{BaseUrl, Cidr, Credential, HttpRule, LlmRoute, RequestLimits},
    names::{Host, Method, Port, RuleName, Scheme},
    provider::{Endpoint, Provider, ProviderFacts},
};

/// One request that may go upstream, and how. Dialling, injecting and relaying consume it.
#[derive(Debug)]
pub struct RequestPermit {
    pub(crate) intent: Intent,
    pub(crate) revision: u64,
    pub(crate) grant: Grant,
}

/// What allowed it.
#[derive(Debug)]
pub(crate) enum Grant {
    Rule(Arc<HttpRule>),
    Route(Box<RouteGrant>),
    /// Nothing did: mode `audit` lets it pass, and this is what would have been said.
    Audit(Box<Denial>),
}

/// An endpoint of a route.
#[derive(Clone, Debug)]
pub(crate) struct RouteGrant {
    pub(crate) route: Arc<CompiledRoute>,
    pub(crate) endpoint: &'static Endpoint,
    /// The request at its backend.
    pub(crate) target: Intent,
    /// Where it may go instead, in order.
    pub(crate) fallbacks: Vec<RouteGrant>,
}

impl RequestPermit {
    /// What was judged.
    #[must_use]
    pub const fn intent(&self) -> &Intent {
        &self.intent
    }

    /// The revision that judged it.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The host to dial and to verify. A route's is its backend's, whatever name the agent used.
    #[must_use]
    pub fn host(&self) -> &Host {
        match &self.grant {
            Grant::Route(granted) => &granted.route.backend.host,
            Grant::Rule(_) | Grant::Audit(_) => self.intent.host(),
        }
    }

    /// The same, and those of its fallbacks.
    pub fn hosts(&self) -> impl Iterator<Item = &Host> {
        let fallbacks = match &self.grant {
            Grant::Route(granted) => granted.fallbacks.as_slice(),
            Grant::Rule(_) | Grant::Audit(_) => &[],
        };
        std::iter::once(self.host()).chain(fallbacks.iter().map(|granted| &granted.route.backend.host))
    }

    /// The port to dial.
    #[must_use]
    pub fn port(&self) -> Port {
        match &self.grant {
            Grant::Route(granted) => granted.route.backend.port,
            Grant::Rule(_) | Grant::Audit(_) => self.intent.port(),
        }
    }

    /// Over TLS or in the clear.
    #[must_use]
    pub fn scheme(&self) -> Scheme {
        match &self.grant {
            Grant::Route(granted) => granted.route.backend.scheme,
            Grant::Rule(_) | Grant::Audit(_) => self.intent.scheme(),
        }
    }

    /// The method to send.
    #[must_use]
    pub fn method(&self) -> &Method {
        self.intent.method()
    }

    /// The request as it is sent, as far as its target goes: a route leads to its backend's path.
    #[must_use]
    pub fn target(&self) -> &Intent {
        match &self.grant {
            Grant::Route(granted) => &granted.target,
            Grant::Rule(_) | Grant::Audit(_) => &self.intent,
        }
    }

    /// The target to send, canonical.
    #[must_use]
    pub fn path_and_query(&self) -> &str {
        self.target().path_and_query()
    }

    /// The `Host` (or `:authority`) to send.
    #[must_use]
    pub fn authority(&self) -> String {
        match &self.grant {
            Grant::Route(granted) => granted.route.backend.authority(),
            Grant::Rule(_) | Grant::Audit(_) => self.intent.authority(),
        }
    }

    /// The rule or route that allowed it; none where only mode `audit` did.
    #[must_use]
    pub fn rule(&self) -> Option<&RuleName> {
        match &self.grant {
            Grant::Rule(rule) => Some(&rule.name),
            Grant::Route(granted) => Some(&granted.route.route.name),
            Grant::Audit(_) => None,
        }
    }

    /// What would have been refused, where mode `audit` let it pass: the event's decision is then `audit`.
    #[must_use]
    pub fn audited(&self) -> Option<&Denial> {
        match &self.grant {
            Grant::Audit(denial) => Some(denial),
            Grant::Rule(_) | Grant::Route(_) => None,
        }
    }

    /// Whether the host may resolve to a private address.
    #[must_use]
    pub fn private_addresses(&self) -> bool {
        self.http_rule().is_some_and(|rule| rule.private_addresses)
    }

    /// The only addresses that the host may resolve to; empty means no such limit.
    #[must_use]
    pub fn allowed_addresses(&self) -> &[Cidr] {
        self.http_rule().map_or(&[], |rule| &rule.allowed_addresses)
    }

    /// Whether this request may be upgraded to a WebSocket; in mode `audit` any GET that no rule allows may.
    #[must_use]
    pub fn websocket(&self) -> bool {
        let open = match &self.grant {
            Grant::Rule(rule) => rule.websocket,
            Grant::Audit(_) => true,
            Grant::Route(_) => false,
        };
        open && self.intent.method().as_str() == "GET"
    }

    /// The credential of the rule.
    #[must_use]
    pub fn credential(&self) -> Option<&Credential> {
        self.http_rule()?.credential.as_ref()
    }

    /// The limits of the rule.
    #[must_use]
    pub fn limits(&self) -> Option<&RequestLimits> {
        self.http_rule().map(|rule| &rule.limits)
    }

    /// How many bytes the request's body may have.
    #[must_use]
    pub fn most_of_request(&self) -> Option<u64> {
        self.limits()?.request_body.map(|size| size.0)
    }

    /// How many bytes the response's body may have.
    #[must_use]
    pub fn most_of_response(&self) -> Option<u64> {
        self.limits()?.response_body.map(|size| size.0)
    }

    /// Where an LLM call may go next, in order, should this permit's backend not serve it: a permit for each fallback.
    #[must_use]
    pub fn fallbacks(&self) -> Vec<RequestPermit> {
        let Grant::Route(granted) = &self.grant else { return Vec::new() };
        let permit = |granted: &RouteGrant| Self {
            intent: self.intent.clone(),
            revision: self.revision,
            grant: Grant::Route(Box::new(granted.clone())),
        };
        granted.fallbacks.iter().map(permit).collect()
    }

    /// The route, where it is an LLM call.
    #[must_use]
    pub fn llm(&self) -> Option<LlmGrant<'_>> {
        match &self.grant {
            Grant::Route(granted) => Some(LlmGrant { granted }),
            Grant::Rule(_) | Grant::Audit(_) => None,
        }
    }

    fn http_rule(&self) -> Option<&HttpRule> {
        match &self.grant {
            Grant::Rule(rule) => Some(rule),
            Grant::Route(_) | Grant::Audit(_) => None,
        }
    }
}

/// What a route says about the call that it allowed.
#[derive(Clone, Copy, Debug)]
pub struct LlmGrant<'a> {
    granted: &'a RouteGrant,
}

impl<'a> LlmGrant<'a> {
    /// Whose API it is.
    #[must_use]
    pub fn provider(&self) -> Provider {
        self.route().provider
    }

    /// Where the key goes, in which form, and how the API is spoken.
    #[must_use]
    pub fn facts(&self) -> &'static ProviderFacts {
        self.granted.route.facts
    }

    /// The same of the API that is spoken behind: another, where the call is to be translated.
    #[must_use]
    pub fn backend_facts(&self) -> &'static ProviderFacts {
        self.granted.route.behind
    }

    /// Where a call that is to be translated goes; none where it goes as it is.
    #[must_use]
    pub fn translated(&self) -> Option<&'static Endpoint> {
        self.granted.route.translated
    }

    /// What the call is for.
    #[must_use]
    pub const fn endpoint(&self) -> &'static Endpoint {
        self.granted.endpoint
    }

    /// The model that stands in the path, as it is sent; none where it stands in the body.
    #[must_use]
    pub fn model_in_path(&self) -> Option<String> {
        let path = self.granted.target.path().strip_prefix(&*self.granted.route.backend.prefix)?;
        self.granted.endpoint.model_of(path)
    }

    /// Where it goes.
    #[must_use]
    pub fn backend(&self) -> &'a BaseUrl {
        &self.granted.route.backend
    }

    /// Whether every credential that the agent sends is removed.
    #[must_use]
    pub fn strip_caller_credentials(&self) -> bool {
        self.route().strip_caller_credentials
    }

    /// The credential to add.
    #[must_use]
    pub fn inject(&self) -> Option<&'a SecretRef> {
        self.route().inject_backend_credential.as_ref()
    }

    /// The route itself.
    #[must_use]
    pub fn route(&self) -> &'a Arc<LlmRoute> {
        &self.granted.route.route
    }
}
