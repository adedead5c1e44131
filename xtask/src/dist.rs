//! `cargo xtask dist`: the program as it is given to others, and as it is measured, optimised for the way it runs
//! (profile-guided optimisation, rustc's book § Profile-guided Optimization).
//!
//! It is built once so that it counts which way it goes, put to work by the benches, and built again by what was counted.
//! Every process counts into one file, mapped from its start (`%c`, LLVM's continuous mode): most of ours have no files to
//! write any more when they end.

use std::{env, fs, path::PathBuf};

use crate::run::{Failed, Step, cargo, found};

/// The benches' parts that it is put to work by. `start` needs `bwrap`, the last two `nginx` and `wrk`.
const WORK: [&str; 5] = ["start", "proxy", "apply", "models", "peers"];

const TARGET: &str = "x86_64-unknown-linux-gnu";

/// Builds it, and says where it is.
pub fn run() -> Result<(), Failed> {
    let merge = profdata()?;
    for program in ["bwrap", "curl", "nginx", "wrk"] {
        if !found(program) {
            let mend =
                "the system's packages bubblewrap, curl, nginx and wrk, on the PATH (nginx is in /usr/sbin)";
            return Err(Failed::Missing { component: program, mend });
        }
    }
    let folder = crate::target().join("guided");
    let (counts, profile) = (folder.join("counts"), folder.join("profile"));
    let _ = fs::remove_dir_all(&counts);
    fs::create_dir_all(&counts).map_err(|error| Failed::File(counts.clone(), error))?;
    // Values are not counted that way, only which way it went.
    let no_values = "llvm-args=-disable-vp=true".to_owned();
    let counting = [
        format!("profile-generate={}/%c", counts.display()),
        "llvm-args=-runtime-counter-relocation".to_owned(),
        no_values.clone(),
    ];
    let counted = build("chiton", "counting", &counting)?;
    let benches = build("chiton-benches", "dist", &[])?;
    let mut work = Step::new(benches.with_file_name("chiton-bench")).with(&WORK);
    work.env("CHITON_BIN", counted.with_file_name("chiton")).run("put to work")?;
    let mut merging = Step::new(merge).with(&["merge", "-o"]);
    merging
        .args(&[&profile, &counts].map(|path| path.display().to_string()))
        .run("merge what was counted")?;
    let built = build("chiton", "guided", &[format!("profile-use={}", profile.display()), no_values])?;
    println!("xtask: {}", built.with_file_name("chiton").display());
    Ok(())
}

/// Builds a package with these options for the compiler, in a folder of its own. Where its programs are.
fn build(package: &str, folder: &str, options: &[String]) -> Result<PathBuf, Failed> {
    let folder = crate::target().join("guided").join(folder);
    let options: Vec<_> = options.iter().map(|option| format!("\"-C{option}\"")).collect();
    // Beside what the configuration says, which a variable would replace.
    let mut step = cargo(&["build", "--locked", "--profile", "dist", "-p", package]);
    step.without("RUSTFLAGS").without("CARGO_ENCODED_RUSTFLAGS");
    step.args(&[
        format!("--config=target.{TARGET}.rustflags=[{}]", options.join(",")),
        format!("--target-dir={}", folder.display()),
    ]);
    step.run(&format!("build `{package}`, {}", folder.display()))?;
    Ok(folder.join(TARGET).join("dist").join(package))
}

/// LLVM's program that merges what was counted, of the compiler's own version.
fn profdata() -> Result<PathBuf, Failed> {
    let rustc = env::var_os("RUSTC").unwrap_or_else(|| "rustc".into());
    let sysroot = Step::new(&rustc).with(&["--print", "sysroot"]).output();
    let own = PathBuf::from(sysroot).join(format!("lib/rustlib/{TARGET}/bin/llvm-profdata"));
    let version = Step::new(&rustc).with(&["-vV"]).output();
    let major = version.lines().find_map(|line| line.strip_prefix("LLVM version: ")?.split('.').next());
    let packaged = PathBuf::from(format!("/usr/lib/llvm-{}/bin/llvm-profdata", major.unwrap_or_default()));
    [own, packaged].into_iter().find(|path| path.is_file()).ok_or(Failed::Missing {
        component: "llvm-profdata of the compiler's LLVM",
        mend: "rustup component add llvm-tools",
    })
}
