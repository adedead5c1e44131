//! The gateway as a process: from its start to its end.

use std::{fs, io, io::Write, path::PathBuf, process::ExitCode, sync::Arc, time::Duration};

use chiton_api::paths::{Paths, PathsError};
use chiton_driver::ComputeDriver;
use chiton_store::{Store, StoreError};
use futures_util::future::join_all;
use tokio::{
    signal::unix::{SignalKind, signal},
    time::{Instant, sleep, timeout},
};

use crate::{
    audit::{AuditError, AuditLog, tail},
    config::{Config, ConfigError, EngineSockets},
    error::{GatewayError, one_line},
    gateway::{Gateway, Parts},
    http::router,
    sandbox::reconcile,
    secrets::Secrets,
    socket::{self, Locks, SocketError},
};

/// What open requests get once the gateway ends.
const LAST_WORDS: Duration = Duration::from_secs(1);
/// So long another gateway is waited for that neither answers nor is gone: one that ends takes what is ending along.
const ANOTHER: Duration = Duration::from_secs(15);
/// So long a gateway is waited for that has the state folder, but not this runtime folder.
const MOVING: Duration = Duration::from_secs(3);
/// So many descriptors, where that is allowed. Not all that are: what is started inherits it, and some programs close
/// each by its number.
const DESCRIPTORS: u64 = 65_536;
/// A log longer than this is begun anew at a start, the old one kept beside it.
const LONGEST_LOG: u64 = 16 << 20;

/// Makes a driver. Called inside a tokio runtime.
pub type MakeDrivers = Box<dyn FnOnce(&Paths, EngineSockets) -> Vec<Arc<dyn ComputeDriver>> + Send>;

/// How the gateway is started.
#[derive(Clone, Debug, Default)]
pub struct Options {
    /// `--config`.
    pub config: Option<PathBuf>,
}

/// Why the gateway does not serve.
#[derive(Debug, thiserror::Error)]
pub enum ServeError {
    /// Our folders.
    #[error(transparent)]
    Paths(#[from] PathsError),
    /// `config.toml`.
    #[error(transparent)]
    Config(#[from] ConfigError),
    /// The socket and its locks.
    #[error(transparent)]
    Socket(#[from] SocketError),
    /// The database.
    #[error(transparent)]
    Store(#[from] StoreError),
    /// The audit log.
    #[error(transparent)]
    Audit(#[from] AuditError),
    /// The local secrets.
    #[error(transparent)]
    Secrets(#[from] chiton_credentials::LocalError),
    /// What was left cannot be told.
    #[error("{0}")]
    Reconcile(String),
    /// A system call.
    #[error("{doing}: {source}")]
    Io {
        /// What was being done.
        doing: &'static str,
        /// What the system said.
        source: io::Error,
    },
}

/// Serves until it is told to end. Writes `ready` and a line's end on standard output once it answers (at once,
/// and ends, when another gateway answers already); what keeps it from serving is one line on standard error
/// that begins with `error: `. Standard error is the log.
#[must_use]
pub fn run(options: &Options, drivers: MakeDrivers) -> ExitCode {
    // Values pass through this process: no core file, no other process's look into its memory.
    let _ = chiton_sys::process::set_undumpable();
    // Each sandbox takes some, and an ordinary shell allows 1,024.
    let _ = chiton_sys::process::allow_descriptors(DESCRIPTORS);
    // Out of the session of the terminal that it was started from; a process that leads a group stays.
    let _ = rustix::process::setsid();
    let filter = tracing_subscriber::EnvFilter::try_from_env("CHITON_LOG");
    let filter = filter.unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info"));
    let log = tracing_subscriber::fmt().with_env_filter(filter).with_writer(io::stderr).with_ansi(false);
    // What cannot be logged would be told on standard error, which is the same full disk: whoever logs would panic.
    let _ = log.log_internal_errors(false).try_init();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|source| ServeError::Io { doing: "cannot start the runtime", source });
    let served = runtime.and_then(|runtime| {
        let served = runtime.block_on(serve(options, drivers));
        runtime.shutdown_timeout(LAST_WORDS);
        served
    });
    match served {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let _ = writeln!(io::stderr(), "error: {}", one_line(&error.to_string()));
            ExitCode::FAILURE
        }
    }
}

async fn serve(options: &Options, drivers: MakeDrivers) -> Result<(), ServeError> {
    let paths = Paths::current(options.config.clone())?;
    paths.prepare()?;
    keep_log_short(&paths);
    let config = Config::load(&paths)?;
    config.check_listen()?;
    let Some(locks) = turn(&paths).await? else { return ready() };
    let made = drivers(&paths, config.engine_sockets());
    let gateway = open(paths, made).await?;
    reconcile(&gateway).await.map_err(|error| ServeError::Reconcile(error.to_string()))?;
    let listener = socket::listen(&gateway.paths, &locks)?;
    let tailing = tokio::spawn(tail(Arc::clone(&gateway.audit), Arc::clone(&gateway.store)));
    ready()?;
    tracing::info!(version = env!("CARGO_PKG_VERSION"), pid = std::process::id(), "serving");
    let ended = until_told(Arc::clone(&gateway))?;
    let mut ending = gateway.ending.subscribe();
    let served = axum::serve(listener, router(Arc::clone(&gateway))).with_graceful_shutdown(ended);
    let serving = tokio::spawn(async move { served.await });
    let _ = ending.wait_for(|ending| *ending).await;
    // No longer to be found; what is open gets its last words.
    let _ = fs::remove_file(gateway.paths.socket());
    let _ = timeout(LAST_WORDS, serving).await;
    tailing.abort();
    close(&gateway).await;
    tracing::info!("ended");
    drop(locks);
    Ok(())
}

/// Opens what the gateway is made of.
pub(crate) async fn open(
    paths: Paths,
    drivers: Vec<Arc<dyn ComputeDriver>>,
) -> Result<Arc<Gateway>, ServeError> {
    let store = Arc::new(Store::open(&paths.database()).await?);
    let audit = Arc::new(AuditLog::open(&paths.audit_log(), &store.checkpoint().await?)?);
    let secrets = Secrets::new(&paths)?;
    Ok(Gateway::new(Parts { paths, store, audit, secrets, drivers }))
}

/// Keeps the log; then again, once what is ending has ended, which writes events of its own.
pub(crate) async fn close(gateway: &Arc<Gateway>) {
    keep(gateway).await;
    let ending = gateway.all_live();
    join_all(ending.iter().map(|live| live.finish())).await;
    keep(gateway).await;
}

/// Chains, flushes and keeps what is not yet.
async fn keep(gateway: &Arc<Gateway>) {
    if let Err(error) = gateway.chain_now().await {
        tracing::error!(%error, "events wait in their files");
    }
    gateway.audit.checkpoint(&gateway.store).await;
}

/// Takes the locks. None where another gateway holds them and answers: there is nothing to do. One that is starting
/// is waited for, and one that is ending is followed.
async fn turn(paths: &Paths) -> Result<Option<Arc<Locks>>, ServeError> {
    let began = Instant::now();
    loop {
        match socket::lock(paths) {
            Ok(Some(locks)) => return Ok(Some(locks)),
            // One whose runtime folder was taken away is about to answer.
            Err(SocketError::StateInUse(_)) if began.elapsed() < MOVING => {}
            Ok(None) => {}
            Err(error) => return Err(error.into()),
        }
        if tokio::net::UnixStream::connect(paths.socket()).await.is_ok() {
            return Ok(None);
        }
        if began.elapsed() > ANOTHER {
            let silent = "it holds the lock, but its socket does not answer";
            let source = io::Error::new(io::ErrorKind::TimedOut, silent);
            return Err(ServeError::Io { doing: "another gateway does not answer", source });
        }
        sleep(Duration::from_millis(20)).await;
    }
}

/// Tells who waits for it on standard output, and lets go of it.
fn ready() -> Result<(), ServeError> {
    let failed = |source| ServeError::Io { doing: "cannot say that it is ready", source };
    let mut stdout = io::stdout();
    // Nobody may be waiting any more.
    let _ = stdout.write_all(b"ready\n").and_then(|()| stdout.flush());
    let null = fs::OpenOptions::new().write(true).open("/dev/null").map_err(failed)?;
    rustix::stdio::dup2_stdout(&null).map_err(|error| failed(error.into()))
}

/// Resolves when the gateway is told to end: by its API, or by a signal.
fn until_told(gateway: Arc<Gateway>) -> Result<impl Future<Output = ()> + Send, ServeError> {
    let failed = |source| ServeError::Io { doing: "cannot wait for signals", source };
    let mut terminate = signal(SignalKind::terminate()).map_err(failed)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(failed)?;
    let mut ending = gateway.ending.subscribe();
    Ok(async move {
        tokio::select! {
            _ = terminate.recv() => {},
            _ = interrupt.recv() => {},
            _ = ending.wait_for(|ending| *ending) => {},
        }
        gateway.ending.send_replace(true);
    })
}

fn keep_log_short(paths: &Paths) {
    let log = paths.log();
    if fs::metadata(&log).is_ok_and(|found| found.len() > LONGEST_LOG) {
        // Copied and cut, since standard error is this very file already.
        let copied = fs::copy(&log, log.with_extension("log.old"));
        let _ = copied.and_then(|_| fs::OpenOptions::new().write(true).open(&log)?.set_len(0));
    }
}

impl From<GatewayError> for ServeError {
    fn from(error: GatewayError) -> Self {
        Self::Reconcile(error.to_string())
    }
}

#[cfg(test)]
mod tests {
    use chiton_api::paths::ConfigPlaces;

    use super::*;

    #[tokio::test]
    async fn a_gateway_follows_one_that_ends() {
        let folder = tempfile::tempdir().unwrap();
        let (state, runtime) = (folder.path().join("s"), folder.path().join("r"));
        let paths = Paths { state, runtime, config: ConfigPlaces::Usual(vec![]) };
        paths.prepare().unwrap();
        // Its socket is gone already.
        let ending = turn(&paths).await.unwrap().unwrap();
        tokio::spawn(async move {
            sleep(Duration::from_millis(200)).await;
            drop(ending);
        });
        let held = turn(&paths).await.unwrap();
        assert!(held.is_some());
        let listener = socket::listen(&paths, held.as_ref().unwrap()).unwrap();
        assert!(turn(&paths).await.unwrap().is_none(), "there is one that answers");
        drop((listener, held));
    }
}
