//! Replacing policies while sandboxes run.

use serde_json::{Value, json};

use super::{
    fake::{DEADLY, REFUSED},
    world::{POLICY, Served, World, ask, until},
};

fn allowing(host: &str) -> String {
    format!("dynamic:\n  network:\n    http:\n      - host: {host}\n")
}

fn running() -> (World, Served) {
    let world = World::new();
    let served = world.serve();
    served.must("POST", "/v1/sandboxes", world.create(json!({"name": "demo"})));
    (world, served)
}

fn apply(served: &Served, policy: &str) -> (u16, Value) {
    served.ask("PUT", "/v1/sandboxes/demo/policy", json!({"policy": policy}))
}

fn pushes(served: &Served) -> Vec<String> {
    let shown = served.must("GET", "/v1/sandboxes/demo/policy", Value::Null);
    let history = shown["history"].as_array().unwrap();
    history.iter().map(|revision| revision["push"].as_str().unwrap().to_owned()).collect()
}

#[test]
fn a_revision_is_in_force_once_it_was_answered() {
    let (world, served) = running();
    let (status, reply) = apply(&served, &allowing("a.example"));
    assert_eq!((status, &reply["revision"], &reply["cut"]), (200, &json!(2), &json!(1)), "{reply}");
    let enforced = world.fake.only(|r| r.proxy.as_ref().map(|p| (p.revision, p.policy.clone())));
    assert_eq!(enforced, Some((2, allowing("a.example"))));
    let shown = served.must("GET", "/v1/sandboxes/demo/policy", Value::Null);
    assert_eq!(shown["revision"], 2);
    let whole = shown["policy"].as_str().unwrap();
    assert!(whole.contains("allowed_paths") && whole.contains("a.example"), "{whole}");
    // The same static half, with another dynamic one, is as good as none.
    let (status, reply) = apply(&served, &format!("{POLICY}{}", allowing("b.example")));
    assert_eq!((status, &reply["revision"]), (200, &json!(3)), "{reply}");
    assert_eq!(pushes(&served), ["enforced", "enforced", "enforced"]);
}

#[test]
fn what_cannot_be_applied_changes_nothing() {
    let (world, served) = running();
    let other = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n";
    let (status, problem) = apply(&served, other);
    assert_eq!((status, &problem["type"]), (409, &json!("static_differs")));
    assert_eq!(problem["differing"], json!(["static.filesystem.allowed_paths"]));
    assert!(problem["hint"].as_str().unwrap().contains("--recreate"));
    assert_eq!(apply(&served, "dynamic: [").1["type"], "policy_invalid");
    let missing =
        "dynamic:\n  llm_routing:\n    provider: openai\n    inject_backend_credential: local://none\n";
    assert_eq!(apply(&served, missing).1["type"], "secret");
    assert_eq!(pushes(&served), ["enforced"], "nothing was stored");

    let (_, problem) = apply(&served, &allowing(REFUSED));
    assert!(problem["detail"].as_str().unwrap().contains("the one before stays"), "{problem}");
    assert_eq!(pushes(&served), ["enforced", "failed"]);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["revision"], 1);
    assert_eq!(apply(&served, &allowing("a.example")).1["revision"], 3, "a number is used once");
    let told: Vec<_> = world.log().into_iter().filter(|e| e["layer"] == "policy").collect();
    assert!(told.iter().any(|e| e["reason"] == "not_enforced" && e["revision"] == 2), "{told:?}");
}

#[test]
fn a_proxy_that_dies_is_replaced_by_one_with_the_revision_in_force() {
    let (world, served) = running();
    apply(&served, &allowing("a.example"));
    world.fake.only(super::fake::Running::kill_proxy);
    until(|| world.fake.only(|r| r.proxy.as_ref().is_some_and(|p| p.revision == 2)));
    until(|| served.must("GET", "/v1/sandboxes/demo", Value::Null)["network"] == true);

    // One that dies of the new revision enforced nobody knows what.
    let (_, problem) = apply(&served, &allowing(DEADLY));
    assert!(problem["detail"].as_str().unwrap().contains("its proxy was replaced"), "{problem}");
    let proxy = world.fake.only(|r| r.proxy.as_ref().map(|p| (p.revision, p.policy.clone())));
    assert_eq!(proxy, Some((2, allowing("a.example"))));
    assert_eq!(pushes(&served), ["enforced", "enforced", "failed"]);
    assert!(world.log().iter().any(|event| event["reason"] == "proxy_lost"));
}

#[test]
fn two_at_once_come_one_after_the_other() {
    let (world, served) = running();
    let answers = served.run(async {
        let mut asked = Vec::new();
        for n in 0..8 {
            let socket = served.socket.clone();
            let body = json!({"policy": allowing(&format!("h{n}.example"))});
            asked.push(tokio::spawn(
                async move { ask(&socket, "PUT", "/v1/sandboxes/demo/policy", body).await },
            ));
        }
        let mut answers = Vec::new();
        for one in asked {
            answers.push(one.await.unwrap());
        }
        answers
    });
    let mut revisions: Vec<u64> =
        answers.iter().map(|(_, reply)| reply["revision"].as_u64().unwrap()).collect();
    revisions.sort_unstable();
    assert_eq!(revisions, (2..10).collect::<Vec<_>>());
    assert_eq!(world.fake.only(|r| r.proxy.as_ref().unwrap().revision), 9);
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["revision"], 9);
}

#[test]
fn recreated_with_another_static_half() {
    let (world, served) = running();
    let other = "static:\n  filesystem:\n    allowed_paths: [/workspace]\n";
    let body = json!({"policy": other, "recreate": true});
    let reply = served.must("PUT", "/v1/sandboxes/demo/policy", body);
    assert_eq!((&reply["recreated"], &reply["revision"]), (&json!(true), &json!(2)));
    let view = world.fake.only(|running| running.view.clone().unwrap().policy);
    assert_eq!(view, other);
    let shown = served.must("GET", "/v1/sandboxes/demo", Value::Null);
    assert_eq!((&shown["state"], &shown["revision"]), (&json!("running"), &json!(2)));
    // What would not start again is refused while it still runs.
    let gone = "static:\n  filesystem:\n    allowed_paths: [/workspace, /nonexistent/folder]\n";
    let problem =
        served.refused("PUT", "/v1/sandboxes/demo/policy", json!({"policy": gone, "recreate": true}));
    assert_eq!(problem["type"], "path");
    assert_eq!(served.must("GET", "/v1/sandboxes/demo", Value::Null)["state"], "running");
}

#[test]
fn one_that_ended_starts_again_with_what_was_applied() {
    let (world, served) = running();
    apply(&served, &allowing("a.example"));
    served.must("POST", "/v1/sandboxes/demo/stop", json!({}));
    assert_eq!(apply(&served, &allowing("b.example")).1["type"], "wrong_state");
    served.must("POST", "/v1/sandboxes/demo/start", json!({}));
    let (revision, view) = world.fake.only(|r| (r.proxy.as_ref().unwrap().revision, r.view.clone().unwrap()));
    assert_eq!((revision, view.policy.as_str()), (2, POLICY));
}
