//! How an object stands: by every name it has in the view, by what it is, and by what its name comes to on a
//! filesystem that folds letter case.
//!
//! In: held objects and names. Out: a [`Standing`]. A name alone is enough only for what does not exist.

use std::{
    collections::{HashMap, HashSet},
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    path::{Path, PathBuf},
};

use chiton_sys::{Errno, Result};
use rustix::{
    fs::{IFlags, Mode, OFlags},
    mount::OpenTreeFlags,
};

use crate::{
    barred::{Barred, barred},
    object::{Identity, Kind, Number, Stat, without_deleted},
    rules::{Literal, Rules, Standing},
    scan::Looked,
    view::View,
};

/// A live folder, and a mount of it that nothing is mounted in.
#[derive(Debug)]
pub struct Unmasked {
    path: PathBuf,
    fd: OwnedFd,
}

/// Mounts the live folders once more, detached, without what is mounted over things in them: a mask hides which
/// object has a denied name, and with it the hard links to that object. Needs `CAP_SYS_ADMIN`, so it is called
/// before the capabilities are given up.
pub fn unmasked(live: &[PathBuf]) -> Result<Vec<Unmasked>> {
    let clone = OpenTreeFlags::OPEN_TREE_CLONE | OpenTreeFlags::OPEN_TREE_CLOEXEC;
    let one = |path: &PathBuf| {
        let fd = match rustix::mount::open_tree(rustix::fs::CWD, path, clone) {
            // The host has a mount in there, which no ordinary user may look beneath: it comes along, and with
            // it the masks.
            Err(Errno::INVAL) => {
                rustix::mount::open_tree(rustix::fs::CWD, path, clone | OpenTreeFlags::AT_RECURSIVE)?
            }
            other => other?,
        };
        Ok(Unmasked { path: path.clone(), fd })
    };
    live.iter().map(one).collect()
}

/// Everything that a judgement needs.
pub(crate) struct Judge {
    pub(crate) rules: Box<dyn Rules>,
    pub(crate) view: View,
    /// The view's root.
    pub(crate) root: OwnedFd,
    /// The directory of our own descriptors, on a procfs that shows us.
    pub(crate) own: OwnedFd,
    /// The folders that came from the host by the policy's word.
    pub(crate) live: Vec<PathBuf>,
    /// The same folders without what is mounted over things in them.
    pub(crate) unmasked: Vec<Unmasked>,
    /// Our own process inside, by its number there.
    pub(crate) supervisor: Option<u32>,
    /// What literals led to at the start that were symlinks.
    pub(crate) followed: Vec<Literal>,
    /// Objects with several names of which one is denied or protected, found when the first such object is met.
    pub(crate) several: Looked<HashMap<Identity, Standing>>,
    /// Files with several names, of which one can be written. The agent can make no such name itself: a link leads
    /// over no mount.
    pub(crate) writable: Looked<HashSet<Identity>>,
}

/// What of the supervisor's own entry in `/proc` anyone may see.
const HARMLESS: &[&str] = &["stat", "status", "cmdline", "comm"];

impl Judge {
    /// How a name stands, under every path that shows the place.
    pub(crate) fn name(&self, path: &Path) -> Standing {
        if !path.has_root() {
            return Standing::Open; // What no filesystem shows has no path: `pipe:[…]`.
        }
        let mut standing = self.one_name(path);
        for other in self.other_names(path) {
            standing = standing.max(self.one_name(&other));
        }
        standing
    }

    /// Every other path that shows the place.
    pub(crate) fn other_names(&self, path: &Path) -> Vec<PathBuf> {
        self.view.other_names(path, |point| self.one_name(point) == Standing::Denied)
    }

    fn one_name(&self, path: &Path) -> Standing {
        self.followed
            .iter()
            .filter(|literal| path.starts_with(&literal.path))
            .map(|literal| literal.standing)
            .fold(self.rules.judge(path), Standing::max)
    }

    /// How a held object stands whose name stands as given.
    pub(crate) fn object(&self, path: &Path, stat: &Stat, of_name: Standing) -> Standing {
        let mut standing = of_name;
        if let Some(path) = without_deleted(path) {
            if stat.links() == 0 && stat.kind() == Kind::File && !self.is_live(path) {
                return Standing::Open; // Memory of the caller's own, or removed outside of what is judged.
            }
            standing = standing.max(self.name(path));
        }
        if standing == Standing::Denied {
            return standing;
        }
        if self.is_live(path)
            && let Some(near) = self.rules.near(path)
            && self.may_be(&near, stat.identity())
        {
            standing = standing.max(self.name(&near));
        }
        if stat.links() > 1 && stat.kind() != Kind::Directory && self.is_live(path) {
            standing = standing.max(self.identity(stat.identity()));
        }
        standing
    }

    /// Whether a name is a denied one in other letters, by the object that both lead to.
    pub(crate) fn is_near_denied(&self, path: &Path, identity: Identity) -> bool {
        self.is_live(path)
            && self
                .rules
                .near(path)
                .is_some_and(|near| self.may_be(&near, identity) && self.name(&near) == Standing::Denied)
    }

    /// How an object stands that the caller already has open.
    pub(crate) fn opened(&self, path: &Path, stat: &Stat) -> Standing {
        self.object(path, stat, self.name(path))
    }

    /// How a name stands that nothing has yet, in a held directory.
    pub(crate) fn new_name(&self, path: &Path, parent: BorrowedFd<'_>) -> Standing {
        let standing = self.name(path);
        match self.rules.near(path) {
            Some(near) if folds_case(&self.own, parent) => standing.max(self.name(&near)),
            Some(_) | None => standing,
        }
    }

    /// How an object stands by what it is: literals are looked at each time, for the host replaces them;
    /// patterns and folders were looked through once. Until they could be, nobody knows: denied.
    pub(crate) fn identity(&self, identity: Identity) -> Standing {
        let literals = self.rules.literals().iter().chain(&self.followed);
        let by_literal = literals
            .filter(|literal| self.may_be(&literal.path, identity))
            .map(|literal| literal.standing)
            .fold(Standing::Open, Standing::max);
        let by_name = match self.several.get(self) {
            Some(several) => several.get(&identity).copied().unwrap_or(Standing::Open),
            None => Standing::Denied,
        };
        by_literal.max(by_name)
    }

    /// Whether a path lies in a folder that came from the host by the policy's word.
    pub(crate) fn is_live(&self, path: &Path) -> bool {
        self.live.iter().any(|folder| path.starts_with(folder))
    }

    /// Refuses the supervisor's own entry in `/proc`, but for what `ps` shows of it.
    pub(crate) fn guard_supervisor(&self, path: &Path) -> Result<()> {
        let Some(supervisor) = self.supervisor else { return Ok(()) };
        let Ok(below) = path.strip_prefix("/proc") else { return Ok(()) };
        let mut parts = below.iter();
        let is_supervisor =
            parts.next().and_then(|p| p.to_str()).and_then(|p| p.parse().ok()) == Some(supervisor);
        if !is_supervisor {
            return Ok(());
        }
        let (first, more) = (parts.next(), parts.next());
        match first {
            None => Ok(()),
            Some(name) if more.is_none() && HARMLESS.iter().any(|harmless| name == *harmless) => Ok(()),
            Some(_) => Err(Errno::ACCESS),
        }
    }

    /// Whether a denied or protected literal lies below a directory, under any of its names.
    pub(crate) fn holds_literal(&self, directory: &Path) -> bool {
        let names = std::iter::once(directory.to_path_buf()).chain(self.other_names(directory));
        names.into_iter().any(|name| {
            let literals = self.rules.literals().iter().chain(&self.followed);
            literals.into_iter().any(|literal| crate::object::is_below(&literal.path, &name))
        })
    }

    /// Whether what is at a path may be this object. Where it cannot be looked at it may: the agent takes the
    /// right to look from its own folders, and gives it back.
    fn may_be(&self, path: &Path, identity: Identity) -> bool {
        let flags = OFlags::PATH | OFlags::NOFOLLOW | OFlags::CLOEXEC;
        match self.beneath_masks(path, flags).and_then(Stat::of) {
            Ok(stat) => stat.identity() == identity,
            Err(Errno::NOENT | Errno::NOTDIR) => false,
            Err(Errno::ACCESS) => barred(self, path) != Barred::ByAnother,
            Err(_) => true,
        }
    }

    /// Opens what the host has at a path, not what is mounted over it here.
    pub(crate) fn beneath_masks(&self, path: &Path, flags: OFlags) -> Result<OwnedFd> {
        let (folder, below) = self.without_masks(path)?;
        let below = if below.as_os_str().is_empty() { Path::new(".") } else { below };
        rustix::fs::openat(folder, below, flags, Mode::empty())
    }

    /// A folder without what is mounted over things in it, and the way from there to a path.
    pub(crate) fn without_masks<'a>(&self, path: &'a Path) -> Result<(BorrowedFd<'_>, &'a Path)> {
        let folder = self
            .unmasked
            .iter()
            .filter(|folder| path.starts_with(&folder.path))
            .max_by_key(|folder| folder.path.as_os_str().len());
        let (fd, above) = match folder {
            Some(folder) => (&folder.fd, folder.path.as_path()),
            None => (&self.root, Path::new("/")),
        };
        Ok((fd.as_fd(), path.strip_prefix(above).map_err(|_| Errno::NOENT)?))
    }

    /// Where literals lead that have a symlink in them now: the object is denied by its own name too.
    pub(crate) fn follow_literals(rules: &dyn Rules, root: &OwnedFd, own: &OwnedFd) -> Vec<Literal> {
        let led = |literal: &Literal| {
            let path = followed(root, own, &literal.path)?;
            (path != literal.path).then_some(Literal { path, standing: literal.standing })
        };
        rules.literals().iter().filter_map(led).collect()
    }
}

/// Where a path leads, its last name included, or that name in the folder that the rest leads to.
fn followed(root: &OwnedFd, own: &OwnedFd, path: &Path) -> Option<PathBuf> {
    let open = |path: &Path| {
        let below = path.strip_prefix("/").ok().filter(|below| !below.as_os_str().is_empty())?;
        let fd = rustix::fs::openat(root, below, OFlags::PATH | OFlags::CLOEXEC, Mode::empty()).ok()?;
        path_of(own, &fd).ok()
    };
    open(path).or_else(|| Some(open(path.parent()?)?.join(path.file_name()?)))
}

/// The path that a held object has now, in the view.
pub(crate) fn path_of(own: &OwnedFd, fd: impl std::os::fd::AsFd) -> Result<PathBuf> {
    use std::os::unix::ffi::OsStringExt as _;
    let target = rustix::fs::readlinkat(own, Number::of(fd)?.as_c_str(), Vec::with_capacity(256))?;
    Ok(PathBuf::from(std::ffi::OsString::from_vec(target.into_bytes())))
}

/// Not among `rustix`'s names.
const CASEFOLD: IFlags = IFlags::from_bits_retain(0x4000_0000);

/// Whether names in a directory are compared without letter case.
fn folds_case(own: &OwnedFd, directory: BorrowedFd<'_>) -> bool {
    let opened = Number::of(directory).and_then(|number| {
        rustix::fs::openat(
            own,
            number.as_c_str(),
            OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC,
            Mode::empty(),
        )
    });
    // A directory that cannot be asked is taken to fold: a refusal too many, in a rare place.
    match opened.and_then(rustix::fs::ioctl_getflags) {
        Ok(flags) => flags.contains(CASEFOLD),
        Err(Errno::NOTTY | Errno::OPNOTSUPP) => false,
        Err(_) => true,
    }
}
