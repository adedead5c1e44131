//! Attempts on files.

use std::{
    ffi::CString,
    fs::{self, OpenOptions},
    io::{self, Read, Write},
    os::{
        fd::AsRawFd,
        unix::{ffi::OsStrExt, fs::PermissionsExt},
    },
    path::Path,
};

use crate::{Attempt, Tried, argument, checked};

pub(crate) const ATTEMPTS: &[Attempt] = &[
    ("read", read),
    ("write", write),
    ("create", create),
    ("append", append),
    ("stat", |a| fs::symlink_metadata(argument(a, 0, ".")).map(|found| format!("{} bytes", found.len()))),
    ("exists", exists),
    ("list", list),
    ("unlink", |a| fs::remove_file(argument(a, 0, ".")).map(|()| String::new())),
    ("rename", |a| fs::rename(argument(a, 0, ""), argument(a, 1, "")).map(|()| String::new())),
    ("link", |a| fs::hard_link(argument(a, 0, ""), argument(a, 1, "")).map(|()| String::new())),
    ("symlink", |a| {
        std::os::unix::fs::symlink(argument(a, 0, ""), argument(a, 1, "")).map(|()| String::new())
    }),
    ("readlink", |a| fs::read_link(argument(a, 0, "")).map(|path| path.display().to_string())),
    ("mkdir", |a| fs::create_dir(argument(a, 0, "")).map(|()| String::new())),
    ("chdir", |a| std::env::set_current_dir(argument(a, 0, "")).map(|()| String::new())),
    ("truncate", |a| {
        OpenOptions::new().write(true).open(argument(a, 0, ""))?.set_len(0).map(|()| String::new())
    }),
    ("chmod-setuid", chmod_setuid),
    ("create-setuid", create_setuid),
    ("mknod-fifo", |a| mknod(a, libc::S_IFIFO)),
    ("mknod-device", |a| mknod(a, libc::S_IFCHR)),
    ("tmpfile-link", tmpfile_link),
    ("name-to-handle", |a| name_to_handle(a).map(|_| String::new())),
    ("open-by-handle", open_by_handle),
    ("open-path-then-reopen", open_path_then_reopen),
    ("setxattr-capability", setxattr_capability),
    ("execute", execute),
];

fn c_string(text: &str) -> io::Result<CString> {
    CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// The first 200 bytes.
fn read(arguments: &[String]) -> Tried {
    let mut bytes = Vec::new();
    fs::File::open(argument(arguments, 0, ""))?.take(200).read_to_end(&mut bytes)?;
    Ok(String::from_utf8_lossy(&bytes).into_owned())
}

fn write(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new().write(true).open(argument(arguments, 0, ""))?;
    file.write_all(argument(arguments, 1, "x").as_bytes()).map(|()| String::new())
}

fn create(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new().write(true).create_new(true).open(argument(arguments, 0, ""))?;
    file.write_all(argument(arguments, 1, "x").as_bytes()).map(|()| String::new())
}

fn append(arguments: &[String]) -> Tried {
    let mut file = OpenOptions::new().append(true).open(argument(arguments, 0, ""))?;
    file.write_all(argument(arguments, 1, "x").as_bytes()).map(|()| String::new())
}

fn exists(arguments: &[String]) -> Tried {
    let path = c_string(argument(arguments, 0, ""))?;
    // SAFETY: the path is a C string.
    checked(unsafe { libc::access(path.as_ptr(), libc::F_OK) }.into()).map(|_| String::new())
}

fn list(arguments: &[String]) -> Tried {
    let mut names = Vec::new();
    for entry in fs::read_dir(argument(arguments, 0, "."))? {
        names.push(entry?.file_name().to_string_lossy().into_owned());
    }
    names.sort();
    Ok(names.join(" "))
}

fn chmod_setuid(arguments: &[String]) -> Tried {
    fs::set_permissions(argument(arguments, 0, ""), fs::Permissions::from_mode(0o6755))
        .map(|()| String::new())
}

fn create_setuid(arguments: &[String]) -> Tried {
    use std::os::unix::fs::{MetadataExt, OpenOptionsExt};

    let path = argument(arguments, 0, "");
    let file = OpenOptions::new().write(true).create_new(true).mode(0o6755).open(path)?;
    let mode = file.metadata()?.mode();
    if mode & 0o6000 == 0 { Err(io::Error::from_raw_os_error(libc::EPERM)) } else { Ok(format!("{mode:o}")) }
}

fn mknod(arguments: &[String], kind: libc::mode_t) -> Tried {
    let path = c_string(argument(arguments, 0, ""))?;
    // SAFETY: the path is a C string; 1:3 is /dev/null.
    let made = unsafe { libc::mknod(path.as_ptr(), kind | 0o600, libc::makedev(1, 3)) };
    checked(made.into()).map(|_| String::new())
}

/// An unnamed file in the first folder, given the second name.
fn tmpfile_link(arguments: &[String]) -> Tried {
    let folder = c_string(argument(arguments, 0, ""))?;
    let to = c_string(argument(arguments, 1, ""))?;
    // SAFETY: both are C strings.
    let file = unsafe { libc::open(folder.as_ptr(), libc::O_TMPFILE | libc::O_RDWR, 0o600) };
    checked(file.into())?;
    let from = c_string(&format!("/proc/self/fd/{file}"))?;
    // SAFETY: as above; the descriptor is our own.
    let linked = unsafe {
        libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    };
    checked(linked.into()).map(|_| String::new())
}

#[repr(C)]
struct Handle {
    bytes: u32,
    kind: i32,
    value: [u8; 128],
}

fn name_to_handle(arguments: &[String]) -> io::Result<Handle> {
    let path = c_string(argument(arguments, 0, "/"))?;
    let (mut handle, mut mount) = (Handle { bytes: 128, kind: 0, value: [0; 128] }, 0_i32);
    // SAFETY: the handle has the room that it announces.
    checked(unsafe {
        libc::syscall(
            libc::SYS_name_to_handle_at,
            libc::AT_FDCWD,
            path.as_ptr(),
            &raw mut handle,
            &raw mut mount,
            0,
        )
    })?;
    Ok(handle)
}

fn open_by_handle(arguments: &[String]) -> Tried {
    let handle = name_to_handle(arguments).unwrap_or(Handle { bytes: 8, kind: 1, value: [0; 128] });
    let root = fs::File::open(argument(arguments, 1, "/"))?;
    // SAFETY: the handle has the room that it announces.
    let opened = unsafe {
        libc::syscall(libc::SYS_open_by_handle_at, root.as_raw_fd(), &raw const handle, libc::O_RDONLY)
    };
    checked(opened).map(|_| String::new())
}

/// `O_PATH`, then the same file again through `/proc/self/fd`.
fn open_path_then_reopen(arguments: &[String]) -> Tried {
    let path = c_string(argument(arguments, 0, ""))?;
    // SAFETY: the path is a C string.
    let file = unsafe { libc::open(path.as_ptr(), libc::O_PATH | libc::O_CLOEXEC) };
    checked(file.into())?;
    read(&[format!("/proc/self/fd/{file}")])
}

fn setxattr_capability(arguments: &[String]) -> Tried {
    let path = c_string(argument(arguments, 0, ""))?;
    // A version 2 capability of everything.
    let value: [u8; 20] = [1, 0, 0, 2, 255, 255, 255, 255, 0, 0, 0, 0, 255, 255, 255, 255, 0, 0, 0, 0];
    // SAFETY: the strings end in NUL, the value has its length.
    let set = unsafe {
        libc::setxattr(path.as_ptr(), c"security.capability".as_ptr(), value.as_ptr().cast(), value.len(), 0)
    };
    checked(set.into()).map(|_| String::new())
}

/// Runs a program and tells how it ended.
fn execute(arguments: &[String]) -> Tried {
    let program = argument(arguments, 0, "/bin/true");
    let output = std::process::Command::new(program).args(arguments.get(1..).unwrap_or_default()).output()?;
    Ok(format!("{} {}", output.status, String::from_utf8_lossy(&output.stdout)))
}

/// Whether a path's bytes hold others.
pub(crate) fn path_holds(path: &Path, needle: &[u8]) -> bool {
    path.as_os_str().as_bytes().windows(needle.len()).any(|window| window == needle)
}
