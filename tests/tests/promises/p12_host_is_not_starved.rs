//! The bounds that exist before `static.resources`: private folders, processes, connections.

use chiton_tests::{As, Chiton, World, http_policy};

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
