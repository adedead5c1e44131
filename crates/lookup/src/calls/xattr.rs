//! Extended attributes.

use std::ffi::CString;

use chiton_sys::{Errno, Result};
use rustix::fs::XattrFlags;

use super::in_own_directory;
use crate::{
    object::{Number, Object},
    request::{Reply, Request},
    table::Shape,
};

/// The kernel's limits.
const MOST_VALUE: usize = 65536;
const MOST_NAME: usize = 255;

pub(crate) fn get(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.object(shape)?;
    let name = name(request, shape.rest)?;
    let path = path(request, &object)?;
    let size = size(request, shape.rest.saturating_add(2));
    if size == 0 {
        return length(rustix::fs::getxattr_query(path.as_c_str(), &name)?);
    }
    let mut value = vec![0; size.min(MOST_VALUE)];
    let got = rustix::fs::getxattr(path.as_c_str(), &name, value.as_mut_slice())?;
    request.write(request.word(shape.rest.saturating_add(1)), value.get(..got).unwrap_or_default())?;
    length(got)
}

pub(crate) fn list(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let object = request.object(shape)?;
    let path = path(request, &object)?;
    let size = size(request, shape.rest.saturating_add(1));
    if size == 0 {
        return length(rustix::fs::listxattr_query(path.as_c_str())?);
    }
    let mut names = vec![0; size.min(MOST_VALUE)];
    let got = rustix::fs::listxattr(path.as_c_str(), names.as_mut_slice())?;
    request.write(request.word(shape.rest), names.get(..got).unwrap_or_default())?;
    length(got)
}

pub(crate) fn set(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    set_on(request, &request.object(shape)?, shape)
}

pub(crate) fn set_open(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    set_on(request, &request.descriptor_object(0)?, shape)
}

fn set_on(request: &Request<'_>, object: &Object, shape: &Shape) -> Result<Reply> {
    let name = name(request, shape.rest)?;
    let size = size(request, shape.rest.saturating_add(2));
    if size > MOST_VALUE {
        return Err(Errno::TOOBIG);
    }
    let value = request.caller.read_vec(request.word(shape.rest.saturating_add(1)), size)?;
    let flags = XattrFlags::from_bits(request.bits(shape.rest.saturating_add(3))).ok_or(Errno::INVAL)?;
    request.confirm()?;
    // A file's capabilities would be a privilege left behind.
    if name.as_bytes() == b"security.capability" {
        return Err(Errno::PERM);
    }
    request.may_change(object)?;
    rustix::fs::setxattr(path(request, object)?.as_c_str(), &name, &value, flags)?;
    Ok(Reply::Value(0))
}

pub(crate) fn remove(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    remove_on(request, &request.object(shape)?, shape)
}

pub(crate) fn remove_open(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    remove_on(request, &request.descriptor_object(0)?, shape)
}

fn remove_on(request: &Request<'_>, object: &Object, shape: &Shape) -> Result<Reply> {
    let name = name(request, shape.rest)?;
    request.confirm()?;
    request.may_change(object)?;
    rustix::fs::removexattr(path(request, object)?.as_c_str(), &name)?;
    Ok(Reply::Value(0))
}

/// A path to the held object.
fn path(request: &Request<'_>, object: &Object) -> Result<Number> {
    in_own_directory(request)?;
    Number::of(&object.fd)
}

fn name(request: &Request<'_>, index: usize) -> Result<CString> {
    let name = request.text(index).map_err(|e| if e == Errno::NAMETOOLONG { Errno::RANGE } else { e })?;
    if name.is_empty() || name.len() > MOST_NAME {
        return Err(Errno::RANGE);
    }
    CString::new(name).map_err(|_| Errno::RANGE)
}

fn size(request: &Request<'_>, index: usize) -> usize {
    usize::try_from(request.word(index)).unwrap_or(usize::MAX)
}

fn length(length: usize) -> Result<Reply> {
    i64::try_from(length).map(Reply::Value).map_err(|_| Errno::RANGE)
}
