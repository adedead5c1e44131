//! AWS as far as a client that reads secrets needs it: Secrets Manager, STS, a container's agent, an instance's metadata;
//! and the ways in which the real ones are not there.
//!
//! It knows who asks by the key's name and the session's token; signatures are for moto to verify.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, SystemTime},
};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use serde_json::{Value, json};

use crate::{
    routes::Router,
    server::{Answer, Received, Upstream, answer as plain_answer, json as json_answer},
};

/// How Secrets Manager is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AwsMode {
    /// It answers.
    Up,
    /// It takes a request and never answers.
    Slow,
    /// `ThrottlingException` to everything, with this `Retry-After`.
    Throttling(u64),
    /// `InternalServiceError`.
    Failing,
    /// `AccessDeniedException`, as after a change of policy.
    Denying,
    /// It answers with what is no JSON.
    Odd,
}

/// A server that runs until it is dropped.
pub struct AwsServer {
    upstream: Upstream,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: AwsMode,
    /// By name, and label.
    secrets: BTreeMap<(String, String), Kept>,
    /// What a key's sessions have.
    keys: BTreeMap<String, Option<String>>,
    /// Roles, and the token of a web identity or the key that may assume them.
    roles: BTreeMap<String, String>,
    agent: Option<String>,
    instance: Option<String>,
    holds: u64,
    made: u64,
    broken: bool,
}

#[derive(Clone)]
enum Kept {
    Text(String),
    Binary(Vec<u8>),
    Deleted,
}

impl AwsServer {
    /// In the clear, on loopback.
    #[must_use]
    pub fn plain() -> Self {
        let state = Arc::new(Mutex::new(State {
            mode: AwsMode::Up,
            secrets: BTreeMap::new(),
            keys: BTreeMap::new(),
            roles: BTreeMap::new(),
            agent: None,
            instance: None,
            holds: 3600,
            made: 0,
            broken: false,
        }));
        let served = Arc::clone(&state);
        let router = Router::new().any("/", move |received| {
            let served = Arc::clone(&served);
            async move { answer(&served, received).await }
        });
        Self { upstream: Upstream::plain(router), state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// As `[aws] endpoint_url` has it.
    #[must_use]
    pub fn url(&self) -> String {
        format!("http://{}", self.address())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// How it is from now on.
    pub fn set_mode(&self, mode: AwsMode) -> &Self {
        self.state().mode = mode;
        self
    }

    /// Writes a secret; what holds becomes `AWSPREVIOUS`.
    pub fn put(&self, name: &str, value: &str) -> &Self {
        self.state().put(name, Kept::Text(value.to_owned()));
        self
    }

    /// Writes one of bytes.
    pub fn put_binary(&self, name: &str, value: &[u8]) -> &Self {
        self.state().put(name, Kept::Binary(value.to_owned()));
        self
    }

    /// There is none any more.
    pub fn remove(&self, name: &str) -> &Self {
        self.state().secrets.retain(|(of, _), _| of != name);
        self
    }

    /// It is marked for deletion.
    pub fn delete(&self, name: &str) -> &Self {
        self.state().put(name, Kept::Deleted);
        self
    }

    /// A key that does not end.
    pub fn key(&self, id: &str) -> &Self {
        self.state().keys.insert(id.to_owned(), None);
        self
    }

    /// No key is taken any more.
    pub fn revoke_all(&self) -> &Self {
        self.state().keys.clear();
        self
    }

    /// A role that this key, or the web identity with this token, may assume.
    pub fn role(&self, arn: &str, by: &str) -> &Self {
        self.state().roles.insert(arn.to_owned(), by.to_owned());
        self
    }

    /// The agent at `/agent` gives credentials to who has this.
    pub fn agent(&self, token: &str) -> &Self {
        self.state().agent = Some(token.to_owned());
        self
    }

    /// The instance has this role.
    pub fn instance(&self, role: &str) -> &Self {
        self.state().instance = Some(role.to_owned());
        self
    }

    /// Credentials that are made from now on hold so long.
    pub fn set_holds(&self, seconds: u64) -> &Self {
        self.state().holds = seconds;
        self
    }

    /// From now on no credentials are given.
    pub fn give_none(&self, none: bool) -> &Self {
        self.state().broken = none;
        self
    }

    /// How many credentials were given.
    #[must_use]
    pub fn made(&self) -> u64 {
        self.state().made
    }

    /// Questions for a secret so far.
    #[must_use]
    pub fn asked(&self) -> usize {
        let of_it = |seen: &&crate::Seen| seen.header("x-amz-target").is_some();
        self.upstream.requests().iter().filter(of_it).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn error(status: u16, kind: &str) -> Answer {
    // The real ones say more, and here it would be found in an error.
    json_answer(status, &json!({ "__type": kind, "Message": "sk-of-the-server" }))
}

async fn answer(state: &Mutex<State>, mut received: Received) -> Answer {
    let body = received.body().await;
    let mode = lock(state).mode;
    let header = |name: &str| received.seen.header(name).map(str::to_owned);
    if header("x-amz-target").is_some() {
        match mode {
            AwsMode::Up => {}
            AwsMode::Slow => std::future::pending().await,
            AwsMode::Throttling(after) => {
                let mut limited = error(400, "ThrottlingException");
                limited.headers_mut().insert("retry-after", after.into());
                return limited;
            }
            AwsMode::Failing => return error(500, "InternalServiceError"),
            AwsMode::Denying => return error(400, "AccessDeniedException"),
            AwsMode::Odd => return plain_answer(200, "text/html", "<html>sk-not-json</html>"),
        }
    }
    let mut state = lock(state);
    match (received.seen.method.as_str(), received.path.as_str()) {
        ("POST", "/") if header("x-amz-target").is_some() => {
            if !state.knows(&header) {
                return error(400, "com.amazon.coral.service#UnrecognizedClientException");
            }
            state.secret(&serde_json::from_slice(&body).unwrap_or(Value::Null))
        }
        ("POST", "/") => state.sts(&String::from_utf8_lossy(&body), &header),
        ("GET", "/agent") => match &state.agent {
            Some(token) if header("authorization").as_ref() == Some(token) && !state.broken => state.given(),
            _ => error(401, "no"),
        },
        ("PUT", "/latest/api/token") if header("x-aws-ec2-metadata-token-ttl-seconds").is_some() => {
            plain_answer(200, "text/plain", "imds-session")
        }
        ("GET", path) if header("x-aws-ec2-metadata-token").as_deref() == Some("imds-session") => {
            state.metadata(path)
        }
        _ => error(401, "no"),
    }
}

impl State {
    fn put(&mut self, name: &str, value: Kept) {
        let key = |label: &str| (name.to_owned(), label.to_owned());
        if let Some(before) = self.secrets.insert(key("AWSCURRENT"), value) {
            self.secrets.insert(key("AWSPREVIOUS"), before);
        }
    }

    fn knows(&self, header: &impl Fn(&str) -> Option<String>) -> bool {
        let authorization = header("authorization").unwrap_or_default();
        let id = authorization.split_once("Credential=").and_then(|(_, rest)| rest.split('/').next());
        id.and_then(|id| self.keys.get(id)).is_some_and(|token| *token == header("x-amz-security-token"))
    }

    fn secret(&self, body: &Value) -> Answer {
        let name = body["SecretId"].as_str().unwrap_or_default();
        let label = body["VersionStage"].as_str().unwrap_or("AWSCURRENT");
        let mut given = json!({ "ARN": "arn:aws:x", "Name": name, "CreatedDate": 1_795_860_000.25 });
        match self.secrets.get(&(name.to_owned(), label.to_owned())) {
            None => return error(400, "ResourceNotFoundException"),
            Some(Kept::Deleted) => return error(400, "InvalidRequestException"),
            Some(Kept::Text(text)) => given["SecretString"] = json!(text),
            Some(Kept::Binary(bytes)) => given["SecretBinary"] = json!(STANDARD.encode(bytes)),
        }
        json_answer(200, &given)
    }

    fn sts(&mut self, form: &str, header: &impl Fn(&str) -> Option<String>) -> Answer {
        let field = |wanted: &str| {
            let mut pairs = form.split('&').filter_map(|pair| pair.split_once('='));
            let (_, value) = pairs.find(|(name, _)| *name == wanted)?;
            Some(value.replace("%3A", ":").replace("%2F", "/"))
        };
        let by = self.roles.get(&field("RoleArn").unwrap_or_default()).cloned();
        let may = match field("Action").as_deref() {
            Some("AssumeRoleWithWebIdentity") => field("WebIdentityToken") == by,
            Some("AssumeRole") => {
                let said = header("authorization").unwrap_or_default();
                self.knows(header) && by.is_some_and(|by| said.contains(&format!("Credential={by}/")))
            }
            _ => false,
        };
        if self.broken || !may || field("RoleSessionName").is_none() {
            let text = "<ErrorResponse><Error><Code>AccessDenied</Code><Message>sk-x</Message></Error></ErrorResponse>";
            return plain_answer(403, "text/xml", text);
        }
        let (id, key, token, ends) = self.make();
        let text = format!(
            "<R><Result><Credentials><AccessKeyId>{id}</AccessKeyId><SecretAccessKey>{key}</SecretAccessKey>\
             <SessionToken>{token}</SessionToken><Expiration>{ends}</Expiration></Credentials></Result></R>"
        );
        plain_answer(200, "text/xml", text)
    }

    fn given(&mut self) -> Answer {
        let (id, key, token, ends) = self.make();
        json_answer(
            200,
            &json!({ "Code": "Success", "AccessKeyId": id, "SecretAccessKey": key, "Token": token,
                "Expiration": ends }),
        )
    }

    fn metadata(&mut self, path: &str) -> Answer {
        let role = self.instance.clone().filter(|_| !self.broken);
        match (role, path.strip_prefix("/latest/meta-data/iam/security-credentials/")) {
            (Some(role), Some("")) => plain_answer(200, "text/plain", role),
            (Some(role), Some(asked)) if role == asked => self.given(),
            _ => error(404, "no"),
        }
    }

    fn make(&mut self) -> (String, String, String, String) {
        self.made += 1;
        let (id, token) = (format!("ASIA{}", self.made), format!("token/{}==", self.made));
        self.keys.insert(id.clone(), Some(token.clone()));
        (id, "made+secret/key".to_owned(), token, time(SystemTime::now() + Duration::from_secs(self.holds)))
    }
}

/// `2026-11-28T10:00:00Z`, by the days of the civil calendar.
fn time(at: SystemTime) -> String {
    let seconds = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or_default().as_secs();
    let (days, rest) = (seconds / 86_400 + 719_468, seconds % 86_400);
    let (era, of_era) = (days / 146_097, days % 146_097);
    let year = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year + year / 4 - year / 100);
    let month = (5 * of_year + 2) / 153;
    let day = of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year + era * 400 + u64::from(month <= 2);
    format!("{year:04}-{month:02}-{day:02}T{:02}:{:02}:{:02}Z", rest / 3600, rest / 60 % 60, rest % 60)
}
