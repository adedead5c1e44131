//! The form of a line, and tampering of every kind.

use std::fs::OpenOptions;

use proptest::prelude::*;

use crate::{
    Broken, Chain, Decision, Event, Fault, Hash, Head, Layer, LlmUse, Request, Response, Sink, Spool, Time,
    verify, verify_spool,
};

pub(crate) fn full() -> Event {
    let mut event = Event::at(
        Time::from(std::time::UNIX_EPOCH + std::time::Duration::from_micros(1_790_000_000_000_010)),
        "01JABCDEFGHJKMNPQRSTVWXYZ0".parse().unwrap(),
        Layer::Network,
        "request",
    );
    event.sandbox = Some("demo".into());
    event.revision = Some(3);
    event.decision = Some(Decision::Deny);
    event.reason = Some("path_not_allowed".into());
    event.rule = Some("http[0]".into());
    event.binary = Some("/usr/bin/curl".into());
    let request = Request {
        method: Some("GET".into()),
        scheme: Some("https".into()),
        host: Some("api.github.com".into()),
        port: Some(443),
        path: Some("/repos/o".into()),
        ..Request::default()
    };
    event.request = Some(request.with_query("page=1&token=sk-secret&&flag"));
    event.response = Some(Response {
        status: Some(403),
        sent: None,
        bytes: Some(120),
        first_byte_us: None,
        duration_us: Some(88),
    });
    event.llm = Some(LlmUse {
        provider: Some("openai".into()),
        model: Some("gpt".into()),
        input_tokens: Some(1),
        output_tokens: Some(2),
        usd: Some(crate::Usd(250_000_000_000)),
        ..LlmUse::default()
    });
    event
}

fn log(count: usize) -> Vec<String> {
    let mut chain = Chain::NEW;
    (0..count).map(|_| chain.link(&Event::new(Layer::Process, "exec"))).collect()
}

fn fault(lines: &[String], head: Option<Head>) -> Option<(u64, Fault)> {
    verify(lines, head).err().map(|Broken { line, what, .. }| (line, what))
}

#[test]
fn a_line_has_the_promised_keys_in_the_promised_order() {
    assert_eq!(
        full().to_line(),
        r#"{"time":"2026-09-21T14:13:20.000010Z","id":"01JABCDEFGHJKMNPQRSTVWXYZ0","sandbox":"demo","revision":3,"layer":"network","action":"request","decision":"deny","reason":"path_not_allowed","rule":"http[0]","binary":"/usr/bin/curl","request":{"method":"GET","scheme":"https","host":"api.github.com","port":443,"path":"/repos/o","query":["page","token","flag"]},"response":{"status":403,"bytes":120,"duration_us":88},"llm":{"provider":"openai","model":"gpt","input_tokens":1,"output_tokens":2,"usd":0.25}}"#
    );
    let mut chain = Chain::NEW;
    let line = chain.link(&full());
    assert!(line.contains(&format!(r#","prev":"{}","hash":"{}"}}"#, Hash::GENESIS, chain.head())));
    assert_eq!(Event::parse(&line).unwrap().event, full());
    assert_eq!(Event::parse(&line).unwrap().link, Some((Hash::GENESIS, chain.head())));
    assert_eq!(Event::parse(&full().to_line()).unwrap().link, None);
    assert!(Event::parse(&full().to_line().replace("rule", "ruel")).is_err());
}

#[test]
fn the_hash_can_be_checked_by_any_program() {
    use sha2::{Digest as _, Sha256};
    let mut chain = Chain::NEW;
    let line = chain.link(&full());
    let (unsealed, hash) = line.split_once(r#","hash":""#).unwrap();
    let wanted: String =
        Sha256::digest(format!("{unsealed}}}")).iter().map(|byte| format!("{byte:02x}")).collect();
    assert_eq!(hash.trim_end_matches("\"}"), wanted);
}

#[test]
fn ids_grow_and_texts_are_bounded() {
    let ids: Vec<_> = (0..1000).map(|_| Event::new(Layer::Policy, "apply").id).collect();
    assert!(ids.is_sorted() && ids.windows(2).all(|pair| pair[0] != pair[1]));
    let mut event = full();
    event.request = Some(Request::file("ä".repeat(100_000)).with_query(&"n&".repeat(10_000)));
    event.rule = Some("r".repeat(100_000));
    assert!(event.to_line().len() < 20_000);
}

#[test]
fn a_sound_log_verifies() {
    let lines = log(20);
    let summary = verify(&lines, None).unwrap();
    assert_eq!((summary.chained, summary.head.count), (20, 20));
    assert_eq!(fault(&lines, Some(summary.head)), None);
    let longer: Vec<String> = log(0);
    assert_eq!(fault(&longer, Some(Head::EMPTY)), None);
}

#[test]
fn the_first_that_was_changed_removed_or_reordered_is_named() {
    let lines = log(10);
    let mut changed = lines.clone();
    changed[4] = changed[4].replace("exec", "open");
    assert_eq!(fault(&changed, None), Some((5, Fault::Changed)));
    changed[4] = "{}".into();
    assert_eq!(fault(&changed, None), Some((5, Fault::Changed)));
    let mut removed = lines.clone();
    removed.remove(4);
    assert_eq!(fault(&removed, None), Some((5, Fault::Removed)));
    let broken = verify(&removed, None).unwrap_err();
    assert_eq!(broken.id, Some(Event::parse(&lines[5]).unwrap().event.id));
    assert!(broken.to_string().contains(&Event::parse(&lines[3]).unwrap().event.id.to_string()), "{broken}");
    removed.remove(0);
    assert_eq!(fault(&removed, None), Some((1, Fault::Removed)));
    let mut reordered = lines.clone();
    reordered.swap(4, 7);
    assert_eq!(fault(&reordered, None), Some((5, Fault::Reordered)));
    let mut inserted = lines.clone();
    inserted.insert(4, lines[8].clone());
    assert_eq!(fault(&inserted, None), Some((5, Fault::Reordered)));
    let mut unchained = lines;
    unchained[2] = full().to_line();
    assert_eq!(fault(&unchained, None), Some((3, Fault::Changed)));
}

#[test]
fn an_end_that_was_cut_off_is_found_by_the_head() {
    let lines = log(10);
    let head = verify(&lines, None).unwrap().head;
    assert_eq!(fault(&lines[..7], None), None);
    assert_eq!(fault(&lines[..7], Some(head)), Some((8, Fault::Removed)));
    assert_eq!(fault(&[], Some(head)), Some((1, Fault::Removed)));
    assert_eq!(fault(&log(10), Some(head)), Some((10, Fault::Changed)));
    let earlier = verify(&lines[..7], None).unwrap().head;
    assert_eq!(fault(&lines, Some(earlier)), None);
}

#[test]
fn a_spool_goes_on_after_any_end() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("proxy.events");
    let open = || OpenOptions::new().read(true).append(true).create(true).open(&path).unwrap();
    let mut spool = Spool::resume(open()).unwrap();
    spool.append(&full()).unwrap();
    spool.append(&Event::new(Layer::Process, "exec")).unwrap();
    drop(spool);
    let whole = std::fs::read_to_string(&path).unwrap();
    assert_eq!(verify_spool(&whole).unwrap(), 2);
    for cut in 0..whole.len() {
        std::fs::write(&path, &whole.as_bytes()[..cut]).unwrap();
        assert!(verify_spool(&whole[..cut]).is_ok());
        let mut spool = Spool::resume(open()).unwrap();
        spool.append(&Event::new(Layer::Process, "exec")).unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        let lines = whole[..cut].matches('\n').count() as u64 + 1;
        assert_eq!(verify_spool(&text).unwrap(), lines, "{text}");
    }
    std::fs::write(&path, "no event\n").unwrap();
    assert!(Spool::resume(open()).is_err());
    let tampered = whole.replacen("demo", "dome", 1);
    assert_eq!(verify_spool(&tampered).unwrap_err().what, Fault::Changed);
}

#[test]
fn a_summary_is_one_harmless_line() {
    let mut event = full();
    assert_eq!(
        event.summary(),
        "2026-09-21T14:13:20.000010Z network demo deny request GET https://api.github.com:443/repos/o?page=…&token=…&flag=… → 403, 120 bytes in 0.0 ms, model gpt, 1 token read, 2 tokens written, 0.25 dollars by /usr/bin/curl (path_not_allowed) rule http[0]"
    );
    event.request = Some(Request::file("/w/\u{1b}]0;evil\u{7}\r\n\u{202e}x"));
    event.rule = Some("a\u{9b}31mb".into());
    let line = event.summary();
    assert!(line.chars().all(|c| !c.is_control() && c != '\u{202e}'), "{line:?}");
    assert!(line.contains("\\u{1b}"), "{line}");
    assert!(event.to_line().is_ascii() || !event.to_line().contains(['\u{1b}', '\u{7}', '\r', '\n']));
}

#[test]
fn every_line_says_what_was_done() {
    let mut event = Event::new(Layer::Process, "exec");
    event.binary = Some("/usr/bin/python3.11".into());
    event.request = Some(Request { arguments: Some(1), ..Request::default() });
    assert_eq!(event.what(), "exec /usr/bin/python3.11 with 1 argument");
    event.request = Some(Request { arguments: Some(3), ..Request::file("/workspace/run.py") });
    assert_eq!(event.what(), "exec /usr/bin/python3.11 running /workspace/run.py with 3 arguments");
    event.binary = None;
    event.request = Some(Request::file("/workspace/denied"));
    assert_eq!(event.what(), "exec /workspace/denied");
    let of = |action: &'static str, response| {
        let full = full();
        let mut event = Event::new(Layer::Network, action);
        event.request = full.request.map(|request| Request { query: Default::default(), ..request });
        event.response = response;
        event.what()
    };
    assert_eq!(of("request", None), "request GET https://api.github.com:443/repos/o");
    assert_eq!(of("inject", None), "inject GET https://api.github.com:443/repos/o");
    let answer = Response {
        status: Some(200),
        sent: None,
        bytes: Some(1),
        first_byte_us: None,
        duration_us: Some(35_260),
    };
    assert_eq!(
        of("response", Some(answer)),
        "response GET https://api.github.com:443/repos/o → 200, 1 byte in 35.2 ms"
    );
}

/// A line is written by hand, and must be what `serde` would write.
#[test]
fn a_line_is_what_serde_writes() {
    let written = |event: &Event| assert_eq!(event.to_line(), serde_json::to_string(event).unwrap());
    written(&full());
    for layer in Layer::ALL {
        let mut event = Event::new(layer, "exec");
        written(&event);
        event.request = Some(Request::default());
        event.response = Some(Response::default());
        event.llm = Some(LlmUse::default());
        written(&event);
        event.request = Some(Request { arguments: Some(3), ..Request::file("/w") }.with_query("a\"=1&\\&ü"));
        event.response =
            Some(Response { sent: Some(0), first_byte_us: Some(u64::MAX), ..Response::default() });
        written(&event);
        for decision in [Decision::Allow, Decision::Deny, Decision::Audit] {
            event.decision = Some(decision);
            written(&event);
        }
    }
}

proptest! {
    #[test]
    fn a_line_is_what_serde_writes_of_any_text(texts in any::<[Option<String>; 6]>(), query in ".*", number in any::<u64>()) {
        let mut event = full();
        let [sandbox, rule, binary, method, host, path] = texts;
        (event.sandbox, event.rule, event.binary, event.revision) = (sandbox, rule, binary, Some(number));
        event.request = Some(Request { method, host, path, ..Request::default() }.with_query(&query));
        prop_assert_eq!(event.to_line(), serde_json::to_string(&event).unwrap());
    }

    #[test]
    fn every_event_comes_back_from_its_line(path in ".*", host in ".*", rule in any::<Option<String>>(), bytes in any::<u64>()) {
        let mut event = full();
        event.rule = rule;
        event.request = Some(Request { host: Some(host), ..Request::file(path) });
        event.response = Some(Response { bytes: Some(bytes), ..Response::default() });
        let line = Chain::NEW.linked(&event).0;
        prop_assert!(!line.contains(['\n', '\r']));
        prop_assert_eq!(Event::parse(&line).unwrap().event, event);
        prop_assert!(verify([line], None).is_ok());
    }

    #[test]
    fn any_flipped_byte_is_found(line in 0_usize..5, at in 0_usize..200, to in 0x20_u8..0x7f) {
        let mut lines = log(5);
        let mut bytes = lines[line].clone().into_bytes();
        let at = at % bytes.len();
        prop_assume!(bytes[at] != to);
        bytes[at] = to;
        lines[line] = String::from_utf8(bytes).unwrap();
        prop_assert_eq!(fault(&lines, None).map(|(line, _)| line), Some(line as u64 + 1));
    }

    #[test]
    fn nonsense_is_no_event(text in ".*") {
        prop_assert!(Event::parse(&text).is_err());
        prop_assert!(verify([text], None).is_err());
    }
}
