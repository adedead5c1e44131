//! One question to Vault and its answer.

use chiton_secret::SecretValue;
use hyper::{Method, header};
use zeroize::Zeroizing;

use super::{VaultError, VaultSettings};
use crate::client::{self, Answer, AskError, Reach, asked};

/// How a Vault is reached.
pub(super) struct Client {
    client: client::Client,
    namespace: Option<String>,
}

/// A question.
pub(super) struct Ask<'a> {
    method: Method,
    /// Behind `/v1/`.
    target: &'a str,
    token: Option<&'a SecretValue>,
    body: Option<Zeroizing<Vec<u8>>>,
}

impl<'a> Ask<'a> {
    pub(super) const fn get(target: &'a str) -> Self {
        Self { method: Method::GET, target, token: None, body: None }
    }

    pub(super) const fn post(target: &'a str, body: Zeroizing<Vec<u8>>) -> Self {
        Self { method: Method::POST, target, token: None, body: Some(body) }
    }

    pub(super) fn by(self, token: &'a SecretValue) -> Self {
        Self { token: Some(token), ..self }
    }
}

/// What an answer means that is not the one that was hoped for.
pub(super) const fn fault(answer: &Answer) -> VaultError {
    match answer.status() {
        403 => VaultError::Forbidden,
        429 => VaultError::TooMany { retry_after: answer.retry_after() },
        status @ (472 | 473) => VaultError::Standby(status),
        status @ 300..400 => VaultError::Redirected(status),
        503 => VaultError::Sealed,
        status @ 500..600 => VaultError::Failed(status),
        _ => VaultError::Odd("its status is not one of this question's"),
    }
}

impl From<AskError> for VaultError {
    fn from(error: AskError) -> Self {
        match error {
            AskError::Tls(error) => Self::Tls(error),
            AskError::Name => Self::Odd("its name cannot be verified"),
            AskError::Unreachable { address, why } => Self::Unreachable { address, why },
            AskError::TimedOut { address, after } => Self::TimedOut { address, after },
            AskError::TooLong => Self::Odd("it is longer than any secret"),
            AskError::Unaskable => Self::Odd("a path of it cannot be asked for"),
        }
    }
}

impl Client {
    pub(super) fn new(settings: &VaultSettings) -> Result<Self, VaultError> {
        let VaultSettings { roots, resolve, timeout, namespace, .. } = settings.clone();
        let reach = Reach { roots, resolve, timeout };
        let client = client::Client::new(settings.address.server().clone(), &reach)?;
        Ok(Self { client, namespace })
    }

    /// Asks, within a time that is bounded.
    pub(super) async fn ask(&self, ask: Ask<'_>) -> Result<Answer, VaultError> {
        let Ask { method, target, token, body } = ask;
        let (target, host) = (format!("/v1/{target}"), self.client.address().authority());
        let mut builder = client::Client::question(method, &target, &host).header("x-vault-request", "true");
        if let Some(token) = token {
            let value = header::HeaderValue::from_bytes(token.dangerous_expose());
            let mut value =
                value.map_err(|_| VaultError::NoMeans("the token cannot stand in a header".to_owned()))?;
            value.set_sensitive(true);
            builder = builder.header("x-vault-token", value);
        }
        if let Some(namespace) = &self.namespace {
            builder = builder.header("x-vault-namespace", namespace);
        }
        if body.is_some() {
            builder = builder.header(header::CONTENT_TYPE, "application/json");
        }
        Ok(self.client.ask(asked(builder, body)?).await?)
    }
}
