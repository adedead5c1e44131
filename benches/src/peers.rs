//! The proxy beside what else could stand there, in one run: the direct connection as the floor, and nginx as a
//! reverse proxy that ends TLS, judges host, method and path, and speaks TLS to the server. The client is `wrk`, the
//! server another nginx. Both and `wrk` come from the system's packages.

use std::{
    fs,
    net::{SocketAddr, TcpListener, TcpStream},
    path::{Path, PathBuf},
    process::{Child, Command, Stdio},
    time::Duration,
};

use chiton_testkit::{Chiton, TestCa};

use crate::sandbox::{POLICY, user};

const NAME: &str = "bench.example";

/// A way to the server.
enum Way<'a> {
    /// An address, from outside of any sandbox.
    Plain(SocketAddr),
    /// Through the proxy, from inside of one.
    Sandbox(&'a Chiton, PathBuf),
}

pub fn peers() {
    for program in ["nginx", "wrk"] {
        assert!(
            Command::new(program).arg("-v").output().is_ok(),
            "`{program}` is needed: install its package"
        );
    }
    let ca = TestCa::new();
    let mut chiton = Chiton::new(user());
    let (server, nginx) = (free(), free());
    let folder = chiton.path("nginx");
    prepare(&folder, &ca);
    let _server = Nginx::start(&folder, "server", &server_config(server));
    let _nginx = Nginx::start(&folder, "proxy", &proxy_config(nginx, server));
    chiton.trust(&ca).resolve(&format!("{NAME}:443"), server);
    let policy = chiton.policy(POLICY);
    let ways = [
        ("direct", Way::Plain(server)),
        ("nginx", Way::Plain(nginx)),
        ("chiton", Way::Sandbox(&chiton, policy)),
    ];
    println!(
        "{:<10}{:>12}{:>14}{:>14}{:>16}{:>16}",
        "", "requests/s", "median 1 conn", "p99 1 conn", "new TLS conns/s", "100 MiB, MB/s"
    );
    // Three rounds of all of them, so that a machine whose speed drifts favours nobody.
    for _ in 0..3 {
        for (name, way) in &ways {
            let many = way.wrk(&["-t1", "-c32", "-d4s"], "/small");
            let one = way.wrk(&["-t1", "-c1", "-d2s", "--latency"], "/small");
            let fresh = way.wrk(&["-t1", "-c16", "-d3s", "-H", "Connection: close"], "/small");
            let large = way.wrk(&["-t1", "-c1", "-d4s", "--timeout", "20s"], "/large");
            println!(
                "{name:<10}{:>12}{:>14}{:>14}{:>16}{:>16}",
                field(&many, "Requests/sec:"),
                field(&one, "50%"),
                field(&one, "99%"),
                field(&fresh, "Requests/sec:"),
                field(&large, "Transfer/sec:"),
            );
        }
    }
}

impl Way<'_> {
    fn wrk(&self, options: &[&str], path: &str) -> String {
        match self {
            Way::Plain(address) => {
                let host = format!("Host: {NAME}");
                let url = format!("https://{address}{path}");
                let output = Command::new("wrk").args(options).args(["-H", &host, &url]).output();
                String::from_utf8_lossy(&output.expect("wrk").stdout).into_owned()
            }
            Way::Sandbox(chiton, policy) => {
                let url = format!("https://{NAME}{path}");
                let arguments: Vec<&str> = ["wrk"].iter().chain(options).copied().chain([&*url]).collect();
                chiton.sandboxed(policy, &arguments).expect_success().stdout
            }
        }
    }
}

/// The word after a label of wrk's report. Errors that it counts are part of the figure.
fn field(report: &str, label: &str) -> String {
    let value = report.split_whitespace().skip_while(|word| *word != label).nth(1);
    let value = value.unwrap_or_else(|| panic!("no {label} in {report}"));
    let failed = report.contains("Non-2xx") || report.contains("Socket errors");
    format!("{value}{}", if failed { " (errors)" } else { "" })
}

fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn prepare(folder: &Path, ca: &TestCa) {
    let files = folder.join("files");
    fs::create_dir_all(&files).expect("a folder");
    let (certificate, key) = ca.leaf_pem(&[NAME]);
    fs::write(folder.join("leaf.pem"), certificate).expect("a file");
    fs::write(folder.join("key.pem"), key).expect("a file");
    ca.write(&folder.join("ca.pem"));
    fs::write(files.join("small"), vec![b'x'; 1 << 10]).expect("a file");
    fs::write(files.join("large"), vec![b'x'; 100 << 20]).expect("a file");
}

/// A running nginx; it ends with this.
struct Nginx(Child);

impl Nginx {
    fn start(folder: &Path, name: &str, servers: &(SocketAddr, String)) -> Self {
        let (address, servers) = servers;
        let config = folder.join(format!("{name}.conf"));
        let at = folder.display();
        let text = format!(
            "daemon off; worker_processes auto; pid {at}/{name}.pid; error_log {at}/{name}.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n access_log {at}/{name}.access;\n keepalive_requests 1000000000;\n\
             sendfile on; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             ssl_certificate {at}/leaf.pem; ssl_certificate_key {at}/key.pem;\n{}}}\n",
            servers.replace("FOLDER", &at.to_string())
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&config).args(["-e", "stderr"]).stdout(Stdio::null()).stderr(Stdio::null());
        let child = command.spawn().expect("nginx");
        let began = std::time::Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(10), "nginx does not listen");
            std::thread::yield_now();
        }
        Self(child)
    }
}

impl Drop for Nginx {
    fn drop(&mut self) {
        // The master ends its workers on SIGTERM only.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn server_config(at: SocketAddr) -> (SocketAddr, String) {
    (at, format!(" access_log off;\n server {{ listen {at} ssl; root FOLDER/files; }}\n"))
}

fn proxy_config(at: SocketAddr, server: SocketAddr) -> (SocketAddr, String) {
    let text = format!(
        " upstream behind {{ server {server}; keepalive 64; }}\n server {{ listen {at} ssl; server_name {NAME};\n\
         location / {{ limit_except GET {{ deny all; }}\n proxy_pass https://behind; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host {NAME}; proxy_ssl_name {NAME};\n\
         proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate FOLDER/ca.pem;\n\
         proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; }} }}\n"
    );
    (at, text)
}
