//! The project's own commands: `cargo xtask test|lint|setup|deny|kernel|dist`.
//!
//! `test` is what a landing must pass: it installs what the tests need, then formats, lints, builds and tests.
//! What cannot be had fails the run by its name; nothing is skipped.

mod dist;
mod kernel;
mod run;
mod setup;

use std::{env, path::PathBuf, process::ExitCode};

use run::{Step, cargo};

const USAGE: &str = "\
cargo xtask test [FILTER…]   install what the tests need (it says what), then lint, build and test everything;
                             with a filter, only the tests whose names match, and no lint
cargo xtask lint             formatting and clippy, warnings are errors
cargo xtask setup            only install what the tests need
cargo xtask deny             licences, bans and advisories, by cargo-deny
cargo xtask kernel           the native driver's suite on Debian's own kernel, in QEMU
cargo xtask dist             the program that is given to others: built twice, the second time by how the first one ran
";

/// In whose containers the promises are tried too: `CHITON_TEST_ENGINE` of the test kit.
const ENGINES: [&str; 3] = ["docker", "podman", "rootless"];

fn main() -> ExitCode {
    let arguments: Vec<String> = env::args().skip(1).collect();
    let outcome = match arguments.split_first() {
        Some((verb, filters)) if verb == "test" => test(filters),
        Some((verb, [])) if verb == "lint" => lint(),
        Some((verb, [])) if verb == "setup" => setup::all().map(|_| ()),
        Some((verb, [])) if verb == "deny" => deny(),
        Some((verb, [])) if verb == "kernel" => kernel::run(),
        Some((verb, [])) if verb == "dist" => dist::run(),
        _ => {
            eprint!("{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("xtask: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn test(filters: &[String]) -> Result<(), run::Failed> {
    let kit = setup::all()?;
    if filters.is_empty() {
        lint()?;
    }
    cargo(&["build", "--locked", "-p", "chiton", "-p", "chiton-testkit"])
        .run("build the binary and the probe")?;
    let built = target().join("x86_64-unknown-linux-gnu/debug");
    for name in ["chiton", "chiton-probe"] {
        kit.publish(&built.join(name), name)?;
    }
    let run = |arguments: &[&str], engine: Option<&str>, what: &str| {
        let mut step = cargo(arguments);
        step.args(filters)
            .env("CHITON_BIN", kit.binary("chiton"))
            .env("CHITON_PROBE", kit.binary("chiton-probe"))
            .env("CHITON_TEST_PACKAGES", kit.packages());
        if let Some(engine) = engine {
            step.env("CHITON_TEST_ENGINE", engine);
        }
        step.run(what)
    };
    run(&["test", "--locked", "--workspace", "--"], None, "the tests")?;
    for engine in ENGINES {
        // Built as they are already, of the whole workspace.
        let promises = ["test", "--locked", "--workspace", "--test", "promises", "--"];
        run(&promises, Some(engine), &format!("the promises in containers ({engine})"))?;
    }
    Ok(())
}

fn lint() -> Result<(), run::Failed> {
    cargo(&["fmt", "--all", "--check"]).run("formatting: `cargo fmt --all` mends it")?;
    cargo(&["clippy", "--locked", "--workspace", "--all-targets", "--", "-D", "warnings"]).run("clippy")
}

fn deny() -> Result<(), run::Failed> {
    if !run::found("cargo-deny") {
        return Err(run::Failed::Missing {
            component: "cargo-deny",
            mend: "cargo install --locked cargo-deny",
        });
    }
    Step::new("cargo-deny").with(&["check"]).run("licences, bans and advisories")
}

/// Where cargo builds.
fn target() -> PathBuf {
    run::root().join(env::var_os("CARGO_TARGET_DIR").unwrap_or_else(|| "target".into()))
}
