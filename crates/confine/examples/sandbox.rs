//! A shell (or any program) in a whole sandbox: `sandbox root|ordinary FOLDER -- CMD …`. Lookups are not judged here.

#[path = "../tests/harness/mod.rs"]
mod harness;

use std::{path::Path, process::ExitCode};

use harness::{As, Setup};

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().collect();
    let [_, who, folder, _, command @ ..] = arguments.as_slice() else {
        return ExitCode::from(2);
    };
    let who = if who == "root" { As::Root } else { As::Ordinary };
    let mut setup = Setup::new(who).workspace(Path::new(folder));
    setup.attached = true;
    setup.timings = std::env::var_os("TIMINGS").is_some();
    let command: Vec<&str> = command.iter().map(String::as_str).collect();
    ExitCode::from(u8::try_from(setup.run(&command).status).unwrap_or(255))
}
