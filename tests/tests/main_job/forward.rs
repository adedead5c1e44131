//! `[upstream] proxy`: tinyproxy, a program of its own, is the one way out, and asks for a password. Behind it another
//! proxy leads from addresses that exist nowhere to the servers of the test: what would go beside it arrives nowhere.

use std::{
    fs,
    io::{Read, Write},
    net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener, UdpSocket},
    path::Path,
    process::Command,
    thread,
};

use chiton_testkit::{
    Forward, ForwardProxy, Upstream,
    routes::{self, Router, git},
};
use chiton_tests::{As, Outcome, World};

use super::{server::Server, tcp::redis};

const PASSWORD: &str = "hunter2-hunter2";
const WEB: &str = "203.0.113.9:443";
const PLAIN: &str = "203.0.113.9:80";
const REDIS: &str = "203.0.113.9:6379";

/// A company's network, as far as one process can have one.
struct Company {
    folder: tempfile::TempDir,
    tinyproxy: Server,
    beyond: ForwardProxy,
}

impl Company {
    fn new(places: &[(&str, SocketAddr)]) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let beyond = ForwardProxy::start(&Forward { places: places.to_vec(), ..Forward::default() });
        let (log, config) = (folder.path().join("log"), folder.path().join("tinyproxy.conf"));
        let tinyproxy = Server::start(|port| {
            let text = format!(
                "Port {port}\nListen 127.0.0.1\nTimeout 60\nMaxClients 50\nLogLevel Connect\nLogFile \"{}\"\n\
                 BasicAuth agent {PASSWORD}\nUpstream http {}\n",
                log.display(),
                beyond.address()
            );
            fs::write(&config, text).expect("its configuration");
            let mut command = Command::new("tinyproxy");
            command.arg("-d").arg("-c").arg(&config);
            command
        });
        Self { folder, tinyproxy, beyond }
    }

    /// The lines of `[upstream]`, with more of them.
    fn settings(&self, more: &str) -> String {
        let at = self.tinyproxy.1;
        format!("proxy = \"http://{at}\"\nproxy_credential = \"local://corp-proxy\"\n{more}")
    }

    /// What tinyproxy was asked for.
    fn log(&self) -> Vec<String> {
        let text = fs::read_to_string(self.folder.path().join("log")).expect("its log");
        let asked = text.lines().filter_map(|line| line.split("): CONNECT ").nth(1));
        asked.filter_map(|asked| asked.strip_suffix(" HTTP/1.1")).map(str::to_owned).collect()
    }
}

fn repository(root: &Path) {
    let script = "set -e; git init -q --bare -b main octocat/hello.git; git init -q -b main work; cd work; \
        echo hello > README; git add README; \
        git -c user.name=t -c user.email=t@example.com commit -qm first; git push -q ../octocat/hello.git main";
    let made = Command::new("sh").args(["-c", script]).current_dir(root).status().expect("sh");
    assert!(made.success());
}

const POLICY: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
    dynamic: {network: {http: [{host: api.example.com, websocket: true}, \
    {host: plain.example.com, scheme: http}, {host: github.com, methods: [GET, POST]}], \
    tcp: [{host: cache.example.com, ports: [6379]}]}}\n";

/// Names lead to where only the company's proxy leads.
fn world(user: As, router: Router) -> World {
    let mut world = World::new(user, &["api.example.com", "github.com"], router);
    for (name, at) in [
        ("api.example.com:443", WEB),
        ("github.com:443", WEB),
        ("plain.example.com:80", PLAIN),
        ("cache.example.com:6379", REDIS),
    ] {
        world.chiton.resolve(name, at.parse().expect("an address"));
    }
    world.chiton.secret("corp-proxy", &format!("agent:{PASSWORD}"));
    world
}

fn everything(user: As) {
    let root = tempfile::tempdir().expect("a folder");
    repository(root.path());
    let served = root.path().to_owned();
    let router = Router::new()
        .any("/octocat", move |received| git::answer_request(served.clone(), received))
        .any("/ws", routes::websocket::answer_request)
        .any("/", routes::echo::answer_request);
    let mut world = world(user, router);
    let plain = Upstream::plain(Router::echo());
    let cache = redis(root.path());
    let company =
        Company::new(&[(WEB, world.upstream.address()), (PLAIN, plain.address()), (REDIS, cache.1)]);
    world.chiton.upstream(&company.settings(""));
    let script = "code='%{http_code} %{http_version}\\n'; \
        curl -sS -o out -w \"$code\" https://api.example.com/a; \
        curl -sS -o out2 -w \"$code\" http://plain.example.com/b; \
        git clone -q https://github.com/octocat/hello.git; cat hello/README; \
        redis-cli -h cache.example.com set key value; redis-cli -h cache.example.com get key; \
        curl -s -m 3 --http1.1 -o /dev/null -w '%{http_code}\\n' -H 'connection: upgrade' -H 'upgrade: websocket' \
        -H 'sec-websocket-version: 13' -H 'sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==' \
        https://api.example.com/ws; cat out out2";
    let outcome = world.sh(POLICY, script);
    assert!(outcome.stdout.starts_with("200 2\n200 1.1\nhello\nOK\nvalue\n101\n"), "{outcome:?}");
    let log = company.log();
    for place in [WEB, PLAIN, REDIS] {
        assert!(log.iter().any(|asked| asked == place), "{log:?}");
    }
    assert_eq!(log.len(), company.beyond.asked().len(), "{log:?}");
    let seen = [world.upstream.requests(), plain.requests()].concat();
    assert!(seen.iter().all(|seen| !seen.contains("proxy-authorization") && !seen.contains(PASSWORD)));
    nothing_of_the_password(&world, &outcome);
    let resolved = world.chiton.audit(&["--layer", "credential"]);
    assert!(resolved.iter().any(|event| event["rule"] == "local://corp-proxy"), "{resolved:#?}");
}

fn nothing_of_the_password(world: &World, outcome: &Outcome) {
    use base64::{Engine as _, engine::general_purpose::STANDARD};
    let events = format!("{:?}", world.chiton.audit(&[]));
    let said = [&outcome.stdout, &outcome.stderr, &events];
    for needle in [PASSWORD.to_owned(), STANDARD.encode(format!("agent:{PASSWORD}"))] {
        assert!(said.iter().all(|text| !text.contains(&needle)), "{outcome:?}");
        assert_eq!(world.chiton.files_holding(needle.as_bytes()), Vec::<std::path::PathBuf>::new());
    }
}

#[test]
fn everything_goes_through_the_forward_proxy_as_an_ordinary_user() {
    everything(As::User);
}

#[test]
fn everything_goes_through_the_forward_proxy_as_root() {
    everything(As::Root);
}

const ASK: &str = "curl -sS -w '\\n%{http_code} %header{x-chiton-denied}\\n' https://api.example.com/; \
    redis-cli -h cache.example.com ping || echo reset";

/// A wrong password, then no proxy at all: each is said in a line, and nothing leaves beside it.
#[test]
fn a_forward_proxy_that_refuses_or_is_gone() {
    let mut world = world(As::User, Router::echo());
    let company = Company::new(&[(WEB, world.upstream.address())]);
    world.chiton.upstream(&company.settings(""));
    world.chiton.secret("corp-proxy", "agent:something-else");
    let outcome = world.sh(POLICY, ASK);
    assert!(outcome.stdout.contains("502 upstream_proxy\n"), "{outcome:?}");
    assert!(outcome.stdout.contains("it refuses the credential (401) that"), "{outcome:?}");
    assert!(outcome.stdout.ends_with("reset\n") && !outcome.stdout.contains("tinyproxy"), "{outcome:?}");
    let denied = world.chiton.audit(&["--reason", "upstream_proxy"]);
    assert_eq!(denied.len(), 2, "{denied:#?}");
    assert!(denied.iter().all(|event| event["response"]["status"] == 401), "{denied:#?}");

    // Without a credential, then for a place beyond that it does not know.
    let at = company.tinyproxy.1;
    world.chiton.upstream(&format!("proxy = \"http://{at}\"\n"));
    let outcome = world.sh(POLICY, ASK);
    assert!(outcome.stdout.contains("(407), and `[upstream] proxy_credential`"), "{outcome:?}");
    world.chiton.secret("corp-proxy", &format!("agent:{PASSWORD}"));
    world.chiton.upstream(&company.settings(""));
    assert_eq!(company.beyond.asked(), Vec::<String>::new());
    let outcome = world.sh(POLICY, ASK);
    assert!(outcome.stdout.contains("\n200 \n") && outcome.stdout.ends_with("reset\n"), "{outcome:?}");
    assert_eq!(company.beyond.asked(), [WEB, REDIS]);

    let settings = company.settings("");
    drop(company);
    world.chiton.upstream(&settings);
    let outcome = world.sh(POLICY, ASK);
    assert!(outcome.stdout.contains("502 upstream_proxy\n"), "{outcome:?}");
    assert!(outcome.stdout.contains("cannot connect to it at 127.0.0.1"), "{outcome:?}");
    assert_eq!(world.upstream.log().connections(), 1);
}

/// This machine's own address, which is not loopback: the only place that an exception can lead to in a test.
fn own_address() -> Ipv4Addr {
    let socket = UdpSocket::bind("0.0.0.0:0").expect("a socket");
    socket.connect("192.0.2.1:9").expect("component missing: a network interface beside loopback");
    match socket.local_addr().expect("its address").ip() {
        IpAddr::V4(address) if !address.is_loopback() => address,
        address => panic!("component missing: a network interface beside loopback ({address})"),
    }
}

#[test]
fn exceptions_of_the_forward_proxy_go_directly() {
    let mut world = world(As::User, Router::echo());
    let company = Company::new(&[]);
    let server = TcpListener::bind((own_address(), 0)).expect("a port");
    let at = server.local_addr().expect("its address");
    thread::spawn(move || {
        for mut stream in server.incoming().flatten() {
            let _ = stream.read(&mut [0; 1024]);
            let _ = stream
                .write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 7\r\nconnection: close\r\n\r\ndirect\n");
        }
    });
    for name in ["one.example.com", "a.corp.example.com", "other.example.com"] {
        world.chiton.resolve(&format!("{name}:80"), at);
    }
    let policy = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
        dynamic: {network: {http: [{host: '**.example.com', scheme: http}]}}\n";
    let script = "for host in one.example.com a.corp.example.com other.example.com; do \
        curl -sS http://$host/ | grep -o -e '^direct' -e upstream_proxy | head -1; done";
    let exceptions = "no_proxy = [\"one.example.com\", \".corp.example.com\"]\n";
    for (exceptions, said) in [
        (exceptions.to_owned(), "direct\ndirect\nupstream_proxy\n"),
        (format!("no_proxy = [\"{}/32\"]\n", at.ip()), "direct\ndirect\ndirect\n"),
    ] {
        world.chiton.upstream(&company.settings(&exceptions));
        let outcome = world.sh(policy, script).expect_success();
        assert_eq!(outcome.stdout, said, "{outcome:?}");
        assert_eq!(company.log(), [at.to_string()], "the one that is no exception");
    }
}

/// No name of these can be resolved on this machine: the proxy is told names, and inside everything is as ever.
#[test]
fn a_forward_proxy_that_resolves_names() {
    let mut world = World::new(As::User, &[], Router::echo());
    world.upstream = Upstream::tls(&world.ca, &["api.example.com", "git.corp"], Router::echo());
    let at = world.upstream.address();
    world.chiton.secret("corp-proxy", &format!("agent:{PASSWORD}"));
    let company = Company::new(&[("api.example.com:443", at), ("git.corp:443", at), ("localhost:443", at)]);
    world.chiton.upstream(&company.settings("proxy_resolves = true\n"));
    let policy = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
        dynamic: {network: {http: [{host: api.example.com}, {host: git.corp, private_addresses: true}, \
        {host: wiki.corp}, {host: metadata.google.internal, private_addresses: true}, \
        {host: pinned.example.com, allowed_addresses: [203.0.113.0/24]}]}}\n";
    let script = "for host in api.example.com git.corp wiki.corp metadata.google.internal pinned.example.com; do \
        curl -sS -o /dev/null -w '%{http_code} %header{x-chiton-denied}\\n' https://$host/; done";
    let outcome = world.sh(policy, script).expect_success();
    let refused = "403 private_address\n".repeat(3);
    assert_eq!(outcome.stdout, format!("200 \n200 \n{refused}"), "{outcome:?}");
    assert_eq!(company.log(), ["api.example.com:443", "git.corp:443"]);
}

/// What cannot be used is refused before a sandbox exists, in a line that says what and why.
#[test]
fn a_forward_proxy_that_cannot_be_used_stops_the_start() {
    let mut world = world(As::User, Router::echo());
    world.chiton.secret("no-user", "only-a-password");
    let _ = world
        .chiton
        .run_with(&["secret", "set", "elsewhere", "--host", "other.example"], "agent:12345678")
        .expect_success();
    let proxy = "proxy = \"http://proxy.example:3128\"\n";
    for (settings, said) in [
        ("proxy = \"http://me:hunter2-hunter2@proxy.example:3128\"".to_owned(), "line 3"),
        ("no_proxy = [\"a.example\"]".to_owned(), "`[upstream] no_proxy` stands there without `proxy`"),
        (format!("{proxy}no_proxy = [\"*\"]"), "leave `proxy` out"),
        (format!("{proxy}proxy_credential = \"local://nobody\""), "nobody"),
        (format!("{proxy}proxy_credential = \"local://no-user\""), "is not of the form `user:password`"),
        (
            format!("{proxy}proxy_credential = \"local://elsewhere\""),
            "may not go to the proxy `proxy.example`",
        ),
        (format!("{proxy}proxy_credential = \"vault://a/b#c\""), "not supported yet"),
    ] {
        world.chiton.upstream(&settings);
        let outcome = world.sh(POLICY, "echo started");
        assert_eq!(outcome.status, 125, "{settings}: {outcome:?}");
        assert!(
            outcome.stderr.contains(said) && !outcome.stderr.contains("hunter2"),
            "{settings}: {outcome:?}"
        );
        assert_eq!(outcome.stdout, "", "{outcome:?}");
    }
}
