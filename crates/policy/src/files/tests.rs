//! Examples of what is given, protected and denied.

use super::{FileRules, FileScope, FileVerdict};
use crate::{
    model::{DeniedPattern, FilesystemRules, PolicyPath, Protection},
    patterns::FileGlob,
};

fn scope() -> FileScope {
    FileScope {
        home: "/home/u".into(),
        policy_file: Some("/workspace/chiton.yaml".into()),
        own_folders: vec!["/home/u/.local/state/chiton".into()],
        extra_read_only: vec!["/opt/tool".into()],
        git_at_start: true,
    }
}

fn rules(unprotected: &[Protection], scope: &FileScope) -> FileRules {
    let path = |text| PolicyPath::parse_given(text).unwrap();
    let filesystem = FilesystemRules {
        allowed: vec![path("/workspace"), path("/tmp")],
        read_only: vec![path("~/.cargo"), path("/workspace/vendor")],
        denied: vec![
            DeniedPattern::Literal(path("/workspace/.env")),
            DeniedPattern::Glob(FileGlob::parse("**/*.pem").unwrap()),
            DeniedPattern::Glob(FileGlob::parse("**/keys/prod").unwrap()),
            DeniedPattern::Literal(path("~/.cargo/credentials.toml")),
        ],
        unprotected: unprotected.to_vec(),
        ..FilesystemRules::default()
    };
    FileRules::new(&filesystem, scope).unwrap()
}

#[test]
fn judged_by_path() {
    let rules = rules(&[], &scope());
    for (path, verdict) in [
        ("/workspace", FileVerdict::ReadWrite),
        ("/workspace/src/main.rs", FileVerdict::ReadWrite),
        ("/workspacex", FileVerdict::Outside),
        ("/workspace/.env", FileVerdict::Denied),
        ("/workspace/.env/below", FileVerdict::Denied),
        ("/workspace/.env.example", FileVerdict::ReadWrite),
        ("/workspace/a/b.pem", FileVerdict::Denied),
        ("/workspace/keys/prod/x", FileVerdict::Denied),
        ("/workspace/vendor/x", FileVerdict::ReadOnly),
        ("/home/u/.cargo/bin/cargo", FileVerdict::ReadOnly),
        ("/home/u/.cargo/credentials.toml", FileVerdict::Denied),
        ("/home/u/.local/state/chiton/chiton.db", FileVerdict::Denied),
        ("/opt/tool/x", FileVerdict::ReadOnly),
        ("/etc/passwd", FileVerdict::Outside),
        ("/workspace/.git/hooks/pre-commit", FileVerdict::Protected(Protection::GitHooks)),
        ("/workspace/.git/config", FileVerdict::Protected(Protection::GitConfig)),
        ("/workspace/.git/config.lock", FileVerdict::ReadWrite),
        ("/workspace/.git/config.worktree", FileVerdict::Protected(Protection::GitConfig)),
        ("/workspace/.git/commondir", FileVerdict::Protected(Protection::GitConfig)),
        ("/workspace/.git/worktrees/a/commondir", FileVerdict::ReadWrite),
        ("/workspace/.git", FileVerdict::Protected(Protection::GitFile)),
        ("/workspace/.git/objects/aa", FileVerdict::ReadWrite),
        ("/workspace/.envrc", FileVerdict::Protected(Protection::Envrc)),
        ("/workspace/.vscode/tasks.json", FileVerdict::Protected(Protection::Vscode)),
        ("/workspace/chiton.yaml", FileVerdict::Protected(Protection::PolicyFile)),
        ("/workspace/clone/.git/hooks/x", FileVerdict::ReadWrite),
    ] {
        assert_eq!(rules.judge(path.as_bytes()), verdict, "{path}");
    }
}

#[test]
fn protections_are_lifted_by_name() {
    let rules = rules(&[Protection::GitConfig], &scope());
    assert_eq!(rules.judge(b"/workspace/.git/config"), FileVerdict::ReadWrite);
    assert_eq!(rules.judge(b"/workspace/.git/commondir"), FileVerdict::ReadWrite);
    assert_eq!(rules.judge(b"/workspace/.git/hooks"), FileVerdict::Protected(Protection::GitHooks));
}

#[test]
fn the_policy_of_the_next_start_is_protected_before_there_is_one() {
    let rules = rules(&[], &FileScope { policy_file: None, ..scope() });
    assert_eq!(rules.judge(b"/workspace/chiton.yaml"), FileVerdict::Protected(Protection::PolicyFile));
    assert_eq!(rules.judge(b"/workspace/examples/chiton.yaml"), FileVerdict::ReadWrite);
}

#[test]
fn a_git_folder_that_the_agent_made_is_its_own() {
    let rules = rules(&[], &FileScope { git_at_start: false, ..scope() });
    assert_eq!(rules.judge(b"/workspace/.git/hooks/x"), FileVerdict::ReadWrite);
    assert_eq!(rules.judge(b"/workspace/.git"), FileVerdict::Protected(Protection::GitFile));
}

#[test]
fn parents_stay_where_they_are() {
    let rules = rules(&[], &scope());
    assert!(rules.holds_below(b"/workspace"));
    assert!(rules.holds_below(b"/workspace/.git"));
    assert!(!rules.holds_below(b"/workspace/src"));
    assert!(!rules.holds_below(b"/workspace/.env"));
}

#[test]
fn a_rename_must_not_hide() {
    let rules = rules(&[], &scope());
    let hides = |from: &str, to: &str| rules.rename_could_hide(from.as_bytes(), to.as_bytes());
    assert!(!hides("/workspace/src", "/workspace/lib"));
    assert!(!hides("/workspace/src", "/tmp/src"));
    assert!(hides("/workspace/keys", "/workspace/k"));
    assert!(hides("/workspace/.git", "/workspace/git"));
    assert!(!hides("/workspace/a/keys", "/workspace/b/keys"));
}

#[test]
fn another_spelling_is_near() {
    let rules = rules(&[], &scope());
    assert!(rules.is_near(b"/workspace/.ENV"));
    assert!(rules.is_near(b"/workspace/.GIT/hooks/x"));
    assert!(rules.is_near("/workspace/.\u{1d07}nv".as_bytes()));
    assert!(!rules.is_near(b"/workspace/.env"));
    assert!(!rules.is_near(b"/workspace/src"));
}

#[test]
fn what_would_give_too_much_is_refused() {
    let path = PolicyPath::parse_given("/home/u").unwrap();
    let filesystem = FilesystemRules { read_only: vec![path], ..FilesystemRules::default() };
    let refused = FileRules::new(&filesystem, &scope()).unwrap_err();
    assert!(refused.to_string().contains("`/home/u`"), "{refused}");
}
