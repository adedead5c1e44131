//! The official SDKs, unmodified, with a key of their own: upstream sees the backend's key, inside sees none.

use chiton_tests::{
    As, World,
    workloads::{self, KEY, Workload},
};

fn run(workload: &Workload) -> World {
    let world = workload.world(As::User);
    let _ = workload.natively(&world);
    world
}

fn usage_is_in_the_audit_log(world: &World, provider: &str, calls: usize) {
    let events = world.chiton.audit(&[]);
    let counted: Vec<_> =
        events.iter().filter(|e| e["llm"]["input_tokens"] == 11 && e["llm"]["output_tokens"] == 7).collect();
    assert_eq!(counted.len(), calls, "{events:#?}");
    assert!(counted.iter().all(|e| e["llm"]["provider"] == provider && e["layer"] == "llm"), "{counted:#?}");
}

#[test]
fn openai_python_plain_and_streaming() {
    let world = run(&workloads::openai_python());
    for request in world.upstream.requests() {
        assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert!(!request.contains("chiton-placeholder"), "{request:?}");
    }
    usage_is_in_the_audit_log(&world, "openai", 3);
}

#[test]
fn anthropic_python_plain_and_streaming() {
    let world = run(&workloads::anthropic_python());
    for request in world.upstream.requests() {
        assert_eq!(request.header("x-api-key"), Some(KEY), "{request:?}");
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    usage_is_in_the_audit_log(&world, "anthropic", 3);
}

#[test]
fn node_fetch_reads_a_streamed_answer() {
    let fetch = workloads::node_fetch();
    let outcome = fetch.natively(&fetch.world(As::User));
    assert_eq!(outcome.stdout, fetch.says, "{outcome:?}");
}
