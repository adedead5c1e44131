//! Whose a TCP connection is: the executable of the thread that asked the kernel to connect.
//!
//! In: every `connect`, while its thread waits for the answer and can be no other program's; later a question with
//! the connection's two ends. Out: the executable, and whether its path says what runs. A connection is known by its
//! socket's cookie, a number that the kernel gives to no other socket; a process's number is never kept.
//!
//! What always holds: a connection that was made by another way than `connect`, one that processes of different
//! executables or nobody at all hold by the time of the question, and one that was asked about before have no owner.

mod diagnosis;
mod file;
mod holders;

use std::{
    collections::{HashMap, VecDeque},
    net::SocketAddr,
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    sync::{Mutex, MutexGuard, PoisonError},
};

use chiton_sys::Result;
use rustix::{
    fs::OFlags,
    net::{AddressFamily, SocketType, sockopt},
};

pub(crate) use file::{Executables, leads_to};
use file::{Seen, fixed_at, judge};
use holders::Socket;

use crate::{calls::interpreter, images::Started, request::Request, shared::Shared};

/// Connections that nobody asked about are kept up to this number, the newest ones.
const MOST: usize = 16 << 10;

/// A connection that was turned to the proxy, by its ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Ends {
    /// The agent's own.
    pub from: SocketAddr,
    /// Where it was going.
    pub to: SocketAddr,
    /// The proxy's, where it was turned to.
    pub at: SocketAddr,
    /// The cookie of the socket that the proxy accepted.
    pub cookie: u64,
}

/// Whose a connection is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// The executable, in the view, symlinks resolved.
    pub executable: PathBuf,
    /// Whether that path says what runs: neither the file nor its name is one that the agent can write.
    pub fixed: bool,
    /// The script that the process was started with, in the view, symlinks resolved: only one that the agent can write
    /// neither by this name nor by another, and only where the process alone holds the connection.
    pub script: Option<PathBuf>,
}

/// A connection that was asked for.
struct Connected {
    socket: Socket,
    executable: Seen,
    started: Option<Started>,
}

/// The connections that were asked for and that nobody asked about yet.
#[derive(Default)]
pub(crate) struct Owners(Mutex<Table>);

#[derive(Default)]
struct Table {
    by_cookie: HashMap<u64, (u64, Connected)>,
    /// In the order of their `connect`, to forget the oldest. An entry that is not the newest of its cookie is stale.
    order: VecDeque<(u64, u64)>,
    last: u64,
}

impl Owners {
    fn table(&self) -> MutexGuard<'_, Table> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Takes down who connects, before it is done. Who cannot be told is forgotten, also from an earlier `connect`
    /// of the same socket.
    pub(crate) fn note(&self, request: &Request<'_>, socket: &OwnedFd) {
        if !is_stream_of_the_internet(socket) {
            return;
        }
        let Ok(cookie) = sockopt::socket_cookie(socket) else { return };
        self.table().set(cookie, connected(request, socket).ok());
    }
}

impl Table {
    fn set(&mut self, cookie: u64, connected: Option<Connected>) {
        let Some(connected) = connected else {
            self.by_cookie.remove(&cookie);
            return;
        };
        self.last = self.last.wrapping_add(1);
        self.by_cookie.insert(cookie, (self.last, connected));
        self.order.push_back((cookie, self.last));
        while self.order.len() > MOST {
            let Some((oldest, number)) = self.order.pop_front() else { break };
            if self.by_cookie.get(&oldest).is_some_and(|(newest, _)| *newest == number) {
                self.by_cookie.remove(&oldest);
            }
        }
    }
}

fn is_stream_of_the_internet(socket: &OwnedFd) -> bool {
    let internet = |family| family == AddressFamily::INET || family == AddressFamily::INET6;
    sockopt::socket_domain(socket).is_ok_and(internet)
        && sockopt::socket_type(socket).is_ok_and(|kind| kind == SocketType::STREAM)
}

/// Reads who asks, and makes sure afterwards that it still waits: until then it has started no other program, for
/// a start ends every other thread of the process, and with it the wait.
fn connected(request: &Request<'_>, socket: &OwnedFd) -> Result<Connected> {
    let executable = Seen::of(&request.shared.judge.own, &request.caller.proc("exe", OFlags::PATH)?)?;
    let socket = Socket::of(socket)?;
    let started = request.shared.images.of(&request.caller);
    request.confirm()?;
    Ok(Connected { socket, executable, started })
}

/// Whose the connection with these ends is. Each is asked about once.
pub(crate) fn owner_of(shared: &Shared, ends: &Ends) -> Option<Owner> {
    let cookie = diagnosis::cookie_of(ends)?;
    let (_, connected) = shared.owners.table().by_cookie.remove(&cookie)?;
    let holders = holders::which_run(shared, connected.socket, connected.executable.identity)?;
    let fixed = judge(shared, &connected.executable);
    let started = connected.started.filter(|started| {
        // Another process of the same executable may run another script.
        holders == [started.inside] && shared.images.is(shared, started)
    });
    let script = started.and_then(|started| script(shared, &started, &connected.executable.path));
    Some(Owner { executable: connected.executable.path, fixed, script })
}

/// The script among the paths that a process was started with: what was executed, where that is not the program itself,
/// or else the program's first argument. The latter does not count where the script's first line has options for its
/// interpreter, which was started without them.
fn script(shared: &Shared, started: &Started, executable: &Path) -> Option<PathBuf> {
    let leads = |path: &Option<PathBuf>| leads_to(&shared.judge.root, path.as_ref()?);
    if let Some(executed) = leads(&started.paths.executed).filter(|file| file != executable) {
        return fixed_at(shared, &executed).is_some().then_some(executed);
    }
    let first = leads(&started.paths.first)?;
    let asks_for_options = interpreter::asks_for_options(&fixed_at(shared, &first)?);
    (!asks_for_options).then_some(first)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::object::Identity;

    fn connected(number: u64) -> Connected {
        let identity = Identity { device: 1, number };
        let executable = Seen { path: "/usr/bin/curl".into(), identity, changed: (0, 0) };
        Connected { socket: Socket { inode: number, mount: 0 }, executable, started: None }
    }

    #[test]
    fn the_oldest_are_forgotten_and_a_second_connect_counts() {
        let mut table = Table::default();
        for cookie in 0..MOST as u64 {
            table.set(cookie, Some(connected(cookie)));
        }
        table.set(0, Some(connected(7)));
        assert_eq!(table.by_cookie.len(), MOST);
        assert_eq!(table.by_cookie[&0].1.socket.inode, 7);
        table.set(MOST as u64, Some(connected(1)));
        assert!(!table.by_cookie.contains_key(&1), "the oldest is the second by now");
        assert!(table.by_cookie.contains_key(&0));
        assert!(table.order.len() <= MOST);
    }

    #[test]
    fn who_cannot_be_told_is_forgotten() {
        let mut table = Table::default();
        table.set(3, Some(connected(3)));
        table.set(3, None);
        assert!(table.by_cookie.is_empty());
    }
}
