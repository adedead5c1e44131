//! Limits of model routes from inside a sandbox, and what the usage says of it afterwards.

use std::{
    process::Stdio,
    thread,
    time::{Duration, Instant},
};

use chiton_testkit::{
    routes::{Router, echo::stalling, openai},
    server::Received,
};
use chiton_tests::{As, World, roles};
use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

/// How the two APIs begin a stream: one tells at once what it read, the other nothing before the end.
const BEGUN: [(&str, &str, &str); 2] = [
    (
        "anthropic",
        "api.anthropic.com/v1/messages",
        "event: message_start\ndata: {\"type\":\"message_start\",\"message\":{\"model\":\"claude-haiku-4-5\",\"usage\":{\"input_tokens\":25,\"output_tokens\":4}}}\n\n\
         event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"Once\"}}\n\n",
    ),
    (
        "openai",
        "api.openai.com/v1/chat/completions",
        "data: {\"choices\":[{\"delta\":{\"content\":\"Once\"}}]}\n\ndata: {\"choices\":[{\"delta\":{\"content\":\" upon\"}}]}\n\n",
    ),
];
const BODY: &str = r#"{"model":"gpt-5-mini","max_tokens":100}"#;
const STREAM: &str = r#"{"model":"gpt-5-mini","max_tokens":100,"stream":true}"#;
/// What a call of this body can take: its bytes, what is added to them, and what it writes.
const BOUND: usize = BODY.len() + 512 + 100;
const USED: usize = 11 + 7;

fn started(limits: &str) -> World {
    let world = World::new(As::User, &["api.openai.com"], Router::new().any("/", openai::answer_request));
    let policy = world.chiton.policy(&format!(
        "static: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}}}\n\
         dynamic: {{llm_routing: {{provider: openai, limits: {limits}}}}}\n"
    ));
    let policy = policy.to_str().expect("a path");
    let _ =
        world.chiton.run(&["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"]).expect_success();
    world
}

/// Status, and what was answered.
fn ask(world: &World, body: &str) -> (String, String) {
    let url = "https://api.openai.com/v1/chat/completions";
    let json = "content-type: application/json";
    let arguments = ["exec", "box", "curl", "-s", "-i", "-m", "20", "-H", json, "-d", body, url];
    let answer = world.chiton.run(&arguments).stdout;
    let status = answer.split(' ').nth(1).unwrap_or_default().to_owned();
    (status, answer)
}

fn kill_all(world: &World, role: &str) {
    for id in roles(world, role) {
        let pid = Pid::from_raw(i32::try_from(id).expect("a pid")).expect("a pid");
        let _ = kill_process(pid, Signal::KILL);
    }
}

#[test]
fn a_loop_of_calls_stops_at_the_limit_and_no_kill_begins_it_anew() {
    let world = started(&format!("{{tokens_per_day: {}}}", BOUND + 4 * USED - 1));
    for body in [STREAM, BODY, BODY, BODY] {
        let (status, answer) = ask(&world, body);
        assert_eq!(status, "200", "{answer}");
    }
    let refused = |what: &str| {
        let (status, answer) = ask(&world, BODY);
        assert_eq!(status, "429", "{what}: {answer}");
        assert!(answer.to_lowercase().contains("x-chiton-denied: limit_exceeded"), "{what}: {answer}");
        assert!(answer.to_lowercase().contains("retry-after: "), "{what}: {answer}");
        assert!(answer.contains(&format!("{} are used", 4 * USED)), "{what}: {answer}");
        assert!(answer.contains("T00:00:00"), "{what}: {answer}");
    };
    refused("at the limit");
    // Whatever is killed, and in whatever order.
    kill_all(&world, "chiton proxy");
    kill_all(&world, "gateway");
    let deadline = Instant::now() + Duration::from_secs(30);
    while ask(&world, BODY).0.is_empty() {
        assert!(Instant::now() < deadline, "no proxy replaced the one that was killed");
        thread::sleep(Duration::from_millis(20));
    }
    refused("after the kill");
    let _ = world.chiton.run(&["stop", "box"]).expect_success();
    let _ = world.chiton.run(&["start", "box"]).expect_success();
    refused("after another start");
    assert_eq!(world.upstream.requests().len(), 4);
    let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

#[test]
fn the_usage_is_what_the_provider_said_also_when_the_sandbox_is_gone() {
    let world = started("{usd_per_day: 1}");
    for body in [BODY, STREAM] {
        assert_eq!(ask(&world, body).0, "200");
    }
    let (status, answer) = ask(&world, r#"{"model":"unheard-of","max_tokens":1}"#);
    assert!(status == "403" && answer.contains("there is no price for `unheard-of`"), "{answer}");
    let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
    let usage = world.chiton.run(&["llm", "usage", "--by", "model", "--json"]).expect_success().json();
    let rows = usage["rows"].as_array().expect("rows");
    assert_eq!(rows.len(), 1, "{usage:#}");
    let row = &rows[0];
    assert_eq!(row["name"], "openai/gpt-5-mini");
    assert_eq!(
        (row["calls"].as_u64(), row["open"].as_u64(), row["at_bound"].as_u64()),
        (Some(2), Some(0), Some(0))
    );
    assert_eq!((row["input_tokens"].as_u64(), row["output_tokens"].as_u64()), (Some(22), Some(14)));
    // 22 at 0.25 and 14 at 2 dollars for a million.
    assert_eq!(row["usd"].to_string(), "0.0000335", "{usage:#}");
    assert_eq!(usage["total"]["calls"], 2);
    let table =
        world.chiton.run(&["llm", "usage", "box", "--by", "sandbox", "--since", "1h"]).expect_success();
    assert!(table.stdout.starts_with("SANDBOX") && table.stdout.contains("0.0000335"), "{table:?}");
    let none = world.chiton.run(&["llm", "usage", "other", "--json"]).expect_success().json();
    assert_eq!(none["total"]["calls"], 0);
}

/// What the usage says of calls that are not settled, as soon as it is so.
fn so_far(world: &World, is: impl Fn(&Value) -> bool) -> Value {
    let deadline = Instant::now() + Duration::from_secs(30);
    loop {
        let usage = world.chiton.run(&["llm", "usage", "box", "--json"]).expect_success().json();
        let total = usage["total"].clone();
        if is(&total) {
            return total;
        }
        assert!(Instant::now() < deadline, "{usage:#}");
        thread::sleep(Duration::from_millis(50));
    }
}

#[test]
fn a_running_stream_is_counted_while_it_streams_and_a_kill_costs_what_it_reserved() {
    for (provider, endpoint, begun) in BEGUN {
        let answer = move |mut received: Received| async move {
            received.body().await;
            stalling("text/event-stream", begun)
        };
        let host = endpoint.split('/').next().unwrap_or_default();
        let world = World::new(As::User, &[host], Router::new().any("/", answer));
        // To OpenAI it is added where it is not there.
        let (model, more) = match provider {
            "openai" => ("gpt-5-mini", r#","stream_options":{"include_usage":true}"#),
            _ => ("claude-haiku-4-5", ""),
        };
        let body = format!(r#"{{"model":"{model}","max_tokens":100,"stream":true,"messages":[]{more}}}"#);
        let bound = body.len() + 512 + 100;
        let policy = world.chiton.policy(&format!(
            "static: {{filesystem: {{allowed_paths: [/workspace, /tmp]}}}}\n\
             dynamic: {{llm_routing: {{provider: {provider}, limits: {{tokens_per_day: {}}}}}}}\n",
            2 * bound - 1
        ));
        let policy = policy.to_str().expect("a path");
        let arguments = ["run", "-d", "-n", "box", "-p", policy, "--", "sleep", "600"];
        let _ = world.chiton.run(&arguments).expect_success();
        let url = format!("https://{endpoint}");
        let json = "content-type: application/json";
        let curl = ["exec", "box", "curl", "-sN", "-H", json, "-d", &body, &url];
        let mut running = world.chiton.command(&curl).stdout(Stdio::null()).spawn().expect("chiton");
        let far = so_far(&world, |total| total["so_far"]["events"] == 2);
        assert_eq!((far["open"].as_u64(), far["calls"].as_u64()), (Some(1), Some(0)), "{far:#}");
        let told = &far["so_far"];
        let tokens = if provider == "openai" { (0, 0) } else { (25, 4) };
        assert_eq!(
            (told["input_tokens"].as_u64(), told["output_tokens"].as_u64()),
            (Some(tokens.0), Some(tokens.1)),
            "{far:#}"
        );
        assert_eq!(told["reserved_tokens"].as_u64(), u64::try_from(bound).ok(), "{far:#}");
        let shown = world.chiton.run(&["llm", "usage", "box"]).expect_success();
        assert!(shown.stderr.contains("1 call not settled"), "{shown:?}");
        assert!(shown.stderr.contains(&format!("in 2 events; {bound} reserved")), "{shown:?}");
        // Nothing less is held against the limit, neither now nor when the proxy was killed.
        let asked =
            || world.chiton.run(&["exec", "box", "curl", "-s", "-m", "20", "-H", json, "-d", &body, &url]);
        let answer = asked().stdout;
        assert!(answer.contains(&format!("{bound} are reserved by calls that run")), "{provider}: {answer}");
        kill_all(&world, "chiton proxy");
        let _ = running.wait();
        let deadline = Instant::now() + Duration::from_secs(30);
        loop {
            let answer = asked().stdout;
            if answer.contains(&format!("{bound} are used, 0 are reserved")) {
                break;
            }
            assert!(answer.is_empty() && Instant::now() < deadline, "{provider}: {answer}");
            thread::sleep(Duration::from_millis(20));
        }
        let left = so_far(&world, |total| total["open"] == 1);
        assert_eq!(left["so_far"], far["so_far"]);
        let _ = world.chiton.run(&["rm", "-f", "box"]).expect_success();
    }
}
