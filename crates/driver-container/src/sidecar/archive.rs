//! What both containers are given, as an archive in the `ustar` format (POSIX.1, pax, "ustar Interchange Format"):
//! this program, and a folder for the socket that takes one connection.

use std::{
    fs::File,
    io::{self, Read as _},
};

use bollard::query_parameters::UploadToContainerOptionsBuilder;
use bytes::Bytes;
use chiton_driver::{DriverError, Result};
use futures_util::{Stream, StreamExt as _, stream};

use crate::{
    client::{Client, Known, failed},
    container::Places,
    user::User,
};

const BLOCK: usize = 512;
const PIECE: usize = 1 << 20;

/// The program's name in it, and the folder's.
const PROGRAM: &str = "chiton";
const HAND_OVER: &str = "hand-over";

/// Has the engine put them into the volume of a container that is not started yet.
pub(crate) async fn bring(
    client: &Client,
    known: &Known,
    container: &str,
    (sandbox, user): (&str, User),
) -> Result<()> {
    let archive =
        of_program(user).map_err(|source| DriverError::Io { doing: "cannot read this program", source })?;
    let place = Places::beside(sandbox).given();
    let options = UploadToContainerOptionsBuilder::default().path(&place).build();
    let body = bollard::body_try_stream(archive);
    let brought = known.docker.upload_to_container(container, Some(options), body).await;
    brought.map_err(failed(&client.engine, "take this program into a container"))
}

/// An archive with this program, root's own, and an empty folder of this user.
fn of_program(user: User) -> io::Result<impl Stream<Item = io::Result<Bytes>> + Send + 'static> {
    let file = File::open("/proc/self/exe")?;
    let length = file.metadata()?.len();
    let folder = Entry { name: HAND_OVER, kind: b'5', mode: 0o711, user, length: 0 };
    let program = Entry { name: PROGRAM, kind: b'0', mode: 0o555, user: User { uid: 0, gid: 0 }, length };
    let begin = [folder.header(), program.header()].concat();
    let padding = usize::try_from(length.next_multiple_of(BLOCK as u64) - length).unwrap_or(0);
    // Two empty blocks end an archive.
    let end = vec![0; padding + 2 * BLOCK];
    let body = stream::unfold(Some((file, length)), |state| async move {
        let (file, left) = state?;
        match tokio::task::spawn_blocking(move || next(file, left)).await {
            Ok(Ok((piece, file, left))) => Some((Ok(piece), (left > 0).then_some((file, left)))),
            Ok(Err(error)) => Some((Err(error), None)),
            Err(error) => Some((Err(error.into()), None)),
        }
    });
    let ends = |bytes: Vec<u8>| stream::iter([Ok(Bytes::from(bytes))]);
    Ok(ends(begin).chain(body).chain(ends(end)))
}

fn next(mut file: File, left: u64) -> io::Result<(Bytes, File, u64)> {
    let length = usize::try_from(left).unwrap_or(PIECE).min(PIECE);
    let mut piece = vec![0; length];
    file.read_exact(&mut piece)?;
    Ok((piece.into(), file, left - length as u64))
}

struct Entry {
    name: &'static str,
    kind: u8,
    mode: u32,
    user: User,
    length: u64,
}

impl Entry {
    fn header(&self) -> Vec<u8> {
        let mut header = vec![0; BLOCK];
        let mut put = |at: usize, bytes: &[u8]| {
            for (to, from) in header.iter_mut().skip(at).zip(bytes) {
                *to = *from;
            }
        };
        put(0, self.name.as_bytes());
        put(100, format!("{:07o}", self.mode).as_bytes());
        put(108, format!("{:07o}", self.user.uid).as_bytes());
        put(116, format!("{:07o}", self.user.gid).as_bytes());
        put(124, format!("{:011o}", self.length).as_bytes());
        put(136, b"00000000000");
        // The sum counts its own field as blanks.
        put(148, b"        ");
        put(156, &[self.kind]);
        put(257, b"ustar\x0000");
        let sum: u32 = header.iter().map(|byte| u32::from(*byte)).sum();
        for (to, from) in header.iter_mut().skip(148).zip(format!("{sum:06o}\0 ").into_bytes()) {
            *to = from;
        }
        header
    }
}

#[cfg(test)]
mod tests {
    use std::{os::unix::fs::MetadataExt as _, process::Command};

    use futures_util::TryStreamExt as _;

    use super::*;

    #[tokio::test]
    async fn others_read_it() {
        let user = User { uid: 1234, gid: 2_000_000 };
        let bytes = of_program(user).unwrap().try_concat_bytes().await;
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.tar");
        std::fs::write(&path, bytes).unwrap();
        let listed = Command::new("tar").args(["--numeric-owner", "-tvf"]).arg(&path).output().unwrap();
        assert!(listed.status.success() && listed.stderr.is_empty(), "{listed:?}");
        let listed = String::from_utf8(listed.stdout).unwrap();
        let lines: Vec<_> = listed.lines().collect();
        assert!(
            lines[0].starts_with("drwx--x--x 1234/2000000 ") && lines[0].ends_with("hand-over"),
            "{listed}"
        );
        let length = std::fs::metadata("/proc/self/exe").unwrap().size().to_string();
        assert!(lines[1].starts_with("-r-xr-xr-x 0/0 ") && lines[1].contains(&length), "{listed}");
    }

    trait Whole {
        async fn try_concat_bytes(self) -> Vec<u8>;
    }

    impl<S: Stream<Item = io::Result<Bytes>>> Whole for S {
        async fn try_concat_bytes(self) -> Vec<u8> {
            let pieces: Vec<Bytes> = self.try_collect().await.unwrap();
            pieces.concat()
        }
    }
}
