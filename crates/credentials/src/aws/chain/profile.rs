//! The credentials of a profile: keys, or a role that somebody else assumes.

use chiton_aws::Credentials;
use chiton_secret::SecretValue;

use super::{
    Chain, ChainError, Variables, container,
    files::{Profiles, Section},
    instance,
    sts::Role,
};

const MOST_ROLES: usize = 5;

/// Which profile.
pub(super) struct Named {
    pub(super) name: String,
    /// Somebody said it, so that it has to be there.
    is_told: bool,
    /// `config.toml` said it: nothing else is looked at.
    pub(super) is_only: bool,
}

impl Named {
    pub(super) fn of(only: Option<&str>, variables: &Variables) -> Self {
        let told = only.map(str::to_owned).or_else(|| variables.get("AWS_PROFILE"));
        let is_told = told.is_some();
        Self { name: told.unwrap_or_else(|| "default".to_owned()), is_told, is_only: only.is_some() }
    }
}

/// Who assumes a role.
enum By {
    Keys(Credentials),
    WebIdentity(Role, String),
    Nobody,
}

/// None where it has nothing to say.
pub(super) async fn credentials(
    chain: &Chain,
    profiles: &Profiles,
    named: &Named,
) -> Result<Option<Credentials>, ChainError> {
    if profiles.get(&named.name).is_none() && !named.is_told {
        return Ok(None);
    }
    let mut roles = Vec::new();
    let by = walk(chain, profiles, named.name.clone(), &mut roles).await?;
    let mut credentials = match by {
        By::Keys(credentials) => credentials,
        By::WebIdentity(role, file) => {
            chain.sts().await?.web_identity(&role.arn, role.session.as_deref(), &file).await?
        }
        By::Nobody if roles.is_empty() => return Ok(None),
        By::Nobody => return Err(ChainError::NoKeys { profile: named.name.clone() }),
    };
    for role in roles.iter().rev() {
        credentials = chain.sts().await?.assume(role, &credentials).await?;
    }
    Ok(Some(credentials))
}

/// From the profile to whoever has keys; the roles on the way are kept.
async fn walk(
    chain: &Chain,
    profiles: &Profiles,
    first: String,
    roles: &mut Vec<Role>,
) -> Result<By, ChainError> {
    let mut name = first.clone();
    loop {
        let section = profiles.get(&name).ok_or_else(|| ChainError::NoProfile(name.clone()))?;
        let Some(arn) = section.get("role_arn") else { return keys(&name, section) };
        refuse(&name, section, &["mfa_serial"])?;
        let (session, external_id) = (section.get("role_session_name"), section.get("external_id"));
        let role = Role { arn, session, external_id };
        if let Some(file) = section.get("web_identity_token_file") {
            return Ok(By::WebIdentity(role, file));
        }
        roles.push(role);
        if roles.len() > MOST_ROLES {
            return Err(ChainError::Circle(first));
        }
        match (section.get("source_profile"), section.get("credential_source").as_deref()) {
            (Some(source), None) if source == name => return keys(&name, section),
            (Some(source), None) => name = source,
            (None, Some(source)) => return of_source(chain, name, source).await,
            _ => return Err(ChainError::HalfProfile { profile: name, missing: "source_profile" }),
        }
    }
}

async fn of_source(chain: &Chain, profile: String, source: &str) -> Result<By, ChainError> {
    let found = match source {
        "Environment" => chain.of_environment()?,
        "EcsContainer" => container::credentials(&chain.variables, &chain.servers).await?,
        "Ec2InstanceMetadata" => instance::credentials(&chain.variables, &chain.servers).await?,
        _ => return Err(ChainError::HalfProfile { profile, missing: "a credential_source that is known" }),
    };
    Ok(found.map_or(By::Nobody, By::Keys))
}

fn keys(name: &str, section: &Section) -> Result<By, ChainError> {
    let secret = |key: &str| section.secret(key).map(|text| SecretValue::new(text.as_bytes().to_vec()));
    let half = |missing| Err(ChainError::HalfProfile { profile: name.to_owned(), missing });
    match (section.get("aws_access_key_id"), secret("aws_secret_access_key")) {
        (Some(access_key_id), Some(secret_access_key)) => {
            let session_token = secret("aws_session_token");
            Ok(By::Keys(Credentials { access_key_id, secret_access_key, session_token, expires: None }))
        }
        (Some(_), None) => half("aws_secret_access_key"),
        (None, Some(_)) => half("aws_access_key_id"),
        (None, None) => {
            refuse(name, section, &["credential_process", "sso_session", "sso_start_url", "login_session"])?;
            Ok(By::Nobody)
        }
    }
}

fn refuse(name: &str, section: &Section, keys: &[&'static str]) -> Result<(), ChainError> {
    match keys.iter().find(|key| section.secret(key).is_some()) {
        Some(key) => Err(ChainError::Unsupported { profile: name.to_owned(), key }),
        None => Ok(()),
    }
}
