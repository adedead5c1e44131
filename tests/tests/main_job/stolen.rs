//! The official SDKs with a stolen-looking key of their own, in every place that they have for one, against providers
//! that say everything they were sent: in words, headers, errors, streams, gzip, and pieces of seven bytes.

use chiton_testkit::{
    Seen,
    routes::{Router, hostile},
};
use chiton_tests::{As, Outcome, World, packages, search::search_for};

const HOSTS: [&str; 3] = ["api.openai.com", "api.anthropic.com", "generativelanguage.googleapis.com"];
/// A backend's key of each: no two have a half in common.
const KEYS: [&str; 3] =
    ["sk-backend-1c7de05b93f2a846", "sk-backend-77a3e9c1d08b25f4", "sk-backend-e62f80b4c93d1a57"];
const NAMES: [&str; 3] = ["openai", "anthropic", "google"];
const PLACES: [(&str, &str); 3] = [("authorization", "Bearer "), ("x-api-key", ""), ("x-goog-api-key", "")];

const POLICY: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
    dynamic:\n  llm_routing:\n\
    \x20   - {provider: openai, inject_backend_credential: 'local://openai'}\n\
    \x20   - {provider: anthropic, inject_backend_credential: 'local://anthropic'}\n\
    \x20   - {provider: google, inject_backend_credential: 'local://google'}\n";

const PYTHON: &str = r#"
import os, time
import anthropic, httpx, openai
from google import genai
MINE = "sk-stolen-0f1e2d3c4b5a"
places = {"Authorization": f"Bearer {MINE}", "X-API-Key": MINE, "api-key": MINE, "X-Goog-Api-Key": MINE,
          "Cookie": f"key={MINE}", "Proxy-Authorization": f"Basic {MINE}", "X-Amz-Security-Token": MINE}
ask = [{"role": "user", "content": "hello"}]
said = []
def note(name, call):
    try: said.append((name, call()))
    except Exception as error: said.append((name, f"{type(error).__name__} {error} {getattr(error, 'body', '')}"))
def words(stream): return "".join((part.choices[0].delta.content or "") for part in stream if part.choices)
for mode in ("plain", "gzip", "chunks", "error"):
    fields = places | {"x-mode": mode}
    o = openai.OpenAI(api_key=MINE, default_headers=fields, default_query={"key": MINE}, max_retries=0)
    note("openai", lambda: o.chat.completions.create(model="m", messages=ask).choices[0].message.content)
    note("openai", lambda: words(o.chat.completions.create(model="m", messages=ask, stream=True)))
    note("openai", lambda: o.responses.create(model="m", input="hello").output_text)
    note("openai", lambda: str(o.chat.completions.with_raw_response.create(model="m", messages=ask).headers))
    a = anthropic.Anthropic(api_key=MINE, default_headers=fields, default_query={"key": MINE}, max_retries=0)
    note("anthropic", lambda: a.messages.create(model="m", max_tokens=9, messages=ask).content[0].text)
    note("anthropic", lambda: "".join(a.messages.stream(model="m", max_tokens=9, messages=ask).__enter__().text_stream))
    g = genai.Client(api_key=MINE, http_options={"headers": fields})
    note("google", lambda: g.models.generate_content(model="m", contents="hello").text)
    note("google", lambda: "".join(part.text or "" for part in g.models.generate_content_stream(model="m", contents="hello")))
open("said", "w").write("\n".join(f"{name} {text}" for name, text in said))
open("done", "w").close()
time.sleep(300)
"#;

const NODE: &str = r#"
import OpenAI from "openai";
import Anthropic from "@anthropic-ai/sdk";
import fs from "node:fs";
const MINE = "sk-stolen-0f1e2d3c4b5a";
const places = { Authorization: `Bearer ${MINE}`, "X-API-Key": MINE, "api-key": MINE, Cookie: `key=${MINE}`,
  "X-Goog-Api-Key": MINE };
const ask = [{ role: "user", content: "hello" }];
const said = [];
async function note(name, call) {
  try { said.push(`${name} ${await call()}`); } catch (error) { said.push(`${name} ${error.constructor.name} ${error.message}`); }
}
for (const mode of ["plain", "gzip", "chunks", "error"]) {
  const options = { apiKey: MINE, defaultHeaders: { ...places, "x-mode": mode }, defaultQuery: { key: MINE }, maxRetries: 0 };
  const o = new OpenAI(options);
  await note("openai", async () => (await o.chat.completions.create({ model: "m", messages: ask })).choices[0].message.content);
  await note("openai", async () => {
    let text = "";
    for await (const part of await o.chat.completions.create({ model: "m", messages: ask, stream: true })) text += part.choices[0]?.delta?.content ?? "";
    return text;
  });
  await note("openai", async () => (await o.responses.create({ model: "m", input: "hello" })).output_text);
  const a = new Anthropic(options);
  await note("anthropic", async () => (await a.messages.create({ model: "m", max_tokens: 9, messages: ask })).content[0].text);
  await note("anthropic", async () => await a.messages.stream({ model: "m", max_tokens: 9, messages: ask }).finalText());
}
fs.writeFileSync("said", said.join("\n"));
fs.writeFileSync("done", "");
setTimeout(() => {}, 300000);
"#;

/// Runs a program; searches everything for the keys while it still holds what it was told, and again after it was made
/// to dump its core.
fn run(kind: &str, program: &str, script: &str) -> (World, Outcome) {
    let world = World::new(As::User, &HOSTS, Router::new().any("/", hostile::answer_request));
    for ((name, key), host) in NAMES.into_iter().zip(KEYS).zip(HOSTS) {
        let _ = world.chiton.run_with(&["secret", "set", name, "--host", host], key).expect_success();
    }
    world.chiton.write_workspace("search.py", search_for(&KEYS));
    world.chiton.write_workspace("task.mjs", script);
    let brought = packages(kind);
    let search = "/usr/bin/python3 search.py";
    let script = format!(
        "[ -d /workspace/node_modules ] || ln -s {brought}/node_modules /workspace/node_modules; ulimit -c unlimited; {program} task.mjs & \
         i=0; while [ ! -e done ] && [ $i -lt 900 ] && kill -0 $!; do sleep 0.1; i=$((i+1)); done; {search}; kill -ABRT $!; wait; {search}; ls",
        brought = brought.display()
    );
    let policy = world.chiton.policy(POLICY);
    let (policy, brought) = (policy.display().to_string(), brought.display().to_string());
    let variable = format!("PYTHONPATH={brought}");
    let arguments =
        ["run", "--rm", "-p", &policy, "-r", &brought, "-e", &variable, "--", "sh", "-c", &script];
    let outcome = world.chiton.run(&arguments).expect_success();
    (world, outcome)
}

/// Upstream every request had the backend's key in its one place, and nothing of the caller's.
fn only_the_backends(requests: &[Seen], calls: [usize; 3]) {
    for (((host, key), (field, prefix)), calls) in HOSTS.into_iter().zip(KEYS).zip(PLACES).zip(calls) {
        let of_host: Vec<&Seen> = requests.iter().filter(|seen| seen.host == host).collect();
        assert_eq!(of_host.len(), calls, "{host}");
        for seen in of_host {
            assert_eq!(seen.header(field), Some(format!("{prefix}{key}").as_str()), "{seen:?}");
            assert!(!seen.contains("stolen") && !seen.contains("placeholder"), "{seen:?}");
            let keys = seen.headers.iter().filter(|(_, value)| value.contains("sk-")).count();
            assert!(keys == 1 && !seen.target.contains("sk-"), "{seen:?}");
        }
    }
}

/// Inside each call was answered with everything but the key, which is nowhere.
fn nothing_is_seen(world: &World, outcome: &Outcome, calls: usize) {
    assert!(outcome.stdout.starts_with(&"NOTHING\n".repeat(2)), "{outcome:?}");
    assert!(outcome.stdout.contains("done\n") && !outcome.stdout.contains("core"), "{outcome:?}");
    let said = std::fs::read_to_string(world.chiton.workspace().join("said")).expect("what was said");
    let told: Vec<&str> =
        said.lines().filter(|line| NAMES.iter().any(|name| line.starts_with(name))).collect();
    assert_eq!(told.len(), calls, "{said}");
    assert!(told.iter().all(|line| line.contains("[redacted]")), "{said}");
    for key in KEYS {
        assert!(world.chiton.files_holding(key.as_bytes()).is_empty());
    }
}

#[test]
fn of_python() {
    let (world, outcome) = run("python", "/usr/bin/python3", PYTHON);
    nothing_is_seen(&world, &outcome, 32);
    only_the_backends(&world.upstream.requests(), [16, 8, 8]);
}

#[test]
fn of_node() {
    let (world, outcome) = run("node", "node", NODE);
    nothing_is_seen(&world, &outcome, 20);
    only_the_backends(&world.upstream.requests(), [12, 8, 0]);
}
