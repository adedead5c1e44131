//! Reaching the gateway, and starting one where none answers.
//!
//! Starting is serialised by a lock beside the socket: of two command lines that find no gateway, one starts it
//! and the other waits for the lock and finds it. Readiness is told by the child itself, as a line on its
//! standard output; nothing is guessed by time.

use std::{
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, ErrorKind},
    os::unix::{fs::OpenOptionsExt, net::UnixStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::Mutex,
    time::{Duration, Instant},
};

use chiton_api::paths::Paths;
use rustix::fs::{FlockOperation, flock};

use super::Client;
use crate::{
    error::{CliError, Status},
    progress::Progress,
};

/// What the gateway writes on its standard output when it serves.
pub(crate) const READY: &str = "ready";

/// How to reach the gateway.
#[derive(Debug)]
pub(crate) struct Starter {
    socket: PathBuf,
    /// The connection that showed that it answers, for the first request.
    begun: Mutex<Option<(UnixStream, Instant)>>,
}

/// A gateway waits longer than this for what is asked on a connection.
const FRESH: Duration = Duration::from_secs(1);

impl Starter {
    pub(crate) fn beside(&self) -> Self {
        Self { socket: self.socket.clone(), begun: Mutex::default() }
    }

    /// Waits for the lock that a gateway holds as long as it lives.
    pub(crate) fn await_end(&self) -> Result<(), CliError> {
        match File::open(self.socket.with_file_name("gateway.lock")) {
            Ok(file) => Ok(flock(&file, FlockOperation::LockShared).map_err(io::Error::from)?),
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            Err(error) => Err(error.into()),
        }
    }

    /// A fresh connection. Every answer may be long in coming (`wait`, `stop`), so only writing has a limit.
    pub(crate) fn dial(&self) -> Result<UnixStream, CliError> {
        let begun = self.begun.lock().ok().and_then(|mut begun| begun.take());
        let stream = match begun {
            Some((stream, at)) if at.elapsed() < FRESH => stream,
            _ => reach(&self.socket).map_err(|error| unreachable(&self.socket, &error))?,
        };
        stream.set_write_timeout(Some(Duration::from_secs(30)))?;
        Ok(stream)
    }
}

/// A connection to a process of this user's.
fn reach(socket: &Path) -> io::Result<UnixStream> {
    let stream = UnixStream::connect(socket)?;
    if chiton_sys::socket::peer_credentials(&stream)?.uid != rustix::process::geteuid() {
        return Err(io::Error::new(ErrorKind::PermissionDenied, "it is another user's"));
    }
    Ok(stream)
}

/// The gateway, if one runs.
pub(crate) fn connect_running(paths: &Paths) -> Result<Option<Client>, CliError> {
    let socket = paths.socket();
    match reach(&socket) {
        Ok(stream) => {
            paths.check_runtime().map_err(|e| CliError::new(e.to_string()))?;
            let begun = Mutex::new(Some((stream, Instant::now())));
            Ok(Some(Client { start: Starter { socket, begun } }))
        }
        Err(error) if matches!(error.kind(), ErrorKind::NotFound | ErrorKind::ConnectionRefused) => Ok(None),
        Err(error) => Err(unreachable(&socket, &error)),
    }
}

/// The gateway; started where there is none.
pub(crate) fn connect(paths: &Paths, config: Option<&Path>) -> Result<Client, CliError> {
    if let Some(client) = connect_running(paths)? {
        return Ok(client);
    }
    paths.prepare().map_err(|e| CliError::new(e.to_string()))?;
    let lock = start_lock(paths)?;
    if let Some(client) = connect_running(paths)? {
        return Ok(client);
    }
    let progress = Progress::of("starting the gateway");
    launch(paths, config)?;
    drop(progress);
    drop(lock);
    Ok(Client { start: Starter { socket: paths.socket(), begun: Mutex::default() } })
}

fn start_lock(paths: &Paths) -> Result<File, CliError> {
    let path = paths.runtime.join("start.lock");
    let open = OpenOptions::new().create(true).truncate(false).write(true).mode(0o600).open(&path);
    let file =
        open.map_err(|error| CliError::new(format!("cannot open the lock `{}`: {error}", path.display())))?;
    flock(&file, FlockOperation::LockExclusive).map_err(io::Error::from)?;
    Ok(file)
}

fn launch(paths: &Paths, config: Option<&Path>) -> Result<(), CliError> {
    let log = paths.log();
    let failed =
        |what: &str, error: &io::Error| CliError::new(format!("cannot start the gateway: {what}: {error}"));
    let open = OpenOptions::new().create(true).append(true).mode(0o600).open(&log);
    let stderr = open.map_err(|e| failed(&format!("`{}`", log.display()), &e))?;
    let before = stderr.metadata()?.len();
    let mut command = Command::new("/proc/self/exe");
    command.args(["gateway", "serve"]).current_dir("/");
    if let Some(config) = config {
        command.arg("--config").arg(std::path::absolute(config)?);
    }
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(stderr);
    // It lives longer than what else our caller left open: a lock, a pipe whose end somebody waits for.
    chiton_sys::descriptors::close_on_exec_from(3).map_err(|e| failed("its descriptors", &e.into()))?;
    let child = command.spawn().map_err(|e| failed("cannot run /proc/self/exe", &e))?;
    await_ready(child).map_err(|_| {
        let said = last_line(&log, before);
        let why = said.unwrap_or_else(|| "it ended before it was ready".to_owned());
        CliError::new(format!("the gateway did not start: {}", why.trim_start_matches("error: ")))
            .hint(format!("see {}", log.display()))
            .status(Status::Failed)
    })
}

/// Waits for the child's word, or its end.
fn await_ready(mut child: Child) -> io::Result<()> {
    let stdout = child.stdout.take().ok_or(ErrorKind::BrokenPipe)?;
    let mut line = String::new();
    BufReader::new(stdout).read_line(&mut line)?;
    if line.trim_end() == READY {
        return Ok(());
    }
    // It closed its output without the word: it is ending.
    child.wait()?;
    Err(ErrorKind::UnexpectedEof.into())
}

/// The last error line that this start wrote to the log.
fn last_line(log: &Path, before: u64) -> Option<String> {
    let bytes = std::fs::read(log).ok()?;
    let new = bytes.get(usize::try_from(before).ok()?..)?;
    let text = String::from_utf8_lossy(new).into_owned();
    let mut lines = text.lines().rev().filter(|line| !line.trim().is_empty());
    let errors = text.lines().rev().find(|line| line.starts_with("error: "));
    errors.or_else(|| lines.next()).map(str::to_owned)
}

fn unreachable(socket: &Path, error: &io::Error) -> CliError {
    CliError::new(format!("cannot reach the gateway at `{}`: {error}", socket.display()))
        .hint("chiton gateway status")
}
