//! `static.resources`: what a driver gets of them and refuses, and what is said when one is run into.

use chiton_driver::{Exit, LimitsHit};
use serde_json::{Value, json};

use super::{
    fake::UNKEPT_CPUS,
    world::{World, until},
};

const LIMITED: &str = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n  resources:\n    memory: 64MiB\n    \
                       pids: 9\n    wall_time: 5m\n";

fn hit(out_of_memory: u64, pids: u64, wall_time: bool) -> LimitsHit {
    LimitsHit { out_of_memory, pids, wall_time }
}

/// The reasons of the limits' events.
fn told(world: &World) -> Vec<String> {
    let log = world.log();
    let limits = log.iter().filter(|event| event["action"] == "limit");
    limits
        .map(|event| {
            assert_eq!((&event["layer"], &event["decision"]), (&json!("process"), &json!("deny")));
            assert!(event["rule"].as_str().unwrap().starts_with("static.resources."));
            event["reason"].as_str().unwrap().to_owned()
        })
        .collect()
}

#[test]
fn a_driver_gets_them_in_plain_numbers() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "policy": LIMITED})));
    let resources = world.fake.only(|running| running.spec.resources);
    assert_eq!(resources.to_string(), "memory 64MiB, pids 9, wall_time 300s");
}

#[test]
fn what_is_not_kept_is_refused_before_anything_exists() {
    let world = World::new();
    let served = world.serve();
    let policy = format!("static: {{resources: {{cpus: {}}}}}\n", f64::from(UNKEPT_CPUS) / 1000.0);
    let body = world.create(json!({"name": "demo", "policy": policy}));
    let problem = served.refused("POST", "/v1/sandboxes", body);
    assert!(problem["detail"].as_str().unwrap().contains("static.resources.cpus"), "{problem}");
    assert!(world.fake.host().calls.is_empty());
    assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]));
    // One that runs is not stopped for it.
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    served.refused("PUT", "/v1/sandboxes/demo/policy", json!({"policy": policy, "recreate": true}));
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["state"], "running");
}

#[test]
fn each_growth_is_told_once_also_by_the_gateway_after() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "policy": LIMITED})));
    world.fake.only(|running| running.limits = hit(0, 3, false));
    until(|| told(&world) == ["pids_limit"]);
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!(shown["limits"], json!({"out_of_memory": 0, "pids": 3, "wall_time": false}));
    served.kill();
    let served = world.serve();
    world.fake.only(|running| running.limits = hit(1, 3, false));
    until(|| told(&world).len() > 1);
    assert_eq!(told(&world), ["pids_limit", "out_of_memory"]);
    world.fake.only(|running| running.exit_with(Exit { limits: hit(1, 3, false), ..Exit::of(137) }));
    let waited = served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
    assert_eq!(waited, json!({"exit_code": 137, "reason": "killed: out of memory (memory 64MiB)"}));
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!((&shown["state"], &shown["reason"]), (&json!("stopped"), &waited["reason"]));
    assert_eq!(told(&world).len(), 2, "nothing new at the end");
    // Another run is told of anew.
    served.must("POST", "/v1/sandboxes/demo/start", json!({}));
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["reason"], Value::Null);
    world.fake.only(|running| running.exit_with(Exit { limits: hit(0, 0, true), ..Exit::of(143) }));
    let waited = served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
    assert_eq!(waited["reason"], "ended: its time was over (wall_time 300s)");
    assert_eq!(told(&world), ["pids_limit", "out_of_memory", "time_over"]);
}

#[test]
fn an_end_that_no_gateway_saw_is_told_by_the_next() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "policy": LIMITED})));
    served.kill();
    world.fake.only(|running| running.exit_with(Exit { limits: hit(2, 0, false), ..Exit::of(1) }));
    world.fake.host().sandboxes.clear();
    let served = world.serve();
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!(shown["reason"], "a program in it was killed: out of memory (memory 64MiB)");
    assert_eq!(told(&world), ["out_of_memory"]);
}
