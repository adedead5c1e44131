//! Limits of model routes: what is reserved before a call goes out, what settles it, and what is refused.

use std::{io::Seek as _, time::Duration};

use chiton_audit::{LlmUse, Spool, Usd};
use chiton_testkit::{
    routes::{
        Router,
        echo::{stalling as stalling_body, streamed},
        openai,
    },
    server::{Received, json},
};

use super::*;
use crate::control;

const HOST: &str = "api.openai.com";
const PATH: &str = "/v1/chat/completions";
const JSON: &str = "content-type: application/json\r\n";
/// What is added to a body's bytes.
const AROUND: u64 = 512;
/// What the scripted model says that a call took.
const USED: u64 = openai::USAGE.0 + openai::USAGE.1;

fn policy(limits: &str) -> String {
    format!("dynamic: {{llm_routing: {{provider: openai, limits: {limits}}}}}")
}

struct Server {
    ca: TestCa,
    upstream: Upstream,
}

impl Server {
    fn new(router: Router) -> Self {
        let ca = TestCa::new();
        let upstream = Upstream::tls(&ca, &[HOST], router);
        Self { ca, upstream }
    }

    fn scripted() -> Self {
        Self::new(Router::new().any("/", openai::answer_request))
    }

    fn bench(&self, policy: &str, past: Option<Past>) -> Bench {
        let prices = r#"{"openai/m":{"input":"1","output":"10","cached":"0.5"}}"#;
        let at = format!("{HOST}:443");
        Bench::new(Setup {
            policy,
            resolve: vec![(&at, self.upstream.address())],
            roots: vec![self.ca.pem().to_owned()],
            prices: serde_json::from_str(prices).unwrap(),
            past,
            ..Setup::default()
        })
    }

    fn asked(&self) -> usize {
        self.upstream.requests().len()
    }
}

fn request_of(path: &str, fields: &str, body: &str) -> String {
    let length = body.len();
    format!(
        "POST {path} HTTP/1.1\r\nhost: {HOST}\r\n{fields}content-length: {length}\r\nconnection: close\r\n\r\n{body}"
    )
}

async fn ask(bench: &Bench, body: &str) -> String {
    bench.raw(HOST, &request_of(PATH, JSON, body)).await
}

/// A call that writes at most so much, and its bound.
fn call(most: u64) -> (String, u64) {
    let body = format!(r#"{{"model":"m","max_tokens":{most}}}"#);
    let bound = body.len() as u64 + AROUND + most;
    (body, bound)
}

fn events_of(bench: &Bench, action: &str) -> Vec<LlmUse> {
    let events = bench.events().into_iter().filter(|event| event.action.as_str() == action);
    events.filter_map(|event| event.llm).collect()
}

/// What a file tells a proxy that has to go on with these events.
fn past_of(bench: &Bench) -> Past {
    let mut file = tempfile::tempfile().unwrap();
    let mut spool = Spool::resume(file.try_clone().unwrap()).unwrap();
    bench.events().iter().for_each(|event| spool.append(event).unwrap());
    drop(spool);
    file.rewind().unwrap();
    control::resume(file).unwrap().past
}

fn refused(answer: &str, status: u16, said: &str) {
    let (got, head, body) = parts(answer);
    assert_eq!(got.as_u16(), status, "{answer}");
    assert!(head.contains("\r\nx-chiton-denied: limit_exceeded\r\n"), "{head}");
    assert_eq!(head.contains("\r\nretry-after: "), status == 429, "{head}");
    assert!(body.contains(said), "{body}");
}

#[tokio::test]
async fn a_loop_of_calls_stops_at_the_limit_and_says_which_how_much_and_until_when() {
    let server = Server::scripted();
    let (body, bound) = call(100);
    // What is settled gives the rest back: the second fits only because the first took less than its bound.
    let bench = server.bench(&policy(&format!("{{tokens_per_day: {}}}", bound + 2 * USED - 1)), None);
    for _ in 0..2 {
        assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    }
    let answer = ask(&bench, &body).await;
    refused(&answer, 429, &format!("{} are used, 0 are reserved", 2 * USED));
    let (_, head, text) = parts(&answer);
    assert!(text.contains("`tokens_per_day` is") && text.contains("T00:00:00"), "{text}");
    assert!(text.contains("\"rule\":\"llm_routing\""), "{text}");
    let wait = head.split("retry-after: ").nth(1).and_then(|rest| rest.split("\r\n").next()).unwrap();
    assert!((1..=86_401).contains(&wait.parse::<u32>().unwrap()), "{head}");
    assert_eq!(server.asked(), 2);
    let denied = bench.events().into_iter().find(|event| event.decision == Some(Decision::Deny)).unwrap();
    assert_eq!(denied.layer, chiton_audit::Layer::Llm);
}

#[tokio::test]
async fn two_calls_at_once_do_not_both_pass_where_one_fits() {
    let gate = Arc::new(tokio::sync::Semaphore::new(0));
    let opened = Arc::clone(&gate);
    let held = move |received: Received| {
        let gate = Arc::clone(&opened);
        async move {
            gate.acquire().await.unwrap().forget();
            openai::answer_request(received).await
        }
    };
    let server = Server::new(Router::new().any("/", held));
    let (body, bound) = call(100);
    let bench = Arc::new(server.bench(&policy(&format!("{{tokens_per_day: {}}}", 2 * bound - 1)), None));
    let calls: Vec<_> = (0..4)
        .map(|_| {
            let (bench, body) = (Arc::clone(&bench), body.clone());
            tokio::spawn(async move { ask(&bench, &body).await })
        })
        .collect();
    for _ in 0..2000 {
        if events_of(&bench, "reserve").len() + bench.denials().len() == 4 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
    gate.add_permits(10);
    let mut passed = 0;
    for call in calls {
        let answer = call.await.unwrap();
        match parts(&answer).0.as_u16() {
            200 => passed += 1,
            _ => refused(&answer, 429, &format!("0 are used, {bound} are reserved by calls that run")),
        }
    }
    assert_eq!((passed, server.asked()), (1, 1));
    // The one that passed is settled, and there is room again.
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
}

#[tokio::test]
async fn what_is_reserved_is_written_before_the_call_goes_out_and_settled_by_name() {
    let server = Server::scripted();
    let bench = server.bench(&policy("{tokens_per_day: 100000, usd_per_day: 1}"), None);
    let (body, _) = call(100);
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    bench.event("response").await;
    let actions: Vec<_> = bench.events().iter().map(|event| event.action.as_str().to_owned()).collect();
    assert_eq!(
        actions.iter().filter(|action| *action != "stand_in").collect::<Vec<_>>(),
        ["request", "reserve", "response"]
    );
    let reserve = bench.event("reserve").await;
    let held = reserve.llm.unwrap();
    let read = body.len() as u64 + AROUND;
    assert_eq!((held.input_tokens, held.output_tokens, held.bound), (Some(read), Some(100), true));
    assert_eq!(held.usd, Some(Usd(read * 1_000_000 + 100 * 10_000_000)));
    let response = bench.event("response").await;
    assert!(response.response.unwrap().first_byte_us.is_some());
    let spent = response.llm.unwrap();
    assert_eq!(spent.call, Some(reserve.id));
    assert_eq!((spent.input_tokens, spent.output_tokens, spent.bound), (Some(11), Some(7), false));
    assert_eq!(spent.usd, Some(Usd(11 * 1_000_000 + 7 * 10_000_000)));
    assert_eq!(spent.backend.as_deref(), Some("https://api.openai.com/v1"));
    // Without the event nothing goes out.
    bench.events.broken.store(true, std::sync::atomic::Ordering::Relaxed);
    assert_eq!(parts(&ask(&bench, &body).await).0, 503);
    assert_eq!(server.asked(), 1);
}

#[tokio::test]
async fn a_call_cut_before_its_usage_came_costs_the_bound() {
    let endless = |mut received: Received| async move {
        received.body().await;
        let piece = bytes::Bytes::from_static(b"data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}],\"usage\":{\"prompt_tokens\":1,\"completion_tokens\":1}}\n\n");
        streamed("text/event-stream", vec![piece; 10_000], Duration::from_millis(20))
    };
    let server = Server::new(Router::new().any("/", endless));
    let bench = server.bench(&policy("{tokens_per_day: 3000}"), None);
    let body = r#"{"model":"m","max_tokens":2000,"stream":true,"stream_options":{"include_usage":true}}"#;
    let bound = body.len() as u64 + AROUND + 2000;
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    stream.write_all(request_of(PATH, JSON, body).as_bytes()).await.unwrap();
    // Some usage has come by then, and it is not the last.
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("completion_tokens") {
        stream.read_buf(&mut got).await.unwrap();
    }
    drop(stream);
    let spent = bench.event("response").await.llm.unwrap();
    assert!(spent.bound, "{spent:?}");
    assert_eq!(spent.input_tokens.unwrap() + spent.output_tokens.unwrap(), bound);
    refused(&ask(&bench, body).await, 429, &format!("{bound} are used, 0 are reserved"));
}

/// A server whose streams begin so, and stall.
fn stalling(begin: &'static str) -> Server {
    let answer = move |mut received: Received| async move {
        received.body().await;
        stalling_body("text/event-stream", begin)
    };
    Server::new(Router::new().any("/", answer))
}

#[tokio::test]
async fn how_far_a_running_call_is_gets_written_and_it_stays_reserved_whole() {
    let told = "data: {\"choices\":[{\"delta\":{\"content\":\"x\"}}]}\n\n\
                data: {\"choices\":[],\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5}}\n\n";
    let server = stalling(told);
    let body = r#"{"model":"m","max_tokens":100,"stream":true,"stream_options":{"include_usage":true}}"#;
    let bound = body.len() as u64 + AROUND + 100;
    let limits = policy(&format!("{{tokens_per_day: {}}}", 2 * bound - 1));
    let bench = server.bench(&limits, None);
    let spend = Arc::clone(&bench.proxy.spend);
    tokio::spawn(async move { spend.write_so_far().await });
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    stream.write_all(request_of(PATH, JSON, body).as_bytes()).await.unwrap();
    let reserve = bench.event("reserve").await;
    let far = bench.event("progress").await.llm.unwrap();
    assert_eq!(far.call, Some(reserve.id));
    assert_eq!((far.input_tokens, far.output_tokens, far.events), (Some(3), Some(5), Some(2)));
    assert_eq!((far.usd, far.bound), (Some(Usd(3 * 1_000_000 + 5 * 10_000_000)), false));
    let said = format!("0 are used, {bound} are reserved by calls that run");
    refused(&ask(&bench, body).await, 429, &said);
    // A proxy that comes after one that was killed meanwhile.
    let after = server.bench(&limits, Some(past_of(&bench)));
    refused(&ask(&after, body).await, 429, &format!("{bound} are used, 0 are reserved"));
    // Nothing is written of a call that is settled, nor where nothing changed.
    drop(stream);
    bench.event("response").await;
    assert_eq!(events_of(&bench, "progress").len(), 1);
}

#[tokio::test]
async fn what_a_killed_proxy_knew_to_be_more_than_was_reserved_counts() {
    let server = stalling("data: {\"usage\":{\"prompt_tokens\":3,\"completion_tokens\":5000}}\n\n");
    let (body, bound) = call(100);
    let limits = policy("{tokens_per_day: 5400}");
    let bench = server.bench(&limits, None);
    let spend = Arc::clone(&bench.proxy.spend);
    tokio::spawn(async move { spend.write_so_far().await });
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    stream.write_all(request_of(PATH, JSON, &body).as_bytes()).await.unwrap();
    bench.event("progress").await;
    assert!(bound < 5003);
    let after = server.bench(&limits, Some(past_of(&bench)));
    refused(&ask(&after, &body).await, 429, "5003 are used, 0 are reserved");
}

#[tokio::test]
async fn a_stream_is_settled_by_its_usage_also_where_nobody_waits_for_its_end() {
    let lingering = |mut received: Received| async move {
        received.body().await;
        let mut pieces = vec![bytes::Bytes::from_static(
            b"data: {\"model\":\"m\",\"choices\":[],\"usage\":{\"prompt_tokens\":100,\"completion_tokens\":7,\"prompt_tokens_details\":{\"cached_tokens\":40}}}\n\ndata: [DONE]\n\n",
        )];
        pieces.extend(vec![bytes::Bytes::from_static(b": still here\n\n"); 10_000]);
        streamed("text/event-stream", pieces, Duration::from_millis(20))
    };
    let server = Server::new(Router::new().any("/", lingering));
    let bench = server.bench(&policy("{tokens_per_day: 10000}"), None);
    let body = r#"{"model":"m","max_tokens":50,"stream":true,"stream_options":{"include_usage":true}}"#;
    let mut stream = bench.connect_tls(HOST, HOST, &["http/1.1"]).await;
    stream.write_all(request_of(PATH, JSON, body).as_bytes()).await.unwrap();
    let mut got = Vec::new();
    while !String::from_utf8_lossy(&got).contains("[DONE]") {
        stream.read_buf(&mut got).await.unwrap();
    }
    drop(stream);
    let spent = bench.event("response").await.llm.unwrap();
    assert_eq!((spent.input_tokens, spent.output_tokens, spent.bound), (Some(100), Some(7), false));
    assert_eq!(spent.cached_tokens, Some(40));
    assert_eq!(spent.usd, Some(Usd(60 * 1_000_000 + 40 * 500_000 + 7 * 10_000_000)));
}

#[tokio::test]
async fn a_proxy_that_comes_after_goes_on_with_the_count_and_with_what_nothing_settled() {
    let server = Server::scripted();
    let (body, bound) = call(100);
    let limits = policy(&format!("{{tokens_per_day: {}, requests_per_minute: 3}}", 2 * bound + USED));
    let bench = server.bench(&limits, None);
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    bench.event("response").await;
    // Killed while a call runs: it is in the file that it may spend, and nothing that it did not.
    let unsettled = bench.event("reserve").await;
    let mut killed = unsettled.clone();
    killed.id = chiton_audit::EventId::next();
    bench.events.events.lock().unwrap().push(killed);
    let after = server.bench(&limits, Some(past_of(&bench)));
    assert_eq!(parts(&ask(&after, &body).await).0, 200);
    refused(&ask(&after, &body).await, 429, &format!("{} are used", 2 * USED + bound));
    // The requests of the last minute are counted on, too.
    let third = server.bench(&policy("{requests_per_minute: 2}"), Some(past_of(&after)));
    refused(&ask(&third, &body).await, 429, "`requests_per_minute` is 2");
    assert_eq!(server.asked(), 2);
    // What was of another day is not of this one.
    let mut old = bench.event("response").await;
    old.time = std::time::SystemTime::UNIX_EPOCH.into();
    old.llm.as_mut().unwrap().call = None;
    let mut past = Past::new();
    past.take(&old);
    let next_day = server.bench(&policy(&format!("{{tokens_per_day: {bound}}}")), Some(past));
    assert_eq!(parts(&ask(&next_day, &body).await).0, 200);
}

#[tokio::test]
async fn a_revision_keeps_what_was_spent_under_another_name_and_in_another_place() {
    let server = Server::scripted();
    let (body, bound) = call(100);
    let bench = server.bench(&policy("{tokens_per_day: 100000}"), None);
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    bench.event("response").await;
    for (number, routing) in [
        (2, format!("{{provider: openai, limits: {{tokens_per_day: {bound}}}}}")),
        (
            3,
            format!(
                "[{{provider: anthropic}}, {{provider: openai, models: ['*'], limits: {{tokens_per_day: {bound}}}}}]"
            ),
        ),
        (
            4,
            format!(
                "[{{provider: openai-compatible, base_url: 'https://{HOST}/v1', limits: {{tokens_per_day: {bound}}}}}]"
            ),
        ),
    ] {
        bench.apply(number, &format!("dynamic: {{llm_routing: {routing}}}")).await.unwrap();
        refused(&ask(&bench, &body).await, 429, &format!("{USED} are used"));
    }
    // Without limits it is counted all the same.
    bench.apply(5, "dynamic: {llm_routing: {provider: openai}}").await.unwrap();
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    bench.apply(6, &policy(&format!("{{tokens_per_day: {bound}}}"))).await.unwrap();
    refused(&ask(&bench, &body).await, 429, &format!("{} are used", 2 * USED));
}

#[tokio::test]
async fn money_needs_a_price_and_what_cannot_be_bounded_reaches_nobody() {
    let server = Server::scripted();
    let bench = server.bench(&policy("{usd_per_day: 0.01}"), None);
    for (body, said) in [
        (r#"{"model":"unheard-of","max_tokens":1}"#, "there is no price for `unheard-of`"),
        (r#"{"max_tokens":1}"#, "which model it is for cannot be told"),
        (r#"{"model":"m","max_tokens":1,"service_tier":"priority"}"#, "`service_tier`"),
        (r#"{"model":"m","max_tokens":1,"tools":[{"type":"web_search"}]}"#, "`web_search`"),
        (r#"{"model":"m","max_tokens":1000000}"#, "more than a whole day's"),
        (r#"{"model":"m"}"#, "more than a whole day's"),
        ("[]", "cannot be read"),
    ] {
        refused(&ask(&bench, body).await, 403, said);
    }
    let twice = ask(&bench, r#"{"model":"m","max_tokens":1,"max_tokens":9}"#).await;
    assert!(twice.contains("x-chiton-denied: ambiguous_request"), "{twice}");
    for (path, fields) in [
        (PATH, "content-type: text/plain\r\n"),
        (PATH, "content-type: application/json\r\ncontent-encoding: gzip\r\n"),
        (PATH, "content-type: application/json; charset=utf-16\r\n"),
        ("/v1/audio/transcriptions", "content-type: multipart/form-data; boundary=x\r\n"),
    ] {
        let answer = bench.raw(HOST, &request_of(path, fields, r#"{"model":"m","max_tokens":1}"#)).await;
        refused(&answer, 403, "cannot be read");
    }
    refused(
        &bench.raw(HOST, &request_of("/v1/images/generations", JSON, r#"{"model":"m"}"#)).await,
        403,
        "not told in tokens",
    );
    assert_eq!(server.asked(), 0);
    assert!(events_of(&bench, "reserve").is_empty());
    // What costs nothing is open.
    let listed = bench.get(HOST, "/v1/models").await;
    assert_eq!(parts(&listed).0, 200, "{listed}");
}

#[tokio::test]
async fn a_call_that_was_refused_or_never_sent_costs_nothing() {
    let failing = |mut received: Received| async move {
        received.body().await;
        json(500, &serde_json::json!({"error": {}}))
    };
    let server = Server::new(Router::new().any("/", failing));
    let (body, bound) = call(100);
    let limits = policy(&format!("{{tokens_per_day: {bound}}}"));
    let bench = server.bench(&limits, None);
    for _ in 0..3 {
        assert_eq!(parts(&ask(&bench, &body).await).0, 500);
    }
    // Nobody is there: nothing was sent.
    let away = Bench::new(Setup {
        policy: &limits,
        resolve: vec![("api.openai.com:443", "127.0.0.1:1".parse().unwrap())],
        ..Setup::default()
    });
    for _ in 0..3 {
        assert_eq!(parts(&ask(&away, &body).await).0, 502);
    }
    for spent in events_of(&away, "response").into_iter().chain(events_of(&bench, "response")) {
        assert_eq!((spent.input_tokens, spent.output_tokens, spent.bound), (Some(0), Some(0), false));
        assert!(spent.call.is_some());
    }
}

#[tokio::test]
async fn an_answer_without_usage_costs_the_bound() {
    let silent = |mut received: Received| async move {
        received.body().await;
        json(200, &serde_json::json!({"model": "m", "choices": []}))
    };
    let server = Server::new(Router::new().any("/", silent));
    let (body, bound) = call(100);
    let bench = server.bench(&policy(&format!("{{tokens_per_day: {}}}", bound + 1)), None);
    assert_eq!(parts(&ask(&bench, &body).await).0, 200);
    refused(&ask(&bench, &body).await, 429, &format!("{bound} are used"));
}
