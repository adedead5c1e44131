//! The decision about a WebSocket: that of the GET that opens it, and then whether the rule opens WebSockets.

use super::{Decision, decide};
use crate::{
    canonical::Intent,
    compile::CompiledPolicy,
    denial::{Denial, Reason},
    model::Mode,
    permit::{Grant, RequestPermit},
};

/// Judges a request that asks for a WebSocket.
///
/// A permit of this can be used as any other; [`RequestPermit::websocket`] holds of it.
#[must_use]
pub fn decide_websocket(policy: &CompiledPolicy, intent: &Intent) -> Decision {
    let permit = match decide(policy, intent) {
        Decision::Allow(permit) => permit,
        Decision::Deny(denial) => return Decision::Deny(denial),
    };
    if permit.websocket() {
        return Decision::Allow(permit);
    }
    let denial = no_websocket(&permit);
    match (policy.mode, &permit.grant) {
        (Mode::Audit, Grant::Rule(_) | Grant::Audit(_)) if intent.method().as_str() == "GET" => {
            Decision::Allow(RequestPermit { grant: Grant::Audit(Box::new(denial)), ..permit })
        }
        // A route opens inference endpoints, in whatever mode.
        (Mode::Audit | Mode::Enforce, Grant::Rule(_) | Grant::Route(_) | Grant::Audit(_)) => {
            Decision::Deny(denial)
        }
    }
}

/// `wss` is another scheme than `https`: the rule does not have it.
fn no_websocket(permit: &RequestPermit) -> Denial {
    let said = match permit.rule() {
        Some(rule) => format!("rule \"{rule}\" does not open WebSockets (`websocket: true`)"),
        None => "no rule opens a WebSocket there".to_owned(),
    };
    Denial::after_permit(Reason::SchemeNotAllowed, permit.rule().cloned(), permit.intent(), said)
}

#[cfg(test)]
mod tests {
    use crate::{Decision, Intent, Policy, Reason, compile, decide, decide_websocket};

    const RULES: &str =
        "network: {http: [{host: ws.test, websocket: true, paths: [/live]}, {host: api.test}]}";

    fn judge(dynamic: &str, request: &str) -> Decision {
        let policy = compile(&Policy::parse(&format!("dynamic: {{{dynamic}}}")).unwrap());
        decide_websocket(&policy, &Intent::from_request_line(request).unwrap())
    }

    #[test]
    fn only_where_the_rule_says_so() {
        let permit = judge(RULES, "GET https://ws.test/live").into_permit().unwrap();
        assert!(permit.websocket() && permit.audited().is_none());
        for (request, reason) in [
            ("GET https://ws.test/other", Reason::PathNotAllowed),
            ("POST https://ws.test/live", Reason::MethodNotAllowed),
            ("GET https://api.test/live", Reason::SchemeNotAllowed),
            ("HEAD https://ws.test/live", Reason::SchemeNotAllowed),
            ("GET https://evil.test/live", Reason::HostNotAllowed),
        ] {
            assert_eq!(judge(RULES, request).into_permit().unwrap_err().reason(), reason, "{request}");
        }
    }

    #[test]
    fn audit_mode_writes_down_and_lets_pass() {
        let audit = format!("mode: audit, {RULES}");
        for request in ["GET https://api.test/live", "GET https://evil.test/"] {
            let permit = judge(&audit, request).into_permit().unwrap();
            assert!(permit.websocket() && permit.audited().is_some(), "{request}");
        }
        assert!(!judge(&audit, "HEAD https://api.test/live").is_allowed());
        let policy = compile(&Policy::parse(&format!("dynamic: {{{audit}}}")).unwrap());
        let plain = decide(&policy, &Intent::from_request_line("GET https://api.test/live").unwrap());
        assert!(!plain.into_permit().unwrap().websocket());
    }

    #[test]
    fn a_route_opens_none() {
        let route = "llm_routing: {provider: openai, inject_backend_credential: 'local://k'}";
        for mode in ["audit", "enforce"] {
            let judged = judge(&format!("mode: {mode}, {route}"), "GET https://api.openai.com/v1/models");
            assert!(!judged.is_allowed(), "{mode}");
        }
    }
}
