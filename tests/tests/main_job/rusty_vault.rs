//! The reference policy with its key in RustyVault, a server that was not written by us and speaks Vault's interface:
//! version 1 of KV, and tokens. It is a program of its own, with its data in files, over TLS.

use std::{
    fs::{self, Permissions},
    os::unix::fs::PermissionsExt,
    process::{Command, Output},
};

use chiton_testkit::{TestCa, routes::Router};
use chiton_tests::{As, World, finish, packages};
use serde_json::{Value, json};

use crate::{
    server::{Server, until},
    vault::{Asking, FIRST, SECOND},
};

/// The mount that it has from its beginning.
const REFERENCE: &str = "vault://secret/llm/openai#key";

/// A server that is initialised and open.
struct RustyVault {
    server: Option<Server>,
    folder: tempfile::TempDir,
    ca: TestCa,
    key: String,
    root: String,
}

impl RustyVault {
    fn start() -> Self {
        let (folder, ca) = (tempfile::tempdir().expect("a folder"), TestCa::new());
        let (leaf, key) = ca.leaf_pem(&["127.0.0.1"]);
        for (name, text) in [("leaf.pem", leaf.as_str()), ("key.pem", &key), ("ca.pem", ca.pem())] {
            fs::write(folder.path().join(name), text).expect("a file of the server");
        }
        let mut vault = Self { server: None, folder, ca, key: String::new(), root: String::new() };
        vault.serve();
        let made = vault.api("PUT", "sys/init", "", &json!({"secret_shares": 1, "secret_threshold": 1}));
        let text = |value: &Value| value.as_str().expect("a text").to_owned();
        (vault.key, vault.root) = (text(&made["keys"][0]), text(&made["root_token"]));
        vault.unseal();
        vault
    }

    /// Starts the program on what is in its folder. It is sealed then.
    fn serve(&mut self) {
        let (program, at) = (packages("rusty_vault").join("bin/rvault"), self.folder.path().display());
        self.server = Some(Server::start(|port| {
            let text = format!(
                "storage \"file\" {{ path = \"{at}/data\" }}\n\
                 listener \"tcp\" {{\n address = \"127.0.0.1:{port}\"\n tls_disable = \"false\"\n\
                 tls_cert_file = \"{at}/leaf.pem\"\n tls_key_file = \"{at}/key.pem\"\n\
                 tls_disable_client_certs = \"true\"\n }}\n\
                 work_dir = \"{at}\"\nlog_level = \"error\"\n"
            );
            let config = self.folder.path().join("config.hcl");
            fs::write(&config, text).expect("a file of the server");
            let mut command = Command::new(program);
            command.arg("server").arg("--config").arg(config);
            command
        }));
    }

    fn url(&self) -> String {
        format!("https://{}", self.server.as_ref().expect("a server").1)
    }

    /// Asks it over its HTTP interface, for something that it must do.
    fn api(&self, method: &str, path: &str, token: &str, body: &Value) -> Value {
        let answer = self.asked(method, path, token, body);
        assert!(answer.status.success(), "{method} {path}: {answer:?}");
        serde_json::from_slice(&answer.stdout).unwrap_or_default()
    }

    fn asked(&self, method: &str, path: &str, token: &str, body: &Value) -> Output {
        let ca = self.folder.path().join("ca.pem");
        let mut curl = Command::new("curl");
        curl.args(["-sS", "--fail-with-body", "-m", "20", "-X", method, "--cacert"]).arg(ca);
        curl.args(["-H", &format!("X-Vault-Token: {token}"), "-d", &body.to_string()]);
        curl.arg(format!("{}/v1/{path}", self.url())).output().expect("curl")
    }

    fn unseal(&self) {
        let status = self.api("PUT", "sys/unseal", "", &json!({"key": self.key}));
        assert_eq!(status["sealed"], false, "{status}");
    }

    /// Its sealing may cut off its own answer, and the next one too, so what counts is the state that it then says it is in.
    fn seal(&self) {
        until(|| {
            let _ = self.asked("PUT", "sys/seal", &self.root, &json!({}));
            let status = self.asked("GET", "sys/seal-status", "", &json!({})).stdout;
            serde_json::from_slice::<Value>(&status).is_ok_and(|status| status["sealed"] == true)
        });
    }

    fn put(&self, value: &str) {
        let fields = json!({"key": value, "note": "another field"});
        let _ = self.api("POST", "secret/llm/openai", &self.root, &fields);
    }

    /// A token that is not the root's.
    fn token(&self) -> String {
        let made = self.api("POST", "auth/token/create", &self.root, &json!({"policies": ["default"]}));
        made["auth"]["client_token"].as_str().expect("a token").to_owned()
    }
}

impl Asking<RustyVault> {
    fn of_rusty_vault(times: &str) -> Self {
        let vault = RustyVault::start();
        vault.put(FIRST);
        let asking = Self {
            world: World::new(As::User, &["api.openai.com"], Router::echo()),
            vault,
            reference: REFERENCE,
        };
        let token = asking.vault.token();
        asking.log_in_with(&token, times)
    }

    fn log_in_with(mut self, token: &str, times: &str) -> Self {
        let chiton = &mut self.world.chiton;
        let own = chiton.write("vault-ca.pem", self.vault.ca.pem());
        let file = chiton.write("vault-token", format!("{token}\n"));
        fs::set_permissions(&file, Permissions::from_mode(0o600)).expect("mode");
        let url = self.vault.url();
        chiton.sections(&format!(
            "\n[vault]\naddress = {url:?}\ntoken_file = {file:?}\nca = {own:?}\n{times}\n\n[vault.mounts]\nsecret = 1\n"
        ));
        self
    }

    /// Why a start is refused.
    fn refused(&self) -> String {
        let chiton = &self.world.chiton;
        let run = chiton.sandboxed(&chiton.policy(&self.policy()), &["touch", "ran"]).expect_status(125);
        assert!(!chiton.workspace().join("ran").exists());
        assert_eq!(run.stderr.trim().lines().count(), 1, "{run:?}");
        run.stderr
    }
}

#[test]
fn rusty_vaults_key_goes_out_changes_and_never_comes_in() {
    let asking = Asking::of_rusty_vault("refresh = \"1s\"\nkeep = \"1h\"");
    let mut child = asking.start();
    assert_eq!(asking.ask(&mut child).as_deref(), Some(FIRST));
    asking.vault.put(SECOND);
    asking.ask_until(&mut child, Some(SECOND));
    drop(child.stdin.take());
    let outcome = finish(child, &["run"]);
    assert!(outcome.stdout.contains("OPENAI_API_KEY="), "{outcome:?}");
    for secret in [FIRST, SECOND] {
        assert!(!outcome.stdout.contains(secret), "{outcome:?}");
        assert!(asking.world.chiton.files_holding(secret.as_bytes()).is_empty());
    }
    let tested = asking.world.chiton.run(&["secret", "test", REFERENCE, "--json"]).expect_success().json();
    assert_eq!(tested["length"], SECOND.len());
}

#[test]
fn a_sealed_or_restarted_rusty_vault_is_told_apart_and_serves_again() {
    let mut asking = Asking::of_rusty_vault("refresh = \"1s\"\nkeep = \"3s\"");
    let mut child = asking.start();
    assert_eq!(asking.ask(&mut child).as_deref(), Some(FIRST));
    asking.vault.seal();
    // The last value holds for `keep`, and then nothing goes out.
    asking.ask_until(&mut child, None);
    let answer = fs::read_to_string(asking.world.chiton.workspace().join("answer")).expect("an answer");
    assert!(answer.contains("credential_unavailable") && !answer.contains("vault://"), "{answer}");
    let tested = asking.world.chiton.run(&["secret", "test", REFERENCE]).expect_status(1);
    assert!(tested.stderr.contains("Vault is sealed or not ready (503); unseal it"), "{tested:?}");
    let refused = asking.refused();
    assert!(refused.contains("Vault is sealed or not ready"), "{refused}");
    asking.vault.unseal();
    asking.ask_until(&mut child, Some(FIRST));
    drop(child.stdin.take());
    let _ = finish(child, &["run"]);
    // Gone, and back at another port with what its files hold.
    asking.vault.server = None;
    let refused = asking.refused();
    assert!(refused.contains("is not reached"), "{refused}");
    asking.vault.serve();
    asking.vault.unseal();
    let token = asking.vault.token();
    let asking = asking.log_in_with(&token, "");
    until(|| asking.world.chiton.run(&["secret", "test", REFERENCE]).status == 0);
}

#[test]
fn what_rusty_vault_refuses_or_does_not_have_stops_the_start() {
    let asking = Asking::of_rusty_vault("").log_in_with("s.of-nobody", "");
    let refused = asking.refused();
    assert!(refused.contains("Vault refuses the log-in by token (403)"), "{refused}");
    assert!(!refused.contains("s.of-nobody"), "{refused}");
    let token = asking.vault.token();
    let mut asking = asking.log_in_with(&token, "");
    for (reference, said) in [
        ("vault://secret/llm/none", "Vault has no such secret"),
        ("vault://secret/llm/openai", "has 2 fields and none is `value`"),
        ("vault://secret/llm/openai#other", "no field `other`"),
    ] {
        asking.reference = reference;
        let refused = asking.refused();
        assert!(refused.contains(said), "{reference}: {refused}");
    }
}
