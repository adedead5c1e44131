//! Runs real programs under a server in this process. A child loads a filter that sends every call of the table
//! here, passes its listener over a socket, and becomes the program.

use std::{
    collections::HashSet,
    fs::File,
    io::{Read as _, Write as _},
    os::{
        fd::{AsFd as _, OwnedFd},
        unix::{
            net::{UnixListener, UnixStream},
            process::CommandExt as _,
        },
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
    sync::{Arc, Mutex},
};

use chiton_lookup::{Literal, LookupConfig, Rules, Server, Sink, Standing, Started, Wanted};
use chiton_sys::seccomp::{Instruction, Wait, load_with_listener};
use rustix::fs::{Mode, OFlags};

/// Rules by example: literals, names that are denied anywhere, endings that are denied in one folder.
#[derive(Clone, Default)]
pub(crate) struct TestRules {
    pub(crate) literals: Vec<Literal>,
    pub(crate) names: Vec<String>,
    pub(crate) endings: Vec<(PathBuf, String)>,
    pub(crate) read_only: Vec<PathBuf>,
}

impl TestRules {
    pub(crate) fn deny(mut self, path: impl Into<PathBuf>) -> Self {
        self.literals.push(Literal { path: path.into(), standing: Standing::Denied });
        self
    }

    pub(crate) fn folder_only(mut self, path: impl Into<PathBuf>) -> Self {
        self.literals.push(Literal { path: path.into(), standing: Standing::FolderOnly });
        self
    }

    pub(crate) fn protect(mut self, path: impl Into<PathBuf>) -> Self {
        self.literals.push(Literal { path: path.into(), standing: Standing::Protected });
        self
    }

    pub(crate) fn deny_name(mut self, name: &str) -> Self {
        self.names.push(name.into());
        self
    }

    pub(crate) fn deny_ending(mut self, folder: impl Into<PathBuf>, ending: &str) -> Self {
        self.endings.push((folder.into(), ending.into()));
        self
    }
}

impl Rules for TestRules {
    fn judge(&self, path: &Path) -> Standing {
        let named = path.iter().any(|part| self.names.iter().any(|name| part == name.as_str()));
        let ended = path.ancestors().any(|path| {
            let name = path.file_name().unwrap_or_default().to_string_lossy();
            self.endings
                .iter()
                .any(|(folder, ending)| path.parent() == Some(folder) && name.ends_with(ending))
        });
        if named || ended {
            return Standing::Denied;
        }
        let covers =
            |l: &&Literal| path == l.path || l.standing > Standing::FolderOnly && path.starts_with(&l.path);
        let literals = self.literals.iter().filter(covers).map(|l| l.standing);
        let read_only = self.read_only.iter().filter(|p| path.starts_with(p)).map(|_| Standing::ReadOnly);
        literals.chain(read_only).max().unwrap_or(Standing::Open)
    }

    fn literals(&self) -> &[Literal] {
        &self.literals
    }

    fn place_matters_below(&self, directory: &Path) -> bool {
        self.endings.iter().any(|(folder, _)| folder.starts_with(directory))
    }

    fn near(&self, _path: &Path) -> Option<PathBuf> {
        None
    }

    fn has_patterns(&self) -> bool {
        !self.names.is_empty() || !self.endings.is_empty()
    }
}

/// What was reported.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Event {
    Started { file: PathBuf, script: Option<PathBuf>, arguments: usize },
    NotStarted(PathBuf),
    Refused { file: PathBuf, wanted: Wanted, times: u64 },
    Blocked(u32),
}

#[derive(Clone, Default)]
pub(crate) struct Recorder(Arc<Mutex<Vec<Event>>>);

impl Recorder {
    pub(crate) fn events(&self) -> Vec<Event> {
        self.0.lock().unwrap().clone()
    }

    fn push(&self, event: Event) {
        self.0.lock().unwrap().push(event);
    }
}

impl Sink for Recorder {
    fn exec_started(&self, _process: u32, started: &Started<'_>) {
        let (file, script) = (started.file.into(), started.script.map(Into::into));
        self.push(Event::Started { file, script, arguments: started.arguments });
    }

    fn exec_denied(&self, _process: u32, file: &Path) {
        self.push(Event::NotStarted(file.into()));
    }

    fn exec_unjudged(&self) {}

    fn file_refused(&self, _process: u32, file: &Path, wanted: Wanted, times: u64) {
        self.push(Event::Refused { file: file.into(), wanted, times });
    }

    fn call_refused(&self, _process: u32, number: u32) {
        self.push(Event::Blocked(number));
    }
}

/// What a program said.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Said {
    pub(crate) out: String,
    pub(crate) err: String,
    pub(crate) code: Option<i32>,
}

/// A folder to work in, and a server that judges what happens there.
pub(crate) struct Rig {
    pub(crate) work: PathBuf,
    pub(crate) recorder: Recorder,
    server: Option<Server>,
    dir: tempfile::TempDir,
}

pub(crate) const SUPERVISOR: u32 = 1;

impl Rig {
    /// `rules` are made for the folder that is given to the closure.
    pub(crate) fn new(rules: impl FnOnce(&Path, TestRules) -> TestRules, blocked: &[u32]) -> Self {
        Self::prepared(|_| (), rules, blocked)
    }

    /// As [`Rig::new`], with something in the folder before the server starts.
    pub(crate) fn prepared(
        prepare: impl FnOnce(&Path),
        rules: impl FnOnce(&Path, TestRules) -> TestRules,
        blocked: &[u32],
    ) -> Self {
        let dir = tempfile::Builder::new().prefix("lookup").tempdir_in("/tmp").unwrap();
        let work = dir.path().join("w");
        std::fs::create_dir(&work).unwrap();
        prepare(&work);
        let recorder = Recorder::default();
        let open = |path: &str| {
            rustix::fs::open(path, OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC, Mode::empty()).unwrap()
        };
        let host_proc = std::env::var("LOOKUP_HOST_PROC").unwrap_or_else(|_| "/proc".into());
        // Without the right to mount there are no masks either.
        let unmasked = chiton_lookup::unmasked(std::slice::from_ref(&work)).unwrap_or_default();
        let config = LookupConfig {
            rules: Box::new(rules(&work, TestRules::default())),
            host_proc: open(&host_proc),
            root: open("/"),
            live: vec![work.clone()],
            private: vec!["/dev/shm".into()],
            supervisor: Some(SUPERVISOR),
            blocked: blocked.iter().copied().collect::<HashSet<u32>>(),
            sink: Box::new(recorder.clone()),
        };
        let server = Server::with_unmasked(config, unmasked).unwrap();
        server.begin().unwrap();
        Self { work, recorder, server: Some(server), dir }
    }

    /// Runs a program under the server.
    pub(crate) fn run(&self, program: &[&str]) -> Said {
        let socket = self.dir.path().join("s");
        let _absent = std::fs::remove_file(&socket);
        let listener = UnixListener::bind(&socket).unwrap();
        let (out, err) = (self.dir.path().join("out"), self.dir.path().join("err"));
        let mut child = itself()
            .args(["--exact", "harness::child", "--ignored", "--nocapture"])
            .env("LOOKUP_SOCKET", &socket)
            .env("LOOKUP_OUT", &out)
            .env("LOOKUP_ERR", &err)
            .env("LOOKUP_PROGRAM", program.join("\x1f"))
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.work)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        let (connection, _) = listener.accept().unwrap();
        let (_, fds) = chiton_sys::descriptors::receive(&connection, &mut [0]).unwrap();
        let fd: OwnedFd = fds.into_iter().next().unwrap();
        self.server.as_ref().unwrap().add_listener(fd).unwrap();
        (&connection).write_all(b"g").unwrap();
        let status = child.wait().unwrap();
        Said { out: read(&out), err: read(&err), code: status.code() }
    }

    /// Runs a program as it is.
    pub(crate) fn run_plainly(&self, program: &[&str]) -> Said {
        let ran = Command::new(program[0])
            .args(&program[1..])
            .env("LC_ALL", "C.UTF-8")
            .current_dir(&self.work)
            .stdin(Stdio::null())
            .output()
            .unwrap();
        Said {
            out: String::from_utf8_lossy(&ran.stdout).into(),
            err: String::from_utf8_lossy(&ran.stderr).into(),
            code: ran.status.code(),
        }
    }

    /// Runs a script of the shell, and expects it to succeed.
    #[track_caller]
    pub(crate) fn sh(&self, script: &str) -> String {
        let said = self.run(&["/bin/sh", "-c", script]);
        assert_eq!(said.code, Some(0), "{script}\n{}{}", said.out, said.err);
        said.out
    }

    /// Empties the folder.
    pub(crate) fn clear(&self) {
        for entry in std::fs::read_dir(&self.work).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() && !path.is_symlink() {
                std::fs::remove_dir_all(path).unwrap();
            } else {
                std::fs::remove_file(path).unwrap();
            }
        }
    }

    /// Stops the server, so that what was counted is reported, and returns the events.
    pub(crate) fn finish(mut self) -> Vec<Event> {
        drop(self.server.take());
        self.recorder.events()
    }
}

/// This program; in the namespaces that a test made, where it made some.
fn itself() -> Command {
    let Ok(namespace) = std::env::var("LOOKUP_PIDS") else {
        return Command::new(std::env::current_exe().unwrap());
    };
    let mut command = Command::new("nsenter");
    command.arg(format!("--pid={namespace}")).arg(std::env::var("LOOKUP_ITSELF").unwrap());
    command
}

fn read(path: &Path) -> String {
    String::from_utf8_lossy(&std::fs::read(path).unwrap_or_default()).into()
}

/// Not a test: what [`Rig::run`] starts.
#[test]
#[ignore = "the child of the other tests"]
fn child() {
    let Ok(socket) = std::env::var("LOOKUP_SOCKET") else { return };
    let mut connection = UnixStream::connect(socket).unwrap();
    let program = std::env::var("LOOKUP_PROGRAM").unwrap();
    let mut words = program.split('\x1f');
    let mut command = Command::new(words.next().unwrap());
    command.args(words).stdin(Stdio::null());
    command.stdout(File::create(std::env::var("LOOKUP_OUT").unwrap()).unwrap());
    command.stderr(File::create(std::env::var("LOOKUP_ERR").unwrap()).unwrap());
    for name in ["LOOKUP_SOCKET", "LOOKUP_OUT", "LOOKUP_ERR", "LOOKUP_PROGRAM"] {
        command.env_remove(name);
    }
    chiton_sys::process::set_no_new_privs().unwrap();
    let listener = load_with_listener(&filter(), Wait::KillableOnceReceived).unwrap();
    chiton_sys::descriptors::send(&connection, b"l", &[listener.as_fd()]).unwrap();
    drop(listener);
    connection.read_exact(&mut [0]).unwrap();
    panic!("{}", command.exec());
}

/// Every call of the table to the listener, `ptrace` too (for the blocked ones), all others allowed.
fn filter() -> Vec<Instruction> {
    const LOAD: u16 = 0x20;
    const EQUAL: u16 = 0x15;
    const RETURN: u16 = 0x06;
    const NOTIFY: u32 = 0x7fc0_0000;
    const ALLOW: u32 = 0x7fff_0000;
    let step = |code, jump_true, jump_false, operand| Instruction { code, jump_true, jump_false, operand };
    let mut program = vec![step(LOAD, 0, 0, 0)];
    let ptrace = u32::try_from(libc::SYS_ptrace).unwrap();
    for number in chiton_lookup::notified().chain([ptrace]) {
        program.push(step(EQUAL, 0, 1, number));
        program.push(step(RETURN, 0, 0, NOTIFY));
    }
    program.push(step(RETURN, 0, 0, ALLOW));
    program
}
