//! The network that an engine of the test's own gives to its containers: a bridge in the engine's namespace, which leads
//! nowhere else. A server of the test, on the machine's loopback, is reached by a thread that listens there.

use std::{
    fs::File,
    io,
    net::{Ipv4Addr, Shutdown, SocketAddr, SocketAddrV4, TcpListener, TcpStream},
    os::fd::AsFd,
    path::Path,
    sync::mpsc,
    thread,
};

use rustix::thread::{LinkNameSpaceType, move_into_link_name_space};

/// The bridge's address.
const ADDRESS: Ipv4Addr = Ipv4Addr::new(172, 31, 77, 1);
/// What Docker is told.
pub(super) const OWN: &[&str] = &["--bip=172.31.77.1/24", "--ip-masq=false"];

/// Listens in a network namespace, and passes connections on to a server of this one.
pub(super) fn lead(namespace: &Path, server: SocketAddr) -> SocketAddr {
    let namespace = File::open(namespace).expect("the engine's network");
    let (told, address) = mpsc::channel();
    let (accepted, arrived) = mpsc::channel();
    thread::spawn(move || {
        move_into_link_name_space(namespace.as_fd(), Some(LinkNameSpaceType::Network))
            .expect("root's rights");
        let listener = TcpListener::bind(SocketAddrV4::new(ADDRESS, 0)).expect("the bridge's address");
        told.send(listener.local_addr().expect("its address")).expect("the test");
        // A socket stays in the namespace that it was made in; the other one is made in this machine's.
        while let Ok((connection, _)) = listener.accept() {
            if accepted.send(connection).is_err() {
                return;
            }
        }
    });
    thread::spawn(move || {
        while let Ok(connection) = arrived.recv() {
            if let Ok(to) = TcpStream::connect(server) {
                pass(&connection, &to);
                pass(&to, &connection);
            }
        }
    });
    address.recv().expect("a listener in the engine's network")
}

fn pass(from: &TcpStream, to: &TcpStream) {
    let (mut from, mut to) = (from.try_clone().expect("a handle"), to.try_clone().expect("a handle"));
    thread::spawn(move || {
        let _ = io::copy(&mut from, &mut to);
        let _ = to.shutdown(Shutdown::Write);
    });
}
