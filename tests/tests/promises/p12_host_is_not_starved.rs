//! What one sandbox takes of the machine: the bounds that every one has (private folders, processes, connections), and
//! those of `static.resources`.

use std::path::{Path, PathBuf};

use chiton_testkit::{
    engines::{self, Engine, Kind},
    soon,
};
use chiton_tests::{As, Chiton, World, containers, http_policy, kill_and_wait, roles_of, sandbox_of};

const POLICY: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n";

#[test]
fn private_folders_have_a_size() {
    let chiton = Chiton::new(As::User);
    let script = "for f in /tmp ~ /dev/shm; do fallocate -l 3G $f/big 2>/dev/null && echo $f; done; true";
    let outcome = chiton.sandboxed(&chiton.policy(POLICY), &["sh", "-c", script]).expect_success();
    assert_eq!(outcome.stdout, "", "{outcome:?}");
}

#[test]
fn processes_have_a_bound_and_all_of_them_end_with_the_program() {
    let chiton = Chiton::new(As::Root);
    let script = r#"
import os, time
made = 0
try:
    while made < 20000:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        made += 1
except OSError: pass
print(made < 20000)
"#;
    chiton.write_workspace("forks.py", script);
    let outcome =
        chiton.sandboxed(&chiton.policy(POLICY), &["/usr/bin/python3", "forks.py"]).expect_success();
    assert_eq!(outcome.stdout, "True\n", "{outcome:?}");
}

#[test]
fn many_connections_do_not_stop_the_control_link() {
    let world = World::echo(&["api.example.com"]);
    let script = r#"
import resource, socket, time
resource.setrlimit(resource.RLIMIT_NOFILE, (resource.getrlimit(resource.RLIMIT_NOFILE)[1],) * 2)
held = []
try:
    for n in range(3000):
        s = socket.socket(); s.setblocking(False); s.connect_ex(("198.18.0.9", 443)); held.append(s)
except OSError: pass
open("held", "w").close()
time.sleep(600)
"#;
    world.chiton.write_workspace("hold.py", script);
    let policy = world.chiton.policy(&http_policy(&["{host: api.example.com}"]));
    let policy = policy.to_str().expect("a path");
    let arguments = ["run", "-d", "-n", "flood", "-p", policy, "--", "/usr/bin/python3", "hold.py"];
    let _ = world.chiton.run(&arguments).expect_success();
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(60);
    while !world.chiton.workspace().join("held").exists() {
        assert!(std::time::Instant::now() < deadline, "{:?}", world.chiton.run(&["logs", "flood"]));
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
    let tighter = world.chiton.policy(&http_policy(&["{host: other.example.com}"]));
    let _ =
        world.chiton.run(&["policy", "apply", "flood", tighter.to_str().expect("a path")]).expect_success();
    let _ = world.chiton.run(&["ps"]).expect_success();
    let _ = world.chiton.run(&["rm", "-f", "flood"]).expect_success();
}

/// Each takes a thread of the supervisor; none is refused for it.
#[test]
fn many_connections_that_nobody_takes_wait() {
    let chiton = Chiton::new(As::User);
    let script = r#"
import socket, threading
server = socket.socket(socket.AF_UNIX); server.bind("/tmp/s"); server.listen(0); server.settimeout(20)
said = []
def connect():
    s = socket.socket(socket.AF_UNIX)
    try: s.connect("/tmp/s"); said.append("connected")
    except OSError as e: said.append(repr(e))
threads = [threading.Thread(target=connect) for _ in range(64)]
for thread in threads: thread.start()
open("/tmp/still", "w").close()
for thread in threads: server.accept()
for thread in threads: thread.join()
print(len(said), set(said))
"#;
    let policy = chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n");
    let outcome = chiton.sandboxed(&policy, &["/usr/bin/python3", "-c", script]).expect_success();
    assert_eq!(outcome.stdout, "64 {'connected'}\n", "{outcome:?}");
}

/// `static` with these resources.
fn limited(resources: &str) -> String {
    format!("static: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}, resources: {{{resources}}}}}\n")
}

/// Whether the limits of this policy are kept here. Only an ordinary user's Podman may be without the control groups for
/// them, and refuses them by name.
fn are_kept(chiton: &Chiton, policy: &Path) -> bool {
    let outcome = chiton.sandboxed(policy, &["true"]);
    if engines::named().map(Engine::kind) == Some(Kind::Rootless) && outcome.status == 125 {
        assert!(outcome.stderr.contains("cannot be enforced "), "{outcome:?}");
        return false;
    }
    let _ = outcome.expect_success();
    true
}

/// As `show` says it.
fn by_whom(limit: &str) -> String {
    format!("{limit}, by {}", engines::named().map_or("control groups", Engine::driver))
}

/// The limits' events: reason and rule.
fn limits_told(chiton: &Chiton) -> Vec<(String, String)> {
    let text = |event: &serde_json::Value, key: &str| event[key].as_str().unwrap_or_default().to_owned();
    let events = chiton.audit(&["--layer", "process"]);
    let limits = events.iter().filter(|event| event["action"] == "limit");
    limits.map(|event| (text(event, "reason"), text(event, "rule"))).collect()
}

/// Control groups of this name, anywhere on this machine.
fn groups(name: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut folders = vec![PathBuf::from("/sys/fs/cgroup")];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).into_iter().flatten().flatten() {
            if !entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                continue;
            }
            if entry.file_name().to_string_lossy().contains(name) {
                found.push(entry.path());
            }
            folders.push(entry.path());
        }
    }
    found
}

/// Groups of the sandbox with this name: an engine's are named by its container.
fn groups_of(chiton: &Chiton, name: &str) -> Vec<PathBuf> {
    let shown = chiton.run(&["show", name, "--json"]).expect_success().json();
    let id = shown["id"].as_str().expect("an id");
    match containers(chiton).iter().find(|container| sandbox_of(container) == Some(id)) {
        Some(container) => groups(container["Id"].as_str().expect("an id")),
        None => groups(&format!("chiton-{id}")),
    }
}

#[test]
fn a_memory_hog_is_killed_and_the_limit_is_named() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("memory: 128MiB"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let policy = policy.to_str().expect("a path");
    let hog = "held = []\nfor n in range(1024): held.append(bytearray(b\"x\") * (1 << 20))\n";
    chiton.write_workspace("hog.py", hog);
    let arguments = ["run", "-n", "hog", "-p", policy, "--", "/usr/bin/python3", "hog.py"];
    let outcome = chiton.run(&arguments).expect_status(137);
    assert!(outcome.stderr.contains("chiton: killed: out of memory (memory 128MiB)"), "{outcome:?}");
    let shown = chiton.run(&["show", "hog", "--json"]).expect_success().json();
    assert_eq!(shown["reason"], "killed: out of memory (memory 128MiB)");
    assert_eq!(shown["state"], "stopped");
    assert_eq!(limits_told(&chiton), [("out_of_memory".into(), "static.resources.memory".into())]);
    let _ = chiton.run(&["audit", "verify"]).expect_success();
    // One that keeps within it does not notice.
    let within =
        ["run", "--rm", "-p", policy, "--", "/usr/bin/python3", "-c", "print(len(bytearray(40 << 20)))"];
    assert_eq!(chiton.run(&within).expect_success().stdout, "41943040\n");
}

#[test]
fn files_in_memory_count_as_memory() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("memory: 64MiB"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let script = "head -c 200000000 /dev/zero > /tmp/big; exit 6";
    let outcome = chiton.sandboxed(&policy, &["sh", "-c", script]);
    assert!([6, 137].contains(&outcome.status), "{outcome:?}");
    assert!(outcome.stderr.contains("out of memory (memory 64MiB)"), "{outcome:?}");
    assert_eq!(limits_told(&chiton).first().map(|(reason, _)| reason.as_str()), Some("out_of_memory"));
}

#[test]
fn a_fork_bomb_is_stopped_and_the_sandbox_still_answers() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("pids: 40"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let policy = policy.to_str().expect("a path");
    let script = r#"
import os, threading, time
made = 0
try:
    while made < 500:
        if os.fork() == 0:
            time.sleep(600)
            os._exit(0)
        made += 1
except OSError: pass
try:
    threading.Thread(target=time.sleep, args=(600,), daemon=True).start()
    made += 1000
except RuntimeError: pass
open("made", "w").write(str(made))
time.sleep(600)
"#;
    chiton.write_workspace("forks.py", script);
    let arguments = ["run", "-d", "-n", "bomb", "-p", policy, "--", "/usr/bin/python3", "forks.py"];
    let _ = chiton.run(&arguments).expect_success();
    let made = chiton.workspace().join("made");
    eventually(|| std::fs::read_to_string(&made).is_ok_and(|text| !text.is_empty()));
    assert_eq!(std::fs::read_to_string(&made).expect("a number"), "39", "itself and 39 more");
    eventually(|| limits_told(&chiton) == [("pids_limit".into(), "static.resources.pids".into())]);
    let shown = chiton.run(&["show", "bomb"]).expect_success().stdout;
    assert!(shown.contains("limits hit") && shown.contains(&by_whom("pids 40")), "{shown}");
    // A program more is refused, and takes nothing with it.
    let refused = chiton.run(&["exec", "bomb", "true"]);
    assert_eq!(refused.status, 125, "{refused:?}");
    assert_eq!(chiton.run(&["ps", "--json"]).expect_success().json()[0]["state"], "running");
    let _ = chiton.run(&["rm", "-f", "bomb"]).expect_success();
}

#[test]
fn a_share_of_a_processor_is_no_more() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("cpus: 0.2"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let script = r#"
import time
began = time.monotonic()
while time.process_time() < 0.4: pass
print(time.monotonic() - began > 1.2)
"#;
    chiton.write_workspace("busy.py", script);
    let outcome = chiton.sandboxed(&policy, &["/usr/bin/python3", "busy.py"]).expect_success();
    assert_eq!(outcome.stdout, "True\n", "{outcome:?}");
}

#[test]
fn time_that_is_over_ends_also_what_does_not_listen() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(&limited("wall_time: 1s"));
    let policy = policy.to_str().expect("a path");
    let deaf = "trap '' TERM; while :; do sleep 1; done";
    let outcome = chiton.run(&["run", "-n", "deaf", "-p", policy, "--", "sh", "-c", deaf]).expect_status(137);
    assert!(outcome.stderr.contains("ended: its time was over (wall_time 1s)"), "{outcome:?}");
    assert_eq!(limits_told(&chiton), [("time_over".into(), "static.resources.wall_time".into())]);
}

#[test]
fn an_ordinary_user_without_groups_is_refused_by_name_and_nothing_is_left() {
    let chiton = Chiton::new(As::User);
    let limits: &[(&str, &str)] = match engines::named().map(Engine::kind) {
        // The engine sets the others, for everybody who may ask it.
        Some(Kind::Docker) => &[("pids: 50", "pids")],
        // Root's gateway lacks nothing.
        Some(Kind::Podman) => &[],
        Some(Kind::Rootless) | None => {
            &[("memory: 1GiB", "memory"), ("pids: 50", "pids"), ("cpus: 0.5", "cpus")]
        }
    };
    for (resources, field) in limits {
        let policy = chiton.policy(&limited(resources));
        let outcome = chiton.sandboxed(&policy, &["touch", "ran"]).expect_status(125);
        let named = format!("`static.resources.{field}` cannot be enforced ");
        assert!(outcome.stderr.contains(&named), "{outcome:?}");
    }
    assert!(!chiton.workspace().join("ran").exists());
    assert_eq!(chiton.run(&["ps", "--all", "--json"]).expect_success().json(), serde_json::json!([]));
    // What needs no group is kept all the same.
    let policy = chiton.policy(&limited("disk: 1MiB"));
    let script = "head -c 3000000 /dev/zero > /tmp/big 2>/dev/null || echo full";
    assert_eq!(chiton.sandboxed(&policy, &["sh", "-c", script]).expect_success().stdout, "full\n");
}

#[test]
fn other_resources_are_another_static_half() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("pids: 40"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let policy = policy.to_str().expect("a path");
    let _ = chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    let other = chiton.policy(&limited("pids: 41"));
    let other = other.to_str().expect("a path");
    let refused = chiton.run(&["policy", "apply", "box", other]).expect_status(1);
    assert!(refused.stderr.contains("static.resources.pids"), "{refused:?}");
    let _ = chiton.run(&["policy", "apply", "--recreate", "box", other]).expect_success();
    assert!(chiton.run(&["show", "box"]).expect_success().stdout.contains(&by_whom("pids 41")));
    let _ = chiton.run(&["rm", "-f", "box"]).expect_success();
}

#[test]
fn no_group_is_left_after_a_killed_gateway() {
    let chiton = Chiton::new(As::Root);
    let policy = chiton.policy(&limited("pids: 40, memory: 128MiB, cpus: 1"));
    if !are_kept(&chiton, &policy) {
        return;
    }
    let policy = policy.to_str().expect("a path");
    for name in ["one", "two"] {
        let _ = chiton.run(&["run", "-d", "-n", name, "-p", policy, "--", "sleep", "600"]).expect_success();
    }
    let one = groups_of(&chiton, "one");
    let two = groups_of(&chiton, "two");
    assert!(!one.is_empty() && !two.is_empty());
    let kill = |role: &str| roles_of(&chiton, role).into_iter().for_each(kill_and_wait);
    kill("chiton supervisor");
    kill("gateway");
    let states = chiton.run(&["ps", "--all", "--json"]).expect_success();
    eventually(|| !one.iter().chain(&two).any(|group| group.exists()));
    assert!(states.stdout.contains("failed"), "{states:?}");
    // Adopted alive, and removed by the gateway that adopted it.
    let _ = chiton.run(&["run", "-d", "-n", "three", "-p", policy, "--", "sleep", "600"]).expect_success();
    let three = groups_of(&chiton, "three");
    assert!(!three.is_empty());
    kill("gateway");
    let _ = chiton.run(&["exec", "three", "true"]).expect_success();
    assert!(three.iter().all(|group| group.exists()));
    let _ = chiton.run(&["rm", "-f", "three"]).expect_success();
    assert!(!three.iter().any(|group| group.exists()), "{three:?}");
}

fn eventually(condition: impl FnMut() -> bool) {
    assert!(soon(std::time::Duration::from_secs(30), condition), "it did not come to be");
}
