//! Times of objects, in the three forms that callers give them in.

use chiton_sys::{Errno, Result};
use rustix::fs::{AtFlags, Timespec, Timestamps, UTIME_NOW, UTIME_OMIT};

use crate::{
    object::{Number, Object},
    request::{Reply, Request, known_flags},
    table::Shape,
};

/// `utime`: two seconds.
pub(crate) fn utime(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let times = numbers::<2>(request, request.word(shape.rest))?.map(|[access, change]| {
        [Timespec { tv_sec: access, tv_nsec: 0 }, Timespec { tv_sec: change, tv_nsec: 0 }]
    });
    set(request, &request.object(shape)?, times)
}

/// `utimes`, `futimesat`: two times in microseconds. Without a path, of the descriptor.
pub(crate) fn utimes(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    let times = match numbers::<4>(request, request.word(shape.rest))? {
        Some([a, b, c, d]) => {
            let range = 0..1_000_000;
            if !range.contains(&b) || !range.contains(&d) {
                return Err(Errno::INVAL);
            }
            Some([
                Timespec { tv_sec: a, tv_nsec: b.saturating_mul(1000) },
                Timespec { tv_sec: c, tv_nsec: d.saturating_mul(1000) },
            ])
        }
        None => None,
    };
    set(request, &object(request, shape)?, times)
}

/// `utimensat`: two times in nanoseconds. Without a path, of the descriptor.
pub(crate) fn utimensat(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    known_flags(request.at_flags(shape), libc::AT_SYMLINK_NOFOLLOW | libc::AT_EMPTY_PATH)?;
    let times = numbers::<4>(request, request.word(shape.rest))?
        .map(|[a, b, c, d]| [Timespec { tv_sec: a, tv_nsec: b }, Timespec { tv_sec: c, tv_nsec: d }]);
    if let Some([access, change]) = &times
        && access.tv_nsec == UTIME_OMIT
        && change.tv_nsec == UTIME_OMIT
    {
        return Ok(Reply::Value(0));
    }
    set(request, &object(request, shape)?, times)
}

fn object(request: &Request<'_>, shape: &Shape) -> Result<Object> {
    let by_descriptor = matches!(shape.directory, crate::table::From::Argument(_));
    if !by_descriptor || request.word(shape.path) != 0 {
        return request.object(shape);
    }
    if request.int(0) == libc::AT_FDCWD {
        return Err(Errno::FAULT);
    }
    request.descriptor_object(0)
}

fn set(request: &Request<'_>, object: &Object, times: Option<[Timespec; 2]>) -> Result<Reply> {
    request.may_change(object)?;
    let now = Timespec { tv_sec: 0, tv_nsec: UTIME_NOW };
    let [last_access, last_modification] = times.unwrap_or([now, now]);
    let times = Timestamps { last_access, last_modification };
    let number = Number::of(&object.fd)?;
    rustix::fs::utimensat(&request.shared.judge.own, number.as_c_str(), &times, AtFlags::empty())?;
    Ok(Reply::Value(0))
}

/// So many 64-bit numbers from the caller's memory; none where the address is null.
fn numbers<const N: usize>(request: &Request<'_>, address: u64) -> Result<Option<[i64; N]>> {
    if address == 0 {
        return Ok(None);
    }
    let bytes = request.caller.read_vec(address, N.saturating_mul(8))?;
    let mut out = [0; N];
    for (number, chunk) in out.iter_mut().zip(bytes.chunks_exact(8)) {
        *number = chunk.try_into().map_or(0, i64::from_ne_bytes);
    }
    Ok(Some(out))
}
