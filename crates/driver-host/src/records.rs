//! What is written down about each sandbox that runs, so that every gateway after this one finds its processes.
//!
//! It stays in the state folder: a session manager takes the runtime folder away when its user leaves, whoever of theirs
//! runs on. A record is a file of lines, the last whole one of which counts: what is written is added, so that one that
//! is cut short leaves the one before.

use std::{
    fs::{self, DirBuilder},
    io::{self, ErrorKind, Write as _},
    os::unix::fs::DirBuilderExt as _,
    path::PathBuf,
};

use chiton_driver::{SandboxId, SandboxSpec};
use serde::{Deserialize, Serialize, de::DeserializeOwned};

use crate::{folder::append_to, process::ProcessId};

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

/// The records of one driver.
#[derive(Clone, Debug)]
pub(crate) struct Records {
    folder: PathBuf,
}

impl Records {
    /// In this folder, which is made with the first.
    pub(crate) fn new(folder: PathBuf) -> Self {
        Self { folder }
    }

    /// Every sandbox that has one.
    pub(crate) fn all(&self) -> io::Result<Vec<SandboxId>> {
        ids(&self.folder)
    }

    /// What is written down; none where nothing is, or nothing that can be read as one. That it cannot be looked at is
    /// an error: what runs would be left running.
    pub(crate) fn read<Place: DeserializeOwned>(&self, id: &SandboxId) -> io::Result<Option<Record<Place>>> {
        match fs::read(self.file(id)) {
            Ok(text) => {
                let lines = text.rsplit(|byte| *byte == b'\n');
                Ok(lines.filter_map(|line| serde_json::from_slice(line).ok()).next())
            }
            Err(error) if error.kind() == ErrorKind::NotFound => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// Writes it down, whole or not at all.
    pub(crate) fn write(&self, record: &Record<impl Serialize>) -> io::Result<()> {
        let path = self.file(&record.spec.id);
        let mut file = match append_to(&path) {
            Err(error) if error.kind() == ErrorKind::NotFound => {
                DirBuilder::new().recursive(true).mode(0o700).create(&self.folder)?;
                append_to(&path)?
            }
            opened => opened?,
        };
        // Its line begins anew: the one before may have been cut short.
        let mut line = vec![b'\n'];
        serde_json::to_writer(&mut line, record)?;
        line.push(b'\n');
        file.write_all(&line)
    }

    /// Nothing runs of it any more.
    pub(crate) fn remove(&self, id: &SandboxId) -> io::Result<()> {
        match fs::remove_file(self.file(id)) {
            Err(error) if error.kind() != ErrorKind::NotFound => Err(error),
            _ => Ok(()),
        }
    }

    fn file(&self, id: &SandboxId) -> PathBuf {
        self.folder.join(id.as_str())
    }
}

/// The sandboxes after which something in this folder is named.
pub(crate) fn ids(folder: &PathBuf) -> io::Result<Vec<SandboxId>> {
    let entries = match fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries?,
    };
    let names = entries.filter_map(|entry| entry.ok()?.file_name().into_string().ok());
    Ok(names.filter_map(|name| SandboxId::try_from(name).ok()).collect())
}

#[cfg(test)]
mod tests {
    use std::{collections::HashMap, fs::OpenOptions};

    use chiton_driver::{Gpu, Resources};

    use super::*;

    #[test]
    fn the_last_whole_line_counts() {
        let folder = tempfile::tempdir().unwrap();
        let records = Records::new(folder.path().join("made"));
        let id = SandboxId::try_from("01jdx000000000000000000000".to_owned()).unwrap();
        let spec = SandboxSpec {
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
        };
        let write = |n: u8| {
            let place = HashMap::from([("n".to_owned(), n)]);
            records.write(&Record { spec: spec.clone(), proxy: None, place }).unwrap();
        };
        let read = || records.read::<HashMap<String, u8>>(&id).unwrap().map(|record| record.place["n"]);
        assert!(records.all().unwrap().is_empty() && read().is_none());
        write(1);
        write(2);
        assert_eq!((records.all().unwrap(), read()), (vec![id.clone()], Some(2)));
        let mut file = OpenOptions::new().append(true).open(records.file(&id)).unwrap();
        file.write_all(b"\n{\"spec\":{\"id\"").unwrap();
        assert_eq!(read(), Some(2), "cut short");
        write(3);
        assert_eq!(read(), Some(3));
        records.remove(&id).unwrap();
        records.remove(&id).unwrap();
        assert!(records.all().unwrap().is_empty() && read().is_none());
    }
}
