//! `pip install` and `npm install` from registries of the test kit.

use chiton_testkit::routes::{Router, npm, pypi};
use chiton_tests::{As, World, workloads};

#[test]
fn pip_install() {
    let pip = workloads::pip();
    let outcome = pip.natively(&pip.world(As::User));
    assert_eq!(outcome.stdout, pip.says, "{outcome:?}");
}

#[test]
fn npm_install_with_a_scoped_package() {
    let npm = workloads::npm();
    let world = npm.world(As::User);
    let outcome = npm.natively(&world);
    assert_eq!(outcome.stdout, npm.says, "{outcome:?}");
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
