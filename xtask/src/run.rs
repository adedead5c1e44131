//! Running one program after the other, and saying which one failed.

use std::{
    env,
    ffi::OsStr,
    fmt,
    path::{Path, PathBuf},
    process::Command,
};

/// Why a command of the project ended early.
#[derive(Debug)]
pub enum Failed {
    /// A program ended with an error; its output says more.
    Step(String),
    /// A component is not there and could not be installed.
    Missing {
        /// What it is.
        component: &'static str,
        /// How to get it.
        mend: &'static str,
    },
    /// A file could not be written.
    File(PathBuf, std::io::Error),
}

impl fmt::Display for Failed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Step(what) => write!(f, "failed: {what}"),
            Self::Missing { component, mend } => write!(f, "component missing: {component}; `{mend}`"),
            Self::File(path, error) => write!(f, "{}: {error}", path.display()),
        }
    }
}

/// One program to run.
pub struct Step(Command);

impl Step {
    /// In the workspace's folder.
    pub fn new(program: impl AsRef<OsStr>) -> Self {
        let mut command = Command::new(program);
        command.current_dir(root());
        Self(command)
    }

    /// With these arguments.
    pub fn with(mut self, arguments: &[&str]) -> Self {
        self.0.args(arguments);
        self
    }

    /// In this folder instead.
    pub fn within(mut self, folder: &Path) -> Self {
        self.0.current_dir(folder);
        self
    }

    /// Adds arguments.
    pub fn args(&mut self, arguments: &[String]) -> &mut Self {
        self.0.args(arguments);
        self
    }

    /// Adds a variable.
    pub fn env(&mut self, name: &str, value: impl AsRef<OsStr>) -> &mut Self {
        self.0.env(name, value);
        self
    }

    /// Takes a variable away.
    pub fn without(&mut self, name: &str) -> &mut Self {
        self.0.env_remove(name);
        self
    }

    /// Runs it to its end.
    pub fn run(&mut self, what: &str) -> Result<(), Failed> {
        println!("xtask: {what}");
        match self.0.status() {
            Ok(status) if status.success() => Ok(()),
            Ok(status) => Err(Failed::Step(format!("{what} ({status})"))),
            Err(error) => Err(Failed::Step(format!("{what}: {}: {error}", self.0.get_program().display()))),
        }
    }

    /// Whether it runs and succeeds, without a word.
    pub fn quietly(&mut self) -> bool {
        self.0.output().is_ok_and(|output| output.status.success())
    }

    /// What it prints, trimmed; nothing where it does not run.
    pub fn output(&mut self) -> String {
        let output = self.0.output().map(|output| output.stdout).unwrap_or_default();
        String::from_utf8_lossy(&output).trim().to_owned()
    }
}

/// A cargo command.
pub fn cargo(arguments: &[&str]) -> Step {
    Step::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into())).with(arguments)
}

/// The workspace's folder.
pub fn root() -> PathBuf {
    let own = Path::new(env!("CARGO_MANIFEST_DIR"));
    own.parent().unwrap_or(own).to_owned()
}

/// Whether a program is on the `PATH`.
pub fn found(program: &str) -> bool {
    env::var_os("PATH")
        .is_some_and(|path| env::split_paths(&path).any(|folder| folder.join(program).is_file()))
}
