//! A policy made ready for decisions: rules found by host, whatever their number.

mod index;
mod route;

use std::sync::Arc;

use index::HostIndex;
use route::RouteName;
pub(crate) use route::{CompiledRoute, Opened};

use crate::{
    model::{HttpRule, Mode, Policy, TcpRule, TlsMode},
    names::{Host, Port},
    patterns::{BinaryPattern, FileGlob},
};

/// A policy that decides. Made by [`compile`]; immutable, shared, and swapped as a whole.
#[derive(Debug)]
pub struct CompiledPolicy {
    pub(crate) revision: u64,
    pub(crate) mode: Mode,
    pub(crate) rules: Vec<Arc<HttpRule>>,
    pub(crate) tcp: Vec<TcpRule>,
    pub(crate) routes: Vec<Arc<CompiledRoute>>,
    hosts: HostIndex,
    /// Whether any rule has `binaries`.
    names_binaries: bool,
}

/// What the rules say of a host before any request is known.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum HostDecision {
    /// No rule and no route names it: nothing could be allowed.
    Unknown,
    /// It is named, but not on this port.
    OtherPort,
    /// A request on this port could be allowed.
    Possible,
}

/// Makes a policy ready for decisions. Pure, and total: what is in a [`Policy`] was checked.
#[must_use]
pub fn compile(policy: &Policy) -> CompiledPolicy {
    let rules: Vec<_> = policy.dynamic.http.iter().cloned().map(Arc::new).collect();
    let routes = policy.dynamic.llm.iter().filter_map(CompiledRoute::new).map(Arc::new).collect();
    let mut hosts = HostIndex::default();
    for (index, rule) in (0..).zip(&rules) {
        hosts.add(rule, index);
    }
    let tcp = policy.dynamic.tcp.clone();
    let names_binaries =
        rules.iter().any(|rule| rule.binaries.is_some()) || tcp.iter().any(|rule| rule.binaries.is_some());
    let mode = policy.dynamic.mode;
    CompiledPolicy { revision: 0, mode, rules, tcp, routes, hosts, names_binaries }
}

impl CompiledPolicy {
    /// The policy of a sandbox that has none: nothing is allowed.
    #[must_use]
    pub fn deny_all() -> Self {
        compile(&Policy::deny_all())
    }

    /// The same, known under this revision; its permits carry it.
    #[must_use]
    pub fn with_revision(mut self, revision: u64) -> Self {
        self.revision = revision;
        self
    }

    /// The revision.
    #[must_use]
    pub const fn revision(&self) -> u64 {
        self.revision
    }

    /// Whether refusals hold or are only recorded.
    #[must_use]
    pub const fn mode(&self) -> Mode {
        self.mode
    }

    /// The rules whose host pattern matches, not in order.
    pub(crate) fn rules_for<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = (u32, &'a Arc<HttpRule>)> {
        self.matching(host, self.hosts.candidates(host))
    }

    /// Of these, all that may allow or deny a request for this path. What is left out could not match it.
    pub(crate) fn rules_for_path<'a>(
        &'a self,
        host: &'a Host,
        path: &'a str,
    ) -> impl Iterator<Item = (u32, &'a Arc<HttpRule>)> {
        self.matching(host, self.hosts.candidates_for(host, path))
    }

    fn matching<'a>(
        &'a self,
        host: &'a Host,
        candidates: impl Iterator<Item = u32> + 'a,
    ) -> impl Iterator<Item = (u32, &'a Arc<HttpRule>)> {
        candidates.filter_map(|index| {
            let rule = self.rules.get(usize::try_from(index).ok()?)?;
            rule.host.matches(host).then_some((index, rule))
        })
    }

    /// The `network.tcp` rules whose host pattern matches, in order.
    pub(crate) fn tcp_rules_for<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a TcpRule> {
        self.tcp.iter().filter(|rule| rule.host.matches(host))
    }

    /// Whether a connection to this host and port is for `network.tcp` to judge: nothing of it is read. Our own names
    /// never are.
    #[must_use]
    pub fn is_tcp(&self, host: &Host, port: Port) -> bool {
        !is_internal(host) && self.tcp_rules_for(host).any(|rule| rule.ports.contains(&port))
    }

    /// Whether TLS to this host and port is for a rule with `tls: passthrough` to judge.
    #[must_use]
    pub fn passes_through(&self, host: &Host, port: Port) -> bool {
        let passes = |rule: &HttpRule| rule.tls == TlsMode::Passthrough && rule.ports.contains(&port);
        !is_internal(host) && self.rules_for(host).any(|(_, rule)| passes(rule))
    }

    /// The routes that a host stands for, in order; none where it is no route's host.
    pub(crate) fn routes_for(&self, host: &Host) -> Option<Vec<&Arc<CompiledRoute>>> {
        let name = RouteName::of(host);
        let mut found = self.routes.iter().filter(|route| route.is_reached_by(name, host));
        let first = found.next()?;
        Some(std::iter::once(first).chain(found).collect())
    }

    /// What the rules say of a host and port before any request is known.
    #[must_use]
    pub fn host_decision(&self, host: &Host, port: Port) -> HostDecision {
        if let Some(routes) = self.routes_for(host) {
            let usual = crate::names::Scheme::Https.default_port() == port;
            return if usual && !routes.is_empty() {
                HostDecision::Possible
            } else {
                HostDecision::OtherPort
            };
        }
        if is_internal(host) {
            return HostDecision::Unknown;
        }
        let mut decision = HostDecision::Unknown;
        for (_, rule) in self.rules_for(host).filter(|(_, rule)| rule.tls == TlsMode::Inspect) {
            if rule.ports.contains(&port) {
                return HostDecision::Possible;
            }
            decision = HostDecision::OtherPort;
        }
        decision
    }

    /// Whether it matters who asks for this host: some rule for it has `binaries`.
    #[must_use]
    pub fn asks_who(&self, host: &Host) -> bool {
        self.names_binaries
            && (self.rules_for(host).any(|(_, rule)| rule.binaries.is_some())
                || self.tcp_rules_for(host).any(|rule| rule.binaries.is_some()))
    }

    /// The paths in `binaries` without a star: names that may be symlinks.
    #[must_use]
    pub fn binary_paths(&self) -> Vec<&str> {
        let http = self.rules.iter().filter_map(|rule| rule.binaries.as_deref());
        let tcp = self.tcp.iter().filter_map(|rule| rule.binaries.as_deref());
        let globs = http.chain(tcp).flatten().flat_map(BinaryPattern::globs);
        let mut paths: Vec<&str> = globs.filter(|glob| glob.is_literal()).map(FileGlob::as_str).collect();
        paths.sort_unstable();
        paths.dedup();
        paths
    }

    /// Whether any rule or route could ever allow a request to this host. Names of which this is false share
    /// a small quota of addresses.
    #[must_use]
    pub fn could_allow(&self, host: &Host) -> bool {
        let told_inside = host.name() == Some("chiton.internal");
        let ours = is_internal(host);
        let named = || self.rules_for(host).next().is_some() || self.tcp_rules_for(host).next().is_some();
        told_inside || self.routes_for(host).is_some() || (!ours && named())
    }
}

/// Whether a host is one of ours: it is never looked up, and no rule can name it.
#[must_use]
pub fn is_internal(host: &Host) -> bool {
    let Some(name) = host.name() else { return false };
    matches!(name, "llm.internal" | "chiton.internal")
        || name.ends_with(".llm.internal")
        || name.ends_with(".chiton.internal")
}
