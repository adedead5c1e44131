//! A user's folders, gateways that come and go, and a client.

use std::{path::PathBuf, sync::Arc, time::Duration};

use chiton_api::paths::{ConfigPlaces, Paths};
use serde_json::{Value, json};
use tempfile::TempDir;
use tokio::{
    io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader},
    net::UnixStream,
    runtime::Runtime,
    time::sleep,
};

use super::fake::Fake;
use crate::{audit::tail, gateway::Gateway, http::router, sandbox::reconcile, serve::open, socket};

/// The policy of most tests.
pub(crate) const POLICY: &str = "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n";

/// What outlives a gateway.
pub(crate) struct World {
    pub(crate) folder: TempDir,
    pub(crate) fake: Fake,
    pub(crate) paths: Paths,
}

/// A gateway that serves, in a runtime of its own, so that it can be killed.
pub(crate) struct Served {
    runtime: Option<Runtime>,
    pub(crate) gateway: Arc<Gateway>,
    pub(crate) socket: PathBuf,
}

impl World {
    pub(crate) fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let at = |name: &str| folder.path().join(name);
        std::fs::create_dir(at("w")).unwrap();
        let config = ConfigPlaces::Usual(vec![at("c/config.toml")]);
        let paths = Paths { state: at("s"), runtime: at("r"), config };
        Self { fake: Fake::default(), paths, folder }
    }

    pub(crate) fn configure(&self, text: &str) {
        std::fs::create_dir_all(self.folder.path().join("c")).unwrap();
        std::fs::write(self.folder.path().join("c/config.toml"), text).unwrap();
    }

    pub(crate) fn workspace(&self) -> PathBuf {
        self.folder.path().join("w")
    }

    /// A gateway from start to serving.
    pub(crate) fn serve(&self) -> Served {
        let runtime = Runtime::new().unwrap();
        let (paths, fake) = (self.paths.clone(), self.fake.clone());
        let gateway = runtime.block_on(async {
            paths.prepare().unwrap();
            let gateway = open(paths, vec![Arc::new(fake)]).await.unwrap();
            reconcile(&gateway).await.unwrap();
            tokio::spawn(tail(Arc::clone(&gateway.audit), Arc::clone(&gateway.store)));
            let locks = socket::lock(&gateway.paths).unwrap().unwrap();
            let listener = socket::listen(&gateway.paths, &locks).unwrap();
            tokio::spawn(axum::serve(listener, router(Arc::clone(&gateway))).into_future());
            gateway
        });
        let socket = gateway.paths.socket();
        Served { runtime: Some(runtime), gateway, socket }
    }

    /// The body of a create request.
    pub(crate) fn create(&self, more: Value) -> Value {
        let mut body = json!({
            "workspace": self.workspace(), "policy": POLICY, "home": self.folder.path().join("home"),
            "argv": ["true"],
        });
        for (key, value) in more.as_object().unwrap() {
            body[key] = value.clone();
        }
        body
    }

    /// Every event of the log.
    pub(crate) fn log(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(self.paths.audit_log()).unwrap();
        text.lines().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// What was done, in the log's words.
    pub(crate) fn actions(&self) -> Vec<String> {
        self.log().iter().map(|event| event["action"].as_str().unwrap().to_owned()).collect()
    }
}

impl Served {
    /// Everything of the gateway's is gone at once, as by SIGKILL.
    pub(crate) fn kill(mut self) {
        self.runtime.take().unwrap().shutdown_timeout(Duration::from_secs(5));
        // A thread cannot be killed: what the one that chains has begun, it ends.
        until(|| Arc::strong_count(&self.gateway.audit) == 1);
    }

    pub(crate) fn run<T>(&self, job: impl Future<Output = T>) -> T {
        self.runtime.as_ref().unwrap().block_on(job)
    }

    pub(crate) fn spawn<T: Send + 'static>(&self, job: impl Future<Output = T> + Send + 'static) {
        self.runtime.as_ref().unwrap().spawn(job);
    }

    /// Asks; status and body.
    pub(crate) fn ask(&self, method: &str, target: &str, body: Value) -> (u16, Value) {
        self.run(ask(&self.socket, method, target, body))
    }

    /// Asks for what has to work.
    pub(crate) fn must(&self, method: &str, target: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, target, body);
        assert!((200..300).contains(&status), "{method} {target}: {status} {answer}");
        answer
    }

    /// Asks for what must not work; the problem.
    pub(crate) fn refused(&self, method: &str, target: &str, body: Value) -> Value {
        let (status, answer) = self.ask(method, target, body);
        assert!(status >= 400, "{method} {target}: {status} {answer}");
        assert_eq!(answer["status"], status);
        assert!(!answer["detail"].as_str().unwrap().contains('\n'));
        answer
    }

    /// Waits until a sandbox is in this state.
    pub(crate) fn until_state(&self, name: &str, state: &str) -> Value {
        for _ in 0..500 {
            let (_, answer) = self.ask("GET", &format!("/v1/sandboxes/{name}"), Value::Null);
            if answer["state"] == state {
                return answer;
            }
            self.run(async { sleep(Duration::from_millis(10)).await });
        }
        panic!("`{name}` did not become {state}");
    }
}

impl Drop for Served {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Waits until something is so.
pub(crate) fn until(mut so: impl FnMut() -> bool) {
    for _ in 0..1000 {
        if so() {
            return;
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    panic!("it did not become so");
}

/// One request on one connection.
pub(crate) async fn ask(socket: &PathBuf, method: &str, target: &str, body: Value) -> (u16, Value) {
    let body = if body.is_null() { String::new() } else { body.to_string() };
    let head = format!(
        "{method} {target} HTTP/1.1\r\nhost: chiton\r\nconnection: close\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let answer = raw(socket, (head + &body).as_bytes()).await;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.split(' ').nth(1).and_then(|status| status.parse().ok()).unwrap_or(0);
    (status, serde_json::from_str(body).unwrap_or(Value::String(body.to_owned())))
}

/// Bytes there and back.
pub(crate) async fn raw(socket: &PathBuf, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    String::from_utf8_lossy(&answer).into_owned()
}

/// A request for a session; the head of the answer, and the connection.
pub(crate) async fn session(socket: &PathBuf, target: &str, body: Value) -> (String, BufReader<UnixStream>) {
    let mut stream = ask_for_session(socket, target, body).await;
    let mut answer = String::new();
    while !answer.ends_with("\r\n\r\n") {
        assert_ne!(stream.read_line(&mut answer).await.unwrap(), 0, "{answer}");
    }
    (answer, stream)
}

/// The same, before there is an answer.
pub(crate) async fn ask_for_session(socket: &PathBuf, target: &str, body: Value) -> BufReader<UnixStream> {
    let body = body.to_string();
    let head = format!(
        "POST {target} HTTP/1.1\r\nhost: chiton\r\nconnection: Upgrade\r\nupgrade: chiton-session\r\n\
         content-type: application/json\r\ncontent-length: {}\r\n\r\n",
        body.len()
    );
    let mut stream = BufReader::new(UnixStream::connect(socket).await.unwrap());
    stream.write_all((head + &body).as_bytes()).await.unwrap();
    stream
}
