//! `binaries`: whose the connection is, told for certain or not at all.
//!
//! Out of bounds, and said so by the checker: hostile code that loads itself into an allowed program (`LD_PRELOAD`,
//! a configuration file, a plugin) is that program.

use std::{
    fs,
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use chiton_tests::{World, http_policy};

const CURL_ONLY: &[&str] = &["{host: api.example.com, binaries: [/usr/bin/curl]}"];
const ASK: &str = "-s -o /dev/null -w '%{http_code}\\n' https://api.example.com/x";

/// Prints the status of one request by Python.
const PYTHON: &str = r#"
import http.client
c = http.client.HTTPSConnection("api.example.com", timeout=20)
c.request("GET", "/x"); print(c.getresponse().status, flush=True)
"#;

/// A connection over which others ask in the clear: by which one makes it, and who holds it then.
const SHARED: &str = r#"
import os, socket, sys
REQUEST = b"GET /x HTTP/1.1\r\nHost: api.example.com\r\n\r\n"
PERL = """
open(my $s, '+<&=', $ARGV[0]) or die; syswrite($s, "GET /x HTTP/1.1\\r\\nHost: api.example.com\\r\\n\\r\\n");
sysread($s, my $answer, 4096); print((split / /, $answer)[1], "\\n");
"""
def connected():
    s = socket.create_connection(("api.example.com", 80)); s.set_inheritable(True); return s
def ask(s):
    s.sendall(REQUEST); print(s.recv(65536).split(b" ")[1].decode(), flush=True)
def perl(s): os.execv("/usr/bin/perl", ["perl", "-e", PERL, str(s.fileno())])
def child(do):
    pid = os.fork()
    if pid == 0:
        do(); os._exit(0)
    os.waitpid(pid, 0)
"#;

fn world() -> World {
    let world = World::echo(&["api.example.com"]);
    world.chiton.write_workspace("ask.py", PYTHON);
    world
}

fn asked(rules: &[&str], script: &str) -> (World, String) {
    let world = world();
    let out = world.sh(&http_policy(rules), script).expect_success().stdout;
    (world, out)
}

#[test]
fn one_executable_may_and_another_may_not() {
    let script = format!("curl --http1.1 {ASK}; curl --http2 {ASK}; /usr/bin/python3 ask.py; curl {ASK}");
    let (world, out) = asked(CURL_ONLY, &script);
    assert_eq!(out, "200\n200\n403\n200\n");
    assert_eq!(world.upstream.requests().len(), 3);
    let denied = world.chiton.audit(&["--decision", "deny"]);
    let [denied] = denied.as_slice() else { panic!("one refusal: {denied:#?}") };
    assert_eq!(denied["reason"], "binary_not_allowed");
    assert!(denied["binary"].as_str().is_some_and(|path| path.starts_with("/usr/bin/python3")), "{denied}");
    let allowed = world.chiton.audit(&["--decision", "allow"]);
    let by_curl =
        allowed.iter().filter(|event| event["action"] == "request" && event["binary"] == "/usr/bin/curl");
    assert_eq!(by_curl.count(), 3, "{allowed:#?}");
}

#[test]
fn every_stream_of_a_connection_is_its_owners() {
    let urls = "-o /dev/null https://api.example.com/a -o /dev/null https://api.example.com/b";
    let script = format!("curl -sZ --http2 -w '%{{http_code}}\\n' {urls}");
    assert_eq!(asked(CURL_ONLY, &script).1, "200\n200\n");
    let env = &["{host: api.example.com, binaries: [/usr/bin/env]}"];
    assert_eq!(asked(env, &script).1, "403\n403\n");
}

#[test]
fn a_name_that_is_a_symlink_means_where_it_leads() {
    let rules = &["{host: api.example.com, binaries: [/usr/bin/python3, /bin/curl]}"];
    let script = format!("/usr/bin/python3 ask.py; curl {ASK}");
    assert_eq!(asked(rules, &script).1, "200\n200\n");
}

#[test]
fn a_copy_is_another_executable_and_a_symlink_is_none() {
    let script = format!(
        "cp /usr/bin/curl copy; ./copy {ASK}; cp /usr/bin/curl /tmp/curl; PATH=/tmp curl {ASK}; \
         ln -s /usr/bin/curl link; ./link {ASK}; ln /usr/bin/curl hard 2>/dev/null || echo no link"
    );
    assert_eq!(asked(CURL_ONLY, &script).1, "403\n403\n200\nno link\n");
}

/// A folder of the workspace that is only read.
struct Tools {
    world: World,
    host: PathBuf,
}

impl Tools {
    fn new() -> Self {
        let world = world();
        let host = world.chiton.workspace().join("tools");
        fs::create_dir_all(&host).expect("a folder");
        Self { world, host }
    }

    /// Runs a script, with these of the folder allowed.
    fn sh(&self, names: &[&str], script: &str) -> String {
        let names: Vec<String> = names.iter().map(|name| format!("/workspace/tools/{name}")).collect();
        let rule = format!("{{host: api.example.com, binaries: ['{}']}}", names.join("', '"));
        let given = "[/workspace, /tmp]";
        let policy = http_policy(&[&rule])
            .replace(given, &format!("{given}\n    read_only_paths: [/workspace/tools]"));
        self.world.sh(&policy, script).expect_success().stdout
    }
}

#[test]
fn a_symlink_that_the_agent_can_point_elsewhere_lends_no_name() {
    let tools = Tools::new();
    std::os::unix::fs::symlink("/workspace/curl", tools.host.join("fetch")).expect("a link");
    let script = format!("ln -s /usr/bin/curl curl; tools/fetch {ASK}; curl {ASK}");
    assert_eq!(tools.sh(&["fetch"], &script), "403\n403\n");
}

#[test]
fn a_file_that_the_agent_can_write_by_another_name_is_not_told() {
    let tools = Tools::new();
    for name in ["alone", "linked"] {
        fs::copy("/usr/bin/curl", tools.host.join(name)).expect("a copy");
    }
    fs::hard_link(tools.host.join("linked"), tools.world.chiton.workspace().join("other")).expect("a link");
    let script = format!("tools/alone {ASK}; tools/linked {ASK}; ./other {ASK}");
    assert_eq!(tools.sh(&["*"], &script), "200\n403\n403\n");
}

#[test]
fn an_executable_that_is_written_in_its_place_is_not_told() {
    let tools = Tools::new();
    let tool = tools.host.join("tool");
    fs::copy("/usr/bin/curl", &tool).expect("a copy");
    tools.world.chiton.write_workspace("wait.sh", "touch asked; until test -e go; do sleep 0.02; done");
    let script = format!("tools/tool {ASK}; sh wait.sh; tools/tool {ASK}");
    let out = thread::scope(|scope| {
        let ran = scope.spawn(|| tools.sh(&["*"], &script));
        let workspace = tools.world.chiton.workspace();
        let deadline = Instant::now() + Duration::from_secs(30);
        while !workspace.join("asked").exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        // The same file, other bytes: a program does not mind what stands behind its end.
        let mut bytes = fs::read(&tool).expect("it");
        bytes.extend_from_slice(b"more");
        fs::write(&tool, bytes).expect("it is written in place");
        tools.world.chiton.write_workspace("go", "");
        ran.join().expect("it ran")
    });
    assert_eq!(out, "200\n403\n");
}

#[test]
fn an_interpreter_is_not_the_script_and_a_starter_not_what_it_starts() {
    let tools = Tools::new();
    let tool = tools.host.join("tool.py");
    fs::write(&tool, format!("#!/usr/bin/python3\n{PYTHON}")).expect("a script");
    fs::set_permissions(&tool, std::os::unix::fs::PermissionsExt::from_mode(0o755)).expect("a mode");
    let script = format!(
        "tools/tool.py; /usr/bin/python3 ask.py; /usr/bin/env curl {ASK}; dash -c \"curl {ASK}; true\"; \
         printf '#!/usr/bin/python3\\n' | cat - ask.py > own; chmod +x own; ./own"
    );
    assert_eq!(tools.sh(&["tool.py', /usr/bin/env, '/usr/bin/dash"], &script), "403\n403\n403\n403\n403\n");
}

#[test]
fn the_loader_and_a_file_without_a_name_are_not_the_program() {
    let script = format!(
        "/lib64/ld-linux-x86-64.so.2 /usr/bin/curl {ASK}; exec /usr/bin/python3 - <<'E'\n\
         import os\nfd = os.memfd_create('curl', 0); os.write(fd, open('/usr/bin/curl', 'rb').read())\n\
         os.execve(f'/proc/self/fd/{{fd}}', ['curl', '-s', '-o', '/dev/null', '-w', '%{{http_code}}\\n', \
         'https://api.example.com/x'], os.environ)\nE"
    );
    assert_eq!(asked(CURL_ONLY, &script).1, "403\n403\n");
}

/// What the script prints under a rule for these executables, for plain HTTP.
fn shared(binaries: &str, script: &str) -> String {
    let mut world = world();
    let address = world.upstream.address();
    world.chiton.resolve("api.example.com:80", address);
    world.chiton.write_workspace("shared.py", format!("{SHARED}{script}"));
    // The upstream server speaks TLS: a request that is let through ends in 502 or 400, never in 403.
    let rule = format!("{{host: api.example.com, scheme: http, binaries: [{binaries}]}}");
    let out = world.sh(&http_policy(&[&rule]), "/usr/bin/python3 shared.py").expect_success().stdout;
    let refused = |line: &str| if line == "403" { "refused" } else { "passed" };
    out.lines().map(refused).collect::<Vec<_>>().join(" ")
}

#[test]
fn who_connected_counts_and_nobody_else_may_hold_the_connection() {
    assert_eq!(shared("/usr/bin/python3", "ask(connected())"), "passed");
    // Started after it connected: the executable that connected has no rule.
    assert_eq!(shared("/usr/bin/perl", "perl(connected())"), "refused");
    // It has, but another one holds the connection by now.
    assert_eq!(shared("/usr/bin/python3", "perl(connected())"), "refused");
    assert_eq!(shared("/usr/bin/python3", "s = connected()\nchild(lambda: perl(s))"), "refused");
    assert_eq!(
        shared("/usr/bin/python3, /usr/bin/perl", "s = connected()\nchild(lambda: perl(s))"),
        "refused"
    );
    // A process of the same executable may.
    assert_eq!(shared("/usr/bin/python3", "s = connected()\nchild(lambda: ask(s))"), "passed");
}

/// What has ended and was not waited for holds nothing, whatever it hid from its own user before, and neither does a
/// first thread that has ended before the others.
#[test]
fn what_has_ended_holds_no_connection() {
    let script = r#"
import ctypes, subprocess, sys
libc = ctypes.CDLL(None)
for dumpable in 1, 0:
    pid = os.fork()
    if pid == 0:
        libc.prctl(4, dumpable, 0, 0, 0); os._exit(0)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
LEFT = """
import ctypes, sys, threading, time
started = threading.Event()
def stay():
    started.wait(); time.sleep(60)
threading.Thread(target=stay, daemon=True).start()
print("begun", flush=True); started.set()
ctypes.CDLL(None).pthread_exit(None)
"""
left = subprocess.Popen([sys.executable, "-c", LEFT], stdout=subprocess.PIPE)
left.stdout.readline()
while open(f"/proc/{left.pid}/stat").read().rsplit(")", 1)[1].split()[0] != "Z": pass
ask(connected())
os._exit(0)
"#;
    assert_eq!(shared("/usr/bin/python3", script), "passed");
}

/// As Codex and ssh-agent do.
#[test]
fn who_hides_from_its_own_user_holds_what_it_holds_and_nothing_else() {
    let hidden = r#"
import signal, subprocess
HIDDEN = 'syscall(157, 4, 0, 0, 0, 0); $| = 1; print "hidden\n"; sleep 60'
def hidden(holding):
    given = [holding.fileno()] if holding else []
    p = subprocess.Popen(["/usr/bin/perl", "-e", HIDDEN], stdout=subprocess.PIPE, pass_fds=given)
    p.stdout.readline()
"#;
    let asks = |how: &str| shared("/usr/bin/python3", &format!("{hidden}{how}\nos._exit(0)\n"));
    assert_eq!(asks("hidden(None); ask(connected())"), "passed");
    assert_eq!(asks("s = connected(); hidden(s); ask(s)"), "refused");
}

#[test]
fn a_connection_passed_over_a_socket_is_no_longer_its_makers() {
    let script = r#"
ours, theirs = socket.socketpair()
theirs.set_inheritable(True)
RECEIVE = """
import os, socket, sys
m, fds, *_ = socket.recv_fds(socket.socket(fileno=int(sys.argv[1])), 16, 1)
os.set_inheritable(fds[0], True)
os.execv('/usr/bin/perl', ['perl', '-e', sys.argv[2], str(fds[0])])
"""
pid = os.spawnv(os.P_NOWAIT, "/usr/bin/python3", ["python3", "-c", RECEIVE, str(theirs.fileno()), PERL])
s = connected(); s.set_inheritable(False)
socket.send_fds(ours, [b"x"], [s.fileno()]); s.close()
os.waitpid(pid, 0)
"#;
    assert_eq!(shared("/usr/bin/python3", script), "refused");
}

#[test]
fn a_connection_made_by_another_way_than_connect_has_no_owner() {
    let script = r#"
to = socket.getaddrinfo("api.example.com", 80, socket.AF_INET, socket.SOCK_STREAM)[0][4]
s = socket.socket(); s.settimeout(20)
try:
    s.sendmsg([REQUEST], [], socket.MSG_FASTOPEN, to)
    print(s.recv(65536).split(b" ")[1].decode())
except OSError: print(403)
"#;
    assert_eq!(shared("/usr/bin/python3", script), "refused");
}

#[test]
fn an_open_connection_is_judged_by_its_owner_under_a_new_revision() {
    let script = r#"
import http.client, os, time
c = http.client.HTTPSConnection("api.example.com", timeout=20)
def get():
    c.request("GET", "/x"); r = c.getresponse(); r.read(); return r.status
first = get(); port = c.sock.getsockname()
def when(name):
    while not os.path.exists(name): time.sleep(0.02)
    return get()
open("begun", "w").close()
second = when("go1"); open("second", "w").close()
third = when("go2")
print(first, second, third, c.sock.getsockname() == port)
"#;
    let world = world();
    world.chiton.write_workspace("keep.py", script);
    let apply = |rules: &[&str]| {
        let policy = world.chiton.policy(&http_policy(rules));
        let arguments = ["policy", "apply", "kept", policy.to_str().expect("a path")];
        let _ = world.chiton.run(&arguments).expect_success();
    };
    let wait_for = |file: &str| {
        let deadline = Instant::now() + Duration::from_secs(30);
        while !world.chiton.workspace().join(file).exists() {
            assert!(Instant::now() < deadline, "{file}: {:?}", world.chiton.run(&["logs", "kept"]));
            thread::sleep(Duration::from_millis(10));
        }
    };
    let policy = world.chiton.policy(&http_policy(&["{host: api.example.com}"]));
    let policy = policy.to_str().expect("a path");
    let arguments = ["run", "-d", "-n", "kept", "-p", policy, "--", "/usr/bin/python3", "keep.py"];
    let _ = world.chiton.run(&arguments).expect_success();
    wait_for("begun");
    apply(CURL_ONLY);
    world.chiton.write_workspace("go1", "");
    wait_for("second");
    apply(&["{host: api.example.com, binaries: [/usr/bin/python3]}"]);
    world.chiton.write_workspace("go2", "");
    let _ = world.chiton.run(&["wait", "kept"]).expect_success();
    assert_eq!(world.chiton.run(&["logs", "kept"]).expect_success().stdout, "200 403 200 True\n");
}
