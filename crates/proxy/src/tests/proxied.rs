//! Programs that were told to use a proxy: what they ask of it is judged as if they had connected there themselves.

use chiton_testkit::Router;

use super::*;

const POLICY: &str =
    "dynamic: {network: {http: [{host: api.test, paths: [/bytes]}, {host: plain.test, scheme: http}]}}";

struct World {
    bench: Bench,
    tls: Upstream,
    plain: Upstream,
}

fn world() -> World {
    let ca = TestCa::new();
    let tls = Upstream::tls(&ca, &["api.test", "other.test"], Router::echo());
    let plain = Upstream::plain(Router::echo());
    let resolve = vec![("api.test:443", tls.address()), ("plain.test:80", plain.address())];
    let bench =
        Bench::new(Setup { policy: POLICY, resolve, roots: vec![ca.pem().to_owned()], ..Setup::default() });
    World { bench, tls, plain }
}

impl World {
    /// Asks for a tunnel; the stream, once it is there.
    async fn tunnel(&self, authority: &str) -> TcpStream {
        let mut stream = self.bench.connect("proxy.any", 3128).await;
        let ask = format!(
            "CONNECT {authority} HTTP/1.1\r\nhost: {authority}\r\nproxy-connection: keep-alive\r\n\r\n"
        );
        stream.write_all(ask.as_bytes()).await.unwrap();
        let mut head = [0; 39];
        stream.read_exact(&mut head).await.unwrap();
        assert_eq!(&head, b"HTTP/1.1 200 Connection established\r\n\r\n");
        stream
    }

    async fn tunnel_tls(&self, authority: &str, server_name: &str) -> TlsStream<TcpStream> {
        let stream = self.tunnel(authority).await;
        let name = ServerName::try_from(server_name.to_owned()).unwrap();
        TlsConnector::from(self.bench.client(&["http/1.1"])).connect(name, stream).await.unwrap()
    }

    /// Sends bytes to an address and a port, and reads to the end.
    async fn raw(&self, host: &str, port: u16, bytes: &str) -> String {
        say(&mut self.bench.connect(host, port).await, bytes).await
    }
}

async fn say<S: tokio::io::AsyncRead + tokio::io::AsyncWrite + Unpin>(stream: &mut S, bytes: &str) -> String {
    stream.write_all(bytes.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    let read = stream.read_to_end(&mut answer);
    let _ = tokio::time::timeout(std::time::Duration::from_secs(20), read).await.unwrap();
    String::from_utf8_lossy(&answer).into_owned()
}

fn get(target: &str, host: &str) -> String {
    format!("GET {target} HTTP/1.1\r\nhost: {host}\r\nconnection: close\r\n\r\n")
}

#[tokio::test]
async fn a_tunnel_is_judged_as_what_it_leads_to() {
    let world = world();
    let mut stream = world.tunnel_tls("api.test:443", "api.test").await;
    assert!(say(&mut stream, &get("/bytes?n=3", "api.test")).await.starts_with("HTTP/1.1 200 "));
    let mut stream = world.tunnel_tls("api.test:443", "api.test").await;
    assert!(say(&mut stream, &get("/echo", "api.test")).await.contains("x-chiton-denied: path_not_allowed"));
    // A host that no rule names: TLS all the same, so that the agent can read why.
    let mut stream = world.tunnel_tls("evil.test:443", "evil.test").await;
    assert!(say(&mut stream, &get("/", "evil.test")).await.contains("x-chiton-denied: host_not_allowed"));
    // An address counts as one.
    let mut stream = world.tunnel_tls("192.0.2.7:443", "evil.test").await;
    assert!(
        say(&mut stream, &get("/bytes", "192.0.2.7")).await.contains("x-chiton-denied: ambiguous_request")
    );
    // Neither TLS nor HTTP.
    let mut stream = world.tunnel("api.test:22").await;
    assert_eq!(say(&mut stream, "SSH-2.0-x\r\n").await, "");
    assert_eq!(world.bench.event("connect").await.request.unwrap().host.as_deref(), Some("api.test"));
    assert_eq!(world.tls.requests().len(), 1);
}

#[tokio::test]
async fn the_name_of_the_tunnel_is_the_name_inside() {
    let world = world();
    let mut stream = world.tunnel_tls("api.test:443", "other.test").await;
    for host in ["api.test", "other.test"] {
        let answer = say(&mut stream, &get("/bytes", host)).await;
        assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{host}: {answer}");
        stream = world.tunnel_tls("api.test:443", "other.test").await;
    }
    // Without a server name the tunnel's stands for it.
    let stream = world.tunnel("api.test:443").await;
    let mut config = ClientConfig::clone(&world.bench.client(&["http/1.1"]));
    config.enable_sni = false;
    let name = ServerName::try_from("api.test").unwrap();
    let mut stream = TlsConnector::from(Arc::new(config)).connect(name, stream).await.unwrap();
    assert!(say(&mut stream, &get("/bytes?n=3", "api.test")).await.starts_with("HTTP/1.1 200 "));
    let mut stream = world.tunnel_tls("api.test:443", "api.test").await;
    let answer = say(&mut stream, &get("/bytes", "other.test")).await;
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    assert_eq!(world.tls.requests().len(), 1);
}

#[tokio::test]
async fn a_tunnel_leads_into_no_other() {
    let world = world();
    // With everything in one write, too.
    let nested = "CONNECT plain.test:80 HTTP/1.1\r\nhost: plain.test:80\r\n\r\n";
    let answer = world.raw("proxy.any", 3128, &format!("{nested}{nested}")).await;
    assert!(answer.starts_with("HTTP/1.1 200 Connection established\r\n\r\nHTTP/1.1 403 "), "{answer}");
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    let inside = get("http://evil.test/", "evil.test");
    let answer = world.raw("proxy.any", 3128, &format!("{nested}{inside}")).await;
    assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{answer}");
    let answer = world.raw("proxy.any", 3128, &format!("{nested}{}", get("/bytes?n=2", "plain.test"))).await;
    assert!(answer.contains("\r\n\r\nHTTP/1.1 200 OK"), "{answer}");
    assert_eq!(world.plain.requests().len(), 1);
    // Over TLS there is no proxy.
    let stream = world.bench.connect("proxy.any", 3128).await;
    let name = ServerName::try_from("proxy.any").unwrap();
    let mut stream =
        TlsConnector::from(world.bench.client(&["http/1.1"])).connect(name, stream).await.unwrap();
    assert!(say(&mut stream, nested).await.contains("x-chiton-denied: ambiguous_request"));
}

#[tokio::test]
async fn an_absolute_target_is_judged_as_what_it_names() {
    let world = world();
    let two = "GET http://plain.test/bytes?n=3 HTTP/1.1\r\nhost: plain.test\r\nproxy-connection: keep-alive\r\n\
               proxy-authorization: Basic eDp5\r\n\r\n";
    let answer =
        world.raw("proxy.any", 3128, &format!("{two}{}", get("http://evil.test/x", "evil.test"))).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    assert!(answer.contains("x-chiton-denied: host_not_allowed"), "{answer}");
    let seen = &world.plain.requests()[0];
    assert_eq!((seen.target.as_str(), seen.host.as_str()), ("/bytes?n=3", "plain.test"));
    assert!(seen.header("proxy-authorization").is_none() && seen.header("proxy-connection").is_none());
    for (bytes, reason) in [
        (get("http://api.test/bytes", "api.test"), "scheme_not_allowed"),
        (get("http://plain.test:8080/", "plain.test:8080"), "port_not_allowed"),
        (get("https://api.test/bytes", "api.test"), "ambiguous_request"),
        (get("http://plain.test/", "evil.test"), "ambiguous_request"),
        (get("http://user@plain.test/", "plain.test"), "ambiguous_request"),
        (get("http://plain.test\\@evil.test/", "plain.test"), "ambiguous_request"),
        (get("http://0x7f.1/", "0x7f.1"), "ambiguous_request"),
        (get("/", "proxy.any:3128"), "host_not_allowed"),
    ] {
        let answer = world.raw("proxy.any", 3128, &bytes).await;
        assert!(answer.contains(&format!("x-chiton-denied: {reason}")), "{bytes}: {answer}");
    }
    assert_eq!(world.plain.requests().len(), 1);
}

#[tokio::test]
async fn a_host_that_a_rule_names_is_no_proxy() {
    let world = world();
    let connect = "CONNECT api.test:443 HTTP/1.1\r\nhost: api.test:443\r\n\r\n";
    for (host, port) in [("plain.test", 80), ("api.test", 80), ("plain.test", 3128)] {
        for bytes in
            [&get("http://evil.test/", "evil.test"), &get("http://api.test:81/", "api.test:81"), connect]
        {
            let answer = world.raw(host, port, bytes).await;
            assert!(
                answer.contains("x-chiton-denied: ambiguous_request"),
                "{host}:{port}: {bytes}: {answer}"
            );
        }
    }
    // An address is one, until a rule names it.
    assert!(world.raw("192.0.2.9", 3128, connect).await.starts_with("HTTP/1.1 200 Connection"));
    let named = "dynamic: {network: {http: [{host: 192.0.2.9}]}}";
    world.bench.apply(2, named).await.unwrap();
    assert!(world.raw("192.0.2.9", 3128, connect).await.contains("x-chiton-denied: ambiguous_request"));
}

#[tokio::test]
async fn a_malformed_connect_opens_nothing() {
    let world = world();
    for (target, host, more) in [
        ("api.test", "api.test", ""),
        ("api.test:443", "evil.test:443", ""),
        ("api.test:443", "api.test:444", ""),
        ("user@api.test:443", "api.test:443", ""),
        ("api.test:443/", "api.test:443", ""),
        ("http://api.test:443", "api.test:443", ""),
        ("/api.test:443", "api.test:443", ""),
        ("198.18.200.200:443", "198.18.200.200:443", ""),
        ("2130706433:443", "2130706433:443", ""),
        ("api.test:443", "api.test:443", "content-length: 5\r\n"),
        ("api.test:443", "api.test:443", "host: api.test:443\r\n"),
    ] {
        let bytes = format!("CONNECT {target} HTTP/1.1\r\nhost: {host}\r\n{more}\r\nhello");
        let answer = world.raw("proxy.any", 3128, &bytes).await;
        assert!(answer.contains("x-chiton-denied: ambiguous_request"), "{bytes}: {answer}");
    }
}
