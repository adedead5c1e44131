//! `chiton init`, `completions`, `man`, help.

use chiton_testkit::{As, Chiton};

#[test]
fn init_writes_a_policy_that_runs_and_never_overwrites() {
    let chiton = Chiton::new(As::User);
    let wrote = chiton.run(&["init"]).expect_status(0);
    assert!(wrote.stdout.contains("next: chiton run"), "{wrote:?}");
    assert_eq!(chiton.run(&["policy", "check"]).status, 0);
    assert_eq!(chiton.run(&["run", "--rm", "--", "true"]).status, 0);
    let again = chiton.run(&["init", "--agent", "codex"]).expect_status(1);
    assert!(again.stderr.contains("was left as it is"), "{again:?}");
}

#[test]
fn init_knows_agents_and_says_what_they_need() {
    for (agent, provider) in [("claude-code", "anthropic"), ("codex", "openai"), ("opencode", "openai")] {
        let chiton = Chiton::new(As::User);
        let wrote = chiton.run(&["init", "--agent", agent]).expect_status(0);
        assert!(
            wrote.stdout.contains(&format!(
                "chiton secret set {provider} --host api.{provider}.com && chiton run -- "
            )),
            "{wrote:?}"
        );
        assert_eq!(chiton.run(&["policy", "check"]).status, 0);
    }
}

#[test]
fn scripts_pages_and_help_come_without_a_gateway() {
    let chiton = Chiton::new(As::User);
    for arguments in [
        &["completions", "bash"][..],
        &["completions", "zsh"],
        &["completions", "fish"],
        &["man"],
        &["--help"],
        &["run", "--help"],
        &["--version"],
        &[],
    ] {
        let outcome = chiton.run(arguments).expect_status(0);
        assert!(!outcome.stdout.is_empty() && outcome.stderr.is_empty(), "{arguments:?} {outcome:?}");
    }
    assert_eq!(chiton.processes(), Vec::<u32>::new());
}
