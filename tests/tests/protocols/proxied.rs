//! Programs that were told to use a proxy: curl, git, pip and npm, with the variables and options that they read.

use std::process::Command;

use chiton_testkit::{
    Upstream,
    routes::{Router, git, npm, pypi},
};
use chiton_tests::{As, Outcome, World, http_policy};

const PROXY: &str = "export HTTP_PROXY=http://proxy.chiton.internal:3128 HTTPS_PROXY=http://proxy.chiton.internal:3128 \
                     http_proxy=http://proxy.chiton.internal:3128 https_proxy=http://proxy.chiton.internal:3128; set -e; ";

fn told(world: &World, policy: &str, script: &str) -> Outcome {
    world.sh(policy, &format!("{PROXY}{script}")).expect_success()
}

#[test]
fn curl_by_option_and_by_variable() {
    let mut world = World::echo(&["api.example.com"]);
    let plain = Upstream::plain(Router::echo());
    world.chiton.resolve("plain.example.com:80", plain.address());
    let policy = http_policy(&[
        "{host: api.example.com, paths: [/allowed]}",
        "{host: plain.example.com, scheme: http, paths: [/allowed]}",
    ]);
    // Whatever the proxy is called, and over either version.
    let script = "for proxy in http://anything:3128 http://192.0.2.1:8080 http://proxy.chiton.internal:3128; do \
          for v in --http1.1 --http2; do for url in https://api.example.com http://plain.example.com http://evil.example.com https://evil.example.com; do \
            curl -sS $v -x $proxy -o /dev/null -w '%{http_code} %header{x-chiton-denied}\\n' $url/allowed; done; done; done; \
          curl -sS -p -x http://anything:3128 -o /dev/null -w '%{http_code}\\n' http://plain.example.com/allowed; \
          curl -sS -x http://anything:3128 -o /dev/null -w '%{http_code} %header{x-chiton-denied}\\n' https://api.example.com/other";
    let outcome = world.sh(&policy, script).expect_success();
    let once = "200 \n200 \n403 host_not_allowed\n403 host_not_allowed\n";
    assert_eq!(outcome.stdout, format!("{}200\n403 path_not_allowed\n", once.repeat(6)), "{outcome:?}");
    assert!(world.upstream.requests().iter().all(|seen| seen.target == "/allowed"));
    assert_eq!((world.upstream.requests().len(), plain.requests().len()), (6, 7));
    // By what the variables say.
    let outcome =
        told(&world, &policy, "curl -sS -o /dev/null -w '%{http_code}' https://api.example.com/allowed");
    assert_eq!(outcome.stdout, "200", "{outcome:?}");
    // Nothing was looked up for a tunnel but the proxy's own name.
    let looked: Vec<_> = world
        .chiton
        .audit(&[])
        .into_iter()
        .filter(|event| event["action"] == "stand_in")
        .map(|event| event["request"]["host"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(looked.iter().all(|name| !name.contains("example")), "{looked:?}");
}

#[test]
fn a_host_that_a_rule_names_is_no_proxy() {
    let world = World::echo(&["api.example.com"]);
    let policy = http_policy(&["{host: api.example.com}"]);
    let script = "curl -sS -x http://api.example.com:80 -o /dev/null -w '%{http_code} %{http_connect}\\n' https://api.example.com/ || true; \
                  curl -sS -x http://api.example.com:80 -w '%header{x-chiton-denied}\\n' -o /dev/null http://evil.example.com/";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "000 403\nambiguous_request\n", "{outcome:?}");
    assert_eq!(world.upstream.log().connections(), 0);
}

#[test]
fn git_clones() {
    let root = tempfile::tempdir().expect("a folder");
    let made = "set -e; git init -q --bare -b main octocat/hello.git; git init -q -b main work; cd work; echo hello > README; \
                git add README; git -c user.name=t -c user.email=t@example.com commit -qm first; git push -q ../octocat/hello.git main";
    assert!(Command::new("sh").args(["-c", made]).current_dir(root.path()).status().expect("sh").success());
    let served = root.path().to_owned();
    let router = Router::new().any("/", move |received| git::answer_request(served.clone(), received));
    let world = World::new(As::User, &["github.com"], router);
    let policy = include_str!("../../../examples/policies/git.yaml");
    let script = "git clone -q https://github.com/octocat/hello.git a; cat a/README; unset HTTPS_PROXY https_proxy; \
                  git -c http.proxy=http://anything:3128 clone -q https://github.com/octocat/hello.git b; cat b/README";
    let outcome = told(&world, policy, script);
    assert_eq!(outcome.stdout, "hello\nhello\n", "{outcome:?}");
}

#[test]
fn pip_installs() {
    let router = Router::new().any("/", pypi::answer_request);
    let world = World::new(As::User, &["pypi.org", "files.pythonhosted.org"], router);
    let policy = include_str!("../../../examples/policies/pip.yaml")
        .replace("[/simple/**]", "[/simple/**, /packages/**]");
    let script = "/usr/bin/python3 -m pip install -q --disable-pip-version-check --break-system-packages --target lib greeter; \
        PYTHONPATH=lib /usr/bin/python3 -c 'import greeter; print(greeter.GREETING)'";
    let outcome = told(&world, &policy, script);
    assert_eq!(outcome.stdout, "hello from greeter\n", "{outcome:?}");
}

#[test]
fn npm_installs() {
    let world = World::new(As::User, &["registry.npmjs.org"], Router::new().any("/", npm::answer_request));
    let policy = include_str!("../../../examples/policies/npm.yaml");
    let script = "npm install --silent --no-fund left-pad; node -e 'console.log(require(\"left-pad\"))'";
    let outcome = told(&world, policy, script);
    assert_eq!(outcome.stdout, "hello from left-pad\n", "{outcome:?}");
}
