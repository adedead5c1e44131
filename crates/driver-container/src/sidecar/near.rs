//! The gateway's side: connections to what is in a sidecar, and the files that come from there.

use std::{
    collections::HashMap,
    io,
    pin::Pin,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use bollard::{
    container::LogOutput,
    errors::Error,
    exec::{StartExecOptions, StartExecResults},
    models::ExecConfig,
    query_parameters::{ListVolumesOptionsBuilder, RemoveVolumeOptions},
};
use chiton_driver::{DriverError, Result, SandboxId};
use chiton_driver_host::wire;
use futures_util::{Stream, StreamExt as _};
use serde::{Deserialize, Serialize};
use tokio::{
    io::{AsyncWrite, AsyncWriteExt as _},
    net::UnixStream,
    task::JoinHandle,
};

use super::{Begin, Follow, ROLE, Reply, Request, SOCKET, Until, connection, files::Files};
use crate::{
    client::{Client, Known, Standing, failed, is_missing, plain},
    container::{Places, SANDBOX},
};

/// When a sidecar that could not be spoken to is tried again.
const AGAIN: Duration = Duration::from_secs(1);
/// How long an answer may take: longer than the steps behind it, which have limits of their own.
const ANSWER: Duration = Duration::from_secs(100);
/// Of what an engine says no more characters are kept.
const LONGEST: usize = 300;
/// How long what was written may take to come.
const PATIENCE: Duration = Duration::from_secs(20);

/// A sandbox's sidecar, as it is written down.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Sidecar {
    /// Whose it is.
    pub(crate) sandbox: SandboxId,
    /// Its container's name: known before it exists.
    pub(crate) container: String,
    /// Where what is written there comes to.
    pub(crate) files: Files,
}

impl Sidecar {
    /// A connection to one of its sockets. Whether somebody listens shows when it is used.
    pub(crate) async fn speak(&self, client: &Client, socket: &str) -> Result<UnixStream> {
        // Where the engine does not answer, the sandbox may well go on.
        let known = client.get().await.map_err(|error| DriverError::Halted(error.to_string()))?;
        match self.begin(&known, socket).await {
            Ok(link) => Ok(link),
            Err(error) => Err(self.why(client, &known, &error).await),
        }
    }

    async fn begin(&self, known: &Known, socket: &str) -> std::result::Result<UnixStream, Error> {
        let program = Places::beside(self.sandbox.as_str()).program();
        let config = ExecConfig {
            attach_stdin: Some(true),
            attach_stdout: Some(true),
            cmd: Some([program.as_str(), ROLE, socket].map(str::to_owned).into()),
            ..ExecConfig::default()
        };
        let id = known.docker.create_exec(&self.container, config).await?.id;
        let options = StartExecOptions { output_capacity: Some(64 << 10), ..StartExecOptions::default() };
        let StartExecResults::Attached { output, input } =
            known.docker.start_exec(&id, Some(options)).await?
        else {
            return Err(Error::from(io::Error::from(io::ErrorKind::NotConnected)));
        };
        let (ours, theirs) = UnixStream::pair()?;
        tokio::spawn(relay(theirs, output, input));
        Ok(ours)
    }

    /// Why nothing can be said to it: it is over only where the engine says so.
    async fn why(&self, client: &Client, known: &Known, error: &Error) -> DriverError {
        let engine = client.engine.name();
        DriverError::Halted(match client.standing(known, &self.container).await {
            Standing::IsOver => return DriverError::NotRunning(self.sandbox.clone()),
            Standing::Unsaid(said) => format!("{engine} does not say: {said}"),
            Standing::IsPaused => {
                format!("its sidecar is paused: `{engine} unpause {}` lets it go on", self.container)
            }
            Standing::Runs => format!("{engine} cannot reach its sidecar: {}", plain(error)),
        })
    }

    /// One request that is answered.
    pub(crate) async fn ask(&self, client: &Client, request: &Request) -> Result<()> {
        let mut link = self.speak(client, SOCKET).await?;
        wire::send(&mut link, request, &[]).await.map_err(broken)?;
        match answer(&mut link).await? {
            Reply::Done => Ok(()),
            _ => Err(broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Takes what its files hold, as long as is asked for.
    async fn follow(&self, client: &Client, until: Until) -> Result<()> {
        let mut link = self.speak(client, SOCKET).await?;
        let follow = Follow { have: self.files.lengths(), until };
        wire::send(&mut link, &Request::Follow(follow), &[]).await.map_err(broken)?;
        self.files.receive(&mut link).await.map_err(broken)
    }

    /// Takes all that is there, once. What cannot be had is not.
    pub(crate) async fn take(&self, client: &Client, until: Until) {
        let all = async {
            // A connection that was cut is made again, and goes on from there.
            loop {
                match self.follow(client, until).await {
                    Ok(()) | Err(DriverError::NotRunning(_)) => return,
                    Err(error) => {
                        tracing::warn!(sandbox = %self.sandbox, %error, "what its sidecar holds did not come");
                    }
                }
                tokio::time::sleep(AGAIN).await;
            }
        };
        if tokio::time::timeout(PATIENCE, all).await.is_err() {
            tracing::warn!(sandbox = %self.sandbox, "what its sidecar holds did not come in time");
        }
    }

    /// Has it listen for the supervisor; the next answer on the link says whether that has what it needs.
    pub(crate) async fn begin_sandbox(&self, client: &Client, hand_over: &str) -> Result<UnixStream> {
        let mut link = self.speak(client, SOCKET).await?;
        let have = self.files.lengths();
        let begin = Begin { id: self.sandbox.clone(), hand_over: hand_over.into(), have };
        let begun = async {
            wire::send(&mut link, &Request::Begin(begin), &[]).await?;
            self.files.send_events(have, &mut link).await
        };
        begun.await.map_err(broken)?;
        match answer(&mut link).await? {
            Reply::Listening => Ok(link),
            _ => Err(broken(io::ErrorKind::InvalidData.into())),
        }
    }

    /// Has the engine remove it, and their volume where that is left: an engine that was killed forgets to. What is gone
    /// is fine.
    pub(crate) async fn remove(&self, client: &Client, known: &Known) -> Result<()> {
        client.remove(&known.docker, &self.container).await?;
        let label = format!("{SANDBOX}={}", self.sandbox);
        let filters = HashMap::from([("label".to_owned(), vec![label])]);
        let options = ListVolumesOptionsBuilder::default().filters(&filters).build();
        let found = known.docker.list_volumes(Some(options)).await;
        let found = found.map_err(failed(&client.engine, "list its volumes"))?;
        for volume in found.volumes.unwrap_or_default() {
            let options = None::<RemoveVolumeOptions>;
            match known.docker.remove_volume(&volume.name, options).await {
                Err(error) if !is_missing(&error) => {
                    return Err(failed(&client.engine, "remove a volume")(error));
                }
                Ok(()) | Err(_) => {}
            }
        }
        Ok(())
    }

    /// Starts it.
    pub(crate) async fn start(&self, client: &Client, known: &Known) -> Result<()> {
        let started = known.docker.start_container(&self.container, None).await;
        started.map_err(failed(&client.engine, "start the sidecar"))
    }
}

/// The next answer; a failure is an error here.
pub(crate) async fn answer(link: &mut UnixStream) -> Result<Reply> {
    let received = tokio::time::timeout(ANSWER, wire::receive(link)).await;
    match received.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into())).map_err(broken)?.0 {
        Reply::Failed(failure) => Err(failure.into()),
        Reply::NotAsOrdered(differs) => Err(DriverError::Unsupported(format!(
            "the container's first process is not what was asked for: {differs}"
        ))),
        reply => Ok(reply),
    }
}

pub(crate) fn broken(source: io::Error) -> DriverError {
    DriverError::Io { doing: "cannot talk to the sandbox's sidecar", source }
}

/// Until either side has ended.
async fn relay(
    link: UnixStream,
    mut output: Pin<Box<dyn Stream<Item = std::result::Result<LogOutput, Error>> + Send>>,
    input: Pin<Box<dyn AsyncWrite + Send>>,
) {
    let (from, mut to) = link.into_split();
    let out = async {
        let mut first = true;
        while let Some(Ok(piece)) = output.next().await {
            let LogOutput::StdOut { message } = piece else { continue };
            // Neither a message, nor a frame, nor a piece begins with a letter: so does what the engine says where it
            // could not start the process.
            if std::mem::take(&mut first) && message.first().is_some_and(u8::is_ascii_graphic) {
                let said: String = String::from_utf8_lossy(&message).trim().chars().take(LONGEST).collect();
                tracing::warn!(said = %said.escape_debug(), "a sidecar cannot be spoken to");
                break;
            }
            if to.write_all(&message).await.is_err() {
                break;
            }
        }
    };
    let into = async {
        // Where nobody takes what is sent, what was said before still comes.
        if connection::pass(from, input).await.is_err() {
            std::future::pending::<()>().await;
        }
    };
    tokio::select! {
        () = out => {}
        () = into => {}
    }
}

/// What takes the files of the sandboxes as they grow.
#[derive(Debug, Default)]
pub(crate) struct Followers(Mutex<HashMap<SandboxId, JoinHandle<()>>>);

impl Followers {
    /// Sees to it that somebody does.
    pub(crate) fn ensure(&self, client: &Arc<Client>, sidecar: &Sidecar) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        all.retain(|_, task| !task.is_finished());
        all.entry(sidecar.sandbox.clone()).or_insert_with(|| {
            let (client, sidecar) = (Arc::clone(client), sidecar.clone());
            tokio::spawn(async move { follow_always(&client, &sidecar).await })
        });
    }

    /// Nobody does any more.
    pub(crate) fn end(&self, sandbox: &SandboxId) {
        let mut all = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(task) = all.remove(sandbox) {
            task.abort();
        }
    }
}

impl Drop for Followers {
    fn drop(&mut self) {
        let all = self.0.get_mut().unwrap_or_else(PoisonError::into_inner);
        all.values().for_each(JoinHandle::abort);
    }
}

async fn follow_always(client: &Client, sidecar: &Sidecar) {
    loop {
        match sidecar.follow(client, Until::Gone).await {
            Err(DriverError::NotRunning(_)) => return,
            Ok(()) => {}
            Err(error) => tracing::info!(sandbox = %sidecar.sandbox, %error, "its sidecar is not heard"),
        }
        tokio::time::sleep(AGAIN).await;
    }
}
