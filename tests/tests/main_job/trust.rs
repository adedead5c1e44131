//! Programs that bring their own TLS trust the sandbox's authority without being configured.

use chiton_tests::{World, http_policy, packages};

const RULE: &str = "{host: api.github.com}";

fn prints_ok(script: &str) {
    let world = World::echo(&["api.github.com"]);
    let outcome = world.sh(&http_policy(&[RULE]), script).expect_success();
    assert_eq!(outcome.stdout.trim(), "200", "{outcome:?}");
}

#[test]
fn pythons_ssl() {
    prints_ok(
        "/usr/bin/python3 -c 'import urllib.request as u; print(u.urlopen(\"https://api.github.com/\").status)'",
    );
}

#[test]
fn pythons_requests() {
    prints_ok(
        "/usr/bin/python3 -c 'import requests; print(requests.get(\"https://api.github.com/\").status_code)'",
    );
}

#[test]
fn pythons_httpx() {
    let world = World::echo(&["api.github.com"]);
    let python = packages("python").display().to_string();
    let policy = world.chiton.policy(&http_policy(&[RULE]));
    let variable = format!("PYTHONPATH={python}");
    let script = "import httpx; print(httpx.get('https://api.github.com/').status_code)";
    let arguments =
        ["run", "--rm", "-p", policy.to_str().expect("a path"), "-r", &python, "-e", &variable, "--"];
    let program = ["/usr/bin/python3", "-c", script];
    let outcome = world.chiton.run(&[&arguments[..], &program].concat()).expect_success();
    assert_eq!(outcome.stdout, "200\n", "{outcome:?}");
}

#[test]
fn openssl() {
    let script = "echo | openssl s_client -connect api.github.com:443 -servername api.github.com -verify_return_error \
                  2>/dev/null | grep -q 'Verify return code: 0' && echo 200";
    prints_ok(script);
}

#[test]
fn node() {
    prints_ok("node -e 'fetch(\"https://api.github.com/\").then(r => console.log(r.status))'");
}

#[test]
fn a_static_go_program() {
    let world = World::echo(&["api.github.com"]);
    let ask = packages("ask").display().to_string();
    let policy = world.chiton.policy(&http_policy(&[RULE])).display().to_string();
    let program = format!("{ask}/ask");
    let arguments = ["run", "--rm", "-p", &policy, "-r", &ask, "--", &program, "https://api.github.com/"];
    let outcome = world.chiton.run(&arguments).expect_success();
    assert_eq!(outcome.stdout, "200\n", "{outcome:?}");
}
