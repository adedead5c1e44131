//! An object that is held by a descriptor, so that what was judged is what is used.

use std::{
    ffi::{CStr, CString},
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::{Path, PathBuf},
};

use chiton_sys::{Errno, Result};

use crate::rules::Standing;

/// The kernel's `struct stat`, as bytes that can be handed on.
#[derive(Clone)]
pub(crate) struct Stat(pub(crate) [u8; chiton_sys::path::STAT]);

/// The kinds of objects.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    File,
    Directory,
    Symlink,
    Fifo,
    Socket,
    Device,
    /// What no filesystem shows: pipes of no name, event counters.
    Other,
}

impl Stat {
    pub(crate) fn of(fd: impl AsFd) -> Result<Self> {
        chiton_sys::path::stat(fd).map(Self)
    }

    fn wide(&self, at: usize) -> u64 {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u64::from_ne_bytes(*bytes))
    }

    fn narrow(&self, at: usize) -> u32 {
        self.0.get(at..).and_then(|rest| rest.first_chunk()).map_or(0, |bytes| u32::from_ne_bytes(*bytes))
    }

    /// The device and the number on it: what an object is, whatever its name.
    pub(crate) fn identity(&self) -> Identity {
        Identity { device: self.wide(0), number: self.wide(8) }
    }

    pub(crate) fn links(&self) -> u64 {
        self.wide(16)
    }

    pub(crate) fn mode(&self) -> u32 {
        self.narrow(24)
    }

    pub(crate) fn owner(&self) -> u32 {
        self.narrow(28)
    }

    pub(crate) fn device_node(&self) -> u64 {
        self.wide(40)
    }

    pub(crate) fn kind(&self) -> Kind {
        match self.mode() & libc::S_IFMT {
            libc::S_IFREG => Kind::File,
            libc::S_IFDIR => Kind::Directory,
            libc::S_IFLNK => Kind::Symlink,
            libc::S_IFIFO => Kind::Fifo,
            libc::S_IFSOCK => Kind::Socket,
            libc::S_IFCHR | libc::S_IFBLK => Kind::Device,
            _ => Kind::Other,
        }
    }
}

/// What an object is, whatever its name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    pub(crate) device: u64,
    pub(crate) number: u64,
}

/// A held object that was judged, and is not denied.
pub(crate) struct Object {
    pub(crate) fd: OwnedFd,
    pub(crate) stat: Stat,
    /// In the view.
    pub(crate) path: PathBuf,
    pub(crate) standing: Standing,
}

impl Object {
    pub(crate) fn kind(&self) -> Kind {
        self.stat.kind()
    }
}

/// A path of at most so many bytes, with its NUL, on the stack: the number of a descriptor, which is the
/// object's name in the directory of our own descriptors.
pub(crate) struct Number([u8; 12]);

impl Number {
    pub(crate) fn of(fd: impl AsFd) -> Result<Self> {
        let mut text = [0; 12];
        let number = fd.as_fd().as_raw_fd();
        std::io::Write::write_fmt(&mut text.as_mut_slice(), format_args!("{number}\0"))
            .map_err(|_| Errno::NAMETOOLONG)?;
        Ok(Self(text))
    }

    pub(crate) fn as_c_str(&self) -> &CStr {
        CStr::from_bytes_until_nul(&self.0).unwrap_or_default()
    }
}

/// A name in a held directory, whether or not something has it.
pub(crate) struct Entry {
    pub(crate) parent: OwnedFd,
    /// The last component as the caller wrote it, a trailing slash included.
    pub(crate) name: CString,
    /// The name's path in the view.
    pub(crate) path: PathBuf,
    /// What has the name now; a symlink is not followed.
    pub(crate) object: Option<Object>,
    /// Something has the name, and is denied.
    pub(crate) hidden: bool,
}

impl Entry {
    /// Whether the last component is `.`, `..` or the root, which nothing can be made, moved or removed as.
    pub(crate) fn is_dots(&self) -> bool {
        matches!(self.name.to_bytes().split(|&b| b == b'/').next(), Some(b"" | b"." | b".."))
    }
}

/// The directory in a path, for errors of the "is it below" kind.
pub(crate) fn is_below(path: &Path, directory: &Path) -> bool {
    path != directory && path.starts_with(directory)
}

/// Bytes of a path, without what the kernel adds to the name of a removed object.
pub(crate) fn without_deleted(path: &Path) -> Option<&Path> {
    let bytes = path.as_os_str().as_bytes();
    bytes.strip_suffix(b" (deleted)").map(|rest| Path::new(std::ffi::OsStr::from_bytes(rest)))
}
