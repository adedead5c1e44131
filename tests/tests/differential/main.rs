//! The same odd requests through the proxy to nginx, Node, Python and hyper: what the policy judged and what the
//! server saw is the same request, or there is none.
//!
//! Every case of [`corpus`] is sent to every server of [`upstreams`] on a connection of its own, from inside one
//! sandbox. What was judged is read from the audit log, what was seen from each server. A failure names the case.

mod corpus;
mod upstreams;

use std::{
    collections::{BTreeMap, HashSet},
    fs,
    time::{Duration, Instant},
};

use base64::{Engine, prelude::BASE64_STANDARD};
use chiton_testkit::ca::TestCa;
use chiton_tests::{As, Chiton, http_policy};
use corpus::{Case, Wanted};
use serde_json::{Value, json};
use upstreams::{Seen, Server};

/// Method, host, path and query names: all that an event says of a request.
type Judged = (String, String, String, Vec<String>);

const METHODS: &str = "[GET, POST, PUT, DELETE, PATCH, OPTIONS, PROPFIND]";

#[test]
fn what_was_judged_is_what_every_server_saw() {
    let cases = corpus::all();
    let names: HashSet<_> = cases.iter().map(|case| &case.name).collect();
    assert!(names.len() == cases.len() && cases.len() >= 500, "{} of {} named", names.len(), cases.len());

    let ca = TestCa::new();
    let servers = upstreams::all(&ca);
    let chiton = installation(&ca, &servers);
    let told = attack(&chiton, &cases, &servers);
    let judged = judged(&chiton);
    let problems: Vec<String> =
        servers.iter().flat_map(|server| compare(server, &cases, &judged, &told)).collect();
    let shown = problems.iter().take(60).cloned().collect::<Vec<_>>().join("\n");
    assert!(problems.is_empty(), "{} problems:\n{shown}", problems.len());
}

fn installation(ca: &TestCa, servers: &[Server]) -> Chiton {
    let mut chiton = Chiton::new(As::User);
    chiton.trust(ca);
    for server in servers {
        chiton.resolve(&format!("{}:443", server.name), server.address);
    }
    chiton.bring_probe();
    chiton
}

fn id(index: usize) -> String {
    format!("c{index:04}")
}

/// Sends everything, then one request to each server that must be the last; tells what came back by case and host.
fn attack(chiton: &Chiton, cases: &[Case], servers: &[Server]) -> BTreeMap<(String, String), Value> {
    let each = |id: &str, host: &str, case: &Case| {
        let bytes = BASE64_STANDARD.encode(case.for_host(id, host));
        json!({ "id": id, "host": host, "server_name": host, "http2": case.http2, "answers": case.answers, "bytes": bytes })
    };
    let all = cases.iter().enumerate();
    let all: Vec<_> =
        all.flat_map(|(at, case)| servers.iter().map(move |s| each(&id(at), s.name, case))).collect();
    let last = corpus::case("last", corpus::head("GET /ok/{id} HTTP/1.1|Host: {host}", b""), corpus::sent());
    let last: Vec<_> = servers.iter().map(|server| each("last", server.name, &last)).collect();
    chiton.write_workspace("corpus.json", serde_json::to_vec(&all).expect("JSON"));
    chiton.write_workspace("last.json", serde_json::to_vec(&last).expect("JSON"));
    let rules: Vec<_> = servers
        .iter()
        .map(|server| format!("{{host: {}, methods: {METHODS}, paths: [/ok/**]}}", server.name))
        .collect();
    let policy = chiton.policy(&http_policy(&rules.iter().map(String::as_str).collect::<Vec<_>>()));
    let probe = [
        "./chiton-probe",
        "corpus",
        "corpus.json",
        "told.json",
        ",",
        "corpus",
        "last.json",
        "last-told.json",
    ];
    let _ = chiton.sandboxed(&policy, &probe).expect_success();

    let deadline = Instant::now() + Duration::from_secs(30);
    for server in servers {
        while !server.seen().iter().any(|seen| seen.target == "/ok/last") {
            assert!(Instant::now() < deadline, "{}: the last request never came", server.name);
            std::thread::sleep(Duration::from_millis(5));
        }
    }
    let told = fs::read(chiton.workspace().join("told.json")).expect("what came back");
    let told: Vec<Value> = serde_json::from_slice(&told).expect("JSON");
    assert_eq!(told.len(), cases.len() * servers.len());
    let text = |value: &Value, key: &str| value[key].as_str().unwrap_or_default().to_owned();
    told.into_iter().map(|told| ((text(&told, "id"), text(&told, "host")), told)).collect()
}

/// Every request that was let pass.
fn judged(chiton: &Chiton) -> Vec<Judged> {
    let allowed = chiton.audit(&["--layer", "network", "--decision", "allow"]).into_iter();
    let text = |value: &Value| value.as_str().unwrap_or_default().to_owned();
    let judged = allowed.filter(|event| event["action"] == "request").map(|event| {
        let request = &event["request"];
        let names = request["query"].as_array().map(|names| names.iter().map(text).collect());
        (text(&request["method"]), text(&request["host"]), text(&request["path"]), names.unwrap_or_default())
    });
    judged.collect()
}

/// What an event would say of what a server saw.
fn as_judged(seen: &Seen) -> Judged {
    let (path, query) = seen.target.split_once('?').unwrap_or((&seen.target, ""));
    let names = query.split('&').filter(|pair| !pair.is_empty());
    let names = names.map(|pair| pair.split_once('=').map_or(pair, |(name, _)| name)).take(64);
    let names = names.map(|name| name.chars().take(128).collect()).collect();
    let path = path.chars().take(4096).collect();
    (seen.method.clone(), seen.host.trim_end_matches(":443").to_owned(), path, names)
}

fn compare(
    server: &Server,
    cases: &[Case],
    judged: &[Judged],
    told: &BTreeMap<(String, String), Value>,
) -> Vec<String> {
    let seen = server.seen();
    let mut problems = unjudged(server, &seen, judged);
    for (index, case) in cases.iter().enumerate() {
        let id = id(index);
        let at_server: Vec<_> = seen.iter().filter(|seen| seen.target.contains(&id)).collect();
        let passed = judged.iter().filter(|judged| judged.1 == server.name && judged.2.contains(&id)).count();
        let told = &told[&(id.clone(), server.name.to_owned())];
        let mut bodies: Vec<u64> = at_server.iter().map(|seen| seen.body).collect();
        bodies.sort_unstable();
        let as_wanted = match &case.wanted {
            Wanted::Refused => at_server.is_empty() && passed == 0,
            Wanted::Sent(wanted) => bodies == *wanted && passed == wanted.len(),
            Wanted::Either => at_server.len() <= 1 && passed <= 1,
        };
        if !as_wanted {
            problems.push(format!(
                "{}: {id} `{}`: wanted {:?}, judged {passed}, seen {at_server:?}, told {told}",
                server.name, case.name, case.wanted
            ));
        }
        if let Some(wrong) = foreign_answer(told, &id) {
            problems.push(format!("{}: {id} `{}`: the answer is another's: {wrong}", server.name, case.name));
        }
    }
    problems.extend(unread(server, cases));
    problems
}

/// What the server saw and nobody judged.
fn unjudged(server: &Server, seen: &[Seen], judged: &[Judged]) -> Vec<String> {
    let mut left: BTreeMap<&Judged, usize> = BTreeMap::new();
    judged.iter().for_each(|judged| *left.entry(judged).or_default() += 1);
    let mut problems = Vec::new();
    for seen in seen {
        match left.get_mut(&as_judged(seen)) {
            Some(count) if *count > 0 => *count -= 1,
            Some(_) => problems.push(format!("{}: seen twice, judged once: {seen:?}", server.name)),
            None => problems.push(format!("{}: seen, never judged: {seen:?}", server.name)),
        }
    }
    problems
}

/// What the server did not take for a request. A body that is broken off is such a thing, and the agent's own fault.
fn unread(server: &Server, cases: &[Case]) -> Vec<String> {
    let either = |line: &String| {
        let mut all = cases.iter().enumerate();
        all.any(|(at, case)| case.wanted == Wanted::Either && line.contains(&id(at)))
    };
    let lines = server.refused().into_iter().filter(|line| !either(line));
    lines.map(|line| format!("{}: not a request to it: {line}", server.name)).collect()
}

/// A server's answer that is not to this case.
fn foreign_answer(told: &Value, id: &str) -> Option<String> {
    let texts = |key: &str| told[key].as_array().cloned().unwrap_or_default();
    let (statuses, bodies) = (texts("statuses"), texts("bodies"));
    let of_server = statuses.iter().zip(&bodies).filter(|(status, _)| *status == "200");
    let foreign = |body: &str| !body.is_empty() && !body.contains(id);
    of_server.filter_map(|(_, body)| body.as_str()).find(|body| foreign(body)).map(str::to_owned)
}
