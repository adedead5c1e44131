//! What is reported, and how often: chatty programs ask for denied names a thousand times.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::{Condvar, Mutex, PoisonError},
    time::{Duration, Instant},
};

/// What was asked of a refused file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Wanted {
    /// To find, read or list it.
    Lookup,
    /// To make, write, rename, remove or change it.
    Change,
    /// To connect to it as a socket.
    Connect,
}

/// A program that was started. Its arguments are counted, never told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Started<'a> {
    /// The file: read from the process after its start, where it lived long enough.
    pub file: &'a Path,
    /// The script that `file` interprets.
    pub script: Option<&'a Path>,
    /// How many arguments it was given, its own name included.
    pub arguments: usize,
}

/// Where events go. Called from several threads, before the caller sees the answer, except for started programs.
pub trait Sink: Send + Sync {
    /// A program was started.
    fn exec_started(&self, process: u32, started: &Started<'_>);
    /// A program was not started, or was killed at once because its file was swapped for a denied one.
    fn exec_denied(&self, process: u32, file: &Path);
    /// A program was not started, for there is no thread that would judge its lookups.
    fn exec_unjudged(&self);
    /// A file was refused, so many times since it was last reported.
    fn file_refused(&self, process: u32, file: &Path, wanted: Wanted, times: u64);
    /// A call of the policy's list was refused.
    fn call_refused(&self, process: u32, number: u32);
}

/// How long a refused path is only counted after it was reported.
const QUIET: Duration = Duration::from_secs(10);
/// The most paths that are counted; beyond that every refusal is reported.
const MOST: usize = 4096;

struct Count {
    reported: Instant,
    process: u32,
    since: u64,
}

/// Reports the first refusal of a path at once, and counts the ones that follow. What one process asks again
/// is one attempt: `touch` makes a file and, refused, still sets its times.
#[derive(Default)]
pub(crate) struct Throttle {
    seen: Mutex<Seen>,
    closed: Condvar,
}

#[derive(Default)]
struct Seen {
    counts: HashMap<(PathBuf, Wanted), Count>,
    closed: bool,
}

impl Throttle {
    pub(crate) fn refused(&self, sink: &dyn Sink, process: u32, path: &Path, wanted: Wanted) {
        let now = Instant::now();
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        let times = match seen.counts.get_mut(&(path.to_path_buf(), wanted)) {
            Some(count) if now.duration_since(count.reported) < QUIET => {
                if count.process != process {
                    count.process = process;
                    count.since = count.since.saturating_add(1);
                }
                return;
            }
            Some(count) => {
                count.reported = now;
                count.process = process;
                std::mem::take(&mut count.since).saturating_add(1)
            }
            None => {
                if seen.counts.len() < MOST {
                    seen.counts
                        .insert((path.to_path_buf(), wanted), Count { reported: now, process, since: 0 });
                }
                1
            }
        };
        drop(seen);
        sink.file_refused(process, path, wanted, times);
    }

    /// Reports now and then what was only counted, until [`Throttle::close`]. Runs on a thread of its own.
    pub(crate) fn watch(&self, sink: &dyn Sink) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        while !seen.closed {
            seen = self.closed.wait_timeout(seen, QUIET).unwrap_or_else(PoisonError::into_inner).0;
            let now = Instant::now();
            let quiet = |count: &mut Count| now.duration_since(count.reported) >= QUIET;
            for (key, count) in seen.counts.extract_if(|_, count| quiet(count)) {
                report(sink, &key, &count);
            }
        }
    }

    /// Reports everything that was only counted.
    pub(crate) fn close(&self, sink: &dyn Sink) {
        let mut seen = self.seen.lock().unwrap_or_else(PoisonError::into_inner);
        seen.closed = true;
        for (key, count) in seen.counts.drain() {
            report(sink, &key, &count);
        }
        self.closed.notify_all();
    }
}

fn report(sink: &dyn Sink, (path, wanted): &(PathBuf, Wanted), count: &Count) {
    if count.since > 0 {
        sink.file_refused(count.process, path, *wanted, count.since);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[derive(Default)]
    struct Counted(Mutex<Vec<(u32, u64)>>);

    impl Sink for Counted {
        fn exec_started(&self, _process: u32, _started: &Started<'_>) {}
        fn exec_denied(&self, _process: u32, _file: &Path) {}
        fn exec_unjudged(&self) {}
        fn file_refused(&self, process: u32, _file: &Path, _wanted: Wanted, times: u64) {
            self.0.lock().unwrap().push((process, times));
        }
        fn call_refused(&self, _process: u32, _number: u32) {}
    }

    #[test]
    fn what_one_process_asks_again_is_one_attempt() {
        let (throttle, sink) = (Throttle::default(), Counted::default());
        for process in [7, 7, 7] {
            throttle.refused(&sink, process, Path::new("/w/.env"), Wanted::Lookup);
        }
        assert_eq!(*sink.0.lock().unwrap(), [(7, 1)]);
        for process in [8, 8, 9] {
            throttle.refused(&sink, process, Path::new("/w/.env"), Wanted::Lookup);
        }
        throttle.close(&sink);
        assert_eq!(*sink.0.lock().unwrap(), [(7, 1), (9, 2)]);
    }
}
