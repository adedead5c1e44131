//! The view's own tree while it is assembled: a small filesystem in memory that mounts are put into.
//!
//! Everything is named relative to the tree's root and resolved inside it, so that no link in a workspace can
//! lead a mount elsewhere.

use std::{
    cell::RefCell,
    collections::HashMap,
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    path::{Component, Path, PathBuf},
    rc::Rc,
};

use chiton_sys::{
    Errno,
    mount::{MountAttrFlags, set_attributes},
};
use rustix::{
    fs::{
        AtFlags, CWD, FileType, Mode, OFlags, ResolveFlags, fstat, mkdirat, openat, openat2, symlinkat,
        unlinkat,
    },
    mount::{
        FsMountFlags, FsOpenFlags, MoveMountFlags, OpenTreeFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount, open_tree, unmount,
    },
};

use crate::{
    plan::{MASK_FILE, MASK_FOLDER, PRIVATE},
    view::ViewError,
};

/// Read-only system folders and files.
pub(super) const READ_ONLY: MountAttrFlags = MountAttrFlags::MOUNT_ATTR_RDONLY
    .union(MountAttrFlags::MOUNT_ATTR_NOSUID)
    .union(MountAttrFlags::MOUNT_ATTR_NODEV);
/// Device nodes.
pub(super) const DEVICE: MountAttrFlags =
    MountAttrFlags::MOUNT_ATTR_NOSUID.union(MountAttrFlags::MOUNT_ATTR_NOEXEC);

/// Where the tree hangs in the host's view until it is entered: the first of these that is a folder. Not above
/// `/proc`, which must stay in sight. The last is there in every container, whatever its image has.
const BASES: &[&str] = &["/tmp", "/mnt", "/var", "/usr", "/run", "/sys"];

const HANDLE: OFlags = OFlags::PATH.union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const NEW_FILE: OFlags =
    OFlags::WRONLY.union(OFlags::CREATE).union(OFlags::EXCL).union(OFlags::NOFOLLOW).union(OFlags::CLOEXEC);
const CLONE: OpenTreeFlags =
    OpenTreeFlags::OPEN_TREE_CLONE.union(OpenTreeFlags::OPEN_TREE_CLOEXEC).union(OpenTreeFlags::AT_RECURSIVE);

/// The tree.
#[derive(Debug)]
pub(super) struct Tree {
    root: Rc<OwnedFd>,
    /// Folders that were asked for, until something is mounted at or above them.
    known: RefCell<HashMap<PathBuf, Rc<OwnedFd>>>,
}

/// A kind of filesystem and its options.
pub(super) struct Filesystem<'a> {
    pub(super) kind: &'static str,
    pub(super) options: &'a [(&'static str, &'a str)],
    pub(super) attributes: MountAttrFlags,
}

impl Tree {
    /// An empty tree.
    pub(super) fn new() -> Result<Self, ViewError> {
        let filesystem = Filesystem {
            kind: "tmpfs",
            options: &[("size", "16m"), ("nr_inodes", "8192"), ("mode", "755")],
            attributes: MountAttrFlags::MOUNT_ATTR_NOSUID | MountAttrFlags::MOUNT_ATTR_NODEV,
        };
        let root = filesystem.make().map_err(step("making", Path::new("/")))?;
        let mut refused = Errno::NOENT;
        for base in BASES {
            match move_mount(&root, c"", CWD, *base, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH) {
                Ok(()) => return Ok(Self { root: Rc::new(root), known: RefCell::default() }),
                Err(e) => refused = e,
            }
        }
        Err(step("hanging up", Path::new("/"))(refused))
    }

    /// The tree's root.
    pub(super) fn root(&self) -> BorrowedFd<'_> {
        self.root.as_fd()
    }

    /// What is at a path inside, links followed within the tree.
    pub(super) fn find(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC;
        openat2(&self.root, relative(path), flags, Mode::empty(), ResolveFlags::IN_ROOT)
    }

    /// What is at a path inside; a link anywhere in it is an error.
    pub(super) fn find_plain(&self, path: &Path) -> Result<OwnedFd, Errno> {
        let flags = OFlags::PATH | OFlags::CLOEXEC | OFlags::NOFOLLOW;
        let resolve = ResolveFlags::BENEATH | ResolveFlags::NO_SYMLINKS | ResolveFlags::NO_MAGICLINKS;
        openat2(&self.root, relative(path), flags, Mode::empty(), resolve)
    }

    /// The folder at a path, made where it is missing.
    pub(super) fn folder(&self, path: &Path) -> Result<Rc<OwnedFd>, Errno> {
        let Ok((parent, name)) = split(path) else { return Ok(Rc::clone(&self.root)) };
        if let Some(known) = self.known.borrow().get(path) {
            return Ok(Rc::clone(known));
        }
        let parent = self.folder(parent)?;
        let found = Rc::new(match mkdirat(&parent, name, Mode::from_raw_mode(0o755)) {
            Ok(()) => openat(&parent, name, HANDLE, Mode::empty())?,
            // It may be a link, which is followed inside the tree only.
            Err(Errno::EXIST) => self.find(path)?,
            Err(e) => return Err(e),
        });
        self.known.borrow_mut().insert(path.to_owned(), Rc::clone(&found));
        Ok(found)
    }

    /// A new file.
    pub(super) fn file(&self, path: &Path, contents: &[&[u8]], mode: u32) -> Result<(), Errno> {
        let file = self.new_file(path, mode)?;
        for mut bytes in contents.iter().copied() {
            while !bytes.is_empty() {
                let written = rustix::io::write(&file, bytes)?;
                bytes = bytes.get(written..).unwrap_or_default();
            }
        }
        Ok(())
    }

    /// A new file, empty.
    pub(super) fn new_file(&self, path: &Path, mode: u32) -> Result<OwnedFd, Errno> {
        let (parent, name) = split(path)?;
        openat(self.folder(parent)?, name, NEW_FILE, Mode::from_raw_mode(mode))
    }

    /// A new symbolic link.
    pub(super) fn link(&self, path: &Path, target: &Path) -> Result<(), Errno> {
        let (parent, name) = split(path)?;
        symlinkat(target, self.folder(parent)?, name)
    }

    /// Puts a detached mount at a path, which is made where it is missing.
    pub(super) fn place(&self, mount: impl AsFd, path: &Path) -> Result<(), Errno> {
        let (above, name) = split(path)?;
        let parent = self.folder(above)?;
        let made = if is_folder(mount.as_fd())? {
            mkdirat(&parent, name, Mode::from_raw_mode(0o755))
        } else {
            openat(&parent, name, NEW_FILE, Mode::from_raw_mode(0o644)).map(drop)
        };
        match made {
            // It was not there: nothing below it is known.
            Ok(()) => move_mount(mount, c"", parent, name, MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH),
            Err(Errno::EXIST) => {
                put(mount, self.find(path)?)?;
                self.known.borrow_mut().retain(|known, _| !known.starts_with(path));
                Ok(())
            }
            Err(e) => Err(e),
        }
    }

    /// A detached mount of something of the host.
    pub(super) fn clone_of_host(path: &Path, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
        let mount = open_tree(CWD, path, CLONE)?;
        set_attributes(&mount, attributes, true, None)?;
        Ok(mount)
    }

    /// A detached mount of something inside.
    pub(super) fn clone_of(found: impl AsFd, attributes: MountAttrFlags) -> Result<OwnedFd, Errno> {
        let mount = open_tree(found, c"", CLONE | OpenTreeFlags::AT_EMPTY_PATH)?;
        set_attributes(&mount, attributes, true, None)?;
        Ok(mount)
    }

    /// A detached mount of a new folder in the filesystem at `of`, named as the last part of `path`.
    pub(super) fn part(
        &self,
        of: &Path,
        path: &Path,
        mode: &str,
        attributes: MountAttrFlags,
    ) -> Result<OwnedFd, Errno> {
        let (_, name) = split(path)?;
        let mode = u32::from_str_radix(mode, 8).map_err(|_| Errno::INVAL)?;
        let whole = self.find(of)?;
        mkdirat(&whole, name, Mode::from_raw_mode(mode))?;
        Self::clone_of(openat(&whole, name, HANDLE, Mode::empty())?, attributes)
    }

    /// Makes what is at `path` unreadable, or only not writable; nothing where there is nothing.
    pub(super) fn cover(
        &self,
        path: &Path,
        with: impl FnOnce(&Self, &OwnedFd) -> Covering,
    ) -> Result<(), Errno> {
        let found = match self.find_plain(path) {
            Ok(found) => found,
            // A link is the lookup's to judge: it is nothing that a mount could cover.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP | Errno::ACCESS) => return Ok(()),
            Err(e) => return Err(e),
        };
        match with(self, &found) {
            Covering::Skip => Ok(()),
            Covering::With(mount) => put(mount?, found),
        }
    }

    /// The empty thing of the same kind that cannot be opened.
    pub(super) fn nothing_like(&self, found: &OwnedFd) -> Covering {
        Covering::With((|| match FileType::from_raw_mode(fstat(found)?.st_mode) {
            FileType::Directory => Self::clone_of(self.find(Path::new(MASK_FOLDER))?, READ_ONLY),
            FileType::RegularFile
            | FileType::Symlink
            | FileType::Fifo
            | FileType::Socket
            | FileType::CharacterDevice
            | FileType::BlockDevice
            | FileType::Unknown => Self::clone_of(self.find(Path::new(MASK_FILE))?, READ_ONLY),
        })())
    }

    /// Removes the scaffolding, makes the tree read-only, and makes it the root.
    pub(super) fn enter(self) -> Result<(), ViewError> {
        let root = Path::new("/");
        let gone =
            |path: &Path, flags| unlinkat(&self.root, relative(path), flags).map_err(step("removing", path));
        gone(Path::new(MASK_FILE), AtFlags::empty())?;
        gone(Path::new(MASK_FOLDER), AtFlags::REMOVEDIR)?;
        rustix::process::fchdir(&self.root).map_err(step("entering", root))?;
        self.take_down(Path::new(PRIVATE))?;
        set_attributes(&self.root, READ_ONLY, false, None).map_err(step("making read-only", root))?;
        // The old root comes to lie over the new one, and is taken away.
        rustix::process::pivot_root(".", ".").map_err(step("pivoting to", root))?;
        unmount(".", UnmountFlags::DETACH).map_err(step("leaving the host's", root))?;
        rustix::process::chdir("/").map_err(step("entering", root))
    }

    /// Takes away a mount of the scaffolding and the folder that it hung in, where there is one. The parts of it that are
    /// mounted elsewhere stay. In the tree's root.
    fn take_down(&self, path: &Path) -> Result<(), ViewError> {
        match unmount(relative(path).as_path(), UnmountFlags::DETACH) {
            Err(Errno::NOENT) => return Ok(()),
            done => done.map_err(step("unmounting", path))?,
        }
        unlinkat(&self.root, relative(path), AtFlags::REMOVEDIR).map_err(step("removing", path))
    }
}

/// What [`Tree::cover`] covers with.
pub(super) enum Covering {
    /// It stays as it is.
    Skip,
    /// This mount.
    With(Result<OwnedFd, Errno>),
}

impl Filesystem<'_> {
    /// A new instance as a detached mount.
    pub(super) fn make(&self) -> Result<OwnedFd, Errno> {
        let context = fsopen(self.kind, FsOpenFlags::FSOPEN_CLOEXEC)?;
        for (key, value) in self.options {
            if value.is_empty() {
                fsconfig_set_flag(&context, *key)?;
            } else {
                fsconfig_set_string(&context, *key, *value)?;
            }
        }
        fsconfig_create(&context)?;
        fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, self.attributes)
    }
}

pub(super) fn step(doing: &'static str, path: &Path) -> impl FnOnce(Errno) -> ViewError {
    move |source| ViewError::Step { doing, path: path.to_owned(), source }
}

fn put(mount: impl AsFd, at: impl AsFd) -> Result<(), Errno> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, c"", at, c"", flags)
}

fn is_folder(fd: BorrowedFd<'_>) -> Result<bool, Errno> {
    Ok(FileType::from_raw_mode(fstat(fd)?.st_mode) == FileType::Directory)
}

/// The same path below the tree's root.
fn relative(path: &Path) -> PathBuf {
    let below: PathBuf = path.components().filter(|c| matches!(c, Component::Normal(_))).collect();
    if below.as_os_str().is_empty() { PathBuf::from(".") } else { below }
}

fn split(path: &Path) -> Result<(&Path, &std::ffi::OsStr), Errno> {
    path.parent().zip(path.file_name()).ok_or(Errno::INVAL)
}
