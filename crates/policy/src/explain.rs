//! Why a request is decided as it is: what allowed it, or how far each rule came.

use std::fmt;

use serde::Serialize;

use crate::{
    canonical::Intent,
    compile::CompiledPolicy,
    connect::{ConnectIntent, ConnectKind, decide_connect, http_stopped_by, tcp_stopped_by},
    decide::{Decision, decide, rule},
    denial::Reason,
    model::{HttpRule, TcpRule},
    permit::RequestPermit,
};

/// A decision with everything that led to it.
#[derive(Debug, Serialize)]
pub struct Explanation {
    /// `allow`, `deny`, or `audit` where only the mode lets it pass.
    pub decision: Outcome,
    /// The request in its canonical form.
    pub request: String,
    /// Why it is refused, or would be.
    pub reason: Option<Reason>,
    /// The rule that allowed it, or came nearest.
    pub rule: Option<String>,
    /// One sentence.
    pub detail: String,
    /// The narrowest rule that would allow it.
    pub suggestion: Option<String>,
    /// The credential that is added to it, and where.
    pub credential: Option<String>,
    /// Every rule for the host and what stopped it, in document order.
    pub rules: Vec<RuleTrace>,
    /// How many rules are for other hosts.
    pub other_hosts: usize,
}

/// How it ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Outcome {
    /// Allowed.
    Allow,
    /// Refused.
    Deny,
    /// Refused by the rules, let pass by the mode.
    Audit,
}

/// One rule against the request.
#[derive(Debug, Serialize)]
pub struct RuleTrace {
    /// The rule.
    pub rule: String,
    /// What stopped it; none when it allows the request.
    pub stopped_by: Option<Reason>,
    /// Whether one of its `deny` entries matches.
    pub denies: bool,
}

/// Decides, and tells why.
#[must_use]
pub fn explain(policy: &CompiledPolicy, intent: &Intent) -> Explanation {
    let mut rules: Vec<(u32, RuleTrace)> = policy
        .rules_for(intent.host())
        .map(|(index, http)| {
            let stage = rule::judge(http, intent);
            let stopped_by = (stage != rule::Stage::Allowed).then(|| stage.reason());
            let denies = http.deny.iter().any(|deny| rule::denies(deny, intent));
            (index, RuleTrace { rule: http.name.to_string(), stopped_by, denies })
        })
        .collect();
    rules.sort_by_key(|(index, _)| *index);
    let request = format!(
        "{} {}://{}{}",
        intent.method(),
        intent.scheme(),
        intent.authority(),
        intent.path_and_query()
    );
    let other_hosts = policy.rules.len().saturating_sub(rules.len());
    let rules = rules.into_iter().map(|(_, trace)| trace).collect();
    let mut credential = None;
    let (decision, denial, rule) = match decide(policy, intent) {
        Decision::Deny(denial) => (Outcome::Deny, Some(denial), None),
        Decision::Allow(permit) => match permit.audited() {
            Some(denial) => (Outcome::Audit, Some(denial.clone()), None),
            None => {
                credential = added(&permit);
                (Outcome::Allow, None, permit.rule().cloned())
            }
        },
    };
    let rule = rule.or_else(|| denial.as_ref().and_then(|denial| denial.rule().cloned()));
    let detail = match (&denial, &rule) {
        (Some(denial), _) => denial.detail(),
        (None, Some(rule)) => format!("allowed by \"{rule}\""),
        (None, None) => "allowed".to_owned(),
    };
    Explanation {
        decision,
        request,
        reason: denial.as_ref().map(crate::Denial::reason),
        rule: rule.map(|rule| rule.to_string()),
        detail,
        suggestion: denial.and_then(|denial| denial.suggestion()),
        credential,
        rules,
        other_hosts,
    }
}

/// What is added to a request on its way out.
fn added(permit: &RequestPermit) -> Option<String> {
    let inject = permit.llm().and_then(|grant| grant.inject());
    inject.map(ToString::to_string).or_else(|| {
        let credential = permit.credential()?;
        Some(format!("{} as {}", credential.secret, credential.place))
    })
}

/// The same for a connection that nobody looks into.
#[must_use]
pub fn explain_connection(policy: &CompiledPolicy, intent: &ConnectIntent) -> Explanation {
    let rules = match intent.kind() {
        ConnectKind::Tcp => tcp_traces(policy, intent),
        ConnectKind::Tls => tls_traces(policy, intent),
    };
    let (decision, denial, rule) = match decide_connect(policy, intent) {
        Err(denial) => (Outcome::Deny, Some(denial), None),
        Ok(permit) => match permit.audited() {
            Some(denial) => (Outcome::Audit, Some(denial.clone()), None),
            None => (Outcome::Allow, None, permit.rule().cloned()),
        },
    };
    let rule = rule.or_else(|| denial.as_ref().and_then(|denial| denial.rule().cloned()));
    let mut suggestion = format!("- host: {}\n  ports: [{}]", intent.host(), intent.port());
    let of_its_kind = match intent.kind() {
        ConnectKind::Tcp => policy.tcp.len(),
        ConnectKind::Tls => {
            suggestion.push_str("\n  tls: passthrough");
            policy.rules.len()
        }
    };
    let helps = |reason| reason != Reason::BinaryNotAllowed && reason != Reason::DeniedByRule;
    let allowed =
        || rule.as_ref().map_or_else(|| "allowed".to_owned(), |rule| format!("allowed by \"{rule}\""));
    Explanation {
        decision,
        request: intent.to_string(),
        reason: denial.as_ref().map(crate::Denial::reason),
        detail: denial.as_ref().map_or_else(allowed, crate::Denial::detail),
        rule: rule.map(|rule| rule.to_string()),
        suggestion: denial.filter(|denial| helps(denial.reason())).map(|_| suggestion),
        credential: None,
        other_hosts: of_its_kind.saturating_sub(rules.len()),
        rules,
    }
}

fn tcp_traces(policy: &CompiledPolicy, intent: &ConnectIntent) -> Vec<RuleTrace> {
    let trace = |tcp: &TcpRule| {
        let stopped_by = tcp_stopped_by(tcp, intent);
        RuleTrace { rule: tcp.name.to_string(), stopped_by, denies: false }
    };
    policy.tcp_rules_for(intent.host()).map(trace).collect()
}

/// What a `deny` is about cannot be seen, and so it matches.
fn tls_traces(policy: &CompiledPolicy, intent: &ConnectIntent) -> Vec<RuleTrace> {
    let mut rules: Vec<_> = policy.rules_for(intent.host()).collect();
    rules.sort_by_key(|(index, _)| *index);
    let trace = |http: &HttpRule| {
        let stopped_by = http_stopped_by(http, intent);
        RuleTrace { rule: http.name.to_string(), stopped_by, denies: !http.deny.is_empty() }
    };
    rules.into_iter().map(|(_, rule)| trace(rule)).collect()
}

impl fmt::Display for Explanation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let word = match self.decision {
            Outcome::Allow => "allow",
            Outcome::Deny => "deny",
            Outcome::Audit => "audit",
        };
        writeln!(f, "{word}  {}", self.request)?;
        if let Some(reason) = self.reason {
            writeln!(f, "  reason  {reason}")?;
        }
        writeln!(f, "  why     {}", self.detail)?;
        if let Some(credential) = &self.credential {
            writeln!(f, "  adds    {credential}")?;
        }
        for trace in &self.rules {
            let stopped = trace.stopped_by.map_or("allows it", Reason::as_str);
            let denies = if trace.denies { ", and a deny matches" } else { "" };
            writeln!(f, "  rule    \"{}\": {stopped}{denies}", trace.rule)?;
        }
        match self.other_hosts {
            0 => {}
            1 => writeln!(f, "  1 rule is for another host")?,
            many => writeln!(f, "  {many} rules are for other hosts")?,
        }
        if let Some(suggestion) = &self.suggestion {
            writeln!(f, "  a rule that would allow it, and nothing else:")?;
            for line in suggestion.lines() {
                writeln!(f, "    {line}")?;
            }
        }
        Ok(())
    }
}
