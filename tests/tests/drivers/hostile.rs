//! The first process of a container as attacker: another program in the place of ours, with all that ours is given.
//! The gateway and the driver are the real ones.
//!
//! A gateway whose file has another's name takes a copy of itself for its containers. Here the copy is the probe.

use std::{
    fs,
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    path::{Path, PathBuf},
    process::Stdio,
    time::{Duration, Instant},
};

use chiton_testkit::{
    Chiton, Outcome,
    engines::{Engine, Kind},
    harness::{binary, finish, probe_binary},
};
use serde_json::Value;

use crate::{KINDS, chiton, nothing_left, run, shared};

/// More than a gateway of a debug build takes for anything here.
const MEMORY: u64 = 300 << 10;

struct Hostile {
    chiton: Chiton,
    engine: &'static Engine,
    gateway: rustix::process::Pid,
}

impl Hostile {
    /// A gateway with a sandbox `other` of its own, whose next containers have the probe in the place of chiton.
    fn new(kind: Kind) -> Self {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let program = chiton.write("program/chiton", "");
        fs::remove_file(&program).expect("a folder");
        if fs::hard_link(binary(), &program).is_err() {
            fs::copy(binary(), &program).expect("a copy");
        }
        let mut start = chiton.command_of(&program, &["gateway", "start"]);
        let started = start.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
        let _ = finish(started.expect("the program"), &["gateway", "start"]).expect_success();
        let _ = run(&chiton, engine, "busybox", &["-d", "-n", "other"], &["sleep", "1000"]).expect_success();
        // Its user's own file, as what somebody built is.
        let probe = fs::read(probe_binary()).expect("the probe");
        let copy =
            place(&chiton.path("run").join(engine.driver()).join("chiton"), &probe, &chiton.workspace());
        let _ = place(&program, b"another", &chiton.workspace());
        assert!(copy.is_file());
        let gateway = chiton_tests::gateway(&chiton);
        Self { chiton, engine, gateway }
    }

    /// `chiton run` with a first process that does this; and what it found.
    fn run(&self, name: &str, plan: &str) -> (Outcome, Vec<Value>) {
        self.plan(plan);
        let outcome = run(&self.chiton, self.engine, "busybox", &["-n", name], &["true"]);
        (outcome, self.found())
    }

    fn plan(&self, plan: &str) {
        let _ = fs::remove_file(self.chiton.workspace().join("found"));
        let plan = self.chiton.write_workspace("plan", plan);
        fs::set_permissions(plan, fs::Permissions::from_mode(0o644)).expect("mode");
    }

    fn found(&self) -> Vec<Value> {
        let found = fs::read_to_string(self.chiton.workspace().join("found")).unwrap_or_default();
        found.lines().map(|line| serde_json::from_str(line).expect("a line of JSON")).collect()
    }

    /// The same gateway, no larger than it may be, with its other sandbox, and nothing of this one.
    fn goes_on(&self) {
        assert_eq!(chiton_tests::gateway(&self.chiton), self.gateway, "the gateway ended");
        let status = fs::read_to_string(format!("/proc/{}/status", self.gateway)).expect("its status");
        let most = status.lines().find_map(|line| line.strip_prefix("VmHWM:")).expect("its memory");
        let most: u64 = most.trim().trim_end_matches(" kB").parse().expect("a number");
        assert!(most < MEMORY, "{most} KiB");
        assert_eq!(self.chiton.run(&["exec", "other", "echo", "on"]).stdout, "on\n");
        let deadline = Instant::now() + Duration::from_secs(30);
        while self.engine.containers_of(&self.chiton.workspace()).len() > 1 {
            assert!(Instant::now() < deadline, "{:?}", self.engine.containers());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn end(self) {
        let _ = self.chiton.run(&["rm", "-f", "other"]).expect_success();
        nothing_left(&self.chiton, self.engine);
    }
}

/// A file with the owner of another.
fn place(path: &Path, bytes: &[u8], like: &Path) -> PathBuf {
    use std::os::unix::fs::{MetadataExt as _, chown};
    let fresh = path.with_extension("fresh");
    fs::write(&fresh, bytes).expect("a file");
    fs::set_permissions(&fresh, fs::Permissions::from_mode(0o755)).expect("mode");
    let owner = fs::metadata(like).expect("an owner");
    chown(&fresh, Some(owner.uid()), Some(owner.gid())).expect("chown");
    fs::rename(&fresh, path).expect("a rename");
    path.to_owned()
}

fn words(outcome: &Outcome) {
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let errors = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).count();
    assert_eq!(errors, 1, "{outcome:?}");
    assert!(
        !outcome.stderr.contains('\u{1b}') && outcome.stderr.len() < 64 << 10,
        "{}",
        outcome.stderr.len()
    );
}

/// What must be refused to it. `{folder}` is where the container has what it is given.
const REFUSED: &str = "\
write {folder}/chiton
truncate {folder}/chiton
chmod-setuid {folder}/chiton
unlink {folder}/chiton
rename {folder}/chiton {folder}/other
create {folder}/new
create {folder}/hand-over/new
unlink {folder}/hand-over/hand-over.sock
write-in-namespace {folder}/chiton
write-in-namespace {folder}/hand-over
mknod-device {folder}/workspace/null
chown-root {folder}/workspace/plan
setxattr-capability {folder}/workspace/plan
open-by-handle {folder}/workspace
mount
umount
chroot
setuid-0
setresuid-0
setgroups
sethostname
settimeofday
reboot
kexec-load
init-module
finit-module
bpf
perf-event-open
userfaultfd
io-uring
keyctl
add-key
request-key
swapon
acct
quotactl
fanotify-init
iopl
x32
unknown-call
i386
raw-socket
packet-socket
vsock-socket
alg-socket
write /proc/sys/kernel/core_pattern x
write /proc/sys/kernel/hostname x
write /proc/sysrq-trigger h
read /proc/kcore
read /proc/kmsg
write /sys/kernel/uevent_helper x
write /sys/fs/cgroup/release_agent x
";

#[test]
fn it_reaches_nothing_but_its_container() {
    KINDS.into_iter().for_each(reaches_nothing);
}

fn reaches_nothing(kind: Kind) {
    let hostile = Hostile::new(kind);
    let Hostile { chiton, engine, .. } = &hostile;
    let tcp = std::net::TcpListener::bind("127.0.0.1:0").expect("a port");
    let folder = tempfile::tempdir_in("/var/tmp").expect("a folder");
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o755)).expect("mode");
    let socket = folder.path().join("host.sock");
    let _listens = UnixListener::bind(&socket).expect("a socket");
    fs::set_permissions(&socket, fs::Permissions::from_mode(0o777)).expect("mode");
    let abstract_name = format!("chiton-test-{}-{kind:?}", std::process::id());
    let _named = abstract_listener(&abstract_name);
    let outside = [
        format!("connect-unix {}", engine.socket().display()),
        format!("connect-unix {}", chiton.path("run").join("gateway.sock").display()),
        format!("connect-unix {}", socket.display()),
        format!("connect-abstract {abstract_name}"),
        format!("tcp {}", tcp.local_addr().expect("an address")),
        format!("list {}", chiton.path("state").display()),
        format!("list /proc/1/root{}", chiton.path("run").display()),
        "list /var/run/docker".to_owned(),
    ];
    let seen = "processes\nmounts\ninterfaces\nenvironment\nids\ndescriptors\n";
    let plan = format!("{seen}{REFUSED}{}\npapers\nclimb\ngateway\n", outside.join("\n"));
    let (outcome, found) = hostile.run("bad", &plan);
    words(&outcome);
    let (open, rest): (Vec<_>, Vec<_>) = found.iter().partition(|one| one["ok"] == true);
    let mut names: Vec<_> = open.iter().filter_map(|one| one["attempt"].as_str()).collect();
    names.sort_unstable();
    let wanted = ["descriptors", "environment", "ids", "interfaces", "mounts", "papers", "processes"];
    assert_eq!(names, wanted, "{kind:?} {open:#?}");
    assert!(rest.len() >= REFUSED.lines().count() + outside.len() + 6, "{kind:?} {rest:#?}");
    // By the profile, and not for want of somebody who listens.
    let vsock = rest.iter().find(|one| one["attempt"] == "vsock-socket").expect("it");
    assert_eq!(vsock["errno"], "EPERM", "{kind:?} {vsock}");
    let said = |name: &str| {
        let one = open.iter().find(|one| one["attempt"] == name).expect("it");
        one["detail"].as_str().expect("text").to_owned()
    };
    // Itself, and the probe that looks.
    assert_eq!(said("processes").split(' ').count(), 2, "{kind:?} {}", said("processes"));
    assert_eq!(said("papers"), "4");
    assert_eq!(said("interfaces").lines().count(), 3, "{kind:?} {}", said("interfaces"));
    assert!(said("ids").contains("CapBnd: 0000000000000000"), "{kind:?} {}", said("ids"));
    assert!(said("ids").contains("Uid: 7100 7100 7100 7100"), "{kind:?} {}", said("ids"));
    assert!(!said("environment").contains("proxy-password"), "{kind:?} {}", said("environment"));
    let ours = chiton.path("state").parent().expect("a folder").to_owned();
    let mounts = said("mounts");
    let given = mounts.lines().filter(|line| line.contains("/.chiton-")).count();
    assert_eq!(given, 3, "{kind:?} {mounts}");
    let of_host = mounts.lines().filter(|line| line.contains(ours.to_str().expect("UTF-8"))).count();
    assert!(of_host <= 1, "{kind:?} {mounts}");
    hostile.goes_on();
    hostile.end();
}

fn abstract_listener(name: &str) -> UnixListener {
    use std::os::{linux::net::SocketAddrExt as _, unix::net::SocketAddr};
    UnixListener::bind_addr(&SocketAddr::from_abstract_name(name).expect("a name")).expect("a socket")
}

/// What it starts may not have what it is given: that would not end with the container.
#[test]
fn a_child_of_it_is_given_nothing() {
    for kind in KINDS {
        let hostile = Hostile::new(kind);
        let (outcome, found) = hostile.run("bad", "ask {folder}/hand-over/hand-over.sock\n");
        words(&outcome);
        assert!(outcome.stderr.contains("it is not the first process"), "{kind:?} {outcome:?}");
        assert!(found.iter().all(|one| one["ok"] == false), "{kind:?} {found:?}");
        hostile.goes_on();
        hostile.end();
    }
}

/// Every connection that it has to the gateway carries what is no answer; every file that the gateway reads is as long
/// as no disk.
#[test]
fn what_it_says_harms_nobody() {
    let grown = "grow exit 4294967296\ngrow log 1099511627776\ngrow events 1099511627776\n";
    for kind in KINDS {
        let hostile = Hostile::new(kind);
        for how in ["junk", "endless", "deep", "many", "words"] {
            let (outcome, _) = hostile.run("bad", &format!("papers\n{grown}answer {how}\n"));
            words(&outcome);
            hostile.goes_on();
        }
        // One that ends instead of an answer.
        let (outcome, _) = hostile.run("bad", &format!("papers\n{grown}"));
        words(&outcome);
        hostile.goes_on();
        hostile.end();
    }
}

/// The sandbox that it pretends to be is nobody's but its own.
#[test]
fn what_it_pretends_harms_nobody() {
    KINDS.into_iter().for_each(pretends);
}

fn pretends(kind: Kind) {
    let hostile = Hostile::new(kind);
    let (outcome, _) = hostile.run("bad", "papers\ngrow events 1099511627776\nanswer pretence\n");
    // The proxy does not take what is no listener.
    assert_ne!(outcome.status, 0, "{outcome:?}");
    assert!(!outcome.stderr.contains('\u{1b}'), "{outcome:?}");
    let _ = hostile.chiton.run(&["rm", "-f", "bad"]);
    hostile.goes_on();
    hostile.end();
}

/// While one says nothing, the others are served; its end is awaited by who asked for it alone.
#[test]
fn its_silence_is_not_waited_for_by_others() {
    KINDS.into_iter().for_each(is_silent);
}

fn is_silent(kind: Kind) {
    let hostile = Hostile::new(kind);
    hostile.plan("papers\nanswer silence\n");
    std::thread::scope(|scope| {
        let silent =
            scope.spawn(|| run(&hostile.chiton, hostile.engine, "busybox", &["-n", "bad"], &["true"]));
        while hostile.found().is_empty() {
            assert!(!silent.is_finished(), "{:?}", silent.join());
            std::thread::sleep(Duration::from_millis(10));
        }
        assert_eq!(hostile.chiton.run(&["exec", "other", "echo", "on"]).stdout, "on\n");
        let listed = hostile.chiton.run(&["ps", "--json"]).json();
        let listed = listed.as_array().expect("a list").iter();
        let states: Vec<_> = listed.map(|one| (&one["name"], &one["state"])).collect();
        assert!(states.iter().any(|(name, state)| *name == "other" && *state == "running"), "{states:?}");
        let containers = hostile.engine.containers_of(&hostile.chiton.workspace());
        let named = |one: &&Value| one["Names"].to_string().contains("chiton-bad-");
        let bad = containers.iter().find(named).expect("its container");
        hostile.engine.kill_container(bad["Id"].as_str().expect("its id"));
        words(&silent.join().expect("an outcome"));
    });
    hostile.goes_on();
    hostile.end();
}
