//! `connect`, `bind`, `sendto`: the address is read once, and what it names is what is used.
//!
//! A socket in the filesystem can be connected to where the sandbox made it: it was bound through here, or lies
//! on a filesystem that only the sandbox has. All other addresses are the network's, which is captured.

use std::{
    collections::HashSet,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

use chiton_sys::{Errno, Result, path as raw};
use rustix::{
    fs::{AtFlags, OFlags, StatxFlags},
    net::AddressFamily,
};

use super::in_own_directory;
use crate::{
    event::Wanted,
    object::{Kind, Number, Object},
    request::{Reply, Request},
    resolve::{self, How},
    table::{From, Shape},
};

/// The most that one `sendto` carries.
const MOST_BYTES: usize = 1 << 20;
/// The kernel's `struct sockaddr_storage`.
const MOST_ADDRESS: usize = 128;

/// A socket's inode, with its time of birth: numbers are given again.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
struct Bound {
    device: (u32, u32),
    number: u64,
    born: (i64, u32),
}

/// The sockets that were bound inside.
#[derive(Default)]
pub(crate) struct Sockets(Mutex<HashSet<Bound>>);

impl Sockets {
    fn add(&self, bound: Bound) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).insert(bound);
    }

    fn has(&self, bound: &Bound) -> bool {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).contains(bound)
    }
}

/// An address as the caller gave it.
enum Address {
    /// A path of a Unix socket.
    Path(Vec<u8>),
    /// Anything else: passed on byte for byte.
    Other(Vec<u8>),
}

fn address(request: &Request<'_>, socket: &OwnedFd, at: usize) -> Result<Address> {
    let length = usize::try_from(request.int(at.saturating_add(1))).map_err(|_| Errno::INVAL)?;
    if length > MOST_ADDRESS {
        return Err(Errno::INVAL);
    }
    let bytes = request.caller.read_vec(request.word(at), length)?;
    request.confirm()?;
    let is_unix = rustix::net::sockopt::socket_domain(socket)? == AddressFamily::UNIX;
    let named = bytes
        .split_first_chunk::<2>()
        .filter(|(family, _)| u16::from_ne_bytes(**family) == AddressFamily::UNIX.as_raw());
    match named {
        Some((_, path)) if is_unix && path.first().is_some_and(|&b| b != 0) => {
            Ok(Address::Path(path.split(|&b| b == 0).next().unwrap_or_default().to_vec()))
        }
        Some(_) | None => Ok(Address::Other(bytes)),
    }
}

pub(crate) fn connect(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let socket = request.caller.descriptor(request.int(0))?;
    let address = address(request, &socket, shape.rest)?;
    let target = target(request, &address)?;
    request.shared.owners.note(request, &socket);
    in_own_directory(request)?;
    let blocks = !rustix::fs::fcntl_getfl(&socket)?.contains(OFlags::NONBLOCK);
    deed(request, blocks, || raw::connect(&socket, &target.bytes).map(|()| 0))
}

pub(crate) fn sendto(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    const ADDRESS: usize = 4;
    if request.word(ADDRESS) == 0 {
        return Ok(Reply::Continue); // By the register: no address, no name.
    }
    let socket = request.caller.descriptor(request.int(0))?;
    let address = address(request, &socket, ADDRESS)?;
    let size = usize::try_from(request.word(shape.rest.saturating_add(1))).unwrap_or(usize::MAX);
    let bytes = request.caller.read_vec(request.word(shape.rest), size.min(MOST_BYTES))?;
    request.confirm()?;
    let target = target(request, &address)?;
    in_own_directory(request)?;
    let flags = request.int(3);
    let blocks =
        flags & libc::MSG_DONTWAIT == 0 && !rustix::fs::fcntl_getfl(&socket)?.contains(OFlags::NONBLOCK);
    deed(request, blocks, || {
        let sent = raw::send_to(&socket, &bytes, flags, &target.bytes)?;
        i64::try_from(sent).map_err(|_| Errno::INVAL)
    })
}

fn deed(request: &Request<'_>, blocks: bool, f: impl Fn() -> Result<i64>) -> Result<Reply> {
    if !blocks {
        return f().map(Reply::Value);
    }
    Ok(request.shared.waits.during(request, None, f)?.map_or(Reply::Restart, Reply::Value))
}

/// An address that can be used from here. The object is held as long as it is.
struct Target {
    bytes: Vec<u8>,
    _object: Option<Object>,
}

fn target(request: &Request<'_>, address: &Address) -> Result<Target> {
    let path = match address {
        Address::Other(bytes) => return Ok(Target { bytes: bytes.clone(), _object: None }),
        Address::Path(path) => path,
    };
    let start = request.start(From::Cwd, path)?;
    let object = resolve::find(request, &start, path, How::new(true))?;
    if object.kind() != Kind::Socket {
        return Err(Errno::CONNREFUSED);
    }
    if !request.shared.sockets.has(&bound(&object.fd)?) && !is_private(request, &object.path) {
        request.refuse(&object.path, Wanted::Connect);
        return Err(Errno::ACCESS);
    }
    let mut bytes = AddressFamily::UNIX.as_raw().to_ne_bytes().to_vec();
    bytes.extend_from_slice(Number::of(&object.fd)?.as_c_str().to_bytes_with_nul());
    Ok(Target { bytes, _object: Some(object) })
}

fn is_private(request: &Request<'_>, path: &Path) -> bool {
    !request.shared.judge.is_live(path) && request.shared.private.iter().any(|p| path.starts_with(p))
}

fn bound(fd: &OwnedFd) -> Result<Bound> {
    let found = rustix::fs::statx(fd, c"", AtFlags::EMPTY_PATH, StatxFlags::INO | StatxFlags::BTIME)?;
    Ok(Bound {
        device: (found.stx_dev_major, found.stx_dev_minor),
        number: found.stx_ino,
        born: (found.stx_btime.tv_sec, found.stx_btime.tv_nsec),
    })
}

/// A Unix socket's name is made in its judged directory. The socket then says the last component as its name.
pub(crate) fn bind(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let socket = request.caller.descriptor(request.int(0))?;
    let path = match address(request, &socket, shape.rest)? {
        Address::Other(bytes) => {
            raw::bind(&socket, &bytes)?;
            return Ok(Reply::Value(0));
        }
        Address::Path(path) => path,
    };
    // Nobody puts something else in the place of the socket until it is known.
    let _names = request.names_move();
    let start = request.start(From::Cwd, &path)?;
    let entry = resolve::entry(request, &start, &path)?;
    if entry.object.is_some() {
        return Err(Errno::ADDRINUSE);
    }
    request.may_make(&entry, Kind::Socket)?;
    request.take_umask()?;
    let mut bytes = AddressFamily::UNIX.as_raw().to_ne_bytes().to_vec();
    bytes.extend_from_slice(entry.name.to_bytes_with_nul());
    rustix::process::fchdir(&entry.parent)?;
    let made = raw::bind(&socket, &bytes);
    in_own_directory(request)?;
    made?;
    let made = resolve::hold_name(&entry)?;
    request.shared.sockets.add(bound(&made)?);
    Ok(Reply::Value(0))
}
