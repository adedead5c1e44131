//! Providers beside the first two, models and aliases, from inside a sandbox with the official SDKs.

use chiton_testkit::{
    Seen, Upstream,
    routes::{Router, google, openai},
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
