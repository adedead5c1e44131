//! How late the first event of a stream reaches who asked for it: through a model route, with limits and without, and
//! directly. The server of this bench writes the moment into the event, by the monotonic clock that all processes of a
//! machine share; the client, inside, looks at the same clock when it has the event's first byte, and when it has all of
//! it.

use std::{
    fs,
    io::{ErrorKind, Read, Write},
    net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream},
    os::unix::fs::PermissionsExt,
    path::Path,
    process::{Command, ExitCode},
    sync::Arc,
    thread,
    time::Duration,
};

use chiton_testkit::{Chiton, TestCa};
use rustix::time::{ClockId, clock_gettime};
use rustls::{ServerConfig, ServerConnection, StreamOwned};

use crate::{
    client::{Stream, connect},
    models::{HOST, KEY, LIMITS, route},
    sandbox::user,
};

/// Streams of one run, one after the other on one connection.
const COUNT: usize = 400;
/// What a model thinks before it speaks; it leaves everybody time to come to rest.
const PAUSE: Duration = Duration::from_millis(3);
const BODY: &str =
    r#"{"model":"gpt-bench","max_tokens":64,"stream":true,"messages":[{"role":"user","content":"hello"}]}"#;
const HEAD: &str = "HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\ntransfer-encoding: chunked\r\n\r\n";
const LAST: &str = "data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench\",\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n\
    data: {\"id\":\"chatcmpl-1\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench\",\"choices\":[],\"usage\":{\"prompt_tokens\":11,\"completion_tokens\":7,\"total_tokens\":18}}\n\n\
    data: [DONE]\n\n";

pub fn streams() {
    let ca = TestCa::new();
    let server = serve(ca.server_config(&[HOST], &["http/1.1"]));
    let mut chiton = Chiton::new(user());
    chiton.trust(&ca).resolve(&format!("{HOST}:443"), server);
    chiton.secret("key", KEY);
    let own = fs::read(std::env::current_exe().expect("itself")).expect("itself");
    let client = chiton.write_workspace("client", own);
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).expect("mode");
    let pem = chiton.path("bench-ca.pem");
    ca.write(&pem);
    let ways = [("route", route("")), ("route, limits", route(LIMITS))];
    println!(
        "{:<16}{:>18}{:>12}{:>18}{:>12}",
        "stream", "first byte, median", "p99", "first event, median", "p99"
    );
    for _ in 0..3 {
        show("direct", &direct(&client, &pem, server));
        for (name, policy) in &ways {
            let policy = chiton.write(&format!("{name}.yaml"), policy);
            let (address, count) = (format!("{HOST}:443"), COUNT.to_string());
            let arguments = ["/workspace/client", "streams-client", &address, HOST, &count];
            show(name, &chiton.sandboxed(&policy, &arguments).expect_success().stdout);
        }
    }
}

fn direct(client: &Path, pem: &Path, server: SocketAddr) -> String {
    let mut command = Command::new(client);
    command.args(["streams-client", &server.to_string(), HOST, &COUNT.to_string()]);
    let output = command.env("SSL_CERT_FILE", pem).output().expect("the client");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

fn show(name: &str, printed: &str) {
    let numbers = printed.split_whitespace().map(|number| number.parse().expect("a number"));
    let times: Vec<String> = numbers.map(|nanos| format!("{:.1?}", Duration::from_nanos(nanos))).collect();
    let [byte, byte_p99, event, event_p99] = times.as_slice() else { panic!("no figures: {printed:?}") };
    println!("{name:<16}{byte:>18}{byte_p99:>12}{event:>19}{event_p99:>12}");
}

/// `streams-client ADDRESS NAME COUNT`: prints median and 99th percentile of the first byte's delay, then of the whole
/// first event's, in nanoseconds.
pub fn client(arguments: &[String]) -> ExitCode {
    let [address, name, count] = arguments else { return ExitCode::from(2) };
    let count: usize = count.parse().expect("a count");
    let mut stream = connect(address, name);
    let request = format!(
        "POST /v1/chat/completions HTTP/1.1\r\nHost: {name}\r\nContent-Type: application/json\r\n\
         Authorization: Bearer sk-mine-0123456789\r\nContent-Length: {}\r\n\r\n{BODY}",
        BODY.len()
    );
    let mut delays: [Vec<u64>; 2] = Default::default();
    for _ in 0..count {
        stream.write_all(request.as_bytes()).expect("a request");
        let (wrote, byte, event) = answer(&mut stream);
        for (delays, read) in delays.iter_mut().zip([byte, event]) {
            delays.push(read.saturating_sub(wrote));
        }
    }
    for delays in &mut delays {
        delays.sort_unstable();
        let at = |share: usize| delays[(delays.len() - 1) * share / 100];
        print!("{} {} ", at(50), at(99));
    }
    println!();
    ExitCode::SUCCESS
}

/// Reads one answer to its end: when the first event was written, when its first byte was there, and when all of it.
fn answer(stream: &mut Stream) -> (u64, u64, u64) {
    let (mut came, mut buffer) = (Vec::new(), [0; 16 << 10]);
    let (mut byte, mut event) = (None, None);
    loop {
        let read = stream.read(&mut buffer).expect("a response");
        let now = now();
        assert!(read > 0, "the connection ended");
        came.extend_from_slice(&buffer[..read]);
        let Some(end) = came.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
        assert!(came.starts_with(b"HTTP/1.1 200"), "{}", String::from_utf8_lossy(&came));
        let (body, over) = unchunked(&came[end + 4..]);
        if !body.is_empty() {
            byte = byte.or(Some(now));
        }
        let text = String::from_utf8_lossy(&body);
        if text.contains("\n\n") {
            event = event.or(Some(now));
        }
        if over {
            let wrote = text.split("chatcmpl-").nth(1).and_then(|rest| rest.split('"').next());
            let wrote = wrote.and_then(|wrote| wrote.parse().ok()).expect("the moment");
            return (wrote, byte.expect("a byte"), event.expect("an event"));
        }
    }
}

/// What of a chunked body has come, and whether that is all of it.
fn unchunked(mut raw: &[u8]) -> (Vec<u8>, bool) {
    let mut body = Vec::new();
    while let Some(line) = raw.windows(2).position(|window| window == b"\r\n") {
        let size = std::str::from_utf8(&raw[..line]).expect("a size");
        let size = usize::from_str_radix(size, 16).expect("a size");
        let rest = &raw[line + 2..];
        if size == 0 {
            return (body, rest.len() >= 2);
        }
        body.extend_from_slice(&rest[..size.min(rest.len())]);
        raw = rest.get(size + 2..).unwrap_or_default();
    }
    (body, false)
}

fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    u64::try_from(now.tv_sec).expect("a time") * 1_000_000_000 + u64::try_from(now.tv_nsec).expect("a time")
}

/// Begins the server; it runs as long as the bench.
fn serve(config: Arc<ServerConfig>) -> SocketAddr {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
    let address = listener.local_addr().expect("its address");
    thread::spawn(move || {
        for tcp in listener.incoming().flatten() {
            let config = config.clone();
            thread::spawn(move || {
                tcp.set_nodelay(true).expect("nodelay");
                let tls = ServerConnection::new(config).expect("a server");
                // The client goes when it has enough.
                let _ = converse(StreamOwned::new(tls, tcp));
            });
        }
    });
    address
}

fn converse(mut stream: StreamOwned<ServerConnection, TcpStream>) -> std::io::Result<()> {
    let mut buffer = [0; 16 << 10];
    loop {
        let mut request = Vec::new();
        // The proxy may add to the body, which ends as the object does.
        while !request.ends_with(b"}") {
            let read = stream.read(&mut buffer)?;
            if read == 0 {
                return Err(ErrorKind::UnexpectedEof.into());
            }
            request.extend_from_slice(&buffer[..read]);
        }
        stream.write_all(HEAD.as_bytes())?;
        thread::sleep(PAUSE);
        let event = |now: u64| {
            format!(
                "data: {{\"id\":\"chatcmpl-{now}\",\"object\":\"chat.completion.chunk\",\"created\":1700000000,\"model\":\"gpt-bench\",\"choices\":[{{\"index\":0,\"delta\":{{\"role\":\"assistant\",\"content\":\"Hello\"}},\"finish_reason\":null}}]}}\n\n"
            )
        };
        let first = event(now());
        stream.write_all(format!("{:x}\r\n{first}\r\n", first.len()).as_bytes())?;
        thread::sleep(PAUSE);
        stream.write_all(format!("{:x}\r\n{LAST}\r\n0\r\n\r\n", LAST.len()).as_bytes())?;
    }
}
