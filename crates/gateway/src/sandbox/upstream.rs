//! `[upstream]` of `config.toml` for one sandbox: the credential of the forward proxy gets its value here.

use chiton_api::control::{Credential, Upstream};
use chiton_policy::HostPattern;
use chiton_secret::SecretRef;

use crate::{config::Config, error::GatewayError, secrets::Secrets};

/// The settings, of which a value may still be missing.
pub(super) struct Unresolved {
    upstream: Upstream,
    credential: Option<SecretRef>,
}

impl Unresolved {
    /// Of a configuration, with its files read.
    pub(super) fn of(config: &Config) -> Result<Self, GatewayError> {
        let (upstream, credential) = config.upstream()?;
        Ok(Self { upstream, credential })
    }

    /// The credential of the forward proxy.
    pub(super) const fn credential(&self) -> Option<&SecretRef> {
        self.credential.as_ref()
    }

    /// With the value, which is `user:password` and may go to that proxy.
    pub(super) async fn resolve(&self, secrets: &Secrets) -> Result<Upstream, GatewayError> {
        let mut upstream = self.upstream.clone();
        if let (Some(forward), Some(reference)) = (&mut upstream.forward, &self.credential) {
            let credential = secrets.resolve(reference).await?;
            check(&credential, forward.url.host())?;
            forward.credential = Some(credential);
        }
        Ok(upstream)
    }
}

fn check(credential: &Credential, proxy: &chiton_policy::Host) -> Result<(), GatewayError> {
    let named = |why: &str| GatewayError::Secret {
        message: format!("`{}`, which `[upstream] proxy_credential` names, {why}", credential.reference),
        hint: None,
    };
    let value = credential.value.dangerous_expose();
    if value.iter().position(|byte| *byte == b':').is_none_or(|at| at == 0) {
        return Err(named("is not of the form `user:password`"));
    }
    // A pattern that is none matches nothing.
    let fits = |host: &String| HostPattern::parse(host).is_ok_and(|pattern| pattern.matches(proxy));
    match &credential.hosts {
        Some(hosts) if !hosts.iter().any(fits) => {
            Err(named(&format!("was stored for other hosts, and may not go to the proxy `{proxy}`")))
        }
        Some(_) | None => Ok(()),
    }
}

/// The values that settings hold.
pub(super) fn credentials_of(upstream: &Upstream) -> &[Credential] {
    upstream.forward.as_ref().map_or(&[], |forward| forward.credential.as_slice())
}
