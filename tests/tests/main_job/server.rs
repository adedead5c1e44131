//! Servers that are programs of their own, on loopback.

use std::{
    net::{SocketAddr, TcpListener, TcpStream},
    process::{Child, Command, Stdio},
    time::{Duration, Instant},
};

use chiton_testkit::soon;

/// A server that is a program of its own; it ends with this.
pub(crate) struct Server(pub(super) Child, pub(super) SocketAddr);

impl Server {
    pub(crate) fn start(command: impl FnOnce(u16) -> Command) -> Self {
        let at = TcpListener::bind("127.0.0.1:0").and_then(|free| free.local_addr()).expect("a port");
        let mut command = command(at.port());
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().expect("the server");
        let began = Instant::now();
        while TcpStream::connect(at).is_err() {
            assert!(began.elapsed() < Duration::from_secs(20), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Self(child, at)
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// Waits until it is so.
pub(crate) fn until(is: impl Fn() -> bool) {
    assert!(soon(Duration::from_secs(30), is), "it does not come");
}
