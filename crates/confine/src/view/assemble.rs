//! Applying the steps, one after the other.
//!
//! The host's sources are opened before the tree is hung up, so that it may hide what they lie in. What is large is
//! copied by the kernel.

use std::{
    fs::File,
    io::{self, Read as _, Write as _},
    os::fd::{AsFd as _, OwnedFd},
    path::Path,
};

use chiton_sys::{Errno, mount::MountAttrFlags};
use rustix::fs::Mode;

use crate::{
    namespaces::errno,
    plan::{ConfinementPlan, MASK_FILE, MASK_FOLDER},
    view::{
        Source, Step, ViewError, java, matches,
        tree::{Covering, DEVICE, Filesystem, READ_ONLY, Tree, step},
    },
};

/// An empty tree with the masks in it.
fn with_masks() -> Result<Tree, ViewError> {
    let tree = Tree::new()?;
    tree.file(Path::new(MASK_FILE), &[], 0).map_err(step("making", Path::new(MASK_FILE)))?;
    tree.folder(Path::new(MASK_FOLDER)).map_err(step("making", Path::new(MASK_FOLDER)))?;
    rustix::fs::chmodat(
        tree.root(),
        MASK_FOLDER.trim_start_matches('/'),
        Mode::empty(),
        rustix::fs::AtFlags::empty(),
    )
    .map_err(step("closing", Path::new(MASK_FOLDER)))?;
    Ok(tree)
}

/// What a step takes from the host.
#[derive(Debug)]
enum Taken {
    Nothing,
    Missing,
    Mount(OwnedFd),
    File(File),
}

/// Builds the view by the steps of a plan.
#[derive(Debug)]
pub(super) struct Builder<'a> {
    tree: Tree,
    folders: Vec<Option<OwnedFd>>,
    /// The steps that are left, and what they take.
    rest: &'a [Step],
    sources: std::vec::IntoIter<Taken>,
}

impl<'a> Builder<'a> {
    /// Applies every step before the first that mounts a folder of the request.
    pub(super) fn begin(plan: &'a ConfinementPlan) -> Result<Self, ViewError> {
        let sources = plan.view.iter().map(open_source).collect::<Result<Vec<_>, _>>()?.into_iter();
        let mut builder = Self { tree: with_masks()?, folders: Vec::new(), rest: &plan.view, sources };
        while let Some((next, rest)) = builder.rest.split_first()
            && !matches!(next, Step::Mount { source: Source::Shared(_), .. })
        {
            builder.rest = rest;
            builder.apply_next(next)?;
        }
        Ok(builder)
    }

    /// Applies the rest.
    pub(super) fn finish(mut self, folders: Vec<OwnedFd>) -> Result<Tree, ViewError> {
        self.folders = folders.into_iter().map(Some).collect();
        for next in self.rest {
            self.apply_next(next)?;
        }
        Ok(self.tree)
    }

    fn apply_next(&mut self, next: &Step) -> Result<(), ViewError> {
        let taken = self.sources.next().unwrap_or(Taken::Nothing);
        self.apply(next, taken)
    }

    fn apply(&mut self, next: &Step, taken: Taken) -> Result<(), ViewError> {
        let tree = &self.tree;
        match next {
            Step::Folder(path) => tree.folder(path).map(drop).map_err(step("making", path)),
            Step::File { path, text } => {
                tree.file(path, &[text.as_bytes()], 0o644).map_err(step("writing", path))
            }
            Step::Copy(path) => match taken {
                Taken::File(mut host) => {
                    let mut bytes = Vec::new();
                    host.read_to_end(&mut bytes).map_err(|e| step("reading", path)(errno(&e)))?;
                    tree.file(path, &[&bytes], 0o644).map_err(step("writing", path))
                }
                Taken::Nothing | Taken::Missing | Taken::Mount(_) => Ok(()),
            },
            Step::TrustBundle { path, authority, .. } => {
                let bundle = tree.new_file(path, 0o644).map_err(step("writing", path))?;
                let written = trust_bundle(taken, bundle.into(), authority);
                written.map_err(|e| step("writing", path)(errno(&e)))
            }
            Step::JavaRoots { path, over, authority, .. } => {
                let Taken::File(host) = taken else { return Ok(()) };
                let store =
                    java::with_authority(host, authority).map_err(|e| step("reading", path)(errno(&e)))?;
                let Some(store) = store else { return Ok(()) };
                tree.file(path, &[&store], 0o644).map_err(step("writing", path))?;
                self.cover(over, &Source::Inside(path.clone()))
            }
            Step::Link { path, target } => tree.link(path, target).map_err(step("linking", path)),
            Step::Memory { path, bytes, inodes, mode, read_only } => {
                let (bytes, inodes) = (bytes.to_string(), inodes.to_string());
                let attributes =
                    if *read_only { READ_ONLY } else { READ_ONLY & !MountAttrFlags::MOUNT_ATTR_RDONLY };
                let options = [("size", bytes.as_str()), ("nr_inodes", &inodes), ("mode", mode)];
                self.mount(&Filesystem { kind: "tmpfs", options: &options, attributes }, path)
            }
            Step::MemoryPart { path, of, mode, read_only } => {
                let attributes =
                    if *read_only { READ_ONLY } else { READ_ONLY & !MountAttrFlags::MOUNT_ATTR_RDONLY };
                let part = tree.part(of, path, mode, attributes).map_err(step("making", path))?;
                tree.place(part, path).map_err(step("mounting", path))
            }
            Step::Terminals(path) => {
                let options = [("newinstance", ""), ("ptmxmode", "666"), ("mode", "620")];
                self.mount(&Filesystem { kind: "devpts", options: &options, attributes: DEVICE }, path)
            }
            Step::Mount { path, source } => self.place(path, source, taken),
            Step::Cover { path, source } => self.cover(path, source),
            Step::CoverMatches { pattern, below } => {
                below.iter().try_for_each(|folder| matches::cover(tree, pattern, folder))
            }
        }
    }

    fn mount(&self, filesystem: &Filesystem<'_>, path: &Path) -> Result<(), ViewError> {
        let mount = filesystem.make().map_err(step("making", path))?;
        self.tree.place(mount, path).map_err(step("mounting", path))
    }

    fn place(&mut self, path: &Path, source: &Source, taken: Taken) -> Result<(), ViewError> {
        let mount = match (source, taken) {
            (Source::Shared(number), _) => {
                self.folders.get_mut(*number).and_then(Option::take).ok_or(ViewError::NoFolder(*number))?
            }
            (Source::Inside(from), _) => {
                let found = self.tree.find(from).map_err(step("finding", from))?;
                Tree::clone_of(found, READ_ONLY).map_err(step("mounting", path))?
            }
            (_, Taken::Mount(mount)) => mount,
            (Source::HostIfThere(_), Taken::Missing | Taken::Nothing | Taken::File(_)) => return Ok(()),
            (_, Taken::Missing | Taken::Nothing | Taken::File(_)) => {
                return Err(step("mounting", path)(Errno::NOENT));
            }
        };
        self.tree.place(mount, path).map_err(step("mounting", path))
    }

    fn cover(&self, path: &Path, source: &Source) -> Result<(), ViewError> {
        self.tree.cover(path, |tree, found| covering(tree, found, source)).map_err(step("covering", path))
    }
}

/// The host's roots and the authority.
fn trust_bundle(host: Taken, mut bundle: File, authority: &str) -> io::Result<()> {
    if let Taken::File(mut host) = host {
        io::copy(&mut host, &mut bundle)?;
    }
    bundle.write_all(b"\n")?;
    bundle.write_all(authority.as_bytes())
}

/// The mount that covers `found`.
pub(super) fn covering(tree: &Tree, found: &OwnedFd, source: &Source) -> Covering {
    match source {
        Source::Itself => Covering::With(Tree::clone_of(found.as_fd(), READ_ONLY)),
        Source::ItselfIfFile => match rustix::fs::fstat(found) {
            Ok(stat) if stat.st_mode & libc::S_IFMT == libc::S_IFREG => {
                Covering::With(Tree::clone_of(found.as_fd(), READ_ONLY))
            }
            Ok(_) => Covering::Skip,
            Err(e) => Covering::With(Err(e)),
        },
        Source::Nothing => tree.nothing_like(found),
        Source::Inside(from) => {
            Covering::With(tree.find(from).and_then(|found| Tree::clone_of(found, READ_ONLY)))
        }
        // The plan covers with what is inside only.
        Source::Host(_) | Source::HostIfThere(_) | Source::Device(_) | Source::Shared(_) => {
            Covering::With(Err(Errno::INVAL))
        }
    }
}

fn open_source(next: &Step) -> Result<Taken, ViewError> {
    let (path, attributes, optional) = match next {
        Step::Mount { source: Source::Host(path), .. } => (path, READ_ONLY, false),
        Step::Mount { source: Source::HostIfThere(path), .. } => (path, READ_ONLY, true),
        Step::Mount { source: Source::Device(path), .. } => (path, DEVICE, false),
        Step::TrustBundle { host: Some(path), .. } | Step::JavaRoots { host: path, .. } => {
            return File::open(path).map(Taken::File).map_err(|e| step("reading", path)(errno(&e)));
        }
        Step::Copy(path) => {
            return match File::open(path) {
                Ok(file) => Ok(Taken::File(file)),
                Err(e) if e.kind() == io::ErrorKind::NotFound => Ok(Taken::Missing),
                Err(e) => Err(step("reading", path)(errno(&e))),
            };
        }
        Step::Mount { source: Source::Shared(_) | Source::Inside(_), .. } => return Ok(Taken::Nothing),
        Step::Mount { source: Source::Itself | Source::ItselfIfFile | Source::Nothing, path } => {
            return Err(step("mounting", path)(Errno::INVAL));
        }
        Step::Folder(_)
        | Step::File { .. }
        | Step::TrustBundle { host: None, .. }
        | Step::Link { .. }
        | Step::Memory { .. }
        | Step::MemoryPart { .. }
        | Step::Terminals(_)
        | Step::Cover { .. }
        | Step::CoverMatches { .. } => return Ok(Taken::Nothing),
    };
    match Tree::clone_of_host(path, attributes) {
        Ok(mount) => Ok(Taken::Mount(mount)),
        Err(Errno::NOENT) if optional => Ok(Taken::Missing),
        Err(e) => Err(step("opening", path)(e)),
    }
}
