//! `chiton gateway` and `doctor`: started on demand, once, and gone without a trace.

use std::process::Stdio;

use chiton_testkit::{As, Chiton};

#[test]
fn many_at_once_start_one_gateway() {
    let chiton = Chiton::new(As::User);
    let start = |_| {
        let mut command = chiton.command(&["gateway", "start", "--json"]);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chiton")
    };
    let children: Vec<_> = (0..6).map(start).collect();
    let ids: Vec<_> = children
        .into_iter()
        .map(|child| {
            let output = child.wait_with_output().expect("its end");
            assert!(output.status.success(), "{output:?}");
            let status: serde_json::Value = serde_json::from_slice(&output.stdout).expect("a document");
            status["pid"].as_u64().expect("a process")
        })
        .collect();
    assert!(ids.iter().all(|id| *id == ids[0]), "{ids:?}");
}

#[test]
fn status_and_stop() {
    let chiton = Chiton::new(As::User);
    let none = chiton.run(&["gateway", "status"]).expect_status(1);
    assert_eq!(none.stderr, "error: no gateway runs\nhint: chiton gateway start\n");
    assert_eq!(chiton.run(&["gateway", "stop"]).status, 0, "stopping nothing is no fault");
    let _ = chiton.run(&["gateway", "start"]).expect_success();
    assert!(chiton.run(&["gateway", "status"]).expect_status(0).stdout.contains("runs, process"));
    assert_eq!(chiton.run(&["gateway", "stop"]).status, 0);
    assert_eq!(chiton.run(&["gateway", "status"]).status, 1);
}

#[test]
fn a_gateway_that_cannot_start_says_why_in_one_line() {
    let chiton = Chiton::new(As::User);
    chiton.write("config.toml", "[gateway]\nlisen = 1\n");
    let refused = chiton.run(&["ps"]).expect_status(1);
    assert!(refused.stderr.starts_with("error: the gateway did not start: "), "{refused:?}");
    assert!(refused.stderr.contains("lisen"), "{refused:?}");
    let run = chiton.run(&["run", "--", "true"]).expect_status(125);
    assert!(run.stderr.contains("lisen"), "{run:?}");
    chiton.write("config.toml", "");
    assert_eq!(chiton.run(&["ps"]).status, 0);
}

#[test]
fn doctor_proves_every_layer() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        let found = chiton.run(&["doctor", "--json"]).expect_status(0).json();
        let checks = found["checks"].as_array().expect("checks");
        for layer in ["namespaces", "view", "capture", "landlock", "seccomp"] {
            let check = checks.iter().find(|check| check["layer"] == layer);
            assert_eq!(check.map(|check| &check["works"]), Some(&true.into()), "{layer}: {found:#}");
        }
        assert!(chiton.run(&["doctor"]).stdout.contains("OK"));
        assert_eq!(chiton.run(&["doctor", "--driver", "docker"]).status, 1);
    }
}
