//! Requests as listeners read them.

use super::{Ambiguity, IncomingRequest, Intent, asks_for_another_method, may_be_read_as_framing};
use crate::{Policy, Reason, Scheme, compile, decide};

fn plain<'a>(target: &'a [u8], hosts: &'a [&'a [u8]]) -> IncomingRequest<'a> {
    IncomingRequest {
        scheme: Scheme::Https,
        port: 443,
        server_name: Some("h.test"),
        authority: None,
        host_headers: hosts,
        method: b"GET",
        target,
        method_override: false,
        framing_conflict: false,
        binary: None,
    }
}

fn ambiguity(incoming: &IncomingRequest<'_>) -> Option<Ambiguity> {
    Intent::from_parts(incoming).err().map(|ambiguous| ambiguous.0)
}

#[test]
fn every_part_names_the_same_host() {
    let good = plain(b"/x", &[b"H.test."]);
    assert_eq!(ambiguity(&good), None);
    assert_eq!(ambiguity(&plain(b"/x", &[b"h.test:443"])), None);
    assert_eq!(ambiguity(&plain(b"/x", &[b"h.test:8443"])), Some(Ambiguity::Port));
    assert_eq!(ambiguity(&plain(b"/x", &[b"other.test"])), Some(Ambiguity::ServerName));
    assert_eq!(ambiguity(&plain(b"/x", &[b"h.test", b"h.test"])), Some(Ambiguity::ManyHosts));
    assert_eq!(ambiguity(&plain(b"/x", &[])), Some(Ambiguity::NoHost));
    assert_eq!(ambiguity(&plain(b"/x", &[b"user@h.test"])), Some(Ambiguity::User));
    let conflict = IncomingRequest { authority: Some(b"o.test"), ..good };
    assert_eq!(ambiguity(&conflict), Some(Ambiguity::HostConflict));
    let h2 = IncomingRequest { authority: Some(b"h.test"), host_headers: &[], ..good };
    assert_eq!(ambiguity(&h2), None);
}

#[test]
fn absolute_forms_agree_with_the_connection() {
    assert_eq!(ambiguity(&plain(b"https://h.test/x", &[b"h.test"])), None);
    assert_eq!(ambiguity(&plain(b"https://h.test", &[b"h.test"])), None);
    assert_eq!(ambiguity(&plain(b"https://o.test/x", &[b"h.test"])), Some(Ambiguity::HostConflict));
    assert_eq!(ambiguity(&plain(b"http://h.test/x", &[b"h.test"])), Some(Ambiguity::TargetScheme));
    assert_eq!(ambiguity(&plain(b"*", &[b"h.test"])), Some(Ambiguity::TargetForm));
    assert_eq!(ambiguity(&plain(b"h.test:443", &[b"h.test"])), Some(Ambiguity::TargetForm));
    assert_eq!(ambiguity(&plain(b"", &[b"h.test"])), Some(Ambiguity::TargetForm));
}

#[test]
fn framing_and_methods() {
    let good = plain(b"/x", &[b"h.test"]);
    let framing = IncomingRequest { framing_conflict: true, ..good };
    assert_eq!(ambiguity(&framing), Some(Ambiguity::Framing));
    for method in [&b""[..], b"GE T", b"GET\0", b"\xff"] {
        assert_eq!(ambiguity(&IncomingRequest { method, ..good }), Some(Ambiguity::Method));
    }
}

#[test]
fn what_is_sent_is_what_was_judged() {
    let intent = Intent::from_parts(&plain(b"/a/./%7Eb/%c3%a9?%71=%2f&x#f", &[b"h.test"])).unwrap();
    assert_eq!(intent.path_and_query(), "/a/~b/%C3%A9?q=%2F&x");
    assert_eq!((intent.path(), intent.query()), ("/a/~b/%C3%A9", Some("q=%2F&x")));
    assert_eq!(intent.query_names().collect::<Vec<_>>(), ["q", "x"]);
    assert_eq!(intent.authority(), "h.test");
}

#[test]
fn a_name_is_what_any_server_may_read() {
    for name in ["x-http-method-override", "x_http_method_override", "x-http_method", "x.method!override"] {
        assert!(asks_for_another_method(name), "{name}");
    }
    for name in ["x-http-method-overrides", "xhttpmethod", "x-http-methods", "xxhttp-method", ""] {
        assert!(!asks_for_another_method(name), "{name}");
    }
    for name in ["content_length", "transfer_encoding", "transfer.encoding"] {
        assert!(may_be_read_as_framing(name), "{name}");
    }
    for name in ["content-length", "transfer-encoding", "content_type", "contentlength", "x_content_length"] {
        assert!(!may_be_read_as_framing(name), "{name}");
    }
}

#[test]
fn a_method_override_needs_a_rule_for_any_method() {
    let policy = |methods| {
        let text = format!("dynamic: {{network: {{http: [{{host: h.test, {methods}}}]}}}}");
        compile(&Policy::parse(&text).unwrap())
    };
    let overriding = IncomingRequest { method_override: true, ..plain(b"/x", &[b"h.test"]) };
    let intent = Intent::from_parts(&overriding).unwrap();
    let reason = |policy| decide(&policy, &intent).into_permit().err().map(|denial| denial.reason());
    assert_eq!(reason(policy("methods: ['*']")), None);
    assert_eq!(reason(policy("methods: [GET]")), Some(Reason::AmbiguousRequest));
    assert_eq!(reason(policy("paths: [/x]")), Some(Reason::AmbiguousRequest));
    let deny = "methods: ['*'], deny: [{methods: [DELETE]}]";
    assert_eq!(reason(policy(deny)), Some(Reason::DeniedByRule));
}
