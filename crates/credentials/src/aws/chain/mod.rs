//! The standard chain of places where AWS credentials come from, as Amazon's own tools look for them.
//!
//! In this order, and the first that has something decides, also when what it has cannot be used: the environment, a
//! web identity, the profile, a container's agent, the instance's metadata. A profile that `config.toml` names is the
//! only place. Credentials that end are kept until shortly before, and had anew by one asker for all.

mod container;
mod error;
mod files;
mod instance;
mod json;
mod profile;
mod sts;
#[cfg(test)]
mod tests;

use std::{
    sync::Arc,
    time::{Duration, SystemTime},
};

use chiton_aws::Credentials;
use chiton_secret::SecretValue;
use tokio::{sync::Mutex, time::Instant};

use super::{AwsSettings, Servers, Variables};
use files::Profiles;
use profile::Named;
use sts::Sts;

pub use error::{ChainError, Whom};

/// Credentials are had anew so long before they end; sooner than at two thirds of their time never.
const EARLY: Duration = Duration::from_secs(5 * 60);
/// Where they cannot be had anew, it is tried again after this time.
const PAUSE: Duration = Duration::from_secs(10);

/// Where AWS credentials come from.
pub struct Chain {
    region: Option<String>,
    only: Option<String>,
    variables: Variables,
    servers: Arc<Servers>,
    kept: Mutex<Option<Kept>>,
}

struct Kept {
    credentials: Credentials,
    due: Instant,
    ends: Instant,
}

/// What the settings of the profile say besides.
pub(super) struct About {
    pub(super) region: Option<String>,
    pub(super) endpoint: Option<String>,
}

impl Chain {
    pub(super) fn new(settings: &AwsSettings, variables: Variables, servers: Arc<Servers>) -> Self {
        let AwsSettings { region, profile, .. } = settings.clone();
        Self { region, only: profile, variables, servers, kept: Mutex::default() }
    }

    /// Credentials that hold.
    ///
    /// # Errors
    /// When there are none, or they cannot be had.
    pub async fn credentials(&self) -> Result<Credentials, ChainError> {
        let mut kept = self.kept.lock().await;
        let now = Instant::now();
        kept.take_if(|known| now >= known.ends);
        if let Some(known) = kept.as_ref().filter(|known| now < known.due) {
            return Ok(known.credentials.clone());
        }
        match (self.look_up().await, &mut *kept) {
            (Ok(credentials), _) => {
                *kept = Kept::of(credentials.clone(), now);
                Ok(credentials)
            }
            (Err(error), Some(known)) => {
                tracing::warn!(
                    "AWS credentials are not had anew: {error}; those at hand are used while they hold"
                );
                known.due = Instant::now() + PAUSE;
                Ok(known.credentials.clone())
            }
            (Err(error), None) => Err(error),
        }
    }

    /// These are not taken any more; whether they were kept, so that there may be others.
    pub(super) async fn forget(&self, refused: &Credentials) -> bool {
        self.kept.lock().await.take_if(|known| known.credentials == *refused).is_some()
    }

    /// What is asked where.
    pub(super) async fn profile(&self) -> Result<About, ChainError> {
        let profiles = Profiles::load(&self.variables).await?;
        let named = Named::of(self.only.as_deref(), &self.variables);
        let says = |key: &str| profiles.get(&named.name)?.get(key);
        let region = self.region.clone();
        let region = region.or_else(|| self.variables.get("AWS_REGION"));
        let region = region.or_else(|| self.variables.get("AWS_DEFAULT_REGION")).or_else(|| says("region"));
        Ok(About { region, endpoint: says("endpoint_url") })
    }

    async fn look_up(&self) -> Result<Credentials, ChainError> {
        let profiles = Profiles::load(&self.variables).await?;
        let named = Named::of(self.only.as_deref(), &self.variables);
        if named.is_only {
            let found = profile::credentials(self, &profiles, &named).await?;
            return found.ok_or(ChainError::NoKeys { profile: named.name });
        }
        if let Some(found) = self.of_environment()? {
            return Ok(found);
        }
        if let Some(file) = self.variables.get("AWS_WEB_IDENTITY_TOKEN_FILE") {
            let role = self.variables.get("AWS_ROLE_ARN");
            let role = role.ok_or(ChainError::Half { place: "the environment", missing: "AWS_ROLE_ARN" })?;
            let session = self.variables.get("AWS_ROLE_SESSION_NAME");
            return self.sts().await?.web_identity(&role, session.as_deref(), &file).await;
        }
        if let Some(found) = profile::credentials(self, &profiles, &named).await? {
            return Ok(found);
        }
        if let Some(found) = container::credentials(&self.variables, &self.servers).await? {
            return Ok(found);
        }
        self.of_instance(named.name).await
    }

    /// The last place: where it is not there, there is none.
    async fn of_instance(&self, profile: String) -> Result<Credentials, ChainError> {
        let why = match instance::credentials(&self.variables, &self.servers).await {
            Ok(Some(found)) => return Ok(found),
            Ok(None) => "switched off by AWS_EC2_METADATA_DISABLED".to_owned(),
            Err(ChainError::Call { error, .. }) => error.to_string(),
            Err(error) => return Err(error),
        };
        Err(ChainError::None { profile, instance: why })
    }

    fn of_environment(&self) -> Result<Option<Credentials>, ChainError> {
        let get = |name: &'static str| self.variables.get(name);
        let secret = |text: String| SecretValue::new(text.into_bytes());
        match (get("AWS_ACCESS_KEY_ID"), get("AWS_SECRET_ACCESS_KEY")) {
            (None, None) => Ok(None),
            (Some(access_key_id), Some(key)) => Ok(Some(Credentials {
                access_key_id,
                secret_access_key: secret(key),
                session_token: get("AWS_SESSION_TOKEN").map(secret),
                expires: None,
            })),
            (Some(_), None) => {
                Err(ChainError::Half { place: "the environment", missing: "AWS_SECRET_ACCESS_KEY" })
            }
            (None, Some(_)) => {
                Err(ChainError::Half { place: "the environment", missing: "AWS_ACCESS_KEY_ID" })
            }
        }
    }

    async fn sts(&self) -> Result<Sts<'_>, ChainError> {
        let About { region, endpoint } = self.profile().await?;
        Sts::new(&self.servers, region, endpoint)
    }
}

impl Kept {
    /// None where they do not end: what is on this host is read each time, so that a change is followed.
    fn of(credentials: Credentials, now: Instant) -> Option<Self> {
        let left = credentials.expires?.duration_since(SystemTime::now()).unwrap_or_default();
        let early = EARLY.min(left / 3);
        Some(Self { credentials, due: now + left.saturating_sub(early), ends: now + left })
    }
}
