//! Why something was refused: a closed set of reasons, and what a person is told.
//!
//! A [`Denial`] is cheap to make; its words are written when they are asked for.

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use crate::{
    binary::Binary,
    canonical::{Ambiguity, Ambiguous, Intent},
    model::{HttpRule, MethodSet},
    names::{Port, RuleName, Scheme},
};

/// Why. The set is closed, and its order is the order in which a request meets them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Reason {
    /// Two servers could read the request differently.
    AmbiguousRequest,
    /// No rule names the host.
    HostNotAllowed,
    /// No rule for the host has this scheme.
    SchemeNotAllowed,
    /// No rule for the host has this port.
    PortNotAllowed,
    /// The rule is for other executables.
    BinaryNotAllowed,
    /// A `deny` matches.
    DeniedByRule,
    /// The rule has other methods.
    MethodNotAllowed,
    /// The rule has other paths.
    PathNotAllowed,
    /// The rule asks for another query.
    QueryNotAllowed,
    /// The host resolves to an address that it may not.
    PrivateAddress,
    /// The upstream server could not be verified.
    UpstreamTls,
    /// The operator's forward proxy did not lead there.
    UpstreamProxy,
    /// The credential is not there.
    CredentialUnavailable,
    /// The model is not one of the route's.
    ModelNotAllowed,
    /// The call says what cannot be said in the API of the route's backend.
    Untranslatable,
    /// A limit is used up.
    LimitExceeded,
}

impl Reason {
    /// Every reason, in order.
    pub const ALL: [Reason; 16] = [
        Reason::AmbiguousRequest,
        Reason::HostNotAllowed,
        Reason::SchemeNotAllowed,
        Reason::PortNotAllowed,
        Reason::BinaryNotAllowed,
        Reason::DeniedByRule,
        Reason::MethodNotAllowed,
        Reason::PathNotAllowed,
        Reason::QueryNotAllowed,
        Reason::PrivateAddress,
        Reason::UpstreamTls,
        Reason::UpstreamProxy,
        Reason::CredentialUnavailable,
        Reason::ModelNotAllowed,
        Reason::Untranslatable,
        Reason::LimitExceeded,
    ];

    /// As in `x-chiton-denied` and in events.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Reason::AmbiguousRequest => "ambiguous_request",
            Reason::HostNotAllowed => "host_not_allowed",
            Reason::SchemeNotAllowed => "scheme_not_allowed",
            Reason::PortNotAllowed => "port_not_allowed",
            Reason::BinaryNotAllowed => "binary_not_allowed",
            Reason::DeniedByRule => "denied_by_rule",
            Reason::MethodNotAllowed => "method_not_allowed",
            Reason::PathNotAllowed => "path_not_allowed",
            Reason::QueryNotAllowed => "query_not_allowed",
            Reason::PrivateAddress => "private_address",
            Reason::UpstreamTls => "upstream_tls",
            Reason::UpstreamProxy => "upstream_proxy",
            Reason::CredentialUnavailable => "credential_unavailable",
            Reason::ModelNotAllowed => "model_not_allowed",
            Reason::Untranslatable => "untranslatable",
            Reason::LimitExceeded => "limit_exceeded",
        }
    }
}

impl fmt::Display for Reason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A refusal.
#[derive(Clone, Debug)]
pub struct Denial {
    reason: Reason,
    rule: Option<RuleName>,
    intent: Option<Intent>,
    why: Why,
}

/// What is said after the colon.
#[derive(Clone, Debug)]
enum Why {
    /// The rule that came nearest, none where no rule names the host.
    Rule(Option<Arc<HttpRule>>),
    /// A route of `llm_routing`.
    Route,
    /// What two servers could read differently.
    Ambiguous(Ambiguity),
    /// Told by whoever refused.
    Said(String),
}

impl Denial {
    pub(crate) fn by_rule(reason: Reason, rule: Option<Arc<HttpRule>>, intent: &Intent) -> Self {
        let name = rule.as_ref().map(|rule| rule.name.clone());
        Self { reason, rule: name, intent: Some(intent.clone()), why: Why::Rule(rule) }
    }

    pub(crate) fn by_route(reason: Reason, route: RuleName, intent: &Intent) -> Self {
        Self { reason, rule: Some(route), intent: Some(intent.clone()), why: Why::Route }
    }

    pub(crate) fn ambiguous(ambiguity: Ambiguity, rule: Option<RuleName>, intent: &Intent) -> Self {
        let why = Why::Ambiguous(ambiguity);
        Self { reason: Reason::AmbiguousRequest, rule, intent: Some(intent.clone()), why }
    }

    /// A call of a model that the route does not have; or of one that cannot be told.
    #[must_use]
    pub fn of_model(model: Option<&str>, route: RuleName, intent: &Intent) -> Self {
        let shown =
            |model: &&str| model.len() <= 100 && model.bytes().all(|b| b.is_ascii_graphic() && b != b'`');
        let said = match model {
            Some(model) => match Some(model).filter(shown) {
                Some(model) => format!("route \"{route}\" does not have `{model}` in its `models`"),
                None => format!("route \"{route}\" does not have this name in its `models`"),
            },
            None => format!("route \"{route}\" has `models`, and which one the call is for cannot be told"),
        };
        Self::after_permit(Reason::ModelNotAllowed, Some(route), intent, said)
    }

    /// A refusal after a rule allowed the request: an address, a certificate, a credential, a limit.
    /// `said` is one clause, lower case, without a full stop, and holds no secret.
    #[must_use]
    pub fn after_permit(
        reason: Reason,
        rule: Option<RuleName>,
        intent: &Intent,
        said: impl Into<String>,
    ) -> Self {
        Self { reason, rule, intent: Some(intent.clone()), why: Why::Said(said.into()) }
    }

    /// A refusal of something that is no request: a connection, a question. As [`Denial::after_permit`].
    #[must_use]
    pub fn of_connection(reason: Reason, said: impl Into<String>) -> Self {
        Self { reason, rule: None, intent: None, why: Why::Said(said.into()) }
    }

    pub(crate) fn of_connect(reason: Reason, rule: Option<RuleName>, said: String) -> Self {
        Self { reason, rule, intent: None, why: Why::Said(said) }
    }

    /// Why.
    #[must_use]
    pub const fn reason(&self) -> Reason {
        self.reason
    }

    /// The rule that came nearest.
    #[must_use]
    pub const fn rule(&self) -> Option<&RuleName> {
        self.rule.as_ref()
    }

    /// What was refused, where it is a request.
    #[must_use]
    pub const fn intent(&self) -> Option<&Intent> {
        self.intent.as_ref()
    }

    /// One sentence for a person.
    #[must_use]
    pub fn detail(&self) -> String {
        let Some(intent) = &self.intent else { return self.because() };
        let (method, path, host) = (intent.method(), intent.path(), intent.host());
        format!("{method} {path} is not allowed for {host}: {}", self.because())
    }

    fn because(&self) -> String {
        match &self.why {
            Why::Said(said) => said.clone(),
            Why::Ambiguous(ambiguity) => Ambiguous(*ambiguity).to_string(),
            Why::Route => self.route_because(),
            Why::Rule(None) => "no rule names this host".to_owned(),
            Why::Rule(Some(rule)) if self.reason == Reason::BinaryNotAllowed => self.binary_because(rule),
            Why::Rule(Some(rule)) => rule_because(self.reason, rule),
        }
    }

    fn binary_because(&self, rule: &HttpRule) -> String {
        let asks = who_asks(self.intent.as_ref().and_then(Intent::binary));
        format!("rule \"{}\" is for other executables, and {asks}", rule.name)
    }

    fn route_because(&self) -> String {
        let name = self.rule.as_ref().map_or("llm_routing", RuleName::as_str);
        match self.reason {
            Reason::SchemeNotAllowed => format!("route \"{name}\" is reached by https only"),
            Reason::PortNotAllowed => format!("route \"{name}\" is reached on port 443 only"),
            Reason::DeniedByRule => format!("a deny of rule \"{name}\" matches"),
            Reason::MethodNotAllowed => format!("no inference endpoint of route \"{name}\" has this method"),
            _ => format!("route \"{name}\" opens the provider's inference endpoints only"),
        }
    }

    /// The narrowest rule that would have allowed it, as YAML; none where a rule could not or should not.
    #[must_use]
    pub fn suggestion(&self) -> Option<String> {
        let intent = self.intent.as_ref()?;
        let helps = match self.why {
            Why::Rule(_) => self.reason != Reason::DeniedByRule && self.reason != Reason::BinaryNotAllowed,
            Why::Route | Why::Ambiguous(_) | Why::Said(_) => false,
        };
        helps.then(|| narrowest(intent))
    }
}

impl From<Ambiguous> for Denial {
    fn from(ambiguous: Ambiguous) -> Self {
        let why = Why::Ambiguous(ambiguous.0);
        Self { reason: Reason::AmbiguousRequest, rule: None, intent: None, why }
    }
}

pub(crate) fn who_asks(binary: Option<&Binary>) -> String {
    binary.map_or_else(
        || "which one asks cannot be told".to_owned(),
        |binary| format!("`{}` asks", binary.shown()),
    )
}

fn rule_because(reason: Reason, rule: &HttpRule) -> String {
    let name = &rule.name;
    match reason {
        Reason::SchemeNotAllowed => format!("rule \"{name}\" allows {} only", rule.scheme),
        Reason::PortNotAllowed => {
            let ports: Vec<String> = rule.ports.iter().map(Port::to_string).collect();
            format!("rule \"{name}\" allows port {} only", ports.join(", "))
        }
        Reason::DeniedByRule => format!("a deny of rule \"{name}\" matches"),
        Reason::MethodNotAllowed => match &rule.methods {
            MethodSet::These(these) if these.is_empty() => format!("rule \"{name}\" allows no method"),
            MethodSet::These(these) => {
                let these: Vec<&str> = these.iter().map(crate::names::Method::as_str).collect();
                format!("rule \"{name}\" allows {} only", these.join(", "))
            }
            MethodSet::Any => format!("rule \"{name}\" allows any method but CONNECT"),
        },
        Reason::PathNotAllowed => format!("no path pattern of rule \"{name}\" matches"),
        Reason::QueryNotAllowed => format!("the query is not the one that rule \"{name}\" asks for"),
        Reason::AmbiguousRequest
        | Reason::HostNotAllowed
        | Reason::BinaryNotAllowed
        | Reason::PrivateAddress
        | Reason::UpstreamTls
        | Reason::UpstreamProxy
        | Reason::CredentialUnavailable
        | Reason::ModelNotAllowed
        | Reason::Untranslatable
        | Reason::LimitExceeded => format!("rule \"{name}\" does not allow it"),
    }
}

fn narrowest(intent: &Intent) -> String {
    let mut rule = format!("- host: {}\n", yaml_word(&intent.host().to_string()));
    if intent.scheme() != Scheme::Https {
        rule.push_str(&format!("  scheme: {}\n", intent.scheme()));
    }
    if intent.port() != intent.scheme().default_port() {
        rule.push_str(&format!("  ports: [{}]\n", intent.port()));
    }
    let (method, path) = (yaml_word(intent.method().as_str()), yaml_word(intent.path()));
    rule.push_str(&format!("  methods: [{method}]\n  paths: [{path}]"));
    rule
}

/// A text as YAML inside `[…]`, quoted only where it must be.
fn yaml_word(text: &str) -> String {
    let plain = |b: u8| {
        b.is_ascii_alphanumeric() || matches!(b, b'/' | b'.' | b'_' | b'-' | b'~' | b'+' | b'=' | b';')
    };
    let starts = text.bytes().next().is_some_and(|b| b.is_ascii_alphabetic() || b == b'/');
    let percent = text.bytes().all(|b| plain(b) || b == b'%');
    let word = matches!(text.to_ascii_lowercase().as_str(), "null" | "true" | "false");
    let number = text.bytes().all(|b| b.is_ascii_digit() || b == b'.');
    if starts && percent && !word || (number && text.matches('.').count() == 3) {
        text.to_owned()
    } else {
        serde_json::Value::from(text).to_string()
    }
}
