//! The secret references of a policy, and where what they name may go.

use std::collections::HashSet;

use chiton_secret::SecretRef;

use crate::{
    model::{BaseUrl, Credential, CredentialPlace, LlmRoute, Policy},
    names::RuleName,
    patterns::HostPattern,
};

/// A secret that a policy sends to a host.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct SentSecret {
    /// Which host.
    pub host: HostPattern,
    /// Which secret.
    pub secret: SecretRef,
    /// Where it stands in a request; none on an LLM route whose provider has a place for it. One that may sign, does.
    pub place: Option<CredentialPlace>,
}

/// Every secret reference of a policy, each once.
#[must_use]
pub fn secret_refs(policy: &Policy) -> Vec<SecretRef> {
    let mut references: Vec<SecretRef> = Vec::new();
    let routes = routes(policy).filter_map(|route| route.inject_backend_credential.as_ref());
    for reference in of_rules(policy).map(|(_, credential)| &credential.secret).chain(routes) {
        if !references.contains(reference) {
            references.push(reference.clone());
        }
    }
    references
}

/// Which hosts a policy sends which secret to, and how, each once. The secret's own hosts may narrow this.
#[must_use]
pub fn secret_hosts(policy: &Policy) -> Vec<SentSecret> {
    let rules = of_rules(policy).map(|(host, credential)| SentSecret {
        host: host.clone(),
        secret: credential.secret.clone(),
        place: Some(credential.place.clone()),
    });
    let routes = routes(policy).filter_map(|route| {
        let secret = route.inject_backend_credential.clone()?;
        let signs = route.behind().facts().key_signs.is_some();
        let place = signs.then_some(CredentialPlace::Aws);
        Some(SentSecret { host: route.backend()?.host.into(), secret, place })
    });
    let mut seen = HashSet::new();
    rules.chain(routes).filter(|sent| seen.insert(sent.clone())).collect()
}

/// The first backend that only the operator can open, of those that are not at or below one that he has.
#[must_use]
pub fn closed_backend(policy: &Policy, opened: &[BaseUrl]) -> Option<(RuleName, BaseUrl)> {
    let mut backends = routes(policy).filter_map(|route| Some((route.name.clone(), route.backend()?)));
    let closed = |url: &BaseUrl| url.needs_operator() && !opened.iter().any(|open| open.covers(url));
    backends.find(|(_, url)| closed(url))
}

fn of_rules(policy: &Policy) -> impl Iterator<Item = (&HostPattern, &Credential)> {
    policy.dynamic.http.iter().filter_map(|rule| Some((&rule.host, rule.credential.as_ref()?)))
}

fn routes(policy: &Policy) -> impl Iterator<Item = &LlmRoute> {
    policy.dynamic.llm.iter().flat_map(LlmRoute::with_fallbacks)
}

#[cfg(test)]
mod tests {
    use super::{secret_hosts, secret_refs};
    use crate::{Policy, model::CredentialPlace};

    #[test]
    fn references_and_where_they_go() {
        let policy = Policy::parse(
            "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://b'},\n\
             network: {http: [{host: '*.a.test', credential: 'local://a'}, {host: c.test},\n\
             {host: '*.a.test', paths: [/x], credential: 'local://a'}, {host: d.test, paths: [/z], credential: 'local://b'},\n\
             {host: d.test, paths: [/y], credential: {secret: 'local://b', query: k}}]}}",
        )
        .unwrap();
        assert_eq!(
            secret_refs(&policy).iter().map(ToString::to_string).collect::<Vec<_>>(),
            ["local://a", "local://b"]
        );
        let sent = secret_hosts(&policy);
        let place = |place: &CredentialPlace| format!(" {place}");
        let hosts: Vec<_> = sent
            .iter()
            .map(|sent| {
                format!("{} {}{}", sent.host, sent.secret, sent.place.as_ref().map(place).unwrap_or_default())
            })
            .collect();
        assert_eq!(
            hosts,
            [
                "*.a.test local://a `authorization: Bearer {}`",
                "d.test local://b `authorization: Bearer {}`",
                "d.test local://b the parameter `k`",
                "api.openai.com local://b",
            ]
        );
    }
}
