//! Connections that nobody looks into: judged by name, port and owner alone, before a byte of them is sent on.
//!
//! In goes where the agent connected to ([`ConnectIntent`]); out comes a [`ConnectPermit`], without which nothing is
//! dialled, or a [`Denial`]. Only [`decide_connect`] makes permits.

use std::fmt;

use crate::{
    binary::{Binary, binary_matches},
    compile::{CompiledPolicy, is_internal},
    denial::{Denial, Reason, who_asks},
    model::{Cidr, HttpRule, Mode, TcpRule, TlsMode},
    names::{Host, Port, RuleName},
    patterns::BinaryPattern,
};

/// Where a connection is going, and who asks for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ConnectIntent {
    kind: ConnectKind,
    host: Host,
    port: Port,
    binary: Option<Binary>,
}

/// What is known of a connection beside its name and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConnectKind {
    /// Nothing: `network.tcp` judges it.
    Tcp,
    /// Its TLS asks for the very name that it goes to: a rule with `tls: passthrough` judges it.
    Tls,
}

/// One connection that may be made, by a `network.tcp` rule or one with `tls: passthrough`. Dialling takes it.
#[derive(Debug)]
pub struct ConnectPermit {
    intent: ConnectIntent,
    revision: u64,
    grant: ConnectGrant,
}

#[derive(Debug)]
enum ConnectGrant {
    Rule {
        name: RuleName,
        private_addresses: bool,
        allowed_addresses: Vec<Cidr>,
    },
    /// Nothing allowed it: mode `audit` lets it pass, and this is what would have been said.
    Audit(Box<Denial>),
}

impl ConnectIntent {
    /// Of a host and a port.
    #[must_use]
    pub const fn new(host: Host, port: Port) -> Self {
        Self { kind: ConnectKind::Tcp, host, port, binary: None }
    }

    /// The same of TLS that asks for this very host.
    #[must_use]
    pub const fn tls(host: Host, port: Port) -> Self {
        Self { kind: ConnectKind::Tls, host, port, binary: None }
    }

    /// The same by this executable; none where it cannot be told for certain, or nobody asked.
    #[must_use]
    pub fn by(self, binary: Option<Binary>) -> Self {
        Self { binary, ..self }
    }

    /// Of `CONNECT tcp://host:port`, or `tls://` for what is passed through, as a person asks; none where it is not of this form.
    #[must_use]
    pub fn from_request_line(text: &str) -> Option<Self> {
        let (kind, authority) = match text.strip_prefix("CONNECT tcp://") {
            Some(authority) => (ConnectKind::Tcp, authority),
            None => (ConnectKind::Tls, text.strip_prefix("CONNECT tls://")?),
        };
        let (host, port) = authority.rsplit_once(':')?;
        let host = Host::parse(host).ok()?;
        Some(Self { kind, host, port: Port::new(port.parse().ok()?)?, binary: None })
    }

    /// What is known of it.
    #[must_use]
    pub const fn kind(&self) -> ConnectKind {
        self.kind
    }

    /// The host: the name that the agent asked for, or an address.
    #[must_use]
    pub const fn host(&self) -> &Host {
        &self.host
    }

    /// The port.
    #[must_use]
    pub const fn port(&self) -> Port {
        self.port
    }

    /// The executable that asks.
    #[must_use]
    pub const fn binary(&self) -> Option<&Binary> {
        self.binary.as_ref()
    }
}

impl fmt::Display for ConnectIntent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let scheme = match self.kind {
            ConnectKind::Tcp => "tcp",
            ConnectKind::Tls => "tls",
        };
        write!(f, "CONNECT {scheme}://{}:{}", self.host, self.port)
    }
}

impl ConnectPermit {
    /// What was judged.
    #[must_use]
    pub const fn intent(&self) -> &ConnectIntent {
        &self.intent
    }

    /// The revision that judged it.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// The rule that allowed it; none where only mode `audit` did.
    #[must_use]
    pub const fn rule(&self) -> Option<&RuleName> {
        match &self.grant {
            ConnectGrant::Rule { name, .. } => Some(name),
            ConnectGrant::Audit(_) => None,
        }
    }

    /// What would have been refused, where mode `audit` let it pass.
    #[must_use]
    pub fn audited(&self) -> Option<&Denial> {
        match &self.grant {
            ConnectGrant::Rule { .. } => None,
            ConnectGrant::Audit(denial) => Some(denial),
        }
    }

    /// The only addresses that the host may resolve to; empty means no such limit.
    #[must_use]
    pub fn allowed_addresses(&self) -> &[Cidr] {
        match &self.grant {
            ConnectGrant::Rule { allowed_addresses, .. } => allowed_addresses,
            ConnectGrant::Audit(_) => &[],
        }
    }

    /// Whether the host may resolve to a private address. Mode `audit` opens none.
    #[must_use]
    pub const fn private_addresses(&self) -> bool {
        match &self.grant {
            ConnectGrant::Rule { private_addresses, .. } => *private_addresses,
            ConnectGrant::Audit(_) => false,
        }
    }
}

/// Judges a connection.
///
/// # Errors
/// The denial, where no rule of its kind is for this host, port and executable.
pub fn decide_connect(policy: &CompiledPolicy, intent: &ConnectIntent) -> Result<ConnectPermit, Denial> {
    let allowed = match intent.kind {
        ConnectKind::Tcp => allowing(policy, intent).map(|rule| ConnectGrant::Rule {
            name: rule.name.clone(),
            private_addresses: rule.private_addresses,
            allowed_addresses: Vec::new(),
        }),
        ConnectKind::Tls => match (passing(policy, intent), policy.mode()) {
            (Ok(rule), _) => rule.map(|rule| ConnectGrant::Rule {
                name: rule.name.clone(),
                private_addresses: rule.private_addresses,
                allowed_addresses: rule.allowed_addresses.clone(),
            }),
            (Err(denial), Mode::Enforce) => return Err(denial),
            (Err(denial), Mode::Audit) => Some(ConnectGrant::Audit(Box::new(denial))),
        },
    };
    let grant = match allowed {
        Some(grant) => grant,
        // Our own names and a route's host are what they are in every mode.
        None if is_internal(intent.host()) || policy.routes_for(intent.host()).is_some() => {
            return Err(refusal(policy, intent));
        }
        None => match policy.mode() {
            Mode::Enforce => return Err(refusal(policy, intent)),
            Mode::Audit => ConnectGrant::Audit(Box::new(refusal(policy, intent))),
        },
    };
    Ok(ConnectPermit { intent: intent.clone(), revision: policy.revision(), grant })
}

/// Our own names lead nowhere, whatever wildcard covers them.
fn allowing<'a>(policy: &'a CompiledPolicy, intent: &'a ConnectIntent) -> Option<&'a TcpRule> {
    if is_internal(intent.host()) {
        return None;
    }
    let mut for_host = policy.tcp_rules_for(intent.host());
    for_host.find(|rule| tcp_stopped_by(rule, intent).is_none())
}

/// What stops a rule of `network.tcp` whose host matches.
pub(crate) fn tcp_stopped_by(rule: &TcpRule, intent: &ConnectIntent) -> Option<Reason> {
    let of_its_kind = intent.kind == ConnectKind::Tcp;
    stopped_by(of_its_kind, &rule.ports, rule.binaries.as_deref(), intent)
}

/// The same of a rule of `network.http`.
pub(crate) fn http_stopped_by(rule: &HttpRule, intent: &ConnectIntent) -> Option<Reason> {
    let of_its_kind = intent.kind == ConnectKind::Tls && rule.tls == TlsMode::Passthrough;
    stopped_by(of_its_kind, &rule.ports, rule.binaries.as_deref(), intent)
}

fn stopped_by(
    of_its_kind: bool,
    ports: &[Port],
    binaries: Option<&[BinaryPattern]>,
    intent: &ConnectIntent,
) -> Option<Reason> {
    if !of_its_kind {
        Some(Reason::SchemeNotAllowed)
    } else if !ports.contains(&intent.port) {
        Some(Reason::PortNotAllowed)
    } else if !binary_matches(binaries, intent.binary()) {
        Some(Reason::BinaryNotAllowed)
    } else {
        None
    }
}

/// The rule that passes TLS through. What a `deny` for this host is about cannot be told of it, and so matches.
fn passing<'a>(
    policy: &'a CompiledPolicy,
    intent: &'a ConnectIntent,
) -> Result<Option<&'a HttpRule>, Denial> {
    if is_internal(intent.host()) {
        return Ok(None);
    }
    if let Some((_, rule)) = policy.rules_for(intent.host()).find(|(_, rule)| !rule.deny.is_empty()) {
        let said =
            format!("{intent} is not allowed: what a deny of rule \"{}\" is about cannot be seen", rule.name);
        return Err(Denial::of_connect(Reason::DeniedByRule, Some(rule.name.clone()), said));
    }
    let passing = policy.rules_for(intent.host()).filter(|(_, rule)| http_stopped_by(rule, intent).is_none());
    Ok(passing.min_by_key(|(index, _)| *index).map(|(_, rule)| &**rule))
}

/// The rule for this host and port that is for other executables.
fn of_others<'a>(policy: &'a CompiledPolicy, intent: &'a ConnectIntent) -> Option<&'a RuleName> {
    let only = Some(Reason::BinaryNotAllowed);
    let mut tcp = policy.tcp_rules_for(intent.host());
    let passing = policy.rules_for(intent.host()).filter(|(_, rule)| http_stopped_by(rule, intent) == only);
    let tcp = tcp.find(|rule| tcp_stopped_by(rule, intent) == only).map(|rule| &rule.name);
    tcp.or_else(|| passing.min_by_key(|(index, _)| *index).map(|(_, rule)| &rule.name))
}

fn refusal(policy: &CompiledPolicy, intent: &ConnectIntent) -> Denial {
    let named = !is_internal(intent.host()) && policy.could_allow(intent.host());
    if let Some(name) = of_others(policy, intent).filter(|_| named) {
        let asks = who_asks(intent.binary());
        let said = format!("{intent} is not allowed: rule \"{name}\" is for other executables, and {asks}");
        return Denial::of_connect(Reason::BinaryNotAllowed, Some(name.clone()), said);
    }
    if let Some(rule) = policy.tcp_rules_for(intent.host()).next().filter(|_| named) {
        let said = format!("{intent} is not allowed: rule \"{}\" is for other ports", rule.name);
        return Denial::of_connect(Reason::PortNotAllowed, Some(rule.name.clone()), said);
    }
    if named {
        let said = format!("{intent} is not allowed: the rules for this host are for HTTP");
        return Denial::of_connect(Reason::SchemeNotAllowed, None, said);
    }
    Denial::of_connect(
        Reason::HostNotAllowed,
        None,
        format!("{intent} is not allowed: no rule names this host"),
    )
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{compile, model::Policy};

    fn judged(text: &str, host: &str, port: u16) -> Result<ConnectPermit, Reason> {
        let policy = compile(&Policy::parse(text).unwrap());
        let intent = ConnectIntent::new(Host::parse(host).unwrap(), Port::new(port).unwrap());
        decide_connect(&policy, &intent).map_err(|denial| denial.reason())
    }

    const DB: &str = "dynamic: {network: {tcp: [{host: '*.db.test', ports: [5432, 6379], private_addresses: true}], http: [{host: web.test}]}}";

    #[test]
    fn by_name_and_port_and_nothing_else() {
        let permit = judged(DB, "a.db.test", 5432).unwrap();
        assert_eq!(permit.rule().unwrap().as_str(), "tcp[0]");
        assert!(permit.private_addresses() && permit.audited().is_none());
        assert_eq!(judged(DB, "a.db.test", 22).unwrap_err(), Reason::PortNotAllowed);
        assert_eq!(judged(DB, "db.test", 5432).unwrap_err(), Reason::HostNotAllowed);
        assert_eq!(judged(DB, "a.b.db.test", 5432).unwrap_err(), Reason::HostNotAllowed);
        assert_eq!(judged(DB, "10.0.0.1", 5432).unwrap_err(), Reason::HostNotAllowed);
        assert_eq!(judged(DB, "web.test", 443).unwrap_err(), Reason::SchemeNotAllowed);
    }

    #[test]
    fn what_a_person_asks_is_judged_alike() {
        let policy = compile(&Policy::parse(DB).unwrap());
        let intent = ConnectIntent::from_request_line("CONNECT tcp://a.db.test:5432").unwrap();
        assert_eq!(intent.to_string(), "CONNECT tcp://a.db.test:5432");
        let explained = crate::explain_connection(&policy, &intent);
        assert_eq!((explained.decision, explained.rule.as_deref()), (crate::Outcome::Allow, Some("tcp[0]")));
        let other = ConnectIntent::from_request_line("CONNECT tcp://a.db.test:22").unwrap();
        let explained = crate::explain_connection(&policy, &other);
        assert_eq!(explained.reason, Some(Reason::PortNotAllowed));
        assert_eq!(explained.suggestion.as_deref(), Some("- host: a.db.test\n  ports: [22]"));
        let intent = ConnectIntent::from_request_line("CONNECT tcp://[2001:db8::1]:5432").unwrap();
        assert_eq!(intent.host(), &Host::parse("[2001:db8::1]").unwrap());
        for bad in
            ["CONNECT tcp://a.db.test", "CONNECT tcp://a.db.test:0", "GET tcp://a:1", "CONNECT tcp://:1"]
        {
            assert!(ConnectIntent::from_request_line(bad).is_none(), "{bad}");
        }
    }

    #[test]
    fn tls_that_is_passed_through() {
        let text = "dynamic: {network: {http: [{host: '*.pin.test', tls: passthrough, allowed_addresses: [10.0.0.0/8]}, \
                    {host: a.test, deny: [{paths: [/x]}]}, {host: a.test, ports: [8443], tls: passthrough}]}}";
        let policy = compile(&Policy::parse(text).unwrap());
        let judge = |request: &str| {
            let intent = ConnectIntent::from_request_line(request).unwrap();
            decide_connect(&policy, &intent).map_err(|denial| denial.reason())
        };
        let permit = judge("CONNECT tls://x.pin.test:443").unwrap();
        assert_eq!((permit.rule().unwrap().as_str(), permit.allowed_addresses().len()), ("http[0]", 1));
        assert_eq!(judge("CONNECT tls://x.pin.test:8443").unwrap_err(), Reason::SchemeNotAllowed);
        assert_eq!(judge("CONNECT tcp://x.pin.test:443").unwrap_err(), Reason::SchemeNotAllowed);
        assert_eq!(judge("CONNECT tls://pin.test:443").unwrap_err(), Reason::HostNotAllowed);
        // What is denied of this host cannot be told of what is not read.
        assert_eq!(judge("CONNECT tls://a.test:8443").unwrap_err(), Reason::DeniedByRule);
        let pin = Host::parse("x.pin.test").unwrap();
        assert!(policy.passes_through(&pin, Port::new(443).unwrap()));
        assert!(!policy.passes_through(&pin, Port::new(80).unwrap()));
    }

    #[test]
    fn audit_lets_pass_and_opens_no_private_address() {
        let text = "dynamic: {mode: audit, network: {tcp: [{host: db.test, ports: [5432]}]}}";
        let permit = judged(text, "other.test", 22).unwrap();
        assert_eq!(permit.audited().unwrap().reason(), Reason::HostNotAllowed);
        assert!(permit.rule().is_none() && !permit.private_addresses());
        assert_eq!(judged(text, "x.chiton.internal", 22).unwrap_err(), Reason::HostNotAllowed);
    }

    const NARROW: &str = "dynamic: {network: {tcp: [{host: db.test, ports: [5432], binaries: [/usr/bin/psql]}, \
                          {host: db.test, ports: [5432], binaries: [/usr/bin/dump], private_addresses: true}], \
                          http: [{host: pin.test, tls: passthrough, binaries: [/usr/bin/curl]}]}}";

    fn by(text: &str, request: &str, binary: Option<Binary>) -> Result<ConnectPermit, Denial> {
        let policy = compile(&Policy::parse(text).unwrap());
        decide_connect(&policy, &ConnectIntent::from_request_line(request).unwrap().by(binary))
    }

    #[test]
    fn a_rule_for_binaries_is_for_these() {
        let known = |path: &str| Some(Binary::new(path, []));
        for (request, binary, expected) in [
            ("CONNECT tcp://db.test:5432", known("/usr/bin/psql"), Ok(("tcp[0]", false))),
            ("CONNECT tcp://db.test:5432", known("/usr/bin/dump"), Ok(("tcp[1]", true))),
            ("CONNECT tcp://db.test:5432", known("/usr/bin/curl"), Err(Reason::BinaryNotAllowed)),
            ("CONNECT tcp://db.test:5432", None, Err(Reason::BinaryNotAllowed)),
            (
                "CONNECT tcp://db.test:5432",
                Some(Binary::unfixed("/usr/bin/psql")),
                Err(Reason::BinaryNotAllowed),
            ),
            ("CONNECT tcp://db.test:5433", known("/usr/bin/psql"), Err(Reason::PortNotAllowed)),
            ("CONNECT tls://pin.test:443", known("/usr/bin/curl"), Ok(("http[0]", false))),
            ("CONNECT tls://pin.test:443", known("/usr/bin/psql"), Err(Reason::BinaryNotAllowed)),
            ("CONNECT tls://pin.test:443", None, Err(Reason::BinaryNotAllowed)),
        ] {
            let judged = by(NARROW, request, binary.clone());
            let judged =
                judged.map(|permit| (permit.rule().unwrap().to_string(), permit.private_addresses()));
            let expected = expected.map(|(rule, private)| (rule.to_owned(), private));
            assert_eq!(judged.map_err(|denial| denial.reason()), expected, "{request} {binary:?}");
        }
        let said = by(NARROW, "CONNECT tls://pin.test:443", known("/usr/bin/psql")).unwrap_err().detail();
        assert!(said.contains("\"http[0]\" is for other executables, and `/usr/bin/psql` asks"), "{said}");
        let audit = NARROW.replace("dynamic: {", "dynamic: {mode: audit, ");
        let permit = by(&audit, "CONNECT tls://pin.test:443", None).unwrap();
        assert_eq!(permit.audited().unwrap().reason(), Reason::BinaryNotAllowed);
    }

    #[test]
    fn who_asks_matters_where_a_rule_for_the_host_says_so() {
        let policy = compile(&Policy::parse(NARROW).unwrap());
        let asks = |host: &str| policy.asks_who(&Host::parse(host).unwrap());
        assert!(asks("db.test") && asks("pin.test") && !asks("other.test"));
        assert_eq!(policy.binary_paths(), ["/usr/bin/curl", "/usr/bin/dump", "/usr/bin/psql"]);
    }

    #[test]
    fn an_explanation_traces_every_rule_for_the_host() {
        let policy = compile(&Policy::parse(NARROW).unwrap());
        let explained = |request: &str, path: &str| {
            let intent = ConnectIntent::from_request_line(request).unwrap();
            crate::explain_connection(&policy, &intent.by(Some(Binary::new(path, []))))
        };
        let dump = explained("CONNECT tcp://db.test:5432", "/usr/bin/dump");
        let stopped: Vec<_> = dump.rules.iter().map(|trace| trace.stopped_by).collect();
        assert_eq!(stopped, [Some(Reason::BinaryNotAllowed), None]);
        assert_eq!((dump.decision, dump.other_hosts), (crate::Outcome::Allow, 0));
        let other = explained("CONNECT tls://pin.test:443", "/usr/bin/psql");
        assert_eq!((other.reason, other.suggestion), (Some(Reason::BinaryNotAllowed), None));
        assert_eq!((other.rules.len(), other.other_hosts), (1, 0));
        let unnamed = explained("CONNECT tls://new.test:443", "/usr/bin/psql");
        let rule = "- host: new.test\n  ports: [443]\n  tls: passthrough";
        assert_eq!(unnamed.suggestion.as_deref(), Some(rule));
    }
}
