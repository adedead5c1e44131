//! What is refused before anything is made: one line, by name.

use std::os::unix::fs::chown;

use chiton_testkit::{
    As, Chiton,
    engines::{Engine, Kind, Settings, images},
};

use crate::{KINDS, chiton, nothing_left, refused, run, shared};

#[test]
fn images_and_drivers_that_do_not_go_together() {
    let (engine, chiton) = (shared(Kind::Docker), chiton(shared(Kind::Docker)));
    refused(
        &chiton.run(&["run", "--image", "busybox", "--", "true"]),
        &["--image busybox", "`native` has no images"],
    );
    refused(&chiton.run(&["run", "--driver", "docker", "--", "true"]), &["`docker` needs an image"]);
    let absent = run(&chiton, engine, "nowhere", &[], &["true"]);
    // The engine of the tests has no way out to any registry.
    refused(&absent, &["docker cannot pull the image"]);
    let listed = run(&chiton, engine, "busybox", &["-r", "/usr/share"], &["true"]);
    refused(&listed, &["-r /usr/share", "leave it out"]);
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    nothing_left(&chiton, engine);
}

#[test]
fn an_engine_that_is_not_there() {
    let mut chiton = Chiton::new(As::User);
    for driver in ["docker", "podman"] {
        chiton.sections(&format!("\n[{driver}]\nsocket = \"/nonexistent/engine.sock\"\n"));
        let line = ["run", "--driver", driver, "--image", "busybox", "--", "true"];
        refused(&chiton.run(&line), &["cannot reach its engine", "/nonexistent/engine.sock", "config.toml"]);
        let _ = chiton.run(&["gateway", "stop"]);
    }
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
}

#[test]
fn a_workspace_of_root() {
    let engine = shared(Kind::Podman);
    let chiton = chiton(engine);
    chown(chiton.workspace(), Some(0), Some(0)).expect("chown");
    refused(&run(&chiton, engine, "busybox", &[], &["true"]), &["belongs to root", "chown"]);
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    nothing_left(&chiton, engine);
}

/// Podman does not tell of it, and no request can leave it out.
#[test]
fn an_engine_that_mounts_something_of_its_own() {
    for kind in [Kind::Podman, Kind::Rootless] {
        let settings = Settings { volume: Some("/var/log:/data".to_owned()), ..Settings::default() };
        let engine = Engine::start_with(kind, &settings);
        engine.import("busybox", &images::busybox().path(), &[]);
        let chiton = chiton(&engine);
        refused(&run(&chiton, &engine, "busybox", &[], &["ls", "/data"]), &["mounted `/data` into it"]);
        nothing_left(&chiton, &engine);
    }
}

/// Volumes and what engines write are found where an image's links lead.
#[test]
fn an_image_with_volumes_behind_links() {
    for kind in KINDS {
        let engine = shared(kind);
        let archive = images::busybox_with_link("etc/resolv.conf", "../usr/resolv.conf");
        engine.import("volumes", &archive.path(), &["VOLUME /data", "VOLUME /usr/share/mine"]);
        let chiton = chiton(engine);
        let ran = run(&chiton, engine, "volumes", &["--rm"], &["ls", "-d", "/data", "/usr/share/mine"]);
        assert_eq!(ran.expect_success().stdout, "/data\n/usr/share/mine\n", "{kind:?}");
        nothing_left(&chiton, engine);
    }
}

#[test]
fn an_image_for_another_processor() {
    for kind in KINDS {
        let (engine, chiton) = (shared(kind), chiton(shared(kind)));
        engine.load(&images::foreign().path());
        let said = ["`foreign` is for linux on arm64", "linux on amd64"];
        refused(&run(&chiton, engine, "foreign", &[], &["true"]), &said);
        nothing_left(&chiton, engine);
    }
}
