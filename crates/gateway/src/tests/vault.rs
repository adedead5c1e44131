//! Secrets of a Vault: at the start, while a sandbox runs, and when the server is not there.

use std::{path::Path, time::Duration};

use chiton_testkit::vault::{Mode, VaultServer};
use serde_json::{Value, json};

use super::world::{Served, World, until};

const POLICY: &str = "dynamic: {network: {http: [{host: a.example, credential: {secret: 'vault://kv/team/key', header: x-key}}]}}";
const FIRST: &str = "sk-first-0123456789abcdef";
const SECOND: &str = "sk-second-fedcba9876543210";

fn server() -> VaultServer {
    let server = VaultServer::plain();
    server.mount("kv", 2).put("kv/team/key", &[("value", FIRST)]).token("hvs.gateway", 0, false);
    server
}

fn configured(server: &VaultServer, times: &str) -> World {
    let world = World::new();
    configure(&world, server, times);
    world
}

fn configure(world: &World, server: &VaultServer, times: &str) {
    let token = world.folder.path().join("token");
    write_private(&token, "hvs.gateway\n");
    world.configure(&format!("[vault]\naddress = {:?}\ntoken_file = {token:?}\n{times}\n", server.url()));
}

fn write_private(path: &Path, text: &str) {
    use std::os::unix::fs::PermissionsExt;
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}

const LONG: &str = "refresh = \"1h\"\nkeep = \"2h\"";
const SHORT: &str = "refresh = \"1s\"\nkeep = \"1h\"\ntimeout = \"5s\"";

fn start(world: &World, served: &Served, name: &str) -> Value {
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": name, "policy": POLICY})))
}

fn proxy(world: &World) -> (Vec<String>, Vec<Option<u64>>) {
    world.fake.only(|running| {
        running.proxy.as_ref().map(|proxy| (proxy.secrets.clone(), proxy.valid.clone())).unwrap()
    })
}

/// Events about the reference: what was done and why not.
fn told(world: &World) -> Vec<(String, String)> {
    let text = |event: &Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let of_it = world.log().into_iter().filter(|event| event["rule"] == "vault://kv/team/key");
    of_it.map(|event| (text(&event, "decision"), text(&event, "reason"))).collect()
}

#[test]
fn asked_once_whoever_starts_and_forgotten_when_nobody_needs_it() {
    let server = server();
    let world = configured(&server, LONG);
    let served = world.serve();
    for name in ["one", "two", "three"] {
        start(&world, &served, name);
    }
    let data = || server.asked("/v1/kv/data/");
    assert_eq!((data(), server.asked("lookup-self")), (1, 1));
    for name in ["one", "two", "three"] {
        served.must("DELETE", &format!("/v1/sandboxes/{name}?force=true"), Value::Null);
    }
    start(&world, &served, "four");
    assert_eq!(data(), 2);
    let (secrets, valid) = proxy(&world);
    assert_eq!(secrets, [FIRST]);
    assert!(valid[0].is_some_and(|left| left <= 7_200_000), "{valid:?}");
    let log = std::fs::read_to_string(world.paths.audit_log()).unwrap();
    assert!(!log.contains(FIRST) && log.contains("vault://kv/team/key"));
}

#[test]
fn what_does_not_resolve_stops_the_start_and_leaves_nothing() {
    let server = server();
    let world = configured(&server, LONG);
    let served = world.serve();
    let refused = |policy: &str| {
        let problem =
            served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "x", "policy": policy})));
        assert_eq!((&problem["type"], &problem["exit_status"]), (&json!("secret"), &json!(125)), "{problem}");
        problem["detail"].as_str().unwrap().to_owned()
    };
    let missing = refused(&POLICY.replace("team/key", "team/none"));
    assert_eq!(missing, "`vault://kv/team/none` cannot be resolved: Vault has no such secret");
    server.set_mode(Mode::Sealed);
    assert!(refused(POLICY).contains("sealed"), "it was never had, so there is none to go on with");
    server.set_mode(Mode::Up).revoke_all();
    assert!(refused(POLICY).contains("refuses the log-in by token"));
    world.configure("");
    assert!(refused(POLICY).contains("`[vault]` of config.toml names no server"));
    world.configure("[vault]\naddress = \"http://vault.corp\"\ntoken_file = \"/t\"\n");
    let problem =
        served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "x", "policy": POLICY})));
    assert_eq!(problem["type"], "configuration", "{problem}");
    assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]));
}

#[test]
fn a_changed_secret_is_handed_to_the_proxy_that_runs() {
    let server = server();
    let world = configured(&server, SHORT);
    let served = world.serve();
    start(&world, &served, "demo");
    server.put("kv/team/key", &[("value", SECOND)]);
    until(|| proxy(&world).0 == [SECOND]);
    until(|| told(&world).len() == 2);
    assert_eq!(told(&world), [("allow".to_owned(), String::new()), ("allow".to_owned(), String::new())]);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["revision"], 1);
}

#[test]
fn a_server_that_is_not_there_leaves_the_proxy_what_it_has_and_one_that_comes_back_is_asked_again() {
    let server = server();
    let world = configured(&server, SHORT);
    let served = world.serve();
    start(&world, &served, "demo");
    server.set_mode(Mode::Sealed);
    let before = server.asked("/data/");
    until(|| server.asked("/data/") >= before + 2);
    let (secrets, valid) = proxy(&world);
    assert_eq!(secrets, [FIRST]);
    assert!(valid[0].is_some_and(|left| left > 0), "{valid:?}");
    // Another one starts with it, too.
    server.put("kv/team/key", &[("value", SECOND)]).set_mode(Mode::Up);
    until(|| proxy(&world).0 == [SECOND]);
}

#[test]
fn one_that_was_deleted_is_withheld_at_once() {
    let server = server();
    let world = configured(&server, SHORT);
    let served = world.serve();
    start(&world, &served, "demo");
    server.delete("kv/team/key");
    until(|| proxy(&world) == (vec![String::new()], vec![Some(0)]));
    until(|| told(&world).len() == 2);
    assert_eq!(told(&world)[1], ("deny".to_owned(), "credential_unavailable".to_owned()));
    server.put("kv/team/key", &[("value", SECOND)]);
    until(|| proxy(&world).0 == [SECOND]);
    let _ = served;
}

#[test]
fn one_that_a_server_rejects_is_asked_for_once() {
    let server = server();
    let world = configured(&server, LONG);
    let served = world.serve();
    start(&world, &served, "demo");
    server.put("kv/team/key", &[("value", SECOND)]);
    // Told until the gateway listens.
    until(|| {
        world.fake.only(|running| running.reject("vault://kv/team/key"));
        std::thread::sleep(Duration::from_millis(20));
        proxy(&world).0 == [SECOND]
    });
    assert_eq!(server.asked("/v1/kv/data/"), 2);
    for _ in 0..5 {
        world.fake.only(|running| running.reject("vault://kv/team/key"));
    }
    served.must("POST", "/v1/resolve", json!({"reference": "vault://kv/team/key"}));
    assert_eq!(server.asked("/v1/kv/data/"), 3, "the one question is that of the test");
}

#[test]
fn a_test_tells_length_and_age_and_hands_on_what_changed() {
    let server = server();
    let world = configured(&server, LONG);
    let served = world.serve();
    start(&world, &served, "demo");
    let test = |reference: &str| served.ask("POST", "/v1/resolve", json!({"reference": reference}));
    let (status, tested) = test("vault://kv/team/key");
    assert_eq!(
        (status, &tested["length"], &tested["valid_seconds"]),
        (200, &json!(25), &json!(7200)),
        "{tested}"
    );
    assert!(tested["age_seconds"].is_u64() || tested["age_seconds"].is_null(), "{tested}");
    server.put("kv/team/key", &[("value", SECOND)]);
    let (_, tested) = test("vault://kv/team/key");
    assert!(!tested.to_string().contains("sk-"), "{tested}");
    until(|| proxy(&world).0 == [SECOND]);
    assert_eq!(test("vault://kv/team/none").1["type"], "secret");
    assert_eq!(test("hunter22").1["type"], "bad_request");
    assert!(!test("hunter22").1.to_string().contains("hunter22"));
    assert_eq!(test("env://PATH").0, 200);
}

#[test]
fn a_slow_server_keeps_nobody_from_stopping() {
    let server = server();
    let world = configured(&server, "refresh = \"1s\"\ntimeout = \"60s\"");
    let served = world.serve();
    start(&world, &served, "demo");
    server.set_mode(Mode::Slow);
    let before = server.asked("/data/");
    until(|| server.asked("/data/") > before);
    let began = std::time::Instant::now();
    served.must("POST", "/v1/sandboxes/demo/stop", json!({}));
    assert!(began.elapsed() < Duration::from_secs(30), "{:?}", began.elapsed());
}

#[test]
fn a_new_gateway_goes_on_renewing() {
    let server = server();
    let world = configured(&server, SHORT);
    let served = world.serve();
    start(&world, &served, "demo");
    served.kill();
    server.put("kv/team/key", &[("value", SECOND)]);
    let _served = world.serve();
    until(|| proxy(&world).0 == [SECOND]);
}

#[test]
fn a_stored_secret_that_is_set_again_is_handed_on_and_one_that_is_removed_is_withheld() {
    let world = World::new();
    let served = world.serve();
    let set = |value: &str| served.must("PUT", "/v1/secrets/key", json!({"value": value.as_bytes()}));
    set(FIRST);
    let policy = POLICY.replace("vault://kv/team/key", "local://key");
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "policy": policy})));
    // The sandbox's task learns of its references a moment after the answer.
    until(|| {
        set(SECOND);
        std::thread::sleep(Duration::from_millis(20));
        proxy(&world).0 == [SECOND]
    });
    served.must("DELETE", "/v1/secrets/key", Value::Null);
    until(|| proxy(&world) == (vec![String::new()], vec![Some(0)]));
}

/// What the configuration says is followed while sandboxes run.
#[test]
fn another_vault_is_asked_once_the_configuration_names_it() {
    let (server, other) = (server(), server());
    let world = configured(&server, SHORT);
    let served = world.serve();
    start(&world, &served, "demo");
    other.put("kv/team/key", &[("value", SECOND)]);
    configure(&world, &other, SHORT);
    until(|| proxy(&world).0 == [SECOND]);
    let _ = served;
}
