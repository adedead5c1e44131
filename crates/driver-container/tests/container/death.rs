//! Deaths that only a container has.

use chiton_driver::conformance::{Case, Fixture, POLICY, Sandbox, shell};
use chiton_testkit::is_dead;
use rustix::process::{Signal, kill_process};

use crate::bench::{record_file, recorded, runtime_folder};

pub(crate) const FIRST: &str = "with its first process everything dies";

pub(crate) const CASES: &[Case] = &[
    Case { name: FIRST, run: |fixture| Box::pin(first(fixture)) },
    Case { name: "what cannot be made leaves nothing", run: |fixture| Box::pin(refused(fixture)) },
];

async fn first(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut session = sandbox.session(shell("echo up; read x")).await.unwrap();
    session.until("up").await;
    let processes = recorded(&record_file(&sandbox));
    assert_eq!(processes.len(), 2);
    // It belongs to the workspace's user, whoever the gateway is.
    for first in processes.iter().take(1) {
        kill_process(*first, Signal::KILL).unwrap();
    }
    assert!(sandbox.driver.wait(&sandbox.handle).await.is_err());
    assert!(sandbox.driver.list().await.unwrap().is_empty());
    for process in processes {
        assert!(is_dead(process.as_raw_nonzero()), "{process:?} lives");
    }
    assert!(!runtime_folder(&sandbox).exists() && !record_file(&sandbox).exists());
}

async fn refused(fixture: &dyn Fixture) {
    for (image, said) in [(None, "--image"), (Some("nowhere"), "is not on this machine")] {
        let mut sandbox = fixture.sandbox();
        sandbox.spec.image = image.map(str::to_owned);
        let error = sandbox.prepare(POLICY).await.unwrap_err();
        assert!(error.to_string().contains(said), "{error}");
        assert!(!runtime_folder(&sandbox).exists());
    }
}
