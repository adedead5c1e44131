//! Many sandboxes made at the same moment by one driver.

use std::sync::Arc;

use chiton_driver::{
    ComputeDriver as _,
    conformance::{Fixture as _, POLICY, Sandbox, shell},
};
use tokio::{runtime::Runtime, task::JoinSet};

use crate::{
    Test,
    bench::{self, Native},
};

pub(crate) const TESTS: &[Test] = &[("twenty at once all start", twenty)];

fn twenty(runtime: &Runtime) {
    runtime.block_on(async {
        // Its folder, and its clearing up.
        let kept = Native.sandbox();
        let above = bench::folder(&kept).to_owned();
        let driver = Arc::new(bench::driver(&above));
        let mut all = JoinSet::new();
        for number in 10..30 {
            let folder = above.join(number.to_string());
            std::fs::create_dir(&folder).unwrap();
            let mut sandbox = Sandbox::new(driver.clone(), &folder, ());
            sandbox.spec.id = format!("01jdzzzzzzzzzzzzzzzzzzzz{number}").try_into().unwrap();
            sandbox.handle.id = sandbox.spec.id.clone();
            all.spawn(async move {
                sandbox.prepare(POLICY).await.unwrap();
                let (output, ..) = sandbox.session(shell("echo up")).await.unwrap().end().await;
                sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
                output
            });
        }
        assert_eq!(all.join_all().await, vec!["up\n"; 20]);
        assert!(driver.list().await.unwrap().is_empty());
    });
}
