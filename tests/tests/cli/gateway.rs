//! `chiton gateway` and `doctor`: started on demand, once, and gone without a trace.

use std::{
    process::{Command, Stdio},
    time::Duration,
};

use chiton_testkit::{As, Chiton, harness::binary, is_dead, soon};
use chiton_tests::{gateway, has_socket, kill_gateway};
use rustix::process::{Signal, kill_process};

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

#[test]
fn a_killed_gateway_ends_the_session_and_nothing_else() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(crate::POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let mut command =
        chiton.command(&["run", "-n", "box", "-p", policy, "--", "sh", "-c", "echo ready; exec sleep 600"]);
    let mut child =
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().expect("chiton");
    let mut ready = [0; 6];
    std::io::Read::read_exact(child.stdout.as_mut().expect("a pipe"), &mut ready).expect("a line");
    kill_gateway(&chiton);
    let output = child.wait_with_output().expect("its end");
    assert_eq!(output.status.code(), Some(125), "{output:?}");
    assert!(String::from_utf8_lossy(&output.stderr).contains("hint: chiton attach box"), "{output:?}");
    assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n", "the next gateway goes on with it");
    assert_eq!(chiton.run(&["exec", "box", "true"]).status, 0);
}

#[test]
fn who_is_not_answered_says_so_with_the_status_of_an_error() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(crate::POLICY);
    let policy = policy.to_str().expect("UTF-8");
    for (arguments, status) in [(&["ps"][..], 1), (&["run", "-p", policy, "--", "true"][..], 125)] {
        let _ = chiton.run(&["gateway", "start"]).expect_success();
        let gateway = gateway(&chiton);
        kill_process(gateway, Signal::STOP).expect("it runs");
        let asking =
            chiton.command(arguments).stdout(Stdio::null()).stderr(Stdio::piped()).spawn().expect("chiton");
        assert!(soon(Duration::from_secs(20), || has_socket(asking.id())));
        kill_process(gateway, Signal::KILL).expect("it is there");
        let output = asking.wait_with_output().expect("its end");
        assert_eq!(output.status.code(), Some(status), "{output:?}");
        assert!(String::from_utf8_lossy(&output.stderr).contains("error: the gateway ended"), "{output:?}");
    }
}

#[test]
fn a_gateway_keeps_nothing_of_its_callers_and_may_open_many_files() {
    let chiton = Chiton::new(As::User);
    let lock = chiton.write("lock", "");
    let take = format!("exec 9>'{}'; flock -n 9 || exit 99; ulimit -Sn 100", lock.display());
    let finish = |mut command: Command| command.output().expect("a command");
    let started = finish(chiton.command_after(&take, &["gateway", "start", "--json"]));
    assert!(started.status.success(), "{started:?}");
    let again = finish(chiton.command_after(&take, &["gateway", "status", "--json"]));
    assert!(again.status.success(), "the gateway holds its caller's lock: {again:?}");
    let status: serde_json::Value = serde_json::from_slice(&again.stdout).expect("a document");
    let limits = std::fs::read_to_string(format!("/proc/{}/limits", status["pid"])).expect("its limits");
    let files = limits.lines().find_map(|line| line.strip_prefix("Max open files")).expect("a line");
    let soft: u64 = files.split_whitespace().next().and_then(|soft| soft.parse().ok()).expect("a number");
    assert!(soft > 1000, "{files}");
}

#[test]
fn a_running_sandbox_follows_the_names_of_its_host() {
    let chiton = Chiton::new(As::Root);
    let hosts = chiton.write("hosts", "127.0.0.1 localhost\n");
    // A gateway on a machine whose table can be changed.
    let other = "mount --bind \"$0\" /etc/hosts && exec \"$@\"";
    let (table, program) = (hosts.display().to_string(), binary().display().to_string());
    let begin = ["--mount", "sh", "-c", other, &table, &program, "gateway", "start"];
    let begun =
        chiton.command_of(std::path::Path::new("/usr/bin/unshare"), &begin).output().expect("unshare");
    assert!(begun.status.success(), "{begun:?}");
    let policy =
        chiton.policy("dynamic: {network: {http: [{host: moved.example, scheme: http, methods: ['*']}]}}\n");
    let policy = policy.to_str().expect("UTF-8");
    let _ = chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    let says = |wanted: &str| {
        let ask = ["exec", "box", "curl", "-sS", "http://moved.example/"];
        soon(Duration::from_secs(60), || chiton.run(&ask).stdout.contains(wanted))
    };
    assert!(says("cannot resolve"));
    // Now it leads to where no rule lets it: it was resolved.
    std::fs::write(&hosts, "127.0.0.1 localhost moved.example\n").expect("a table");
    assert!(
        says("private_address"),
        "{:?}",
        chiton.run(&["exec", "box", "curl", "-sS", "http://moved.example/"])
    );
    // The gateway after that one has the machine's own table, and tells it to proxies that it did not begin.
    kill_gateway(&chiton);
    assert!(says("cannot resolve"));
}

/// A small disk in the place of a folder; it goes with this.
struct SmallDisk(std::path::PathBuf);

impl SmallDisk {
    fn at(folder: std::path::PathBuf) -> Self {
        std::fs::create_dir_all(&folder).expect("a folder");
        let mut mount = Command::new("mount");
        mount.args(["-t", "tmpfs", "-o", "size=12m,mode=700", "disk"]).arg(&folder);
        assert!(mount.status().expect("mount").success());
        Self(folder)
    }

    /// Leaves no byte.
    fn fill(&self) {
        let mut file = std::fs::File::create(self.0.join("fill")).expect("a file");
        while std::io::Write::write_all(&mut file, &[0; 4096]).is_ok() {}
    }

    fn make_room(&self) {
        std::fs::remove_file(self.0.join("fill")).expect("a file");
    }
}

impl Drop for SmallDisk {
    fn drop(&mut self) {
        let _ = Command::new("umount").arg("-l").arg(&self.0).status();
    }
}

#[test]
fn a_full_disk_is_over_when_there_is_room_again() {
    let chiton = Chiton::new(As::Root);
    let disk = SmallDisk::at(chiton.path("state"));
    let policy = chiton.policy("dynamic: {network: {http: [{host: one.example}]}}\n");
    let wider = chiton.policy("dynamic: {network: {http: [{host: one.example}, {host: two.example}]}}\n");
    let [policy, wider] = [&policy, &wider].map(|path| path.to_str().expect("UTF-8"));
    for name in ["one", "two"] {
        let _ = chiton.run(&["run", "-d", "-n", name, "-p", policy, "--", "sleep", "600"]).expect_success();
    }
    disk.fill();
    // What it is told, and what it does again every second, is logged on the same disk.
    let stopped = chiton.run(&["stop", "-t", "1", "one"]).expect_status(1);
    assert!(stopped.stderr.contains("waits to be written down"), "{stopped:?}");
    let _ = chiton.run(&["policy", "apply", "two", wider]).expect_status(1);
    disk.make_room();
    let states = || {
        let listed = chiton.run(&["ps", "-a", "--json"]).json();
        let listed = listed.as_array().expect("a list").iter();
        let mut all: Vec<_> = listed.map(|one| format!("{} {}", one["name"], one["state"])).collect();
        all.sort();
        all
    };
    let wanted = ["\"one\" \"stopped\"", "\"two\" \"running\""];
    assert!(soon(Duration::from_secs(30), || states() == wanted), "{:?}", states());
    let shown = chiton.run(&["policy", "show", "two"]).expect_success();
    assert!(!shown.stdout.contains("two.example"), "{shown:?}");
    let _ = chiton.run(&["policy", "apply", "two", wider]).expect_success();
    // What was answered was committed: the next gateway knows it too.
    kill_gateway(&chiton);
    assert_eq!(states(), wanted);
    let shown = chiton.run(&["policy", "show", "two"]).expect_success();
    assert!(shown.stdout.contains("two.example"), "{shown:?}");
    let _ = chiton.run(&["audit", "verify"]).expect_success();
    let _ = chiton.run(&["rm", "-f", "one", "two"]).expect_success();
}

/// Removes the runtime folder, in which the next proxy may be beginning.
fn take_away(chiton: &Chiton) {
    let gone = || std::fs::remove_dir_all(chiton.path("run")).is_ok();
    assert!(soon(Duration::from_secs(5), gone));
}

/// The supervisor and the proxy of each sandbox, as they are written down: in the last line of its file.
fn recorded(chiton: &Chiton) -> Vec<u32> {
    let records = std::fs::read_dir(chiton.path("state/running/native")).expect("records");
    let texts =
        records.map(|entry| std::fs::read_to_string(entry.expect("an entry").path()).expect("a record"));
    let lines = texts.map(|text| text.trim_end().lines().last().map(str::to_owned).expect("a line"));
    let records = lines.map(|line| serde_json::from_str::<serde_json::Value>(&line).expect("a document"));
    let of = |record: serde_json::Value| {
        ["supervisor", "proxy"].map(|role| u32::try_from(record[role]["pid"].as_u64().expect("a process")))
    };
    records.flat_map(of).map(|id| id.expect("a number")).collect()
}

#[test]
fn a_runtime_folder_that_is_taken_away_ends_nothing_while_the_gateway_lives() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy("dynamic: {network: {http: []}}\n");
    let policy = policy.to_str().expect("UTF-8");
    let run = |name| {
        let _ = chiton.run(&["run", "-d", "-n", name, "-p", policy, "--", "sleep", "600"]).expect_success();
    };
    run("stays");
    let first = gateway(&chiton);
    take_away(&chiton);
    // What needs a gateway finds the one that there is.
    run("later");
    assert_eq!(chiton.run(&["ps", "-q"]).expect_success().stdout, "later\nstays\n");
    assert_eq!(gateway(&chiton), first);
    let _ = chiton.run(&["exec", "stays", "true"]).expect_success();
    let wider = chiton.write("wider.yaml", "dynamic: {network: {http: [{host: api.example}]}}\n");
    let _ = chiton.run(&["policy", "apply", "stays", wider.to_str().expect("UTF-8")]).expect_success();
    let _ = chiton.run(&["exec", "later", "true"]).expect_success();
    let _ = chiton.run(&["stop", "-t", "1", "stays"]).expect_success();
    // With the gateway gone too nobody can reach what runs: the next one ends it.
    run("lost");
    let processes = recorded(&chiton);
    assert_eq!(processes.len(), 4, "two sandboxes");
    kill_gateway(&chiton);
    take_away(&chiton);
    let all = chiton.run(&["ps", "-a", "--json"]).expect_success().json();
    for name in ["later", "lost"] {
        let shown = all.as_array().expect("a list").iter().find(|shown| shown["name"] == name);
        assert_eq!(shown.expect("it is listed")["state"], "failed", "{all:#}");
        let _ = chiton.run(&["rm", name]).expect_success();
    }
    assert!(processes.iter().all(|id| is_dead(*id)), "{processes:?}");
}

#[test]
fn what_runs_is_ended_by_a_gateway_that_does_not_know_it() {
    let chiton = Chiton::new(As::User);
    let policy = chiton.policy(crate::POLICY);
    let policy = policy.to_str().expect("UTF-8");
    let _ = chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    let processes = recorded(&chiton);
    assert_eq!(processes.len(), 2);
    // A copy of its state, and a gateway with other sockets: what it names is another's.
    let _ = chiton.run(&["gateway", "stop"]).expect_success();
    let copied = Command::new("cp").arg("-a").args([chiton.path("state"), chiton.path("copy")]).status();
    assert!(copied.expect("cp").success());
    let with = |state: &str, runtime: &str, arguments: &[&str]| {
        let mut command = chiton.command(arguments);
        command.env("CHITON_STATE_DIR", chiton.path(state)).env("CHITON_RUNTIME_DIR", chiton.path(runtime));
        let output = command.output().expect("chiton");
        assert!(output.status.success(), "{output:?}");
        String::from_utf8(output.stdout).expect("UTF-8")
    };
    assert!(with("copy", "elsewhere", &["ps", "-a"]).contains("failed"));
    let _ = with("copy", "elsewhere", &["gateway", "stop"]);
    let _ = chiton.run(&["exec", "box", "true"]).expect_success();
    // The same sockets, and no state: nobody else will end it.
    let _ = chiton.run(&["gateway", "stop"]).expect_success();
    assert!(!processes.iter().any(|id| is_dead(*id)), "{processes:?}");
    assert_eq!(with("new", "run", &["ps", "-aq"]), "");
    assert!(processes.iter().all(|id| is_dead(*id)), "{processes:?}");
    let _ = with("new", "run", &["gateway", "stop"]);
    let _ = chiton.run(&["rm", "box"]).expect_success();
}
