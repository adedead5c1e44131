//! Starting in a container, beside the bare engine with the same image; and the proxy from there, beside itself from a
//! native sandbox. Needs root, Docker and Podman.

use std::process::Command;

use chiton_testkit::{
    As, Chiton,
    engines::{Engine, Kind, images},
    harness::TEST_USER,
};

use crate::{
    figures::{show, time},
    network::{self, Served},
    sandbox::POLICY,
};

const IMAGE: &str = "busybox";

pub fn engines() {
    let files = images::busybox();
    for kind in [Kind::Docker, Kind::Podman] {
        let engine = Engine::start(kind);
        engine.import(IMAGE, &files.path(), &[]);
        one(&engine);
    }
}

fn one(engine: &Engine) {
    let driver = engine.driver();
    let socket = engine.socket();
    let mut chiton = Chiton::new(if engine.kind() == Kind::Docker { As::User } else { As::Root });
    let _ = chiton.sections(&format!("[{driver}]\nsocket = {socket:?}\n"));
    // No container runs as root, and so none has a workspace of root's.
    std::os::unix::fs::chown(chiton.workspace(), Some(TEST_USER), Some(TEST_USER)).expect("chown");
    let served = Served::to(chiton);
    let chiton = &served.chiton;
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    let run = ["run", "--rm", "--driver", driver, "--image", IMAGE, "-p", policy, "--", "true"];
    let ours = show(&format!("chiton run --rm --driver {driver} -- true"), time(20, || chiton.command(&run)));
    let peer = show(&format!("{driver} run --rm --network none … true"), time(20, || bare(engine)));
    println!("{:<58} {:.2}×", format!("  ours / {driver}"), ours.as_secs_f64() / peer.as_secs_f64());
    network::through(&served, driver, &["--driver", driver, "--image", IMAGE]);
}

fn bare(engine: &Engine) -> Command {
    let mut command = engine.command_line();
    command.args(["run", "--rm", "--network", "none", IMAGE, "/bin/true"]);
    command
}
