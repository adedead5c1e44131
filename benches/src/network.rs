//! What the proxy costs: one kept-alive connection, and a large download, beside the direct connection.

use std::{fs, os::unix::fs::PermissionsExt, path::PathBuf, process::Command, time::Duration};

use chiton_testkit::{Chiton, Router, TestCa, Upstream};

use crate::sandbox::{POLICY, user};

const NAME: &str = "bench.example";

/// What is asked for, and how often on one connection.
const ASKED: [(&str, &str, usize); 2] = [("1 KiB, kept alive", "/bytes?n=1024", 5_000), LARGE];
/// By our own client, which does nothing but read, and by one that people use.
const LARGE: (&str, &str, usize) = ("1 GiB download", "/bytes?n=1073741824", 2);

/// A server, a client, and a chiton that knows both.
pub struct Served {
    pub chiton: Chiton,
    upstream: Upstream,
    client: PathBuf,
    roots: PathBuf,
}

/// The median time of a request in nanoseconds, and bytes a second.
type Figures = (u64, u64);

pub fn proxy() {
    let served = Served::to(Chiton::new(user()));
    for (what, path, count) in ASKED {
        let direct = served.direct(path, count);
        compare(what, direct, ("the proxy", served.inside(&[], path, count)));
    }
    let (what, path, count) = LARGE;
    let better = |by: &dyn Fn() -> Figures| (0..count).map(|_| by()).min().expect("a figure");
    let (direct, inside) = (better(&|| served.curl(path)), better(&|| served.curl_inside(path)));
    compare(&format!("{what} by curl, the better of {count}"), direct, ("the proxy", inside));
}

/// The same, in sandboxes of this driver beside native ones, turn by turn.
pub fn through(served: &Served, driver: &str, options: &[&str]) {
    for (what, path, count) in ASKED {
        for _ in 0..3 {
            let native = served.inside(&[], path, count);
            compare(what, native, (driver, served.inside(options, path, count)));
        }
    }
}

fn compare(what: &str, first: Figures, (name, second): (&str, Figures)) {
    let (fast, slow) = (Duration::from_nanos(first.0), Duration::from_nanos(second.0));
    let rate = |figures: Figures| figures.1 / 1_000_000;
    println!(
        "{what:<58} beside {fast:>9.1?}  through {name} {slow:>9.1?}  added {:>9.1?}",
        slow.saturating_sub(fast)
    );
    let share = second.1 as f64 / first.1 as f64;
    println!("{:<58} beside {} MB/s, through {name} {} MB/s: {share:.2}×", "", rate(first), rate(second));
}

impl Served {
    /// Before its gateway is started.
    pub fn to(mut chiton: Chiton) -> Self {
        let ca = TestCa::new();
        let upstream = Upstream::tls_http1(&ca, &[NAME], Router::echo());
        chiton.trust(&ca).resolve(&format!("{NAME}:443"), upstream.address());
        let own = fs::read(std::env::current_exe().expect("itself")).expect("itself");
        let client = chiton.write_workspace("client", own);
        fs::set_permissions(&client, fs::Permissions::from_mode(0o755)).expect("mode");
        let roots = chiton.path("bench-ca.pem");
        ca.write(&roots);
        Self { chiton, upstream, client, roots }
    }

    fn direct(&self, path: &str, count: usize) -> Figures {
        let (address, count) = (self.upstream.address().to_string(), count.to_string());
        let mut command = Command::new(&self.client);
        command.args(["client", &address, NAME, path, &count]).env("SSL_CERT_FILE", &self.roots);
        read(&String::from_utf8_lossy(&command.output().expect("the client").stdout))
    }

    fn curl(&self, path: &str) -> Figures {
        let address = self.upstream.address();
        let mut command = Command::new("curl");
        command.args(CURL).arg("--cacert").arg(&self.roots);
        command.args(["--resolve", &format!("{NAME}:{}:{}", address.port(), address.ip())]);
        command.arg(format!("https://{NAME}:{}{path}", address.port()));
        read_curl(&String::from_utf8_lossy(&command.output().expect("curl").stdout))
    }

    fn curl_inside(&self, path: &str) -> Figures {
        let (policy, url) = (self.chiton.policy(POLICY), format!("https://{NAME}{path}"));
        let all = [&["curl"], CURL, &[&url]].concat();
        read_curl(&self.chiton.sandboxed(&policy, &all).expect_success().stdout)
    }

    fn inside(&self, options: &[&str], path: &str, count: usize) -> Figures {
        let policy = self.chiton.policy(POLICY);
        let (policy, address) = (policy.to_str().expect("a path"), format!("{NAME}:443"));
        let client = ["--", "/workspace/client", "client", &address, NAME, path, &count.to_string()];
        let all = [&["run", "--rm", "-p", policy], options, &client].concat();
        read(&self.chiton.run(&all).expect_success().stdout)
    }
}

const CURL: &[&str] = &["-sS", "--http1.1", "-o", "/dev/null", "-w", "%{time_total} %{speed_download}"];

fn read_curl(printed: &str) -> Figures {
    let (seconds, rate) = printed.trim().split_once(' ').expect("two numbers");
    let seconds: f64 = seconds.parse().expect("seconds");
    ((seconds * 1e9) as u64, rate.parse().expect("bytes a second"))
}

fn read(printed: &str) -> Figures {
    let mut numbers = printed.split_whitespace().map(|n| n.parse().expect("a number"));
    (numbers.next().expect("a median"), numbers.next().expect("a rate"))
}
