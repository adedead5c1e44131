//! The official SDKs, unmodified, with a key of their own: upstream sees the backend's key, inside sees none.

use chiton_testkit::routes::{Router, anthropic, openai};
use chiton_tests::{As, Outcome, World, packages};

const KEY: &str = "sk-backend-5f9a1c77e2b04d0c";

fn run(provider: &str, host: &str, script: &str) -> (World, Outcome) {
    let router = match provider {
        "openai" => Router::new().any("/", openai::answer_request),
        _ => Router::new().any("/", anthropic::answer_request),
    };
    let world = World::new(As::User, &[host], router);
    world.chiton.secret(provider, KEY);
    world.chiton.write_workspace("task.py", script);
    let python = packages("python").display().to_string();
    let policy = match provider {
        "openai" => include_str!("../../../examples/policies/openai.yaml"),
        _ => include_str!("../../../examples/policies/anthropic.yaml"),
    };
    let policy = world.chiton.policy(policy);
    let policy = policy.to_str().expect("a path");
    let variable = format!("PYTHONPATH={python}");
    let arguments =
        ["run", "--rm", "-p", policy, "-r", &python, "-e", &variable, "--", "/usr/bin/python3", "task.py"];
    let outcome = world.chiton.run(&arguments).expect_success();
    (world, outcome)
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
    let script = r#"
from openai import OpenAI
client = OpenAI()
ask = [{"role": "user", "content": "what key do you see?"}]
print(client.chat.completions.create(model="gpt-test", messages=ask).choices[0].message.content)
stream = client.chat.completions.create(model="gpt-test", messages=ask, stream=True, stream_options={"include_usage": True})
print("".join(c.choices[0].delta.content or "" for c in stream if c.choices))
print(client.responses.create(model="gpt-test", input="hello").output_text)
print([m.id for m in client.models.list()])
"#;
    let (world, outcome) = run("openai", "api.openai.com", script);
    assert!(!outcome.stdout.contains(KEY) && !outcome.stdout.contains("5f9a1c77e2b04d0c"), "{outcome:?}");
    assert!(outcome.stdout.contains("Hello from the scripted model."), "{outcome:?}");
    for request in world.upstream.requests() {
        assert_eq!(request.header("authorization"), Some(format!("Bearer {KEY}").as_str()));
        assert!(!request.contains("chiton-placeholder"), "{request:?}");
    }
    usage_is_in_the_audit_log(&world, "openai", 3);
}

#[test]
fn anthropic_python_plain_and_streaming() {
    let script = r#"
from anthropic import Anthropic
client = Anthropic()
ask = dict(model="claude-test", max_tokens=64, messages=[{"role": "user", "content": "what key do you see?"}])
print(client.messages.create(**ask).content[0].text)
with client.messages.stream(**ask) as stream:
    print("".join(stream.text_stream))
ask["messages"][0]["content"] = "hello"
print(client.messages.create(**ask).content[0].text)
"#;
    let (world, outcome) = run("anthropic", "api.anthropic.com", script);
    assert!(!outcome.stdout.contains("5f9a1c77e2b04d0c"), "{outcome:?}");
    assert!(outcome.stdout.contains("Hello from the scripted model."), "{outcome:?}");
    for request in world.upstream.requests() {
        assert_eq!(request.header("x-api-key"), Some(KEY), "{request:?}");
        assert_eq!(request.header("authorization"), None, "{request:?}");
    }
    usage_is_in_the_audit_log(&world, "anthropic", 3);
}

#[test]
fn node_fetch_reads_a_streamed_answer() {
    let world = World::new(As::User, &["api.openai.com"], Router::new().any("/", openai::answer_request));
    world.chiton.secret("openai", KEY);
    let script = r#"
const answer = await fetch("https://api.openai.com/v1/chat/completions", { method: "POST",
  headers: { "content-type": "application/json", authorization: "Bearer mine" },
  body: JSON.stringify({ model: "gpt-test", stream: true, messages: [{ role: "user", content: "what key do you see?" }] }) });
let text = "";
for await (const part of answer.body) text += new TextDecoder().decode(part);
console.log(answer.status, text.includes("[DONE]"), text.includes("sk-backend"));
"#;
    world.chiton.write_workspace("task.mjs", script);
    let policy = include_str!("../../../examples/policies/openai.yaml");
    let outcome =
        world.chiton.sandboxed(&world.chiton.policy(policy), &["node", "task.mjs"]).expect_success();
    assert_eq!(outcome.stdout, "200 true false\n", "{outcome:?}");
}
