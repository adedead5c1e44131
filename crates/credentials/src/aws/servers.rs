//! Amazon's servers, by service and region, and one client for each.

use std::{
    collections::BTreeMap,
    sync::{Arc, Mutex, PoisonError},
};

use super::{CallError, Variables};
use crate::{
    ServerAddress,
    client::{AskError, Client, Reach},
};

/// The services that are asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Service {
    SecretsManager,
    Sts,
}

impl Service {
    /// As hosts and signatures have it.
    pub(super) const fn name(self) -> &'static str {
        match self {
            Self::SecretsManager => "secretsmanager",
            Self::Sts => "sts",
        }
    }

    const fn variable(self) -> &'static str {
        match self {
            Self::SecretsManager => "AWS_ENDPOINT_URL_SECRETS_MANAGER",
            Self::Sts => "AWS_ENDPOINT_URL_STS",
        }
    }
}

/// How all of them are reached.
pub(super) struct Servers {
    reach: Reach,
    told: Option<ServerAddress>,
    variables: Variables,
    clients: Mutex<BTreeMap<String, Arc<Client>>>,
}

impl Servers {
    pub(super) fn new(reach: Reach, told: Option<ServerAddress>, variables: Variables) -> Self {
        Self { reach, told, variables, clients: Mutex::default() }
    }

    /// What is asked for a service in a region; `profile` is the `endpoint_url` of the shared files.
    pub(super) fn of(
        &self,
        service: Service,
        region: &str,
        profile: Option<&str>,
    ) -> Result<Arc<Client>, CallError> {
        if let Some(address) = &self.told {
            return Ok(self.at(address)?);
        }
        let variables = [service.variable(), "AWS_ENDPOINT_URL"].into_iter();
        let told = variables.filter_map(|name| Some((name, self.variables.get(name)?)));
        let profile = profile.map(|url| ("endpoint_url", url.to_owned()));
        if let Some((name, url)) = told.chain(profile).next() {
            let address = url.parse().map_err(|error| CallError::Endpoint { name, error })?;
            return Ok(self.at(&address)?);
        }
        let host = format!("https://{}.{region}.{}", service.name(), domain(region));
        let address = host.parse().map_err(|_| CallError::Region)?;
        Ok(self.at(&address)?)
    }

    /// The client for an address.
    pub(super) fn at(&self, address: &ServerAddress) -> Result<Arc<Client>, AskError> {
        let mut clients = self.clients.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(client) = clients.get(&address.to_string()) {
            return Ok(Arc::clone(client));
        }
        let client = Arc::new(Client::new(address.clone(), &self.reach)?);
        clients.insert(address.to_string(), Arc::clone(&client));
        Ok(client)
    }
}

/// The domain of a region's partition.
fn domain(region: &str) -> &'static str {
    let begins = |with: &str| region.starts_with(with);
    match () {
        () if begins("cn-") => "amazonaws.com.cn",
        () if begins("eusc-") => "amazonaws.eu",
        () if begins("us-isob-") => "sc2s.sgov.gov",
        () if begins("us-isof-") => "csp.hci.ic.gov",
        () if begins("eu-isoe-") => "cloud.adc-e.uk",
        () if begins("us-iso-") => "c2s.ic.gov",
        () => "amazonaws.com",
    }
}
