//! Header fields: names, values, folds, sizes, fields of one hop, `Expect`, `Upgrade`.

use super::{Case, Wanted, Wanted::Either, Wanted::Refused, case, head, sent};

pub fn cases() -> Vec<Case> {
    [written(), bytes(), large()].concat()
}

fn with(field: &str, wanted: Wanted) -> Case {
    let bytes = format!("GET /ok/{{id}} HTTP/1.1\r\nHost: {{host}}\r\n{field}\r\n\r\n");
    case(format!("field {}", field.escape_debug()), bytes, wanted)
}

fn written() -> Vec<Case> {
    let good = [
        "X:",
        "X: ",
        "X:\t",
        "X:y",
        "X:  y  ",
        "X: y\t",
        "X: a:b",
        "X: \u{e9}",
        "x-chiton: y",
        "X_Y: z",
        "Connection: keep-alive",
        "Connection: X\r\nX: y",
        "Connection: Host",
        "Connection: Content-Length",
        "Connection:",
        "Connection: ,,,",
        "Connection: close, keep-alive",
        "Keep-Alive: timeout=1",
        "Proxy-Connection: close",
        "Proxy-Authorization: Basic eDp5",
        "TE: trailers",
        "TE: trailers, deflate",
        "TE: chunked",
        "Trailer: Host",
        "Expect: 100-continue",
        "Expect: 100-Continue",
        "Via: 1.1 x",
        "Max-Forwards: 0",
        "Content-Type: x",
        "Cookie: a=b\r\nCookie: c=d",
        "Range: bytes=0-",
        "If-None-Match: *",
        "Accept-Encoding: chunked",
        "X: Transfer-Encoding: chunked",
        "X-Transfer-Encoding: chunked",
        "X_Transfer_Encoding: chunked",
        "Content_Type: x",
        "Content-Length: 0",
        "HTTP2-Settings: x",
        "Connection: Upgrade",
        "Connection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\nHTTP2-Settings: AAMAAABkAAQAAP__",
        "Upgrade: h2c",
        "Upgrade: TLS/1.0",
        "Connection: upgrade\r\nUpgrade: HTTP/2.0",
        "Upgrade:",
    ];
    let refused = [
        "X : y",
        "X\t: y",
        " X: y",
        "\tX: y",
        ": y",
        ":",
        "X",
        "X y",
        "X Y: z",
        "X: y\r\n z",
        "X: y\r\n\tz",
        "X: y\r\n \r\n",
        "X:\r\n y",
        "Content-Length : 0",
        "Content-Length\t: 0",
        "Transfer-Encoding : chunked",
        "X(y): z",
        "X@: y",
        "X\u{e9}: y",
        "\"X\": y",
        "X/Y: z",
        "X=Y: z",
        "{X}: y",
        "[X]: y",
        "X,Y: z",
        "X;Y: z",
        "<X>: y",
        "X?: y",
        "X\\: y",
        "\u{feff}X: y",
        "X-HTTP-Method-Override: DELETE",
        "X-HTTP-Method: DELETE",
        "X-Method-Override: DELETE",
        "x-http-method-override:",
        "X-HTTP-Method-Override : DELETE",
        "X_HTTP_Method_Override: DELETE",
        "X_HTTP_Method: DELETE",
        "X.Method-Override: DELETE",
        "Transfer_Encoding: chunked",
        "Content_Length: 5",
        "Content_Length: 0",
        "Expect: 200-ok",
        "Expect: 100-continue, x",
        "Expect:",
        "Expect: 100-continue\r\nExpect: 100-continue",
        "GET /admin HTTP/1.1",
        "X: y\r\nGET /admin/{id} HTTP/1.1",
    ];
    let either = [
        "Upgrade: websocket\r\nConnection: Upgrade",
        "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
        "Upgrade: websocket, h2c\r\nConnection: Upgrade",
        "Upgrade: WebSocket\r\nConnection: keep-alive, Upgrade",
        "Upgrade: websocket\r\nUpgrade: h2c\r\nConnection: upgrade",
        "Connection: \u{1}",
        "Date: x",
        "Content-Encoding: chunked",
        "Authorization: x\r\nAuthorization: y",
        "X: \u{80}",
    ];
    let list =
        |fields: &[&str], wanted: &Wanted| fields.iter().map(|f| with(f, wanted.clone())).collect::<Vec<_>>();
    [list(&good, &sent()), list(&refused, &Refused), list(&either, &Either)].concat()
}

/// Every byte that is not printable in a value, and every one that is no token's in a name.
fn bytes() -> Vec<Case> {
    let mut all = Vec::new();
    let field = |before: &[u8], byte: u8, after: &[u8]| {
        [b"GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\n", before, &[byte], after, b"\r\n\r\n"].concat()
    };
    for byte in (0..b' ').chain([0x7f]).filter(|byte| *byte != b'\t') {
        all.push(case(format!("value with {byte:#04x}"), field(b"X: a", byte, b"b"), Refused));
        all.push(case(format!("value that begins with {byte:#04x}"), field(b"X: ", byte, b"b"), Refused));
        all.push(case(
            format!("length that ends with {byte:#04x}"),
            field(b"Content-Length: 0", byte, b""),
            Refused,
        ));
        all.push(case(
            format!("chunked after {byte:#04x}"),
            field(b"Transfer-Encoding: ", byte, b"chunked"),
            Refused,
        ));
    }
    let token = |byte: u8| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~:".contains(&byte);
    for byte in (0..=0x82_u8).chain([0xff]).filter(|byte| !token(*byte)) {
        all.push(case(format!("name with {byte:#04x}"), field(b"X", byte, b"Y: z"), Refused));
        all.push(case(
            format!("`Transfer-Encoding` with {byte:#04x}"),
            field(b"Transfer-Encoding", byte, b": chunked"),
            Refused,
        ));
    }
    all
}

fn large() -> Vec<Case> {
    let fields = |count: usize| (0..count).map(|n| format!("|X-{n}: y")).collect::<String>();
    let with = |more: String| head(&format!("GET /ok/{{id}} HTTP/1.1|Host: {{host}}{more}"), b"");
    vec![
        case("120 fields", with(fields(120)), Either),
        case("127 fields beside the host", with(fields(127)), Either),
        case("128 fields beside the host", with(fields(128)), Refused),
        case("5,000 fields", with(fields(5000)), Refused),
        case("100,000 empty fields", with("|X:".repeat(100_000)), Refused),
        case("a value of 6 kB", with(format!("|X: {}", "y".repeat(6000))), sent()),
        case("a value of 63 kB", with(format!("|X: {}", "y".repeat(63_000))), Either),
        case("a value of 66 kB", with(format!("|X: {}", "y".repeat(66_000))), Refused),
        case("a value of 1 MB", with(format!("|X: {}", "y".repeat(1 << 20))), Refused),
        case("a name of 1 kB", with(format!("|X{}: y", "y".repeat(1000))), Either),
        case("a name of 66 kB", with(format!("|X{}: y", "y".repeat(66_000))), Refused),
        case("cookies in 50 fields", with("|Cookie: a=b".repeat(50)), Either),
    ]
}
