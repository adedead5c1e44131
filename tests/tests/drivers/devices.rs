//! `static.gpu`. No GPU can be had here: files say of devices that every machine has, under another name, that they are
//! some. What an engine does with such files, and what the sandbox shows of it, is the same.

use std::{fs, path::PathBuf};

use chiton_testkit::engines::{Kind, images};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::{chiton, nothing_left, refused, run_under, shared};

/// Where engines look, and this program's own file there. Gone with the test.
struct MadeUp {
    /// `VENDOR/gpu`.
    kind: String,
    specification: PathBuf,
    folder: TempDir,
}

impl MadeUp {
    /// `one`, `two` and, by convention, `all`; each with a library, a file below `/run` and a variable.
    fn new(test: &str) -> Self {
        let folder = tempfile::Builder::new().prefix("chiton-gpu-").tempdir().expect("a folder");
        let library = folder.path().join("library");
        fs::write(&library, "a library\n").expect("a file");
        let kind = format!("a{}.{test}.chiton.test/gpu", std::process::id());
        let node = |name: &str, of: &str| json!({"path": format!("/dev/chiton/{name}"), "hostPath": of});
        let (one, two) = (node("one", "/dev/zero"), node("two", "/dev/full"));
        let device =
            |name: &str, nodes: &[&Value]| json!({"name": name, "containerEdits": {"deviceNodes": nodes}});
        let mount =
            |path: &str| json!({"hostPath": library, "containerPath": path, "options": ["ro", "bind"]});
        let specification = json!({
            "cdiVersion": "0.5.0",
            "kind": kind,
            "devices": [device("one", &[&one]), device("two", &[&two]), device("all", &[&one, &two])],
            "containerEdits": {
                "env": ["CHITON_GPU=made up"],
                "mounts": [mount("/usr/lib/libmadeup.so"), mount("/run/made-up/library")],
            },
        });
        fs::create_dir_all("/run/cdi").expect("a folder");
        let path = PathBuf::from(format!("/run/cdi/chiton-test-{test}-{}.json", std::process::id()));
        fs::write(&path, specification.to_string()).expect("a file");
        Self { kind, specification: path, folder }
    }

    fn policy(asked: &str) -> String {
        format!("static:\n  filesystem:\n    allowed_paths: [/workspace]\n  gpu: {asked}\n")
    }
}

impl Drop for MadeUp {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.specification);
    }
}

/// What is there, and what can be done with it.
const SCRIPT: &str = "ls /dev/chiton; head -c 2 /dev/chiton/one 2>/dev/null | wc -c; \
                      cat /usr/lib/libmadeup.so /run/made-up/library; echo \"$CHITON_GPU\"; \
                      echo x 2>/dev/null > /run/made-up/library || echo read-only; ls -A /run";

#[test]
fn devices_made_up_for_a_gpu_are_those_that_were_asked_for_and_no_other() {
    let made_up = MadeUp::new("given");
    let both = ["one\ntwo\n", "2\n"].concat();
    let only = ["one\n", "2\n"].concat();
    // Root's alone: for an ordinary user runc mounts the host's node of the same path, and these have another name there.
    let engine = shared(Kind::Podman);
    let chiton = chiton(engine);
    let names = |names: &[&str]| {
        let names: Vec<_> = names.iter().map(|name| format!("{}={name}", made_up.kind)).collect();
        format!("[{}]", names.join(", "))
    };
    for (asked, said) in [
        (names(&["one"]), &only),
        (names(&["one", "two", "one"]), &both),
        (names(&["all"]), &both),
        ("1".to_owned(), &only),
        ("2".to_owned(), &both),
        ("all".to_owned(), &both),
    ] {
        let policy = chiton.policy(&MadeUp::policy(&asked));
        let outcome = run_under(&chiton, engine, "busybox", &policy, &["--rm"], &["sh", "-c", SCRIPT]);
        let wanted = format!("{said}a library\na library\nmade up\nread-only\nmade-up\n");
        assert!(outcome.stdout.starts_with(&wanted), "{asked}: {outcome:?}");
    }
    nothing_left(&chiton, engine);
    assert_eq!(fs::read_to_string(made_up.folder.path().join("library")).expect("a file"), "a library\n");
}

#[test]
fn without_a_word_of_the_policy_there_is_none() {
    let _made_up = MadeUp::new("unasked");
    let engine = shared(Kind::Podman);
    let chiton = chiton(engine);
    for asked in ["none", "[]"] {
        let policy = chiton.policy(&MadeUp::policy(asked));
        let script = "ls /dev/chiton /run/made-up /usr/lib/libmadeup.so 2>/dev/null; echo \"<$CHITON_GPU>\"";
        let outcome = run_under(&chiton, engine, "busybox", &policy, &["--rm"], &["sh", "-c", script]);
        assert_eq!(outcome.stdout, "<>\n", "{outcome:?}");
    }
}

#[test]
fn a_device_that_cannot_be_given_is_refused_in_one_line() {
    let made_up = MadeUp::new("refused");
    let engine = shared(Kind::Podman);
    let chiton = chiton(engine);
    let named = |name: &str| format!("[{}={name}]", made_up.kind);
    let nowhere = named("three");
    for (asked, said) in [
        (nowhere.as_str(), ["`static.gpu`: there is no ", "=three`"]),
        ("1000", ["`static.gpu: 1000`", "only "]),
        ("[vendor.com/net=eth0]", ["vendor.com/net=eth0", "class `gpu`"]),
        ("[../../etc/gpu=0]", ["../../etc/gpu=0", "a CDI name is as"]),
        ("['nvidia.com/gpu=0,1']", ["nvidia.com/gpu=0,1", "a CDI name is as"]),
    ] {
        let policy = chiton.policy(&MadeUp::policy(asked));
        let outcome = run_under(&chiton, engine, "busybox", &policy, &[], &["true"]);
        assert_eq!(outcome.status, 125, "{outcome:?}");
        for word in said {
            assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
        }
    }
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    nothing_left(&chiton, engine);
}

/// The engine follows the link and puts the file elsewhere.
#[test]
fn an_image_with_a_link_in_the_way_is_refused() {
    let made_up = MadeUp::new("linked");
    let engine = shared(Kind::Podman);
    engine.import("linked", &images::busybox_with_link("run/made-up", "usr/elsewhere").path(), &[]);
    let chiton = chiton(engine);
    let policy = chiton.policy(&MadeUp::policy(&format!("[{}=one]", made_up.kind)));
    let outcome = run_under(&chiton, engine, "linked", &policy, &[], &["true"]);
    refused(&outcome, &["`static.gpu`: the engine did not give `/run/made-up/library`"]);
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    nothing_left(&chiton, engine);
}

#[test]
fn an_engine_that_is_too_old_is_named_with_its_version() {
    let made_up = MadeUp::new("old");
    let engine = shared(Kind::Docker);
    let chiton = chiton(engine);
    for asked in ["all".to_owned(), format!("[{}=one]", made_up.kind)] {
        let policy = chiton.policy(&MadeUp::policy(&asked));
        let outcome = run_under(&chiton, engine, "busybox", &policy, &[], &["true"]);
        refused(&outcome, &["`static.gpu` cannot be given by docker 20.10", "28.3", "leave it out"]);
    }
    assert_eq!(chiton.run(&["ps", "-aq"]).stdout, "");
    nothing_left(&chiton, engine);
}
