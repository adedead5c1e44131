//! A Vault that follows the published HTTP API as far as a client that reads secrets needs it: the KV engine in both
//! versions, tokens, AppRole, Kubernetes, namespaces, `sys/health`; and the ways in which a real one is not there.
//!
//! It stands in for HashiCorp Vault and OpenBao, which no package ships.

use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::{Arc, Mutex, MutexGuard, PoisonError},
    time::{Duration, Instant},
};

use serde_json::{Map, Value, json};

use crate::{
    ca::TestCa,
    routes::Router,
    server::{Answer, Received, Upstream, json as json_answer},
};

/// How the server is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Mode {
    /// It answers.
    Up,
    /// It is sealed: 503 to everything.
    Sealed,
    /// It is a standby with this status.
    Standby(u16),
    /// It takes a request and never answers.
    Slow,
    /// 429 to everything, with this `Retry-After`.
    Limiting(u64),
    /// Something between fails.
    Failing,
    /// It answers with what is no JSON.
    Odd,
    /// It sends to another node.
    Redirecting,
}

/// A server that runs until it is dropped.
pub struct VaultServer {
    upstream: Upstream,
    tls: bool,
    state: Arc<Mutex<State>>,
}

struct State {
    mode: Mode,
    namespace: Option<String>,
    mounts: BTreeMap<String, u8>,
    secrets: BTreeMap<String, Written>,
    lease: u64,
    tokens: BTreeMap<String, Token>,
    app_roles: BTreeMap<(String, String), u64>,
    service_accounts: BTreeMap<(String, String), u64>,
    forbidden: Vec<String>,
    hidden_mounts: bool,
    made: u64,
}

/// Versions of a secret; none is a deleted one.
#[derive(Default)]
struct Written(Vec<Option<Map<String, Value>>>);

#[derive(Clone)]
struct Token {
    ttl: u64,
    renewable: bool,
    ends: Option<Instant>,
}

impl Token {
    fn new(ttl: u64, renewable: bool) -> Self {
        let ends = (ttl > 0).then(|| Instant::now() + Duration::from_secs(ttl));
        Self { ttl, renewable, ends }
    }

    fn left(&self) -> u64 {
        self.ends.map_or(0, |ends| ends.saturating_duration_since(Instant::now()).as_secs())
    }
}

impl VaultServer {
    /// Over TLS, for 127.0.0.1 and `vault.corp`.
    #[must_use]
    pub fn tls(ca: &TestCa) -> Self {
        Self::start(|router| Upstream::tls_http1(ca, &["127.0.0.1", "vault.corp"], router), true)
    }

    /// In the clear.
    #[must_use]
    pub fn plain() -> Self {
        Self::start(Upstream::plain, false)
    }

    fn start(serve: impl FnOnce(Router) -> Upstream, tls: bool) -> Self {
        let state = Arc::new(Mutex::new(State {
            mode: Mode::Up,
            namespace: None,
            mounts: BTreeMap::new(),
            secrets: BTreeMap::new(),
            lease: 2_764_800,
            tokens: BTreeMap::new(),
            app_roles: BTreeMap::new(),
            service_accounts: BTreeMap::new(),
            forbidden: Vec::new(),
            hidden_mounts: false,
            made: 0,
        }));
        let served = Arc::clone(&state);
        let router = Router::new().any("/", move |received| {
            let served = Arc::clone(&served);
            async move { answer(&served, received).await }
        });
        Self { upstream: serve(router), tls, state }
    }

    fn state(&self) -> MutexGuard<'_, State> {
        lock(&self.state)
    }

    /// As `[vault] address` has it.
    #[must_use]
    pub fn url(&self) -> String {
        let scheme = if self.tls { "https" } else { "http" };
        format!("{scheme}://{}", self.address())
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.upstream.address()
    }

    /// How it is from now on.
    pub fn set_mode(&self, mode: Mode) -> &Self {
        self.state().mode = mode;
        self
    }

    /// Everything lies in this namespace.
    pub fn set_namespace(&self, namespace: &str) -> &Self {
        self.state().namespace = Some(namespace.to_owned());
        self
    }

    /// Mounts the KV engine; version 0 is an engine of another kind.
    pub fn mount(&self, path: &str, version: u8) -> &Self {
        self.state().mounts.insert(path.to_owned(), version);
        self
    }

    /// What version 1 says of how long a secret holds.
    pub fn set_lease(&self, seconds: u64) -> &Self {
        self.state().lease = seconds;
        self
    }

    /// Writes a secret, as its next version.
    pub fn put(&self, path: &str, fields: &[(&str, &str)]) -> &Self {
        let fields = fields.iter().map(|(name, value)| ((*name).to_owned(), json!(value))).collect();
        self.state().secrets.entry(path.to_owned()).or_default().0.push(Some(fields));
        self
    }

    /// Deletes the newest version.
    pub fn delete(&self, path: &str) -> &Self {
        if let Some(written) = self.state().secrets.get_mut(path) {
            written.0.push(None);
        }
        self
    }

    /// Makes a token; a time of 0 never ends.
    pub fn token(&self, token: &str, ttl: u64, renewable: bool) -> &Self {
        self.state().tokens.insert(token.to_owned(), Token::new(ttl, renewable));
        self
    }

    /// Revokes every token.
    pub fn revoke_all(&self) -> &Self {
        self.state().tokens.clear();
        self
    }

    /// Tokens that hold.
    #[must_use]
    pub fn tokens(&self) -> Vec<String> {
        self.state().tokens.keys().cloned().collect()
    }

    /// A role of AppRole, whose tokens hold so long.
    pub fn app_role(&self, role_id: &str, secret_id: &str, ttl: u64) -> &Self {
        self.state().app_roles.insert((role_id.to_owned(), secret_id.to_owned()), ttl);
        self
    }

    /// A role of Kubernetes, for a service account with this token.
    pub fn service_account(&self, role: &str, jwt: &str, ttl: u64) -> &Self {
        self.state().service_accounts.insert((role.to_owned(), jwt.to_owned()), ttl);
        self
    }

    /// No token may read paths that begin so (with `data/` in version 2).
    pub fn forbid(&self, prefix: &str) -> &Self {
        self.state().forbidden.push(prefix.to_owned());
        self
    }

    /// No token may see what is mounted.
    pub fn hide_mounts(&self) -> &Self {
        self.state().hidden_mounts = true;
        self
    }

    /// Requests so far whose path holds this text.
    #[must_use]
    pub fn asked(&self, text: &str) -> usize {
        self.upstream.requests().iter().filter(|seen| seen.target.contains(text)).count()
    }
}

fn lock(state: &Mutex<State>) -> MutexGuard<'_, State> {
    state.lock().unwrap_or_else(PoisonError::into_inner)
}

fn errors(status: u16, text: &str) -> Answer {
    json_answer(status, &json!({ "errors": [text] }))
}

async fn answer(state: &Mutex<State>, mut received: Received) -> Answer {
    let body = received.body().await;
    let mode = lock(state).mode;
    let path = received.path.strip_prefix("/v1/").unwrap_or_default().to_owned();
    if path == "sys/health" {
        return health(mode);
    }
    match mode {
        Mode::Up => {}
        Mode::Sealed => return errors(503, "Vault is sealed"),
        Mode::Standby(status) => return errors(status, "standby"),
        Mode::Slow => std::future::pending().await,
        Mode::Limiting(after) => {
            let mut limited = errors(429, "request path: rate limit quota exceeded");
            limited.headers_mut().insert("retry-after", after.into());
            return limited;
        }
        Mode::Failing => return errors(502, "bad gateway"),
        Mode::Odd => return crate::server::answer(200, "text/html", "<html>sk-not-json</html>"),
        Mode::Redirecting => {
            let mut elsewhere = errors(307, "");
            elsewhere.headers_mut().insert("location", "https://other.corp/".parse().expect("a value"));
            return elsewhere;
        }
    }
    let mut state = lock(state);
    if state.namespace.as_deref() != received.seen.header("x-vault-namespace") {
        return errors(404, "no handler for route");
    }
    let body: Value = serde_json::from_slice(&body).unwrap_or(Value::Null);
    let method = received.seen.method.as_str();
    match (method, path.as_str()) {
        ("POST" | "PUT", "auth/approle/login") => {
            let ttl = state.app_roles.get(&(text(&body, "role_id"), text(&body, "secret_id"))).copied();
            state.log_in(ttl, "invalid role or secret ID")
        }
        ("POST" | "PUT", "auth/kubernetes/login") => {
            let ttl = state.service_accounts.get(&(text(&body, "role"), text(&body, "jwt"))).copied();
            state.log_in(ttl, "permission denied")
        }
        _ => state.by_token(method, &path, received.seen.header("x-vault-token").unwrap_or_default()),
    }
}

fn text(body: &Value, name: &str) -> String {
    body[name].as_str().unwrap_or_default().to_owned()
}

fn health(mode: Mode) -> Answer {
    let status = match mode {
        Mode::Sealed => 503,
        Mode::Standby(status) => status,
        _ => 200,
    };
    let sealed = mode == Mode::Sealed;
    json_answer(status, &json!({ "initialized": true, "sealed": sealed, "standby": status == 429 }))
}

impl State {
    fn log_in(&mut self, ttl: Option<u64>, refused: &str) -> Answer {
        let Some(ttl) = ttl else { return errors(400, refused) };
        self.made += 1;
        let token = format!("hvs.made-{}", self.made);
        self.tokens.insert(token.clone(), Token::new(ttl, true));
        auth(&token, ttl)
    }

    fn by_token(&mut self, method: &str, path: &str, token: &str) -> Answer {
        self.tokens.retain(|_, token| token.ends.is_none_or(|ends| ends > Instant::now()));
        let Some(known) = self.tokens.get_mut(token) else { return errors(403, "permission denied") };
        match (method, path) {
            ("GET", "auth/token/lookup-self") => json_answer(
                200,
                &json!({ "data": { "id": token, "ttl": known.left(), "renewable": known.renewable,
                    "creation_ttl": known.ttl, "policies": ["default"] } }),
            ),
            ("POST" | "PUT", "auth/token/renew-self") => {
                if !known.renewable {
                    return errors(400, "lease is not renewable");
                }
                *known = Token::new(known.ttl, true);
                auth(token, known.ttl)
            }
            ("GET", _) => match path.strip_prefix("sys/internal/ui/mounts/") {
                Some(path) => self.mount_of(path),
                None => self.read(path),
            },
            _ => errors(405, "unsupported operation"),
        }
    }

    fn mounted<'a>(&self, path: &'a str) -> Option<(String, u8, &'a str)> {
        let mut found = self.mounts.iter().rev();
        found.find_map(|(mount, version)| {
            let rest = path.strip_prefix(mount.as_str())?.strip_prefix('/')?;
            Some((mount.clone(), *version, rest))
        })
    }

    fn mount_of(&self, path: &str) -> Answer {
        let hidden = "preflight capability check returned 403, please ensure client's policies grant access";
        if self.hidden_mounts {
            return errors(403, hidden);
        }
        match self.mounted(path) {
            None => errors(403, hidden),
            Some((mount, 0, _)) => json_answer(
                200,
                &json!({ "data": { "path": format!("{mount}/"), "type": "database", "options": null } }),
            ),
            Some((mount, version, _)) => {
                let options = if version == 2 { json!({ "version": "2" }) } else { Value::Null };
                json_answer(
                    200,
                    &json!({ "data": { "path": format!("{mount}/"), "type": "kv", "options": options } }),
                )
            }
        }
    }

    fn read(&self, path: &str) -> Answer {
        if self.forbidden.iter().any(|prefix| path.starts_with(prefix.as_str())) {
            return errors(403, "1 error occurred: permission denied");
        }
        let missing = || json_answer(404, &json!({ "errors": [] }));
        let Some((mount, version, rest)) = self.mounted(path) else {
            return errors(403, "permission denied");
        };
        match (version, rest.strip_prefix("data/")) {
            (2, Some(rest)) => match self.secrets.get(&format!("{mount}/{rest}")) {
                None => missing(),
                Some(Written(versions)) => {
                    let newest = versions.last().cloned().flatten();
                    let status = if newest.is_some() { 200 } else { 404 };
                    let deleted = if newest.is_some() { "" } else { "2026-11-28T10:00:00.0Z" };
                    json_answer(
                        status,
                        &json!({ "request_id": "1", "lease_id": "", "renewable": false, "lease_duration": 0,
                            "data": { "data": newest, "metadata": { "created_time": "2026-11-28T09:00:00.000000001Z",
                                "deletion_time": deleted, "destroyed": false, "version": versions.len() } } }),
                    )
                }
            },
            (2, None) => missing(),
            _ => match self.secrets.get(path).and_then(|written| written.0.last().cloned().flatten()) {
                None => missing(),
                Some(fields) => json_answer(
                    200,
                    &json!({ "request_id": "1", "lease_id": "", "renewable": false,
                        "lease_duration": self.lease, "data": fields }),
                ),
            },
        }
    }
}

fn auth(token: &str, ttl: u64) -> Answer {
    json_answer(
        200,
        &json!({ "auth": { "client_token": token, "accessor": "a", "policies": ["default"],
            "lease_duration": ttl, "renewable": true } }),
    )
}
