//! What is written down about each sandbox that runs, so that every gateway after this one finds its processes.
//!
//! It is written twice. In the state folder it stays: a session manager takes the runtime folder away when its user
//! leaves, whoever of theirs runs on. Beside the sockets it is found by whoever comes with another state folder. Each is a
//! file of lines, the last whole one of which counts: what is written is added, so that one that is cut short leaves the
//! one before.

use std::{
    collections::BTreeSet,
    fs::{self, DirBuilder, File},
    io::{self, ErrorKind, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _},
    path::{Path, PathBuf},
};

use chiton_driver::{SandboxId, SandboxSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{
    folder::{Folders, append_to, ids},
    process::{ProcessId, boot},
};

/// The one beside the sockets.
const RECORD: &str = "record";

/// What is written down about a running sandbox.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(crate) struct Record<Place> {
    /// What it was made from.
    pub(crate) spec: SandboxSpec,
    /// Its proxy.
    pub(crate) proxy: Option<ProcessId>,
    /// What its platform says of it.
    #[serde(flatten)]
    pub(crate) place: Place,
}

/// A line of a record's file.
#[derive(Serialize, Deserialize)]
struct Line<Record> {
    /// Which file it was written to. In a copy of it, it says nothing: who has the other runs what it names.
    file: Which,
    #[serde(flatten)]
    record: Record,
}

/// One file, in one run of the machine: in another the same one may have another number.
#[derive(Clone, Copy, Serialize, Deserialize)]
struct Which {
    boot: u64,
    device: u64,
    inode: u64,
}

impl Which {
    fn of(file: &File) -> io::Result<Self> {
        let found = file.metadata()?;
        Ok(Self { boot: boot()?, device: found.dev(), inode: found.ino() })
    }

    /// Whether what was written to `other` is known to be in another file. In another run of the machine it names no
    /// process any more.
    fn is_not(self, other: Self) -> bool {
        self.boot == other.boot && (self.device, self.inode) != (other.device, other.inode)
    }
}

/// The records of one driver.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    folder: PathBuf,
    sockets: Folders,
}

impl Records {
    /// In this folder, which is made with the first, and beside these sockets.
    pub(crate) fn new(folder: PathBuf, sockets: Folders) -> Self {
        Self { folder, sockets }
    }

    /// Every sandbox that has one, or a folder for one.
    pub(crate) fn all(&self) -> io::Result<BTreeSet<SandboxId>> {
        Ok(ids(&self.folder)?.into_iter().chain(self.sockets.all()?).collect())
    }

    /// What is written down; none where nothing is, or nothing that can be read as one. That it cannot be looked at is
    /// an error: what runs would be left running.
    pub(crate) fn read<Place: DeserializeOwned>(&self, id: &SandboxId) -> io::Result<Option<Record<Place>>> {
        Ok(match read(&self.kept(id))? {
            None => read(&self.beside(id))?,
            kept => kept,
        })
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn write(&self, record: &Record<impl Serialize>) -> io::Result<()> {
        let id = &record.spec.id;
        if let Err(error) = add(&self.kept(id), record) {
            if error.kind() != ErrorKind::NotFound {
                return Err(error);
            }
            DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
            add(&self.kept(id), record)?;
        }
        match add(&self.beside(id), record) {
            // It was taken away.
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
            added => added,
        }
    }

    /// Nothing runs of it any more, and its folder is gone.
    pub(crate) fn remove(&self, id: &SandboxId) -> io::Result<()> {
        match fs::remove_file(self.kept(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn kept(&self, id: &SandboxId) -> PathBuf {
        self.folder.join(id.as_str())
    }

    fn beside(&self, id: &SandboxId) -> PathBuf {
        self.sockets.of(id).file(RECORD)
    }
}

fn read<Place: DeserializeOwned>(path: &Path) -> io::Result<Option<Record<Place>>> {
    let mut file = match File::open(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        opened => opened?,
    };
    let mut text = Vec::new();
    file.read_to_end(&mut text)?;
    let mut lines = text.rsplit(|byte| *byte == b'\n').filter_map(|line| serde_json::from_slice(line).ok());
    let last: Option<Line<Record<Place>>> = lines.next();
    let this = Which::of(&file)?;
    Ok(last.filter(|line| !line.file.is_not(this)).map(|line| line.record))
}

fn add(path: &Path, record: &Record<impl Serialize>) -> io::Result<()> {
    let mut file = append_to(path)?;
    // Its line begins anew: the one before may have been cut short.
    let mut line = vec![b'\n'];
    serde_json::to_writer(&mut line, &Line { file: Which::of(&file)?, record })?;
    line.push(b'\n');
    file.write_all(&line)
}

#[cfg(test)]
pub(crate) mod tests {
    use std::{collections::HashMap, fs::OpenOptions};

    use chiton_driver::{Gpu, Resources};

    use super::*;

    /// What a sandbox that never was is made from.
    pub(crate) fn spec(id: &SandboxId) -> SandboxSpec {
        SandboxSpec {
            id: id.clone(),
            name: "demo".parse().unwrap(),
            workspace: "/w".into(),
            image: None,
            log: "/l".into(),
            supervisor_events: "/e".into(),
            proxy_events: "/p".into(),
            exit: "/x".into(),
            resources: Resources::default(),
            gpu: Gpu::None,
        }
    }

    #[test]
    fn the_last_whole_line_counts() {
        let folder = tempfile::tempdir().unwrap();
        let sockets = Folders::new(folder.path().join("sockets"));
        let records = Records::new(folder.path().join("made"), sockets.clone());
        let id = SandboxId::try_from("01jdx000000000000000000000".to_owned()).unwrap();
        let write = |n: u8| {
            let place = HashMap::from([("n".to_owned(), n)]);
            records.write(&Record { spec: spec(&id), proxy: None, place }).unwrap();
        };
        let read = || records.read::<HashMap<String, u8>>(&id).unwrap().map(|record| record.place["n"]);
        assert!(records.all().unwrap().is_empty() && read().is_none());
        write(1);
        write(2);
        assert_eq!((records.all().unwrap(), read()), ([id.clone()].into(), Some(2)));
        let mut file = OpenOptions::new().append(true).open(records.kept(&id)).unwrap();
        file.write_all(b"\n{\"spec\":{\"id\"").unwrap();
        assert_eq!(read(), Some(2), "cut short");
        write(3);
        assert_eq!(read(), Some(3));
        sockets.of(&id).make().unwrap();
        write(4);
        fs::rename(records.kept(&id), folder.path().join("original")).unwrap();
        assert_eq!(read(), Some(4), "beside the sockets");
        sockets.of(&id).remove().unwrap();
        fs::copy(folder.path().join("original"), records.kept(&id)).unwrap();
        assert_eq!(read(), None, "a copy");
        records.remove(&id).unwrap();
        records.remove(&id).unwrap();
        assert!(records.all().unwrap().is_empty() && read().is_none());
    }
}
