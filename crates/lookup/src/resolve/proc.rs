//! `/proc` as the caller sees it: its own entry under `self`, and the links that lead to objects.

use std::{ffi::OsStr, os::unix::ffi::OsStrExt as _, path::Path};

use chiton_sys::{Errno, Result, memory};

use crate::{object::Stat, request::Request};

/// What a symlink in `/proc` is.
pub(super) enum Link {
    /// Text, as anywhere.
    Plain,
    /// Text that depends on who asks.
    Own(Vec<u8>),
    /// Leads to an object, whatever its text says.
    Magic,
}

/// What a symlink is, by its path and the device it is on.
pub(super) fn link(request: &Request<'_>, path: &Path, stat: &Stat) -> Result<Link> {
    if let Some(text) = own_link(request, path, stat)? {
        return Ok(Link::Own(text));
    }
    if Some(stat.identity().device) != request.shared.proc_device {
        return Ok(Link::Plain);
    }
    let first = path.strip_prefix("/proc").ok().and_then(|below| below.iter().next());
    let is_process = first.is_some_and(|name| name.as_bytes().iter().all(u8::is_ascii_digit));
    Ok(if is_process { Link::Magic } else { Link::Plain })
}

/// The text of `/proc/self` and `/proc/thread-self` for the caller.
pub(crate) fn own_link(request: &Request<'_>, path: &Path, stat: &Stat) -> Result<Option<Vec<u8>>> {
    if Some(stat.identity().device) != request.shared.proc_device {
        return Ok(None);
    }
    let text = match path.as_os_str().as_bytes() {
        b"/proc/self" => {
            let (process, _) = request.caller.status()?.inside()?;
            process.to_string()
        }
        b"/proc/thread-self" => {
            let (process, thread) = request.caller.status()?.inside()?;
            format!("{process}/task/{thread}")
        }
        _ => return Ok(None),
    };
    request.confirm()?;
    Ok(Some(text.into_bytes()))
}

/// Looks at a link of `/proc` that leads to an object. The kernel lets a process that hides from its own user look at its
/// own, and we are another one.
pub(crate) fn look<T>(request: &Request<'_>, path: &Path, look: impl Fn() -> Result<T>) -> Result<T> {
    match look() {
        Err(Errno::ACCESS | Errno::PERM) if is_own(request, path)? => memory::with_ptrace(look),
        other => other,
    }
}

/// Whether this path is one of the caller's own links. Not of its descriptors: their folder is closed to us.
fn is_own(request: &Request<'_>, path: &Path) -> Result<bool> {
    let Some(name @ (b"exe" | b"cwd" | b"root")) = path.file_name().map(|name| name.as_bytes()) else {
        return Ok(false);
    };
    let (process, _) = request.caller.status()?.inside()?;
    request.confirm()?;
    Ok(path == Path::new("/proc").join(process.to_string()).join(OsStr::from_bytes(name)))
}
