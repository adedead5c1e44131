//! What judging lookups costs: `git status` in a tree of 10,000 files and a tree walk, beside bwrap and the bare host.

use std::{fs, process::Command};

use chiton_testkit::Chiton;

use crate::{
    figures::{bwrap, show, time},
    sandbox::{POLICY, user},
};

const FILES: usize = 10_000;

pub fn lookup() {
    let chiton = Chiton::new(user());
    let folder = chiton.workspace();
    for n in 0..FILES {
        let dir = folder.join(format!("d{}/e{}", n / 1000, n / 100 % 10));
        fs::create_dir_all(&dir).expect("a folder");
        fs::write(dir.join(format!("f{n}.txt")), format!("{n}\n")).expect("a file");
    }
    let make = "git init -q && git add . && git -c user.name=b -c user.email=b@example.com commit -qm all";
    assert!(Command::new("sh").args(["-c", make]).current_dir(&folder).status().expect("git").success());
    let with = chiton.policy(POLICY);
    let without = chiton.policy(&POLICY.replace("    denied_paths: [/workspace/.env]\n", ""));
    for (what, script) in [
        ("git status, 10,000 files", "git --no-optional-locks -c safe.directory='*' status -s >/dev/null"),
        ("find and stat of 10,000 files", "find . -type f -newermt 2000-01-01 | wc -l"),
        ("5,000 files made and removed", "mkdir t; cd t; seq 5000 | xargs touch; cd ..; rm -r t"),
        ("shell alone", "true"),
    ] {
        let in_sandbox = |policy: &std::path::Path| {
            let policy = policy.to_str().expect("a path").to_owned();
            time(7, || chiton.command(&["run", "--rm", "-p", &policy, "--", "sh", "-c", script]))
        };
        show(&format!("{what}: chiton"), in_sandbox(&with));
        show(&format!("{what}: chiton, no denied paths"), in_sandbox(&without));
        show(&format!("{what}: bwrap"), time(7, || bwrap(&folder, &["sh", "-c", script])));
        show(&format!("{what}: bare"), time(7, || bare(&folder, script)));
    }
}

fn bare(folder: &std::path::Path, script: &str) -> Command {
    let mut command = Command::new("sh");
    command.args(["-c", script]).current_dir(folder);
    command
}
