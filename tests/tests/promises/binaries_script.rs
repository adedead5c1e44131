//! `binaries: ["/usr/bin/python3 /opt/tool.py"]`: which script an interpreter was started with, for certain or not at
//! all. What it loads beside the script is the agent's to choose; the last test says so.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, symlink},
    path::PathBuf,
    thread,
    time::{Duration, Instant},
};

use chiton_tests::{World, http_policy};

/// Prints the status of one request, when it is called.
const ASK: &str = r#"
import http.client, os, sys
def ask():
    c = http.client.HTTPSConnection("api.example.com", timeout=20)
    c.request("GET", "/x"); print(c.getresponse().status, flush=True)
"#;

/// A folder of the workspace that is only read, `/workspace/tools`, with scripts.
struct Tools {
    world: World,
    host: PathBuf,
}

impl Tools {
    fn new() -> Self {
        let world = World::echo(&["api.example.com"]);
        let host = world.chiton.workspace().join("tools");
        fs::create_dir_all(&host).expect("a folder");
        let tools = Self { world, host };
        tools.add("tool.py", "#!/usr/bin/python3", "ask()");
        tools.add("other.py", "#!/usr/bin/python3", "ask()");
        let _ = tools.world.chiton.write_workspace("own.py", format!("{ASK}ask()\n"));
        tools
    }

    fn add(&self, name: &str, first: &str, rest: &str) {
        let path = self.host.join(name);
        fs::write(&path, format!("{first}\n{ASK}{rest}\n")).expect("a script");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).expect("a mode");
    }

    fn policy(name: &str) -> String {
        let rule =
            format!("{{host: api.example.com, binaries: ['/usr/bin/python3 /workspace/tools/{name}']}}");
        let given = "[/workspace, /tmp]";
        http_policy(&[&rule]).replace(given, &format!("{given}\n    read_only_paths: [/workspace/tools]"))
    }

    /// What a shell script prints where this one is named.
    fn sh(&self, name: &str, script: &str) -> String {
        self.world.sh(&Self::policy(name), script).expect_success().stdout
    }
}

#[test]
fn the_script_that_is_named_may_however_it_is_started() {
    let tools = Tools::new();
    symlink("tool.py", tools.host.join("link.py")).expect("a link");
    let script = "T=/workspace/tools; python3 $T/tool.py; /usr/bin/python3 $T/tool.py -x; $T/tool.py; python3 $T/link.py; \
                  printf '#!/usr/bin/python3 /workspace/tools/tool.py\\n' > own; chmod +x own; ./own; python3 $T/other.py";
    assert_eq!(tools.sh("tool.py", script), "200\n200\n200\n200\n200\n403\n");
    assert_eq!(tools.sh("link.py", "python3 /workspace/tools/tool.py"), "200\n");
    let of = |decision: &str| -> Vec<_> {
        let events = tools.world.chiton.audit(&["--decision", decision]);
        events.into_iter().filter(|event| event["action"] == "request").collect()
    };
    let ends = |event: &serde_json::Value, end: &str| {
        event["binary"].as_str().is_some_and(|by| by.starts_with("/usr/bin/python3") && by.ends_with(end))
    };
    assert!(of("allow").iter().all(|event| ends(event, " /workspace/tools/tool.py")), "{:#?}", of("allow"));
    let [denied] = &of("deny")[..] else { panic!("one refusal: {:#?}", of("deny")) };
    assert_eq!(denied["reason"], "binary_not_allowed");
    assert!(ends(denied, " /workspace/tools/other.py"), "{denied}");
}

#[test]
fn nothing_else_of_the_same_interpreter_may() {
    let tools = Tools::new();
    let script = "T=/workspace/tools/tool.py; python3 own.py $T; python3 -c \"$(cat own.py)\" $T; python3 - $T < own.py; \
                  cp $T copy.py; python3 /workspace/copy.py; ln -s $T mine.py; python3 /workspace/mine.py; \
                  (cd tools; python3 tool.py; python3 ./tool.py); python3 -B $T; \
                  bash -c \"exec -a '/usr/bin/python3 $T' python3 own.py\"";
    assert_eq!(tools.sh("tool.py", script), "403\n".repeat(9));
}

#[test]
fn options_of_the_first_line_count_where_the_script_itself_is_executed() {
    let tools = Tools::new();
    tools.add("alone.py", "#!/usr/bin/python3 -I", "ask()");
    let _ = tools.world.chiton.write_workspace("sitecustomize.py", "print('loaded')\n");
    let script = "export PYTHONPATH=/workspace T=/workspace/tools/alone.py; $T; python3 -I $T; python3 $T";
    assert_eq!(tools.sh("alone.py", script), "200\n403\nloaded\n403\n");
}

/// A process that writes over its own arguments, before and after a start that fails.
#[test]
fn what_a_process_says_of_itself_later_does_not_count() {
    let tools = Tools::new();
    let forge = r#"
import ctypes
fields = open("/proc/self/stat").read().rsplit(")", 1)[1].split()
start, end = int(fields[45]), int(fields[46])
told = b"python3\0/workspace/tools/tool.py\0"
assert end - start > len(told)
ctypes.memmove(start, told + bytes(end - start - len(told)), end - start)
assert open("/proc/self/cmdline", "rb").read().startswith(told)
ask()
open("/workspace/nothing", "w").close(); os.chmod("/workspace/nothing", 0o755)
try: os.execv("/workspace/nothing", ["python3", "/workspace/tools/tool.py"])
except OSError: pass
os.stat("/"); ask()
# Nothing can be told of it, and then it can again.
for dumpable in 0, 1:
    try: os.execv("/workspace/nothing", ["python3", "/workspace/tools/tool.py"])
    except OSError: pass
    ctypes.CDLL(None).prctl(4, dumpable, 0, 0, 0); os.stat("/"); ask()
"#;
    let _ = tools.world.chiton.write_workspace("forge.py", format!("{ASK}{forge}"));
    let script = "python3 /workspace/forge.py and-so-much-more-that-there-is-room-for-another-name";
    assert_eq!(tools.sh("tool.py", script), "403\n403\n403\n403\n");
}

#[test]
fn a_further_start_is_another_program_and_a_fork_is_none() {
    let tools = Tools::new();
    let own = format!("{ASK}ask()");
    let rest = |how: &str| {
        format!(
            "import subprocess, threading\nOWN = {own:?}\n\
             def child(do):\n    pid = os.fork()\n    if pid == 0:\n        do(); os._exit(0)\n    os.waitpid(pid, 0)\n{how}"
        )
    };
    let all = "ask(); t = threading.Thread(target=ask); t.start(); t.join(); child(ask); \
               subprocess.run(['python3', '/workspace/own.py']); ask(); \
               os.chdir('/usr/bin'); os.execv('./python3', ['python3', '-c', OWN, '/workspace/tools/tool.py'])";
    tools.add("many.py", "#!/usr/bin/python3", &rest(all));
    assert_eq!(tools.sh("many.py", "python3 /workspace/tools/many.py"), "200\n200\n403\n403\n200\n403\n");
    let start = "import os; os.execv('/usr/bin/python3', ['python3', '/workspace/tools/tool.py'])";
    let _ = tools.world.chiton.write_workspace("start.py", start);
    assert_eq!(tools.sh("tool.py", "python3 start.py"), "200\n");
}

/// The script connects, and another process of the same interpreter holds the connection when it is first asked about.
#[test]
fn a_connection_that_another_process_holds_is_no_longer_the_scripts() {
    let tools = Tools::new();
    let hand = r#"
import socket, ssl, subprocess
def get(s):
    s = ssl.create_default_context().wrap_socket(s, server_hostname="api.example.com")
    s.sendall(b"GET /x HTTP/1.1\r\nHost: api.example.com\r\nConnection: close\r\n\r\n")
    print(s.recv(65536).split(b" ")[1].decode(), flush=True)
if len(sys.argv) > 1: get(socket.socket(fileno=int(sys.argv[1]))); sys.exit()
get(socket.create_connection(("api.example.com", 443), 20))
s = socket.create_connection(("api.example.com", 443)); s.set_inheritable(True)
subprocess.run(["python3", "/workspace/tools/hand.py", str(s.fileno())], close_fds=False)
s = socket.create_connection(("api.example.com", 443)); s.set_inheritable(True)
os.execv("/usr/bin/python3", ["python3", "/workspace/tools/hand.py", str(s.fileno())])
"#;
    tools.add("hand.py", "#!/usr/bin/python3", hand);
    // Also where that one was started with the same script.
    assert_eq!(tools.sh("hand.py", "python3 /workspace/tools/hand.py"), "200\n403\n403\n");
}

#[test]
fn a_script_that_can_be_written_or_was_is_not_told() {
    let tools = Tools::new();
    tools.add("linked.py", "#!/usr/bin/python3", "ask()");
    fs::hard_link(tools.host.join("linked.py"), tools.world.chiton.workspace().join("name.py"))
        .expect("a link");
    assert_eq!(tools.sh("linked.py", "python3 /workspace/tools/linked.py"), "403\n");
    let wait = "touch asked; until test -e go; do sleep 0.02; done";
    let script = format!("python3 /workspace/tools/tool.py; {wait}; python3 /workspace/tools/tool.py");
    let out = thread::scope(|scope| {
        let ran = scope.spawn(|| tools.sh("tool.py", &script));
        let deadline = Instant::now() + Duration::from_secs(30);
        while !tools.world.chiton.workspace().join("asked").exists() && Instant::now() < deadline {
            thread::sleep(Duration::from_millis(10));
        }
        let path = tools.host.join("tool.py");
        let mut text = fs::read(&path).expect("it");
        text.extend_from_slice(b"# more\n");
        fs::write(&path, text).expect("it is written in place");
        let _ = tools.world.chiton.write_workspace("go", "");
        ran.join().expect("it ran")
    });
    assert_eq!(out, "200\n403\n");
}

/// A folder of the workspace can be moved with what is mounted in it. A script in one is nobody's, and the agent cannot
/// make one of its own under the name that is free now.
#[test]
fn a_folder_that_can_be_moved_lends_no_name() {
    let tools = Tools::new();
    let (from, to) = (&tools.host, tools.world.chiton.workspace().join("moves/tools"));
    fs::create_dir_all(to.parent().expect("a folder")).expect("a folder");
    fs::rename(from, &to).expect("it moves");
    let policy = Tools::policy("tool.py").replace("/workspace/tools", "/workspace/moves/tools");
    let script = "python3 /workspace/moves/tools/tool.py; mv moves away && mkdir moves && mkdir moves/tools 2>/dev/null || echo refused; \
                  python3 /workspace/away/tools/tool.py";
    let out = tools.world.sh(&policy, script).expect_success().stdout;
    assert_eq!(out, "403\nrefused\n403\n");
}

/// Who traces a process can write its arguments before we read them, and put them back before it does. The names of both
/// scripts are as long.
#[test]
fn a_process_that_is_traced_has_no_script() {
    let tools = Tools::new();
    let trace = r#"
import ctypes, os, sys
ptrace = ctypes.CDLL(None, use_errno=True).ptrace
ptrace.argtypes, ptrace.restype = [ctypes.c_long, ctypes.c_long, ctypes.c_void_p, ctypes.c_void_p], ctypes.c_long
OWN, FORGED = b"/workspace/mine/mine1.py", b"/workspace/tools/tool.py"
SYSCALL, DETACH, POKE = 24, 17, 5
def write(pid, at, text):
    for offset in range(0, len(text), 8):
        assert ptrace(POKE, pid, at + offset, int.from_bytes(text[offset:offset + 8], "little")) == 0
def forged(calls):
    pid = os.fork()
    if pid == 0:
        ptrace(0, 0, None, None); os.execv("/usr/bin/python3", [b"python3", OWN])
    os.waitpid(pid, 0)
    at = int(open(f"/proc/{pid}/stat").read().rsplit(")", 1)[1].split()[45]) + len(b"python3") + 1
    write(pid, at, FORGED)
    for _ in range(calls):
        ptrace(SYSCALL, pid, None, None); os.waitpid(pid, 0)
    write(pid, at, OWN); ptrace(DETACH, pid, None, None)
    os.waitpid(pid, 0)
forged(40)
if os.fork() == 0:
    ptrace(0, 0, None, None); os.execv("/usr/bin/python3", [b"python3", FORGED])
child, _ = os.wait(); ptrace(DETACH, child, None, None); os.wait()
"#;
    tools.world.chiton.write_workspace("trace.py", trace);
    fs::create_dir(tools.world.chiton.workspace().join("mine")).expect("a folder");
    tools.world.chiton.write_workspace("mine/mine1.py", format!("{ASK}ask()\n"));
    assert_eq!(tools.sh("tool.py", "python3 trace.py"), "403\n403\n");
}

/// A filter stays over a start, and may answer the calls that would have told of it.
#[test]
fn a_process_with_a_filter_of_its_own_has_no_script() {
    let tools = Tools::new();
    let filter = r#"
import ctypes, os, sys
class Program(ctypes.Structure): _fields_ = [("length", ctypes.c_ushort), ("steps", ctypes.c_void_p)]
ALLOW = ctypes.create_string_buffer(b"\x06\0\0\0" + (0x7fff0000).to_bytes(4, "little"), 8)
program = Program(1, ctypes.addressof(ALLOW))
if len(sys.argv) > 1:
    assert ctypes.CDLL(None).prctl(22, 2, ctypes.byref(program), 0, 0) == 0
os.execv("/usr/bin/python3", ["python3", "/workspace/tools/tool.py"])
"#;
    tools.world.chiton.write_workspace("filter.py", filter);
    assert_eq!(tools.sh("tool.py", "python3 filter.py; python3 filter.py on"), "200\n403\n");
}

/// The limit, as SECURITY.md has it.
#[test]
fn what_the_agent_makes_the_interpreter_load_is_the_script() {
    let tools = Tools::new();
    let _ = tools.world.chiton.write_workspace("sitecustomize.py", format!("{ASK}ask()\nos._exit(0)\n"));
    let script = "PYTHONPATH=/workspace python3 /workspace/tools/tool.py";
    assert_eq!(tools.sh("tool.py", script), "200\n");
    let check = tools.world.chiton.policy(&Tools::policy("tool.py"));
    let said = tools.world.chiton.run(&["policy", "check", check.to_str().expect("a path")]).expect_success();
    assert!(format!("{said:?}").contains("what else it loads the agent still chooses"), "{said:?}");
}
