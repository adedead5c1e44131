//! Credentials of rules with real programs: git and pip against servers that want Basic, curl in every place.

use std::{path::Path, process::Command};

use base64::{Engine as _, engine::general_purpose::STANDARD};
use chiton_testkit::{
    routes::{Router, git, pypi},
    server::{Answer, Received, answer},
};
use chiton_tests::{As, World, http_policy};

const KEY: &str = "sk-rule-5e0b7c1d9f3a2648";

/// Refuses with 401 whoever does not come with this field.
fn wanting<F, A>(name: &'static str, value: String, then: F) -> Router
where
    F: Fn(Received) -> A + Send + Sync + Clone + 'static,
    A: Future<Output = Answer> + Send + 'static,
{
    Router::new().any("/", move |received| {
        let good = received.seen.header(name) == Some(value.as_str());
        let then = then.clone();
        async move {
            if good {
                return then(received).await;
            }
            let mut refused = answer(401, "text/plain", "who are you?\n");
            refused.headers_mut().insert("www-authenticate", "Basic realm=\"x\"".parse().expect("a value"));
            refused
        }
    })
}

fn basic(user: &str) -> String {
    format!("Basic {}", STANDARD.encode(format!("{user}:{KEY}")))
}

fn bound(world: &World, name: &str, host: &str) {
    let _ = world.chiton.run_with(&["secret", "set", name, "--host", host], KEY).expect_success();
}

fn repository(root: &Path) {
    let script = "set -e; git init -q --bare -b main octocat/private.git; \
        git -C octocat/private.git config http.receivepack true; git init -q -b main work; cd work; \
        echo hello > README; git add README; \
        git -c user.name=t -c user.email=t@example.com commit -qm first; git push -q ../octocat/private.git main";
    let made = Command::new("sh").args(["-c", script]).current_dir(root).status().expect("sh");
    assert!(made.success());
}

fn git_world(root: &Path) -> World {
    repository(root);
    let served = root.to_owned();
    let router = wanting("authorization", basic("x-access-token"), move |received| {
        git::answer_request(served.clone(), received)
    });
    let world = World::new(As::User, &["github.com"], router);
    bound(&world, "github", "github.com");
    world
}

const CLONE_AND_PUSH: &str = "set -e; export GIT_TERMINAL_PROMPT=0; rm -rf private; \
    git clone -q https://github.com/octocat/private.git; cd private; cat README; \
    git config user.name agent; git config user.email agent@example.com; \
    echo more >> README; git commit -qam second; git push -q origin main; git log --oneline | wc -l";

#[test]
fn git_clones_and_pushes_where_basic_is_wanted() {
    let root = tempfile::tempdir().expect("a folder");
    let world = git_world(root.path());
    let rule = "{host: github.com, methods: [GET, POST], paths: ['/octocat/private.git/**']CREDENTIAL}";
    let credential = ", credential: {secret: 'local://github', basic: {user: x-access-token}}";
    let without = world.sh(&http_policy(&[&rule.replace("CREDENTIAL", "")]), CLONE_AND_PUSH);
    assert_ne!(without.status, 0, "{without:?}");
    let policy = http_policy(&[&rule.replace("CREDENTIAL", credential)]);
    let outcome = world.sh(&policy, CLONE_AND_PUSH).expect_success();
    assert_eq!(outcome.stdout, "hello\n2\n", "{outcome:?}");
    // What the agent says of itself, in the URL as programs do, is replaced.
    let named = CLONE_AND_PUSH
        .replace("https://github", "https://me:$(printf mine)@github")
        .replace("echo more", "echo again");
    let outcome = world.sh(&policy, &named).expect_success();
    assert_eq!(outcome.stdout, "hello\nmore\n3\n", "{outcome:?}");
    assert!(world.chiton.files_holding(KEY.as_bytes()).is_empty());
}

/// The same by presets, whose rules a credential is given to.
#[test]
fn git_by_presets_with_a_credential() {
    let root = tempfile::tempdir().expect("a folder");
    let world = git_world(root.path());
    let policy = |hosts: &str| {
        let given = "credential: {secret: 'local://github', basic: {user: x-access-token}}";
        format!(
            "extends:\n  - {{use: github-read, hosts: [{hosts}], {given}}}\n  - {{use: github-write, {given}}}\n\
             static: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}}}\n"
        )
    };
    let outcome = world.sh(&policy("github.com, api.github.com"), CLONE_AND_PUSH).expect_success();
    assert_eq!(outcome.stdout, "hello\n2\n", "{outcome:?}");
    let mistaken = world.sh(&policy("gihub.com"), "true");
    assert_eq!(mistaken.status, 125, "{mistaken:?}");
    assert!(mistaken.stderr.contains("has no rule for `gihub.com`"), "{mistaken:?}");
    // Only one of two that match the same request: their order would decide.
    let split = "extends: [{use: github-read, hosts: [github.com], credential: 'local://github'}]\n\
        static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
        dynamic: {network: {http: [{host: github.com, methods: [GET]}]}}\n";
    let split = world.sh(split, "true");
    assert!(split.status == 125 && split.stderr.contains("differ in `credential`"), "{split:?}");
}

#[test]
fn pip_installs_from_an_index_that_wants_basic() {
    let router = wanting("authorization", basic("ci"), pypi::answer_request);
    let world = World::new(As::User, &["pypi.example.com"], router);
    bound(&world, "index", "pypi.example.com");
    let policy = http_policy(&[
        "{host: pypi.example.com, paths: [/simple/**, /packages/**], credential: {secret: 'local://index', basic: {user: ci}}}",
    ]);
    let script = "set -e; /usr/bin/python3 -m pip install -q --no-input --disable-pip-version-check --break-system-packages \
        --index-url https://pypi.example.com/simple --target lib greeter; \
        PYTHONPATH=lib /usr/bin/python3 -c 'import greeter; print(greeter.GREETING)'";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "hello from greeter\n", "{outcome:?}");
}

/// Every place by curl, over both versions, with the agent's own smuggled beside; and a placeholder.
#[test]
fn curl_in_every_place() {
    let world = World::echo(&["api.example.com", "other.example.com"]);
    bound(&world, "key", "api.example.com");
    let policy = http_policy(&[
        "{host: api.example.com, paths: [/bearer], credential: {secret: 'local://key', env: EXAMPLE_TOKEN}}",
        "{host: api.example.com, paths: [/header], credential: {secret: 'local://key', header: X-Own, format: 'Key {}'}}",
        "{host: api.example.com, paths: [/basic], credential: {secret: 'local://key', basic: {user: me}}}",
        "{host: api.example.com, paths: [/query], credential: {secret: 'local://key', query: own}}",
        "{host: api.example.com, paths: [/cookie], credential: {secret: 'local://key', cookie: own}}",
        "{host: other.example.com}",
    ]);
    let script = "env | grep EXAMPLE_TOKEN; for v in --http1.1 --http2; do \
        for place in bearer header basic query cookie; do \
            curl -sS $v -H \"Authorization: Bearer $EXAMPLE_TOKEN\" -H 'authorization: Basic mine-stolen' -b 'own=mine-stolen; a=1' \
                -H 'Connection: x-own, authorization, cookie' \"https://api.example.com/$place?key=mine-stolen&a=1\"; echo; \
        done; curl -sS $v -o /dev/null -H 'Authorization: Bearer theirs' https://other.example.com/; done";
    let outcome = world.sh(&policy, script).expect_success();
    assert!(outcome.stdout.starts_with("EXAMPLE_TOKEN=chiton-placeholder\n"), "{outcome:?}");
    assert_eq!(outcome.stdout.matches("[redacted]").count(), 10, "{outcome:?}");
    assert!(!outcome.stdout.contains(KEY) && !outcome.stdout.contains(&basic("me")), "{outcome:?}");
    let seen = world.upstream.requests();
    assert_eq!(seen.len(), 12);
    for request in seen {
        if request.host.starts_with("other") {
            assert_eq!(request.header("authorization"), Some("Bearer theirs"));
            assert!(!request.contains(KEY), "{request:?}");
            continue;
        }
        assert!(!request.contains("mine-stolen") && !request.contains("placeholder"), "{request:?}");
        let wanted = match request.target.split('?').next().expect("a path") {
            "/bearer" => ("authorization", format!("Bearer {KEY}")),
            "/header" => ("x-own", format!("Key {KEY}")),
            "/basic" => ("authorization", basic("me")),
            "/cookie" => ("cookie", format!("own={KEY}")),
            "/query" => {
                assert_eq!(request.target, format!("/query?a=1&own={KEY}"));
                continue;
            }
            other => panic!("{other}"),
        };
        let ours: Vec<_> = request.headers.iter().filter(|(name, _)| name == wanted.0).collect();
        assert_eq!((ours.len(), &ours[0].1), (1, &wanted.1), "{request:?}");
        assert!(request.target.ends_with("?a=1"), "{request:?}");
    }
    let events = world.chiton.audit(&[]);
    assert_eq!(events.iter().filter(|event| event["action"] == "inject").count(), 10);
    assert!(!format!("{events:?}").contains(KEY));
}

#[test]
fn an_applied_policy_brings_its_credential_and_one_that_cannot_is_refused() {
    let router = wanting("x-own", KEY.to_owned(), |_| async { answer(200, "text/plain", "in") });
    let world = World::new(As::User, &["api.example.com"], router);
    bound(&world, "key", "api.example.com");
    let policy = |credential: &str| {
        let text = http_policy(&[&format!("{{host: api.example.com{credential}}}")]);
        world.chiton.policy(&text).display().to_string()
    };
    let script = "until [ \"$(curl -sS https://api.example.com/)\" = in ]; do sleep 0.05; done; echo in";
    let before = policy("");
    let run = ["run", "-d", "-n", "live", "-p", &before, "--", "sh", "-c", script];
    let _ = world.chiton.run(&run).expect_success();
    let missing = policy(", credential: {secret: 'local://none', header: x-own}");
    let refused = world.chiton.run(&["policy", "apply", "live", &missing]);
    assert!(refused.status == 1 && refused.stderr.contains("none"), "{refused:?}");
    let after = policy(", credential: {secret: 'local://key', header: x-own}");
    let _ = world.chiton.run(&["policy", "apply", "live", &after]).expect_success();
    let _ = world.chiton.run(&["wait", "live"]).expect_success();
    assert_eq!(world.chiton.run(&["logs", "live"]).expect_success().stdout, "in\n");
}
