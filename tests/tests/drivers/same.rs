//! The same policy means the same under every driver, and is written down the same.

use std::{
    path::Path,
    process::Command,
    thread,
    time::{Duration, Instant},
};

use chiton_testkit::{
    As, Outcome,
    engines::Kind,
    routes::{Router, echo, git},
};
use chiton_tests::World;

use crate::{KINDS, know, run_under, shared};

const POLICY: &str = "\
static:
  filesystem:
    allowed_paths: [/workspace, /tmp]
    denied_paths: ['/workspace/**/.env', /workspace/later]
dynamic:
  network:
    http:
      - {name: read, host: api.example.com, methods: [GET], paths: [/open/**]}
      - name: git
        host: github.com
        methods: [GET, POST]
        paths: [/octocat/hello.git/info/refs, /octocat/hello.git/git-upload-pack]
";

/// Every line says what became of one attempt.
const SCRIPT: &str = r#"
status() { curl -s -o /dev/null -w '%{http_code}\n' "$@"; }
status https://api.example.com/open/a
status https://api.example.com/closed
status -X POST -d x https://api.example.com/open/a
status https://other.example.com/open/a
git clone -q https://github.com/octocat/hello.git && cat hello/README
git clone -q https://github.com/octocat/other.git 2>/dev/null || echo refused
python3 -c '
import urllib.request, urllib.error
print(urllib.request.urlopen("https://api.example.com/open/b").status)
try: urllib.request.urlopen("https://api.example.com/closed")
except urllib.error.HTTPError as error: print(error.code)
'
cat .env 2>/dev/null || echo denied
echo x > later 2>/dev/null || echo denied
echo made > made; cat plain
"#;
const SAID: &str = "200\n403\n403\n403\nhello\nrefused\n200\n403\ndenied\ndenied\nplain\n";

fn repository(root: &Path) {
    let script = "set -e; git init -q --bare -b main octocat/hello.git; git init -q -b main work; cd work; \
        echo hello > README; git add README; \
        git -c user.name=t -c user.email=t@example.com commit -qm first; git push -q ../octocat/hello.git main";
    let made = Command::new("sh").args(["-c", script]).current_dir(root).status().expect("sh");
    assert!(made.success());
}

fn world(user: As) -> (World, tempfile::TempDir) {
    let root = tempfile::tempdir().expect("a folder");
    repository(root.path());
    let served = root.path().to_owned();
    let router = Router::new()
        .on("github.com", "/", move |received| git::answer_request(served.clone(), received))
        .any("/", echo::answer_request);
    let world = World::new(user, &["api.example.com", "github.com"], router);
    world.chiton.write_workspace(".env", "SECRET=1");
    world.chiton.write_workspace("plain", "plain\n");
    (world, root)
}

/// What was written down till the sandbox was removed, without what differs from run to run, or with the programs of
/// an image.
fn events(world: &World) -> Vec<String> {
    let deadline = Instant::now() + Duration::from_secs(30);
    let all = loop {
        let all = world.chiton.audit(&[]);
        // A native sandbox is removed after `chiton run --rm` has ended.
        if all.iter().any(|event| event["layer"] == "lifecycle" && event["action"] == "remove") {
            break all;
        }
        assert!(Instant::now() < deadline, "it was not removed: {all:#?}");
        thread::sleep(Duration::from_millis(20));
    };
    let mut lines: Vec<String> = all
        .into_iter()
        .filter(|event| event["layer"] != "process")
        .map(|mut event| {
            let fields = event.as_object_mut().expect("an object");
            for name in ["time", "id", "prev", "hash", "sandbox", "binary"] {
                fields.remove(name);
            }
            if let Some(response) = fields.get_mut("response") {
                *response = response["status"].take();
            }
            event.to_string()
        })
        .collect();
    lines.sort();
    lines
}

/// Runs one thing natively and in a container of every engine: it says the same, and the same is written down.
pub(crate) fn everywhere<T>(
    world: impl Fn(As) -> (World, T),
    run: impl Fn(&World, Option<Kind>) -> Outcome,
) -> Vec<String> {
    let natively = {
        let (world, _beside) = world(As::User);
        (run(&world, None).expect_success().stdout, events(&world))
    };
    for kind in KINDS {
        let (mut world, _beside) = world(kind.user());
        know(&mut world.chiton, shared(kind));
        let outcome = run(&world, Some(kind));
        assert_eq!(outcome.stdout, natively.0, "{kind:?} {outcome:?}");
        assert_eq!(events(&world), natively.1, "{kind:?}");
    }
    natively.1
}

#[test]
fn one_policy_under_three_drivers() {
    let written = everywhere(world, |world, kind| {
        let Some(kind) = kind else { return world.sh(POLICY, SCRIPT) };
        let policy = world.chiton.policy(POLICY);
        let command = ["sh", "-c", SCRIPT];
        let outcome = run_under(&world.chiton, shared(kind), "debian", &policy, &["--rm"], &command);
        assert_eq!(outcome.stdout, SAID, "{outcome:?}");
        assert_eq!(std::fs::read_to_string(world.chiton.workspace().join("made")).expect("it"), "made\n");
        outcome
    });
    assert!(written.len() > 8, "{written:#?}");
}

/// An editor on the host renames over a denied file while the sandbox runs.
#[test]
fn a_denied_path_that_is_renamed_over_stays_denied() {
    for kind in [Kind::Docker, Kind::Rootless] {
        let engine = shared(kind);
        let chiton = crate::chiton(engine);
        chiton.write_workspace(".env", "SECRET=1");
        let policy = chiton.policy(&format!("{}    denied_paths: [/workspace/.env]\n", crate::POLICY));
        let options = ["-d", "-n", "box"];
        let _ = run_under(&chiton, engine, "busybox", &policy, &options, &["sleep", "1000"]).expect_success();
        let read = || chiton.run(&["exec", "box", "cat", ".env"]);
        assert_eq!(read().status, 1);
        let fresh = chiton.write_workspace("fresh", "SECRET=2");
        std::fs::rename(fresh, chiton.workspace().join(".env")).expect("a rename");
        let after = read();
        assert!(after.status == 1 && !after.stdout.contains("SECRET"), "{after:?}");
    }
}
