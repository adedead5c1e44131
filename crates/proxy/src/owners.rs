//! Whose a connection is: asked of the supervisor, which alone sees the agent's processes, and only where the
//! answer matters.
//!
//! [`Owners::owner_of`] is the one way to ask, for requests and for connections that nobody looks into alike. A
//! supervisor that does not answer in time has not told: the connection has no owner, and no rule with `binaries`
//! matches it.

use std::{
    collections::HashMap,
    io,
    net::SocketAddr,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc, Mutex, MutexGuard, PoisonError,
        atomic::{AtomicU64, Ordering},
    },
    time::{SystemTime, UNIX_EPOCH},
};

use chiton_api::owner::{Answer, Asked, MAX_PACKET, Owner, Question, Told};
use chiton_policy::Binary;
use tokio::{
    net::UnixDatagram,
    sync::{OnceCell, oneshot},
    time::timeout,
};

use crate::{accept::Target, limits, revision::Revision, state::Proxy};

/// The two ends of a connection, as the agent has them, and our own.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Ends {
    /// The agent's own.
    pub(crate) from: SocketAddr,
    /// Where it was going.
    pub(crate) to: SocketAddr,
    /// Ours, where it was turned to.
    pub(crate) at: SocketAddr,
    /// Our socket's cookie.
    pub(crate) cookie: u64,
}

/// A connection, and whose it is once somebody asked.
#[derive(Debug)]
pub(crate) struct Connection {
    ends: Option<Ends>,
    owner: OnceCell<Option<Owner>>,
}

impl Connection {
    /// With these ends; none where they could not be told.
    pub(crate) fn new(ends: Option<Ends>) -> Self {
        Self { ends, owner: OnceCell::new() }
    }
}

/// Asks the supervisor.
pub(crate) struct Owners {
    link: Option<Link>,
}

struct Link {
    socket: Arc<UnixDatagram>,
    waiting: Arc<Waiting>,
    next: AtomicU64,
}

/// Who waits for which answer.
#[derive(Default)]
struct Waiting(Mutex<HashMap<u64, oneshot::Sender<Answer>>>);

impl Waiting {
    fn table(&self) -> MutexGuard<'_, HashMap<u64, oneshot::Sender<Answer>>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Owners {
    /// On the supervisor's socket; without one nobody is told. In a tokio runtime.
    pub(crate) fn new(socket: Option<OwnedFd>) -> io::Result<Self> {
        let Some(socket) = socket else { return Ok(Self { link: None }) };
        let socket = std::os::unix::net::UnixDatagram::from(socket);
        socket.set_nonblocking(true)?;
        let socket = Arc::new(UnixDatagram::from_std(socket)?);
        let waiting = Arc::new(Waiting::default());
        tokio::spawn(listen(socket.clone(), waiting.clone()));
        // Answers to a proxy before this one may still come: ids begin later than all of its.
        let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_nanos();
        let next = AtomicU64::new(u64::try_from(since).unwrap_or_default());
        Ok(Self { link: Some(Link { socket, waiting, next }) })
    }

    /// Whose a connection is. It is asked once for each: the owner is the one who connected.
    pub(crate) async fn owner_of<'a>(&self, connection: &'a Connection) -> Option<&'a Owner> {
        let ask = async {
            let Ends { from, to, at, cookie } = connection.ends?;
            match self.ask(Question::Owner { from, to, at, cookie }).await? {
                Answer::Owner(owner) => owner,
                Answer::LeadsTo(_) => None,
            }
        };
        connection.owner.get_or_init(|| ask).await.as_ref()
    }

    /// Which of these paths lead to which file.
    async fn lead(&self, paths: &[&str]) -> Option<HashMap<PathBuf, Vec<String>>> {
        let mut led: HashMap<PathBuf, Vec<String>> = HashMap::new();
        // As many as fit into one packet, however long they are.
        for some in paths.chunks(8) {
            let question = Question::LeadsTo(some.iter().map(PathBuf::from).collect());
            let Answer::LeadsTo(answers) = self.ask(question).await? else { return None };
            for (path, answer) in some.iter().zip(answers) {
                if let Some(file) = answer {
                    led.entry(file).or_default().push((*path).to_owned());
                }
            }
        }
        Some(led)
    }

    async fn ask(&self, question: Question) -> Option<Answer> {
        let link = self.link.as_ref()?;
        let id = link.next.fetch_add(1, Ordering::Relaxed);
        let packet = serde_json::to_vec(&Asked { id, question }).ok().filter(|p| p.len() <= MAX_PACKET)?;
        let (tell, told) = oneshot::channel();
        link.waiting.table().insert(id, tell);
        let answer = timeout(limits::OWNER, async {
            link.socket.send(&packet).await.ok()?;
            told.await.ok()
        });
        let answer = answer.await.ok().flatten();
        link.waiting.table().remove(&id);
        answer
    }
}

/// Brings answers to who waits for them, until the supervisor is gone.
async fn listen(socket: Arc<UnixDatagram>, waiting: Arc<Waiting>) {
    let mut buffer = vec![0; MAX_PACKET];
    loop {
        let Ok(got) = socket.recv(&mut buffer).await else { return };
        let told = buffer.get(..got).and_then(|packet| serde_json::from_slice::<Told>(packet).ok());
        if let Some(Told { id, answer }) = told
            && let Some(tell) = waiting.table().remove(&id)
        {
            let _ = tell.send(answer);
        }
    }
}

/// Where the paths of one revision's `binaries` lead, once somebody asked.
#[derive(Default)]
pub(crate) struct Led(OnceCell<HashMap<PathBuf, Vec<String>>>);

impl Led {
    /// An owner as the policy judges it: under every name that the revision may mean it by.
    pub(crate) async fn binary(&self, owners: &Owners, paths: &[&str], owner: &Owner) -> Option<Binary> {
        let executable = owner.executable.to_str()?;
        if !owner.fixed {
            return Some(Binary::unfixed(executable));
        }
        let led = self.0.get_or_try_init(|| async { owners.lead(paths).await.ok_or(Untold) }).await;
        let led = led.ok();
        let others = |file: &PathBuf, in_home: &Option<PathBuf>| -> Vec<String> {
            let led = led.and_then(|led| led.get(file)).into_iter().flatten().cloned();
            led.chain(in_home.as_ref().and_then(|path| path.to_str()).map(str::to_owned)).collect()
        };
        let binary = Binary::new(executable, others(&owner.executable, &owner.in_home));
        let script = owner.script.as_ref().and_then(|script| Some((script.file.to_str()?, script)));
        Some(match script {
            Some((path, script)) => binary.running(path, others(&script.file, &script.in_home)),
            None => binary,
        })
    }
}

/// The supervisor did not answer; it is asked again.
struct Untold;

impl Proxy {
    /// Who asks for a host that a connection was going to, where some rule of this revision wants to know.
    pub(crate) async fn who_asks(&self, target: &Target, revision: &Revision) -> Option<Binary> {
        if !revision.compiled.asks_who(&target.host) {
            return None;
        }
        // On the heap, as all that most requests do without: what a request's future holds is moved as it begins.
        Box::pin(async move {
            let owner = self.owners.owner_of(&target.connection).await?;
            revision.led.binary(&self.owners, &revision.compiled.binary_paths(), owner).await
        })
        .await
    }
}
