//! Our own folders: where configuration, state and sockets are. The gateway and the command line resolve
//! them alike, from the environment that each of them got.
//!
//! *In*: the environment, the user's id, `--config`. *Out*: [`Paths`]. *Always*: the folder of the sockets
//! is the user's own and nobody else can enter it, or it is not used: who could put a socket there would be
//! taken for the gateway.

use std::{
    env,
    ffi::OsString,
    fs, io,
    os::unix::fs::{DirBuilderExt, MetadataExt, PermissionsExt},
    path::{Path, PathBuf},
};

/// The longest path that a Unix socket can have (`sun_path` less its final NUL).
const MAX_SOCKET_PATH: usize = 107;
/// The longest that stands after the runtime folder: `/sandboxes/<identity>/supervisor.sock`.
const LONGEST_SOCKET: usize = "/sandboxes//supervisor.sock".len() + 26;

/// Our own folders and files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Paths {
    /// Database, audit log, local secrets, records of sandboxes.
    pub state: PathBuf,
    /// Sockets.
    pub runtime: PathBuf,
    /// Where `config.toml` may be.
    pub config: ConfigPlaces,
}

/// Where `config.toml` may be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ConfigPlaces {
    /// `--config` or `$CHITON_CONFIG`: it must exist.
    Named(PathBuf),
    /// The first of these that exists, or none.
    Usual(Vec<PathBuf>),
}

/// Why our folders cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum PathsError {
    /// A variable that must be absolute is not.
    #[error("{0} is `{1}`: it must be an absolute path")]
    Relative(&'static str, PathBuf),
    /// There is no home to derive from.
    #[error("HOME is not set: set it, or CHITON_STATE_DIR and CHITON_RUNTIME_DIR")]
    NoHome,
    /// Sockets below would not fit.
    #[error(
        "the runtime folder `{path}` is {over} bytes too long for a Unix socket: set CHITON_RUNTIME_DIR to a shorter path"
    )]
    TooLong {
        /// The folder.
        path: PathBuf,
        /// By how much.
        over: usize,
    },
    /// It is somebody else's, or no folder.
    #[error("the folder `{path}` {why}: remove it, or set {variable} to a folder of your own")]
    NotOurs {
        /// The folder.
        path: PathBuf,
        /// What is wrong.
        why: &'static str,
        /// The variable that moves it.
        variable: &'static str,
    },
    /// It cannot be made.
    #[error("cannot use the folder `{path}`: {source}")]
    Io {
        /// The folder.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

/// What the folders are derived from.
#[derive(Clone, Debug, Default)]
pub struct Environment {
    /// The user's id.
    pub uid: u32,
    /// `--config`.
    pub config: Option<PathBuf>,
    /// Variables, as the environment has them.
    pub variables: Vec<(OsString, OsString)>,
}

impl Environment {
    /// This process's own.
    #[must_use]
    pub fn current(config: Option<PathBuf>) -> Self {
        Self { uid: rustix::process::geteuid().as_raw(), config, variables: env::vars_os().collect() }
    }

    fn get(&self, name: &str) -> Option<PathBuf> {
        let found = self.variables.iter().find(|(k, _)| k == name);
        found.map(|(_, value)| PathBuf::from(value)).filter(|value| !value.as_os_str().is_empty())
    }

    /// One of our own variables: relative is an error, not ignored.
    fn own(&self, name: &'static str) -> Result<Option<PathBuf>, PathsError> {
        match self.get(name) {
            Some(path) if path.is_relative() => Err(PathsError::Relative(name, path)),
            other => Ok(other),
        }
    }

    /// An XDG variable: one that is relative is to be ignored, says their specification.
    fn xdg(&self, name: &str) -> Option<PathBuf> {
        self.get(name).filter(|path| path.is_absolute()).map(|path| path.join("chiton"))
    }

    fn home(&self) -> Option<PathBuf> {
        self.get("HOME").filter(|path| path.is_absolute())
    }

    fn state(&self) -> Result<PathBuf, PathsError> {
        if let Some(path) = self.own("CHITON_STATE_DIR")? {
            return Ok(path);
        }
        match (self.xdg("XDG_STATE_HOME"), self.uid) {
            (Some(path), _) => Ok(path),
            (None, 0) => Ok("/var/lib/chiton".into()),
            (None, _) => self.home().map(|h| h.join(".local/state/chiton")).ok_or(PathsError::NoHome),
        }
    }

    fn runtime(&self) -> Result<PathBuf, PathsError> {
        if let Some(path) = self.own("CHITON_RUNTIME_DIR")? {
            return Ok(path);
        }
        Ok(match (self.xdg("XDG_RUNTIME_DIR"), self.uid) {
            (Some(path), _) => path,
            (None, 0) => "/run/chiton".into(),
            (None, uid) => format!("/tmp/chiton-{uid}").into(),
        })
    }

    fn config(&self) -> Result<ConfigPlaces, PathsError> {
        if let Some(path) = &self.config {
            let absolute = std::path::absolute(path);
            return absolute
                .map(ConfigPlaces::Named)
                .map_err(|source| PathsError::Io { path: path.clone(), source });
        }
        if let Some(path) = self.own("CHITON_CONFIG")? {
            return Ok(ConfigPlaces::Named(path));
        }
        let own = self.xdg("XDG_CONFIG_HOME").or_else(|| self.home().map(|h| h.join(".config/chiton")));
        let folders = own.into_iter().chain([PathBuf::from("/etc/chiton")]);
        Ok(ConfigPlaces::Usual(folders.map(|folder| folder.join("config.toml")).collect()))
    }
}

impl Paths {
    /// Resolves the folders; nothing is touched.
    ///
    /// # Errors
    /// A relative variable, no home, a runtime folder too long for sockets.
    pub fn resolve(environment: &Environment) -> Result<Self, PathsError> {
        let paths = Self {
            state: environment.state()?,
            runtime: environment.runtime()?,
            config: environment.config()?,
        };
        let length = paths.runtime.as_os_str().len() + LONGEST_SOCKET;
        match length.checked_sub(MAX_SOCKET_PATH).filter(|over| *over > 0) {
            Some(over) => Err(PathsError::TooLong { path: paths.runtime, over }),
            None => Ok(paths),
        }
    }

    /// The folders of this process's environment.
    ///
    /// # Errors
    /// Those of [`Paths::resolve`].
    pub fn current(config: Option<PathBuf>) -> Result<Self, PathsError> {
        Self::resolve(&Environment::current(config))
    }

    /// Makes the folders, mode 0700, and checks that they are ours.
    ///
    /// # Errors
    /// One that cannot be made, or that somebody else owns.
    pub fn prepare(&self) -> Result<(), PathsError> {
        for folder in [&self.state, &self.runtime] {
            let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.map_err(|source| PathsError::Io { path: folder.clone(), source })?;
        }
        check_ours(&self.state, "CHITON_STATE_DIR", fs::metadata(&self.state))?;
        self.check_runtime()
    }

    /// Checks that the folder of the sockets is ours, before anything in it is trusted.
    ///
    /// # Errors
    /// It is not there, or somebody else owns it.
    pub fn check_runtime(&self) -> Result<(), PathsError> {
        check_ours(&self.runtime, "CHITON_RUNTIME_DIR", fs::symlink_metadata(&self.runtime))
    }

    /// The gateway's socket.
    #[must_use]
    pub fn socket(&self) -> PathBuf {
        self.runtime.join("gateway.sock")
    }

    /// Held while a gateway serves.
    #[must_use]
    pub fn lock(&self) -> PathBuf {
        self.runtime.join("gateway.lock")
    }

    /// Where a gateway that was started on demand writes what it does.
    #[must_use]
    pub fn log(&self) -> PathBuf {
        self.state.join("gateway.log")
    }

    /// The audit log.
    #[must_use]
    pub fn audit_log(&self) -> PathBuf {
        self.state.join("audit.jsonl")
    }

    /// The database.
    #[must_use]
    pub fn database(&self) -> PathBuf {
        self.state.join("chiton.db")
    }

    /// A sandbox's records.
    #[must_use]
    pub fn sandbox(&self, id: &str) -> PathBuf {
        self.state.join("sandboxes").join(id)
    }

    /// What drivers write down about what runs.
    #[must_use]
    pub fn records(&self) -> PathBuf {
        self.state.join("running")
    }

    /// The configuration file to read, where there is one.
    #[must_use]
    pub fn config_file(&self) -> Option<PathBuf> {
        match &self.config {
            ConfigPlaces::Named(path) => Some(path.clone()),
            ConfigPlaces::Usual(places) => places.iter().find(|path| path.exists()).cloned(),
        }
    }

    /// Folders that never exist inside a sandbox, whether they are there yet or not.
    #[must_use]
    pub fn own_folders(&self) -> Vec<PathBuf> {
        let config = match &self.config {
            ConfigPlaces::Named(path) => vec![path.clone()],
            ConfigPlaces::Usual(places) => {
                places.iter().filter_map(|path| path.parent()).map(Path::to_path_buf).collect()
            }
        };
        let mut all = Vec::new();
        for folder in [self.state.clone(), self.runtime.clone()].into_iter().chain(config) {
            let canonical = fs::canonicalize(&folder).ok().filter(|c| *c != folder);
            all.extend(canonical);
            all.push(folder);
        }
        all
    }
}

/// Refuses a folder that somebody else owns; closes one of ours that is open to others.
fn check_ours(
    path: &Path,
    variable: &'static str,
    found: io::Result<fs::Metadata>,
) -> Result<(), PathsError> {
    let io_error = |source| PathsError::Io { path: path.to_path_buf(), source };
    let not_ours = |why| PathsError::NotOurs { path: path.to_path_buf(), why, variable };
    let found = found.map_err(io_error)?;
    if !found.is_dir() {
        return Err(not_ours("is not a folder"));
    }
    if found.uid() != rustix::process::geteuid().as_raw() {
        return Err(not_ours("belongs to another user"));
    }
    if found.mode() & 0o077 != 0 {
        fs::set_permissions(path, fs::Permissions::from_mode(0o700)).map_err(io_error)?;
    }
    Ok(())
}

#[cfg(test)]
#[path = "paths_tests.rs"]
mod tests;
