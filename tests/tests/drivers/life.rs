//! A sandbox in a container from its start to its removal, as under every driver.

use chiton_testkit::{
    engines::{Kind, images},
    harness::TEST_USER,
};
use chiton_tests::{kill_gateway, terminal::Terminal};

use crate::{KINDS, chiton, nothing_left, refused, run, shared};

#[test]
fn status_streams_and_variables() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        for (script, status) in [("true", 0), ("exit 7", 7), ("kill -9 $$", 137), ("kill -15 $$", 143)] {
            assert_eq!(
                run(&chiton, engine, "busybox", &["--rm"], &["sh", "-c", script]).status,
                status,
                "{kind:?}"
            );
        }
        assert_eq!(run(&chiton, engine, "busybox", &["--rm"], &["no-such-program"]).status, 127);
        let both = run(&chiton, engine, "busybox", &["--rm"], &["sh", "-c", "echo out; echo err >&2"]);
        assert_eq!((both.stdout.as_str(), both.stderr.as_str()), ("out\n", "err\n"), "{kind:?}");
        let policy = chiton.policy(crate::POLICY);
        let text = "0123456789abcdef\n".repeat(20_000);
        let policy = policy.to_str().expect("UTF-8");
        let line =
            ["run", "--rm", "--driver", engine.driver(), "--image", "busybox", "-p", policy, "--", "cat"];
        let copied = chiton.run_with(&line, &text);
        assert!(copied.stdout == text, "{kind:?}: {} bytes", copied.stdout.len());
        nothing_left(&chiton, engine);
    }
}

/// Of several gateways, too. Podman without root now and then cannot make two at once.
#[test]
fn many_at_once() {
    for kind in KINDS {
        let (engine, gateways) = (shared(kind), [(); 2].map(|()| chiton(shared(kind))));
        std::thread::scope(|scope| {
            let one = |chiton| run(chiton, engine, "busybox", &["--rm"], &["id", "-u"]);
            let started: Vec<_> = gateways.iter().flat_map(|chiton| [chiton; 3]).collect();
            let started: Vec<_> =
                started.into_iter().map(|chiton| scope.spawn(move || one(chiton))).collect();
            for outcome in started {
                let outcome = outcome.join().expect("it").expect_success();
                assert_eq!(outcome.stdout, format!("{TEST_USER}\n"), "{kind:?} {outcome:?}");
            }
        });
        gateways.iter().for_each(|chiton| nothing_left(chiton, engine));
    }
}

#[test]
fn from_its_start_to_its_removal() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let script = ["sh", "-c", "echo begun; while :; do sleep 0.05; done"];
        let begun = run(&chiton, engine, "busybox", &["-d", "-n", "box"], &script).expect_success();
        assert_eq!(begun.stdout, "box\n");
        let list = chiton.run(&["ps", "--json"]).json();
        assert_eq!((&list[0]["state"], &list[0]["driver"]), (&"running".into(), &engine.driver().into()));
        let shown = chiton.run(&["show", "box", "--json"]).json();
        let layers = shown["report"]["layers"].as_array().expect("layers").clone();
        assert_eq!(layers[0]["layer"], "container", "{shown:#}");
        assert!(layers.iter().all(|layer| layer["enforced"] == true), "{shown:#}");
        assert_eq!(chiton.run(&["exec", "box", "sh", "-c", "echo $CHITON_SANDBOX; exit 3"]).status, 3);
        assert_eq!(chiton.run(&["stop", "-t", "1", "box"]).stdout, "box\n");
        assert_eq!(chiton.run(&["wait", "box"]).status, 143);
        assert_eq!(chiton.run(&["logs", "box"]).stdout, "begun\n");
        nothing_left(&chiton, engine);
        let _ = chiton.run(&["start", "box"]).expect_success();
        assert_eq!(chiton.run(&["ps", "-q"]).stdout, "box\n");
        assert_eq!(chiton.run(&["rm", "-f", "box"]).stdout, "box\n");
        assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
        nothing_left(&chiton, engine);
    }
}

/// What the engine was told, as it says itself.
#[test]
fn the_container_has_no_network_no_capability_and_no_root() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let _ = run(&chiton, engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
        let names = engine.containers();
        let workspace = chiton.workspace();
        let ours = names
            .iter()
            .find(|container| container["Mounts"].to_string().contains(workspace.to_str().expect("UTF-8")));
        let container = engine.inspect(ours.expect("the container")["Id"].as_str().expect("its id"));
        assert_eq!(container["HostConfig"]["NetworkMode"], "none", "{container:#}");
        assert_eq!(container["HostConfig"]["Privileged"], false, "{container:#}");
        assert_eq!(container["Config"]["User"], "7100:7100", "{container:#}");
        let process = container["State"]["Pid"].as_i64().expect("its process");
        assert!(process > 0, "{container:#}");
        let inside = chiton.run(&[
            "exec",
            "box",
            "sh",
            "-c",
            "grep Cap /proc/self/status; id -u; cat /proc/net/dev | wc -l",
        ]);
        assert!(inside.stdout.contains("CapBnd:\t0000000000000000"), "{inside:?}");
        assert!(inside.stdout.ends_with("\n3\n"), "{inside:?}");
        let _ = chiton.run(&["rm", "-f", "box"]).expect_success();
    }
}

#[test]
fn a_killed_gateway_is_followed_by_one_that_carries_on() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let _ = run(&chiton, engine, "busybox", &["-d", "-n", "box"], &["sleep", "1000"]).expect_success();
        kill_gateway(&chiton);
        let found = chiton.run(&["exec", "box", "echo", "still"]);
        assert_eq!(found.stdout, "still\n", "{kind:?} {found:?}");
        assert_eq!(chiton.run(&["stop", "-t", "0", "box"]).stdout, "box\n");
        nothing_left(&chiton, engine);
    }
}

/// An image says what a main program is the argument of, where it starts, and which variables it finds.
#[test]
fn an_images_own_words_are_kept() {
    let engine = shared(Kind::Docker);
    let changes =
        [r#"ENTRYPOINT ["/bin/sh", "-c", "echo $FROM_IMAGE $0; pwd"]"#, "ENV FROM_IMAGE=yes", "WORKDIR /bin"];
    engine.import("said", &images::busybox().path(), &changes);
    let chiton = chiton(engine);
    let outcome = run(&chiton, engine, "said", &["--rm"], &["argument"]);
    assert_eq!(outcome.stdout, "yes argument\n/workspace\n", "{outcome:?}");
    let probe = chiton_testkit::harness::probe_binary();
    engine.import("scratch", &images::scratch(&probe).path(), &[]);
    let outcome = run(&chiton, engine, "scratch", &["--rm"], &["/program", "list"]);
    assert!(outcome.status == 0 && !outcome.stdout.is_empty(), "{outcome:?}");
}

/// Its `USER` is who the agent is inside. On the host, and in the workspace, that is still whose the workspace is.
#[test]
fn an_images_user_is_the_agents_inside() {
    use std::os::unix::fs::MetadataExt as _;
    const SCRIPT: &str = "id -u; id -g; echo x > made; stat -c %u:%g made; id -un";
    let accounts = images::busybox_with("etc/passwd", "node:x:1000:1001::/home/node:/bin/sh\n");
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        for (user, ids) in [("4321:8765", ("4321", "8765")), ("node", ("1000", "1001"))] {
            let image = format!("user-{}", ids.0);
            engine.import(&image, &accounts.path(), &[&format!("USER {user}")]);
            let outcome = run(&chiton, engine, &image, &["--rm"], &["sh", "-c", SCRIPT]);
            let wanted = format!("{0}\n{1}\n{0}:{1}\nagent\n", ids.0, ids.1);
            assert_eq!(outcome.stdout, wanted, "{kind:?} {outcome:?}");
            let made = std::fs::metadata(chiton.workspace().join("made")).expect("a file");
            assert_eq!((made.uid(), made.gid()), (TEST_USER, TEST_USER), "{kind:?}");
        }
        // Nobody is root inside.
        engine.import("user-root", &accounts.path(), &["USER root"]);
        let outcome = run(&chiton, engine, "user-root", &["--rm"], &["id", "-u"]);
        assert_eq!(outcome.stdout, format!("{TEST_USER}\n"), "{kind:?} {outcome:?}");
        engine.import("user-unknown", &accounts.path(), &["USER nobody-knows"]);
        let outcome = run(&chiton, engine, "user-unknown", &[], &["true"]);
        refused(&outcome, &["USER `nobody-knows`", "`/etc/passwd`"]);
        nothing_left(&chiton, engine);
    }
}

#[test]
fn a_terminal_at_both_ends() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        let policy = chiton.policy(crate::POLICY);
        let script =
            "trap 'echo now $(stty size)' WINCH; echo at first $(stty size); while :; do sleep 0.05; done";
        let policy = policy.to_str().expect("UTF-8");
        let given =
            ["--driver", engine.driver(), "--image", "busybox", "-p", policy, "--", "sh", "-c", script];
        let mut terminal = Terminal::run(&chiton, &[&["run", "--rm"], &given[..]].concat());
        terminal.wait_for("at first 33 111");
        terminal.resize(40, 90);
        terminal.wait_for("now 40 90");
        terminal.keys("\x03");
        assert_eq!(
            terminal.child.wait().expect("its end").code(),
            Some(130),
            "{kind:?} {}",
            terminal.screen()
        );
        nothing_left(&chiton, engine);
    }
}
