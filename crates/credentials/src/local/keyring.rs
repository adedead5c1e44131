//! The key in the desktop's keyring: the Secret Service, asked by the program `secret-tool`.
//!
//! The key goes through pipes alone: it is never an argument, a variable or a part of an error. The program
//! gets three variables of the gateway's environment and no more, since the others may hold secrets.

use std::{
    env,
    ffi::OsString,
    fmt::Write as _,
    io::{self, Read, Write as _},
    path::{Path, PathBuf},
    process::{Child, Command, ExitStatus, Stdio},
    thread,
    time::{Duration, Instant},
};

use aws_lc_rs::rand;
use base64::{Engine as _, engine::general_purpose::STANDARD};
use zeroize::Zeroizing;

use super::key::KEY_LENGTH;

/// A locked keyring asks its user; nobody may be there.
const LIMIT: Duration = Duration::from_secs(10);
const GLANCE: Duration = Duration::from_millis(5);
const LONGEST_ANSWER: usize = 4096;
const LONGEST_REASON: usize = 200;
const NAME_LENGTH: usize = 16;
const PROGRAM: &str = "secret-tool";
const ADDRESS: &str = "DBUS_SESSION_BUS_ADDRESS";
const RUNTIME: &str = "XDG_RUNTIME_DIR";

/// Why the keyring gives no key. No message holds one.
#[derive(Debug, thiserror::Error)]
pub enum KeyringError {
    /// `secret-tool` is not installed.
    #[error(
        "the keyring is asked by `secret-tool`, which is not there; install the package libsecret-tools (Fedora: libsecret)"
    )]
    NoProgram,
    /// The gateway was started outside of a session.
    #[error(
        "the keyring cannot be asked: the gateway's environment has no D-Bus session; run `chiton gateway stop` and start it again from the desktop"
    )]
    NoSession,
    /// The program cannot be run.
    #[error("cannot run `{}`: {source}", .program.display())]
    Io {
        /// The program.
        program: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// Most likely it waits for its own passphrase.
    #[error("the keyring did not answer in time; unlock it and try again")]
    Slow,
    /// What the program says.
    #[error("the keyring refuses ({0}); unlock it, or see that the desktop runs one, and try again")]
    Refused(String),
    /// An empty answer: a locked keyring gives the same.
    #[error(
        "the secret store is there, but the keyring is locked or has no key for it; unlock the keyring, or restore it from a backup"
    )]
    NoKey,
    /// The entry is not what was stored.
    #[error("what the keyring has for the secret store is no key; restore the keyring from a backup")]
    BadKey,
    /// It said yes and has it not.
    #[error("the keyring did not keep the new key; see that it is unlocked and try again")]
    NotKept,
    /// No random numbers.
    #[error("the cryptographic library failed to make random numbers")]
    Random,
}

pub(super) type KeyBytes = Zeroizing<[u8; KEY_LENGTH]>;

/// How the keyring is reached.
#[derive(Clone, Debug)]
pub struct Keyring {
    /// Where programs are looked for.
    path: OsString,
    /// All that the program's environment has.
    variables: Vec<(&'static str, OsString)>,
    limit: Duration,
}

struct Answer {
    status: ExitStatus,
    out: Zeroizing<Vec<u8>>,
    reason: String,
}

impl Keyring {
    /// That of the session which the environment names.
    #[must_use]
    pub fn of_environment() -> Self {
        Self::new(|name| std::env::var_os(name).filter(|value| !value.is_empty()))
    }

    pub(super) fn new(get: impl Fn(&str) -> Option<OsString>) -> Self {
        let known = [ADDRESS, RUNTIME, "HOME"].into_iter();
        let variables = known.filter_map(|name| Some((name, get(name)?))).collect();
        Self { path: get("PATH").unwrap_or_default(), variables, limit: LIMIT }
    }

    #[cfg(test)]
    pub(super) fn within(self, limit: Duration) -> Self {
        Self { limit, ..self }
    }

    /// A new key under a new name: an entry that is there is never replaced.
    pub(super) fn make(&self) -> Result<(KeyBytes, String), KeyringError> {
        let mut key = KeyBytes::default();
        let mut bytes = [0; NAME_LENGTH];
        rand::fill(&mut *key).and_then(|()| rand::fill(&mut bytes)).map_err(|_| KeyringError::Random)?;
        let name = bytes.iter().fold(String::new(), |mut name, byte| {
            let _ = write!(name, "{byte:02x}");
            name
        });
        let encoded = Zeroizing::new(STANDARD.encode(*key));
        let answer = self.ask(&["store", "--label=chiton secrets"], &name, encoded.as_bytes())?;
        if !answer.status.success() {
            let silent = || format!("`{PROGRAM}` ended with {}", answer.status);
            let reason = Some(answer.reason).filter(|reason| !reason.is_empty());
            return Err(KeyringError::Refused(reason.unwrap_or_else(silent)));
        }
        match self.read(&name) {
            Ok(kept) if *kept == *key => Ok((key, name)),
            Ok(_) | Err(KeyringError::NoKey | KeyringError::BadKey) => Err(KeyringError::NotKept),
            Err(error) => Err(error),
        }
    }

    /// The key of this name.
    pub(super) fn read(&self, name: &str) -> Result<KeyBytes, KeyringError> {
        let Answer { status, out, reason } = self.ask(&["lookup"], name, b"")?;
        if !status.success() && !reason.is_empty() {
            return Err(KeyringError::Refused(reason));
        }
        let text = out.trim_ascii();
        if !status.success() || text.is_empty() {
            return Err(KeyringError::NoKey);
        }
        let decoded = STANDARD.decode(text).map(Zeroizing::new).map_err(|_| KeyringError::BadKey)?;
        let key: [u8; KEY_LENGTH] = decoded.as_slice().try_into().map_err(|_| KeyringError::BadKey)?;
        Ok(Zeroizing::new(key))
    }

    fn ask(&self, verb: &[&str], name: &str, input: &[u8]) -> Result<Answer, KeyringError> {
        let program = self.program().ok_or(KeyringError::NoProgram)?;
        if !self.has_session() {
            return Err(KeyringError::NoSession);
        }
        let mut command = Command::new(&program);
        command.args(verb).args(["service", "chiton", "store", name]).current_dir("/");
        command.env_clear().envs(self.variables.iter().map(|(name, value)| (name, value)));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        let failed = |source| KeyringError::Io { program: program.clone(), source };
        let mut child = command.spawn().map_err(failed)?;
        // Fits the pipe, so this never waits; a program that does not read it does not keep it either.
        let _ = child.stdin.take().map(|mut stdin| stdin.write_all(input));
        let status = ended(&mut child, self.limit).map_err(failed)?.ok_or(KeyringError::Slow)?;
        let out = all(child.stdout.take()).map_err(failed)?;
        let reason = first_line(&all(child.stderr.take()).map_err(failed)?);
        Ok(Answer { status, out, reason })
    }

    /// By absolute folders alone: the gateway's folder is not a place for programs.
    fn program(&self) -> Option<PathBuf> {
        let mut folders = env::split_paths(&self.path).filter(|folder| folder.is_absolute());
        folders.find_map(|folder| Some(folder.join(PROGRAM)).filter(|program| program.is_file()))
    }

    /// Asked first: without one the program would start a bus of its own, which nothing ends.
    fn has_session(&self) -> bool {
        self.variables.iter().any(|(name, value)| match *name {
            ADDRESS => true,
            RUNTIME => Path::new(value).join("bus").exists(),
            _ => false,
        })
    }
}

/// How it ended; none, and it is killed, when it did not in time.
fn ended(child: &mut Child, limit: Duration) -> io::Result<Option<ExitStatus>> {
    let until = Instant::now() + limit;
    loop {
        if let Some(status) = child.try_wait()? {
            return Ok(Some(status));
        }
        if Instant::now() >= until {
            child.kill()?;
            child.wait()?;
            return Ok(None);
        }
        thread::sleep(GLANCE);
    }
}

/// What an ended program left in its pipe.
fn all(pipe: Option<impl Read>) -> io::Result<Zeroizing<Vec<u8>>> {
    // Never grows, so that no copy stays behind.
    let mut bytes = Zeroizing::new(vec![0; LONGEST_ANSWER]);
    let Some(mut pipe) = pipe else { return Ok(Zeroizing::default()) };
    let mut length = 0;
    while let Some(rest) = bytes.get_mut(length..).filter(|rest| !rest.is_empty()) {
        match pipe.read(rest)? {
            0 => break,
            more => length += more,
        }
    }
    bytes.truncate(length);
    Ok(bytes)
}

fn first_line(bytes: &[u8]) -> String {
    let text = String::from_utf8_lossy(bytes);
    let line = text.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().filter(|c| !c.is_control()).take(LONGEST_REASON).collect()
}
