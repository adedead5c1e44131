//! The sockets that were made inside the sandbox's network namespace, and the tasks that serve them.

use std::{io, os::fd::OwnedFd, sync::Arc};

use chiton_api::control::Listeners;
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::{Notify, Semaphore},
    task::JoinSet,
};
use tokio_util::sync::{CancellationToken, DropGuard};

use crate::{
    capture::{self, KernelOrigin, Origin},
    dns, dropped, limits,
    state::Proxy,
};

/// The descriptors beside `Configure` are not what it names.
#[derive(Debug, thiserror::Error)]
#[error("`Configure` came with {came} descriptors, and names {named}")]
pub(crate) struct WrongDescriptors {
    came: usize,
    named: usize,
}

/// What was handed over.
pub(crate) struct Sockets {
    /// To be served.
    pub(crate) open: Open,
    /// The event file.
    pub(crate) events: OwnedFd,
    /// Where the supervisor is asked.
    pub(crate) owners: Option<OwnedFd>,
}

/// Sockets to be served.
#[derive(Default)]
pub(crate) struct Open {
    tcp: Vec<OwnedFd>,
    dns_udp: Vec<OwnedFd>,
    dns_tcp: Vec<OwnedFd>,
    dropped: Vec<OwnedFd>,
}

impl Sockets {
    /// Takes the descriptors apart, in the order that `Listeners` states, the event file last.
    pub(crate) fn from_descriptors(named: Listeners, came: Vec<OwnedFd>) -> Result<Self, WrongDescriptors> {
        let counts = [named.tcp, named.dns_udp, named.dns_tcp, named.dropped, named.owners].map(usize::from);
        let wrong = WrongDescriptors { came: came.len(), named: counts.iter().sum::<usize>() + 1 };
        if wrong.came != wrong.named {
            return Err(wrong);
        }
        let mut came = came.into_iter();
        let [tcp, dns_udp, dns_tcp, dropped, mut owners] =
            counts.map(|count| came.by_ref().take(count).collect::<Vec<_>>());
        let events = came.next().ok_or(wrong)?;
        Ok(Self { open: Open { tcp, dns_udp, dns_tcp, dropped }, events, owners: owners.pop() })
    }
}

/// The tasks and threads of a serving proxy; they end with this.
#[expect(dead_code, reason = "held for its end")]
pub(crate) struct Listening {
    tasks: JoinSet<()>,
    workers: DropGuard,
}

impl Listening {
    /// Serves everything that was handed over; `ended` is rung when one of the sockets is served no more.
    pub(crate) fn begin(open: Open, proxy: &Arc<Proxy>, ended: &Arc<Notify>) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let places = Arc::new(Semaphore::new(limits::connections(getrlimit(Resource::Nofile).current)));
        let origin: Arc<dyn Origin> = Arc::new(KernelOrigin);
        let workers = CancellationToken::new();
        for _ in 1..worker_count() {
            let sockets = open.tcp.iter().map(OwnedFd::try_clone).collect::<io::Result<_>>()?;
            let captured = Captured { sockets, origin: origin.clone(), places: places.clone() };
            captured.serve_in_thread(proxy, ended, workers.clone())?;
        }
        Captured { sockets: open.tcp, origin, places }.serve(proxy, ended, &mut tasks)?;
        for socket in open.dns_udp {
            tasks.spawn(until_end(dns::server::serve_udp(udp(socket)?, proxy.clone()), ended));
        }
        for socket in open.dns_tcp {
            tasks.spawn(until_end(dns::server::serve_tcp(tcp(socket)?, proxy.clone()), ended));
        }
        for socket in open.dropped {
            let serving = dropped::serve(socket, proxy.clone());
            tasks.spawn(async move { drop(serving.await) });
        }
        let events = proxy.events.clone();
        tasks.spawn(async move { events.write_deferred().await });
        let spend = proxy.spend.clone();
        tasks.spawn(async move { spend.write_so_far().await });
        Ok(Self { tasks, workers: workers.drop_guard() })
    }
}

/// So many threads serve captured connections. Each accepts for itself, and what it accepted stays with it, as do
/// the connections to servers: nothing wakes across threads.
fn worker_count() -> usize {
    std::thread::available_parallelism().map_or(1, |cores| cores.get().min(limits::WORKERS))
}

/// Where captured connections arrive.
struct Captured {
    sockets: Vec<OwnedFd>,
    origin: Arc<dyn Origin>,
    places: Arc<Semaphore>,
}

impl Captured {
    fn serve(self, proxy: &Arc<Proxy>, ended: &Arc<Notify>, tasks: &mut JoinSet<()>) -> io::Result<()> {
        for socket in self.sockets {
            let (origin, places) = (self.origin.clone(), self.places.clone());
            tasks.spawn(until_end(capture::serve(tcp(socket)?, proxy.clone(), origin, places), ended));
        }
        Ok(())
    }

    /// The same in a thread of its own, until `over`.
    fn serve_in_thread(
        self,
        proxy: &Arc<Proxy>,
        ended: &Arc<Notify>,
        over: CancellationToken,
    ) -> io::Result<()> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
        let (proxy, ended) = (proxy.clone(), ended.clone());
        let work = move || {
            runtime.block_on(async move {
                let mut tasks = JoinSet::new();
                match self.serve(&proxy, &ended, &mut tasks) {
                    Ok(()) => over.cancelled().await,
                    Err(_) => ended.notify_one(),
                }
            });
        };
        std::thread::Builder::new().name("chiton-worker".to_owned()).spawn(work).map(drop)
    }
}

/// Rings when it is dropped, by an end or a panic alike.
struct Bell(Arc<Notify>);

impl Drop for Bell {
    fn drop(&mut self) {
        self.0.notify_one();
    }
}

fn until_end<S>(serving: S, ended: &Arc<Notify>) -> impl Future<Output = ()> + use<S>
where
    S: Future<Output = io::Result<()>>,
{
    let bell = Bell(ended.clone());
    async move {
        let _bell = bell;
        let _ = serving.await;
    }
}

fn tcp(socket: OwnedFd) -> io::Result<TcpListener> {
    let socket = std::net::TcpListener::from(socket);
    socket.set_nonblocking(true)?;
    TcpListener::from_std(socket)
}

fn udp(socket: OwnedFd) -> io::Result<UdpSocket> {
    let socket = std::net::UdpSocket::from(socket);
    socket.set_nonblocking(true)?;
    UdpSocket::from_std(socket)
}
