//! `getdents64` and the old `getdents`: read from the caller's own description, without what is denied.

use std::{
    ffi::OsStr,
    os::unix::ffi::OsStrExt as _,
    path::{Path, PathBuf},
};

use chiton_sys::{
    Errno, Result,
    path::{Entries, read_entries},
};

use crate::{
    object::{Identity, Stat},
    request::{Reply, Request},
    rules::Standing,
    table::Shape,
};

/// The most bytes read at once. A caller with a larger buffer gets it filled in part, as it must expect.
const MOST: usize = 1 << 17;

pub(crate) fn getdents64(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    list(request, shape, Entries::Wide)
}

pub(crate) fn getdents(request: &Request<'_>, shape: &Shape) -> Result<Reply> {
    list(request, shape, Entries::Old)
}

fn list(request: &Request<'_>, shape: &Shape, layout: Entries) -> Result<Reply> {
    let fd = request.caller.descriptor(request.int(0))?;
    request.confirm()?;
    let stat = Stat::of(&fd)?;
    let path = request.path_of(&fd)?;
    request.may_find(&path, request.shared.judge.opened(&path, &stat))?;
    let size = usize::try_from(request.bits(shape.rest.saturating_add(1))).unwrap_or(MOST).min(MOST);
    let mut buffer = vec![0; size];
    let filter = Filter { request, device: stat.identity().device, path };
    loop {
        let got = read_entries(&fd, layout, &mut buffer)?;
        if got == 0 {
            return Ok(Reply::Value(0));
        }
        let kept = filter.keep(buffer.get(..got).unwrap_or_default(), layout)?;
        if !kept.is_empty() {
            request.write(request.word(shape.rest), &kept)?;
            return i64::try_from(kept.len()).map(Reply::Value).map_err(|_| Errno::INVAL);
        }
    }
}

struct Filter<'a> {
    request: &'a Request<'a>,
    device: u64,
    path: PathBuf,
}

impl Filter<'_> {
    /// The records that may be shown. Each has its number first, its length after 16 bytes, and its name.
    fn keep(&self, records: &[u8], layout: Entries) -> Result<Vec<u8>> {
        let name_at = match layout {
            Entries::Wide => 19,
            Entries::Old => 18,
        };
        let mut kept = Vec::with_capacity(records.len());
        let mut rest = records;
        while !rest.is_empty() {
            let length = rest.get(16..).and_then(|r| r.first_chunk()).map(|b| u16::from_ne_bytes(*b));
            let length = usize::from(length.filter(|&n| n > 0).ok_or(Errno::IO)?);
            let (record, after) = rest.split_at_checked(length).ok_or(Errno::IO)?;
            let number = record.first_chunk().map_or(0, |b| u64::from_ne_bytes(*b));
            let name = record.get(name_at..).ok_or(Errno::IO)?;
            let name = name.split(|&b| b == 0).next().unwrap_or_default();
            if self.shows(name, number) {
                kept.extend_from_slice(record);
            }
            rest = after;
        }
        Ok(kept)
    }

    fn shows(&self, name: &[u8], number: u64) -> bool {
        if name == b"." || name == b".." {
            return true;
        }
        let judge = &self.request.shared.judge;
        let path = self.path.join(OsStr::from_bytes(name));
        let identity = Identity { device: self.device, number };
        judge.name(&path) != Standing::Denied && !self.is_denied_object(&path, identity)
    }

    fn is_denied_object(&self, path: &Path, identity: Identity) -> bool {
        let judge = &self.request.shared.judge;
        judge.is_near_denied(path, identity)
            || judge.several.seen().is_some_and(|known| known.get(&identity) == Some(&Standing::Denied))
    }
}
