//! The main job under every driver: the same programs and policies, the same words and events.

use std::{fs, path::Path, process::Command};

use chiton_testkit::{engines::images, routes::Router, server::Upstream};
use chiton_tests::{
    World, http_policy, packages,
    workloads::{self, Workload},
};

use crate::{run_under, same::everywhere, shared};

/// Where it is in a container what the tests have in a folder of this machine.
const INSIDE: &str = "/workspace/packages";

fn the_same(workload: &Workload) {
    let written = everywhere(
        |user| (workload.world(user), ()),
        |world, kind| {
            let Some(kind) = kind else { return workload.natively(world) };
            workload.store_key(world);
            if let Some(packages) = workload.packages {
                bring(world, packages);
            }
            let command = (workload.command)(INSIDE);
            let command: Vec<_> = command.iter().map(String::as_str).collect();
            let policy = world.chiton.policy(&workload.policy);
            workload.said(run_under(&world.chiton, shared(kind), "debian", &policy, &["--rm"], &command))
        },
    );
    assert!(written.iter().any(|line| line.contains("\"allow\"")), "{written:#?}");
}

/// Nothing of this machine is in a container but the workspace, so that is the way in.
fn bring(world: &World, kind: &str) {
    let to = world.chiton.workspace().join("packages");
    if kind == "python" {
        // For the Python of the image, which is not always this machine's.
        return link(&packages("sdks"), &to);
    }
    for part in [".bin", "npm", "@anthropic-ai/claude-code"] {
        let part = Path::new("node_modules").join(part);
        fs::create_dir_all(to.join(&part).parent().expect("a folder")).expect("a folder");
        link(&packages(kind).join(&part), &to.join(&part));
    }
}

/// The same files under another name, or copies where that is another filesystem.
fn link(from: &Path, to: &Path) {
    let done = |option| Command::new("cp").arg(option).arg(from).arg(to).output().expect("cp").status;
    assert!(done("-al").success() || done("-a").success(), "{from:?} cannot be brought in");
}

#[test]
fn pip_and_npm() {
    the_same(&workloads::pip());
    the_same(&workloads::npm());
}

#[test]
fn sdks_of_python_and_nodes_fetch() {
    the_same(&workloads::openai_python());
    the_same(&workloads::anthropic_python());
    the_same(&workloads::node_fetch());
}

#[test]
fn a_coding_agent() {
    the_same(&workloads::claude_code());
}

/// Plain HTTP is what busybox's `wget` can: its TLS names no signature algorithms, and the proxy's asks for them.
#[test]
fn an_image_of_busybox() {
    let script = "for url in http://api.example.com/open http://api.example.com/closed http://other.example.com/open; \
        do busybox wget -q -O /tmp/answer $url 2>&1 && echo $url; done; \
        busybox cat .env 2>/dev/null || echo denied";
    let said = "http://api.example.com/open\nwget: server returned error: HTTP/1.1 403 Forbidden\n\
        wget: server returned error: HTTP/1.1 403 Forbidden\ndenied\n";
    let policy = http_policy(&["{host: api.example.com, scheme: http, paths: [/open]}"]);
    let policy = policy.replace("/tmp]", "/tmp]\n    denied_paths: [/workspace/.env]");
    let world = |user| {
        let mut world = World::new(user, &["api.example.com"], Router::echo());
        let plain = Upstream::plain(Router::echo());
        world.chiton.resolve("api.example.com:80", plain.address());
        world.chiton.write_workspace(".env", "SECRET=1");
        (world, plain)
    };
    everywhere(world, |world, kind| {
        let outcome = match kind {
            None => world.sh(&policy, script),
            Some(kind) => {
                let policy = world.chiton.policy(&policy);
                let command = ["sh", "-c", script];
                run_under(&world.chiton, shared(kind), "busybox", &policy, &["--rm"], &command)
            }
        };
        assert_eq!(outcome.stdout, said, "{outcome:?}");
        outcome
    });
}

/// One static program and no other file: it finds the sandbox's authority and its resolver all the same.
#[test]
fn an_image_of_one_static_program() {
    let policy = http_policy(&["{host: api.example.com, paths: [/open]}"]);
    let urls =
        ["https://api.example.com/open", "https://api.example.com/closed", "https://other.example.com/open"];
    let image = images::scratch(&packages("ask").join("ask"));
    everywhere(
        |user| (World::new(user, &["api.example.com"], Router::echo()), ()),
        |world, kind| {
            let policy = world.chiton.policy(&policy);
            let outcome = match kind {
                None => {
                    let ask = packages("ask").display().to_string();
                    let (policy, program) = (policy.display().to_string(), format!("{ask}/ask"));
                    let line = ["run", "--rm", "-p", &policy, "-r", &ask, "--", &program];
                    world.chiton.run(&[&line[..], &urls].concat())
                }
                Some(kind) => {
                    shared(kind).import("ask", &image.path(), &[]);
                    let command = [&["/program"][..], &urls].concat();
                    run_under(&world.chiton, shared(kind), "ask", &policy, &["--rm"], &command)
                }
            };
            assert_eq!(outcome.stdout, "200\n403\n403\n", "{outcome:?}");
            outcome
        },
    );
}
