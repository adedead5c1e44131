//! A gateway that is killed, and what the next one makes of it.

use std::time::Duration;

use serde_json::{Value, json};

use super::world::{Served, World, ask, until};
use crate::serve::close;

/// Kills a gateway that hangs in this step of a create.
fn killed_at(world: &World, step: &'static str) {
    let served = world.serve();
    world.fake.host().hang_at = Some(step);
    let (socket, body) = (served.socket.clone(), world.create(json!({"name": "demo"})));
    served.spawn(async move { ask(&socket, "POST", "/v1/sandboxes", body).await });
    until(|| world.fake.host().calls.iter().any(|call| call == step));
    served.kill();
    world.fake.host().hang_at = None;
}

#[test]
fn killed_at_each_step_of_a_create_nothing_is_left() {
    for step in ["create", "inject", "attach", "start"] {
        let world = World::new();
        killed_at(&world, step);
        assert_eq!(world.fake.host().sandboxes.len(), 1, "{step}");
        let served = world.serve();
        assert!(world.fake.host().sandboxes.is_empty(), "{step}");
        assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]), "{step}");
        assert_eq!(std::fs::read_dir(world.paths.state.join("sandboxes")).unwrap().count(), 0, "{step}");
        served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
        assert_eq!(served.must("POST", "/v1/audit/verify", Value::Null)["fault"], Value::Null);
    }
}

fn run_and_kill(world: &World, more: Value) -> Value {
    let served = world.serve();
    let made = served.must("POST", "/v1/sandboxes", world.create(more));
    served.kill();
    made
}

#[test]
fn what_runs_is_adopted_and_gone_on_with() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    world.fake.only(|running| running.refuse(2));
    let served = world.serve();
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!(
        (&shown["state"], &shown["network"], &shown["denied"]),
        (&json!("running"), &json!(true), &json!(2))
    );
    let policy = "dynamic:\n  network:\n    http:\n      - host: a.example\n";
    served.must("PUT", "/v1/sandboxes/demo/policy", json!({"policy": policy}));
    world.fake.only(|running| running.exit(4));
    assert_eq!(served.must("GET", "/v1/sandboxes/demo/wait", Value::Null)["exit_code"], 4);
    assert!(world.actions().contains(&"adopt".to_owned()));
}

#[test]
fn a_dead_proxy_is_replaced_on_adoption() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    world.fake.only(super::fake::Running::kill_proxy);
    let served = world.serve();
    until(|| served.must("GET", "/v1/sandboxes/demo", Value::Null)["network"] == true);
}

/// Its gateway was killed while it put it in the place of another. It answers, and lets nothing through.
#[test]
fn a_proxy_that_was_never_configured_is_replaced_on_adoption() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    world.fake.only(|running| running.proxy.as_mut().unwrap().configured = false);
    let served = world.serve();
    until(|| world.fake.only(|running| running.proxy.as_ref().is_some_and(|proxy| proxy.configured)));
    until(|| served.must("GET", "/v1/sandboxes/demo", Value::Null)["network"] == true);
}

#[test]
fn what_ended_meanwhile_is_told_by_what_it_wrote() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    world.fake.only(|running| {
        running.refuse(1);
        running.exit(9);
    });
    world.fake.host().sandboxes.clear();
    let served = world.serve();
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!((&shown["state"], &shown["exit_code"]), (&json!("stopped"), &json!(9)));
    assert_eq!(world.actions().iter().filter(|action| *action == "request").count(), 1);
}

#[test]
fn what_vanished_failed_and_what_was_to_be_removed_is() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    run_and_kill(&world, json!({"name": "gone", "remove": true}));
    world.fake.host().sandboxes.clear();
    let served = world.serve();
    let listed = served.must("GET", "/v1/sandboxes?all=true", Value::Null);
    assert_eq!(listed.as_array().unwrap().len(), 1);
    assert_eq!((&listed[0]["name"], &listed[0]["state"]), (&json!("demo"), &json!("failed")));
}

#[test]
fn a_stop_that_was_begun_is_finished() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    world.fake.host().hang_at = Some("stop");
    let socket = served.socket.clone();
    served.spawn(async move { ask(&socket, "POST", "/v1/sandboxes/demo/stop", json!({})).await });
    until(|| world.fake.host().calls.iter().any(|call| call == "stop"));
    served.kill();
    world.fake.host().hang_at = None;
    let served = world.serve();
    served.until_state("demo", "stopped");
    assert!(world.fake.host().sandboxes.is_empty());
}

/// Its last events are in the log, and the checkpoint counts them: nobody takes them out unseen.
#[test]
fn a_gateway_that_is_told_to_end_waits_for_what_is_ending() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "remove": true})));
    world.fake.host().hang_at = Some("destroy");
    world.fake.only(|running| running.exit(0));
    until(|| world.fake.host().calls.iter().any(|call| call == "destroy"));
    let fake = world.fake.clone();
    served.spawn(async move {
        tokio::time::sleep(Duration::from_millis(100)).await;
        fake.host().hang_at = None;
    });
    served.run(close(&served.gateway));
    assert_eq!(world.actions().last().unwrap(), "remove");
    let kept = served.run(served.gateway.store.checkpoint()).unwrap();
    assert_eq!(kept.length, std::fs::metadata(world.paths.audit_log()).unwrap().len());
}

#[test]
fn what_nobody_owns_is_ended() {
    let world = World::new();
    run_and_kill(&world, json!({"name": "demo"}));
    for file in ["chiton.db", "chiton.db-wal", "chiton.db-shm"] {
        let _ = std::fs::remove_file(world.paths.state.join(file));
    }
    let served = world.serve();
    assert!(world.fake.host().sandboxes.is_empty());
    assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]));
}

/// The pushed revision as the next gateway sees it, when the old one died between push and answer.
fn pending(world: &World, proxy_has: u64) -> Served {
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    served.run(async {
        let record = served.gateway.store.find("demo").await.unwrap();
        let now = jiff::Timestamp::now();
        assert_eq!(served.gateway.store.add_revision(&record.id, "{}", "sha256:x", now).await.unwrap(), 2);
    });
    served.kill();
    world.fake.only(|running| running.proxy.as_mut().unwrap().revision = proxy_has);
    world.serve()
}

#[test]
fn a_push_that_was_not_answered_is_what_the_proxy_says() {
    for (proxy_has, push) in [(2, "enforced"), (1, "failed")] {
        let world = World::new();
        let served = pending(&world, proxy_has);
        let shown = served.must("GET", "/v1/sandboxes/demo/policy", Value::Null);
        assert_eq!((&shown["revision"], &shown["history"][1]["push"]), (&json!(proxy_has), &json!(push)));
    }
}

#[test]
fn files_that_outlived_their_removal_are_chained_once() {
    let world = World::new();
    let served = world.serve();
    let made = served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    world.fake.only(|running| {
        running.refuse(3);
        running.exit(0);
    });
    served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
    let requests = || world.actions().iter().filter(|action| *action == "request").count();
    until(|| requests() == 3);
    // An event file that cannot be read: the sandbox goes, its files stay.
    let folder = world.paths.sandbox(made["id"].as_str().unwrap());
    let (file, aside) = (folder.join("supervisor.events"), folder.join("aside"));
    let _ = std::fs::rename(&file, &aside);
    std::fs::create_dir(&file).unwrap();
    served.must("DELETE", "/v1/sandboxes/demo", Value::Null);
    assert!(folder.exists());
    served.kill();
    std::fs::remove_dir(&file).unwrap();
    let _ = std::fs::rename(&aside, &file);
    let served = world.serve();
    assert!(!folder.exists());
    assert_eq!(requests(), 3);
    assert_eq!(served.must("POST", "/v1/audit/verify", Value::Null)["fault"], Value::Null);
    served.run(served.gateway.audit.checkpoint(&served.gateway.store));
    let kept = served.run(served.gateway.store.checkpoint()).unwrap();
    assert!(kept.sources.is_empty(), "nothing is known of it any more");
}
