//! Files that another process may write.

use std::{
    fs::{File, OpenOptions},
    io::{self, Read as _},
    os::unix::fs::OpenOptionsExt as _,
    path::Path,
};

/// Opens a file to be read. Whoever can write it may have put a lease on it, which an ordinary opening waits for
/// (fcntl(2)).
///
/// # Errors
/// It cannot be opened; where it has a lease, [`WouldBlock`](io::ErrorKind::WouldBlock).
pub fn open(path: &Path) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path)
}

/// What is in a file that is short, opened as by [`open`]. Whoever can write it may have made it as long as no memory.
///
/// # Errors
/// It cannot be read, holds more than `most` bytes, or has a lease on it.
pub fn read_short(path: &Path, most: u64) -> io::Result<Vec<u8>> {
    let mut bytes = Vec::new();
    let read = open(path)?.take(most.saturating_add(1)).read_to_end(&mut bytes)?;
    if u64::try_from(read).is_ok_and(|read| read <= most) {
        return Ok(bytes);
    }
    Err(io::ErrorKind::FileTooLarge.into())
}

#[cfg(test)]
mod tests {
    use std::os::fd::AsRawFd as _;

    use super::*;

    #[test]
    fn a_file_without_an_end_is_not_read_to_it() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        std::fs::write(&path, "12345").unwrap();
        assert_eq!(read_short(&path, 5).unwrap(), b"12345");
        assert_eq!(read_short(&path, 4).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
        file.set_len(8 << 40).unwrap();
        assert_eq!(read_short(&path, 64).unwrap_err().kind(), io::ErrorKind::FileTooLarge);
    }

    #[test]
    fn a_lease_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("file");
        let file = std::fs::File::create(&path).unwrap();
        // SAFETY: takes numbers.
        let leased = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) };
        assert_eq!(leased, 0, "{}", io::Error::last_os_error());
        // The kernel tells the holder by a signal, whose default is the end of the process: another one instead.
        const F_SETSIG: libc::c_int = 10;
        // SAFETY: as above.
        unsafe { libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGURG) };
        assert_eq!(read_short(&path, 5).unwrap_err().kind(), io::ErrorKind::WouldBlock);
    }
}
