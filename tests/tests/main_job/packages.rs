//! `pip install` and `npm install` from registries of the test kit.

use chiton_testkit::routes::{Router, npm, pypi};
use chiton_tests::{As, World};

#[test]
fn pip_install() {
    let router = Router::new().any("/", pypi::answer_request);
    let world = World::new(As::User, &["pypi.org", "files.pythonhosted.org"], router);
    // The kit's index serves its files itself.
    let policy = include_str!("../../../examples/policies/pip.yaml")
        .replace("[/simple/**]", "[/simple/**, /packages/**]");
    let script = "set -e; /usr/bin/python3 -m pip install -q --disable-pip-version-check --break-system-packages --target lib greeter; \
        PYTHONPATH=lib /usr/bin/python3 -c 'import greeter; print(greeter.GREETING)'";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "hello from greeter\n", "{outcome:?}");
}

#[test]
fn npm_install_with_a_scoped_package() {
    let router = Router::new().any("/", npm::answer_request);
    let world = World::new(As::User, &["registry.npmjs.org"], router);
    let policy = include_str!("../../../examples/policies/npm.yaml");
    let script = "set -e; npm install --silent --no-fund left-pad @scope/name; \
        node -e 'console.log(require(\"left-pad\")); console.log(require(\"@scope/name\"))'";
    let outcome = world.sh(policy, script).expect_success();
    assert_eq!(outcome.stdout, "hello from left-pad\nhello from @scope/name\n", "{outcome:?}");
    let scoped =
        world.upstream.requests().into_iter().find(|r| r.target.contains("scope")).expect("asked for");
    assert!(scoped.target.eq_ignore_ascii_case("/@scope%2fname"), "{scoped:?}");
}

/// Both, by nothing but presets and a rule for what only the kit's index does.
#[test]
fn pip_and_npm_by_presets() {
    let router = Router::new().any("/simple", pypi::answer_request).any("/packages", pypi::answer_request);
    let router = router.any("/", npm::answer_request);
    let world = World::new(As::User, &["pypi.org", "registry.npmjs.org"], router);
    let policy = "extends: [npm-install, pypi-install]\n\
        static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
        dynamic: {network: {http: [{host: pypi.org, paths: ['/packages/**']}]}}\n";
    let script = "set -e; /usr/bin/python3 -m pip install -q --disable-pip-version-check --break-system-packages --target lib greeter; \
        PYTHONPATH=lib /usr/bin/python3 -c 'import greeter; print(greeter.GREETING)'; \
        npm install --silent --no-fund left-pad @scope/name; node -e 'console.log(require(\"@scope/name\"))'; \
        curl -sS -o /dev/null -w '%{http_code}\\n' -X PUT https://registry.npmjs.org/left-pad";
    let outcome = world.sh(policy, script).expect_success();
    assert_eq!(outcome.stdout, "hello from greeter\nhello from @scope/name\n403\n", "{outcome:?}");
}
