//! Containers and engines that end while sandboxes run.

use std::{
    process::Stdio,
    time::{Duration, Instant},
};

use base64::Engine as _;
use chiton_testkit::{
    Chiton,
    engines::{
        Engine, Kind, Settings, images,
        registry::{self, Registry},
    },
};
use chiton_tests::{gateway, roles_of};

use crate::{KINDS, chiton, nothing_left, refused, run, shared};

fn container(engine: &Engine, chiton: &Chiton) -> String {
    let workspace = chiton.workspace();
    let named = |container: &serde_json::Value| {
        container["Mounts"].to_string().contains(workspace.to_str().expect("UTF-8"))
    };
    let found = engine.containers().into_iter().find(named).expect("the container");
    found["Id"].as_str().expect("its id").to_owned()
}

fn until_ended(chiton: &Chiton) {
    let deadline = Instant::now() + Duration::from_secs(30);
    while chiton.run(&["ps", "-q"]).stdout == "box\n" {
        assert!(Instant::now() < deadline, "it still runs");
    }
}

/// As `docker kill` does from outside.
#[test]
fn a_container_that_is_killed() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let _ = run(&chiton, engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
        engine.kill_container(&container(engine, &chiton));
        assert_eq!(chiton.run(&["wait", "box"]).status, 125, "{kind:?}");
        until_ended(&chiton);
        nothing_left(&chiton, engine);
        let _ = chiton.run(&["start", "box"]).expect_success();
        assert_eq!(chiton.run(&["exec", "box", "echo", "again"]).stdout, "again\n");
        let _ = chiton.run(&["rm", "-f", "box"]).expect_success();
        nothing_left(&chiton, engine);
    }
}

/// Its first process is not the engine's child: it goes on, and so does the sandbox, until it is to be ended.
#[test]
fn an_engine_that_is_killed_and_comes_back() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let engine = Engine::start(kind);
        engine.import("busybox", &images::busybox().path(), &[]);
        let chiton = chiton(&engine);
        let _ = run(&chiton, &engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
        engine.kill();
        assert_eq!(chiton.run(&["exec", "box", "echo", "still"]).stdout, "still\n", "{kind:?}");
        refused(&run(&chiton, &engine, "busybox", &["-n", "other"], &["true"]), &["cannot reach its engine"]);
        let stopped = chiton.run(&["stop", "-t", "0", "box"]);
        assert_eq!(stopped.stdout, "box\n", "{kind:?} {stopped:?}");
        engine.start_again();
        // What could not be removed, since the engine was away, is removed with the next that is made.
        let _ = run(&chiton, &engine, "busybox", &["--rm"], &["true"]).expect_success();
        nothing_left(&chiton, &engine);
    }
}

/// The next gateway removes it too.
fn next_gateway(chiton: &Chiton) {
    let _ = chiton.run(&["gateway", "stop", "--all"]).expect_success();
    let _ = chiton.run(&["gateway", "start"]).expect_success();
}

/// Nothing goes on running because nobody can tell the engine.
#[test]
fn what_cannot_be_removed_is_ended_at_least() {
    let engine = Engine::start(Kind::Docker);
    engine.import("busybox", &images::busybox().path(), &[]);
    let chiton = chiton(&engine);
    let _ = run(&chiton, &engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
    engine.kill();
    let removed = chiton.run(&["rm", "-f", "box"]);
    assert!(removed.status != 0 && removed.stderr.contains("cannot reach its engine"), "{removed:?}");
    until_ended(&chiton);
    assert_ne!(chiton.run(&["exec", "box", "true"]).status, 0);
    assert!(roles_of(&chiton, "supervisor").is_empty());
    // But for the one that waits for the next sandbox.
    assert!(roles_of(&chiton, "proxy").len() <= 1, "{:?}", roles_of(&chiton, "proxy"));
    engine.start_again();
    next_gateway(&chiton);
    nothing_left(&chiton, &engine);
}

/// As `docker pause` does from outside.
#[test]
fn a_container_that_is_paused() {
    // An ordinary user's own has no control groups to pause with, of version 1.
    for kind in [Kind::Docker, Kind::Podman] {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let _ = run(&chiton, engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
        let id = container(engine, &chiton);
        engine.pause(&id, true);
        let unpause = format!("`{} unpause chiton-box-", engine.driver());
        refused(&chiton.run(&["exec", "box", "true"]), &["is paused", &unpause]);
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
        chiton_tests::kill_gateway(&chiton);
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n", "{kind:?}");
        engine.pause(&id, false);
        assert_eq!(chiton.run(&["exec", "box", "echo", "on"]).stdout, "on\n", "{kind:?}");
        engine.pause(&id, true);
        let removed = chiton.run(&["rm", "-f", "box"]);
        assert_eq!(removed.stdout, "box\n", "{kind:?} {removed:?}");
        nothing_left(&chiton, engine);
    }
}

/// Nothing is half-made where there is no room, neither an image nor a container.
#[test]
fn a_disk_that_is_full_and_a_registry_that_asks_for_a_password() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let engine = Engine::start_with(kind, &Settings { disk: Some(48 << 20), ..Settings::default() });
        engine.import("busybox", &images::busybox().path(), &[]);
        let registry = Registry::start(&engine);
        let image = registry.take("busybox", "private");
        let chiton = chiton(&engine);
        let run = |options: &[&str]| run(&chiton, &engine, &image, options, &["echo", "pulled"]);
        let login = |password: &str| {
            let both =
                base64::engine::general_purpose::STANDARD.encode(format!("{}:{password}", registry::USER));
            let text = serde_json::json!({ "auths": { registry::ADDRESS: { "auth": both } } });
            chiton.write("home/.docker/config.json", text.to_string());
        };
        refused(&run(&[]), &["cannot pull the image"]);
        login("another");
        refused(&run(&[]), &["cannot pull the image"]);
        login(registry::PASSWORD);
        engine.fill_disk(true);
        refused(&run(&[]), &["cannot pull the image", "no space left on device"]);
        assert!(engine.containers().is_empty());
        engine.fill_disk(false);
        assert_eq!(run(&["--rm"]).expect_success().stdout, "pulled\n", "{kind:?}");
        // Its removal makes room.
        nothing_left(&chiton, &engine);
        engine.fill_disk(true);
        let full = run(&[]);
        refused(&full, &["no space left on device"]);
        assert!(full.stderr.contains("cannot make") || full.stderr.contains("cannot start"), "{full:?}");
        engine.fill_disk(false);
        nothing_left(&chiton, &engine);
        assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    }
}

/// Its container goes, whether its user stops to wait or its gateway dies; the latter is tried with Docker.
#[test]
fn an_examination_that_is_cut_short() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let _ = chiton.run(&["gateway", "start"]).expect_success();
        let gateway = gateway(&chiton).as_raw_nonzero();
        let ours = |container: &serde_json::Value| {
            container["Names"].to_string().contains(&format!("chiton-doctor-{gateway}-"))
        };
        let are_there = || engine.containers().iter().any(ours);
        let begun = || {
            let mut doctor = chiton.command(&["doctor", "--driver", engine.driver()]);
            let mut doctor = doctor.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("chiton");
            while !are_there() {
                assert!(doctor.try_wait().expect("its state").is_none(), "{kind:?}: it ended unseen");
            }
            doctor
        };
        let mut doctor = begun();
        doctor.kill().expect("a signal");
        doctor.wait().expect("its end");
        // Longer than an examination may take.
        let deadline = Instant::now() + Duration::from_secs(90);
        while are_there() {
            assert!(Instant::now() < deadline, "{kind:?} {:?}", engine.containers());
        }
        if kind != Kind::Docker {
            continue;
        }
        let mut doctor = begun();
        chiton_tests::kill_gateway(&chiton);
        doctor.wait().expect("its end");
        let _ = chiton.run(&["doctor", "--driver", engine.driver()]).expect_success();
        assert!(!are_there(), "{kind:?} {:?}", engine.containers());
    }
}
