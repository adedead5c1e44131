//! A whole sandbox for tests: every stage, as the supervisor calls them, with lookups passed on unjudged (judging
//! them is another crate's) and with a small server behind the captured listeners.

#![allow(
    dead_code,
    clippy::allow_attributes,
    clippy::unwrap_used,
    clippy::indexing_slicing,
    reason = "each test file uses a part of it, and its failures are the test's"
)]

use std::{
    fs::File,
    io::{Read as _, Write as _},
    net::{TcpListener, UdpSocket},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{fs::PermissionsExt as _, process::CommandExt as _},
    },
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use chiton_confine::{
    ConfinementPlan, HostFacts, Identity, PlanInputs, StaticRules, capture,
    locks::{self, AgentLocks},
    namespaces,
    plan::plan,
    view::View,
};
use chiton_sys::{
    Errno,
    capability::CapabilitySet,
    descriptors,
    notify::{self, Answer},
    process::{self, Fork},
};
use rustix::{
    event::{PollFd, PollFlags, poll},
    fs::{Gid, Uid},
    net::{AddressFamily, SocketFlags, SocketType, socketpair},
    process::{Pid, WaitOptions, waitpid},
};

/// Straight to descriptor 2: what a forked child prints by `eprintln!` the test harness would keep.
macro_rules! say {
    ($($word:tt)*) => {{ let _ = writeln!(std::io::stderr(), $($word)*); }};
}

/// An ordinary user that the tests become.
pub(crate) const ORDINARY: u32 = 54_321;
/// The host id that root's sandboxes get.
pub(crate) const MAPPED: u32 = 60_123;

/// Which kind of sandbox.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum As {
    Root,
    Ordinary,
}

#[derive(Clone, Debug)]
pub(crate) struct Setup {
    pub(crate) who: As,
    pub(crate) rules: StaticRules,
    pub(crate) workspace: Option<PathBuf>,
    pub(crate) own_folders: Vec<PathBuf>,
    pub(crate) authority: String,
    pub(crate) timings: bool,
    /// Changes the plan before it is applied: to take a defence out.
    pub(crate) change: fn(&mut ConfinementPlan),
    /// Descriptors 0, 1, 2 stay the caller's.
    pub(crate) attached: bool,
}

#[derive(Debug)]
pub(crate) struct Output {
    pub(crate) status: i32,
    pub(crate) text: String,
}

impl Setup {
    pub(crate) fn new(who: As) -> Self {
        Self {
            who,
            rules: StaticRules {
                allowed: vec!["/workspace".into(), "/tmp".into()],
                ..StaticRules::default()
            },
            workspace: None,
            own_folders: Vec::new(),
            authority: "-----BEGIN CERTIFICATE-----\nsandbox authority\n-----END CERTIFICATE-----\n"
                .to_owned(),
            timings: false,
            change: |_| {},
            attached: false,
        }
    }

    pub(crate) fn workspace(mut self, path: &Path) -> Self {
        self.workspace = Some(path.to_owned());
        self
    }

    /// Runs `sh -c script` inside and collects what it writes.
    pub(crate) fn sh(&self, script: &str) -> Output {
        self.run(&["/bin/sh", "-c", script])
    }

    pub(crate) fn run(&self, argv: &[&str]) -> Output {
        let (mut reader, writer) = std::io::pipe().unwrap();
        match process::fork().unwrap() {
            Fork::Child => {
                drop(reader);
                if !self.attached {
                    let null = File::open("/dev/null").unwrap();
                    chiton_sys::spawn::replace_standard([null.as_fd(), writer.as_fd(), writer.as_fd()])
                        .unwrap();
                }
                drop(writer);
                let status = match self.supervise(argv) {
                    Ok(status) => status,
                    Err(e) => {
                        let _ = writeln!(std::io::stderr(), "sandbox: {e}");
                        125
                    }
                };
                process::exit_now(u8::try_from(status).unwrap_or(255));
            }
            Fork::Parent(child) => {
                drop(writer);
                let mut text = Vec::new();
                reader.read_to_end(&mut text).unwrap();
                let status = wait(child);
                Output { status, text: String::from_utf8_lossy(&text).into_owned() }
            }
        }
    }

    fn supervise(&self, argv: &[&str]) -> Result<i32, Box<dyn std::error::Error>> {
        let mut clock = Clock::new(self.timings);
        let identity = match self.who {
            As::Root => Identity::Mapped { host_id: MAPPED },
            As::Ordinary => {
                become_ordinary();
                Identity::Caller
            }
        };
        let entered = namespaces::enter(identity, "shell")?;
        clock.lap("namespaces");
        let listeners = capture::build()?;
        clock.lap("capture");
        let inputs = PlanInputs {
            name: "shell".into(),
            identity,
            uid: entered.uid,
            gid: entered.gid,
            workspace: self.workspace.clone(),
            caller_home: "/home/caller".into(),
            extra_read_only: Vec::new(),
            system: chiton_confine::plan::System::Host,
            own_folders: self.own_folders.clone(),
            policy_file: None,
            devices: Vec::new(),
            device_files: Vec::new(),
            authority_pem: self.authority.clone(),
        };
        let mut plan = plan(&self.rules, &HostFacts::read(), &inputs)?;
        (self.change)(&mut plan);
        clock.lap("plan");
        let folders = entered.folders.open(&plan.folders)?;
        clock.lap("folders");
        namespaces::new_pid_namespace()?;
        let (ours, theirs) =
            socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
        match process::fork()? {
            Fork::Child => {
                drop(ours);
                let status = match init(&plan, folders, &theirs, argv, &mut clock) {
                    Ok(status) => status,
                    Err(e) => {
                        let _ = writeln!(std::io::stderr(), "init: {e}");
                        125
                    }
                };
                process::exit_now(u8::try_from(status).unwrap_or(255));
            }
            Fork::Parent(init) => {
                drop((theirs, folders));
                serve(&ours, &listeners, &plan);
                Ok(wait(init))
            }
        }
    }
}

struct Clock(Option<Instant>);

impl Clock {
    fn new(on: bool) -> Self {
        Self(on.then(Instant::now))
    }

    fn lap(&mut self, what: &str) {
        if let Some(since) = &mut self.0 {
            say!("{what}: {} us", since.elapsed().as_micros());
            *since = Instant::now();
        }
    }
}

fn become_ordinary() {
    if !rustix::process::geteuid().is_root() {
        return;
    }
    let (uid, gid) = (Uid::from_raw(ORDINARY), Gid::from_raw(ORDINARY));
    rustix::thread::set_thread_groups(&[]).unwrap();
    rustix::thread::set_thread_res_gid(gid, gid, gid).unwrap();
    rustix::thread::set_thread_res_uid(uid, uid, uid).unwrap();
}

fn init(
    plan: &ConfinementPlan,
    folders: Vec<OwnedFd>,
    outer: &OwnedFd,
    argv: &[&str],
    clock: &mut Clock,
) -> Result<i32, Box<dyn std::error::Error>> {
    clock.lap("fork");
    let view = View::assemble(plan, folders)?;
    clock.lap("assemble");
    view.mount_proc()?;
    clock.lap("proc");
    view.enter()?;
    clock.lap("enter");
    let locks = AgentLocks::prepare(plan)?;
    clock.lap("prepare locks");
    locks::apply_to_init()?;
    clock.lap("lock init");
    match process::fork()? {
        Fork::Child => {
            // A descriptor that somebody forgot to mark: the locks do.
            std::mem::forget(rustix::io::dup(outer)?);
            let applied = locks.apply()?;
            descriptors::send(outer, b"l", &[applied.listener.as_fd()])?;
            drop(applied);
            clock.lap("lock agent");
            let (program, arguments) = argv.split_first().unwrap();
            let error = Command::new(program)
                .args(arguments)
                .env_clear()
                .envs([
                    ("PATH", "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"),
                    ("HOME", "/home/agent"),
                ])
                .exec();
            say!("exec {program}: {error}");
            process::exit_now(127);
        }
        Fork::Parent(child) => Ok(wait(child)),
    }
}

/// Passes every lookup on, and answers what was captured, until init has ended.
fn serve(init: &OwnedFd, listeners: &capture::CapturedListeners, plan: &ConfinementPlan) {
    let (_, mut received) = descriptors::receive(init, &mut [0; 8]).unwrap_or_default();
    let Some(listener) = received.pop() else { return };
    let keep = CapabilitySet::SYS_PTRACE;
    locks::apply_to_outer(keep).unwrap();
    let all = copies(listeners.tcp.iter().chain(&listeners.dns_tcp));
    let tcp: Vec<TcpListener> = all.into_iter().map(Into::into).collect();
    let udp: Vec<UdpSocket> = copies(&listeners.dns_udp).into_iter().map(Into::into).collect();
    loop {
        let mut fds = vec![PollFd::new(&listener, PollFlags::IN)];
        fds.extend(tcp.iter().map(|l| PollFd::new(l, PollFlags::IN)));
        fds.extend(udp.iter().map(|l| PollFd::new(l, PollFlags::IN)));
        fds.push(PollFd::new(&listeners.dropped, PollFlags::IN));
        poll(&mut fds, None).unwrap();
        let asked = fds[0].revents();
        if asked.contains(PollFlags::IN) {
            if let Ok(question) = notify::receive(&listener) {
                let blocked = u32::try_from(question.number).is_ok_and(|n| plan.seccomp.is_blocked(n));
                let answer = if blocked { Answer::Error(Errno::PERM) } else { Answer::Continue };
                let _ = notify::answer(&listener, question.id, answer);
            }
        } else if asked.intersects(PollFlags::HUP | PollFlags::ERR) {
            drain(&listeners.dropped);
            return;
        }
        tcp.iter().for_each(|listener| answer_tcp(listener, listeners.ports.tcp));
        udp.iter().for_each(answer_dns);
        drain(&listeners.dropped);
    }
}

fn answer_tcp(listener: &TcpListener, listeners_port: u16) {
    if let Ok((mut stream, _)) = listener.accept() {
        let meant = chiton_sys::socket::original_destination(&stream);
        stream.set_nonblocking(false).unwrap();
        let _ = stream.read(&mut [0; 4096]);
        let port = stream.local_addr().unwrap().port();
        let which = if listeners_port == port { "captured" } else { "dns" };
        let own_end = chiton_sys::socket::mark(&stream) == Ok(chiton_sys::socket::OWN_END);
        let end = if own_end || which == "dns" { "" } else { ", with another end" };
        let body = format!("{which} {meant:?}{end}\n");
        let answer = format!("HTTP/1.0 200 OK\r\ncontent-length: {}\r\n\r\n{body}", body.len());
        let _ = stream.write_all(answer.as_bytes());
    }
}

/// Answers any question with 198.18.1.7.
fn answer_dns(socket: &UdpSocket) {
    let mut packet = [0; 512];
    if let Ok((length, from)) = socket.recv_from(&mut packet) {
        let mut answer = packet[..length].to_vec();
        answer[2] = 0x81;
        answer[3] = 0x80;
        answer[7] = 1;
        answer.extend([0xC0, 0x0C, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 198, 18, 1, 7]);
        let _ = socket.send_to(&answer, from);
    }
}

fn drain(dropped: &OwnedFd) {
    let mut buffer = [0_u8; 8192];
    while let Ok((length, _)) = rustix::net::recv(dropped, &mut buffer, rustix::net::RecvFlags::DONTWAIT) {
        say!("dropped a packet ({length} bytes of notice)");
    }
}

fn copies<'a>(fds: impl IntoIterator<Item = &'a OwnedFd>) -> Vec<OwnedFd> {
    fds.into_iter().map(|fd| fd.try_clone().unwrap()).collect()
}

fn wait(child: Pid) -> i32 {
    let waited = rustix::io::retry_on_intr(|| waitpid(Some(child), WaitOptions::empty()));
    let (_, status) = waited.unwrap().unwrap();
    status.exit_status().or_else(|| status.terminating_signal().map(|s| 128 + s)).unwrap_or(255)
}

/// Both kinds where the tests run as root, else the caller's own.
pub(crate) fn kinds() -> Vec<As> {
    if rustix::process::geteuid().is_root() { vec![As::Root, As::Ordinary] } else { vec![As::Ordinary] }
}

/// A folder of the given owner, gone with the value.
pub(crate) struct Workspace(pub(crate) tempfile::TempDir);

impl Workspace {
    pub(crate) fn new(who: As) -> Self {
        let folder = tempfile::tempdir().unwrap();
        std::fs::set_permissions(folder.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
        let workspace = Self(folder);
        workspace.own(who, ".");
        workspace
    }

    pub(crate) fn path(&self) -> &Path {
        self.0.path()
    }

    pub(crate) fn write(&self, who: As, name: &str, text: &str) {
        let path = self.path().join(name);
        let mut made = self.path().to_owned();
        for part in Path::new(name).parent().unwrap().components() {
            made.push(part);
            let _ = std::fs::create_dir(&made);
            chown(&made, who);
        }
        std::fs::write(&path, text).unwrap();
        chown(&path, who);
    }

    fn own(&self, who: As, name: &str) {
        chown(&self.path().join(name), who);
    }
}

fn chown(path: &Path, who: As) {
    if who == As::Ordinary && rustix::process::geteuid().is_root() {
        std::os::unix::fs::chown(path, Some(ORDINARY), Some(ORDINARY)).unwrap();
    }
}
