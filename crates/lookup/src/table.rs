//! Every call that names a path, and the few on descriptors that change what a path shows: which it is, where
//! its arguments are, and what is done for it. The one place that knows the calls' shapes.

use chiton_sys::Result;

use crate::{
    calls::{attr, create, directory, exec, list, open, remove, rename, socket, stat, time, xattr},
    request::{Reply, Request},
};

/// Where a directory comes from.
#[derive(Clone, Copy)]
pub(crate) enum From {
    /// The working directory.
    Cwd,
    /// The descriptor in this argument.
    Argument(usize),
}

/// Where the flags for a lookup come from.
#[derive(Clone, Copy)]
pub(crate) enum Flags {
    Fixed(u32),
    Argument(usize),
}

/// Where a call has its arguments.
#[derive(Clone, Copy)]
pub(crate) struct Shape {
    pub(crate) directory: From,
    pub(crate) path: usize,
    /// A second path: of a rename or a link.
    pub(crate) second: (From, usize),
    pub(crate) flags: Flags,
    /// The first argument that is neither directory, path nor flags.
    pub(crate) rest: usize,
}

/// A call and what is done for it.
pub(crate) struct Call {
    pub(crate) number: i64,
    pub(crate) act: fn(&Request<'_>, &Shape) -> Result<Reply>,
    pub(crate) shape: Shape,
}

const NONE: Shape =
    Shape { directory: From::Cwd, path: 0, second: (From::Cwd, 0), flags: Flags::Fixed(0), rest: 0 };
/// `(path, …)`
const PATH: Shape = Shape { rest: 1, ..NONE };
/// `(directory, path, …)`
const AT: Shape = Shape { directory: From::Argument(0), path: 1, rest: 2, ..NONE };
/// `(old, new)`
const PAIR: Shape = Shape { second: (From::Cwd, 1), ..NONE };
/// `(directory, old, directory, new)`
const PAIR_AT: Shape = Shape { second: (From::Argument(2), 3), ..AT };
/// `(descriptor, …)`
const DESCRIPTOR: Shape = Shape { rest: 1, ..NONE };

const NOFOLLOW: Flags = Flags::Fixed(0x100);
const REMOVE_DIRECTORY: Flags = Flags::Fixed(0x200);

const fn with(shape: Shape, flags: Flags) -> Shape {
    Shape { flags, ..shape }
}

const fn flags_in(shape: Shape, argument: usize) -> Shape {
    Shape { flags: Flags::Argument(argument), ..shape }
}

const fn call(number: i64, act: fn(&Request<'_>, &Shape) -> Result<Reply>, shape: Shape) -> Call {
    Call { number, act, shape }
}

/// Sorted by nothing: looked up through [`find`].
pub(crate) static CALLS: &[Call] = &[
    call(libc::SYS_open, open::open, PATH),
    call(libc::SYS_openat, open::open, AT),
    call(libc::SYS_creat, open::creat, PATH),
    call(libc::SYS_openat2, open::openat2, AT),
    call(libc::SYS_stat, stat::stat, PATH),
    call(libc::SYS_lstat, stat::stat, with(PATH, NOFOLLOW)),
    call(libc::SYS_newfstatat, stat::stat, flags_in(AT, 3)),
    call(libc::SYS_statx, stat::statx, Shape { rest: 3, ..flags_in(AT, 2) }),
    call(libc::SYS_statfs, stat::statfs, PATH),
    call(libc::SYS_access, stat::access, PATH),
    call(libc::SYS_faccessat, stat::access, AT),
    call(libc::SYS_faccessat2, stat::access, flags_in(AT, 3)),
    call(libc::SYS_readlink, stat::readlink, PATH),
    call(libc::SYS_readlinkat, stat::readlink, AT),
    call(libc::SYS_truncate, attr::truncate, PATH),
    call(libc::SYS_chmod, attr::chmod, PATH),
    call(libc::SYS_fchmodat, attr::chmod, AT),
    call(452, attr::chmod, flags_in(AT, 3)), // fchmodat2
    call(libc::SYS_fchmod, attr::fchmod, DESCRIPTOR),
    call(libc::SYS_chown, attr::chown, PATH),
    call(libc::SYS_lchown, attr::chown, with(PATH, NOFOLLOW)),
    call(libc::SYS_fchownat, attr::chown, flags_in(AT, 4)),
    call(libc::SYS_fchown, attr::fchown, DESCRIPTOR),
    call(libc::SYS_utime, time::utime, PATH),
    call(libc::SYS_utimes, time::utimes, PATH),
    call(libc::SYS_futimesat, time::utimes, AT),
    call(libc::SYS_utimensat, time::utimensat, flags_in(AT, 3)),
    call(libc::SYS_setxattr, xattr::set, PATH),
    call(libc::SYS_lsetxattr, xattr::set, with(PATH, NOFOLLOW)),
    call(libc::SYS_fsetxattr, xattr::set_open, DESCRIPTOR),
    call(libc::SYS_getxattr, xattr::get, PATH),
    call(libc::SYS_lgetxattr, xattr::get, with(PATH, NOFOLLOW)),
    call(libc::SYS_listxattr, xattr::list, PATH),
    call(libc::SYS_llistxattr, xattr::list, with(PATH, NOFOLLOW)),
    call(libc::SYS_removexattr, xattr::remove, PATH),
    call(libc::SYS_lremovexattr, xattr::remove, with(PATH, NOFOLLOW)),
    call(libc::SYS_fremovexattr, xattr::remove_open, DESCRIPTOR),
    call(libc::SYS_mkdir, create::mkdir, PATH),
    call(libc::SYS_mkdirat, create::mkdir, AT),
    call(libc::SYS_mknod, create::mknod, PATH),
    call(libc::SYS_mknodat, create::mknod, AT),
    call(libc::SYS_symlink, create::symlink, Shape { path: 1, ..NONE }),
    call(libc::SYS_symlinkat, create::symlink, Shape { directory: From::Argument(1), path: 2, ..NONE }),
    call(libc::SYS_link, create::link, with(PAIR, NOFOLLOW)),
    call(libc::SYS_linkat, create::link, flags_in(PAIR_AT, 4)),
    call(libc::SYS_unlink, remove::remove, PATH),
    call(libc::SYS_unlinkat, remove::remove, flags_in(AT, 2)),
    call(libc::SYS_rmdir, remove::remove, with(PATH, REMOVE_DIRECTORY)),
    call(libc::SYS_rename, rename::rename, PAIR),
    call(libc::SYS_renameat, rename::rename, PAIR_AT),
    call(libc::SYS_renameat2, rename::rename, flags_in(PAIR_AT, 4)),
    call(libc::SYS_chdir, directory::chdir, PATH),
    call(libc::SYS_inotify_add_watch, directory::watch, Shape { path: 1, rest: 2, ..NONE }),
    call(libc::SYS_getdents64, list::getdents64, DESCRIPTOR),
    call(libc::SYS_getdents, list::getdents, DESCRIPTOR),
    call(libc::SYS_connect, socket::connect, DESCRIPTOR),
    call(libc::SYS_bind, socket::bind, DESCRIPTOR),
    call(libc::SYS_sendto, socket::sendto, DESCRIPTOR),
    call(libc::SYS_execve, exec::execve, PATH),
    call(libc::SYS_execveat, exec::execve, flags_in(AT, 4)),
];

/// The call with a number.
pub(crate) fn find(number: i32) -> Option<&'static Call> {
    static INDEX: std::sync::LazyLock<Vec<Option<&'static Call>>> = std::sync::LazyLock::new(|| {
        let mut index = Vec::new();
        for call in CALLS {
            let Ok(at) = usize::try_from(call.number) else { continue };
            if index.len() <= at {
                index.resize(at.saturating_add(1), None);
            }
            if let Some(slot) = index.get_mut(at) {
                *slot = Some(call);
            }
        }
        index
    });
    INDEX.get(usize::try_from(number).ok()?).copied().flatten()
}

/// The calls that the filter has to send here. `sendto` only where its fifth argument, the address, is not null.
pub fn notified() -> impl Iterator<Item = u32> {
    CALLS.iter().filter_map(|call| u32::try_from(call.number).ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_found_and_none_twice() {
        for call in CALLS {
            let number = i32::try_from(call.number).unwrap();
            assert!(std::ptr::eq(find(number).unwrap(), call), "{number} is there twice");
        }
        assert!(find(-1).is_none());
        assert!(find(i32::MAX).is_none());
        assert!(find(libc::SYS_read as i32).is_none());
    }
}
