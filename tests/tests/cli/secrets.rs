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
