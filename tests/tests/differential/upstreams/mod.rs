//! Real servers, each of which tells what it saw: nginx, Node, Python, and hyper over HTTP/1.1 and HTTP/2.

use std::{
    fs,
    io::{BufRead, BufReader},
    net::{SocketAddr, TcpListener},
    os::fd::OwnedFd,
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    sync::{Arc, Mutex},
    thread,
};

use chiton_testkit::{ca::TestCa, routes::Router, server::Upstream};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;
use tempfile::TempDir;

/// The judged part of a request, and how long its body was.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Seen {
    pub method: String,
    pub host: String,
    pub target: String,
    pub body: u64,
}

/// A server under one name.
pub struct Server {
    pub name: &'static str,
    pub address: SocketAddr,
    kind: Kind,
}

enum Kind {
    /// A program that prints lines.
    Printing(Child, Arc<Mutex<Vec<Value>>>),
    /// nginx, and its folder.
    Nginx(Child, TempDir),
    Hyper(Box<Upstream>),
}

/// Every server, with certificates of this authority.
pub fn all(ca: &TestCa) -> Vec<Server> {
    vec![
        nginx(ca, "nginx.example"),
        printing(ca, "node.example", "node", "server.js", include_str!("server.js")),
        printing(ca, "python.example", "/usr/bin/python3", "server.py", include_str!("server.py")),
        hyper(ca, "hyper1.example", Upstream::tls_http1),
        hyper(ca, "hyper2.example", Upstream::tls),
    ]
}

fn hyper(ca: &TestCa, name: &'static str, start: fn(&TestCa, &[&str], Router) -> Upstream) -> Server {
    let upstream = start(ca, &[name], Router::echo());
    Server { name, address: upstream.address(), kind: Kind::Hyper(Box::new(upstream)) }
}

fn folder(ca: &TestCa, name: &str) -> (TempDir, PathBuf, PathBuf) {
    let folder = TempDir::new().expect("a folder");
    let (cert, key) = ca.leaf_pem(&[name]);
    let (cert_path, key_path) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    fs::write(&cert_path, cert).expect("a file");
    fs::write(&key_path, key).expect("a file");
    (folder, cert_path, key_path)
}

fn printing(ca: &TestCa, name: &'static str, program: &str, file: &str, source: &str) -> Server {
    let (folder, cert, key) = folder(ca, name);
    let script = folder.path().join(file);
    fs::write(&script, source).expect("a file");
    let mut command = Command::new(program);
    let child = command.arg(&script).arg(cert).arg(key).stdout(Stdio::piped()).spawn();
    let mut child = child.unwrap_or_else(|error| panic!("component missing: {program}: {error}"));
    let mut lines = BufReader::new(child.stdout.take().expect("a pipe")).lines();
    let json = |line: String| serde_json::from_str::<Value>(&line).expect("a line of JSON");
    let first = json(lines.next().expect("its port").expect("a line"));
    let port = first["port"].as_u64().and_then(|port| port.try_into().ok()).expect("a port");
    let said = Arc::new(Mutex::new(Vec::new()));
    let shared = said.clone();
    thread::spawn(move || {
        // The files have been read by now, and go with the program.
        let _folder = folder;
        for line in lines.map_while(Result::ok) {
            shared.lock().expect("no panic").push(json(line));
        }
    });
    Server { name, address: ([127, 0, 0, 1], port).into(), kind: Kind::Printing(child, said) }
}

fn nginx(ca: &TestCa, name: &'static str) -> Server {
    let (folder, _, _) = folder(ca, name);
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port of the kernel's");
    let address = listener.local_addr().expect("its address");
    let root = folder.path().to_str().expect("UTF-8");
    let config = include_str!("nginx.conf");
    let config = config.replace("ADDRESS", &address.to_string()).replace("FOLDER", root);
    fs::write(folder.path().join("nginx.conf"), config).expect("a file");
    // nginx takes a listening socket over from the program that it replaces: here, as its standard input.
    let mut command = Command::new("nginx");
    command.args(["-p", root, "-c", "nginx.conf", "-e", "error.log"]).env("NGINX", "0;");
    let child = command.stdin(OwnedFd::from(listener)).spawn();
    let child = child.unwrap_or_else(|error| panic!("component missing: nginx (nginx-light): {error}"));
    Server { name, address, kind: Kind::Nginx(child, folder) }
}

fn read(value: &Value) -> Option<Seen> {
    let text = |key: &str| value.get(key)?.as_str().map(str::to_owned);
    let body = value.get("body")?;
    let body = body.as_u64().or_else(|| body.as_str()?.parse().ok()).unwrap_or(0);
    Some(Seen { method: text("method")?, host: text("host")?, target: text("target")?, body })
}

fn lines(path: &Path) -> Vec<String> {
    fs::read_to_string(path).unwrap_or_default().lines().map(str::to_owned).collect()
}

impl Server {
    /// Every request that it saw.
    pub fn seen(&self) -> Vec<Seen> {
        match &self.kind {
            Kind::Printing(_, said) => said.lock().expect("no panic").iter().filter_map(read).collect(),
            Kind::Nginx(_, folder) => {
                let all = lines(&folder.path().join("seen.log"));
                all.iter().filter_map(|line| read(&serde_json::from_str(line).expect("JSON"))).collect()
            }
            Kind::Hyper(upstream) => {
                let seen = upstream.requests().into_iter();
                let body = |seen: &chiton_testkit::log::Seen| seen.body.len() as u64;
                seen.map(|s| Seen { body: body(&s), method: s.method, host: s.host, target: s.target })
                    .collect()
            }
        }
    }

    /// What it was sent and did not take for a request: there should be nothing.
    pub fn refused(&self) -> Vec<String> {
        match &self.kind {
            Kind::Printing(_, said) => {
                let said = said.lock().expect("no panic");
                said.iter().filter_map(|line| line.get("error").map(ToString::to_string)).collect()
            }
            Kind::Nginx(_, folder) => lines(&folder.path().join("refused.log")),
            Kind::Hyper(_) => Vec::new(),
        }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        if let Kind::Printing(child, _) | Kind::Nginx(child, _) = &mut self.kind {
            // nginx ends its worker only when it is asked.
            let _ = kill_process(Pid::from_child(child), Signal::TERM);
            let _ = child.wait();
        }
    }
}
