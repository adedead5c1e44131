//! `aws-sm://name#field`: AWS Secrets Manager.
//!
//! A small client of the published API: one signed question, `GetSecretValue`, with the credentials of the standard
//! [`Chain`]. Credentials that are not taken any more are had anew once. Nothing of a server's own words goes into an
//! error: they could hold anything.

mod answers;
mod chain;
mod error;
mod secret_id;
mod servers;
mod settings;
#[cfg(test)]
pub(crate) mod tests;

use std::{sync::Arc, time::SystemTime};

use async_trait::async_trait;
use chiton_aws::{Credentials, Payload, Scope, Signer, ToSign};
use chiton_secret::{Scheme, SecretRef};
use hyper::{HeaderMap, Method, header};
use zeroize::Zeroizing;

use crate::{
    Fault, Fetched, Lifetime, SecretStore,
    client::{Answer, Client, asked},
};
use answers::{Secret, fault};
use secret_id::{SecretId, Version};
use servers::{Servers, Service};

pub use chain::{Chain, ChainError, Whom};
pub use error::{AwsError, CallError};
pub use settings::{AwsSettings, Variables};

/// AWS Secrets Manager, as one set of settings reaches it.
pub struct AwsSecrets {
    settings: AwsSettings,
    servers: Arc<Servers>,
    chain: Chain,
}

impl AwsSecrets {
    /// By these settings, and by what these variables say. Nothing is asked yet.
    #[must_use]
    pub fn new(settings: AwsSettings, variables: Variables) -> Self {
        let reach = settings.reach.clone();
        let servers = Arc::new(Servers::new(reach, settings.endpoint.clone(), variables.clone()));
        let chain = Chain::new(&settings, variables, Arc::clone(&servers));
        Self { settings, servers, chain }
    }

    /// What it was made by.
    #[must_use]
    pub const fn settings(&self) -> &AwsSettings {
        &self.settings
    }

    /// The credentials that it asks with.
    #[must_use]
    pub const fn chain(&self) -> &Chain {
        &self.chain
    }

    async fn read(&self, id: SecretId<'_>, credentials: &Credentials) -> Result<Secret, AwsError> {
        let profile = self.chain.profile().await?;
        let region = match id.region() {
            Some(region) => region.to_owned(),
            None => profile.region.ok_or(CallError::NoRegion)?,
        };
        let client = self.servers.of(Service::SecretsManager, &region, profile.endpoint.as_deref())?;
        let body = question(id).ok_or(AwsError::Odd("the reference is no text of JSON"))?;
        let signed =
            Signs { region: &region, service: Service::SecretsManager, credentials: Some(credentials) };
        let fields =
            [(header::CONTENT_TYPE, "application/x-amz-json-1.1"), (TARGET, "secretsmanager.GetSecretValue")];
        let answer = post(&client, signed, &fields, body).await?;
        match answer.status() {
            200 => Secret::parse(answer.body()),
            _ => Err(fault(&answer)),
        }
    }

    /// Reads; with new credentials where those at hand are not taken any more.
    async fn read_as_somebody(&self, id: SecretId<'_>) -> Result<Secret, AwsError> {
        let credentials = self.chain.credentials().await?;
        match self.read(id, &credentials).await {
            Err(AwsError::Refused(_)) if self.chain.forget(&credentials).await => {
                let credentials = self.chain.credentials().await?;
                self.read(id, &credentials).await
            }
            read => read,
        }
    }
}

const TARGET: header::HeaderName = header::HeaderName::from_static("x-amz-target");

fn question(id: SecretId<'_>) -> Option<Zeroizing<Vec<u8>>> {
    let mut asked = serde_json::Map::new();
    asked.insert("SecretId".to_owned(), id.name.into());
    match id.version {
        Version::Current => {}
        Version::Stage(stage) => {
            asked.insert("VersionStage".to_owned(), stage.into());
        }
        Version::Id(version) => {
            asked.insert("VersionId".to_owned(), version.into());
        }
    }
    serde_json::to_vec(&asked).ok().map(Zeroizing::new)
}

/// Who asks, and what is asked.
struct Signs<'a> {
    region: &'a str,
    service: Service,
    /// None: nobody.
    credentials: Option<&'a Credentials>,
}

/// Posts to the one path that these services have.
async fn post(
    client: &Client,
    signs: Signs<'_>,
    fields: &[(header::HeaderName, &'static str)],
    body: Zeroizing<Vec<u8>>,
) -> Result<Answer, CallError> {
    let host = client.address().host_field();
    let mut headers = HeaderMap::new();
    for (name, value) in fields {
        headers.insert(name.clone(), header::HeaderValue::from_static(value));
    }
    let mut builder = Client::question(Method::POST, "/", &host);
    for (name, value) in &headers {
        builder = builder.header(name, value);
    }
    if let Some(credentials) = signs.credentials {
        let scope = Scope::new(signs.region, signs.service.name()).map_err(|_| CallError::Region)?;
        let (path, query, payload) = ("/", "", Payload::of(&body));
        let method = &Method::POST;
        let request = ToSign { method, host: &host, path, query, headers: &headers, payload };
        for (name, value) in Signer::new(credentials, &scope).sign(&request, SystemTime::now())?.headers {
            builder = builder.header(name, value);
        }
    }
    let request = asked(builder, Some(body))?;
    Ok(client.ask(request).await?)
}

#[async_trait]
impl SecretStore for AwsSecrets {
    fn scheme(&self) -> Scheme {
        Scheme::AwsSm
    }

    async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
        let secret = self.read_as_somebody(SecretId::of(reference.locator())).await?;
        let written = secret.written;
        let value = secret.into_field(reference.field())?;
        let AwsSettings { refresh, keep, .. } = self.settings;
        let lifetime = Some(Lifetime { refresh: refresh.min(keep), valid: keep });
        Ok(Fetched { value, hosts: None, written, lifetime, warning: None })
    }
}
