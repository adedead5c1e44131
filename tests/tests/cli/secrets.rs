//! `chiton secret`: in, listed, removed; never out, never in the clear.

use chiton_testkit::{As, Chiton};

#[test]
fn values_go_in_and_never_come_out() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        let value = "sk-test-0123456789abcdef";
        let stored =
            chiton.run_with(&["secret", "set", "openai", "--host", "api.openai.com"], &format!("{value}\n"));
        assert_eq!((stored.status, stored.stdout.as_str()), (0, ""));
        let list = chiton.run(&["secret", "ls", "--json"]).json();
        assert_eq!(list[0]["name"], "openai");
        assert_eq!(list[0]["hosts"][0], "api.openai.com");
        assert!(!chiton.run(&["secret", "ls"]).stdout.contains(value));
        assert_eq!(chiton.files_holding(value.as_bytes()), Vec::<std::path::PathBuf>::new());
        let _ = chiton.run(&["secret", "rm", "openai"]).expect_success();
        assert_eq!(chiton.run(&["secret", "ls", "--json"]).json().as_array().map(Vec::len), Some(0));
        assert_eq!(chiton.run(&["secret", "rm", "openai"]).status, 1);
    }
}

#[test]
fn an_empty_value_or_a_wrong_name_is_refused() {
    let chiton = Chiton::new(As::User);
    assert_eq!(chiton.run_with(&["secret", "set", "openai"], "\n").status, 1);
    assert_eq!(chiton.run_with(&["secret", "set", "../escape"], "value").status, 1);
    assert_eq!(chiton.run_with(&["secret", "set", ""], "value").status, 1);
}

#[test]
fn a_value_is_rotated_with_its_hosts_and_tested_without_being_shown() {
    let chiton = Chiton::new(As::User);
    let (first, second) = ("sk-first-0123456789abcdef", "sk-second-0123456789abcdef");
    let missing = chiton.run_with(&["secret", "rotate", "openai"], first).expect_status(1);
    assert!(missing.stderr.contains("no secret `openai`"), "{missing:?}");
    let _ = chiton.run_with(&["secret", "set", "openai", "--host", "api.openai.com"], first).expect_success();
    let test = || chiton.run(&["secret", "test", "local://openai", "--json"]).expect_success();
    assert_eq!(test().json()["length"], first.len());
    let _ = chiton.run_with(&["secret", "rotate", "openai"], second).expect_success();
    assert_eq!(test().json()["length"], second.len());
    assert_eq!(test().json()["hosts"][0], "api.openai.com");
    let shown = chiton.run(&["secret", "test", "local://openai"]).expect_success();
    assert!(shown.stdout.contains("26 bytes") && !shown.stdout.contains("sk-"), "{shown:?}");
    for (reference, said) in [
        ("local://none", "chiton secret set none"),
        ("vault://llm/openai", "`[vault]` of config.toml names no server"),
        ("hunter22", "not a secret reference"),
    ] {
        let refused = chiton.run(&["secret", "test", reference]).expect_status(1);
        assert!(refused.stderr.contains(said) && !refused.stderr.contains("hunter22"), "{refused:?}");
    }
}

#[test]
fn the_stores_key_is_changed_and_the_next_gateway_needs_the_new_one() {
    let mut chiton = Chiton::new(As::User);
    let nothing = chiton.run(&["secret", "rekey"]).expect_status(1);
    assert!(nothing.stderr.contains("nothing is stored yet"), "{nothing:?}");
    chiton.secret("openai", "sk-first-0123456789abcdef");
    let before = std::fs::read(chiton.path("state/secrets.key")).expect("a key");
    let _ = chiton.run(&["secret", "rekey"]).expect_success();
    assert_ne!(std::fs::read(chiton.path("state/secrets.key")).expect("a key"), before);
    let test = |chiton: &Chiton| chiton.run(&["secret", "test", "local://openai"]);
    let _ = test(&chiton).expect_success();
    let changed = chiton.run_with(&["secret", "rekey", "--to", "passphrase"], "correct horse battery\n");
    assert!(changed.expect_success().stderr.contains("CHITON_SECRETS_PASSPHRASE"));
    let _ = test(&chiton).expect_success();
    let _ = chiton.run(&["gateway", "stop"]).expect_success();
    assert!(test(&chiton).expect_status(1).stderr.contains("passphrase"));
    let _ = chiton.run(&["gateway", "stop"]).expect_success();
    chiton.variable("CHITON_SECRETS_PASSPHRASE", "correct horse battery");
    let _ = test(&chiton).expect_success();
}
