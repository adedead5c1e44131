//! The decision: a pure function of a compiled policy and an intent.
//!
//! Any matching `deny` refuses; else the first matching allow in document order permits; else the request is
//! refused with what stopped the rule that came nearest. A route's host is judged by its route alone.

pub(crate) mod rule;
mod upgrade;

use std::sync::Arc;

use rule::Stage;
pub use upgrade::decide_websocket;

use crate::{
    canonical::{Ambiguity, Intent},
    compile::{CompiledPolicy, CompiledRoute, Opened, is_internal},
    denial::{Denial, Reason},
    model::{HttpRule, MethodSet, Mode},
    names::Scheme,
    permit::{Grant, RequestPermit, RouteGrant},
    provider::Endpoint,
};

/// What was decided.
#[derive(Debug)]
pub enum Decision {
    /// It may go upstream.
    Allow(RequestPermit),
    /// It may not.
    Deny(Denial),
}

impl Decision {
    /// The permit, where there is one.
    ///
    /// # Errors
    /// The denial.
    pub fn into_permit(self) -> Result<RequestPermit, Denial> {
        match self {
            Decision::Allow(permit) => Ok(permit),
            Decision::Deny(denial) => Err(denial),
        }
    }

    /// Whether it may go upstream.
    #[must_use]
    pub const fn is_allowed(&self) -> bool {
        matches!(self, Decision::Allow(_))
    }
}

/// Judges a request.
#[must_use]
pub fn decide(policy: &CompiledPolicy, intent: &Intent) -> Decision {
    let judged = match policy.routes_for(intent.host()) {
        Some(routes) => judge_routes(policy, &routes, intent),
        None => judge_rules(policy, intent),
    };
    let grant = match judged {
        Ok(grant) => grant,
        Err(refusal) => match (policy.mode, refusal) {
            (Mode::Audit, Refusal::Waivable(denial)) => Grant::Audit(Box::new(denial)),
            (Mode::Enforce, Refusal::Waivable(denial)) | (_, Refusal::Firm(denial)) => {
                return Decision::Deny(denial);
            }
        },
    };
    Decision::Allow(RequestPermit { intent: intent.clone(), revision: policy.revision, grant })
}

/// A denial, and whether mode `audit` lets it pass.
enum Refusal {
    Waivable(Denial),
    Firm(Denial),
}

/// What the rules of one host say together.
#[derive(Default)]
struct Tally<'a> {
    /// The first rule in document order that allows it.
    allowed: Option<(u32, &'a Arc<HttpRule>)>,
    /// The rule that came nearest, the first in document order of equals.
    nearest: Option<(Stage, u32, &'a Arc<HttpRule>)>,
    /// The first rule with a matching deny.
    denied: Option<(u32, &'a Arc<HttpRule>)>,
    slash: Slashes,
}

/// What the rules say of an encoded slash.
#[derive(Default)]
struct Slashes {
    /// A rule that matches either reading does not accept it.
    refused: bool,
    /// A rule for the host accepts it.
    accepted: bool,
}

impl<'a> Tally<'a> {
    /// Enough to permit or to deny: every rule that this path does not rule out.
    fn for_path(policy: &'a CompiledPolicy, intent: &'a Intent) -> Self {
        Self::of(policy.rules_for_path(intent.host(), intent.path()), intent)
    }

    /// Every rule for the host: what a refusal is worded from, and what an encoded slash needs.
    fn for_host(policy: &'a CompiledPolicy, intent: &'a Intent) -> Self {
        Self::of(policy.rules_for(intent.host()), intent)
    }

    fn of(rules: impl Iterator<Item = (u32, &'a Arc<HttpRule>)>, intent: &Intent) -> Self {
        let mut tally = Self::default();
        for (index, rule) in rules {
            tally.add(index, rule, intent);
        }
        tally
    }

    fn add(&mut self, index: u32, rule: &'a Arc<HttpRule>, intent: &Intent) {
        if rule.deny.iter().any(|deny| rule::denies(deny, intent)) {
            first(&mut self.denied, index, rule);
        }
        let stage = rule::judge(rule, intent);
        // With a method override only a rule for any method permits.
        let bound = intent.has_method_override() && rule.methods != MethodSet::Any;
        if stage == Stage::Allowed && !bound {
            first(&mut self.allowed, index, rule);
        }
        if self.nearest.is_none_or(|(best, at, _)| stage > best || (stage == best && index < at)) {
            self.nearest = Some((stage, index, rule));
        }
        if intent.target().split_path().is_some() {
            self.slash.accepted |= rule.encoded_slash;
            self.slash.refused |= !rule.encoded_slash && rule::matches_either_reading(rule, intent);
        }
    }

    fn ambiguity(&self, intent: &Intent) -> Option<Ambiguity> {
        let slash = intent.target().split_path().is_some();
        if slash && (self.slash.refused || !self.slash.accepted) {
            return Some(Ambiguity::EncodedSlash);
        }
        (intent.has_method_override() && self.allowed.is_none()).then_some(Ambiguity::MethodOverride)
    }
}

fn first<'a>(best: &mut Option<(u32, &'a Arc<HttpRule>)>, index: u32, rule: &'a Arc<HttpRule>) {
    if best.is_none_or(|(at, _)| index < at) {
        *best = Some((index, rule));
    }
}

fn judge_rules(policy: &CompiledPolicy, intent: &Intent) -> Result<Grant, Refusal> {
    // Our own names lead nowhere, whatever wildcard covers them.
    if is_internal(intent.host()) {
        return Err(Refusal::Firm(Denial::by_rule(Reason::HostNotAllowed, None, intent)));
    }
    if intent.target().split_path().is_none() {
        let tally = Tally::for_path(policy, intent);
        if let (None, Some((_, rule))) = (tally.denied, tally.allowed) {
            return Ok(Grant::Rule(Arc::clone(rule)));
        }
    }
    refuse_or_grant(&Tally::for_host(policy, intent), intent)
}

/// The whole judgement, from every rule for the host.
fn refuse_or_grant(tally: &Tally<'_>, intent: &Intent) -> Result<Grant, Refusal> {
    if let Some(ambiguity) = tally.ambiguity(intent) {
        let rule = tally.nearest.map(|(_, _, rule)| rule.name.clone());
        return Err(Refusal::Firm(Denial::ambiguous(ambiguity, rule, intent)));
    }
    let refuse = |reason, rule: Option<&Arc<HttpRule>>| {
        Refusal::Waivable(Denial::by_rule(reason, rule.cloned(), intent))
    };
    let Some((stage, _, nearest)) = tally.nearest else {
        return Err(refuse(Reason::HostNotAllowed, None));
    };
    match (tally.denied, tally.allowed) {
        (Some((_, rule)), _) if stage.is_past_binary() => Err(refuse(Reason::DeniedByRule, Some(rule))),
        (None, Some((_, rule))) => Ok(Grant::Rule(Arc::clone(rule))),
        (Some(_), _) | (None, None) => Err(refuse(stage.reason(), Some(nearest))),
    }
}

/// A route's host is judged by its route alone: a rule for the same host denies, but does not widen.
fn judge_routes(
    policy: &CompiledPolicy,
    routes: &[&Arc<CompiledRoute>],
    intent: &Intent,
) -> Result<Grant, Refusal> {
    let Some(first) = routes.first() else {
        return Err(Refusal::Firm(Denial::by_rule(Reason::HostNotAllowed, None, intent)));
    };
    let name = &first.route.name;
    let ambiguity = if intent.target().split_path().is_some() {
        Some(Ambiguity::EncodedSlash)
    } else {
        intent.has_method_override().then_some(Ambiguity::MethodOverride)
    };
    if let Some(ambiguity) = ambiguity {
        return Err(Refusal::Firm(Denial::ambiguous(ambiguity, Some(name.clone()), intent)));
    }
    let refuse = |reason| Err(Refusal::Firm(Denial::by_route(reason, name.clone(), intent)));
    if intent.scheme() != Scheme::Https {
        return refuse(Reason::SchemeNotAllowed);
    }
    if intent.port() != Scheme::Https.default_port() {
        return refuse(Reason::PortNotAllowed);
    }
    let (host, method, path) = (intent.host(), intent.method().as_str(), intent.path());
    let chosen = routes.iter().find_map(|route| Some((*route, route.opens(host, method, path)?)));
    let led = match chosen {
        Some((route, opened)) => Led::new(route, opened, intent),
        None => Led::nowhere(first, intent),
    };
    let led = match led {
        Ok(led) => led,
        // What a deny says of the request comes before what the route says of its model.
        Err(denial) => {
            return Err(Refusal::Firm(match denying_rule(policy, intent, intent) {
                Some(rule) => Denial::by_rule(Reason::DeniedByRule, Some(rule), intent),
                None => denial,
            }));
        }
    };
    if let Some(rule) = denying_rule(policy, intent, &led.target) {
        return Err(Refusal::Firm(Denial::by_rule(Reason::DeniedByRule, Some(rule), intent)));
    }
    match led.endpoint {
        Some(endpoint) => {
            let fallbacks = fallbacks(policy, &led, intent);
            let granted =
                RouteGrant { route: Arc::clone(led.route), endpoint, target: led.target, fallbacks };
            Ok(Grant::Route(Box::new(granted)))
        }
        None => {
            let known = routes.iter().any(|route| route.has_method(method));
            refuse(if known { Reason::PathNotAllowed } else { Reason::MethodNotAllowed })
        }
    }
}

/// The fallbacks that a call may go to: each is judged as if it were alone, and one that may not is none.
fn fallbacks(policy: &CompiledPolicy, led: &Led<'_>, intent: &Intent) -> Vec<RouteGrant> {
    if led.route.fallbacks.is_empty() {
        return Vec::new();
    }
    let inside = format!("{}{}", led.route.facts.inner, led.path);
    let grant = |route: &Arc<CompiledRoute>| {
        let opened = route.opens_call(intent.method().as_str(), &inside)?;
        let Led { endpoint, target, .. } = Led::new(route, opened, intent).ok()?;
        let denied = denying_rule(policy, intent, &target).is_some();
        let route = Arc::clone(route);
        (!denied).then_some(RouteGrant { route, endpoint: endpoint?, target, fallbacks: Vec::new() })
    };
    led.route.fallbacks.iter().filter_map(grant).collect()
}

/// Where a route leads a request.
struct Led<'a> {
    route: &'a Arc<CompiledRoute>,
    endpoint: Option<&'static Endpoint>,
    /// What of the asked path is the endpoint's own.
    path: &'a str,
    /// The request as its backend gets it.
    target: Intent,
}

impl<'a> Led<'a> {
    fn new(route: &'a Arc<CompiledRoute>, opened: Opened<'a>, intent: &Intent) -> Result<Self, Denial> {
        let Opened { endpoint, path } = opened;
        let name = &route.route.name;
        let own = match endpoint.model_of(path) {
            Some(asked) => {
                let sent = route.route.sent_model(&asked);
                if !route.route.allows_model(sent) {
                    return Err(Denial::of_model(Some(sent), name.clone(), intent));
                }
                if sent == asked { path.to_owned() } else { endpoint.path_with(sent) }
            }
            None => path.to_owned(),
        };
        let own = route.translated.map_or(own.as_str(), |endpoint| endpoint.path);
        let target = moved(intent, route, &format!("{}{own}", route.backend.prefix))?;
        Ok(Self { route, endpoint: Some(endpoint), path, target })
    }

    /// What no route opens: what a `deny` says of it still comes first.
    fn nowhere(route: &'a Arc<CompiledRoute>, intent: &Intent) -> Result<Self, Denial> {
        Ok(Self { route, endpoint: None, path: "", target: moved(intent, route, intent.path())? })
    }
}

fn moved(intent: &Intent, route: &CompiledRoute, path: &str) -> Result<Intent, Denial> {
    let refused = |why| Denial::ambiguous(why, Some(route.route.name.clone()), intent);
    let target = intent.moved(&route.backend.host, path).map_err(|why| refused(why.0))?;
    // An alias with a slash, for a model that stands in the path.
    if target.target().split_path().is_some() { Err(refused(Ambiguity::EncodedSlash)) } else { Ok(target) }
}

/// A deny holds for the name that the agent used and for the host and path that the request would go to.
fn denying_rule(policy: &CompiledPolicy, intent: &Intent, target: &Intent) -> Option<Arc<HttpRule>> {
    let matching = |rule: &HttpRule| {
        let denies = |intent| rule.deny.iter().any(|deny| rule::denies(deny, intent));
        denies(intent) || denies(target)
    };
    let asked = policy.rules_for(intent.host());
    let reached = policy.rules_for(target.host());
    let denying = asked.chain(reached).filter(|(_, rule)| matching(rule));
    denying.min_by_key(|(index, _)| *index).map(|(_, rule)| Arc::clone(rule))
}
