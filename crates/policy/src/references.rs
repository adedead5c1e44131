//! The secret references of a policy, and where what they name may go.

use std::collections::HashSet;

use chiton_secret::SecretRef;

use crate::{
    model::{LlmRoute, Policy},
    names::Host,
    patterns::HostPattern,
};

/// Every secret reference of a policy, each once.
#[must_use]
pub fn secret_refs(policy: &Policy) -> Vec<SecretRef> {
    let mut references: Vec<SecretRef> = Vec::new();
    let routes = routes(policy).filter_map(|route| route.inject_backend_credential.as_ref());
    for reference in of_rules(policy).map(|(_, reference)| reference).chain(routes) {
        if !references.contains(reference) {
            references.push(reference.clone());
        }
    }
    references
}

/// Which hosts a policy sends which secret to, each pair once. The secret's own hosts may narrow this.
#[must_use]
pub fn secret_hosts(policy: &Policy) -> Vec<(HostPattern, SecretRef)> {
    let rules = of_rules(policy).map(|(host, reference)| (host.clone(), reference));
    let routes =
        routes(policy).filter_map(|route| Some((host_of(route)?, route.inject_backend_credential.as_ref()?)));
    let mut seen = HashSet::new();
    let all = rules.chain(routes).map(|(host, reference)| (host, reference.clone()));
    all.filter(|pair| seen.insert(pair.clone())).collect()
}

fn of_rules(policy: &Policy) -> impl Iterator<Item = (&HostPattern, &SecretRef)> {
    policy.dynamic.http.iter().filter_map(|rule| Some((&rule.host, &rule.credential.as_ref()?.secret)))
}

fn routes(policy: &Policy) -> impl Iterator<Item = &LlmRoute> {
    policy.dynamic.llm.iter().flat_map(|route| std::iter::once(route).chain(&route.fallback))
}

/// A route's backend.
fn host_of(route: &LlmRoute) -> Option<HostPattern> {
    match &route.base_url {
        Some(url) => Some(url.host.clone().into()),
        None => Some(Host::parse(route.provider.facts()?.host).ok()?.into()),
    }
}

#[cfg(test)]
mod tests {
    use super::{secret_hosts, secret_refs};
    use crate::Policy;

    #[test]
    fn references_and_where_they_go() {
        let policy = Policy::parse(
            "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://b'},\n\
             network: {http: [{host: '*.a.test', credential: 'local://a'}, {host: c.test},\n\
             {host: '*.a.test', paths: [/x], credential: 'local://a'}, {host: d.test, credential: 'local://b'}]}}",
        )
        .unwrap();
        assert_eq!(
            secret_refs(&policy).iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["local://a", "local://b"]
        );
        let hosts: Vec<_> =
            secret_hosts(&policy).iter().map(|(host, reference)| format!("{host} {reference}")).collect();
        assert_eq!(hosts, ["*.a.test local://a", "d.test local://b", "api.openai.com local://b"]);
    }
}
