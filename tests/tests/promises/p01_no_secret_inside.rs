//! No memory, file, environment, descriptor or response reachable from the sandbox holds a credential, an
//! authority's key, or a control token.

use chiton_testkit::routes::Router;
use chiton_tests::{As, World, search::search_for};

const KEY: &str = "sk-needle-2d41f0c9a7b35e68";

fn policy() -> &'static str {
    include_str!("../../../examples/policies/openai.yaml")
}

#[test]
fn a_search_of_everything_readable_finds_nothing() {
    for user in [As::User, As::Root] {
        let world = World::new(user, &["api.openai.com"], Router::echo());
        world.chiton.secret("openai", KEY);
        world.chiton.write_workspace("search.py", search_for(&[KEY]));
        let script = "curl -sS -X POST -d '{}' https://api.openai.com/v1/chat/completions > answer; sleep 30 & \
                      /usr/bin/python3 search.py; kill %1 2>/dev/null; env | grep -c needle; true";
        let outcome = world.sh(policy(), script).expect_success();
        assert!(outcome.stdout.starts_with("NOTHING\n0"), "{outcome:?}");
        let received = world.upstream.requests();
        assert_eq!(
            received[0].header("authorization"),
            Some(format!("Bearer {KEY}").as_str()),
            "the key was used"
        );
        assert!(world.chiton.files_holding(KEY.as_bytes()).is_empty(), "no file of ours holds it in plain");
    }
}

#[test]
fn an_echo_in_any_promised_form_comes_back_without_it() {
    let world = World::new(
        As::User,
        &["api.openai.com"],
        Router::new().any("/v1/chat/completions", |mut received| async move {
            // As a server of models does; an answer that is whole before the request is ends curl 7.88 with 92.
            let _ = received.body().await;
            let coding = received.query("coding").unwrap_or_default();
            chiton_testkit::routes::encode::answer_request(&coding, &received)
        }),
    );
    world.chiton.secret("openai", KEY);
    let script = r#"
import base64, gzip, subprocess, sys, zlib, urllib.parse
secret = ("sk-needle-" + "2d41f0c9a7b35e68").encode()
leaks = []
codings = ["identity", "header", "gzip", "deflate", "deflate-raw", "br", "zstd", "percent", "base64", "base64url", "base64-1", "base64-2"]
for coding in codings:
    for version in ("--http1.1", "--http2"):
        for split in ("0", "7", "25", "33"):
            url = f"https://api.openai.com/v1/chat/completions?coding={coding}&split={split}"
            raw = subprocess.run(["curl", "-sS", "-i", version, "-X", "POST", "-d", "{}", url], capture_output=True)
            data = raw.stdout
            forms = [secret, urllib.parse.quote(secret).encode()]
            for pad in range(3):
                inner = base64.b64encode(b"x" * pad + secret)
                forms.append(inner[4 if pad else 0:-4])
                forms.append(base64.urlsafe_b64encode(b"x" * pad + secret)[4 if pad else 0:-4])
            decoded = data + urllib.parse.unquote_to_bytes(data)
            if any(f in decoded for f in forms): leaks.append((coding, version, split))
            if raw.returncode != 0 or not data: leaks.append((coding, version, split, raw.returncode, raw.stderr, data[:500]))
print(leaks)
"#;
    world.chiton.write_workspace("ask.py", script);
    let policy = world.chiton.policy(policy());
    let outcome = world.chiton.sandboxed(&policy, &["/usr/bin/python3", "ask.py"]).expect_success();
    assert_eq!(outcome.stdout, "[]\n", "{outcome:?}");
    assert!(!world.upstream.requests().is_empty());
}

/// The same of a rule's credential: it is looked for everywhere while the program that used it still runs.
#[test]
fn nor_is_that_of_a_rule_found_anywhere() {
    let world = World::echo(&["api.example.com"]);
    world.chiton.secret("key", KEY);
    world.chiton.write_workspace("search.py", search_for(&[KEY]));
    let policy = chiton_tests::http_policy(&[
        "{host: api.example.com, paths: [/header], credential: {secret: 'local://key', header: x-own, env: OWN_KEY}}",
        "{host: api.example.com, paths: [/basic], credential: {secret: 'local://key', basic: {user: me}}}",
        "{host: api.example.com, paths: [/query], credential: {secret: 'local://key', query: key}}",
        "{host: api.example.com, paths: ['/encode/*']}",
    ]);
    let script = "for place in header basic query; do curl -sS https://api.example.com/$place > answer-$place; done; \
        curl -sS http://chiton.internal/policy > policy; sleep 30 & \
        /usr/bin/python3 search.py; kill %1 2>/dev/null; echo $OWN_KEY; env | grep -c needle; true";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "NOTHING\nchiton-placeholder\n0\n", "{outcome:?}");
    assert_eq!(world.upstream.requests().iter().filter(|seen| seen.contains(KEY)).count(), 2, "it was used");
    let told = std::fs::read_to_string(world.chiton.workspace().join("policy")).expect("a policy");
    assert!(!told.contains("local://"), "{told}");
    assert!(world.chiton.files_holding(KEY.as_bytes()).is_empty());
}

#[test]
fn an_echo_of_a_rules_credential_comes_back_without_it() {
    let router = Router::new().any("/", |received| async move {
        let coding = received.query("coding").unwrap_or_default();
        chiton_testkit::routes::encode::answer_request(&coding, &received)
    });
    let world = World::new(As::User, &["api.example.com"], router);
    world.chiton.secret("key", KEY);
    let script = r#"
import base64, subprocess
secret = ("sk-needle-" + "2d41f0c9a7b35e68").encode()
leaks, cleaned, cut = [], 0, 0
undone = ["gzip", "deflate", "deflate-raw", "br", "zstd"]
codings = ["identity", "header", "gzip", "deflate", "deflate-raw", "br", "zstd", "percent", "base64", "base64url", "base64-1", "base64-2"]
for place, header in (("header", "x-own"), ("basic", "authorization"), ("cookie", "cookie")):
    sent = [secret, base64.b64encode(b"me:" + secret)]
    forms = []
    for value in sent:
        forms += [value, b"".join(b"%%%02X" % byte for byte in value)]
        for pad in range(3):
            for encode in (base64.b64encode, base64.urlsafe_b64encode):
                forms.append(encode(b"x" * pad + value)[4 if pad else 0:-4])
    for coding in codings:
        for version in ("--http1.1", "--http2"):
            for split in ("0", "33", "51"):
                url = f"https://api.example.com/{place}?coding={coding}&header={header}&split={split}"
                asks = ["curl", "-sS", "-i", version, url]
                raw = subprocess.run(asks + ["-H", "accept-encoding: gzip"], capture_output=True)
                if raw.returncode or any(form in raw.stdout for form in forms): leaks.append((place, coding, version, split, raw))
                cleaned += b"[redacted]" in raw.stdout
                # What nobody asked to be coded stays so, or is cut before there is anything of it.
                if coding not in undone: continue
                raw = subprocess.run(asks, capture_output=True)
                body = raw.stdout.partition(b"\r\n\r\n")[2]
                if not raw.returncode or body: leaks.append((place, coding, version, split, raw))
                cut += raw.returncode != 0
print(leaks, cleaned, cut)
"#;
    world.chiton.write_workspace("ask.py", script);
    let policy = world.chiton.policy(&chiton_tests::http_policy(&[
        "{host: api.example.com, paths: [/header], credential: {secret: 'local://key', header: x-own}}",
        "{host: api.example.com, paths: [/basic], credential: {secret: 'local://key', basic: {user: me}}}",
        "{host: api.example.com, paths: [/cookie], credential: {secret: 'local://key', cookie: own}}",
    ]));
    let outcome = world.chiton.sandboxed(&policy, &["/usr/bin/python3", "ask.py"]).expect_success();
    assert_eq!(outcome.stdout, "[] 216 90\n", "{outcome:?}");
}

/// What one rule's credential left at a host could be asked for by another rule, which has none.
#[test]
fn what_a_host_keeps_of_it_is_not_fetched_by_another_rule() {
    let kept = Router::new().any("/", |_| async { chiton_testkit::server::answer(200, "text/plain", KEY) });
    let world = World::new(As::User, &["api.example.com"], kept);
    world.chiton.secret("key", KEY);
    let policy = chiton_tests::http_policy(&[
        "{host: api.example.com, paths: [/mine], credential: 'local://key'}",
        "{host: api.example.com, paths: [/kept]}",
    ]);
    let script = "for version in --http1.1 --http2; do curl -sS $version https://api.example.com/kept; echo; \
        curl -sS $version -r 0-9 https://api.example.com/kept; echo; done";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "[redacted]\n".repeat(4), "{outcome:?}");
    assert!(
        world.upstream.requests().iter().all(|seen| seen.header("range").is_none() && !seen.contains(KEY))
    );
}
