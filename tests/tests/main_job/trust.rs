//! Programs that bring their own TLS trust the sandbox's authority without being configured.

use std::process::Command;

use chiton_tests::{World, http_policy};

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
    let python = chiton_tests::packages("python").display().to_string();
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
    let source = "package main\nimport (\"fmt\"; \"net/http\")\nfunc main() {\n\
        \tr, err := http.Get(\"https://api.github.com/\")\n\tif err != nil { panic(err) }\n\tfmt.Println(r.StatusCode)\n}\n";
    let folder = tempfile::tempdir().expect("a folder");
    std::fs::write(folder.path().join("main.go"), source).expect("the source");
    let built = Command::new("go")
        .args(["build", "-o", "ask", "main.go"])
        .current_dir(folder.path())
        .env("CGO_ENABLED", "0")
        .env("GO111MODULE", "off")
        .env("GOCACHE", folder.path().join("cache"))
        .status()
        .expect("component missing: go; `cargo xtask setup`");
    assert!(built.success());
    let program =
        world.chiton.write_workspace("ask", std::fs::read(folder.path().join("ask")).expect("built"));
    std::fs::set_permissions(program, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("mode");
    let outcome = world.sh(&http_policy(&[RULE]), "./ask").expect_success();
    assert_eq!(outcome.stdout, "200\n", "{outcome:?}");
}
