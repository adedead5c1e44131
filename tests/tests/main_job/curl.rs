//! curl, over HTTP/1.1 and HTTP/2, under the reference policy.

use chiton_testkit::routes::Router;
use chiton_tests::{As, REFERENCE, World};

fn world(user: As) -> World {
    let world = World::new(user, &["api.github.com", "registry.npmjs.org", "evil.example"], Router::echo());
    world.chiton.secret("openai", "sk-backend-0123456789abcdef");
    world
}

fn allowed_and_refused(user: As, version: &str) {
    let world = world(user);
    let script = format!(
        "curl -sS {version} https://api.github.com/repos/octocat; echo; \
         curl -sS {version} -w '%{{http_code}} %header{{x-chiton-denied}}\\n' https://api.github.com/repos/o/n; \
         curl -sS {version} -o /dev/null -w '%{{http_code}} %header{{x-chiton-denied}}\\n' -X PUT https://registry.npmjs.org/x; \
         curl -sS {version} -o /dev/null -w '%{{http_code}} %header{{x-chiton-denied}}\\n' https://evil.example/"
    );
    let outcome = world.sh(REFERENCE, &script).expect_success();
    assert!(outcome.stdout.contains("\"target\":\"/repos/octocat\""), "{outcome:?}");
    assert!(outcome.stdout.contains("\"reason\":\"path_not_allowed\""), "{outcome:?}");
    assert!(outcome.stdout.contains("403 path_not_allowed"), "{outcome:?}");
    assert!(outcome.stdout.contains("403 method_not_allowed"), "{outcome:?}");
    assert!(outcome.stdout.contains("403 host_not_allowed"), "{outcome:?}");
    assert!(outcome.stderr.contains("3 attempts were refused"), "{outcome:?}");
    let seen = world.upstream.requests();
    assert_eq!(seen.iter().map(|r| r.target.as_str()).collect::<Vec<_>>(), ["/repos/octocat"]);
}

#[test]
fn http1_as_an_ordinary_user() {
    allowed_and_refused(As::User, "--http1.1");
}

#[test]
fn http2_as_an_ordinary_user() {
    allowed_and_refused(As::User, "--http2");
}

#[test]
fn http1_as_root() {
    allowed_and_refused(As::Root, "--http1.1");
}

#[test]
fn every_combination_of_versions() {
    for upstream_h2 in [true, false] {
        let mut world = world(As::User);
        if !upstream_h2 {
            world.upstream =
                chiton_testkit::server::Upstream::tls_http1(&world.ca, &["api.github.com"], Router::echo());
            let address = world.upstream.address();
            world.chiton.resolve("api.github.com:443", address);
        }
        let script = "for v in --http1.1 --http2; do curl -sS $v -o /dev/null -w '%{http_version}\\n' \
                      https://api.github.com/repos/octocat; done";
        let outcome = world.sh(REFERENCE, script).expect_success();
        assert_eq!(outcome.stdout, "1.1\n2\n", "{outcome:?}");
        let protocol = if upstream_h2 { "HTTP/2.0" } else { "HTTP/1.1" };
        assert!(
            world.upstream.requests().iter().all(|r| r.protocol == protocol),
            "{:?}",
            world.upstream.requests()
        );
    }
}

#[test]
fn events_are_streamed_as_they_come() {
    let world = world(As::User);
    let policy = chiton_tests::http_policy(&["{host: api.github.com}"]);
    // The first of two events, two seconds apart, arrives more than a second before the end.
    let script = "curl -sSN 'https://api.github.com/sse?n=2&ms=2000' | while read -r line; do \
                  case $line in data*) date +%s%3N;; esac; done";
    let outcome = world.sh(&policy, script).expect_success();
    let times: Vec<i64> = outcome.stdout.lines().filter_map(|l| l.parse().ok()).collect();
    assert_eq!(times.len(), 2, "{outcome:?}");
    assert!(times[1] - times[0] > 1000, "{outcome:?}");
}

#[test]
fn large_bodies_both_ways() {
    let world = world(As::User);
    let policy = chiton_tests::http_policy(&["{host: api.github.com, methods: ['*']}"]);
    let script = "curl -sS 'https://api.github.com/bytes?n=50000000' | wc -c; \
                  head -c 20000000 /dev/zero | curl -sS -T - https://api.github.com/upload";
    let outcome = world.sh(&policy, script).expect_success();
    assert_eq!(outcome.stdout, "50000000\n{\"length\":20000000}", "{outcome:?}");
}
