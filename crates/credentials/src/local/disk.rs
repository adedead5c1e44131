//! The store's files: who may read them, and how they change as a whole.

use std::{
    fs::{self, DirBuilder, File, OpenOptions},
    io::{self, Read as _, Write as _},
    os::unix::fs::{DirBuilderExt as _, MetadataExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
};

use zeroize::Zeroizing;

use super::{
    LocalError,
    format::{Document, FORMAT, Head},
};

#[derive(Debug)]
pub(super) struct Disk {
    folder: PathBuf,
}

const OTHERS: u32 = 0o077;
const OTHERS_WRITE: u32 = 0o022;
const LARGEST: u64 = 64 * 1024 * 1024;

impl Disk {
    pub(super) fn new(folder: &Path) -> Self {
        Self { folder: folder.to_owned() }
    }

    fn store_path(&self) -> PathBuf {
        self.folder.join("secrets.chiton")
    }

    pub(super) fn key_path(&self) -> PathBuf {
        self.folder.join("secrets.key")
    }

    pub(super) fn damaged(&self, what: &'static str) -> LocalError {
        LocalError::Damaged { path: self.store_path(), what }
    }

    /// Held while the store is read, changed and written; let go when dropped, or by the kernel.
    pub(super) fn lock(&self) -> Result<File, LocalError> {
        let made = DirBuilder::new().recursive(true).mode(0o700).create(&self.folder);
        made.map_err(failed("make", &self.folder))?;
        let mode = fs::metadata(&self.folder).map_err(failed("look at", &self.folder))?.mode();
        if mode & OTHERS_WRITE != 0 {
            return Err(LocalError::Open { path: self.folder.clone(), mode: "700" });
        }
        let path = self.folder.join("secrets.lock");
        let file = OpenOptions::new().write(true).create(true).truncate(false).mode(0o600).open(&path);
        let file = file.map_err(failed("open", &path))?;
        file.lock().map_err(failed("lock", &path))?;
        Ok(file)
    }

    pub(super) fn read(&self) -> Result<Option<Document>, LocalError> {
        let path = self.store_path();
        let Some(text) = read_private(&path)? else { return Ok(None) };
        let head: Head =
            serde_json::from_slice(&text).map_err(|_| self.damaged("it is not a whole document"))?;
        if head.format > FORMAT {
            return Err(LocalError::Newer { path, found: head.format });
        }
        let document =
            serde_json::from_slice(&text).map_err(|_| self.damaged("a part of it is not in its form"))?;
        Ok(Some(document))
    }

    pub(super) fn write(&self, document: &Document) -> Result<(), LocalError> {
        let text = serde_json::to_vec_pretty(document).map_err(|_| LocalError::Crypto("encode the store"))?;
        self.replace(&self.store_path(), &text)
    }

    pub(super) fn read_key(&self) -> Result<Option<Zeroizing<String>>, LocalError> {
        let path = self.key_path();
        let Some(mut bytes) = read_private(&path)? else { return Ok(None) };
        let text = String::from_utf8(std::mem::take(&mut *bytes));
        text.map(|text| Some(Zeroizing::new(text))).map_err(|_| LocalError::BadKeyFile(path))
    }

    pub(super) fn write_key(&self, text: &str) -> Result<(), LocalError> {
        self.replace(&self.key_path(), text.as_bytes())
    }

    pub(super) fn remove_key(&self) -> Result<(), LocalError> {
        match fs::remove_file(self.key_path()) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                Err(failed("remove", &self.key_path())(error))
            }
            Ok(()) | Err(_) => Ok(()),
        }
    }

    /// The file as it was or as it shall be, at every moment; on the disk when this returns.
    fn replace(&self, path: &Path, text: &[u8]) -> Result<(), LocalError> {
        let fresh = path.with_added_extension("new");
        match fs::remove_file(&fresh) {
            Err(error) if error.kind() != io::ErrorKind::NotFound => {
                return Err(failed("remove", &fresh)(error));
            }
            Ok(()) | Err(_) => {}
        }
        let written = write_new(&fresh, text).and_then(|()| fs::rename(&fresh, path));
        if written.is_err() {
            let _ = fs::remove_file(&fresh);
        }
        written.map_err(failed("write", path))?;
        File::open(&self.folder).and_then(|folder| folder.sync_all()).map_err(failed("write", &self.folder))
    }
}

fn write_new(path: &Path, text: &[u8]) -> io::Result<()> {
    let mut file = OpenOptions::new().write(true).create_new(true).mode(0o600).open(path)?;
    file.write_all(text)?;
    file.sync_all()
}

/// A file that nobody but its owner may read; none where there is none.
fn read_private(path: &Path) -> Result<Option<Zeroizing<Vec<u8>>>, LocalError> {
    let mut file = match File::open(path) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(failed("read", path)(error)),
    };
    let about = file.metadata().map_err(failed("look at", path))?;
    if about.mode() & OTHERS != 0 {
        return Err(LocalError::Open { path: path.to_owned(), mode: "600" });
    }
    if about.len() > LARGEST {
        return Err(LocalError::Damaged { path: path.to_owned(), what: "it is far too large" });
    }
    let mut bytes = Zeroizing::new(Vec::new());
    file.read_to_end(&mut bytes).map_err(failed("read", path))?;
    Ok(Some(bytes))
}

fn failed(doing: &'static str, path: &Path) -> impl FnOnce(io::Error) -> LocalError + use<> {
    let path = path.to_owned();
    move |source| LocalError::Io { doing, path, source }
}
