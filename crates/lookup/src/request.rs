//! One call that waits for its answer, and what every act needs of it: arguments, paths, objects.

use std::{
    cell::Cell,
    os::fd::{AsFd as _, OwnedFd},
    path::{Path, PathBuf},
    sync::{Arc, PoisonError, RwLockReadGuard, RwLockWriteGuard},
};

use chiton_sys::{Errno, Result, memory, notify};
use rustix::fs::OFlags;

use crate::{
    caller::Caller,
    event::Wanted,
    judge::path_of,
    object::{Entry, Kind, Object, Stat},
    resolve::{self, How, Start},
    rules::Standing,
    shared::Shared,
    table::{Flags, From, Shape},
};

/// What a call gets when it was not refused.
pub(crate) enum Reply {
    Value(i64),
    /// A descriptor. One that can be written is handed over in two steps, so that ours is closed before the
    /// caller goes on: a program that is still open for writing cannot be started.
    Descriptor {
        fd: OwnedFd,
        close_on_exec: bool,
        writes: bool,
    },
    Continue,
    Restart,
}

/// A waiting call.
pub(crate) struct Request<'a> {
    pub(crate) shared: &'a Arc<Shared>,
    pub(crate) listener: &'a Arc<OwnedFd>,
    pub(crate) note: notify::Notification,
    pub(crate) caller: Caller<'a>,
    /// Whether a denied name is reported as a program that was not started.
    pub(crate) executes: Cell<bool>,
}

impl<'a> Request<'a> {
    /// An argument as it is in the register.
    pub(crate) fn word(&self, index: usize) -> u64 {
        self.note.arguments.get(index).copied().unwrap_or(0)
    }

    /// An argument that the kernel takes as an `int`: its lower half.
    #[expect(clippy::cast_possible_truncation, reason = "the kernel reads the lower half too")]
    pub(crate) fn int(&self, index: usize) -> i32 {
        self.word(index) as i32
    }

    /// As [`Request::int`], for bits.
    pub(crate) fn bits(&self, index: usize) -> u32 {
        self.int(index).cast_unsigned()
    }

    pub(crate) fn at_flags(&self, shape: &Shape) -> u32 {
        match shape.flags {
            Flags::Fixed(flags) => flags,
            Flags::Argument(index) => self.bits(index),
        }
    }

    /// Fails where the call waits no more: then what was read may have been another's.
    pub(crate) fn confirm(&self) -> Result<()> {
        if notify::is_waiting(&**self.listener, self.note.id) { Ok(()) } else { Err(Errno::SRCH) }
    }

    /// Writes a result into the caller's memory.
    pub(crate) fn write(&self, address: u64, bytes: &[u8]) -> Result<()> {
        if bytes.is_empty() {
            return Ok(());
        }
        self.confirm()?;
        let written = memory::with_ptrace_write(self.note.thread, address, bytes)?;
        if written == bytes.len() { Ok(()) } else { Err(Errno::FAULT) }
    }

    /// The path argument.
    pub(crate) fn text(&self, index: usize) -> Result<Vec<u8>> {
        self.caller.string(self.word(index))
    }

    fn directory_number(&self, from: From) -> i32 {
        match from {
            From::Cwd => libc::AT_FDCWD,
            From::Argument(index) => self.int(index),
        }
    }

    /// Where a path's walk starts.
    pub(crate) fn start(&self, from: From, text: &[u8]) -> Result<Start> {
        if text.first() == Some(&b'/') {
            self.confirm()?;
            return Ok(Start::root());
        }
        let fd = self.directory(from)?;
        self.confirm()?;
        Start::at(self.shared, fd)
    }

    /// A path for a call on one that exists or shall.
    pub(crate) fn origin(&self, from: From, index: usize) -> Result<(Start, Vec<u8>)> {
        let text = self.text(index)?;
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        Ok((self.start(from, &text)?, text))
    }

    /// As [`Request::origin`], for a walk that takes the directory for the root.
    pub(crate) fn origin_in_root(&self, from: From, index: usize) -> Result<(Start, Vec<u8>)> {
        let text = self.text(index)?;
        if text.is_empty() {
            return Err(Errno::NOENT);
        }
        let fd = self.directory(from)?;
        self.confirm()?;
        Ok((Start::at(self.shared, fd)?, text))
    }

    fn directory(&self, from: From) -> Result<OwnedFd> {
        match self.directory_number(from) {
            libc::AT_FDCWD => self.caller.working_directory(),
            number => self.caller.descriptor(number),
        }
    }

    /// The object that a call names. With `AT_EMPTY_PATH` an empty path is the descriptor's own object.
    pub(crate) fn object(&self, shape: &Shape) -> Result<Object> {
        match self.own_or_named(shape)? {
            Named::Own(fd) => self.opened(fd),
            Named::Found(object) => Ok(object),
        }
    }

    /// As [`Request::object`], for a call that asks about a descriptor no more than the caller could itself.
    pub(crate) fn shown(&self, shape: &Shape) -> Result<OwnedFd> {
        match self.own_or_named(shape)? {
            Named::Own(fd) => self.confirm().map(|()| fd),
            Named::Found(object) => Ok(object.fd),
        }
    }

    fn own_or_named(&self, shape: &Shape) -> Result<Named> {
        let flags = self.at_flags(shape);
        let may_be_empty = flags & libc::AT_EMPTY_PATH.unsigned_abs() != 0;
        if may_be_empty && self.word(shape.path) == 0 {
            return self.directory(shape.directory).map(Named::Own);
        }
        let text = self.text(shape.path)?;
        if text.is_empty() {
            let own = || self.directory(shape.directory).map(Named::Own);
            return if may_be_empty { own() } else { Err(Errno::NOENT) };
        }
        let start = self.start(shape.directory, &text)?;
        let follow = flags & libc::AT_SYMLINK_NOFOLLOW.unsigned_abs() == 0;
        resolve::find(self, &start, &text, How::new(follow)).map(Named::Found)
    }

    /// The object of a descriptor that the caller has.
    pub(crate) fn descriptor_object(&self, index: usize) -> Result<Object> {
        let fd = self.caller.descriptor(self.int(index))?;
        if rustix::fs::fcntl_getfl(&fd)?.contains(OFlags::PATH) {
            return Err(Errno::BADF);
        }
        self.opened(fd)
    }

    fn opened(&self, fd: OwnedFd) -> Result<Object> {
        self.confirm()?;
        let stat = Stat::of(&fd)?;
        let path = path_of(&self.shared.judge.own, &fd)?;
        let standing = self.shared.judge.opened(&path, &stat);
        Ok(Object { fd, stat, path, standing })
    }

    /// The name that a call would make, remove or move.
    pub(crate) fn entry(&self, from: From, index: usize) -> Result<Entry> {
        let (start, text) = self.origin(from, index)?;
        resolve::entry(self, &start, &text)
    }

    /// Reports a refusal.
    pub(crate) fn refuse(&self, path: &Path, wanted: Wanted) {
        let process = self.caller.status().and_then(|s| s.process()).unwrap_or(self.note.thread);
        if self.executes.get() {
            self.shared.sink.exec_denied(process, path);
        } else {
            // Where there is no thread for it, what was only counted is told at the end.
            let _later = self.shared.reporting.begin(self.shared);
            self.shared.throttle.refused(&*self.shared.sink, process, path, wanted);
        }
    }

    /// Whether a name may be looked up: denied ones do not exist.
    pub(crate) fn may_find(&self, path: &Path, standing: Standing) -> Result<()> {
        match standing {
            Standing::Open | Standing::FolderOnly | Standing::ReadOnly | Standing::Protected => Ok(()),
            Standing::Denied => {
                self.refuse(path, Wanted::Lookup);
                Err(Errno::NOENT)
            }
        }
    }

    /// Whether an object may be written, or its attributes changed.
    pub(crate) fn may_change(&self, object: &Object) -> Result<()> {
        match object.standing {
            Standing::Open => Ok(()),
            Standing::FolderOnly if object.kind() == Kind::Directory => Ok(()),
            Standing::ReadOnly => match object.kind() {
                Kind::File | Kind::Directory | Kind::Symlink => Err(Errno::ROFS),
                Kind::Fifo | Kind::Socket | Kind::Device | Kind::Other => Ok(()),
            },
            Standing::FolderOnly | Standing::Protected | Standing::Denied => {
                self.refuse(&object.path, Wanted::Change);
                Err(Errno::ACCESS)
            }
        }
    }

    /// Whether something may be made, or come, under a name that nothing has.
    pub(crate) fn may_make(&self, entry: &Entry, what: Kind) -> Result<()> {
        let standing = self.shared.judge.new_name(&entry.path, entry.parent.as_fd());
        match if entry.hidden { Standing::Denied } else { standing } {
            Standing::Open => Ok(()),
            Standing::FolderOnly if what == Kind::Directory => Ok(()),
            Standing::ReadOnly => Err(Errno::ROFS),
            Standing::FolderOnly | Standing::Protected => {
                self.refuse(&entry.path, Wanted::Change);
                Err(Errno::ACCESS)
            }
            // It is refused for the same reason as every other look at this name.
            Standing::Denied => {
                self.refuse(&entry.path, Wanted::Lookup);
                Err(Errno::ACCESS)
            }
        }
    }

    /// While this is held no name moves.
    pub(crate) fn names_stay(&self) -> RwLockReadGuard<'a, ()> {
        self.shared.tree.read().unwrap_or_else(PoisonError::into_inner)
    }

    /// While this is held nobody else makes or moves a name.
    pub(crate) fn names_move(&self) -> RwLockWriteGuard<'a, ()> {
        self.shared.tree.write().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes over the caller's umask, on this thread, for what is made next.
    pub(crate) fn take_umask(&self) -> Result<()> {
        let mask = self.caller.status()?.umask();
        self.confirm()?;
        rustix::process::umask(mask);
        Ok(())
    }

    /// The path of one of our descriptors, in the view.
    pub(crate) fn path_of(&self, fd: impl std::os::fd::AsFd) -> Result<PathBuf> {
        path_of(&self.shared.judge.own, fd)
    }
}

/// What a call is about.
enum Named {
    /// The object of a descriptor that the caller has.
    Own(OwnedFd),
    /// The object at a path's end.
    Found(Object),
}

/// Refuses bits that would run a program as somebody else.
pub(crate) fn refuse_set_id(mode: u32) -> Result<()> {
    if mode & (libc::S_ISUID | libc::S_ISGID) == 0 { Ok(()) } else { Err(Errno::PERM) }
}

/// Refuses flags that a call does not have.
pub(crate) fn known_flags(flags: u32, known: i32) -> Result<()> {
    if flags & !known.unsigned_abs() == 0 { Ok(()) } else { Err(Errno::INVAL) }
}
