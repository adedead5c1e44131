//! One stream of HTTP/2, with any fields: a line for each, `name: value`, then an empty line and the body.

use super::{Case, Wanted, Wanted::Either, Wanted::Refused, sent};

const GOOD: &str = ":method: GET\n:scheme: https\n:authority: {host}\n:path: /ok/{id}\n";

fn of(name: &str, lines: &str, wanted: Wanted) -> Case {
    Case { name: format!("HTTP/2: {name}"), bytes: lines.into(), http2: true, answers: 1, wanted }
}

pub fn cases() -> Vec<Case> {
    [paths(), authorities(), fields(), bodies()].concat()
}

fn paths() -> Vec<Case> {
    let tried: &[(&str, Wanted)] = &[
        ("/ok/{id}", sent()),
        ("/ok/{id}?a=b", sent()),
        ("/ok/x/../{id}", sent()),
        ("/ok/%2e/{id}", sent()),
        ("/o%6b/{id}", sent()),
        ("", Refused),
        ("*", Refused),
        ("ok/{id}", Refused),
        ("/admin/{id}", Refused),
        ("//ok/{id}", Refused),
        ("/ok//{id}", Refused),
        ("/ok/..%2fadmin/{id}", Refused),
        ("/ok/../admin/{id}", Refused),
        ("/ok/..\\admin/{id}", Refused),
        ("/ok/{id} HTTP/1.1", Refused),
        ("/ok/{id}\r\nX: y", Refused),
        ("/ok/{id}\r", Refused),
        ("/ok/{id}\0", Refused),
        ("/ok/{id}\t", Refused),
        (" /ok/{id}", Refused),
        ("https://{host}/ok/{id}", Refused),
        ("https://other.example/ok/{id}", Refused),
        ("/ok/{id}#x", Either),
        ("/ok/{id}?a#b", Either),
        ("/ok/{id}?a=\\", Either),
        ("/ok/é{id}", Either),
        ("?a", Refused),
        ("#", Refused),
        ("/ok/{id}%", Refused),
        ("/ok/{id}%00", Refused),
        ("/ok/..;/{id}", Refused),
        ("/ok/{id}|", Either),
        ("/ok/{id}\"", Either),
        ("/ok/{id}/%252e%252e", sent()),
        ("x:/ok/{id}", Refused),
        ("/ok/{id} x", Refused),
    ];
    let one = |(path, wanted): &(&str, Wanted)| {
        let name = format!("path {}", path.escape_debug());
        let marked = path.replace('\n', "\u{1}");
        of(&name, &GOOD.replace("/ok/{id}", &marked), wanted.clone())
    };
    tried.iter().map(one).collect()
}

fn authorities() -> Vec<Case> {
    let tried: &[(&str, Wanted)] = &[
        ("{host}:443", sent()),
        ("{host}.", Either),
        ("{host}:80", Refused),
        ("other.example", Refused),
        ("", Refused),
        ("x@{host}", Refused),
        ("{host}@other.example", Refused),
        ("{host}/x", Refused),
        ("{host}/ok/{id}?", Refused),
        ("{host}, other.example", Refused),
        ("{host}\0", Refused),
        ("{host} ", Refused),
        (" {host}", Refused),
        ("[::1]", Refused),
        ("{host}:443@other.example", Refused),
        ("{host}\\x", Refused),
        ("{host}?x", Refused),
        ("{host}#x", Refused),
        ("https://{host}", Refused),
        ("{host}%00", Refused),
        ("{host}:", Either),
        ("{host}:0443", Refused),
    ];
    let mut all: Vec<Case> = tried
        .iter()
        .map(|(authority, wanted)| {
            of(
                &format!("authority {}", authority.escape_debug()),
                &GOOD.replace("{host}", authority),
                wanted.clone(),
            )
        })
        .collect();
    let more = [
        ("host alike", format!("{GOOD}host: {{host}}\n"), Either),
        ("another host", format!("{GOOD}host: other.example\n"), Refused),
        ("two hosts", format!("{GOOD}host: {{host}}\nhost: {{host}}\n"), Refused),
        ("two authorities", format!(":authority: other.example\n{GOOD}"), Refused),
        ("host in place of the authority", GOOD.replace(":authority", "host"), Either),
        (
            "another host in place of the authority",
            GOOD.replace(":authority: {host}", "host: other.example"),
            Refused,
        ),
        ("no authority", GOOD.replace(":authority: {host}\n", ""), Refused),
        ("an empty host", format!("{GOOD}host: \n"), Refused),
        ("an authority after a field", format!("{}x: y\n:authority: other.example\n", GOOD), Refused),
    ];
    all.extend(more.into_iter().map(|(name, lines, wanted)| of(name, &lines, wanted)));
    all
}

fn fields() -> Vec<Case> {
    let with = |more: &str| format!("{GOOD}{more}\n");
    let tried: &[(&str, Wanted)] = &[
        ("x: y", sent()),
        ("te: trailers", sent()),
        ("cookie: a=b\ncookie: c=d", sent()),
        ("te: gzip", Either),
        ("connection: close", Refused),
        ("keep-alive: x", Refused),
        ("proxy-connection: x", Refused),
        ("upgrade: h2c", Refused),
        ("transfer-encoding: chunked", Refused),
        ("X: y", Refused),
        ("Host: other.example", Refused),
        ("x y: z", Refused),
        ("x\r: y", Refused),
        ("x: y\rz", Refused),
        ("x: y\u{1}transfer-encoding: chunked", Refused),
        ("x: \0", Refused),
        (":x: y", Refused),
        (":status: 200", Refused),
        (":path: /admin", Refused),
        (":method: POST", Refused),
        (":scheme: http", Refused),
        (":protocol: websocket", Refused),
        ("x-http-method-override: DELETE", Refused),
        ("x_http_method_override: DELETE", Refused),
        ("content_length: 5", Refused),
        ("transfer_encoding: chunked", Refused),
        ("content-length: 0", sent()),
        ("content-length: 5", Refused),
        ("content-length: x", Refused),
        ("content-length: 0\ncontent-length: 0", Either),
        ("x(: y", Refused),
        ("x/y: z", Refused),
        ("\u{e9}: y", Refused),
        ("x:  y", Either),
        ("expect: 100-continue", Either),
        ("expect: x", Either),
        ("x-original-url: /admin", sent()),
        ("x: y \u{1}", Refused),
        ("transfer-encoding: identity", Refused),
        ("x: \u{e9}", Either),
        ("x_y: z", sent()),
    ];
    let mut all: Vec<Case> = tried
        .iter()
        .map(|(more, wanted)| of(&format!("field {}", more.escape_debug()), &with(more), wanted.clone()))
        .collect();
    let pseudo: &[(&str, &str, &str, Wanted)] = &[
        ("scheme http", ":scheme: https", ":scheme: http", Either),
        ("scheme ftp", ":scheme: https", ":scheme: ftp", Either),
        ("an empty scheme", ":scheme: https", ":scheme: ", Either),
        ("no scheme", ":scheme: https\n", "", Refused),
        ("no method", ":method: GET\n", "", Refused),
        ("no path", ":path: /ok/{id}\n", "", Refused),
        ("an empty method", ":method: GET", ":method: ", Refused),
        ("method in lower case", ":method: GET", ":method: get", Refused),
        ("a method with a space", ":method: GET", ":method: GET /admin", Refused),
        ("CONNECT", ":method: GET", ":method: CONNECT", Refused),
        (
            "CONNECT without a path",
            ":method: GET\n:scheme: https\n:authority: {host}\n:path: /ok/{id}",
            ":method: CONNECT\n:authority: {host}:443",
            Refused,
        ),
        ("TRACE", ":method: GET", ":method: TRACE", Refused),
        ("a method with a line", ":method: GET", ":method: GET\u{1}X: y", Refused),
        ("an unknown method", ":method: GET", ":method: BREW", Refused),
        ("scheme in upper case", ":scheme: https", ":scheme: HTTPS", Either),
        ("a scheme with a target", ":scheme: https", ":scheme: https://other.example/ok/{id}?", Refused),
    ];
    all.extend(
        pseudo.iter().map(|(name, from, to, wanted)| of(name, &GOOD.replace(from, to), wanted.clone())),
    );
    all
}

fn bodies() -> Vec<Case> {
    let post = GOOD.replace("GET", "POST");
    let hidden = "GET /ok/hidden HTTP/1.1\r\nHost: x.example\r\n\r\n";
    let length = hidden.len() as u64;
    vec![
        of("a body", &format!("{post}\nabc"), Wanted::Sent(vec![3])),
        of("a body of a GET", &format!("{GOOD}\nabc"), Wanted::Sent(vec![3])),
        of("a body and its length", &format!("{post}content-length: 3\n\nabc"), Wanted::Sent(vec![3])),
        of("a body that is a request", &format!("{post}\n{hidden}"), Wanted::Sent(vec![length])),
        of("a body that ends chunks", &format!("{post}\n0\r\n\r\n"), Wanted::Sent(vec![5])),
        // The head is judged before the body is there: the server may see one that never ends.
        of("H2.CL, too short", &format!("{post}content-length: 0\n\n{hidden}"), Either),
        of("H2.CL, too long", &format!("{post}content-length: 500\n\nabc"), Either),
        of("H2.TE", &format!("{post}transfer-encoding: chunked\n\n0\r\n\r\n{hidden}"), Refused),
        of("H2 with two lengths", &format!("{post}content-length: 3\ncontent-length: 4\n\nabc"), Either),
    ]
}

/// The preface, the settings, and the stream; fields are literals that are not indexed.
pub fn encode(lines: &[u8], host: &str) -> Vec<u8> {
    let text = String::from_utf8_lossy(lines).replace("{host}", host);
    let (fields, body) = match text.split_once("\n\n") {
        Some((fields, body)) => (fields, Some(body.as_bytes())),
        None => (text.as_str(), None),
    };
    let mut block = Vec::new();
    for line in fields.lines_of() {
        let colon = line.char_indices().skip(1).find(|(_, c)| *c == ':').map_or(line.len(), |(at, _)| at);
        let (name, value) = line.split_at(colon);
        let value = value.strip_prefix(": ").unwrap_or_default();
        block.push(0);
        literal(&mut block, name);
        literal(&mut block, value);
    }
    let mut out = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    frame(&mut out, 4, 0, 0, &[]);
    frame(&mut out, 1, if body.is_some() { 4 } else { 5 }, 1, &block);
    if let Some(body) = body {
        frame(&mut out, 0, 1, 1, body);
    }
    out
}

/// Lines that end with a line feed alone: a carriage return is part of a value.
trait Lines {
    fn lines_of(&self) -> impl Iterator<Item = &str>;
}

impl Lines for str {
    fn lines_of(&self) -> impl Iterator<Item = &str> {
        self.split('\n').filter(|line| !line.is_empty())
    }
}

/// A string without Huffman's code; `\u{1}` stands for a line feed, which ends a line here.
fn literal(out: &mut Vec<u8>, text: &str) {
    let text = text.replace('\u{1}', "\r\n");
    let length = text.len();
    if length < 127 {
        out.push(length as u8);
    } else {
        let mut rest = length - 127;
        out.push(127);
        while rest >= 128 {
            out.push((rest % 128) as u8 | 128);
            rest /= 128;
        }
        out.push(rest as u8);
    }
    out.extend_from_slice(text.as_bytes());
}

fn frame(out: &mut Vec<u8>, kind: u8, flags: u8, stream: u32, payload: &[u8]) {
    out.extend_from_slice(&(payload.len() as u32).to_be_bytes()[1..]);
    out.extend_from_slice(&[kind, flags]);
    out.extend_from_slice(&stream.to_be_bytes());
    out.extend_from_slice(payload);
}
