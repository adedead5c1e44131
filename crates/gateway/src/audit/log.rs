//! The one writer of the log.

use std::{
    collections::{BTreeMap, HashSet},
    fs::{File, OpenOptions},
    io::{self, BufRead, BufReader, Read as _, Seek, SeekFrom, Write},
    os::unix::fs::OpenOptionsExt,
    path::{Path, PathBuf},
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
    time::Duration,
};

use chiton_api::{
    http::Denials,
    name::{SandboxId, SandboxName},
};
use chiton_audit::{Chain, Decision, Entry, Event, EventId, Hash, Head, Layer, Spool};
use chiton_store::{Checkpoint, Source, SourceKind, Store};
use jiff::Timestamp;
use tokio::{
    sync::{Notify, watch},
    task::spawn_blocking,
};

use super::source::{Read, Tail};

/// How long the chaining stands back between two pieces of an event file, where nobody waits for it. The scheduler
/// gives whoever runs some milliseconds, whatever its niceness is, before what wakes up on that core gets its turn: a
/// request that came just then waited for as long.
const STAND_BACK: Duration = Duration::from_micros(100);

const CHAINER_ENDED: &str = "the thread that chains the sandboxes' events ended by a fault of ours";

/// Why the log cannot be written or read.
#[derive(Debug, thiserror::Error)]
pub enum AuditError {
    /// It cannot be opened.
    #[error("cannot open the audit log `{path}`: {source}")]
    Open {
        /// The log.
        path: PathBuf,
        /// What the system said.
        source: io::Error,
    },
    /// Its end is not ours.
    #[error("the audit log `{path}` cannot be gone on with: {source}")]
    Resume {
        /// The log.
        path: PathBuf,
        /// Why.
        source: chiton_audit::SinkError,
    },
    /// It does not take a line.
    #[error("the audit log cannot be written, so nothing new is started or applied: {0}")]
    Write(#[source] io::Error),
    /// It cannot be read.
    #[error("the audit log cannot be read: {0}")]
    Read(#[source] io::Error),
    /// What the event files hold is not chained.
    #[error("{CHAINER_ENDED}, so nothing new is started or applied")]
    ChainerEnded,
}

/// The log and the event files that flow into it.
#[derive(Debug)]
pub(crate) struct AuditLog {
    pub(super) path: PathBuf,
    inner: Mutex<Inner>,
    /// The length, published when lines were added.
    grown: watch::Sender<u64>,
    /// That there is something to look after.
    pub(super) wake: Notify,
    /// One at a time reads event files; the lock of `inner` is for writing alone, so that an own event waits for
    /// nobody's parsing.
    draining: Mutex<()>,
    /// So many wait for what is drained.
    awaited: AtomicUsize,
    checkpointing: tokio::sync::Mutex<()>,
    syncing: Mutex<()>,
}

#[derive(Debug)]
struct Inner {
    file: File,
    chain: Chain,
    length: u64,
    count: u64,
    /// A write failed and could not be taken back.
    torn: bool,
    fault: Option<String>,
    /// The thread that chains ended, and has not done a turn since.
    chainer_ended: bool,
    unsynced: bool,
    unkept: bool,
    sources: BTreeMap<(SandboxId, SourceKind), Tail>,
    denials: BTreeMap<SandboxId, Denials>,
    /// Events past the checkpoint that this process began with.
    known: HashSet<EventId>,
}

/// Somebody waits for what is drained, until this is dropped.
struct Awaited<'a>(&'a AtomicUsize);

impl<'a> Awaited<'a> {
    fn by_one_more(count: &'a AtomicUsize) -> Self {
        count.fetch_add(1, Ordering::Relaxed);
        Self(count)
    }
}

impl Drop for Awaited<'_> {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

impl AuditLog {
    /// Goes on with the log where the checkpoint, or what follows it, says that it ends.
    pub(crate) fn open(path: &Path, checkpoint: &Checkpoint) -> Result<Self, AuditError> {
        let failed = |source| AuditError::Open { path: path.to_path_buf(), source };
        let open = || OpenOptions::new().create(true).read(true).append(true).mode(0o600).open(path);
        // Takes away half a line that a process killed in its midst left.
        Spool::resume(open().map_err(failed)?)
            .map_err(|source| AuditError::Resume { path: path.to_path_buf(), source })?;
        let file = open().map_err(failed)?;
        let length = file.metadata().map_err(failed)?.len();
        let (start, shortened) = starting_point(&file, length, checkpoint).map_err(failed)?;
        let mut inner = Inner {
            file,
            chain: Chain::after(start.hash),
            length,
            count: start.count,
            torn: false,
            fault: None,
            chainer_ended: false,
            unsynced: false,
            unkept: true,
            sources: BTreeMap::new(),
            denials: BTreeMap::new(),
            known: HashSet::new(),
        };
        inner.read_on(if start == Head::EMPTY { 0 } else { checkpoint.length }).map_err(failed)?;
        for source in &checkpoint.sources {
            // Where the log lost its end, what the event files still have of it is chained again; the ids of what
            // is left tell it from what is not lost.
            let tail = Tail::at(if shortened { 0 } else { source.position });
            inner.sources.insert((source.sandbox.clone(), source.kind), tail);
        }
        if shortened {
            inner.write(&[Entry::from(&own_fault(SHORTENED))])?;
        }
        let (grown, _) = watch::channel(inner.length);
        let (inner, wake) = (Mutex::new(inner), Notify::new());
        let (draining, syncing) = (Mutex::new(()), Mutex::new(()));
        let (path, checkpointing) = (path.to_path_buf(), tokio::sync::Mutex::new(()));
        let awaited = AtomicUsize::new(0);
        Ok(Self { path, inner, grown, wake, draining, awaited, checkpointing, syncing })
    }

    /// Writes an event of the gateway's own; it is in the log when this returns.
    pub(crate) fn record(&self, event: &Event) -> Result<(), AuditError> {
        let mut inner = self.lock();
        inner.write(&[Entry::from(event)])?;
        self.published(&inner);
        Ok(())
    }

    /// An error where something new must not begin, because the events of it would not get here.
    pub(crate) fn may_begin(&self) -> Result<(), AuditError> {
        if self.lock().chainer_ended { Err(AuditError::ChainerEnded) } else { Ok(()) }
    }

    /// How many events there are, and what keeps further ones out, by what the last write, flush and turn said.
    pub(crate) fn health(&self) -> (u64, Option<String>) {
        let inner = self.lock();
        let chainer = inner.chainer_ended.then(|| CHAINER_ENDED.to_owned());
        (inner.count, inner.fault.clone().or(chainer))
    }

    /// Whether the thread that chains ended instead of doing its turn.
    pub(super) fn set_chainer_ended(&self, ended: bool) {
        self.lock().chainer_ended = ended;
    }

    /// Follows a sandbox's event files from now on, from where they were left.
    pub(crate) fn follow(&self, id: &SandboxId, name: &SandboxName, folder: &Path) {
        let mut inner = self.lock();
        for kind in [SourceKind::Supervisor, SourceKind::Proxy] {
            let tail = inner.sources.entry((id.clone(), kind)).or_insert_with(|| Tail::at(0));
            tail.follow(name, folder.join(format!("{}.events", kind.as_str())));
        }
        drop(inner);
        self.wake.notify_one();
    }

    /// Begins to count refusals anew: the sandbox starts.
    pub(crate) fn count_anew(&self, id: &SandboxId) {
        self.lock().denials.insert(id.clone(), Denials::default());
    }

    /// Counts what was refused since a moment, from the event files: the sandbox was started by a gateway that
    /// is gone.
    pub(crate) fn recount(&self, id: &SandboxId, since: Timestamp) {
        let mut inner = self.lock();
        let of_it = inner.sources.iter().filter(|((sandbox, _), _)| sandbox == id);
        let denied = of_it.flat_map(|(_, tail)| tail.denied_since(since)).collect::<Vec<_>>();
        let denials = inner.denials.entry(id.clone()).or_default();
        *denials = Denials::default();
        for layer in denied {
            count(denials, layer);
        }
    }

    /// What was refused since the sandbox started, as far as it is chained.
    pub(crate) fn denials(&self, id: &SandboxId) -> Option<Denials> {
        self.lock().denials.get(id).cloned()
    }

    /// Chains what the sandbox's event files hold, and follows them no longer; where that fails they are followed
    /// until it succeeds.
    pub(crate) fn finish(&self, id: &SandboxId) -> Denials {
        let drained = self.drain_of(id);
        let mut inner = self.lock();
        match drained {
            Ok(()) => inner.of(id).for_each(Tail::leave),
            Err(error) => tracing::error!(%error, sandbox = %id, "events wait in their files"),
        }
        inner.denials.get(id).cloned().unwrap_or_default()
    }

    /// Chains what the sandbox's event files hold, followed or not. Blocks.
    pub(crate) fn drain_of(&self, id: &SandboxId) -> Result<(), AuditError> {
        let _awaited = Awaited::by_one_more(&self.awaited);
        let _one_at_a_time = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain_those(|(sandbox, _), _| sandbox == id)
    }

    /// Knows nothing of those sandboxes any more whose event files are gone. As long as they are there, how far they
    /// are chained must be known, or they would be chained anew from their first line.
    pub(crate) fn forget(&self, gone: impl Fn(&SandboxId) -> bool) {
        let mut inner = self.lock();
        let before = inner.sources.len();
        inner.sources.retain(|(sandbox, _), _| !gone(sandbox));
        inner.denials.retain(|sandbox, _| !gone(sandbox));
        inner.unkept |= inner.sources.len() != before;
    }

    /// Chains everything that the event files hold by now, for somebody who waits. Blocks.
    pub(crate) fn drain(&self) -> Result<(), AuditError> {
        let _awaited = Awaited::by_one_more(&self.awaited);
        self.drain_in_time()
    }

    /// The same for nobody: stands back as long as nobody waits. Blocks.
    pub(super) fn drain_in_time(&self) -> Result<(), AuditError> {
        let _one_at_a_time = self.draining.lock().unwrap_or_else(PoisonError::into_inner);
        self.drain_those(|_, tail| tail.is_followed())?;
        self.lock().known.clear();
        Ok(())
    }

    /// Each, whatever becomes of the others; the first error is the answer.
    fn drain_those(&self, those: impl Fn(&(SandboxId, SourceKind), &Tail) -> bool) -> Result<(), AuditError> {
        let meant = |(key, tail): (&(SandboxId, SourceKind), &Tail)| those(key, tail).then(|| key.clone());
        let keys: Vec<_> = self.lock().sources.iter().filter_map(meant).collect();
        let mut drained = Ok(());
        for key in &keys {
            drained = drained.and(self.drain_one(key));
        }
        drained
    }

    /// Chains what one event file holds by now; what is appended meanwhile waits for its next turn, since the others
    /// have theirs.
    fn drain_one(&self, key: &(SandboxId, SourceKind)) -> Result<(), AuditError> {
        let Some(tail) = self.lock().sources.get(key).cloned() else { return Ok(()) };
        let Some(mut rest) = tail.rest().map_err(AuditError::Read)? else { return Ok(()) };
        loop {
            let read = rest.next().map_err(AuditError::Read)?;
            if read.is_empty() {
                return Ok(());
            }
            let mut inner = self.lock();
            if !inner.sources.contains_key(key) {
                return Ok(());
            }
            inner.chain(key, read)?;
            self.published(&inner);
            drop(inner);
            if self.awaited.load(Ordering::Relaxed) == 0 {
                thread::sleep(STAND_BACK);
            }
        }
    }

    /// Flushes to the disk what is not there yet; true when it is there. Blocks.
    fn sync(&self) -> bool {
        let _one_at_a_time = self.syncing.lock().unwrap_or_else(PoisonError::into_inner);
        let file = {
            let mut inner = self.lock();
            if !std::mem::take(&mut inner.unsynced) {
                return true;
            }
            inner.file.try_clone()
        };
        let Err(error) = file.and_then(|file| file.sync_data()) else { return true };
        let mut inner = self.lock();
        inner.fault = Some(error.to_string());
        inner.unsynced = true;
        false
    }

    /// Keeps how far the log has come, where that changed: on the disk first, since what a checkpoint counts as
    /// chained is not read again. True when it is kept.
    pub(crate) async fn checkpoint(self: &Arc<Self>, store: &Store) -> bool {
        let _one_at_a_time = self.checkpointing.lock().await;
        let Some(checkpoint) = self.lock().take_checkpoint() else { return true };
        let log = Arc::clone(self);
        let synced = spawn_blocking(move || log.sync()).await.unwrap_or(false);
        let kept = synced
            && match store.set_checkpoint(&checkpoint).await {
                Ok(()) => true,
                Err(error) => {
                    tracing::error!(%error, "the audit log's checkpoint was not kept");
                    false
                }
            };
        self.lock().unkept |= !kept;
        kept
    }

    /// Where the chain ends, and how long the file is by then.
    pub(super) fn end(&self) -> (Head, u64) {
        let inner = self.lock();
        (Head { count: inner.count, hash: inner.chain.head() }, inner.length)
    }

    /// Whether lines are not on the disk yet.
    #[cfg(test)]
    pub(super) fn is_unsynced(&self) -> bool {
        self.lock().unsynced
    }

    /// The event files, with how far each is chained.
    pub(super) fn files(&self) -> Vec<(SandboxName, PathBuf, u64)> {
        self.lock().sources.values().filter_map(Tail::file).collect()
    }

    /// Whether anything is followed.
    pub(super) fn follows(&self) -> bool {
        self.lock().sources.values().any(Tail::is_followed)
    }

    /// The length, as it grows.
    pub(crate) fn grown(&self) -> watch::Receiver<u64> {
        self.grown.subscribe()
    }

    fn published(&self, inner: &Inner) {
        let length = inner.length;
        self.grown.send_if_modified(|known| std::mem::replace(known, length) != length);
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Inner {
    /// A sandbox's event files.
    fn of<'a>(&'a mut self, id: &'a SandboxId) -> impl Iterator<Item = &'a mut Tail> {
        self.sources.iter_mut().filter(move |((sandbox, _), _)| sandbox == id).map(|(_, tail)| tail)
    }

    /// Writes lines by one call; when it fails nothing of them remains.
    fn write(&mut self, entries: &[Entry]) -> Result<(), AuditError> {
        if entries.is_empty() {
            return Ok(());
        }
        let (mut chain, mut text) = (self.chain, String::new());
        for entry in entries {
            chain = chain.take_over(entry, &mut text);
            text.push('\n');
        }
        let mended = if self.torn { self.file.set_len(self.length) } else { Ok(()) };
        if let Err(error) = mended.and_then(|()| self.file.write_all(text.as_bytes())) {
            self.torn = self.file.set_len(self.length).is_err();
            self.fault = Some(error.to_string());
            return Err(AuditError::Write(error));
        }
        (self.chain, self.torn, self.fault) = (chain, false, None);
        self.length += u64::try_from(text.len()).unwrap_or(0);
        self.count += u64::try_from(entries.len()).unwrap_or(0);
        (self.unsynced, self.unkept) = (true, true);
        Ok(())
    }

    /// Chains events of one file.
    fn chain(&mut self, key: &(SandboxId, SourceKind), read: Vec<Read>) -> Result<(), AuditError> {
        let Some(position) = read.last().map(|read| read.position) else { return Ok(()) };
        let read = read.into_iter().filter_map(|read| read.entry);
        let new: Vec<Entry> = read.filter(|entry| !self.known.contains(&entry.id)).collect();
        self.write(&new)?;
        if let Some(tail) = self.sources.get_mut(key) {
            tail.position = position;
            self.unkept = true;
        }
        let denials = self.denials.entry(key.0.clone()).or_default();
        for layer in new.iter().filter_map(|entry| entry.denied) {
            count(denials, layer);
        }
        Ok(())
    }

    /// Takes in what the log holds past `start`.
    fn read_on(&mut self, start: u64) -> io::Result<()> {
        let mut file = self.file.try_clone()?;
        file.seek(SeekFrom::Start(start))?;
        for line in BufReader::new(file).split(b'\n') {
            self.count += 1;
            // A line that was tampered with is for `verify` to name.
            let Ok(linked) = Event::parse(&String::from_utf8_lossy(&line?)) else { continue };
            self.known.insert(linked.event.id);
            if let Some((_, hash)) = linked.link {
                self.chain = Chain::after(hash);
            }
        }
        Ok(())
    }

    fn take_checkpoint(&mut self) -> Option<Checkpoint> {
        if !std::mem::take(&mut self.unkept) {
            return None;
        }
        let source = |((sandbox, kind), tail): (&(SandboxId, SourceKind), &Tail)| Source {
            sandbox: sandbox.clone(),
            kind: *kind,
            position: tail.position,
        };
        let sources = self.sources.iter().map(source).collect();
        Some(Checkpoint {
            length: self.length,
            count: self.count,
            hash: self.chain.head().to_string(),
            sources,
        })
    }
}

/// Where reading begins: at the checkpoint, or from the first line where that is not (any longer) a line's end.
fn starting_point(file: &File, length: u64, checkpoint: &Checkpoint) -> io::Result<(Head, bool)> {
    if checkpoint.length == 0 {
        return Ok((Head::EMPTY, false));
    }
    let (hash, mut file) = (checkpoint.hash.parse::<Hash>(), file.try_clone()?);
    let mut last = [0; 1];
    if checkpoint.length <= length {
        file.seek(SeekFrom::Start(checkpoint.length - 1))?;
        file.read_exact(&mut last)?;
    }
    match hash {
        Ok(hash) if last == *b"\n" => Ok((Head { count: checkpoint.count, hash }, false)),
        _ => Ok((Head::EMPTY, true)),
    }
}

fn count(denials: &mut Denials, layer: Layer) {
    denials.count += 1;
    *denials.layers.entry(layer.as_str().to_owned()).or_default() += 1;
}

/// The log ended before where we had left it.
const SHORTENED: &str = "audit_log_shortened";

/// Whether this event says that what stood before it was shortened.
pub(super) fn says_shortened(event: &Event) -> bool {
    event.layer == Layer::Lifecycle
        && event.reason.as_ref().is_some_and(|reason| reason.as_str() == SHORTENED)
}

/// Something that is not as we left it.
pub(super) fn own_fault(what: &'static str) -> Event {
    let mut event = Event::new(Layer::Lifecycle, "audit");
    event.decision = Some(Decision::Deny);
    event.reason = Some(what.into());
    event
}
