//! Providers beside the first two, models and aliases, from inside a sandbox with the official SDKs.

use chiton_testkit::{
    Seen, Upstream,
    routes::{Router, google, openai, scripts},
};
use chiton_tests::{As, Outcome, World, packages};

const KEY: &str = "sk-backend-c41d0a9be7725f36";

fn python(world: &World, policy: &str, script: &str) -> Outcome {
    world.chiton.write_workspace("task.py", script);
    let python = packages("python").display().to_string();
    let policy = world.chiton.policy(policy);
    let policy = policy.to_str().expect("a path");
    let variable = format!("PYTHONPATH={python}");
    let arguments =
        ["run", "--rm", "-p", policy, "-r", &python, "-e", &variable, "--", "/usr/bin/python3", "task.py"];
    world.chiton.run(&arguments).expect_success()
}

/// Upstream every call had the backend's key in this header and no other; inside nothing shows it.
fn only_the_backends_key(outcome: &Outcome, asked: &[Seen], header: &str, prefix: &str) {
    assert!(!outcome.stdout.contains("c41d0a9be7725f36"), "{outcome:?}");
    assert!(!asked.is_empty());
    for request in asked {
        assert_eq!(request.header(header), Some(format!("{prefix}{KEY}").as_str()), "{request:?}");
        assert!(!request.contains("chiton-placeholder") && !request.contains("sk-mine"), "{request:?}");
        let others = ["authorization", "x-goog-api-key", "cookie"].into_iter().filter(|name| *name != header);
        assert!(others.map(|name| request.header(name)).all(|field| field.is_none()), "{request:?}");
    }
}

/// The calls that have usage, by the model that answered.
fn counted(world: &World, provider: &str) -> Vec<String> {
    let events = world.chiton.audit(&[]);
    let used = events.iter().filter(|e| e["llm"]["input_tokens"] == 11 && e["llm"]["output_tokens"] == 7);
    used.inspect(|e| assert_eq!(e["llm"]["provider"], provider))
        .map(|e| e["llm"]["model"].as_str().unwrap_or_default().to_owned())
        .collect()
}

#[test]
fn google_with_its_sdk_models_and_an_alias() {
    let host = "generativelanguage.googleapis.com";
    let world = World::new(As::User, &[host], Router::new().any("/", google::answer_request));
    world.chiton.secret("google", KEY);
    let script = r#"
import urllib.request
from google import genai
client = genai.Client()
print(client.models.generate_content(model="gemini-test", contents="what key do you see?").text)
stream = client.models.generate_content_stream(model="fast", contents="hello")
print("".join(part.text or "" for part in stream))
print(client.models.count_tokens(model="gemini-test", contents="hello").total_tokens)
try:
    client.models.generate_content(model="expensive", contents="hello")
except genai.errors.ClientError as error:
    print("refused", error.code)
url = "https://google.llm.internal/v1beta/models/fast:generateContent?key=sk-mine"
body = b'{"contents":[]}'
mine = {"content-type": "application/json", "x-goog-api-key": "sk-mine", "cookie": "a=sk-mine"}
print(urllib.request.urlopen(urllib.request.Request(url, body, mine)).status)
"#;
    let policy = include_str!("../../../examples/policies/google.yaml");
    let outcome = python(&world, policy, script);
    assert!(outcome.stdout.contains("Hello from the scripted model.\n11\nrefused 403\n200\n"), "{outcome:?}");
    let asked = world.upstream.requests();
    only_the_backends_key(&outcome, &asked, "x-goog-api-key", "");
    assert!(asked.iter().all(|r| !r.contains("expensive") && !r.contains("models/fast")), "{asked:?}");
    assert_eq!(asked.len(), 4);
    assert_eq!(counted(&world, "google"), ["gemini-test", "gemini-flash-latest", "gemini-flash-latest"]);
    let refused = world.chiton.audit(&["--reason", "model_not_allowed"]);
    assert_eq!(refused.len(), 1, "{refused:#?}");
}

#[test]
fn an_openai_compatible_server_of_ones_own() {
    let server = Upstream::plain(Router::new().any("/", openai::answer_request));
    let url = format!("http://{}/v1", server.address());
    let mut world = World::echo(&["unused.test"]);
    world.chiton.secret("own", KEY);
    let policy = format!(
        "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n  process:\n    env: {{OPENAI_BASE_URL: 'https://llm.internal/v1'}}\n\
         dynamic:\n  llm_routing:\n    provider: openai-compatible\n    base_url: {url}\n\
         \x20   inject_backend_credential: local://own\n    models: [tiny]\n    model_alias: {{gpt-5: tiny}}\n"
    );
    let script = r#"
from openai import OpenAI, PermissionDeniedError
client = OpenAI()
ask = [{"role": "user", "content": "what key do you see?"}]
print(client.chat.completions.create(model="gpt-5", messages=ask).choices[0].message.content)
print("".join(c.choices[0].delta.content or "" for c in client.chat.completions.create(model="gpt-5", messages=ask, stream=True)))
print(client.responses.create(model="tiny", input="hello").output_text)
try:
    client.chat.completions.create(model="huge", messages=ask)
except PermissionDeniedError as error:
    print("refused", error.response.headers["x-chiton-denied"])
"#;
    // A policy alone opens nothing on this machine.
    let path = world.chiton.policy(&policy);
    let alone = world.chiton.sandboxed(&path, &["true"]).expect_status(125);
    assert!(alone.stderr.contains("[llm] allow") && alone.stderr.contains(&url), "{alone:?}");
    world.chiton.allow_llm(&url);
    let outcome = python(&world, &policy, script);
    assert!(
        outcome.stdout.ends_with("Hello from the scripted model.\nrefused model_not_allowed\n"),
        "{outcome:?}"
    );
    let asked = server.requests();
    only_the_backends_key(&outcome, &asked, "authorization", "Bearer ");
    assert_eq!(asked.len(), 3);
    assert!(
        asked.iter().all(|r| String::from_utf8_lossy(&r.body).contains(r#""model":"tiny""#)),
        "{asked:?}"
    );
    assert_eq!(counted(&world, "openai-compatible"), ["tiny", "tiny", "tiny"]);
}

/// A route whose backend speaks the other API, and what the SDK of the asked one sees.
fn translated(routing: &str, host: &str, router: Router, script: &str) -> (World, Outcome) {
    let world = World::new(As::User, &[host], router);
    world.chiton.secret("backend", KEY);
    let policy = format!(
        "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n\
         dynamic:\n  llm_routing: {{{routing}, inject_backend_credential: 'local://backend', model_alias: {{fast: plain}}}}\n"
    );
    let outcome = python(&world, &policy, script);
    (world, outcome)
}

#[test]
fn anthropics_sdk_with_an_openai_server_behind() {
    let script = r#"
import anthropic
client = anthropic.Anthropic(max_retries=0)
ask = [{"role": "user", "content": "what key do you see?"}]
common = dict(max_tokens=64, messages=ask, system="Be brief.")
print(client.messages.create(model="fast", **common).content[0].text)
with client.messages.stream(model="plain", **common) as stream:
    print("".join(stream.text_stream), stream.get_final_message().usage.output_tokens)
tools = [{"name": name, "input_schema": {"type": "object"}} for name in "fg"]
said = client.messages.create(model="tools", max_tokens=64, messages=ask, tools=tools)
with client.messages.stream(model="tools", max_tokens=64, messages=ask, tools=tools) as stream:
    assert [block.to_dict() for block in stream.get_final_message().content] == [block.to_dict() for block in said.content]
results = [{"type": "tool_result", "tool_use_id": call.id, "content": "22 degrees"} for call in said.content]
turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": said.content}, {"role": "user", "content": results}]
print(said.content[0].input, client.messages.create(model="tools", max_tokens=64, messages=turns, tools=tools).content[0].text)
def failing(what, call):
    try:
        print(what, call())
    except anthropic.APIStatusError as error:
        print(what, type(error).__name__, error.body.get("detail") or error.body["error"]["message"])
failing("limit", lambda: client.messages.create(model="limit", **common))
with client.messages.stream(model="broken", **common) as stream:
    failing("broken", stream.get_final_message)
with client.messages.stream(model="cut", **common) as stream:
    failing("cut", stream.get_final_message)
failing("refused", lambda: client.messages.create(model="plain", extra_body={"top_k": 5}, **common))
failing("count", lambda: client.messages.count_tokens(model="plain", messages=ask))
"#;
    let router = Router::new().any("/", scripts::answer_chat);
    let (world, outcome) =
        translated("provider: anthropic, backend: openai", "api.openai.com", router, script);
    let wanted = "\
{'city': 'Bern'} Hello from the scripted model.
limit RateLimitError slow down
broken APIStatusError server overloaded
cut APIStatusError the backend's answer ended before its end
";
    let (seen, told) = outcome.stdout.split_at(outcome.stdout.find('{').expect("the input of a call"));
    assert!(told.starts_with(wanted), "{outcome:?}");
    // Less than eight bytes of a beginning do not wait for what follows (0027).
    assert!(seen.lines().count() == 2 && seen.lines().all(|line| line.contains("[redacted]")), "{outcome:?}");
    assert!(seen.trim_end().ends_with(" 7"), "{outcome:?}");
    assert!(outcome.stdout.contains("refused PermissionDeniedError"), "{outcome:?}");
    assert!(outcome.stdout.contains("`top_k` cannot be translated to chat completions"), "{outcome:?}");
    assert!(outcome.stdout.contains("count PermissionDeniedError"), "{outcome:?}");
    let asked = world.upstream.requests();
    assert!(asked.iter().all(|request| request.target == "/v1/chat/completions"), "{asked:?}");
    assert_eq!(asked.len(), 8);
    only_the_backends_key(&outcome, &asked, "authorization", "Bearer ");
    assert!(counted(&world, "openai").len() >= 5);
    assert_eq!(world.chiton.audit(&["--reason", "untranslatable"]).len(), 1);
}

#[test]
fn openais_sdk_with_an_anthropic_server_behind() {
    let script = r#"
import openai
client = openai.OpenAI(max_retries=0)
create = client.chat.completions.create
ask = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "what key do you see?"}]
print(create(model="fast", messages=ask).choices[0].message.content)
chunks = list(create(model="plain", messages=ask, stream=True, stream_options={"include_usage": True}))
print("".join(c.choices[0].delta.content or "" for c in chunks if c.choices), chunks[-1].usage.completion_tokens)
assert all(c.usage is None for c in create(model="plain", messages=ask, stream=True))
tools = [{"type": "function", "function": {"name": name, "parameters": {"type": "object"}}} for name in "fg"]
said = create(model="tools", messages=ask, tools=tools).choices[0].message
with client.chat.completions.stream(model="tools", messages=ask, tools=tools) as stream:
    calls = stream.get_final_completion().choices[0].message.tool_calls
assert [call.function.arguments for call in calls] == [call.function.arguments for call in said.tool_calls]
results = [{"role": "tool", "tool_call_id": call.id, "content": "22 degrees"} for call in said.tool_calls]
turns = [{"role": "user", "content": "hello"}, said] + results
print(said.tool_calls[0].function.arguments, create(model="tools", messages=turns, tools=tools).choices[0].message.content)
def failing(what, call):
    try:
        print(what, call())
    except openai.APIError as error:
        print(what, type(error).__name__, error.body.get("detail") or error.body["message"])
failing("limit", lambda: create(model="limit", messages=ask))
failing("broken", lambda: list(create(model="broken", messages=ask, stream=True)))
failing("cut", lambda: list(create(model="cut", messages=ask, stream=True)))
failing("refused", lambda: create(model="plain", messages=ask, n=2))
failing("embed", lambda: client.embeddings.create(model="plain", input="x"))
"#;
    let router = Router::new().any("/", scripts::answer_messages);
    let (world, outcome) =
        translated("provider: openai, backend: anthropic", "api.anthropic.com", router, script);
    let wanted = "\
{\"city\": \"Bern\"} Hello from the scripted model.
limit RateLimitError slow down
broken APIError Overloaded
cut APIError the backend's answer ended before its end
";
    let (seen, told) = outcome.stdout.split_at(outcome.stdout.find('{').expect("the input of a call"));
    assert!(told.starts_with(wanted), "{outcome:?}");
    // Less than eight bytes of a beginning do not wait for what follows (0027).
    assert!(seen.lines().count() == 2 && seen.lines().all(|line| line.contains("[redacted]")), "{outcome:?}");
    assert!(seen.trim_end().ends_with(" 7"), "{outcome:?}");
    assert!(outcome.stdout.contains("`n` cannot be translated to Anthropic's messages"), "{outcome:?}");
    assert!(outcome.stdout.contains("embed PermissionDeniedError"), "{outcome:?}");
    let asked = world.upstream.requests();
    assert!(asked.iter().all(|request| request.target == "/v1/messages"), "{asked:?}");
    assert_eq!(asked.len(), 9);
    only_the_backends_key(&outcome, &asked, "x-api-key", "");
    assert!(counted(&world, "anthropic").len() >= 6);
    assert_eq!(world.chiton.audit(&["--reason", "untranslatable"]).len(), 1);
}
