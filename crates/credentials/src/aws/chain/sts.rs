//! AWS STS: a role is assumed by other credentials, or by the token of a web identity.

use std::{path::Path, sync::Arc};

use chiton_aws::Credentials;
use chiton_secret::{Scheme, SecretRef, SecretValue};
use hyper::header;
use zeroize::Zeroizing;

use super::{
    super::{CallError, Servers, Service, Signs, post},
    ChainError, Whom,
    json::moment,
};
use crate::{
    Files, SecretStore,
    client::{Answer, Client},
};

/// The service, in a region.
pub(super) struct Sts<'a> {
    client: Arc<Client>,
    region: String,
    _servers: &'a Servers,
}

/// What is assumed.
pub(super) struct Role {
    pub(super) arn: String,
    pub(super) session: Option<String>,
    pub(super) external_id: Option<String>,
}

/// What a session is called where nobody says it.
const SESSION: &str = "chiton";

impl<'a> Sts<'a> {
    pub(super) fn new(
        servers: &'a Servers,
        region: Option<String>,
        endpoint: Option<String>,
    ) -> Result<Self, ChainError> {
        let region = region.ok_or(CallError::NoRegion).map_err(failed)?;
        let client = servers.of(Service::Sts, &region, endpoint.as_deref()).map_err(failed)?;
        Ok(Self { client, region, _servers: servers })
    }

    pub(super) async fn assume(&self, role: &Role, by: &Credentials) -> Result<Credentials, ChainError> {
        let mut form = Form::new("AssumeRole");
        form.add("RoleArn", role.arn.as_bytes());
        form.add("RoleSessionName", role.session.as_deref().unwrap_or(SESSION).as_bytes());
        if let Some(id) = &role.external_id {
            form.add("ExternalId", id.as_bytes());
        }
        self.ask(form, Some(by)).await
    }

    pub(super) async fn web_identity(
        &self,
        role: &str,
        session: Option<&str>,
        file: &str,
    ) -> Result<Credentials, ChainError> {
        let token = read(file).await?;
        let mut form = Form::new("AssumeRoleWithWebIdentity");
        form.add("RoleArn", role.as_bytes());
        form.add("RoleSessionName", session.unwrap_or(SESSION).as_bytes());
        form.add("WebIdentityToken", token.dangerous_expose().trim_ascii());
        self.ask(form, None).await
    }

    async fn ask(&self, form: Form, credentials: Option<&Credentials>) -> Result<Credentials, ChainError> {
        let signs = Signs { region: &self.region, service: Service::Sts, credentials };
        let fields = [(header::CONTENT_TYPE, "application/x-www-form-urlencoded")];
        let answer = post(&self.client, signs, &fields, form.0).await.map_err(failed)?;
        match answer.status() {
            200 => given(&answer).ok_or(ChainError::Odd(Whom::Sts)),
            status => Err(ChainError::Refused { whom: Whom::Sts, status, code: code(&answer) }),
        }
    }
}

fn failed(error: CallError) -> ChainError {
    ChainError::Call { whom: Whom::Sts, error }
}

/// A file with a token. A pod's changes while it runs: it is read each time.
pub(super) async fn read(path: &str) -> Result<SecretValue, ChainError> {
    let unread = |source| ChainError::File { path: path.into(), source };
    let reference: Option<SecretRef> = Some(path)
        .filter(|path| Path::new(path).is_absolute())
        .and_then(|path| format!("file://{path}").parse().ok());
    let reference = reference.filter(|reference| reference.scheme() == Scheme::File);
    let reference = reference.ok_or_else(|| unread(std::io::Error::other("expected an absolute path")))?;
    let fetched = Files.fetch(&reference).await;
    Ok(fetched.map_err(|fault| unread(std::io::Error::other(fault.to_string())))?.value)
}

/// What is posted, which may be a token.
struct Form(Zeroizing<Vec<u8>>);

impl Form {
    fn new(action: &str) -> Self {
        let mut form = Self(Zeroizing::new(Vec::with_capacity(256 * 1024)));
        form.add("Action", action.as_bytes());
        form.add("Version", b"2011-06-15");
        form
    }

    fn add(&mut self, name: &str, value: &[u8]) {
        if !self.0.is_empty() {
            self.0.push(b'&');
        }
        self.0.extend_from_slice(name.as_bytes());
        self.0.push(b'=');
        for byte in value {
            if byte.is_ascii_alphanumeric() || b"-._~".contains(byte) {
                self.0.push(*byte);
            } else {
                self.0.extend_from_slice(format!("%{byte:02X}").as_bytes());
            }
        }
    }
}

/// The credentials in an answer. They have no letter that XML writes in another way.
fn given(answer: &Answer) -> Option<Credentials> {
    let body = std::str::from_utf8(answer.body()).ok()?;
    let whole = element(body, "Credentials")?;
    let secret = |name: &str| element(whole, name).map(|text| SecretValue::new(text.as_bytes().to_vec()));
    Some(Credentials {
        access_key_id: element(whole, "AccessKeyId")?.to_owned(),
        secret_access_key: secret("SecretAccessKey")?,
        session_token: Some(secret("SessionToken")?),
        expires: Some(moment(element(whole, "Expiration")?)?),
    })
}

fn element<'a>(text: &'a str, name: &str) -> Option<&'a str> {
    let (_, rest) = text.split_once(&format!("<{name}>"))?;
    let (inner, _) = rest.split_once(&format!("</{name}>"))?;
    Some(inner.trim()).filter(|inner| !inner.is_empty())
}

/// Only words that are known are repeated.
fn code(answer: &Answer) -> Option<&'static str> {
    let body = std::str::from_utf8(answer.body()).ok()?;
    let said = element(body, "Code")?;
    KNOWN.iter().find(|code| **code == said).copied()
}

const KNOWN: &[&str] = &[
    "AccessDenied",
    "ExpiredToken",
    "ExpiredTokenException",
    "IDPCommunicationError",
    "IDPRejectedClaim",
    "InvalidClientTokenId",
    "InvalidIdentityToken",
    "MalformedPolicyDocument",
    "PackedPolicyTooLarge",
    "RegionDisabledException",
    "SignatureDoesNotMatch",
    "Throttling",
    "ValidationError",
];
