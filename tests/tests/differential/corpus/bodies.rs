//! Where a body ends: lengths, codings, chunks, trailers, and requests that hide in one.

use super::{Case, Wanted, Wanted::Either, Wanted::Refused, case};

pub fn cases() -> Vec<Case> {
    [lengths(), codings(), chunks()].concat()
}

/// What a confused server would take for a second request.
const HIDDEN: &str = "GET /ok/hidden-{id} HTTP/1.1\r\nHost: {host}\r\n\r\n";

fn post(name: &str, fields: &str, body: &str, wanted: Wanted) -> Case {
    let bytes = format!("POST /ok/{{id}} HTTP/1.1\r\nHost: {{host}}\r\n{fields}\r\n\r\n{body}");
    case(name, bytes, wanted)
}

fn lengths() -> Vec<Case> {
    let refused = [
        "+3",
        "-3",
        "3,",
        ",3",
        "3,3",
        "3, 3",
        "3, 4",
        "3 3",
        "0x3",
        "3x",
        "x3",
        "3.0",
        "3e0",
        "\u{ff13}",
        "",
        "\"3\"",
        "3;",
        "3;x",
        "''",
        "99999999999999999999",
        "18446744073709551616",
        "18446744073709551619",
        "-0",
        "1_0",
        "3\t3",
        "NaN",
        "3\u{a0}",
        "0 ,0",
        "٣",
    ];
    let mut all: Vec<Case> = refused
        .iter()
        .map(|length| {
            post(
                &format!("length {}", length.escape_debug()),
                &format!("Content-Length: {length}"),
                &format!("abc{HIDDEN}"),
                Refused,
            )
        })
        .collect();
    let sent =
        [("3", 3), ("03", 3), ("0000000003", 3), ("3  ", 3), ("  3", 3), ("\t3\t", 3), ("0", 0), ("00", 0)];
    all.extend(sent.iter().map(|(length, count)| {
        let body = "abc".get(..*count).unwrap_or_default();
        post(
            &format!("length {}", length.escape_debug()),
            &format!("Content-Length: {length}"),
            body,
            Wanted::Sent(vec![*count as u64]),
        )
    }));
    let two = [
        ("two lengths", "Content-Length: 3\r\nContent-Length: 4"),
        ("two lengths alike", "Content-Length: 3\r\nContent-Length: 3"),
        ("two lengths, other case", "Content-Length: 3\r\ncontent-length: 0"),
        ("two lengths, one empty", "Content-Length: 3\r\nContent-Length:"),
        ("a length folded", "Content-Length:\r\n 3"),
        ("a length and its fold", "Content-Length: 3\r\n 0"),
        ("a length before a colon", "Content-Length : 3"),
        ("a length in a name", "Content-Length:: 3"),
    ];
    all.extend(two.iter().map(|(name, fields)| post(name, fields, &format!("abc{HIDDEN}"), Refused)));
    all.push(case(
        "a GET with a length",
        "GET /ok/{id} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc",
        Wanted::Sent(vec![3]),
    ));
    all.push(case(
        "a DELETE with a length",
        "DELETE /ok/{id} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc",
        Wanted::Sent(vec![3]),
    ));
    all.push(case(
        "a HEAD with a length",
        "HEAD /ok/{id} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 3\r\n\r\nabc",
        Wanted::Sent(vec![3]),
    ));
    all.push(case(
        "a POST of nothing",
        "POST /ok/{id} HTTP/1.1\r\nHost: {host}\r\n\r\n",
        Wanted::Sent(vec![0]),
    ));
    let hidden = Case {
        answers: 2,
        ..post("a hidden one after a length of none", "Content-Length: 0", HIDDEN, Wanted::Sent(vec![0, 0]))
    };
    let inside = post(
        "a hidden one inside a length",
        "Content-Length: 65",
        &format!("{:<65}", "GET /ok/hidden HTTP/1.1\r\nHost: x.example\r\n\r\n"),
        Wanted::Sent(vec![65]),
    );
    all.extend([hidden, inside]);
    all
}

fn codings() -> Vec<Case> {
    let refused = [
        "chunked,",
        ",chunked",
        "chunked, ",
        "chunked,chunked",
        "chunked, identity",
        "identity",
        "identity, chunked",
        "gzip, chunked",
        "chunked, gzip",
        "gzip",
        "xchunked",
        "chunkedx",
        "x chunked",
        "chunked x",
        "chunked;x=y",
        "chunked;",
        "\"chunked\"",
        "'chunked'",
        "chun ked",
        "chunke",
        "\u{43}hunked\u{0}",
        "chunked\u{0}",
        "chunked\u{b}",
        "\u{b}chunked",
        "\u{c}chunked",
        "chunked\u{c}",
        "\u{ff43}hunked",
        "chunked\u{a0}",
        "",
        "trailers",
        "cow",
        "chunked=1",
        "{chunked}",
        "chunKed\u{301}",
        "\u{212a}",
        "chun\u{212a}ed",
        "deflate",
        "compress",
        "br, chunked",
        "chunked\r\n ,x",
        "\r\n chunked",
    ];
    let chunks = format!("3\r\nabc\r\n0\r\n\r\n{HIDDEN}");
    let mut all: Vec<Case> = refused
        .iter()
        .map(|coding| {
            post(
                &format!("coding {}", coding.escape_debug()),
                &format!("Transfer-Encoding: {coding}"),
                &chunks,
                Refused,
            )
        })
        .collect();
    let both = [
        ("CL.TE", "Content-Length: 13\r\nTransfer-Encoding: chunked"),
        ("TE.CL", "Transfer-Encoding: chunked\r\nContent-Length: 3"),
        ("CL.TE, length of none", "Content-Length: 0\r\nTransfer-Encoding: chunked"),
        ("TE.TE", "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity"),
        ("TE.TE alike", "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
        ("TE.TE, the unknown first", "Transfer-Encoding: cow\r\nTransfer-Encoding: chunked"),
        ("TE.TE, one empty", "Transfer-Encoding:\r\nTransfer-Encoding: chunked"),
        ("TE before the colon", "Transfer-Encoding : chunked"),
        ("TE before the colon, and a length", "Content-Length: 3\r\nTransfer-Encoding : chunked"),
        ("TE after a space", "X: y\r\n Transfer-Encoding: chunked"),
        ("TE with a tab", "Transfer-Encoding\t: chunked"),
        ("TE with an underscore and a coding", "Transfer_Encoding: chunked\r\nTransfer-Encoding: x"),
        ("CL.TE with a bare CR", "Content-Length: 3\r\nX: y\rTransfer-Encoding: chunked"),
        ("CL.TE with a bare LF", "Content-Length: 3\r\nX: y\nTransfer-Encoding: chunked"),
        ("CL.TE behind a NUL", "Content-Length: 3\r\nX\0: y\r\nTransfer-Encoding: chunked"),
        ("CL.TE, obsolete fold", "Content-Length: 3\r\nTransfer-Encoding:\r\n chunked"),
        (
            "CL.TE named by Connection",
            "Connection: Transfer-Encoding\r\nContent-Length: 3\r\nTransfer-Encoding: chunked",
        ),
        ("CL.TE with `identity`", "Content-Length: 3\r\nTransfer-Encoding: identity"),
        ("CL.TE, quoted", "Content-Length: 3\r\n\"Transfer-Encoding\": chunked"),
        ("TE colon colon", "Transfer-Encoding:: chunked"),
    ];
    all.extend(both.iter().map(|(name, fields)| post(name, fields, &chunks, Refused)));
    let old =
        format!("POST /ok/{{id}} HTTP/1.0\r\nHost: {{host}}\r\nTransfer-Encoding: chunked\r\n\r\n{chunks}");
    all.push(case("1.0 with a coding", old, Refused));
    let old = format!(
        "POST /ok/{{id}} HTTP/1.0\r\nHost: {{host}}\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\nContent-Length: 3\r\n\r\n{chunks}"
    );
    all.push(case("1.0 kept alive with both", old, Refused));
    for coding in ["chunked", "Chunked", "CHUNKED", "  chunked  ", "\tchunked"] {
        let body = "3\r\nabc\r\n0\r\n\r\n";
        all.push(post(
            &format!("coding {} alone", coding.escape_debug()),
            &format!("Transfer-Encoding: {coding}"),
            body,
            Wanted::Sent(vec![3]),
        ));
    }
    for name in ["Connection: close, Transfer-Encoding", "Connection: Content-Length"] {
        all.push(post(
            &format!("a coding and {name}"),
            &format!("{name}\r\nTransfer-Encoding: chunked"),
            "3\r\nabc\r\n0\r\n\r\n",
            Wanted::Sent(vec![3]),
        ));
    }
    all
}

fn chunks() -> Vec<Case> {
    let good = [
        ("two", "3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n", 5),
        ("hexadecimal", "a\r\n0123456789\r\n0\r\n\r\n", 10),
        ("hexadecimal, upper case", "A\r\n0123456789\r\n0\r\n\r\n", 10),
        ("leading zeros", "0003\r\nabc\r\n0\r\n\r\n", 3),
        ("none", "0\r\n\r\n", 0),
        ("many zeros at the end", "3\r\nabc\r\n000\r\n\r\n", 3),
        ("a trailer", "3\r\nabc\r\n0\r\nX: y\r\n\r\n", 3),
        ("a size in the data", "5\r\n0\r\n\r\n\r\n0\r\n\r\n", 5),
        ("single bytes", "1\r\na\r\n1\r\nb\r\n1\r\nc\r\n0\r\n\r\n", 3),
    ];
    let mut all: Vec<Case> = good
        .iter()
        .map(|(name, body, count)| {
            post(&format!("chunks: {name}"), "Transfer-Encoding: chunked", body, Wanted::Sent(vec![*count]))
        })
        .collect();
    // The head is in order and judged; the body is not, so the server may see a request that never ends: it must
    // not see a whole one, and nothing that hides.
    let bad = [
        ("a trailer `Host`", "3\r\nabc\r\n0\r\nHost: other.example\r\n\r\n"),
        ("a trailer `Content-Length`", "3\r\nabc\r\n0\r\nContent-Length: 50\r\n\r\n"),
        ("a trailer `Transfer-Encoding`", "3\r\nabc\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n"),
        ("a bare LF after the size", "3\nabc\r\n0\r\n\r\n"),
        ("a bare LF after the data", "3\r\nabc\n0\r\n\r\n"),
        ("a bare CR after the size", "3\rabc\r\n0\r\n\r\n"),
        ("a sign", "+3\r\nabc\r\n0\r\n\r\n"),
        ("a minus", "-3\r\nabc\r\n0\r\n\r\n"),
        ("0x", "0x3\r\nabc\r\n0\r\n\r\n"),
        ("an underscore", "0_3\r\nabc\r\n0\r\n\r\n"),
        ("an empty size", "\r\nabc\r\n0\r\n\r\n"),
        ("a space before the size", " 3\r\nabc\r\n0\r\n\r\n"),
        ("a space after the size", "3 \r\nabc\r\n0\r\n\r\n"),
        ("an extension", "3;x=y\r\nabc\r\n0\r\n\r\n"),
        ("an extension without a name", "3;\r\nabc\r\n0\r\n\r\n"),
        ("an extension with a LF", "3;x\ny\r\nabc\r\n0\r\n\r\n"),
        ("a quoted extension with a line", "3;x=\"\r\n\"\r\nabc\r\n0\r\n\r\n"),
        ("an extension at the end", "3\r\nabc\r\n0;x=y\r\n\r\n"),
        ("data too long", "3\r\nabcd\r\n0\r\n\r\n"),
        ("data too short", "4\r\nabc\r\n0\r\n\r\n"),
        ("a size of 2^64", "10000000000000000\r\nabc\r\n0\r\n\r\n"),
        ("a size of 2^64 + 3", "10000000000000003\r\nabc\r\n0\r\n\r\n"),
        ("a size of 2^63", "8000000000000000\r\nabc\r\n0\r\n\r\n"),
        ("a size of 16 f", "ffffffffffffffff\r\nabc\r\n0\r\n\r\n"),
        (
            "a size of 100 zeros",
            "0000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000000003\r\nabc\r\n0\r\n\r\n",
        ),
        ("letters", "xyz\r\nabc\r\n0\r\n\r\n"),
        ("a comma", "3,3\r\nabc\r\n0\r\n\r\n"),
        ("a NUL", "3\0\r\nabc\r\n0\r\n\r\n"),
        ("a trailer with a space before the colon", "3\r\nabc\r\n0\r\nX : y\r\n\r\n"),
        ("a trailer folded", "3\r\nabc\r\n0\r\nX: y\r\n z\r\n\r\n"),
        ("a trailer with a LF", "3\r\nabc\r\n0\r\nX: y\n\r\n"),
        ("a trailer with a NUL", "3\r\nabc\r\n0\r\nX: \0\r\n\r\n"),
        ("a request as a trailer", "3\r\nabc\r\n0\r\nGET /ok/hidden HTTP/1.1\r\n\r\n"),
        ("a bare LF at the end", "3\r\nabc\r\n0\r\n\n"),
        ("no line after the last", "3\r\nabc\r\n0\r\nGET /ok/hidden HTTP/1.1\r\nHost: x\r\n\r\n"),
        ("a trailer without a name", "3\r\nabc\r\n0\r\n: y\r\n\r\n"),
        ("decimal digits of another script", "\u{663}\r\nabc\r\n0\r\n\r\n"),
    ];
    all.extend(bad.iter().map(|(name, body)| {
        // One that promises more than comes is ended.
        let answers = usize::from(!name.starts_with("a size of"));
        let whole = format!("{body}{HIDDEN}");
        Case { answers, ..post(&format!("chunks: {name}"), "Transfer-Encoding: chunked", &whole, Either) }
    }));
    all
}
