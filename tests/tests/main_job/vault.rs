//! The reference policy with its key in Vault, from inside a sandbox.
//!
//! The server is the test kit's: no package ships HashiCorp Vault or OpenBao. [`crate::rusty_vault`] has another one.

use std::{
    fs::Permissions,
    os::unix::fs::PermissionsExt,
    process::{Child, Stdio},
    time::{Duration, Instant},
};

use chiton_testkit::{
    TestCa,
    routes::Router,
    vault::{Mode, VaultServer},
};
use chiton_tests::{As, REFERENCE, World, finish};

use crate::server::until;

pub(crate) const FIRST: &str = "sk-vault-first-3f0c9e7d5b1a2846";
pub(crate) const SECOND: &str = "sk-vault-second-84a2617b5d9e3c0f";
const TOKEN: &str = "hvs.token-of-the-gateway";

/// What asks, says each status, and waits for a line before the next.
const ASK: &str = "while read line; do curl -sS -o answer -w '%{http_code}\\n' -H 'Authorization: Bearer mine' \
    -X POST -d '{}' https://api.openai.com/v1/chat/completions; cat answer >> all; done; \
    env; cat all; grep -rs sk-vault /proc/*/environ /workspace /tmp";

/// A sandbox that asks with a key of this server's.
pub(crate) struct Asking<V> {
    pub(crate) world: World,
    pub(crate) vault: V,
    pub(crate) reference: &'static str,
}

impl Asking<VaultServer> {
    fn new(times: &str) -> Self {
        let mut world = World::new(As::User, &["api.openai.com"], Router::echo());
        let ca = TestCa::new();
        let vault = VaultServer::tls(&ca);
        vault.mount("llm", 2).put("llm/openai", &[("value", FIRST)]).token(TOKEN, 0, false);
        let own = world.chiton.write("vault-ca.pem", ca.pem());
        let token = world.chiton.write("vault-token", format!("{TOKEN}\n"));
        std::fs::set_permissions(&token, Permissions::from_mode(0o600)).expect("mode");
        let url = vault.url();
        world.chiton.sections(&format!(
            "\n[vault]\naddress = {url:?}\ntoken_file = {token:?}\nca = {own:?}\n{times}\n"
        ));
        Self { world, vault, reference: "vault://llm/openai" }
    }
}

impl<V> Asking<V> {
    pub(crate) fn policy(&self) -> String {
        REFERENCE.replace("local://openai", self.reference)
    }

    pub(crate) fn start(&self) -> Child {
        let policy = self.world.chiton.policy(&self.policy());
        let policy = policy.to_str().expect("UTF-8");
        let mut command = self.world.chiton.command(&["run", "--rm", "-p", policy, "--", "sh", "-c", ASK]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().expect("chiton")
    }

    /// The key that upstream sees with one more request; none where it is refused.
    pub(crate) fn ask(&self, child: &mut Child) -> Option<String> {
        use std::io::Write;
        let before = self.world.upstream.requests().len();
        let answered =
            std::fs::metadata(self.world.chiton.workspace().join("all")).map_or(0, |all| all.len());
        let stdin = child.stdin.as_mut().expect("a pipe");
        stdin.write_all(b"\n").and_then(|()| stdin.flush()).expect("it reads");
        until(|| {
            std::fs::metadata(self.world.chiton.workspace().join("all")).is_ok_and(|all| all.len() > answered)
        });
        let requests = self.world.upstream.requests();
        requests.get(before).map(|seen| {
            assert!(!seen.contains("mine"), "the agent's own key went out: {seen:?}");
            seen.header("authorization").unwrap_or_default().replace("Bearer ", "")
        })
    }

    /// Asks until this is what upstream sees.
    pub(crate) fn ask_until(&self, child: &mut Child, key: Option<&str>) {
        let began = Instant::now();
        while self.ask(child).as_deref() != key {
            assert!(began.elapsed() < Duration::from_secs(60), "it does not become {key:?}");
            std::thread::sleep(Duration::from_millis(50));
        }
    }
}

#[test]
fn the_key_of_vault_goes_out_changes_and_never_comes_in() {
    let asking = Asking::new("refresh = \"1s\"\nkeep = \"1h\"");
    let mut child = asking.start();
    assert_eq!(asking.ask(&mut child).as_deref(), Some(FIRST));
    asking.vault.put("llm/openai", &[("value", SECOND)]);
    asking.ask_until(&mut child, Some(SECOND));
    // Sealed: the last value is used while it holds.
    asking.vault.set_mode(Mode::Sealed);
    let before = asking.vault.asked("/data/");
    until(|| asking.vault.asked("/data/") > before);
    assert_eq!(asking.ask(&mut child).as_deref(), Some(SECOND));
    drop(child.stdin.take());
    let outcome = finish(child, &["run"]);
    for secret in [FIRST, SECOND, TOKEN] {
        assert!(!outcome.stdout.contains(secret), "{outcome:?}");
        assert!(
            asking
                .world
                .chiton
                .files_holding(secret.as_bytes())
                .iter()
                .all(|path| path.ends_with("vault-token"))
        );
    }
    assert!(outcome.stdout.contains("OPENAI_API_KEY="), "{outcome:?}");
    let events = asking.world.chiton.audit(&[]);
    let told = events.iter().filter(|event| event["rule"] == "vault://llm/openai").count();
    assert!(told >= 2, "{events:#?}");
    assert!(!format!("{events:?}").contains("sk-vault"));
}

#[test]
fn a_sealed_vault_closes_the_route_when_the_lease_is_over() {
    let asking = Asking::new("refresh = \"1s\"\nkeep = \"4s\"");
    let mut child = asking.start();
    assert_eq!(asking.ask(&mut child).as_deref(), Some(FIRST));
    asking.vault.set_mode(Mode::Sealed);
    asking.ask_until(&mut child, None);
    assert_eq!(asking.ask(&mut child), None);
    let answer = std::fs::read_to_string(asking.world.chiton.workspace().join("answer")).expect("an answer");
    assert!(answer.contains("credential_unavailable") && !answer.contains("vault://"), "{answer}");
    let tested = asking.world.chiton.run(&["secret", "test", "vault://llm/openai"]);
    assert!(tested.status == 1 && tested.stderr.contains("sealed"), "{tested:?}");
    asking.vault.set_mode(Mode::Up);
    asking.ask_until(&mut child, Some(FIRST));
    let tested = asking.world.chiton.run(&["secret", "test", "vault://llm/openai", "--json"]).json();
    assert_eq!(tested["length"], FIRST.len());
    drop(child.stdin.take());
    let _ = finish(child, &["run"]);
}

#[test]
fn what_does_not_resolve_stops_the_start() {
    let asking = Asking::new("");
    let chiton = &asking.world.chiton;
    let run = |policy: &str| chiton.sandboxed(&chiton.policy(policy), &["touch", "ran"]).expect_status(125);
    let missing = run(&asking.policy().replace("llm/openai", "llm/none"));
    assert!(
        missing.stderr.contains("`vault://llm/none` cannot be resolved: Vault has no such secret"),
        "{missing:?}"
    );
    asking.vault.set_mode(Mode::Sealed);
    let sealed = run(&asking.policy());
    assert!(sealed.stderr.contains("sealed") && sealed.stderr.trim().lines().count() == 1, "{sealed:?}");
    assert!(!chiton.workspace().join("ran").exists());
}
