//! A model route beside the same request under a rule, the direct connection, and LiteLLM's proxy (PyPI:
//! `litellm[proxy]`), where `litellm` is in the `PATH`. The server is nginx with one small chat completion; the client is
//! `wrk`. After that the delay of a stream's first event, by [`streams`]. LiteLLM reaches it in the clear, and so has less to do than the others.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use chiton_testkit::{Chiton, TestCa};

use crate::{
    peers::{Running, Way, field, free},
    sandbox::user,
    streams::streams,
};

pub(crate) const HOST: &str = "api.openai.com";
pub(crate) const KEY: &str = "sk-bench-0123456789abcdef";
const ANSWER: &str = r#"{"id":"chatcmpl-1","object":"chat.completion","created":1700000000,"model":"gpt-bench","choices":[{"index":0,"finish_reason":"stop","message":{"role":"assistant","content":"Hello from the scripted model."}}],"usage":{"prompt_tokens":11,"completion_tokens":7,"total_tokens":18}}"#;
const ASK: &str = r#"wrk.method = "POST"
wrk.path = "/v1/chat/completions"
wrk.headers["Content-Type"] = "application/json"
wrk.headers["Authorization"] = "Bearer sk-mine-0123456789"
wrk.body = '{"model":"gpt-bench","max_tokens":64,"messages":[{"role":"user","content":"hello"}]}'
"#;

/// Of a route that counts everything.
pub(crate) const LIMITS: &str = ", models: ['gpt-*'], limits: {tokens_per_day: 900000000000}";

const STATIC: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n";

pub fn models() {
    let ca = TestCa::new();
    let mut chiton = Chiton::new(user());
    let (tls, plain, litellm) = (free(), free(), free());
    let folder = chiton.path("models");
    fs::create_dir_all(&folder).expect("a folder");
    let (certificate, key) = ca.leaf_pem(&[HOST]);
    fs::write(folder.join("leaf.pem"), certificate).expect("a file");
    fs::write(folder.join("key.pem"), key).expect("a file");
    let _server = Running::nginx(&folder, "server", tls, &server_config(tls, plain));
    let peer = self::litellm(&folder, litellm, plain);
    chiton.trust(&ca).resolve(&format!("{HOST}:443"), tls);
    chiton.secret("key", KEY);
    let ask = chiton.write_workspace("ask.lua", ASK);
    let rule = format!(
        "{STATIC}dynamic: {{network: {{http: [{{host: {HOST}, methods: [POST], paths: [/v1/chat/completions], credential: 'local://key'}}]}}}}\n"
    );
    let mut ways = vec![("direct", Way::Plain(tls))];
    for (name, policy) in [("rule", rule), ("route", route("")), ("route, limits", route(LIMITS))] {
        ways.push((name, Way::Sandbox(&chiton, chiton.write(&format!("{name}.yaml"), policy))));
    }
    match peer {
        Some(_) => ways.push(("litellm", Way::Clear(litellm))),
        None => println!("litellm is not installed, and left out"),
    }
    println!("{:<16}{:>12}{:>14}{:>14}", "chat", "requests/s", "median 1 conn", "p99 1 conn");
    for _ in 0..3 {
        for (name, way) in &ways {
            let many = way.wrk_to(HOST, &["-t1", "-c32", "-d4s"], "/", Some(&ask));
            let one = way.wrk_to(HOST, &["-t1", "-c1", "-d3s", "--latency"], "/", Some(&ask));
            println!(
                "{name:<16}{:>12}{:>14}{:>14}",
                field(&many, "Requests/sec:"),
                field(&one, "50%"),
                field(&one, "99%")
            );
        }
    }
    streams();
}

/// A policy with a route, and this in it.
pub(crate) fn route(more: &str) -> String {
    format!(
        "{STATIC}dynamic: {{llm_routing: {{provider: openai, inject_backend_credential: 'local://key'{more}}}}}\n"
    )
}

fn server_config(tls: SocketAddr, plain: SocketAddr) -> String {
    format!(
        " access_log off; default_type application/json;\n\
         server {{ listen {tls} ssl; listen {plain}; location / {{ return 200 '{ANSWER}'; }} }}\n"
    )
}

fn litellm(folder: &Path, at: SocketAddr, server: SocketAddr) -> Option<Running> {
    let config = folder.join("litellm.yaml");
    let text = format!(
        "model_list:\n- model_name: gpt-bench\n  litellm_params: {{model: openai/gpt-bench, api_base: 'http://{server}/v1', api_key: {KEY}}}\n\
         litellm_settings: {{telemetry: false}}\n"
    );
    fs::write(&config, text).expect("a configuration");
    let mut command = Command::new("litellm");
    command.arg("--config").arg(&config).args(["--host", &at.ip().to_string()]);
    // As many workers as the others have.
    command.args(["--port", &at.port().to_string(), "--num_workers", "2"]);
    // It does not start without; it is what the client sends.
    command
        .env("LITELLM_MASTER_KEY", "sk-mine-0123456789")
        .env("LITELLM_LOCAL_MODEL_COST_MAP", "True")
        .env("LITELLM_LOG", "ERROR");
    Running::start(command, at)
}
