//! The client against the test kit's server: every way to log in, every way not to be there.

use std::{path::Path, sync::Arc, time::Duration};

use chiton_testkit::{
    TestCa,
    vault::{Mode, VaultServer},
};

use super::{KvVersion, Login, Vault, VaultError, VaultSettings};
use crate::{
    Fault, Fetched, KeySource, LocalStore, SecretStore, ServerRoots, backends::Plain,
    conformance::write_private,
};

pub(crate) fn plain(folder: &Path) -> Plain {
    Plain::new(Arc::new(LocalStore::new(folder, KeySource::File)))
}

/// A token in a file.
pub(crate) fn token(folder: &Path, token: &str) -> Login {
    let path = folder.join("vault-token");
    write_private(&path, token);
    Login::Token(format!("file://{}", path.display()).parse().unwrap())
}

pub(crate) fn settings(server: &VaultServer, login: Login) -> VaultSettings {
    VaultSettings {
        address: server.url().parse().unwrap(),
        namespace: None,
        login,
        roots: ServerRoots::Only(Vec::new()),
        resolve: [].into(),
        mounts: [].into(),
        refresh: Duration::from_secs(300),
        keep: Duration::from_secs(3600),
        timeout: Duration::from_secs(10),
    }
}

pub(crate) fn vault(server: &VaultServer, login: Login) -> Vault {
    of(settings(server, login))
}

fn of(settings: VaultSettings) -> Vault {
    Vault::of(settings, plain(Path::new("/nonexistent"))).unwrap()
}

async fn fetch(vault: &Vault, reference: &str) -> Result<Fetched, VaultError> {
    vault.fetch(&reference.parse().unwrap()).await.map_err(|fault| match fault {
        Fault::Vault(error) => error,
        other => panic!("{other}"),
    })
}

async fn value(vault: &Vault, reference: &str) -> String {
    let fetched = fetch(vault, reference).await.unwrap();
    String::from_utf8(fetched.value.dangerous_expose().to_vec()).unwrap()
}

async fn said(vault: &Vault, reference: &str) -> String {
    let error = fetch(vault, reference).await.unwrap_err();
    let text = error.to_string();
    assert!(!text.contains("sk-") && !text.contains("hvs.") && !text.contains('\n'), "{text}");
    text
}

/// A server with one secret, and a token that never ends.
fn server() -> VaultServer {
    let server = VaultServer::plain();
    server.mount("llm", 2).put("llm/openai", &[("key", "sk-in-vault")]).token("hvs.root", 0, false);
    server
}

#[tokio::test]
async fn over_tls_of_an_authority_of_its_own_and_in_a_namespace() {
    let (ca, folder) = (TestCa::new(), tempfile::tempdir().unwrap());
    let server = VaultServer::tls(&ca);
    server.mount("llm", 2).put("llm/openai", &[("value", "sk-in-vault")]).token("hvs.root", 0, false);
    server.set_namespace("team-a");
    let mut settings = settings(&server, token(folder.path(), "hvs.root"));
    settings.namespace = Some("team-a".to_owned());
    settings.roots = ServerRoots::Only(vec![ca.pem().to_owned()]);
    assert_eq!(value(&of(settings.clone()), "vault://llm/openai").await, "sk-in-vault");
    // By a name that the operator's table has.
    settings.address = "https://vault.corp:8200".parse().unwrap();
    settings.resolve = [("vault.corp:8200".to_owned(), server.address())].into();
    assert_eq!(value(&of(settings.clone()), "vault://llm/openai").await, "sk-in-vault");
    settings.namespace = None;
    assert!(fetch(&of(settings.clone()), "vault://llm/openai").await.is_err());
    // Another name, or another authority.
    settings.address = "https://other.corp:8200".parse().unwrap();
    settings.resolve = [("other.corp:8200".to_owned(), server.address())].into();
    assert!(said(&of(settings.clone()), "vault://llm/openai").await.contains("certificate"));
    settings.address = "https://vault.corp:8200".parse().unwrap();
    settings.resolve = [("vault.corp:8200".to_owned(), server.address())].into();
    settings.roots = ServerRoots::Only(vec![TestCa::new().pem().to_owned()]);
    assert!(said(&of(settings), "vault://llm/openai").await.contains("certificate"));
    assert_eq!(server.asked("lookup-self"), 3, "no token goes to a server that is not verified");
}

#[tokio::test]
async fn by_app_role_and_by_kubernetes() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.app_role("role-1", "secret-id-1", 3600).service_account("chiton", "jwt.of.pod", 3600);
    let file = folder.path().join("means");
    let means = || format!("file://{}", file.display()).parse().unwrap();
    let app_role = Login::AppRole { mount: "approle".into(), role_id: "role-1".into(), secret_id: means() };
    write_private(&file, "secret-id-1\n");
    assert_eq!(value(&vault(&server, app_role.clone()), "vault://llm/openai").await, "sk-in-vault");
    write_private(&file, "secret-id-2\n");
    let refused = said(&vault(&server, app_role), "vault://llm/openai").await;
    assert!(refused.contains("AppRole") && !refused.contains("secret-id"), "{refused}");
    let kubernetes = Login::Kubernetes { mount: "kubernetes".into(), role: "chiton".into(), jwt: means() };
    write_private(&file, "jwt.of.pod");
    assert_eq!(value(&vault(&server, kubernetes.clone()), "vault://llm/openai").await, "sk-in-vault");
    std::fs::remove_file(&file).unwrap();
    assert!(said(&vault(&server, kubernetes), "vault://llm/openai").await.contains("cannot be had"));
}

#[tokio::test]
async fn one_log_in_and_one_question_about_the_mount() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.put("llm/anthropic", &[("key", "sk-another")]);
    let vault = vault(&server, token(folder.path(), "hvs.root"));
    for _ in 0..3 {
        assert_eq!(value(&vault, "vault://llm/openai").await, "sk-in-vault");
        assert_eq!(value(&vault, "vault://llm/anthropic#key").await, "sk-another");
    }
    assert_eq!((server.asked("lookup-self"), server.asked("ui/mounts")), (1, 1));
    assert_eq!(server.asked("/data/"), 6);
}

#[tokio::test]
async fn a_token_that_was_revoked_or_has_ended_is_got_anew() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.app_role("role-1", "secret-id-1", 3600);
    write_private(&folder.path().join("id"), "secret-id-1");
    let secret_id = format!("file://{}/id", folder.path().display()).parse().unwrap();
    let by_role =
        vault(&server, Login::AppRole { mount: "approle".into(), role_id: "role-1".into(), secret_id });
    assert_eq!(value(&by_role, "vault://llm/openai").await, "sk-in-vault");
    server.revoke_all();
    assert_eq!(value(&by_role, "vault://llm/openai").await, "sk-in-vault");
    // One in a file is read again: an agent of Vault's writes it.
    let by_file = vault(&server, token(folder.path(), "hvs.first"));
    assert!(said(&by_file, "vault://llm/openai").await.contains("refuses the log-in by token (403)"));
    server.token("hvs.first", 0, false);
    assert_eq!(value(&by_file, "vault://llm/openai").await, "sk-in-vault");
    server.revoke_all().token("hvs.second", 0, false);
    let _ = token(folder.path(), "hvs.second");
    assert_eq!(value(&by_file, "vault://llm/openai").await, "sk-in-vault");
}

#[tokio::test]
async fn a_token_is_renewed_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.token("hvs.short", 3, true);
    let vault = vault(&server, token(folder.path(), "hvs.short"));
    let began = std::time::Instant::now();
    // Longer than it would hold alone.
    while began.elapsed() < Duration::from_secs(5) {
        let fetched = fetch(&vault, "vault://llm/openai").await.unwrap();
        let refresh = fetched.lifetime.unwrap().refresh;
        assert!(refresh <= Duration::from_secs(2), "nobody else comes by to renew it: {refresh:?}");
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    assert!(server.asked("renew-self") >= 1);
    assert_eq!(server.asked("lookup-self"), 1);
}

#[tokio::test]
async fn a_server_that_is_not_there_is_told_by_what_it_says() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let mut settings = settings(&server, token(folder.path(), "hvs.root"));
    settings.timeout = Duration::from_millis(300);
    let vault = of(settings.clone());
    assert_eq!(value(&vault, "vault://llm/openai").await, "sk-in-vault");
    for (mode, words) in [
        (Mode::Sealed, "sealed"),
        (Mode::Standby(472), "standby"),
        (Mode::Standby(473), "standby"),
        (Mode::Redirecting, "redirect (307)"),
        (Mode::Limiting(7), "limits how often"),
        (Mode::Failing, "failed (502)"),
        (Mode::Odd, "not its published interface"),
        (Mode::Slow, "does not answer within 300 ms"),
    ] {
        server.set_mode(mode);
        let error = fetch(&vault, "vault://llm/openai").await.unwrap_err();
        assert!(error.to_string().contains(words), "{mode:?}: {error}");
        assert!(!error.is_final(), "{mode:?} passes");
    }
    server.set_mode(Mode::Limiting(7));
    let limited = Fault::from(fetch(&vault, "vault://llm/openai").await.unwrap_err());
    assert_eq!(limited.retry_after(), Some(Duration::from_secs(7)));
    server.set_mode(Mode::Up);
    assert_eq!(value(&vault, "vault://llm/openai").await, "sk-in-vault");
    drop(server);
    assert!(said(&vault, "vault://llm/openai").await.contains("is not reached"));
}

#[tokio::test]
async fn what_the_token_may_not_and_what_is_not_kv() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.mount("database", 0).mount("old", 1).put("old/a", &[("value", "sk-of-version-1")]);
    server.forbid("llm/data/other");
    let mut settings = settings(&server, token(folder.path(), "hvs.root"));
    let vault = of(settings.clone());
    assert!(said(&vault, "vault://llm/other/key").await.contains("`MOUNT/data/PATH`"));
    assert!(said(&vault, "vault://database/creds/role").await.contains("not the KV"));
    assert!(said(&vault, "vault://nowhere/a").await.contains("`[vault.mounts]`"));
    assert!(said(&vault, "vault://llm/openai#password").await.contains("no field `password`"));
    server.hide_mounts();
    assert!(said(&vault, "vault://old/a").await.contains("`[vault.mounts]`"));
    settings.mounts = [("old".to_owned(), KvVersion::V1), ("llm".to_owned(), KvVersion::V2)].into();
    let told = of(settings);
    assert_eq!(value(&told, "vault://old/a").await, "sk-of-version-1");
    assert_eq!(value(&told, "vault://llm/openai").await, "sk-in-vault");
}

#[tokio::test]
async fn a_lease_bounds_how_long_a_value_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    server.mount("old", 1).put("old/a", &[("value", "sk-of-version-1")]);
    let vault = vault(&server, token(folder.path(), "hvs.root"));
    let lifetime = fetch(&vault, "vault://llm/openai").await.unwrap().lifetime.unwrap();
    assert_eq!((lifetime.refresh.as_secs(), lifetime.valid.as_secs()), (300, 3600));
    for (lease, refresh, valid) in [(2_764_800, 300, 3600), (60, 40, 60), (1, 1, 1)] {
        server.set_lease(lease);
        let lifetime = fetch(&vault, "vault://old/a").await.unwrap().lifetime.unwrap();
        assert_eq!((lifetime.refresh.as_secs(), lifetime.valid.as_secs()), (refresh, valid));
    }
}

/// A mount that was made anew with the other version is found out.
#[tokio::test]
async fn a_mount_that_changed_its_version_is_asked_for_again() {
    let folder = tempfile::tempdir().unwrap();
    let server = server();
    let vault = vault(&server, token(folder.path(), "hvs.root"));
    assert_eq!(value(&vault, "vault://llm/openai").await, "sk-in-vault");
    server.mount("llm", 1);
    assert!(fetch(&vault, "vault://llm/openai").await.is_err());
    assert_eq!(value(&vault, "vault://llm/openai").await, "sk-in-vault");
}
