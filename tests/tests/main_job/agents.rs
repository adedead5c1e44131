//! Coding agents from the npm registry, doing a task against a scripted model.

use chiton_testkit::routes::{Router, openai, scripts};
use chiton_tests::{
    As, World, packages,
    workloads::{self, KEY},
};

#[test]
fn claude_code() {
    let claude = workloads::claude_code();
    let world = claude.world(As::User);
    let _ = claude.natively(&world);
    let asked = world.upstream.requests();
    assert!(asked.iter().any(|r| r.target.starts_with("/v1/messages")), "{asked:?}");
    assert!(asked.iter().all(|r| r.header("x-api-key") == Some(KEY)), "{asked:?}");
}

#[test]
fn claude_code_with_chat_completions_behind() {
    let world = World::new(As::User, &["api.openai.com"], Router::new().any("/", scripts::answer_chat));
    world.chiton.secret("openai", KEY);
    let node = packages("node").display().to_string();
    let policy = include_str!("../../../examples/policies/claude-code.yaml");
    let policy = policy.replace("provider: anthropic", "provider: anthropic\n    backend: openai");
    let policy = world.chiton.policy(&policy.replace("local://anthropic", "local://openai"));
    let program = format!("{node}/node_modules/.bin/claude");
    let policy = policy.to_str().expect("a path");
    let arguments = ["run", "--rm", "-p", policy, "-r", &node, "--", &program, "-p", "say hello"];
    let outcome = world.chiton.run(&arguments).expect_success();
    assert!(outcome.stdout.contains("Hello from the scripted model."), "{outcome:?}");
    let asked = world.upstream.requests();
    assert!(asked.iter().any(|r| r.target == "/v1/chat/completions"), "{asked:?}");
    let key = format!("Bearer {KEY}");
    assert!(asked.iter().all(|r| r.header("authorization") == Some(&key) && r.header("x-api-key").is_none()));
}

#[test]
fn codex() {
    let world = World::new(As::User, &["api.openai.com"], Router::new().any("/", openai::answer_request));
    world.chiton.secret("openai", KEY);
    let node = packages("node").display().to_string();
    let policy = world.chiton.policy(include_str!("../../../examples/policies/codex.yaml"));
    let program = format!("{node}/node_modules/.bin/codex");
    let arguments = [
        "run",
        "--rm",
        "-p",
        policy.to_str().expect("a path"),
        "-r",
        &node,
        "-e",
        "CODEX_API_KEY=chiton-placeholder",
        "--",
        &program,
        "exec",
        "--skip-git-repo-check",
        "--dangerously-bypass-approvals-and-sandbox",
        "say hello",
    ];
    let outcome = world.chiton.run(&arguments).expect_success();
    assert!(outcome.stdout.contains("Hello from the scripted model."), "{outcome:?}");
    let asked = world.upstream.requests();
    assert!(asked.iter().any(|r| r.target.starts_with("/v1/responses")), "{asked:?}");
    assert!(
        asked.iter().all(|r| r.header("authorization") == Some(format!("Bearer {KEY}").as_str())),
        "{asked:?}"
    );
}
