//! The sockets that were made inside the sandbox's network namespace, and the tasks that serve them.

use std::{io, os::fd::OwnedFd, sync::Arc};

use chiton_api::control::Listeners;
use rustix::process::{Resource, getrlimit};
use tokio::{
    net::{TcpListener, UdpSocket},
    sync::Notify,
    task::JoinSet,
};

use crate::{
    capture::{self, KernelOrigin, Origin},
    dns, dropped, limits,
    state::Proxy,
    workers::Workers,
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

/// The tasks of a serving proxy, which end with this, as do the threads that they gave connections to.
pub(crate) struct Listening(#[expect(dead_code, reason = "held for its end")] JoinSet<()>);

impl Listening {
    /// Serves everything that was handed over; `ended` is rung when one of the sockets is served no more.
    pub(crate) fn begin(open: Open, proxy: &Arc<Proxy>, ended: &Arc<Notify>) -> io::Result<Self> {
        let mut tasks = JoinSet::new();
        let origin: Arc<dyn Origin> = Arc::new(KernelOrigin);
        let workers = Workers::new(limits::connections(getrlimit(Resource::Nofile).current));
        for socket in open.tcp {
            let (origin, workers) = (origin.clone(), workers.clone());
            tasks.spawn(until_end(capture::serve(tcp(socket)?, proxy.clone(), origin, workers), ended));
        }
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
        Ok(Self(tasks))
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
