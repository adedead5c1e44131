//! Request lines: methods, versions, spaces, line ends, authorities, several requests on one connection.

use super::{Case, Wanted, Wanted::Either, Wanted::Refused, case, head, sent};

pub fn cases() -> Vec<Case> {
    [methods(), versions(), line_ends(), authorities(), connections()].concat()
}

fn methods() -> Vec<Case> {
    let tried: &[(&str, Wanted)] = &[
        ("GET", sent()),
        ("HEAD", sent()),
        ("OPTIONS", sent()),
        ("POST", sent()),
        ("PUT", sent()),
        ("DELETE", sent()),
        ("PATCH", sent()),
        ("PROPFIND", sent()),
        ("TRACE", Refused),
        ("CONNECT", Refused),
        ("get", Refused),
        ("Get", Refused),
        ("GETT", Refused),
        ("GE T", Refused),
        ("G\0ET", Refused),
        ("GET\t", Refused),
        ("\tGET", Refused),
        (" GET", Refused),
        ("", Refused),
        ("G@T", Refused),
        ("GET,POST", Refused),
        ("GET/", Refused),
        ("(GET)", Refused),
        ("\"GET\"", Refused),
        ("GET:", Refused),
        ("PRI", Refused),
        ("M-SEARCH", Refused),
        ("!#$%&'*+-.^_`|~", Refused),
        ("GÉT", Refused),
        ("\u{7f}GET", Refused),
        ("\u{feff}GET", Refused),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Refused),
        ("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA", Refused),
        ("QUERY", Refused),
        ("SOURCE", Refused),
    ];
    let one = |(method, wanted): &(&str, Wanted)| {
        let bytes = format!("{method} /ok/{{id}} HTTP/1.1\r\nHost: {{host}}\r\n\r\n");
        case(format!("method {}", method.escape_debug()), bytes, wanted.clone())
    };
    tried.iter().map(one).collect()
}

fn versions() -> Vec<Case> {
    let tried = [
        "HTTP/0.9",
        "HTTP/1.2",
        "HTTP/1.10",
        "HTTP/2.0",
        "HTTP/2",
        "HTTP/3",
        "HTTP/1",
        "HTTP/1.",
        "HTTP/.1",
        "HTTP/01.1",
        "HTTP/1.01",
        "http/1.1",
        "Http/1.1",
        "HTTP /1.1",
        "HTTP/ 1.1",
        "HTTP/1.1 ",
        "HTTP/1.1\t",
        "HTTP/1.1 x",
        "HTTP/1.1x",
        "HTTP/11",
        "HTTP/1,1",
        "HTTP/-1.1",
        "HTTP/1.1\0",
        "HTTPS/1.1",
        "HTP/1.1",
        "ICY/1.1",
        "RTSP/1.0",
        "HTTP\\1.1",
        "",
        "\u{ff28}TTP/1.1",
    ];
    let one = |version: &str| {
        let bytes = format!("GET /ok/{{id}} {version}\r\nHost: {{host}}\r\n\r\n");
        case(format!("version {}", version.escape_debug()), bytes, Refused)
    };
    let mut all: Vec<Case> = tried.into_iter().map(one).collect();
    all.push(case("version none", "GET /ok/{id}\r\n\r\n", Refused));
    all.push(case("version 1.0 with a host", head("GET /ok/{id} HTTP/1.0|Host: {host}", b""), sent()));
    all.push(case("version 1.0 without a host", head("GET /ok/{id} HTTP/1.0", b""), sent()));
    all.push(case(
        "version 1.0 kept alive",
        head("GET /ok/{id} HTTP/1.0|Host: {host}|Connection: keep-alive", b""),
        sent(),
    ));
    all
}

fn line_ends() -> Vec<Case> {
    let tried: &[(&str, &str, Wanted)] = &[
        ("bare LF throughout", "GET /ok/{id} HTTP/1.1\nHost: {host}\n\n", Refused),
        ("bare LF after the request line", "GET /ok/{id} HTTP/1.1\nHost: {host}\r\n\r\n", Refused),
        ("bare LF after a field", "GET /ok/{id} HTTP/1.1\r\nHost: {host}\nX: y\r\n\r\n", Refused),
        ("bare LF at the end", "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\n", Refused),
        ("bare CR throughout", "GET /ok/{id} HTTP/1.1\rHost: {host}\r\r", Refused),
        ("bare CR in a value", "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nX: a\rb\r\n\r\n", Refused),
        (
            "bare CR hides a field",
            "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nX: a\rTransfer-Encoding: chunked\r\n\r\n",
            Refused,
        ),
        (
            "bare LF hides a field",
            "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nX: a\nTransfer-Encoding: chunked\r\n\r\n",
            Refused,
        ),
        ("CR CR LF", "GET /ok/{id} HTTP/1.1\r\r\nHost: {host}\r\r\n\r\r\n\r\n", Refused),
        ("CR CR LF after a value", "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\r\n\r\n", Refused),
        ("LF CR", "GET /ok/{id} HTTP/1.1\n\rHost: {host}\n\r\n\r\n\n", Refused),
        ("an empty line before", "\r\nGET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", sent()),
        ("three empty lines before", "\r\n\r\n\r\nGET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", sent()),
        ("an empty line of LF before", "\nGET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("a space alone before", " \r\nGET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("two spaces before the target", "GET  /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("two spaces before the version", "GET /ok/{id}  HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("tab before the target", "GET\t/ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("tab before the version", "GET /ok/{id}\tHTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("vertical tab before the version", "GET /ok/{id}\x0bHTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("form feed before the version", "GET /ok/{id}\x0cHTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("a space in the target", "GET /ok/{id} x HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("a version in the target", "GET /ok/{id} HTTP/1.1 HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("no target", "GET HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("an empty target", "GET  HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("a NUL in front", "\0GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n", Refused),
        ("a next line (U+0085)", "GET /ok/{id} HTTP/1.1\u{85}Host: {host}\r\n\r\n", Refused),
        (
            "folded at the first field",
            "GET /ok/{id} HTTP/1.1\r\n Host: {host}\r\nHost: {host}\r\n\r\n",
            Refused,
        ),
        ("only a request line", "GET /ok/{id} HTTP/1.1\r\n\r\n", Refused),
    ];
    tried.iter().map(|(name, bytes, wanted)| case(*name, *bytes, wanted.clone())).collect()
}

fn authorities() -> Vec<Case> {
    let hosts: &[(&str, Wanted)] = &[
        ("{host}", sent()),
        ("{host}:443", sent()),
        ("{host}:", sent()),
        ("{host}.", sent()),
        ("{host}.:443", sent()),
        ("{host}:80", Refused),
        ("{host}:0443", Refused),
        ("{host}:443:443", Refused),
        ("{host}:+443", Refused),
        ("{host}:65979", Refused),
        ("{host}:4 43", Refused),
        ("{host}..", Refused),
        (".{host}", Refused),
        ("x@{host}", Refused),
        ("{host}@other.example", Refused),
        ("other.example@{host}", Refused),
        ("other.example", Refused),
        ("", Refused),
        ("{host}/", Refused),
        ("{host}/x", Refused),
        ("{host}?x", Refused),
        ("{host}#x", Refused),
        ("{host}\\x", Refused),
        ("{host},other.example", Refused),
        ("{host}, {host}", Refused),
        ("{host} other.example", Refused),
        ("{host};x", Refused),
        ("https://{host}", Refused),
        ("//{host}", Refused),
        ("[{host}]", Refused),
        ("[::1]", Refused),
        ("127.0.0.1", Refused),
        ("2130706433", Refused),
        ("0x7f.1", Refused),
        ("localhost", Refused),
        ("%6e{host}", Refused),
        ("{host}%00", Refused),
        ("{host}%2eexample", Refused),
        ("{host}\t", Either),
        ("\t{host}", Either),
        ("  {host}  ", Either),
        ("{host}\0", Refused),
        ("_.{host}", Refused),
        ("*.example", Refused),
        ("xn--{host}", Refused),
        ("ｎｇｉｎｘ.example", Either),
        ("nｏde.example", Either),
        ("{host}\u{3002}", Either),
        ("{host}\u{200b}", Either),
        ("{host}\u{ad}", Either),
        ("{host}｡", Either),
        ("{host}:443/", Refused),
        ("{host}:443@other.example", Refused),
        ("{host}\"", Refused),
        ("'{host}'", Refused),
        ("<{host}>", Refused),
        ("{host}!", Refused),
        ("{host}:４４３", Refused),
    ];
    let mut all: Vec<Case> = hosts
        .iter()
        .map(|(host, wanted)| {
            let bytes = format!("GET /ok/{{id}} HTTP/1.1\r\nHost: {host}\r\n\r\n");
            case(format!("host {}", host.escape_debug()), bytes, wanted.clone())
        })
        .collect();
    let heads: &[(&str, &str, Wanted)] = &[
        ("two hosts alike", "GET /ok/{id} HTTP/1.1|Host: {host}|Host: {host}", Refused),
        ("two hosts", "GET /ok/{id} HTTP/1.1|Host: {host}|Host: other.example", Refused),
        ("two hosts, the other first", "GET /ok/{id} HTTP/1.1|Host: other.example|Host: {host}", Refused),
        ("two hosts, one empty", "GET /ok/{id} HTTP/1.1|Host: {host}|Host:", Refused),
        ("two hosts, other case", "GET /ok/{id} HTTP/1.1|Host: {host}|hOST: other.example", Refused),
        ("host with a space before the colon", "GET /ok/{id} HTTP/1.1|Host : {host}", Refused),
        ("host folded", "GET /ok/{id} HTTP/1.1|Host:| {host}", Refused),
        ("host in upper case", "GET /ok/{id} HTTP/1.1|HOST: {host}", sent()),
        ("host without a space", "GET /ok/{id} HTTP/1.1|Host:{host}", sent()),
        ("X-Forwarded-Host", "GET /ok/{id} HTTP/1.1|Host: {host}|X-Forwarded-Host: other.example", sent()),
        ("Forwarded", "GET /ok/{id} HTTP/1.1|Host: {host}|Forwarded: host=other.example", sent()),
        ("X-Original-URL", "GET /ok/{id} HTTP/1.1|Host: {host}|X-Original-URL: /admin", sent()),
        ("X-Rewrite-URL", "GET /ok/{id} HTTP/1.1|Host: {host}|X-Rewrite-URL: /admin", sent()),
        (":authority as a field", "GET /ok/{id} HTTP/1.1|Host: {host}|:authority: other.example", Refused),
        ("1.0 with two hosts", "GET /ok/{id} HTTP/1.0|Host: {host}|Host: other.example", Refused),
        ("1.0 with another host", "GET /ok/{id} HTTP/1.0|Host: other.example", Refused),
    ];
    all.extend(heads.iter().map(|(name, lines, wanted)| case(*name, head(lines, b""), wanted.clone())));
    all
}

fn connections() -> Vec<Case> {
    let get = "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let bad = "GET /admin/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n";
    let ambiguous = "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nX : y\r\n\r\n";
    let post = "POST /ok/{id} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc";
    let chunked =
        "POST /ok/{id} HTTP/1.1\r\nHost: {host}\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n";
    let close = "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nConnection: close\r\n\r\n";
    let both = |name: &str, bytes: String, answers, bodies: &[u64]| Case {
        answers,
        ..case(format!("pipelined: {name}"), bytes, Wanted::Sent(bodies.to_vec()))
    };
    vec![
        both("two", get.repeat(2), 2, &[0, 0]),
        both("nine", get.repeat(9), 9, &[0; 9]),
        both("a body, then a request", format!("{post}{get}"), 2, &[0, 3]),
        both("chunks, then a request", format!("{chunked}{get}"), 2, &[0, 3]),
        both("chunks, then a body", format!("{chunked}{post}{chunked}"), 3, &[3, 3, 3]),
        both("a denied one between", format!("{get}{bad}{get}"), 3, &[0, 0]),
        both("a denied one first", format!("{bad}{get}"), 2, &[0]),
        both("nothing after an ambiguous one", format!("{get}{ambiguous}{get}"), 2, &[0]),
        both("nothing after close", format!("{close}{get}"), 1, &[0]),
        both("an empty line between", format!("{get}\r\n{get}"), 2, &[0, 0]),
        both("rubbish after", format!("{get}\0\0\0\0\r\n\r\n"), 2, &[0]),
        both("a preface of HTTP/2 after", format!("{get}PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), 2, &[0]),
        both(
            "a body of a GET looks like a request",
            format!("GET /ok/{{id}} HTTP/1.1\r\nHost: {{host}}\r\nContent-Length: 5\r\n\r\nGET /{get}"),
            2,
            &[0, 5],
        ),
        both("1.0 closes", format!("GET /ok/{{id}} HTTP/1.0\r\n\r\n{get}"), 1, &[0]),
    ]
}
