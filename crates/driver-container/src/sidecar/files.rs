//! What a sandbox's processes write: files that grow, in the sidecar's memory and, a moment later, here.
//!
//! A piece on the wire: which file, one byte; where it begins, `u64`; how long it is, `u32`, at most [`LONGEST`]; then so
//! many bytes. Numbers are in network byte order. Where a piece begins earlier than the file ends here, only the rest is
//! taken; one that begins later is an error. So two may send the same at a time, and nothing comes twice. [`END`] in the
//! place of a file says that all came that was asked for: a connection that ends without it was cut.

use std::{
    fs::{self, File, OpenOptions},
    io::{self, Write as _},
    os::unix::fs::{FileExt as _, OpenOptionsExt as _},
    path::{Path, PathBuf},
    sync::{Mutex, PoisonError},
    time::Duration,
};

use chiton_driver::SandboxSpec;
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};

/// No piece carries more.
const LONGEST: usize = 256 << 10;
/// What they may take in the sidecar's memory, all together.
pub(crate) const MOST: u64 = 512 << 20;
/// When files are looked at again.
const AGAIN: Duration = Duration::from_millis(50);
/// Files of lines, of which only whole ones are sent: half a line may be taken back.
const OF_LINES: [usize; 2] = [1, 2];
/// Which of them says how it ended.
const EXIT: usize = 3;

/// How long the files are: the log, the supervisor's events, the proxy's, the exit.
pub(crate) type Lengths = [u64; 4];

/// No file: the end.
const END: u8 = u8::MAX;

/// One at a time appends, of whichever sandbox: who writes down a sandbox and reads that again has other [`Files`].
static WRITING: Mutex<()> = Mutex::new(());

/// The four files, in the same order.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Files {
    paths: [PathBuf; 4],
}

impl Files {
    /// Those of a sandbox on this machine.
    pub(crate) fn of(spec: &SandboxSpec) -> Self {
        Self::at([&spec.log, &spec.supervisor_events, &spec.proxy_events, &spec.exit].map(PathBuf::clone))
    }

    /// At these paths.
    pub(crate) fn at(paths: [PathBuf; 4]) -> Self {
        Self { paths }
    }

    /// How long they are. One that is not there has no length yet.
    pub(crate) fn lengths(&self) -> Lengths {
        self.paths.each_ref().map(|path| fs::metadata(path).map_or(0, |about| about.len()))
    }

    /// Whether a sidecar has room for what is written already.
    pub(crate) fn fit(&self) -> bool {
        let events = OF_LINES.iter().filter_map(|index| self.lengths().get(*index).copied());
        events.sum::<u64>() < MOST
    }

    /// What an earlier start left is gone on from: half a line at the end of the event files is taken off, as whoever goes
    /// on with them would, since what comes begins there; how it ended is forgotten.
    pub(crate) fn begin(&self) -> io::Result<()> {
        let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        for (index, path) in self.paths.iter().enumerate() {
            let mut open = OpenOptions::new();
            let file =
                open.read(true).write(true).create(true).truncate(index == EXIT).mode(0o600).open(path)?;
            if !OF_LINES.contains(&index) {
                continue;
            }
            let (mut end, mut buffer) = (file.metadata()?.len(), vec![0; LONGEST]);
            while end > 0 {
                let begin = end.saturating_sub(LONGEST as u64);
                let part = buffer.get_mut(..usize::try_from(end - begin).unwrap_or(0)).unwrap_or_default();
                file.read_exact_at(part, begin)?;
                if let Some(at) = part.iter().rposition(|byte| *byte == b'\n') {
                    end = begin + at as u64 + 1;
                    break;
                }
                end = begin;
            }
            file.set_len(end)?;
        }
        Ok(())
    }

    /// The event files' bytes, up to these lengths.
    pub(crate) async fn send_events(
        &self,
        have: Lengths,
        to: &mut (impl AsyncWrite + Unpin),
    ) -> io::Result<()> {
        for index in OF_LINES {
            let (Some(path), Some(&length)) = (self.paths.get(index), have.get(index)) else { continue };
            if length > 0 {
                let file = tokio::fs::File::open(path).await?;
                whole(tokio::io::copy(&mut file.take(length), to).await?, length)?;
            }
        }
        to.flush().await
    }

    /// Makes them as long as they are elsewhere. Of the log nothing but that counts.
    pub(crate) async fn receive_events(
        &self,
        have: Lengths,
        from: &mut (impl AsyncRead + Unpin),
    ) -> io::Result<()> {
        for (index, (path, length)) in self.paths.iter().zip(have).enumerate() {
            if OF_LINES.contains(&index) {
                let mut file = tokio::fs::File::create_new(path).await?;
                whole(tokio::io::copy(&mut (&mut *from).take(length), &mut file).await?, length)?;
                file.flush().await?;
            } else {
                File::create_new(path)?.set_len(length)?;
            }
        }
        Ok(())
    }

    /// Sends what they hold beyond these lengths, once or for as long as somebody reads.
    pub(crate) async fn send(
        &self,
        mut have: Lengths,
        to: &mut (impl AsyncWrite + Unpin),
        once: bool,
    ) -> io::Result<()> {
        loop {
            let mut sent = false;
            for (index, (path, have)) in self.paths.iter().zip(&mut have).enumerate() {
                let piece = piece(path, *have, OF_LINES.contains(&index))?;
                if piece.is_empty() {
                    continue;
                }
                let length = u32::try_from(piece.len()).map_err(|_| io::ErrorKind::InvalidData)?;
                to.write_u8(u8::try_from(index).unwrap_or(END)).await?;
                to.write_u64(*have).await?;
                to.write_u32(length).await?;
                to.write_all(&piece).await?;
                *have += u64::from(length);
                sent = true;
            }
            to.flush().await?;
            match (sent, once) {
                (true, _) => {}
                (false, true) => {
                    to.write_u8(END).await?;
                    return to.flush().await;
                }
                (false, false) => tokio::time::sleep(AGAIN).await,
            }
        }
    }

    /// Takes pieces until there are no more. A connection that was cut is an error.
    pub(crate) async fn receive(&self, from: &mut (impl AsyncRead + Unpin)) -> io::Result<()> {
        loop {
            let index = match from.read_u8().await? {
                END => return Ok(()),
                index => usize::from(index),
            };
            let (begin, length) = (from.read_u64().await?, from.read_u32().await?);
            let path = self.paths.get(index).ok_or(io::ErrorKind::InvalidData)?;
            let length = usize::try_from(length).ok().filter(|length| *length <= LONGEST);
            let mut piece = vec![0; length.ok_or(io::ErrorKind::InvalidData)?];
            from.read_exact(&mut piece).await?;
            self.append(path, begin, &piece)?;
        }
    }

    fn append(&self, path: &PathBuf, begin: u64, piece: &[u8]) -> io::Result<()> {
        let _one_at_a_time = WRITING.lock().unwrap_or_else(PoisonError::into_inner);
        let mut file = OpenOptions::new().append(true).create(true).mode(0o600).open(path)?;
        let known = file.metadata()?.len().checked_sub(begin).ok_or(io::ErrorKind::InvalidData)?;
        let new = usize::try_from(known).ok().and_then(|known| piece.get(known..));
        file.write_all(new.unwrap_or_default())
    }
}

fn whole(copied: u64, length: u64) -> io::Result<()> {
    if copied == length { Ok(()) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// What a file holds from here on, as much as one piece carries. A lease on it, which whoever writes it may take, is not
/// waited for.
fn piece(path: &Path, begin: u64, whole_lines: bool) -> io::Result<Vec<u8>> {
    let file = match chiton_sys::file::open(path) {
        Err(error) if matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::WouldBlock) => {
            return Ok(Vec::new());
        }
        file => file?,
    };
    // Longer than all of them together may be is only said to be so.
    let end = file.metadata()?.len().min(MOST);
    let more = usize::try_from(end.saturating_sub(begin)).unwrap_or(LONGEST);
    let mut piece = vec![0; more.min(LONGEST)];
    let read = file.read_at(&mut piece, begin)?;
    piece.truncate(read);
    if whole_lines {
        let end = piece.iter().rposition(|byte| *byte == b'\n').map(|at| at + 1);
        // One longer than a piece is told in pieces.
        piece.truncate(end.unwrap_or(if read < LONGEST { 0 } else { read }));
    }
    Ok(piece)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn files(folder: &tempfile::TempDir, side: &str) -> Files {
        Files::at(["log", "s", "p", "exit"].map(|name| folder.path().join(format!("{side}-{name}"))))
    }

    async fn pass(from: &Files, to: &Files) {
        let (mut one, mut other) = tokio::io::duplex(1000);
        let send = async {
            from.send(to.lengths(), &mut one, true).await.unwrap();
            drop(one);
        };
        tokio::join!(send, async { to.receive(&mut other).await.unwrap() });
    }

    #[tokio::test]
    async fn files_grow_on_the_other_side_too() {
        let folder = tempfile::tempdir().unwrap();
        let (far, near) = (files(&folder, "far"), files(&folder, "near"));
        // What an earlier start wrote: of the log its length is enough.
        fs::write(&near.paths[0], "earlier").unwrap();
        fs::write(&near.paths[2], "one\n").unwrap();
        let (mut one, mut other) = tokio::io::duplex(64);
        let have = near.lengths();
        let (sent, received) =
            tokio::join!(near.send_events(have, &mut one), far.receive_events(have, &mut other));
        sent.and(received).unwrap();
        assert_eq!(far.lengths(), near.lengths());
        assert_eq!(fs::read(&far.paths[2]).unwrap(), b"one\n");
        far.append(&far.paths[0], 7, &vec![b'x'; 700_000]).unwrap();
        far.append(&far.paths[2], 4, b"two\nhal").unwrap();
        pass(&far, &near).await;
        assert_eq!(near.lengths(), [700_007, 0, 8, 0], "half a line is not sent");
        far.append(&far.paths[2], 11, b"f\n").unwrap();
        far.append(&far.paths[3], 0, b"{}").unwrap();
        pass(&far, &near).await;
        assert_eq!(fs::read(&near.paths[2]).unwrap(), b"one\ntwo\nhalf\n");
        assert!(fs::read(&near.paths[0]).unwrap().starts_with(b"earlierx"));
        assert_eq!(fs::read(&near.paths[3]).unwrap(), b"{}");
    }

    /// Each has read for itself what is written down, and both take the same at once.
    #[test]
    fn two_that_take_the_same_take_it_once() {
        let folder = tempfile::tempdir().unwrap();
        let pieces: Vec<Vec<u8>> = (0..200_u8).map(|n| vec![n; LONGEST]).collect();
        let arrived = std::sync::atomic::AtomicUsize::new(0);
        std::thread::scope(|scope| {
            let take = || {
                let near = files(&folder, "near");
                let mut begin = 0;
                for (at, piece) in pieces.iter().enumerate() {
                    // Both are awake when they begin.
                    arrived.fetch_add(1, std::sync::atomic::Ordering::AcqRel);
                    while arrived.load(std::sync::atomic::Ordering::Acquire) < 2 * (at + 1) {
                        std::thread::yield_now();
                    }
                    near.append(&near.paths[2], begin, piece).unwrap();
                    begin += piece.len() as u64;
                }
            };
            (0..2).for_each(|_| drop(scope.spawn(take)));
        });
        assert!(fs::read(&files(&folder, "near").paths[2]).unwrap() == pieces.concat());
    }

    #[tokio::test]
    async fn what_was_cut_is_no_end() {
        let folder = tempfile::tempdir().unwrap();
        let (far, near) = (files(&folder, "far"), files(&folder, "near"));
        fs::write(&far.paths[1], "one\n").unwrap();
        let mut sent = Vec::new();
        far.send([0; 4], &mut sent, true).await.unwrap();
        assert!(near.receive(&mut &sent[..sent.len() - 1]).await.is_err());
        near.receive(&mut sent.as_slice()).await.unwrap();
        assert_eq!(fs::read(&near.paths[1]).unwrap(), b"one\n");
    }

    #[test]
    fn half_a_line_is_not_gone_on_from() {
        let folder = tempfile::tempdir().unwrap();
        let near = files(&folder, "near");
        near.begin().unwrap();
        let long = vec![b'x'; LONGEST + 9];
        for (held, kept) in [
            (b"one\ntwo".to_vec(), b"one\n".to_vec()),
            (b"two".to_vec(), Vec::new()),
            ([b"one\n", long.as_slice()].concat(), b"one\n".to_vec()),
            (b"one\n".to_vec(), b"one\n".to_vec()),
        ] {
            fs::write(&near.paths[1], &held).unwrap();
            fs::write(&near.paths[EXIT], "{}").unwrap();
            near.begin().unwrap();
            assert_eq!(fs::read(&near.paths[1]).unwrap(), kept);
            assert!(fs::read(&near.paths[EXIT]).unwrap().is_empty());
        }
        // Nor is it sent, but where a line is longer than a piece.
        fs::write(&near.paths[1], [b"one\n", long.as_slice()].concat()).unwrap();
        assert_eq!(piece(&near.paths[1], 0, true).unwrap(), b"one\n");
        assert_eq!(piece(&near.paths[1], 4, true).unwrap().len(), LONGEST);
    }

    /// Whoever writes a file may hold up who opens it, for as long as the kernel lets it.
    #[test]
    fn a_lease_is_not_waited_for() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut file = OpenOptions::new().append(true).create(true).open(&path).unwrap();
        file.write_all(b"x").unwrap();
        let lease = std::process::Command::new("python3")
            .args(["-c", "import fcntl, signal, sys, time; signal.signal(signal.SIGIO, signal.SIG_IGN); \
                          fcntl.fcntl(1, fcntl.F_SETLEASE, fcntl.F_WRLCK); sys.stderr.write('.'); time.sleep(60)"])
            .stdout(file)
            .stderr(std::process::Stdio::piped())
            .spawn();
        let mut holder = lease.unwrap();
        io::Read::read_exact(&mut holder.stderr.take().unwrap(), &mut [0; 1]).unwrap();
        let began = std::time::Instant::now();
        let told = piece(&path, 0, false);
        let took = began.elapsed();
        holder.kill().unwrap();
        holder.wait().unwrap();
        assert!(told.unwrap().is_empty() && took < Duration::from_secs(5), "{took:?}");
    }

    #[test]
    fn nothing_comes_twice_and_nothing_is_left_out() {
        let folder = tempfile::tempdir().unwrap();
        let near = files(&folder, "near");
        let path = &near.paths[1];
        for begin in [0, 0, 2] {
            near.append(path, begin, b"abcd").unwrap();
        }
        assert_eq!(fs::read(path).unwrap(), b"abcdcd");
        assert!(near.append(path, 7, b"x").is_err());
        near.append(path, 0, b"ab").unwrap();
        assert_eq!(fs::read(path).unwrap(), b"abcdcd");
    }

    /// A first process may say that its file is as long as no disk.
    #[test]
    fn a_file_is_not_as_long_as_it_is_said_to_be() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        File::create(&path).unwrap().set_len(8 << 40).unwrap();
        assert_eq!(piece(&path, MOST - 1, false).unwrap().len(), 1);
        assert!(piece(&path, MOST, false).unwrap().is_empty());
    }

    #[tokio::test]
    async fn what_is_no_piece_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        let near = files(&folder, "near");
        let header =
            |file: u8, length: u32| [&[file][..], &0_u64.to_be_bytes(), &length.to_be_bytes()].concat();
        for bad in [header(4, 0), header(0, u32::MAX), header(1, 5), vec![1, 0]] {
            assert!(near.receive(&mut bad.as_slice()).await.is_err(), "{bad:?}");
        }
        assert_eq!(near.lengths(), [0; 4]);
    }
}
