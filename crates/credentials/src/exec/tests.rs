//! Commands that answer, fail, go on, and write too much.

use std::{
    collections::BTreeMap,
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::Path,
    time::{Duration, Instant},
};

use super::{Commands, ExecCommand};
use crate::{Fault, SecretStore};

pub(crate) fn shell(script: &str) -> ExecCommand {
    ExecCommand {
        program: "/bin/sh".into(),
        arguments: vec!["-c".to_owned(), script.to_owned()],
        variables: Vec::new(),
        timeout: Duration::from_secs(10),
        refresh: Duration::from_secs(300),
        keep: Duration::from_secs(3600),
    }
}

fn environment(name: &str) -> Option<OsString> {
    match name {
        "HOME" => Some("/home/of-me".into()),
        "OP_TOKEN" => Some("op-token".into()),
        "OTHER" => Some("never".into()),
        _ => None,
    }
}

async fn run(command: ExecCommand) -> Result<String, Fault> {
    let commands = Commands::new(BTreeMap::from([("a".to_owned(), command)])).with_environment(environment);
    let fetched = commands.fetch(&"exec://a".parse().unwrap()).await?;
    Ok(String::from_utf8(fetched.value.dangerous_expose().to_vec()).unwrap())
}

async fn said(command: ExecCommand) -> String {
    let fault = run(command).await.unwrap_err();
    let text = fault.to_string();
    assert!(!fault.is_final() && !text.contains('\n') && !text.contains("sk-"), "{text}");
    assert!(!format!("{fault:?}").contains("sk-"), "{fault:?}");
    text
}

#[tokio::test]
async fn its_output_is_the_value_without_one_line_end() {
    assert_eq!(run(shell("echo sk-of-a-command")).await.unwrap(), "sk-of-a-command");
    assert_eq!(run(shell("printf 'a b\\n\\n'")).await.unwrap(), "a b\n");
    // Not split, not expanded: there is no shell of ours.
    let mut echo = shell("");
    echo.program = "/bin/echo".into();
    echo.arguments = vec!["$HOME; `id`".to_owned(), "a  b".to_owned()];
    assert_eq!(run(echo).await.unwrap(), "$HOME; `id` a  b");
    let whole = "head -c 65536 /dev/zero | tr '\\0' x";
    assert_eq!(run(shell(whole)).await.unwrap().len(), 65536);
}

#[tokio::test]
async fn its_environment_is_what_is_named() {
    let mut command = shell("env | sort | cut -d= -f1 | tr '\\n' ' '; pwd; cat");
    let names = run(command.clone()).await.unwrap();
    assert!(!names.contains("OTHER") && !names.contains("OP_TOKEN") && !names.contains("CARGO"), "{names}");
    for name in ["HOME ", "LANG ", "PATH "] {
        assert!(names.contains(name), "{names}");
    }
    assert!(names.ends_with('/'), "in no folder of anybody's, and nothing to read: {names}");
    command.variables = vec!["OP_TOKEN".to_owned(), "NOT_THERE".to_owned()];
    command.arguments[1] = "echo $HOME $OP_TOKEN $NOT_THERE".to_owned();
    assert_eq!(run(command).await.unwrap(), "/home/of-me op-token");
}

#[tokio::test]
async fn a_failure_tells_the_first_line_of_its_errors_and_no_output() {
    let failed =
        said(shell("echo sk-out; echo >&2; echo '  not \u{1b}[31msigned in' >&2; echo more >&2; exit 3"))
            .await;
    assert!(failed.contains("`/bin/sh` failed (exit status: 3): not [31msigned in"), "{failed}");
    assert!(!failed.contains("more"), "{failed}");
    let repeats = said(shell("echo sk-out; echo error for sk-out >&2; exit 1")).await;
    assert!(repeats.contains("not shown"), "{repeats}");
    assert!(said(shell("kill -9 $$")).await.contains("signal: 9"));
    let mut none = shell("");
    none.program = "/nonexistent/op".into();
    assert!(said(none).await.contains("`/nonexistent/op` cannot be run"));
    let noisy = said(shell("head -c 1000000 /dev/zero | tr '\\0' e >&2; exit 1")).await;
    assert!(noisy.contains("eee") && noisy.len() < 400, "{noisy}");
}

#[tokio::test]
async fn what_goes_on_is_ended_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let mark = folder.path().join("alive");
    let began = Instant::now();
    let mut slow = shell(&format!("(sleep 2; touch {}) & sleep 60", mark.display()));
    slow.timeout = Duration::from_secs(1);
    assert!(said(slow).await.contains("not done within 1 s"));
    assert!(began.elapsed() < Duration::from_secs(5), "{:?}", began.elapsed());
    // One that leaves another behind which holds its output.
    let mut leaves = shell("sleep 60 & echo sk-early");
    leaves.timeout = Duration::from_secs(1);
    assert!(said(leaves).await.contains("not done within 1 s"));
    let too_much = said(shell("yes sk-too-much")).await;
    assert!(too_much.contains("more than 64 KiB"), "{too_much}");
    tokio::time::sleep(Duration::from_millis(2500)).await;
    assert!(!mark.exists(), "what it started is ended too");
}

#[tokio::test]
async fn a_program_that_everyone_may_write_is_not_run() {
    let folder = tempfile::tempdir().unwrap();
    let program = folder.path().join("op");
    write_program(&program, "echo sk-of-a-program");
    let mut command = shell("");
    command.program.clone_from(&program);
    assert_eq!(run(command.clone()).await.unwrap(), "sk-of-a-program");
    std::fs::set_permissions(&program, std::fs::Permissions::from_mode(0o777)).unwrap();
    assert!(said(command).await.contains("everyone may write it"));
}

pub(crate) fn write_program(path: &Path, script: &str) {
    std::fs::write(path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o755)).unwrap();
}

#[tokio::test]
async fn a_name_that_nobody_configured_is_none() {
    let fault = Commands::default().fetch(&"exec://a".parse().unwrap()).await.unwrap_err();
    assert!(fault.is_final() && fault.to_string().contains("[exec.a]"), "{fault}");
}
