//! `network.tcp`: `psql` to a PostgreSQL server, in the clear and over TLS with the server's own certificate.

use std::{
    fs,
    net::TcpListener,
    os::unix::{
        fs::{PermissionsExt, chown},
        process::CommandExt,
    },
    path::{Path, PathBuf},
    process::{Command, Stdio},
};

use chiton_testkit::routes::Router;
use chiton_tests::{As, World};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use super::server::{Server, until};

/// An account that the system has a name for.
const NOBODY: u32 = 65_534;
const PASSWORD: &str = "of-a-test";
const POLICY: &str = "static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n\
    dynamic: {network: {tcp: [{host: db.example.com, ports: [5432]}]}}\n";
/// Debian's `psql` is a Perl script that finds the program itself.
const AS_TOLD: &str =
    "export PGUSER=postgres PGPASSWORD=of-a-test PGDATABASE=postgres PGCONNECT_TIMEOUT=20; ";

/// A database server of its own, which runs as nobody in particular.
struct Database {
    server: Server,
    folder: TempDir,
}

impl Database {
    /// Its certificate is for `db.example.com`.
    fn start(world: &World) -> Self {
        let folder = tempfile::tempdir().expect("a folder");
        let at = |name: &str| folder.path().join(name);
        let (certificate, key) = world.ca.leaf_pem(&["db.example.com"]);
        fs::write(at("leaf.pem"), certificate).expect("a file");
        fs::write(at("key.pem"), key).expect("a file");
        fs::write(at("password"), PASSWORD).expect("a file");
        for name in ["", "leaf.pem", "key.pem", "password"] {
            let path = if name.is_empty() { folder.path().to_owned() } else { at(name) };
            if rustix::process::geteuid().is_root() {
                chown(&path, Some(NOBODY), Some(NOBODY)).expect("an owner");
            }
            let mode = if name.is_empty() { 0o700 } else { 0o600 };
            fs::set_permissions(&path, fs::Permissions::from_mode(mode)).expect("a mode");
        }
        let mut make = unprivileged("initdb", folder.path());
        make.args(["-U", "postgres", "-A", "scram-sha-256", "-E", "UTF8", "--locale=C", "-N", "--pwfile"]);
        let made = make.arg(at("password")).arg("-D").arg(at("data")).output().expect("initdb");
        assert!(made.status.success(), "{made:?}");
        let server = Server::start(|port| {
            let mut command = unprivileged("postgres", folder.path());
            command.arg("-D").arg(at("data")).args(["-p", &port.to_string(), "-h", "127.0.0.1"]);
            for (name, value) in [
                ("unix_socket_directories", String::new()),
                ("fsync", "off".to_owned()),
                ("ssl", "on".to_owned()),
                ("ssl_cert_file", at("leaf.pem").display().to_string()),
                ("ssl_key_file", at("key.pem").display().to_string()),
                // A session whose client is gone ends, also in the middle of a query.
                ("client_connection_check_interval", "100ms".to_owned()),
            ] {
                command.arg("-c").arg(format!("{name}={value}"));
            }
            command
        });
        let database = Self { server, folder };
        // It listens before it is ready.
        until(|| database.asked("select 1") == "1");
        database
    }

    /// What a query from the host says.
    fn asked(&self, query: &str) -> String {
        let mut command = unprivileged("psql", self.folder.path());
        let port = self.server.1.port().to_string();
        command.args(["-XAtq", "-h", "127.0.0.1", "-U", "postgres", "-p", &port, "-c", query, "postgres"]);
        let said = command.env("PGPASSWORD", PASSWORD).output().expect("psql").stdout;
        String::from_utf8_lossy(&said).trim().to_owned()
    }
}

impl Drop for Database {
    /// In its own order, so that it leaves no shared memory behind.
    fn drop(&mut self) {
        let _ = kill_process(Pid::from_child(&self.server.0), Signal::INT);
        let _ = self.server.0.wait();
    }
}

/// One of PostgreSQL's programs, which refuse to run as root.
fn unprivileged(name: &str, folder: &Path) -> Command {
    let mut command = Command::new(program(name));
    command.current_dir(folder).stdin(Stdio::null());
    if rustix::process::geteuid().is_root() {
        command.uid(NOBODY).gid(NOBODY);
    }
    command
}

/// Debian keeps them in a folder for each version.
fn program(name: &str) -> PathBuf {
    let versions = fs::read_dir("/usr/lib/postgresql").into_iter().flatten().flatten();
    let paths = versions.map(|version| version.path().join("bin").join(name));
    paths.filter(|path| path.is_file()).max().unwrap_or_else(|| PathBuf::from(name))
}

fn session(user: As) {
    let mut world = World::new(user, &[], Router::echo());
    let database = Database::start(&world);
    let other = TcpListener::bind("127.0.0.1:0").expect("a port");
    other.set_nonblocking(true).expect("a listener that does not wait");
    world.chiton.resolve("db.example.com:5432", database.server.1);
    world.chiton.resolve("db.example.com:5433", other.local_addr().expect("an address"));
    world.chiton.resolve("other.example.com:5432", other.local_addr().expect("an address"));
    let _ = world.chiton.write_workspace("server-ca.pem", world.ca.pem());
    let script = "ask() { psql -XAtq \"host=db.example.com $1\" -c \"select $2\" 2>/dev/null || echo refused; }; \
        tls='(select ssl from pg_stat_ssl where pid = pg_backend_pid())'; \
        psql -XAtq 'host=db.example.com sslmode=disable' -c 'create table t (n int)' -c 'insert into t values (6), (7)'; \
        ask sslmode=disable 'sum(n) from t'; ask sslmode=disable \"$tls\"; ask sslmode=require \"$tls\"; \
        ask 'sslmode=verify-full sslrootcert=/workspace/server-ca.pem' \"$tls\"; \
        psql -XAtq 'host=db.example.com sslmode=disable' -c 'copy (select repeat($$x$$, 99) from generate_series(1, 50000)) to stdout' | wc -c; \
        ask 'sslmode=disable port=5433' 1; psql -XAtq 'host=other.example.com' -c 'select 1' 2>/dev/null || echo refused";
    let outcome = world.sh(POLICY, &format!("{AS_TOLD}{script}")).expect_success();
    assert_eq!(outcome.stdout, "13\nf\nt\nt\n5000000\nrefused\nrefused\n", "{outcome:?}");
    assert_eq!(database.asked("select count(*) from t"), "2");
    assert!(other.accept().is_err(), "what is refused is not dialled");
    let events = world.chiton.audit(&[]);
    let of = |action: &str, decision: &str| {
        let is = |event: &&serde_json::Value| event["action"] == action && event["decision"] == decision;
        events.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    assert_eq!((of("connect", "allow").len(), of("disconnect", "allow").len()), (6, 6), "{events:#?}");
    assert!(of("connect", "allow").iter().all(|event| event["rule"] == "tcp[0]"), "{events:#?}");
    let mut denied: Vec<_> = of("connect", "deny").iter().map(|event| event["reason"].to_string()).collect();
    // A name has two addresses, and a program may try both.
    denied.dedup();
    assert_eq!(denied, ["\"scheme_not_allowed\"", "\"host_not_allowed\""], "{events:#?}");
}

#[test]
fn psql_as_an_ordinary_user() {
    session(As::User);
}

#[test]
fn psql_as_root() {
    session(As::Root);
}

/// What Debian calls `psql` is a Perl script, which starts the program that a rule can name.
#[test]
fn only_psql_may_where_the_rule_is_for_it() {
    let mut world = World::new(As::User, &[], Router::echo());
    let database = Database::start(&world);
    world.chiton.resolve("db.example.com:5432", database.server.1);
    let psql = fs::canonicalize(program("psql")).unwrap_or_else(|_| "/usr/bin/psql".into());
    let policy = POLICY.replace("[5432]", &format!("[5432], binaries: [{}]", psql.display()));
    let script = "psql -XAtq 'host=db.example.com sslmode=require' -c 'select 6 * 7'; \
        /usr/bin/python3 -c 'import socket; s = socket.create_connection((\"db.example.com\", 5432), 20); \
        s.sendall(bytes([0, 0, 0, 8, 4, 210, 22, 47])); print(s.recv(1))' 2>/dev/null || echo refused";
    let outcome = world.sh(&policy, &format!("{AS_TOLD}{script}")).expect_success();
    assert_eq!(outcome.stdout, "42\nrefused\n", "{outcome:?}");
    let denied = world.chiton.audit(&["--decision", "deny"]);
    let other = |event: &serde_json::Value| event["reason"] == "binary_not_allowed";
    assert!(!denied.is_empty() && denied.iter().all(other), "{denied:#?}");
}

/// A query that runs when the rule goes ends before `apply` has returned.
#[test]
fn a_running_query_is_cut_by_a_new_revision() {
    let mut world = World::new(As::User, &[], Router::echo());
    let database = Database::start(&world);
    world.chiton.resolve("db.example.com:5432", database.server.1);
    let policy = world.chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    let script = format!(
        "{AS_TOLD} psql -X 'host=db.example.com sslmode=require application_name=inside' -c 'select pg_sleep(600)'; \
         echo $? > /workspace/ended; sleep 600"
    );
    let arguments = ["run", "-d", "-n", "cut", "-p", policy, "--", "sh", "-c", &script];
    let _ = world.chiton.run(&arguments).expect_success();
    let sleeps =
        "select count(*) from pg_stat_activity where application_name = 'inside' and wait_event = 'PgSleep'";
    until(|| database.asked(sleeps) == "1");
    let closed = world.chiton.policy("dynamic: {}\n");
    let _ = world.chiton.run(&["policy", "apply", "cut", closed.to_str().expect("a path")]).expect_success();
    until(|| database.asked(sleeps) == "0");
    until(|| world.chiton.workspace().join("ended").exists());
    let ended = fs::read_to_string(world.chiton.workspace().join("ended")).expect("it");
    assert_ne!(ended.trim(), "0", "psql noticed");
    let _ = world.chiton.run(&["rm", "-f", "cut"]).expect_success();
}
