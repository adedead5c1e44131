//! Sandboxes in containers: Docker's, Podman's, and those of an ordinary user's own Podman, each of the test's own.

mod devices;
mod faults;
mod hostile;
mod life;
mod nonsense;
mod refusals;
mod same;
mod sidecar;
mod workloads;

use std::{os::unix::fs::chown, path::Path};

use chiton_testkit::{
    Chiton, Outcome,
    engines::{Engine, Kind, shared},
    harness::TEST_USER,
};

/// The workspace and `/tmp`, nothing else.
const POLICY: &str = "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n";
const KINDS: [Kind; 3] = Kind::ALL;

/// An installation that knows this engine.
fn chiton(engine: &Engine) -> Chiton {
    let mut chiton = Chiton::new(engine.kind().user());
    know(&mut chiton, engine);
    chiton
}

fn know(chiton: &mut Chiton, engine: &Engine) {
    know_at(chiton, engine, &engine.socket());
}

/// The same, where somebody else listens for it.
fn know_at(chiton: &mut Chiton, engine: &Engine, socket: &Path) {
    chiton.sections(&format!("\n[{}]\nsocket = {socket:?}\n", engine.driver()));
    // Root's gateway has no container run as root.
    chown(chiton.workspace(), Some(TEST_USER), Some(TEST_USER)).expect("chown");
}

/// `chiton run OPTIONS --driver … --image … -p … -- ARGUMENTS`.
fn run(chiton: &Chiton, engine: &Engine, image: &str, options: &[&str], arguments: &[&str]) -> Outcome {
    run_under(chiton, engine, image, &chiton.policy(POLICY), options, arguments)
}

fn run_under(
    chiton: &Chiton,
    engine: &Engine,
    image: &str,
    policy: &Path,
    options: &[&str],
    arguments: &[&str],
) -> Outcome {
    let policy = policy.to_str().expect("UTF-8");
    let given = ["--driver", engine.driver(), "--image", image, "-p", policy, "--"];
    chiton.run(&[&["run"], options, &given, arguments].concat())
}

/// Waits until the engine has none of this installation's containers; other tests have theirs.
fn nothing_left(chiton: &Chiton, engine: &Engine) {
    let deadline = std::time::Instant::now() + std::time::Duration::from_secs(30);
    loop {
        let left = engine.containers_of(&chiton.workspace());
        if left.is_empty() {
            return;
        }
        assert!(std::time::Instant::now() < deadline, "{left:?}");
        std::thread::sleep(std::time::Duration::from_millis(20));
    }
}

/// One line that begins so, and nothing half-made.
fn refused(outcome: &Outcome, said: &[&str]) {
    assert_eq!(outcome.status, 125, "{outcome:?}");
    let errors: Vec<_> = outcome.stderr.lines().filter(|line| line.starts_with("error: ")).collect();
    assert_eq!(errors.len(), 1, "{outcome:?}");
    for word in said {
        assert!(outcome.stderr.contains(word), "{word}: {outcome:?}");
    }
}
