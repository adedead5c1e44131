//! What bodies of ten gibibytes cost in memory: the most that any proxy had while they passed, down and up.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    thread,
    time::{Duration, Instant},
};

use chiton_testkit::{Chiton, Router, TestCa, Upstream};

use crate::sandbox::{pss, roles, user};

const POLICY: &str = "static: {filesystem: {allowed_paths: [/workspace]}}\ndynamic: {network: {http: [{host: bench.example, methods: ['*']}]}}\n";
const SIZE: u64 = 10 << 30;

pub fn bodies() {
    let ca = TestCa::new();
    let upstream = Upstream::tls(&ca, &["bench.example"], Router::echo());
    let mut chiton = Chiton::new(user());
    chiton.trust(&ca).resolve("bench.example:443", upstream.address());
    let policy = chiton.policy(POLICY);
    for version in ["--http1.1", "--http2"] {
        let url = "https://bench.example";
        let down = format!("curl -sS {version} -o /dev/null '{url}/bytes?n={SIZE}'");
        let up = format!("head -c {SIZE} /dev/zero | curl -sS {version} -o /dev/null -T - {url}/upload");
        for (what, script) in [("down", down), ("up", up)] {
            let over = AtomicBool::new(false);
            let (took, most) = thread::scope(|scope| {
                let watch = scope.spawn(|| {
                    let mut most = 0;
                    while !over.load(Ordering::Relaxed) {
                        let proxies =
                            roles().into_iter().filter(|(_, line)| line.starts_with("chiton proxy"));
                        most = proxies.map(|(id, _)| pss(id)).fold(most, u64::max);
                        thread::sleep(Duration::from_millis(50));
                    }
                    most
                });
                let begun = Instant::now();
                let _ = chiton.sandboxed(&policy, &["sh", "-c", &script]).expect_success();
                let took = begun.elapsed();
                over.store(true, Ordering::Relaxed);
                (took, watch.join().expect("the watch"))
            });
            let rate = SIZE as f64 / took.as_secs_f64() / 1e6;
            println!(
                "10 GiB {what}, curl {version:<48} {took:>9.1?}  {rate:.0} MB/s, at most {most} KiB in the proxy"
            );
        }
    }
}
