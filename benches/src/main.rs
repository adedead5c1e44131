//! Whole-process figures for docs/performance.md: `cargo run --release -p chiton-benches [PART…]`.
//!
//! Parts: `start`, `engines`, `proxy`, `peers`, `models`, `bodies`, `memory`, `apply`, `lookup`, `npm`; all without an argument. `models` ends
//! with what `streams` alone does too. Each prints medians beside its peer of the same run. It needs `bwrap` as the peer of `start` and `lookup`, `nginx` and `wrk` for `peers` and `models`, and the release binary
//! (`cargo build --release`). Figures, never a pass or fail.

mod bodies;
mod client;
mod engines;
mod figures;
mod lookup;
mod models;
mod network;
mod peers;
mod sandbox;
mod streams;

use std::process::ExitCode;

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // These two run inside a sandbox, and beside it for the direct connection.
    match arguments.split_first() {
        Some((first, rest)) if first == "client" => return client::run(rest),
        Some((first, rest)) if first == "streams-client" => return streams::client(rest),
        _ => {}
    }
    let all = ["start", "engines", "proxy", "peers", "models", "bodies", "memory", "apply", "lookup", "npm"]
        .map(str::to_owned);
    let parts = if arguments.is_empty() { all.to_vec() } else { arguments };
    for part in parts {
        match part.as_str() {
            "start" => sandbox::start(),
            "engines" => engines::engines(),
            "memory" => sandbox::memory(),
            "apply" => sandbox::apply(),
            "proxy" => network::proxy(),
            "peers" => peers::peers(),
            "models" => models::models(),
            "streams" => streams::streams(),
            "bodies" => bodies::bodies(),
            "lookup" => lookup::lookup(),
            "npm" => lookup::npm_install(),
            other => {
                eprintln!("no such part: {other}");
                return ExitCode::from(2);
            }
        }
    }
    ExitCode::SUCCESS
}
