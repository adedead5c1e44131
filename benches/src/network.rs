//! What the proxy costs: one kept-alive connection, and a large download, beside the direct connection.

use std::{fs, net::SocketAddr, os::unix::fs::PermissionsExt, process::Command, time::Duration};

use chiton_testkit::{Chiton, Router, TestCa, Upstream};

use crate::sandbox::{POLICY, user};

const NAME: &str = "bench.example";

pub fn proxy() {
    let ca = TestCa::new();
    let upstream = Upstream::tls_http1(&ca, &[NAME], Router::echo());
    let mut chiton = Chiton::new(user());
    chiton.trust(&ca).resolve(&format!("{NAME}:443"), upstream.address());
    let own = fs::read(std::env::current_exe().expect("itself")).expect("itself");
    let client = chiton.write_workspace("client", own);
    fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).expect("mode");
    let pem = chiton.path("bench-ca.pem");
    ca.write(&pem);
    for (what, path, count) in
        [("1 KiB, kept alive", "/bytes?n=1024", 5_000), ("1 GiB download", "/bytes?n=1073741824", 2)]
    {
        let direct = direct(&client, &pem, upstream.address(), path, count);
        let inside = inside(&chiton, path, count);
        let (slow, fast) = (Duration::from_nanos(inside.0), Duration::from_nanos(direct.0));
        println!(
            "{what:<58} direct {fast:>9.1?}  through the proxy {slow:>9.1?}  added {:>9.1?}",
            slow.saturating_sub(fast)
        );
        let share = inside.1 as f64 / direct.1 as f64;
        println!(
            "{:<58} direct {} MB/s, through the proxy {} MB/s: {share:.2}×",
            "",
            direct.1 / 1_000_000,
            inside.1 / 1_000_000
        );
    }
}

fn direct(
    client: &std::path::Path,
    pem: &std::path::Path,
    address: SocketAddr,
    path: &str,
    count: usize,
) -> (u64, u64) {
    let mut command = Command::new(client);
    command.args(["client", &address.to_string(), NAME, path, &count.to_string()]).env("SSL_CERT_FILE", pem);
    read(&String::from_utf8_lossy(&command.output().expect("the client").stdout))
}

fn inside(chiton: &Chiton, path: &str, count: usize) -> (u64, u64) {
    let (policy, address) = (chiton.policy(POLICY), format!("{NAME}:443"));
    let arguments = ["/workspace/client", "client", &address, NAME, path, &count.to_string()];
    read(&chiton.sandboxed(&policy, &arguments).expect_success().stdout)
}

fn read(printed: &str) -> (u64, u64) {
    let mut numbers = printed.split_whitespace().map(|n| n.parse().expect("a number"));
    (numbers.next().expect("a median"), numbers.next().expect("a rate"))
}
