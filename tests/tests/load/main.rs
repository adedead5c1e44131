//! Much at once, and for long: what one sandbox's agent, or a server that it talks to, may cost the host.
//!
//! Memory is read from the host, of the sandbox's own proxy. The bounds are those of docs/limits.md.

mod connections;
mod leaks;
mod places;
mod servers;
mod slow;
mod streams;

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use chiton_tests::{Chiton, Outcome, World, roles_of};

const HOST: &str = "api.example.com";
const OPEN: &[&str] = &["{host: api.example.com, methods: ['*']}"];

/// A sandbox in the background, and its proxy.
struct Held<'a> {
    chiton: &'a Chiton,
    name: String,
    proxy: u32,
}

impl<'a> Held<'a> {
    /// Starts this inside, under a policy.
    fn run(chiton: &'a Chiton, name: &str, policy: &str, arguments: &[&str]) -> Self {
        let before = roles_of(chiton, "chiton proxy");
        let policy = chiton.policy(policy);
        let mut all = vec!["run", "-d", "-n", name, "-p", policy.to_str().expect("a path"), "--"];
        all.extend_from_slice(arguments);
        let _ = chiton.run(&all).expect_success();
        let own = |id: &u32| !before.contains(id);
        let proxy = roles_of(chiton, "chiton proxy").into_iter().find(own).expect("its proxy");
        Self { chiton, name: name.to_owned(), proxy }
    }

    /// Waits for a file of the workspace.
    fn wait_for(&self, file: &str) {
        let told = || self.chiton.workspace().join(file).exists();
        assert!(
            within(Duration::from_secs(150), told),
            "no `{file}`: {:?}",
            self.chiton.run(&["logs", &self.name])
        );
    }

    /// Waits for its end; what it printed.
    fn ended(&self) -> Outcome {
        let _ = self.chiton.run(&["wait", &self.name]);
        self.chiton.run(&["logs", &self.name])
    }

    /// What the proxy has written to memory, in KiB. How much of the program's file counts as its own moves with how many
    /// others run it.
    fn memory(&self) -> u64 {
        let text =
            fs::read_to_string(format!("/proc/{}/smaps_rollup", self.proxy)).expect("the proxy's memory");
        let line = text.lines().find_map(|line| line.strip_prefix("Pss_Anon:")).expect("its share");
        line.split_whitespace().next().and_then(|kib| kib.parse().ok()).expect("a number")
    }

    fn descriptors(&self) -> usize {
        fs::read_dir(format!("/proc/{}/fd", self.proxy)).expect("the proxy's descriptors").count()
    }
}

impl Drop for Held<'_> {
    fn drop(&mut self) {
        let _ = self.chiton.run(&["rm", "-f", &self.name]);
    }
}

fn within(most: Duration, mut so: impl FnMut() -> bool) -> bool {
    let deadline = Instant::now() + most;
    while !so() {
        if Instant::now() > deadline {
            return false;
        }
        thread::sleep(Duration::from_millis(20));
    }
    true
}

/// Another sandbox asks meanwhile, three times; each answer is there within seconds.
fn another_is_served(world: &World) {
    let script =
        "for n in 1 2 3; do curl -sS -m 5 -o /dev/null -w '%{http_code} ' https://api.example.com/; done";
    let outcome = world.sh(&chiton_tests::http_policy(OPEN), script);
    assert_eq!(outcome.stdout, "200 200 200 ", "{outcome:?}");
}
