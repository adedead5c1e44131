//! The mounts of the sandbox's view: which of them show the same folder twice, and which belong to it at all.
//!
//! In: the mount table, read at the start and again when an unknown mount is met. Out: the other names of a
//! path. A file of a workspace that is also an allowed path of the host has two names and one link.

use std::{
    collections::HashSet,
    ffi::{OsStr, OsString},
    os::{
        fd::{AsFd, BorrowedFd},
        unix::ffi::{OsStrExt as _, OsStringExt as _},
    },
    path::{Path, PathBuf},
    sync::RwLock,
};

use chiton_sys::{Errno, Result};
use rustix::fs::{AtFlags, Mode, OFlags, StatxFlags};

use crate::read_all;

#[derive(Clone, Debug, PartialEq, Eq)]
struct Mount {
    id: u64,
    device: OsString,
    /// The folder of the filesystem that is shown.
    root: PathBuf,
    /// Where it is shown.
    point: PathBuf,
}

/// The mounts, as last read.
pub(crate) struct View {
    table: RwLock<Table>,
    live: Vec<PathBuf>,
}

#[derive(Default)]
struct Table {
    ids: HashSet<u64>,
    /// Mounts that share a folder with another; few, and mostly none.
    shared: Vec<Mount>,
}

impl View {
    /// `live`: the folders whose names matter.
    pub(crate) fn read(host_proc: BorrowedFd<'_>, live: &[PathBuf]) -> Result<Self> {
        Ok(Self { table: RwLock::new(Table::read(host_proc, live)?), live: live.to_vec() })
    }

    /// Refuses a directory on a mount that the view does not have: its path would read like one inside.
    pub(crate) fn check_inside(&self, host_proc: BorrowedFd<'_>, fd: impl AsFd) -> Result<()> {
        let found = rustix::fs::statx(&fd, c"", AtFlags::EMPTY_PATH, StatxFlags::MNT_ID)?;
        if self.knows(found.stx_mnt_id) {
            return Ok(());
        }
        let fresh = Table::read(host_proc, &self.live)?;
        *self.table.write().unwrap_or_else(std::sync::PoisonError::into_inner) = fresh;
        if self.knows(found.stx_mnt_id) { Ok(()) } else { Err(Errno::ACCESS) }
    }

    fn knows(&self, id: u64) -> bool {
        self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner).ids.contains(&id)
    }

    /// Every other path of the view that shows the same place. `is_mask`: whether what is mounted at a path only
    /// hides what is there; it shows nothing of the host's.
    pub(crate) fn other_names(&self, path: &Path, is_mask: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        let table = self.table.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        if table.shared.is_empty() {
            return Vec::new();
        }
        table.other_names(path, is_mask)
    }
}

impl Table {
    fn read(host_proc: BorrowedFd<'_>, live: &[PathBuf]) -> Result<Self> {
        let file = rustix::fs::openat(
            host_proc,
            c"self/mountinfo",
            OFlags::RDONLY | OFlags::CLOEXEC,
            Mode::empty(),
        )?;
        Ok(Self::parse(&read_all(&file)?, live))
    }

    fn parse(text: &[u8], live: &[PathBuf]) -> Self {
        let mounts: Vec<Mount> = text.split(|&b| b == b'\n').filter_map(parse_line).collect();
        let is_live = |m: &Mount| live.iter().any(|folder| below(&m.point, folder).is_some());
        let showing: Vec<&Mount> = mounts.iter().filter(|m| !m.is_removed()).collect();
        // What a mount shows where another shows it anyway adds no name.
        let naming: Vec<&Mount> =
            showing.iter().copied().filter(|m| !showing.iter().any(|other| m.repeats(other))).collect();
        let shared = naming
            .iter()
            .filter(|m| naming.iter().any(|other| m.shares_folder(other) && (is_live(m) || is_live(other))))
            .map(|m| Mount::clone(m))
            .collect();
        Self { ids: mounts.iter().map(|m| m.id).collect(), shared }
    }

    fn other_names(&self, path: &Path, is_mask: impl Fn(&Path) -> bool) -> Vec<PathBuf> {
        // The mount with the longest point that holds the path; of equal ones the last is on top.
        let holder = self.shared.iter().filter(|m| m.holds(path)).max_by_key(|m| m.point.as_os_str().len());
        let Some(holder) = holder else { return Vec::new() };
        let Ok(below) = path.strip_prefix(&holder.point) else { return Vec::new() };
        let inner = join(&holder.root, below);
        self.shared
            .iter()
            .filter(|m| m.device == holder.device && !is_mask(&m.point))
            .filter_map(|m| inner.strip_prefix(&m.root).ok().map(|below| join(&m.point, below)))
            .filter(|other| other != path)
            .collect()
    }
}

fn join(base: &Path, below: &Path) -> PathBuf {
    if below.as_os_str().is_empty() { base.to_path_buf() } else { base.join(below) }
}

impl Mount {
    /// Whether two mounts show a folder in common.
    fn shares_folder(&self, other: &Self) -> bool {
        self.id != other.id
            && self.device == other.device
            && (below(&other.root, &self.root).is_some() || below(&self.root, &other.root).is_some())
    }

    /// Whether a mount shows, at its own place, only what another shows there without it.
    fn repeats(&self, other: &Self) -> bool {
        self.id != other.id
            && self.device == other.device
            && match (below(&self.root, &other.root), below(&self.point, &other.point)) {
                (Some(inner), Some(outer)) => inner == outer && !outer.is_empty(),
                (Some(_) | None, Some(_) | None) => false,
            }
    }

    fn holds(&self, path: &Path) -> bool {
        below(path, &self.point).is_some()
    }

    /// Whether what it shows has no name any more.
    fn is_removed(&self) -> bool {
        self.root.as_os_str().as_bytes().ends_with(b"//deleted")
    }
}

/// As `Path::strip_prefix`, for paths in their plain form, as the kernel writes them: this is asked for every lookup, and
/// at the start for every pair of mounts.
fn below<'a>(path: &'a Path, folder: &Path) -> Option<&'a [u8]> {
    let (path, folder) = (path.as_os_str().as_bytes(), folder.as_os_str().as_bytes());
    let rest = path.strip_prefix(folder.strip_suffix(b"/").unwrap_or(folder))?;
    if rest.is_empty() { Some(rest) } else { rest.strip_prefix(b"/") }
}

/// A line of `mountinfo`: id, parent, device, root, mount point, and more that is not needed.
fn parse_line(line: &[u8]) -> Option<Mount> {
    let mut fields = line.split(|&b| b == b' ');
    let id = std::str::from_utf8(fields.next()?).ok()?.parse().ok()?;
    let _parent = fields.next()?;
    let device = OsStr::from_bytes(fields.next()?).to_os_string();
    let root = unescape(fields.next()?);
    let point = unescape(fields.next()?);
    Some(Mount { id, device, root, point })
}

/// Space, tab, newline and backslash are written as three octal digits.
pub(crate) fn unescape(text: &[u8]) -> PathBuf {
    let mut out = Vec::with_capacity(text.len());
    let mut rest = text;
    while let Some((&first, after)) = rest.split_first() {
        if let (b'\\', Some(digits)) = (first, after.first_chunk::<3>())
            && digits.iter().all(|d| (b'0'..=b'7').contains(d))
        {
            out.push(
                digits.iter().fold(0u8, |sum, d| sum.wrapping_mul(8).wrapping_add(d.wrapping_sub(b'0'))),
            );
            rest = after.get(3..).unwrap_or_default();
        } else {
            out.push(first);
            rest = after;
        }
    }
    PathBuf::from(OsString::from_vec(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const TABLE: &[u8] = b"21 1 8:1 /view / ro - ext4 x ro\n\
        22 21 8:1 /home/u/proj /workspace rw - ext4 x rw\n\
        23 21 8:1 /home/u/proj/sub\\040dir /home/u/proj/sub\\040dir rw - ext4 x rw\n\
        24 21 0:30 / /tmp rw - tmpfs x rw\n\
        25 21 0:31 / /home/agent rw - tmpfs x rw\n";

    #[test]
    fn a_folder_bound_twice_has_two_names() {
        let table = Table::parse(TABLE, &["/workspace".into()]);
        assert_eq!(
            table.other_names(Path::new("/workspace/sub dir/.env"), |_| false),
            [Path::new("/home/u/proj/sub dir/.env")]
        );
        assert_eq!(
            table.other_names(Path::new("/home/u/proj/sub dir/.env"), |_| false),
            [Path::new("/workspace/sub dir/.env")]
        );
    }

    #[test]
    fn a_mask_lends_its_name_to_nothing() {
        let table = Table::parse(
            b"1 0 0:5 / /dev rw - devtmpfs x rw\n2 0 0:5 /null /w/.env rw - devtmpfs x rw\n",
            &["/w".into()],
        );
        assert!(table.other_names(Path::new("/dev/null"), |point| point == Path::new("/w/.env")).is_empty());
    }

    #[test]
    fn a_cover_of_a_thing_with_itself_adds_no_name() {
        let text = b"1 0 8:1 /home/u/proj /workspace rw - ext4 x rw\n\
            2 1 8:1 /home/u/proj/.git/hooks /workspace/.git/hooks ro - ext4 x rw\n\
            3 1 0:9 /.mask//deleted /workspace/.env ro - tmpfs x rw\n4 0 0:9 / / ro - tmpfs x rw\n";
        let table = Table::parse(text, &["/workspace".into()]);
        assert!(table.shared.is_empty(), "{:?}", table.shared);
        assert_eq!(table.ids.len(), 4);
    }

    #[test]
    fn what_is_shown_once_has_one_name() {
        let table = Table::parse(TABLE, &["/workspace".into()]);
        assert!(table.other_names(Path::new("/workspace/other/.env"), |_| false).is_empty());
        assert!(table.other_names(Path::new("/tmp/x"), |_| false).is_empty());
        assert_eq!(table.shared.len(), 2);
    }
}
