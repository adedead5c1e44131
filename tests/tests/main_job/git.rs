//! `git clone` and `git push` over HTTPS.

use std::{fs, path::Path, process::Command};

use chiton_testkit::routes::{Router, git};
use chiton_tests::{As, World};

const POLICY: &str = include_str!("../../../examples/policies/git.yaml");

fn repository(root: &Path) {
    let script = "set -e; git init -q --bare -b main octocat/hello.git; \
        git -C octocat/hello.git config http.receivepack true; git init -q -b main work; cd work; \
        echo hello > README; git add README; \
        git -c user.name=t -c user.email=t@example.com commit -qm first; git push -q ../octocat/hello.git main";
    let made = Command::new("sh").args(["-c", script]).current_dir(root).status().expect("sh");
    assert!(made.success());
}

fn clone_and_push(user: As) {
    let root = tempfile::tempdir().expect("a folder");
    repository(root.path());
    let served = root.path().to_owned();
    let router = Router::new().any("/", move |received| git::answer_request(served.clone(), received));
    let world = World::new(user, &["github.com"], router);
    let script = "set -e; git clone -q https://github.com/octocat/hello.git; cd hello; cat README; \
        git config user.name agent; git config user.email agent@example.com; \
        echo more >> README; git commit -qam second; git push -q origin main; git log --oneline | wc -l";
    let outcome = world.sh(POLICY, script).expect_success();
    assert_eq!(outcome.stdout, "hello\n2\n", "{outcome:?}");
    let head = Command::new("git")
        .args(["-c", "safe.directory=*", "-C"])
        .arg(root.path().join("octocat/hello.git"))
        .args(["log", "-1", "--format=%s", "main"])
        .output()
        .expect("git");
    assert_eq!(String::from_utf8_lossy(&head.stdout), "second\n");
    assert_eq!(
        fs::read_to_string(world.chiton.workspace().join("hello/README")).expect("it"),
        "hello\nmore\n"
    );

    let other = world.sh(POLICY, "git clone -q https://github.com/octocat/other.git");
    assert_ne!(other.status, 0);
    assert!(other.stderr.contains("403"), "{other:?}");
}

#[test]
fn clone_and_push_as_an_ordinary_user() {
    clone_and_push(As::User);
}

#[test]
fn clone_and_push_as_root() {
    clone_and_push(As::Root);
}

/// `github-read` clones and does not push; together with `github-write` it pushes.
#[test]
fn by_presets() {
    let root = tempfile::tempdir().expect("a folder");
    repository(root.path());
    let served = root.path().to_owned();
    let router = Router::new().any("/", move |received| git::answer_request(served.clone(), received));
    let world = World::new(As::User, &["github.com"], router);
    let policy = |presets: &str| {
        format!("extends: [{presets}]\nstatic: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}}}\n")
    };
    let script = "rm -rf hello; git clone -q https://github.com/octocat/hello.git; cd hello; \
        git config user.name agent; git config user.email agent@example.com; \
        echo more >> README; git commit -qam more; git push -q origin main 2>/dev/null && echo pushed || echo refused";
    let read = world.sh(&policy("github-read"), script).expect_success();
    assert_eq!(read.stdout, "refused\n", "{read:?}");
    let write = world.sh(&policy("github-read, github-write"), script).expect_success();
    assert_eq!(write.stdout, "pushed\n", "{write:?}");
}
