//! Runs a command to its end, or to ours.

use std::{ffi::OsString, fs, io, os::unix::fs::MetadataExt as _, process::Stdio};

use chiton_secret::SecretValue;
use rustix::process::{Pid, Signal, kill_process_group};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _},
    process::{Child, Command},
    time::timeout,
};
use zeroize::Zeroizing;

use super::{ExecCommand, ExecError};

const MOST: usize = 64 * 1024;
const MOST_OF_ERRORS: usize = 16 * 1024;
const LONGEST_LINE: usize = 200;
const EVERYONE_WRITES: u32 = 0o002;
/// A reason that repeats so much of the value is not told.
const SHORTEST_OF_VALUE: usize = 4;
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// What it writes, with no more in its environment than these.
pub(super) async fn output(
    command: &ExecCommand,
    variables: &[(&str, OsString)],
) -> Result<SecretValue, ExecError> {
    let program = &command.program;
    let failed = |source| ExecError::Start { program: program.clone(), source };
    if fs::metadata(program).map_err(failed)?.mode() & EVERYONE_WRITES != 0 {
        return Err(ExecError::Writable(program.clone()));
    }
    let mut started = Command::new(program);
    started.args(&command.arguments).current_dir("/").env_clear().env("PATH", PATH).env("LANG", "C.UTF-8");
    started.envs(variables.iter().map(|(name, value)| (name, value)));
    started.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    // A group of its own, so that what it starts ends with it.
    let child = started.process_group(0).kill_on_drop(true).spawn().map_err(failed)?;
    let mut group = Group(child);
    let read = timeout(command.timeout, group.read()).await;
    let (out, errors) = match read {
        Ok(read) => read.map_err(failed)?,
        Err(_) => return Err(ExecError::Slow { program: program.clone(), after: command.timeout }),
    };
    let Some(out) = out else { return Err(ExecError::TooMuch(program.clone())) };
    let status = match timeout(command.timeout, group.0.wait()).await {
        Ok(status) => status.map_err(failed)?,
        Err(_) => return Err(ExecError::Slow { program: program.clone(), after: command.timeout }),
    };
    if !status.success() {
        let said = reason(&errors, &out);
        return Err(ExecError::Failed { program: program.clone(), status, said });
    }
    Ok(SecretValue::new(std::mem::take(&mut *Zeroizing::new(out.to_vec()))))
}

/// A program and all that it started: ended when it is dropped before its end.
struct Group(Child);

impl Group {
    /// All of both; none of the first where it is too much.
    async fn read(&mut self) -> io::Result<(Option<Zeroizing<Vec<u8>>>, Zeroizing<Vec<u8>>)> {
        let (out, errors) = (self.0.stdout.take(), self.0.stderr.take());
        let errors = async {
            let mut kept = Zeroizing::new(Vec::with_capacity(MOST_OF_ERRORS));
            if let Some(mut pipe) = errors {
                let whole = all(&mut pipe, &mut kept, MOST_OF_ERRORS).await?;
                if !whole {
                    // Read on, so that the program does not wait for it.
                    tokio::io::copy(&mut pipe, &mut tokio::io::sink()).await?;
                }
            }
            Ok::<_, io::Error>(kept)
        };
        let out = async {
            let mut kept = Zeroizing::new(Vec::with_capacity(MOST));
            let whole = match out {
                Some(mut pipe) => all(&mut pipe, &mut kept, MOST).await?,
                None => true,
            };
            // An error of another kind stops the other half too.
            if whole { Ok(kept) } else { Err(io::Error::from(io::ErrorKind::FileTooLarge)) }
        };
        match tokio::try_join!(out, errors) {
            Ok((out, errors)) => Ok((Some(out), errors)),
            Err(error) if error.kind() == io::ErrorKind::FileTooLarge => Ok((None, Zeroizing::default())),
            Err(error) => Err(error),
        }
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // None once it was waited for: its number may be another's then.
        let id = self.0.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw);
        if let Some(id) = id {
            let _ = kill_process_group(id, Signal::KILL);
        }
    }
}

/// Whether that was all. Never past its room, so that no copy stays behind.
async fn all(pipe: &mut (impl AsyncRead + Unpin), to: &mut Vec<u8>, most: usize) -> io::Result<bool> {
    let mut piece = Zeroizing::new([0_u8; 4096]);
    loop {
        let read = pipe.read(&mut *piece).await?;
        let read = piece.get(..read).unwrap_or_default();
        if read.is_empty() {
            return Ok(true);
        }
        if to.len() + read.len() > most {
            return Ok(false);
        }
        to.extend_from_slice(read);
    }
}

/// The first line of what it complains of; nothing, where that repeats what it wrote.
fn reason(errors: &[u8], out: &[u8]) -> String {
    let text = String::from_utf8_lossy(errors);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    let written = String::from_utf8_lossy(out);
    let repeats = |piece: &str| piece.len() >= SHORTEST_OF_VALUE && line.contains(piece);
    if written.split_whitespace().any(repeats) {
        return "what it says is not shown: it repeats what it wrote".to_owned();
    }
    line.chars().filter(|letter| !letter.is_control()).take(LONGEST_LINE).collect()
}
