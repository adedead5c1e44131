//! Whatever of ours is killed, no way out opens, and the next start cleans up.

use std::{os::unix::process::CommandExt as _, time::Duration};

use chiton_testkit::{engines, soon};
use chiton_tests::{Outcome, TEST_USER, World, http_policy, kill, kill_and_wait, roles};
use rustix::process::Pid;

fn started() -> World {
    let world = World::echo(&["api.example.com"]);
    let policy = world.chiton.policy(&http_policy(&["{host: api.example.com}"]));
    let policy = policy.to_str().expect("a path");
    let _ =
        world.chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    world
}

fn ask(world: &World) -> Outcome {
    let url = "https://api.example.com/";
    world.chiton.run(&["exec", "box", "curl", "-s", "-m", "20", "-o", "/dev/null", "-w", "%{http_code}", url])
}

fn eventually(condition: impl FnMut() -> bool, what: &str) {
    assert!(soon(Duration::from_secs(30), condition), "{what}");
}

#[test]
fn a_killed_gateway_is_replaced_and_finds_its_sandboxes() {
    let world = started();
    let gateways = roles(&world, "gateway");
    assert!(!gateways.is_empty(), "no gateway found");
    gateways.into_iter().for_each(kill_and_wait);
    assert_eq!(ask(&world).expect_success().stdout, "200", "adopted, with its network");
    let listed = world.chiton.run(&["ps", "--json"]).expect_success().json();
    assert_eq!(listed[0]["name"], "box");
    assert_eq!(listed[0]["state"], "running");
    let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

#[test]
fn a_killed_proxy_leaves_no_network_and_is_replaced() {
    let world = started();
    assert_eq!(ask(&world).expect_success().stdout, "200");
    let before = world.upstream.requests().len();
    roles(&world, "chiton proxy").into_iter().for_each(kill);
    eventually(|| ask(&world).stdout == "200", "no proxy replaced the one that was killed");
    assert!(world.upstream.requests().len() > before);
    let policy = world.chiton.policy(&http_policy(&["{host: other.example.com}"]));
    let _ = world.chiton.run(&["policy", "apply", "box", policy.to_str().expect("a path")]).expect_success();
    assert_eq!(ask(&world).stdout, "403", "the replacement obeys");
    let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
}

#[test]
fn a_killed_supervisor_ends_its_sandbox() {
    let world = started();
    let supervisors = roles(&world, "chiton supervisor");
    assert!(!supervisors.is_empty(), "no supervisor found");
    supervisors.into_iter().for_each(kill);
    let state = || {
        world.chiton.run(&["ps", "-a", "--json"]).json()[0]["state"].as_str().unwrap_or_default().to_owned()
    };
    eventually(|| ["stopped", "failed"].contains(&state().as_str()), "it still counts as running");
    assert_ne!(ask(&world).status, 0);
    let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
}

#[test]
fn a_killed_command_line_leaves_a_sandbox_that_can_be_stopped() {
    let world = World::echo(&["api.example.com"]);
    let policy = world.chiton.policy(&http_policy(&["{host: api.example.com}"]));
    let policy = policy.to_str().expect("a path");
    let mut command =
        world.chiton.command(&["run", "-n", "box", "-p", policy, "--", "sh", "-c", "touch up; sleep 600"]);
    let mut child = command
        .stdout(std::process::Stdio::null())
        .stdin(std::process::Stdio::null())
        .spawn()
        .expect("chiton");
    eventually(|| world.chiton.workspace().join("up").exists(), "it did not start");
    child.kill().expect("a kill");
    let _ = child.wait();
    let _ = world.chiton.run(&["stop", "-t", "1", "box"]).expect_success();
    let _ = world.chiton.run(&["rm", "box"]).expect_success();
    assert_eq!(world.chiton.run(&["ps", "-a", "--json"]).expect_success().stdout.trim(), "[]");
}

/// The half of the supervisor that judges: the parent of the other.
fn judge(world: &World) -> Pid {
    let halves = roles(world, "chiton supervisor");
    let parent = |id: &u32| {
        let status = std::fs::read_to_string(format!("/proc/{id}/status")).expect("its status");
        let line = status.lines().find_map(|line| line.strip_prefix("PPid:")).expect("a parent").to_owned();
        line.trim().parse::<u32>().expect("a number")
    };
    let inner = halves.iter().map(parent).find(|parent| halves.contains(parent)).expect("two halves");
    Pid::from_raw(i32::try_from(inner).expect("a pid")).expect("a pid")
}

/// Lets the judge make so many threads: its user may, and owns the namespace that it is in.
fn let_make_threads(judge: Pid, most: &str) {
    let mut command = std::process::Command::new("prlimit");
    command.args([&format!("--pid={}", judge.as_raw_nonzero()), &format!("--nproc={most}:")]);
    if rustix::process::geteuid().is_root() {
        command.uid(TEST_USER).gid(TEST_USER);
    }
    assert!(command.status().expect("prlimit").success());
}

fn state_of(world: &World) -> String {
    world.chiton.run(&["ps", "-a", "--json"]).json()[0]["state"].as_str().unwrap_or_default().to_owned()
}

#[test]
fn a_program_that_no_thread_can_judge_ends_alone() {
    if engines::named().is_some() {
        return; // Its limits are the engine's.
    }
    let world = started();
    let judge = judge(&world);
    let_make_threads(judge, "1");
    let refused = world.chiton.run(&["exec", "box", "true"]);
    assert_eq!(refused.status, 125, "{refused:?}");
    assert!(refused.stderr.contains("no thread left to judge"), "{refused:?}");
    assert_eq!(state_of(&world), "running");
    let events = world.chiton.audit(&["--decision", "deny"]);
    assert!(events.iter().any(|event| event["reason"] == "no_thread"), "{events:#?}");
    let_make_threads(judge, "1000");
    assert_eq!(ask(&world).expect_success().stdout, "200");
}

#[test]
fn an_owner_that_no_thread_can_tell_is_none() {
    if engines::named().is_some() {
        return; // Its limits are the engine's.
    }
    let world = World::echo(&["api.example.com"]);
    let policy = world.chiton.policy(&http_policy(&["{host: api.example.com, binaries: [/usr/bin/curl]}"]));
    let policy = policy.to_str().expect("a path");
    let script = "for i in 1 2; do until test -e go$i; do sleep 0.1; done; \
        curl -s -m 60 -o /dev/null -w '%{http_code}' https://api.example.com/x > said; mv said said$i; done; sleep 600";
    let _ = world
        .chiton
        .run(&["run", "-d", "-n", "box", "-p", policy, "--", "sh", "-c", script])
        .expect_success();
    let said = |number: u32| {
        world.chiton.write_workspace(&format!("go{number}"), "");
        let file = world.chiton.workspace().join(format!("said{number}"));
        eventually(|| file.exists(), "the program does not say");
        std::fs::read_to_string(file).expect("what it said")
    };
    let judge = judge(&world);
    let_make_threads(judge, "1");
    assert_eq!(said(1), "403");
    assert_eq!(state_of(&world), "running");
    let_make_threads(judge, "1000");
    assert_eq!(said(2), "200");
}
