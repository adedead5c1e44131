//! `static.resources`: what a driver says that it keeps is kept, and named when it is run into; what it does not keep is
//! refused by name before anything exists.

use std::time::{Duration, Instant};

use super::{
    Case, Fixture,
    sandbox::{POLICY, Sandbox, exec, proxy_config, shell},
};
use crate::{DriverError, Resources};

pub(super) const CASES: &[Case] = &[
    Case {
        name: "the capability of resources is that of each of them",
        run: |fixture| Box::pin(declared(fixture)),
    },
    Case {
        name: "memory is kept, and a program that takes more is killed, or it is refused by name",
        run: |fixture| Box::pin(memory(fixture)),
    },
    Case {
        name: "what has no memory left is a program, never the supervisor",
        run: |fixture| Box::pin(victims(fixture)),
    },
    Case {
        name: "pids are kept without harm to the supervisor, or they are refused by name",
        run: |fixture| Box::pin(pids(fixture)),
    },
    Case { name: "cpus are kept, or they are refused by name", run: |fixture| Box::pin(cpus(fixture)) },
    Case { name: "private folders share the disk that is given", run: |fixture| Box::pin(disk(fixture)) },
    Case { name: "wall time ends the program, and is named", run: |fixture| Box::pin(wall_time(fixture)) },
];

const MEMORY: Resources =
    Resources { cpu_millis: None, memory: Some(96 << 20), pids: None, disk: None, wall_time: None };
const PIDS: Resources = Resources { memory: None, pids: Some(20), ..MEMORY };
const CPUS: Resources = Resources { memory: None, cpu_millis: Some(100), ..MEMORY };

async fn declared(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    let kept = [MEMORY, PIDS, CPUS].iter().all(|one| sandbox.driver.check_resources(one).is_ok());
    assert_eq!(sandbox.driver.capabilities().resources, kept);
    sandbox.driver.check_resources(&Resources::default()).unwrap();
}

/// A sandbox with these limits that is ready for its program; none where the driver refuses them, rightly.
async fn limited(fixture: &dyn Fixture, resources: Resources, field: &str) -> Option<Sandbox> {
    let mut sandbox = fixture.sandbox();
    sandbox.spec.resources = resources;
    if let Err(refused) = sandbox.driver.check_resources(&resources) {
        assert!(matches!(refused, DriverError::Unsupported(_)), "{refused:?}");
        let named = format!("`static.resources.{field}`");
        assert!(refused.to_string().contains(&named), "{refused}");
        let created = sandbox.driver.create_sandbox(&sandbox.spec).await;
        assert!(created.unwrap_err().to_string().contains(&named));
        assert!(!sandbox.driver.list().await.unwrap().contains(&sandbox.handle));
        return None;
    }
    // The supervisor has them from the policy.
    let fields: Vec<_> =
        resources.to_string().split(", ").map(|field| field.replacen(' ', ": ", 1)).collect();
    let policy = format!("{POLICY}  resources: {{{}}}\n", fields.join(", "));
    sandbox.prepare(&policy).await.unwrap();
    let report = sandbox.driver.report(&sandbox.handle).await.unwrap();
    let line = report.layers.iter().find(|layer| layer.layer == "resources").unwrap();
    assert!(line.enforced && line.detail.contains(&resources.to_string()), "{line:?}");
    Some(sandbox)
}

async fn memory(fixture: &dyn Fixture) {
    let Some(sandbox) = limited(fixture, MEMORY, "memory").await else { return };
    let mut session = sandbox.session(shell("head -c 400000000 /dev/zero | tail > /dev/null")).await.unwrap();
    assert_eq!(session.end().await.2, 137);
    let exit = sandbox.driver.wait(&sandbox.handle).await.unwrap();
    // How many the kernel kills until there is room is its own affair.
    assert!(exit.code == 137 && exit.limits.out_of_memory > 0 && exit.limits.pids == 0, "{exit:?}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    let written = std::fs::read(&sandbox.spec.exit).unwrap();
    assert_eq!(
        serde_json::from_slice::<crate::Exit>(&written).unwrap(),
        exit,
        "for a gateway that comes later"
    );
}

async fn victims(fixture: &dyn Fixture) {
    let Some(sandbox) = limited(fixture, MEMORY, "memory").await else { return };
    // Files in memory count, and whoever writes them is smaller than the supervisor.
    let script = "head -c 400000000 /dev/zero > ~/big; exit 6";
    let mut main = sandbox.session(shell(script)).await.unwrap();
    let ended = main.end().await;
    assert!([6, 137].contains(&ended.2), "{ended:?}");
    let exit = sandbox.driver.wait(&sandbox.handle).await.unwrap();
    assert!(exit.limits.out_of_memory > 0, "{exit:?}");
    // It lived to write down how its program ended.
    let written: crate::Exit = serde_json::from_slice(&std::fs::read(&sandbox.spec.exit).unwrap()).unwrap();
    assert_eq!(written.code, exit.code);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn pids(fixture: &dyn Fixture) {
    let Some(sandbox) = limited(fixture, PIDS, "pids").await else { return };
    let script = "i=0; (while [ $i -lt 60 ]; do sleep 1000 & i=$((i+1)); echo $i; done) 2>/dev/null; echo full; \
                  read line; exit 4";
    let mut main = sandbox.session(shell(script)).await.unwrap();
    let output = main.until("full").await;
    let started = output.lines().filter_map(|line| line.parse::<u32>().ok()).max().unwrap();
    // The shell and its own child are two of them.
    assert!((15..=18).contains(&started), "{output}");
    let hit = sandbox.driver.limits_hit(&sandbox.handle).await.unwrap();
    assert!(hit.pids > 0 && hit.out_of_memory == 0, "{hit:?}");
    // Another program is one too many or fits; the supervisor, which judges its lookups, is not among those that count.
    for _ in 0..3 {
        let _one_too_many = sandbox.session(exec(shell("sleep 1000"))).await;
    }
    main.send(chiton_api::frame::SessionKind::Stdin, b"go\n").await;
    assert_eq!(main.end().await.2, 4);
    assert!(sandbox.driver.wait(&sandbox.handle).await.unwrap().limits.pids > 0);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn cpus(fixture: &dyn Fixture) {
    let Some(sandbox) = limited(fixture, CPUS, "cpus").await else { return };
    let script = "end=$(($(date +%s)+3)); while [ $(date +%s) -lt $end ]; do \
                  i=0; while [ $i -lt 999 ]; do i=$((i+1)); done; done; times";
    let began = Instant::now();
    let (output, ..) = sandbox.session(shell(script)).await.unwrap().end().await;
    let (took, used) = (began.elapsed(), processor_time(&output));
    // A tenth of a processor; less where the machine has other things to do.
    assert!(took > used * 4, "{used:?} of processor time in {took:?}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

/// All four figures of the shell's `times`: `0m0.25s`, its own and its children's.
fn processor_time(output: &str) -> Duration {
    let seconds: f64 = output.split_whitespace().map(seconds).sum();
    assert!(seconds > 0.02, "too little to measure: {output}");
    Duration::from_secs_f64(seconds)
}

fn seconds(figure: &str) -> f64 {
    let (minutes, seconds) = figure.trim_end_matches('s').split_once('m').unwrap();
    minutes.parse::<f64>().unwrap() * 60.0 + seconds.parse::<f64>().unwrap()
}

async fn disk(fixture: &dyn Fixture) {
    let text =
        format!("{}  resources: {{disk: 1MiB}}\n", POLICY.replace("[/workspace]", "[/workspace, /tmp]"));
    let sandbox = fixture.sandbox();
    sandbox.prepare(&text).await.unwrap();
    let script = "fill() { head -c 600000 /dev/zero > $1/f 2>/dev/null && echo $1; rm -f $1/f; }; \
                  fill /tmp; fill /dev/shm; fill ~; head -c 600000 /dev/zero > /tmp/kept; fill /dev/shm; fill ~; \
                  stat -c %a /tmp ~ /dev/shm; ls -A /";
    let (output, errors, _) = sandbox.session(shell(script)).await.unwrap().end().await;
    let told: Vec<_> = output.lines().collect();
    assert_eq!(
        told.get(..6).unwrap(),
        ["/tmp", "/dev/shm", "/home/agent", "1777", "700", "1777"],
        "{output}{errors}"
    );
    assert!(!output.contains(".private"), "{output}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn wall_time(fixture: &dyn Fixture) {
    let sandbox = fixture.sandbox();
    sandbox.driver.create_sandbox(&sandbox.spec).await.unwrap();
    let policy = sandbox.policy(&format!("{POLICY}  resources: {{wall_time: 1s}}\n"));
    sandbox.driver.inject_filesystem_policy(&sandbox.handle, policy).await.unwrap();
    sandbox.driver.attach_network_proxy(&sandbox.handle, proxy_config()).await.unwrap();
    let began = Instant::now();
    let mut session = sandbox.session(shell("trap 'exit 9' TERM; echo up; sleep 1000 & wait")).await.unwrap();
    assert_eq!(session.end().await.2, 9, "it is asked first");
    assert!(began.elapsed() >= Duration::from_secs(1));
    let exit = sandbox.driver.wait(&sandbox.handle).await.unwrap();
    assert!(exit.code == 9 && exit.limits.wall_time, "{exit:?}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}
