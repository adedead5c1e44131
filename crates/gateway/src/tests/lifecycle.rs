//! From create to remove.

use std::time::Duration;

use chiton_api::{
    frame::{SessionKind, parse_session_header},
    name::SandboxId,
};
use serde_json::{Value, json};
use sqlx::Connection as _;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::sleep,
};

use super::world::{Served, World, ask_for_session, session, until};

#[test]
fn a_detached_life() {
    let world = World::new();
    let served = world.serve();
    let made = served.must(
        "POST",
        "/v1/sandboxes",
        world.create(json!({"name": "demo", "env": {"TOKEN": "t0ken"}})),
    );
    assert_eq!((made["name"].as_str(), made["state"].as_str()), (Some("demo"), Some("running")));
    assert_eq!(world.fake.host().calls[..4], ["create", "inject", "attach", "start"]);
    let view = world.fake.only(|running| running.view.clone().unwrap());
    assert_eq!(view.workspace, Some(std::fs::canonicalize(world.workspace()).unwrap()));
    assert_eq!(view.env["TOKEN"], "t0ken");
    assert!(view.own_folders.contains(&world.paths.state) && view.own_folders.contains(&world.paths.runtime));
    assert!(view.authority_pem.contains("BEGIN CERTIFICATE") && !view.authority_pem.contains("PRIVATE"));

    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!(
        (&shown["network"], &shown["connections"], &shown["env"]),
        (&json!(true), &json!(3), &json!(["TOKEN"]))
    );
    assert_eq!(shown["report"]["layers"][0]["layer"], "view");
    assert!(!shown.to_string().contains("t0ken"));

    world.fake.only(|running| running.refuse(2));
    assert_eq!(served.must("GET", "/v1/sandboxes/demo/denials", Value::Null)["count"], 2);
    world.fake.only(|running| running.exit(3));
    let waited = served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
    assert_eq!(waited["exit_code"], 3);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["state"], "stopped");
    assert_eq!(served.must("GET", "/v1/sandboxes", Value::Null), json!([]));
    assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null)[0]["exit_code"], 3);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo/denials", Value::Null)["count"], 2, "after its end");
    assert!(world.fake.host().sandboxes.is_empty());

    served.must("POST", "/v1/sandboxes/demo/start", json!({}));
    assert_eq!(served.must("GET", "/v1/sandboxes/demo/denials", Value::Null)["count"], 0, "counted anew");
    let stopped = served.must("POST", "/v1/sandboxes/demo/stop", json!({"grace_ms": 100}));
    assert_eq!((&stopped["state"], &stopped["exit_code"]), (&json!("stopped"), &json!(143)));
    served.must("DELETE", "/v1/sandboxes/demo", Value::Null);
    assert_eq!(served.refused("GET", "/v1/sandboxes/demo", Value::Null)["type"], "not_found");
    let id = made["id"].as_str().unwrap();
    assert!(!world.paths.sandbox(id).exists(), "its files are gone");
    let actions =
        ["create", "start", "request", "request", "exit", "create", "start", "stop", "exit", "remove"];
    assert_eq!(world.actions(), actions);
    assert!(world.log().iter().all(|event| event["sandbox"] == "demo"), "whose file it is tells whose it is");
    assert_eq!(served.must("POST", "/v1/audit/verify", Value::Null)["fault"], Value::Null);
}

async fn read_frame(stream: &mut (impl AsyncReadExt + Unpin)) -> (SessionKind, Vec<u8>) {
    let mut header = [0; 5];
    stream.read_exact(&mut header).await.unwrap();
    let (kind, length) = parse_session_header(header).unwrap();
    let mut payload = vec![0; length];
    stream.read_exact(&mut payload).await.unwrap();
    (kind, payload)
}

#[test]
fn an_attached_run_and_what_its_user_asks_next() {
    let world = World::new();
    let served = world.serve();
    let body =
        world.create(json!({"name": "demo", "remove": true, "session": {"attach": true, "stdin": true}}));
    for _ in 0..3 {
        served.run(async {
            let (head, mut stream) = session(&served.socket, "/v1/sandboxes", body.clone()).await;
            assert!(
                head.starts_with("HTTP/1.1 101") && head.contains("x-chiton-sandbox: demo\r\n"),
                "{head}"
            );
            assert_eq!(read_frame(&mut stream).await, (SessionKind::Stdout, b"hi\n".to_vec()));
            stream.write_all(&[0, 0, 0, 0, 2, b'y', b'o']).await.unwrap();
            assert_eq!(read_frame(&mut stream).await, (SessionKind::Stdout, b"yo".to_vec()));
            world.fake.only(|running| {
                running.refuse(1);
                running.exit(7);
            });
            let (kind, refusals) = read_frame(&mut stream).await;
            assert_eq!(kind, SessionKind::Refusals);
            assert_eq!(serde_json::from_slice::<Value>(&refusals).unwrap()["count"], 1);
            let (kind, exit) = read_frame(&mut stream).await;
            assert_eq!((kind, exit), (SessionKind::Exit, br#"{"code":7}"#.to_vec()));
        });
        // The name is free at once, and the last word can be had.
        assert_eq!(served.must("GET", "/v1/sandboxes/demo/denials", Value::Null)["count"], 1);
    }
    until(|| served.ask("GET", "/v1/sandboxes/demo", Value::Null).0 == 404);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo/wait", Value::Null)["exit_code"], 7);
}

#[test]
fn a_session_asks_for_its_upgrade() {
    let world = World::new();
    let served = world.serve();
    let body = world.create(json!({"session": {"attach": true}}));
    let problem = served.refused("POST", "/v1/sandboxes", body);
    assert_eq!(problem["type"], "bad_request");
    assert!(world.fake.host().calls.is_empty());
}

#[test]
fn exec_attach_signal_and_names_that_are_made_up() {
    let world = World::new();
    let served = world.serve();
    let name =
        served.must("POST", "/v1/sandboxes", world.create(json!({})))["name"].as_str().unwrap().to_owned();
    assert!(name.contains('-'));
    served.run(async {
        let target = format!("/v1/sandboxes/{name}/exec");
        let (head, mut stream) = session(&served.socket, &target, json!({"argv": ["ls"]})).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
        assert_eq!(read_frame(&mut stream).await.1, b"hi\n");
        assert!(!world.fake.only(|running| running.launch.clone().unwrap().main));
        let (head, _) = session(&served.socket, &format!("/v1/sandboxes/{name}/attach"), json!({})).await;
        assert!(head.starts_with("HTTP/1.1 101"), "{head}");
    });
    served.must("POST", &format!("/v1/sandboxes/{name}/signal"), json!({"signal": 2}));
    assert_eq!(served.must("GET", &format!("/v1/sandboxes/{name}/wait"), Value::Null)["exit_code"], 130);
    let problem = served.refused("POST", &format!("/v1/sandboxes/{name}/signal"), json!({"signal": 2}));
    assert_eq!(problem["type"], "wrong_state");
}

#[test]
fn a_step_that_fails_leaves_nothing_behind() {
    for step in ["create", "inject", "attach", "start"] {
        let world = World::new();
        let served = world.serve();
        world.fake.host().fail_at = Some(step);
        let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
        assert_eq!((&problem["type"], &problem["exit_status"]), (&json!("driver"), &json!(127)), "{step}");
        assert!(world.fake.host().sandboxes.is_empty(), "{step}");
        assert_eq!(served.must("GET", "/v1/sandboxes?all=true", Value::Null), json!([]), "{step}");
        assert_eq!(std::fs::read_dir(world.paths.state.join("sandboxes")).unwrap().count(), 0, "{step}");
        world.fake.host().fail_at = None;
        served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    }
}

#[test]
fn names_states_and_force() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    assert_eq!(problem["type"], "name_in_use");
    for bad in ["", "A", "a/b", "..", "-a", "01jdx0000000000000000000ab"] {
        let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"name": bad})));
        assert_eq!(problem["type"], "bad_request", "{bad}");
    }
    assert_eq!(served.refused("DELETE", "/v1/sandboxes/demo", Value::Null)["type"], "wrong_state");
    assert_eq!(served.refused("POST", "/v1/sandboxes/demo/start", json!({}))["type"], "wrong_state");
    served.must("DELETE", "/v1/sandboxes/demo?force=true", Value::Null);
    assert!(world.fake.host().sandboxes.is_empty());
    assert_eq!(served.refused("DELETE", "/v1/sandboxes/demo", Value::Null)["type"], "not_found");
}

#[test]
fn a_supervisor_that_vanishes_is_a_failure() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    world.fake.host().sandboxes.clear();
    let waited = served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
    assert_eq!(waited["exit_code"], 125);
    assert!(waited["reason"].as_str().unwrap().contains("supervisor vanished"), "{waited}");
    served.must("POST", "/v1/sandboxes/demo/start", json!({}));
    served.must("POST", "/v1/sandboxes/demo/stop", json!({}));
}

#[test]
fn secrets_go_to_the_proxy_and_nowhere_else() {
    let world = World::new();
    let served = world.serve();
    let value: Vec<u8> = b"sk-s3cret-value".to_vec();
    let policy =
        "dynamic:\n  llm_routing:\n    provider: openai\n    inject_backend_credential: local://openai\n";
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"policy": policy})));
    assert_eq!(problem["type"], "secret");
    assert!(world.fake.host().calls.is_empty(), "resolved before anything is made");
    served.must("PUT", "/v1/secrets/openai", json!({"value": value, "hosts": ["api.openai.com"]}));
    let listed = served.must("GET", "/v1/secrets", Value::Null);
    assert_eq!(listed, json!([{"name": "openai", "hosts": ["api.openai.com"]}]));
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "policy": policy})));
    assert_eq!(
        world.fake.only(|running| running.proxy.as_ref().unwrap().secrets.clone()),
        ["sk-s3cret-value"]
    );
    let exec = policy.replace("local://openai", "exec://openai");
    let problem = served.refused("POST", "/v1/sandboxes", world.create(json!({"policy": exec})));
    assert!(problem["detail"].as_str().unwrap().contains("[exec.openai]"), "{problem}");
    served.must("DELETE", "/v1/secrets/openai", Value::Null);
    assert_eq!(served.refused("DELETE", "/v1/secrets/openai", Value::Null)["type"], "not_found");
    assert_nowhere(&world, &served, b"sk-s3cret-value");
    let told: Vec<_> = world.log().into_iter().filter(|e| e["layer"] == "credential").collect();
    assert!(told.iter().any(|e| e["rule"] == "local://openai" && e["decision"] == "allow"), "{told:?}");
}

/// No file of the state folder holds the bytes.
fn assert_nowhere(world: &World, served: &Served, needle: &[u8]) {
    served.run(served.gateway.audit.checkpoint(&served.gateway.store));
    let mut folders = vec![world.paths.state.clone()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            if entry.file_type().unwrap().is_dir() {
                folders.push(entry.path());
                continue;
            }
            let bytes = std::fs::read(entry.path()).unwrap();
            assert!(!bytes.windows(needle.len()).any(|w| w == needle), "{}", entry.path().display());
        }
    }
}

#[test]
fn logs_are_followed_to_the_end() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    let log = world.fake.only(|running| running.spec.log.clone());
    std::fs::write(&log, b"one").unwrap();
    let answer =
        served.run(super::world::raw(&served.socket, b"GET /v1/sandboxes/demo/logs HTTP/1.0\r\n\r\n"));
    assert!(answer.ends_with("\r\n\r\none"), "{answer}");
    let following = served.run(async {
        let socket = served.socket.clone();
        let request = b"GET /v1/sandboxes/demo/logs?follow=true HTTP/1.0\r\n\r\n";
        let follow = tokio::spawn(async move { super::world::raw(&socket, request).await });
        std::fs::write(&log, b"one, two").unwrap();
        world.fake.only(|running| running.exit(0));
        follow.await.unwrap()
    });
    assert!(following.ends_with("one, two"), "{following}");
}

/// Another process has the database for longer than is waited for, as if the disk were full.
#[test]
fn an_end_that_is_not_taken_now_is_written_down_later() {
    let world = World::new();
    let served = world.serve();
    for (remove, found) in [(false, 200), (true, 404)] {
        served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo", "remove": remove})));
        served.run(async {
            let mut other =
                sqlx::SqliteConnection::connect(world.paths.database().to_str().unwrap()).await.unwrap();
            sqlx::query("BEGIN IMMEDIATE").execute(&mut other).await.unwrap();
            world.fake.only(|running| running.exit(3));
            // One try takes five.
            sleep(Duration::from_secs(6)).await;
            sqlx::query("ROLLBACK").execute(&mut other).await.unwrap();
        });
        let waited = served.must("GET", "/v1/sandboxes/demo/wait", Value::Null);
        assert_eq!(waited["exit_code"], 3);
        until(|| served.ask("GET", "/v1/sandboxes/demo", Value::Null).0 == found);
        if !remove {
            served.must("POST", "/v1/sandboxes/demo/start", json!({}));
            served.must("POST", "/v1/sandboxes/demo/stop", json!({"grace_ms": 100}));
            served.must("DELETE", "/v1/sandboxes/demo", Value::Null);
        }
    }
}

#[test]
fn what_begins_for_a_user_who_has_left_is_stopped() {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "old"})));
    served.must("POST", "/v1/sandboxes/old/stop", json!({"grace_ms": 100}));
    let attached = json!({"attach": true});
    for (target, name) in [("/v1/sandboxes", "new"), ("/v1/sandboxes/old/start", "old")] {
        let body = match name {
            "new" => world.create(json!({"name": name, "session": attached})),
            _ => json!({"session": attached}),
        };
        world.fake.host().hang_at = Some("start");
        let begun = world.fake.host().calls.iter().filter(|call| **call == "start").count();
        let asked = served.run(ask_for_session(&served.socket, target, body));
        until(|| world.fake.host().calls.iter().filter(|call| **call == "start").count() > begun);
        drop(asked);
        served.run(async { sleep(Duration::from_millis(50)).await });
        world.fake.host().hang_at = None;
        served.until_state(name, "stopped");
    }
}

#[test]
fn a_task_that_ends_takes_no_other_of_the_same_sandbox_away() {
    let world = World::new();
    let served = world.serve();
    let made = served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    let id = SandboxId::try_from(made["id"].as_str().unwrap().to_owned()).unwrap();
    let first = served.gateway.live(&id).unwrap();
    served.must("POST", "/v1/sandboxes/demo/stop", json!({"grace_ms": 100}));
    served.must("POST", "/v1/sandboxes/demo/start", json!({}));
    served.gateway.clear_live(&first);
    served.must("POST", "/v1/sandboxes/demo/stop", json!({"grace_ms": 100}));
}
