//! `network.tcp`: `redis-cli` to a Redis server, and `git` over SSH to an SSH server, each its own program.

use std::{
    fs,
    os::unix::fs::{PermissionsExt, chown},
    path::Path,
    process::{Command, Stdio},
};

use chiton_testkit::routes::Router;
use chiton_tests::{As, World};

use super::server::{Server, until};

pub(crate) fn redis(folder: &Path) -> Server {
    Server::start(|port| {
        let mut command = Command::new("redis-server");
        command.args(["--port", &port.to_string(), "--bind", "127.0.0.1", "--save", "", "--dir"]).arg(folder);
        command
    })
}

const REDIS: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
    dynamic: {network: {tcp: [{host: cache.example.com, ports: [6379]}]}}\n";

fn redis_session(user: As) {
    let folder = tempfile::tempdir().expect("a folder");
    let server = redis(folder.path());
    let mut world = World::new(user, &[], Router::echo());
    world.chiton.resolve("cache.example.com:6379", server.1);
    world.chiton.resolve("other.example.com:6379", server.1);
    let script = "redis-cli -h cache.example.com set key value; redis-cli -h cache.example.com get key; \
                  redis-cli -h other.example.com ping || echo refused; \
                  redis-cli -h cache.example.com -p 6380 ping || echo refused";
    let outcome = world.sh(REDIS, script).expect_success();
    assert_eq!(outcome.stdout, "OK\nvalue\nrefused\nrefused\n", "{outcome:?}");
    let events = world.chiton.audit(&[]);
    let of = |action: &str, decision: &str| {
        let is = |event: &&serde_json::Value| event["action"] == action && event["decision"] == decision;
        events.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    assert_eq!((of("connect", "allow").len(), of("disconnect", "allow").len()), (2, 2), "{events:#?}");
    assert_eq!(of("connect", "allow")[0]["rule"], "tcp[0]");
    let denied: Vec<_> = of("connect", "deny").iter().map(|event| event["reason"].to_string()).collect();
    assert_eq!(denied, ["\"host_not_allowed\"", "\"scheme_not_allowed\""], "{events:#?}");
}

#[test]
fn redis_as_an_ordinary_user() {
    redis_session(As::User);
}

#[test]
fn redis_as_root() {
    redis_session(As::Root);
}

/// A subscription that is open when the rule goes ends before `apply` has returned.
#[test]
fn an_open_session_is_cut_by_a_new_revision() {
    let folder = tempfile::tempdir().expect("a folder");
    let server = redis(folder.path());
    let mut world = World::new(As::User, &[], Router::echo());
    world.chiton.resolve("cache.example.com:6379", server.1);
    let policy = world.chiton.policy(REDIS);
    let policy = policy.to_str().expect("a path");
    let script = "redis-cli -h cache.example.com subscribe news; echo ended > /workspace/ended; sleep 600";
    let _ = world
        .chiton
        .run(&["run", "-d", "-n", "cut", "-p", policy, "--", "sh", "-c", script])
        .expect_success();
    let clients = || {
        let mut command = Command::new("redis-cli");
        command.args(["-p", &server.1.port().to_string(), "pubsub", "numsub", "news"]);
        let said = String::from_utf8_lossy(&command.output().expect("redis-cli").stdout).into_owned();
        said.lines().last().unwrap_or_default().to_owned()
    };
    until(|| clients() == "1");
    let closed = world.chiton.policy("dynamic: {}\n");
    let _ = world.chiton.run(&["policy", "apply", "cut", closed.to_str().expect("a path")]).expect_success();
    until(|| clients() == "0");
    until(|| world.chiton.workspace().join("ended").exists());
    let _ = world.chiton.run(&["rm", "-f", "cut"]).expect_success();
}

/// The account that the server lets in is the one that runs the tests.
#[test]
fn git_over_ssh() {
    let folder = tempfile::tempdir().expect("a folder");
    let at = |name: &str| folder.path().join(name).display().to_string();
    let mut world = World::new(As::User, &[], Router::echo());
    let key = world.chiton.workspace().join("key");
    let script = format!(
        "set -e; ssh-keygen -q -t ed25519 -N '' -f {host}; ssh-keygen -q -t ed25519 -N '' -f {key}; \
         cp {key}.pub {authorized}; git init -q --bare -b main {bare}; git init -q -b main {work}; cd {work}; \
         echo hello > README; git add README; git -c user.name=t -c user.email=t@example.com commit -qm first; \
         git push -q {bare} main; id -un; mkdir -p /run/sshd 2>/dev/null || true",
        host = at("host"),
        key = key.display(),
        authorized = at("authorized"),
        bare = at("hello.git"),
        work = at("work"),
    );
    let made = Command::new("sh").args(["-c", &script]).output().expect("sh");
    assert!(made.status.success(), "{made:?}");
    let account = String::from_utf8_lossy(&made.stdout).trim().to_owned();
    let owner = fs::metadata(world.chiton.workspace()).expect("the workspace");
    let (uid, gid) =
        (std::os::unix::fs::MetadataExt::uid(&owner), std::os::unix::fs::MetadataExt::gid(&owner));
    chown(&key, Some(uid), Some(gid)).expect("the key's owner");
    fs::set_permissions(&key, fs::Permissions::from_mode(0o600)).expect("the key's mode");
    let server = Server::start(|port| {
        let mut command = Command::new("/usr/sbin/sshd");
        command.args(["-D", "-e", "-f", "/dev/null", "-p", &port.to_string(), "-h", &at("host")]);
        for option in ["StrictModes=no", "PermitRootLogin=yes", "UsePAM=no", "PidFile=none"] {
            command.args(["-o", option]);
        }
        command.args(["-o", &format!("AuthorizedKeysFile={}", at("authorized"))]);
        command
    });
    world.chiton.resolve("git.example.com:22", server.1);
    let policy = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
                  dynamic: {network: {tcp: [{host: git.example.com, ports: [22]}]}}\n";
    let script = format!(
        "export GIT_SSH_COMMAND='ssh -i /workspace/key -o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null'; \
         git clone -q {account}@git.example.com:{bare} got 2>/dev/null; cat got/README; \
         git clone -q {account}@elsewhere.example.com:{bare} no 2>/dev/null || echo refused",
        bare = at("hello.git"),
    );
    let outcome = world.sh(policy, &script).expect_success();
    assert_eq!(outcome.stdout, "hello\nrefused\n", "{outcome:?}");
}

/// `tls: passthrough`: curl shows a certificate of its own to `openssl s_server`, which asks for one; nobody between.
#[test]
fn mutual_tls_is_passed_through() {
    let folder = tempfile::tempdir().expect("a folder");
    let mut world = World::new(As::User, &[], Router::echo());
    let at = |name: &str| folder.path().join(name).display().to_string();
    let (certificate, key) = world.ca.leaf_pem(&["mutual.example.com"]);
    fs::write(at("leaf.pem"), certificate).expect("a file");
    fs::write(at("key.pem"), key).expect("a file");
    let script = format!(
        "set -e; cd {}; openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -keyout agent.key \
         -out agent.pem -days 2 -subj /CN=agent 2>/dev/null",
        folder.path().display()
    );
    assert!(Command::new("sh").args(["-c", &script]).status().expect("sh").success());
    for name in ["agent.key", "agent.pem"] {
        let _ = world.chiton.write_workspace(name, fs::read(at(name)).expect("a file"));
    }
    let _ = world.chiton.write_workspace("server-ca.pem", world.ca.pem());
    let server = Server::start(|port| {
        let mut command = Command::new("openssl");
        command.args(["s_server", "-quiet", "-accept", &format!("127.0.0.1:{port}"), "-www", "-Verify", "1"]);
        command.args(["-verify_return_error", "-cert", &at("leaf.pem"), "-key", &at("key.pem")]);
        command.args(["-CAfile", &at("agent.pem")]).stdin(Stdio::null());
        command
    });
    world.chiton.resolve("mutual.example.com:443", server.1);
    let policy = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
                  dynamic: {network: {http: [{host: mutual.example.com, tls: passthrough}]}}\n";
    let script = "cd /workspace; curl -sS --cacert server-ca.pem --cert agent.pem --key agent.key \
        -o /dev/null -w '%{http_code}\\n' https://mutual.example.com/; \
        curl -sS --cacert server-ca.pem https://mutual.example.com/ >/dev/null 2>&1 || echo no certificate; \
        curl -sS -k --connect-to other.example.com:443:mutual.example.com:443 https://other.example.com/ \
        >/dev/null 2>&1 || echo another name";
    let outcome = world.sh(policy, script).expect_success();
    assert_eq!(outcome.stdout, "200\nno certificate\nanother name\n", "{outcome:?}");
}
