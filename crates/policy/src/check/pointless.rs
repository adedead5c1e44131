//! What has no effect, or another one than many expect.

use std::{collections::HashMap, ops::Range};

use crate::{
    document::{Notes, SitedRule, Sites},
    model::{DeniedPattern, HttpRule, MethodSet},
};

/// Comparing every rule with every earlier one is for documents that people write.
const MOST_COMPARED: usize = 2000;

pub(super) fn check(sites: &Sites, notes: &mut Notes) {
    for site in &sites.http {
        never_matches(site, notes);
        one_segment(site, notes);
    }
    if sites.http.len() <= MOST_COMPARED {
        covered_rules(&sites.http, notes);
    }
    denied_beside(sites, notes);
    routes(sites, notes);
    files(sites, notes);
}

fn never_matches(site: &SitedRule, notes: &mut Notes) {
    let rule = &site.rule;
    let none = matches!(&rule.methods, MethodSet::These(these) if these.is_empty());
    let empty =
        rule.paths.as_ref().is_some_and(Vec::is_empty) || rule.binaries.as_ref().is_some_and(Vec::is_empty);
    if (none || empty) && rule.deny.is_empty() {
        let span = site.methods.clone().filter(|_| none).unwrap_or_else(|| site.host.clone());
        notes.warning(span, format!("`{}` can never match: one of its lists is empty", rule.name));
    }
    for (path, span) in rule.paths.iter().flatten().zip(&site.paths) {
        if path.has_encoded_slash() && !rule.encoded_slash {
            let message = format!("`{path}` can never match: the rule has no `encoded_slash`");
            notes.warning(span.clone(), message);
        }
    }
    for (deny, span) in rule.deny.iter().zip(&site.deny) {
        let none = matches!(&deny.methods, Some(MethodSet::These(these)) if these.is_empty());
        if none || deny.paths.as_ref().is_some_and(Vec::is_empty) {
            notes.warning(span.clone(), "this `deny` can never match: one of its lists is empty");
        }
    }
}

fn one_segment(site: &SitedRule, notes: &mut Notes) {
    for (path, span) in site.rule.paths.iter().flatten().zip(&site.paths) {
        if path.ends_in_one_segment() {
            let message =
                format!("`{path}` matches one segment and nothing below it; `{path}*` is the subtree");
            notes.info(span.clone(), message);
        }
    }
}

fn covered_rules(rules: &[SitedRule], notes: &mut Notes) {
    let mut by_host: HashMap<String, Vec<&SitedRule>> = HashMap::new();
    for site in rules {
        let others = by_host.entry(site.rule.host.to_string()).or_default();
        if let Some(cover) = others.iter().find(|cover| makes_pointless(cover, site)) {
            pointless(site, cover, notes);
        } else {
            for covered in others.iter().filter(|other| makes_pointless(site, other)) {
                pointless(covered, site, notes);
            }
        }
        others.push(site);
    }
}

fn makes_pointless(cover: &SitedRule, covered: &SitedRule) -> bool {
    covered.rule.deny.is_empty() && covers(&cover.rule, &covered.rule)
}

fn pointless(covered: &SitedRule, cover: &SitedRule, notes: &mut Notes) {
    let message = format!("`{}` is pointless: `{}` allows all of it", covered.rule.name, cover.rule.name);
    notes.warning(covered.host.clone(), message);
}

/// A connection of `tcp` is not read: what it carries may be what a `deny` for its host is about.
fn denied_beside(sites: &Sites, notes: &mut Notes) {
    for (rule, span) in &sites.tcp {
        let denying =
            sites.http.iter().find(|site| !site.rule.deny.is_empty() && site.rule.host.overlaps(&rule.host));
        if let Some(denying) = denying {
            let message = format!(
                "`{}` opens connections that nobody looks into: what `{}` denies of this host cannot be seen there",
                rule.name, denying.rule.name
            );
            notes.warning(span.clone(), message);
        }
    }
}

/// Whether whatever the second rule allows the first does too. Patterns are compared as they are written.
fn covers(one: &HttpRule, two: &HttpRule) -> bool {
    let methods = match (&one.methods, &two.methods) {
        (MethodSet::Any, _) => true,
        (MethodSet::These(_), MethodSet::Any) => false,
        (MethodSet::These(one), MethodSet::These(two)) => {
            !two.is_empty() && two.iter().all(|method| one.contains(method))
        }
    };
    let paths = match (&one.paths, &two.paths) {
        (None, _) => true,
        (Some(_), None) => false,
        (Some(one), Some(two)) => !two.is_empty() && two.iter().all(|path| one.contains(path)),
    };
    methods
        && paths
        && one.scheme == two.scheme
        && one.tls == two.tls
        && two.ports.iter().all(|port| one.ports.contains(port))
        && (one.query.is_empty() || one.query == two.query)
        && (one.binaries.is_none() || one.binaries == two.binaries)
        && (one.encoded_slash || !two.encoded_slash)
}

fn routes(sites: &Sites, notes: &mut Notes) {
    for (index, (route, span)) in sites.llm.iter().enumerate() {
        let host = route.host();
        for site in sites.http.iter().filter(|site| site.rule.deny.is_empty()) {
            if host.as_ref().is_some_and(|host| site.rule.host.literal() == Some(host)) {
                let message = format!(
                    "`{}` is pointless: route `{}` alone decides for this host",
                    site.rule.name, route.name
                );
                notes.warning(site.host.clone(), message);
            }
        }
        if let Some((earlier, _)) = sites.llm.iter().take(index).find(|(other, _)| other.is_same_way(route)) {
            let message =
                format!("`{}` is never reached: `{}` has the same provider", route.name, earlier.name);
            notes.warning(span.clone(), message);
        }
    }
}

fn files(sites: &Sites, notes: &mut Notes) {
    let given = || sites.allowed.iter().chain(&sites.read_only);
    let mut seen = std::collections::HashSet::new();
    for (path, span) in given() {
        if !seen.insert(path.as_str()) {
            notes.warning(span.clone(), format!("`{path}` is listed twice: the one that gives less holds"));
        }
    }
    for (pattern, span) in &sites.denied {
        let DeniedPattern::Literal(path) = pattern else { continue };
        let related = |folder: &str| is_below(path.as_str(), folder) || is_below(folder, path.as_str());
        if !given().any(|(folder, _)| related(folder.as_str())) {
            outside(path.as_str(), span, notes);
        }
    }
}

fn outside(path: &str, span: &Range<usize>, notes: &mut Notes) {
    notes.info(
        span.clone(),
        format!("`{path}` lies in no path that the policy gives, so it is not there anyway"),
    );
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
