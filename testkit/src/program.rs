//! A server that is a program of its own: a script of Python with a certificate of the test's authority.

use std::{
    io::{BufRead, BufReader},
    net::{Ipv4Addr, SocketAddr},
    path::Path,
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex, PoisonError},
    thread,
    time::{Duration, Instant},
};

use crate::ca::TestCa;

/// A running script. It is killed when dropped.
#[derive(Debug)]
pub struct Program {
    child: Child,
    address: SocketAddr,
    said: Arc<Mutex<String>>,
    _folder: tempfile::TempDir,
}

impl Program {
    /// Starts a script for Python, with packages of this folder, that listens on loopback. It finds `cert.pem` and
    /// `key.pem`, of these names, in its working directory, and prints its port as its first line.
    ///
    /// # Panics
    /// When it does not start.
    #[must_use]
    pub fn python(script: &str, packages: &Path, ca: &TestCa, names: &[&str]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let (cert, key) = ca.leaf_pem(names);
        for (name, text) in [("server.py", script), ("cert.pem", &cert), ("key.pem", &key)] {
            std::fs::write(folder.path().join(name), text).expect("a file of the server");
        }
        let mut child = Command::new("/usr/bin/python3")
            .arg("-u")
            .arg("server.py")
            .current_dir(folder.path())
            .env("PYTHONPATH", packages)
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("python3");
        let mut lines = BufReader::new(child.stdout.take().expect("its output"));
        let mut first = String::new();
        lines.read_line(&mut first).expect("its first line");
        let port = first.trim().parse().unwrap_or_else(|_| panic!("a port as its first line: {first:?}"));
        let said = Arc::new(Mutex::new(String::new()));
        let into = said.clone();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                into.lock().unwrap_or_else(PoisonError::into_inner).push_str(&(line + "\n"));
            }
        });
        Self { child, address: SocketAddr::from((Ipv4Addr::LOCALHOST, port)), said, _folder: folder }
    }

    /// Where it listens.
    #[must_use]
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// What it printed after its first line.
    #[must_use]
    pub fn said(&self) -> String {
        self.said.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// The same, once it holds this.
    ///
    /// # Panics
    /// When it does not come.
    #[must_use]
    pub fn said_once(&self, wanted: &str) -> String {
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let said = self.said();
            if said.contains(wanted) {
                return said;
            }
            assert!(Instant::now() < deadline, "{said:?} does not hold {wanted:?}");
            thread::sleep(Duration::from_millis(10));
        }
    }
}

impl Drop for Program {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
