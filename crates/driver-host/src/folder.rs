//! A sandbox's folder in the runtime directory: its two sockets, and what its platform keeps there.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Write as _},
    os::{
        fd::{AsRawFd, OwnedFd},
        unix::{
            fs::{DirBuilderExt, OpenOptionsExt},
            net::UnixListener,
        },
    },
    path::{Path, PathBuf},
};

use chiton_driver::SandboxId;
use rustix::{
    fs::{Mode, OFlags},
    net::{AddressFamily, SocketAddrUnix, SocketFlags, SocketType},
};
use tokio::net::UnixStream;

use crate::process::ProcessId;

/// The supervisor's socket.
pub(crate) const SUPERVISOR: &str = "supervisor.sock";
/// The proxy's socket.
pub(crate) const PROXY: &str = "proxy.sock";
/// Which proxy waits, in a folder for one.
const SPARE: &str = "spare.json";

/// Who is spoken to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Whom {
    /// The sandbox's supervisor.
    Supervisor,
    /// Its proxy.
    Proxy,
}

impl Whom {
    /// The name of its socket.
    #[must_use]
    pub const fn socket(self) -> &'static str {
        match self {
            Self::Supervisor => SUPERVISOR,
            Self::Proxy => PROXY,
        }
    }
}

/// The folder of one sandbox: its sockets, and what its platform keeps there.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Folder {
    path: PathBuf,
}

/// All folders of a driver.
#[derive(Clone, Debug)]
pub(crate) struct Folders {
    path: PathBuf,
}

impl Folders {
    /// In this directory.
    pub(crate) fn new(path: PathBuf) -> Self {
        Self { path }
    }

    /// The folder of a sandbox, whether it exists or not.
    pub(crate) fn of(&self, id: &SandboxId) -> Folder {
        Folder { path: self.path.join(id.as_str()) }
    }

    /// Every sandbox that has a folder.
    pub(crate) fn all(&self) -> io::Result<Vec<SandboxId>> {
        ids(&self.path)
    }
}

impl Folder {
    /// A folder of its own, not a sandbox's.
    #[must_use]
    pub fn at(path: PathBuf) -> Self {
        Self { path }
    }

    /// Makes it, for its owner only.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn make(&self) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(&self.path)
    }

    /// Removes it with all that is in it. One that is not there is fine.
    pub(crate) fn remove(&self) -> io::Result<()> {
        match fs::remove_dir_all(&self.path) {
            Err(e) if e.kind() != io::ErrorKind::NotFound => Err(e),
            _ => Ok(()),
        }
    }

    /// Where one of its files is.
    #[must_use]
    pub fn file(&self, name: &str) -> PathBuf {
        self.path.join(name)
    }

    /// A socket that listens in it.
    ///
    /// # Errors
    /// Where it cannot be made.
    pub fn listen(&self, name: &str) -> io::Result<UnixListener> {
        let (_held, path) = self.short(name)?;
        UnixListener::bind(path)
    }

    /// A connection to one of its sockets.
    ///
    /// # Errors
    /// Where nobody listens, or too many wait already.
    pub fn connect(&self, name: &str) -> io::Result<UnixStream> {
        connect(&self.hold(name)?)
    }

    /// One of its sockets, held: it is reached whatever becomes of its name.
    pub(crate) fn hold(&self, name: &str) -> io::Result<OwnedFd> {
        Ok(rustix::fs::open(
            self.file(name),
            OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC,
            Mode::empty(),
        )?)
    }

    /// The proxy that waits here.
    pub(crate) fn spare_record(&self) -> Option<ProcessId> {
        serde_json::from_slice(&fs::read(self.file(SPARE)).ok()?).ok()
    }

    /// Writes down which proxy waits here.
    pub(crate) fn write_spare_record(&self, proxy: ProcessId) -> io::Result<()> {
        write_anew(&self.file(SPARE))?.write_all(&serde_json::to_vec(&proxy)?)
    }

    /// A socket's path has 107 bytes at most: by the descriptor of its folder every folder is short enough.
    fn short(&self, name: &str) -> io::Result<(OwnedFd, PathBuf)> {
        let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
        let folder = rustix::fs::open(&self.path, flags, Mode::empty())?;
        let path = PathBuf::from(format!("/proc/self/fd/{}", folder.as_raw_fd())).join(name);
        Ok((folder, path))
    }
}

/// The sandboxes after which something in this folder is named.
pub(crate) fn ids(folder: &Path) -> io::Result<Vec<SandboxId>> {
    let entries = match fs::read_dir(folder) {
        Err(e) if e.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| SandboxId::try_from(name).ok()).collect())
}

/// A connection to a socket that is held. A local listener takes it at once, or not at all: the event loop, which would
/// have to take a turn to say so, is not asked.
pub(crate) fn connect(held: &OwnedFd) -> io::Result<UnixStream> {
    let flags = SocketFlags::NONBLOCK | SocketFlags::CLOEXEC;
    let socket = rustix::net::socket_with(AddressFamily::UNIX, SocketType::STREAM, flags, None)?;
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    rustix::net::connect(&socket, &SocketAddrUnix::new(path.as_str())?)?;
    UnixStream::from_std(socket.into())
}

/// Opens a file that lines or frames are appended to. Readable too: a chained one is resumed.
pub(crate) fn append_to(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).append(true).create(true).mode(0o600).open(path)
}

/// Opens a file that is written once, anew.
pub(crate) fn write_anew(path: &Path) -> io::Result<File> {
    OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(path)
}
