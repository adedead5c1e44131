//! Control groups: who is in them, and that none is left.

use std::path::PathBuf;

use chiton_driver::{
    ComputeDriver as _, Resources,
    conformance::{Fixture as _, POLICY, Sandbox, shell},
};
use tokio::runtime::Runtime;

use crate::{
    Test,
    bench::{self, Native},
};

pub(crate) const TESTS: &[Test] = &[
    ("the supervisor and all inside are in the group, the proxy is not", members),
    ("a group goes with its sandbox, whoever finds it", removed),
];

/// A ready sandbox with limits; none where this user has no groups, which the conformance suite tries.
async fn limited() -> Option<Sandbox> {
    let resources =
        Resources { cpu_millis: Some(2000), memory: Some(128 << 20), pids: Some(30), ..Resources::default() };
    let mut sandbox = Native.sandbox();
    if !sandbox.driver.capabilities().resources {
        assert!(sandbox.driver.check_resources(&resources).is_err());
        return None;
    }
    sandbox.spec.resources = resources;
    sandbox.prepare(POLICY).await.unwrap();
    Some(sandbox)
}

fn record(sandbox: &Sandbox) -> serde_json::Value {
    bench::record(&bench::record_file(sandbox))
}

fn groups(record: &serde_json::Value) -> Vec<PathBuf> {
    let parts = record["group"]["parts"].as_array().unwrap();
    parts.iter().map(|part| part["folder"].as_str().unwrap().into()).collect()
}

fn groups_of(record: &serde_json::Value, role: &str) -> String {
    std::fs::read_to_string(format!("/proc/{}/cgroup", record[role]["pid"])).unwrap()
}

fn members(runtime: &Runtime) {
    runtime.block_on(async {
        let Some(sandbox) = limited().await else { return };
        let mut session = sandbox.session(shell("echo up; cat /proc/self/cgroup; read x")).await.unwrap();
        session.until("up").await;
        let record = record(&sandbox);
        let name = format!("chiton-{}", sandbox.spec.id);
        let lines = |role| groups_of(&record, role).lines().filter(|line| line.contains(&name)).count();
        let trees = groups(&record).len();
        assert_eq!((lines("supervisor"), lines("init"), lines("proxy")), (trees, trees, 0));
        assert!(groups_of(&record, "init").contains(&format!("{name}/inside")));
        assert!(!groups_of(&record, "supervisor").contains(&format!("{name}/inside")));
        // Its namespace begins there: what lies above has no name inside.
        let seen = session.until("0::").await;
        assert!(!seen.contains(&name), "{seen}");
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    });
}

fn removed(runtime: &Runtime) {
    runtime.block_on(async {
        let Some(sandbox) = limited().await else { return };
        // A builtin: a program that is being started when its judge goes ends by itself, with a status.
        let mut session = sandbox.session(shell("echo up; read x")).await.unwrap();
        session.until("up").await;
        let record = record(&sandbox);
        let groups = groups(&record);
        assert!(groups.iter().all(|group| group.is_dir()), "{groups:?}");
        // Adopted by a driver that did not make it, which then finds it dead.
        let second = bench::driver(bench::folder(&sandbox));
        assert_eq!(second.list().await.unwrap(), std::slice::from_ref(&sandbox.handle));
        assert!(groups.iter().all(|group| group.is_dir()), "{groups:?}");
        let outer = i32::try_from(record["supervisor"]["pid"].as_i64().unwrap()).unwrap();
        let outer = rustix::process::Pid::from_raw(outer).unwrap();
        rustix::process::kill_process(outer, rustix::process::Signal::KILL).unwrap();
        assert!(second.wait(&sandbox.handle).await.is_err());
        assert!(second.list().await.unwrap().is_empty());
        assert!(!groups.iter().any(|group| group.exists()), "{groups:?}");
    });
}
