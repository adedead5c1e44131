//! Overlaps: two rules for one request must agree on what it may do.

use std::{collections::HashMap, ops::Range};

use crate::{
    document::{Notes, SitedRule, Sites},
    model::{HttpRule, MethodSet, TlsMode},
    names::{Host, Port, Scheme},
    patterns::{BinaryPattern, HostPattern},
};

pub(super) fn check(sites: &Sites, notes: &mut Notes) {
    each_pair(&sites.http, |one, two| {
        if !notes.is_full() {
            check_pair(one, two, notes);
        }
    });
    for (index, (tcp, span)) in sites.tcp.iter().enumerate() {
        for site in &sites.http {
            if site.rule.host.overlaps(&tcp.host) && share(&site.rule.ports, &tcp.ports) {
                two_ways(notes, span.clone(), tcp.name.as_str(), site.rule.name.as_str());
            }
        }
        for (other, _) in sites.tcp.iter().take(index) {
            let same = other.host.overlaps(&tcp.host) && share(&other.ports, &tcp.ports);
            if same && binaries_meet(other.binaries.as_ref(), tcp.binaries.as_ref()) {
                differ(notes, span, other.private_addresses, tcp.private_addresses, (&other.name, &tcp.name));
            }
        }
    }
    check_routes(sites, notes);
}

/// A route is inspected: nothing that is not may cover its host.
fn check_routes(sites: &Sites, notes: &mut Notes) {
    let usual = [Scheme::Https.default_port()];
    for (route, _) in &sites.llm {
        let Some(host) = route.host() else { continue };
        for site in sites.http.iter().filter(|site| site.rule.tls == TlsMode::Passthrough) {
            if site.rule.host.matches(&host) && share(&site.rule.ports, &usual) {
                two_ways(notes, site.host.clone(), site.rule.name.as_str(), route.name.as_str());
            }
        }
        for (tcp, span) in &sites.tcp {
            if tcp.host.matches(&host) && share(&tcp.ports, &usual) {
                two_ways(notes, span.clone(), tcp.name.as_str(), route.name.as_str());
            }
        }
    }
}

/// Every pair of rules whose hosts may overlap and that do not agree, the earlier first: rules for one literal
/// host, and wildcards with all.
fn each_pair<'a>(rules: &'a [SitedRule], mut check: impl FnMut(&'a SitedRule, &'a SitedRule)) {
    // Rules that all agree need no comparing, and in nearly every document they do.
    if rules.first().is_none_or(|first| rules.iter().all(|rule| agree(&first.rule, &rule.rule))) {
        return;
    }
    let mut literal: HashMap<&Host, Vec<&SitedRule>> = HashMap::new();
    let mut wild: Vec<&SitedRule> = Vec::new();
    for (index, rule) in rules.iter().enumerate() {
        let mut with = |other: &'a SitedRule| {
            if !agree(&other.rule, &rule.rule) {
                check(other, rule);
            }
        };
        match rule.rule.host.literal() {
            Some(host) => {
                let same = literal.entry(host).or_default();
                same.iter().chain(&wild).for_each(|other| with(other));
                same.push(rule);
            }
            None => {
                rules.iter().take(index).for_each(with);
                wild.push(rule);
            }
        }
    }
}

fn agree(one: &HttpRule, two: &HttpRule) -> bool {
    one.tls == two.tls && difference(one, two).is_none()
}

/// The first field in which two rules give a request different rights.
fn difference(one: &HttpRule, two: &HttpRule) -> Option<&'static str> {
    let same_addresses = one.allowed_addresses.len() == two.allowed_addresses.len()
        && one.allowed_addresses.iter().all(|range| two.allowed_addresses.contains(range));
    let same_credential = match (&one.credential, &two.credential) {
        (Some(one), Some(two)) => one.sends_as(two),
        (None, None) => true,
        (Some(_), None) | (None, Some(_)) => false,
    };
    [
        (one.private_addresses != two.private_addresses, "private_addresses"),
        (!same_addresses, "allowed_addresses"),
        (one.limits != two.limits, "limits"),
        (!same_credential, "credential"),
        (one.websocket != two.websocket, "websocket"),
    ]
    .into_iter()
    .find(|(differs, _)| *differs)
    .map(|(_, field)| field)
}

fn check_pair(one: &SitedRule, two: &SitedRule, notes: &mut Notes) {
    if one.rule.tls != two.rule.tls {
        if one.rule.host.overlaps(&two.rule.host) && share(&one.rule.ports, &two.rule.ports) {
            two_ways(notes, two.host.clone(), two.rule.name.as_str(), one.rule.name.as_str());
        }
        return;
    }
    let Some(field) = difference(&one.rule, &two.rule) else { return };
    if rules_overlap(&one.rule, &two.rule) {
        let message = format!(
            "`{}` and `{}` match the same requests and differ in `{field}`: their order would decide",
            one.rule.name, two.rule.name
        );
        notes.error(two.span.start..two.host.end.max(two.span.start), message).help =
            Some(format!("give both the same `{field}`, or narrow one"));
    }
}

fn two_ways(notes: &mut Notes, span: Range<usize>, one: &str, two: &str) {
    let message = format!("`{one}` and `{two}` cover the same host and port in different ways");
    notes.error(span, message).help =
        Some("one host and port is inspected, passed through or plain TCP, never two of these".to_owned());
}

fn differ(
    notes: &mut Notes,
    span: &Range<usize>,
    one: bool,
    two: bool,
    names: (&crate::RuleName, &crate::RuleName),
) {
    if one != two {
        let message = format!("`{}` and `{}` overlap and differ in `private_addresses`", names.0, names.1);
        notes.error(span.clone(), message);
    }
}

/// Whether some request is matched by both rules.
pub(crate) fn rules_overlap(one: &HttpRule, two: &HttpRule) -> bool {
    one.scheme == two.scheme
        && share(&one.ports, &two.ports)
        && hosts_meet(&one.host, &two.host)
        && methods_meet(&one.methods, &two.methods)
        && paths_meet(one, two)
        && queries_meet(one, two)
        && binaries_meet(one.binaries.as_ref(), two.binaries.as_ref())
}

fn hosts_meet(one: &HostPattern, two: &HostPattern) -> bool {
    one.overlaps(two)
}

fn share(one: &[Port], two: &[Port]) -> bool {
    one.iter().any(|port| two.contains(port))
}

fn methods_meet(one: &MethodSet, two: &MethodSet) -> bool {
    match (one, two) {
        (MethodSet::Any, MethodSet::Any) => true,
        (MethodSet::Any, MethodSet::These(these)) | (MethodSet::These(these), MethodSet::Any) => {
            !these.is_empty()
        }
        (MethodSet::These(one), MethodSet::These(two)) => {
            let implied = |method: &str, set: &[crate::Method]| {
                set.iter()
                    .any(|other| other.as_str() == method || (method == "HEAD" && other.as_str() == "GET"))
            };
            one.iter().any(|method| implied(method.as_str(), two))
                || two.iter().any(|method| implied(method.as_str(), one))
        }
    }
}

fn paths_meet(one: &HttpRule, two: &HttpRule) -> bool {
    match (&one.paths, &two.paths) {
        (None, None) => true,
        (None, Some(paths)) | (Some(paths), None) => !paths.is_empty(),
        (Some(one), Some(two)) => one.iter().any(|path| two.iter().any(|other| path.overlaps(other))),
    }
}

/// A request may have both rules' parameters, so only a shared name can keep them apart.
fn queries_meet(one: &HttpRule, two: &HttpRule) -> bool {
    one.query.iter().all(|(name, glob)| {
        two.query.iter().filter(|(other, _)| other == name).all(|(_, other)| glob.overlaps(other))
    })
}

fn binaries_meet(one: Option<&Vec<BinaryPattern>>, two: Option<&Vec<BinaryPattern>>) -> bool {
    match (one, two) {
        (Some(one), Some(two)) => one.iter().any(|glob| two.iter().any(|other| glob.overlaps(other))),
        (None, Some(globs)) | (Some(globs), None) => !globs.is_empty(),
        (None, None) => true,
    }
}
