//! Starting a program: its streams, its process, its locks, its file. The same way for the main program
//! and for every `exec`.

use std::{
    ffi::OsStr,
    io,
    os::{
        fd::{AsFd, BorrowedFd, OwnedFd},
        unix::process::CommandExt,
    },
    path::{Path, PathBuf},
    process::Command,
};

use chiton_api::{
    control::{Failure, Launch, TerminalSize},
    frame::SessionKind,
};
use chiton_sys::{
    process::{self, Fork},
    pty::Pty,
    spawn,
};
use rustix::{
    fs::{Mode, OFlags},
    io::Errno,
    pipe::PipeFlags,
    process::{DumpableBehavior, Pid},
};

use crate::{
    confinement::Confinement,
    environment::Environment,
    failure::{ours, status},
    program::{Output, Streams},
};

/// A program whose locks are being applied.
#[derive(Debug)]
pub(crate) struct Started {
    /// Its process.
    pub(crate) pid: Pid,
    /// Its streams.
    pub(crate) streams: Streams,
    /// Closes when it runs; tells (JSON of `Failure`) why it does not.
    pub(crate) news: OwnedFd,
}

/// What a program is started with.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// What was asked for.
    pub(crate) launch: &'a Launch,
    /// All its variables.
    pub(crate) environment: &'a Environment,
    /// Where it starts.
    pub(crate) directory: &'a Path,
}

/// The program's own ends.
#[derive(Debug)]
struct Ends {
    input: OwnedFd,
    output: OwnedFd,
    errors: OwnedFd,
    terminal: bool,
}

/// Forks the program's process. Whether it came to run is heard from `news`.
pub(crate) fn start(
    order: &Order<'_>,
    confinement: &impl Confinement,
    partner: BorrowedFd<'_>,
) -> Result<Started, Failure> {
    let (streams, ends) = streams(order.launch).map_err(|e| ours("cannot make the program's streams", &e))?;
    let (news, tell) =
        rustix::pipe::pipe_with(PipeFlags::CLOEXEC).map_err(|e| ours("cannot make a pipe", &e.into()))?;
    rustix::io::ioctl_fionbio(&news, true).map_err(|e| ours("cannot make a pipe", &e.into()))?;
    match process::fork().map_err(|e| ours("cannot start a process", &e.into()))? {
        Fork::Parent(pid) => Ok(Started { pid, streams, news }),
        Fork::Child => {
            drop((streams, news));
            let failure = become_program(order, &ends, &tell, || confinement.lock(partner));
            let line = serde_json::to_vec(&failure).unwrap_or_default();
            let _ = rustix::io::write(&tell, &line);
            process::exit_now(failure.status);
        }
    }
}

/// In the child: never returns but with the reason why it is not the program.
fn become_program(
    order: &Order<'_>,
    ends: &Ends,
    tell: &OwnedFd,
    lock: impl FnOnce() -> Result<(), Failure>,
) -> Failure {
    if let Err(e) = take_ends(ends) {
        return ours("cannot set up the program's streams", &e);
    }
    let Some(program) = order.launch.argv.first() else {
        return status(127, "no program was named".into());
    };
    let files = files(program, order.environment);
    if let Err(failure) = lock() {
        return failure;
    }
    if let Err(e) = open_to_the_judge(tell) {
        return ours("cannot open the process to its judge", &e);
    }
    if let Err(e) = std::env::set_current_dir(order.directory) {
        // The first call that is judged.
        if Errno::from_io_error(&e) == Some(Errno::NOSYS) {
            return status(125, "the sandbox has no thread left to judge what the program looks up".into());
        }
        return status(126, format!("cannot start in `{}`: {}", order.directory.display(), reason(&e)));
    }
    exec_failure(program, &execute(order, &files))
}

/// The files that a program's name stands for, in the order in which they are tried. Looked for before the locks, since
/// with them every name that is not there is a question to the judge; what is there is judged when it is started.
fn files(program: &str, environment: &Environment) -> Vec<PathBuf> {
    let search_path = environment.get("PATH").filter(|_| !program.is_empty() && !program.contains('/'));
    let Some(search_path) = search_path else { return vec![PathBuf::from(program)] };
    let folders = std::env::split_paths(search_path);
    // Without a name it is the folder where the program starts, which is entered later.
    let named = folders.map(|folder| if folder == Path::new("") { PathBuf::from(".") } else { folder });
    named.map(|folder| folder.join(program)).filter(|file| file.is_relative() || may_be_there(file)).collect()
}

fn may_be_there(file: &Path) -> bool {
    file.symlink_metadata().map_or_else(|e| !is_absence(&e), |_| true)
}

fn is_absence(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

/// Executes the first of the files that can be; else why not, as `execvp` says it.
fn execute(order: &Order<'_>, files: &[PathBuf]) -> io::Error {
    let mut failed = io::Error::from(Errno::NOENT);
    for file in files {
        let mut command = Command::new(file);
        if let Some((program, arguments)) = order.launch.argv.split_first() {
            command.arg0(program).args(arguments);
        }
        match command.env_clear().envs(order.environment).exec() {
            error if is_absence(&error) => {}
            error if Errno::from_io_error(&error) == Some(Errno::ACCESS) => failed = error,
            error => return error,
        }
    }
    failed
}

/// The outer half must read which file is to be executed, so the process becomes one that can be traced, also
/// by programs that run already: whatever is not theirs to see is closed before.
fn open_to_the_judge(tell: &OwnedFd) -> io::Result<()> {
    spawn::close_all_but(tell.as_fd())?;
    Ok(rustix::process::set_dumpable_behavior(DumpableBehavior::Dumpable)?)
}

fn take_ends(ends: &Ends) -> io::Result<()> {
    rustix::process::setsid()?;
    spawn::replace_standard([ends.input.as_fd(), ends.output.as_fd(), ends.errors.as_fd()])?;
    if ends.terminal {
        rustix::process::ioctl_tiocsctty(&ends.input)?;
    }
    Ok(())
}

fn exec_failure(program: &str, error: &io::Error) -> Failure {
    let found = error.kind() != io::ErrorKind::NotFound;
    let code = if found { 126 } else { 127 };
    if found {
        return status(code, format!("cannot execute `{program}` inside the sandbox: {}", reason(error)));
    }
    let hint = if program.contains('/') { "at this path" } else { "on its PATH" };
    status(code, format!("`{program}` was not found inside the sandbox, {hint}"))
}

fn reason(error: &io::Error) -> String {
    let text = error.to_string();
    let end = text.find(" (os error").unwrap_or(text.len());
    text.get(..end).unwrap_or(&text).to_lowercase()
}

fn streams(launch: &Launch) -> io::Result<(Streams, Ends)> {
    match launch.terminal {
        Some(size) => terminal(size),
        None => pipes(launch.stdin),
    }
}

fn terminal(size: TerminalSize) -> io::Result<(Streams, Ends)> {
    let Pty { controller: master, terminal: input } = Pty::open(size.rows, size.columns)?;
    rustix::io::ioctl_fionbio(&master, true)?;
    let (output, errors) = (input.try_clone()?, input.try_clone()?);
    let streams = Streams {
        input: Some(master.try_clone()?),
        outputs: vec![Output { from: master.try_clone()?, kind: SessionKind::Stdout }],
        terminal: Some(master),
    };
    Ok((streams, Ends { input, output, errors, terminal: true }))
}

fn pipes(with_input: bool) -> io::Result<(Streams, Ends)> {
    let (output_ours, output) = pipe()?;
    let (errors_ours, errors) = pipe()?;
    rustix::io::ioctl_fionbio(&output_ours, true)?;
    rustix::io::ioctl_fionbio(&errors_ours, true)?;
    let (input, input_ours) = if with_input {
        let (input, ours) = pipe()?;
        rustix::io::ioctl_fionbio(&ours, true)?;
        (input, Some(ours))
    } else {
        let flags = OFlags::RDONLY | OFlags::CLOEXEC;
        (rustix::fs::open(OsStr::new("/dev/null"), flags, Mode::empty())?, None)
    };
    let outputs = vec![
        Output { from: output_ours, kind: SessionKind::Stdout },
        Output { from: errors_ours, kind: SessionKind::Stderr },
    ];
    let streams = Streams { terminal: None, input: input_ours, outputs };
    Ok((streams, Ends { input, output, errors, terminal: false }))
}

fn pipe() -> io::Result<(OwnedFd, OwnedFd)> {
    Ok(rustix::pipe::pipe_with(PipeFlags::CLOEXEC)?)
}

/// Reads what the child told, once its pipe is readable: nothing when the program runs.
pub(crate) fn read_news(news: &OwnedFd) -> News {
    let mut buffer = [0; 4096];
    match rustix::io::read(news.as_fd(), &mut buffer) {
        Ok(0) => News::Runs,
        Err(rustix::io::Errno::AGAIN | rustix::io::Errno::INTR) => News::Nothing,
        Ok(n) => {
            let told = buffer.get(..n).and_then(|line| serde_json::from_slice(line).ok());
            News::Failed(
                told.unwrap_or_else(|| status(125, "the program's process failed to start it".into())),
            )
        }
        Err(e) => News::Failed(ours("cannot hear from the program's process", &e.into())),
    }
}

/// What a child told.
#[derive(Debug)]
pub(crate) enum News {
    /// Nothing yet.
    Nothing,
    /// The program's file was executed.
    Runs,
    /// It was not.
    Failed(Failure),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn on(search_path: &str, program: &str) -> Vec<PathBuf> {
        files(program, &Environment::from([("PATH".to_owned(), search_path.to_owned())]))
    }

    #[test]
    fn a_name_stands_for_what_is_there_and_for_what_only_the_start_can_tell() {
        let paths = |paths: &[&str]| paths.iter().map(PathBuf::from).collect::<Vec<_>>();
        assert_eq!(on("/nonexistent:/proc:/proc/version", "self"), paths(&["/proc/self"]));
        assert_eq!(on("/nonexistent:bin::", "sh"), paths(&["bin/sh", "./sh", "./sh"]));
        assert_eq!(on("/proc", "no/self"), paths(&["no/self"]));
        assert_eq!((on("/proc", ""), on("", "sh")), (paths(&[""]), paths(&["./sh"])));
        assert_eq!(files("sh", &Environment::new()), paths(&["sh"]));
    }
}
