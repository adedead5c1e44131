//! The way out is a sidecar: with an engine that sees nothing of this machine but the workspace, as one in a virtual
//! machine does, and that has a network of its own.

use std::{collections::BTreeSet, fs, path::PathBuf, sync::OnceLock, thread, time::Duration};

use chiton_testkit::{
    Outcome,
    engines::{Engine, Kind, Settings, images},
    harness::binary,
    soon,
};
use chiton_tests::{World, http_policy, kill_gateway};
use serde_json::Value;

use crate::{refused, run_under};

const KEY: &str = "sk-needle-5b8d0e6fa92c4173";
const HOST: &str = "api.example.com";
const OPEN: &[&str] = &[
    "{host: api.example.com, paths: [/open/**]}",
    "{host: api.example.com, paths: [/own/**], credential: {secret: 'local://key', header: x-own}}",
];
const SHUT: &[&str] = &["{host: api.example.com, paths: [/open/only]}"];
/// Prints the status of one request.
const STATUS: &str = "curl -s -o /dev/null -w '%{http_code}' https://api.example.com";

fn engine() -> &'static Engine {
    static ENGINE: OnceLock<Engine> = OnceLock::new();
    ENGINE.get_or_init(|| {
        let engine = Engine::start_with(Kind::Docker, &Settings { network: true, ..Settings::default() });
        engine.import("debian", &images::debian(), &[]);
        engine.import("busybox", &images::busybox().path(), &[]);
        engine.sees_only(binary().parent().expect("a folder"), None);
        engine
    })
}

/// An installation that knows the engine, whose containers reach the server.
fn world(sidecar: bool) -> World {
    let mut world = World::echo(&[HOST]);
    let led = engine().leads_to(world.upstream.address());
    world.chiton.resolve(&format!("{HOST}:443"), led);
    let socket = engine().socket();
    world.chiton.sections(&format!("\n[docker]\nsocket = {socket:?}\nsidecar = {sidecar}\n"));
    let workspace = world.chiton.workspace();
    engine().sees_only(&world.chiton.path("run"), None);
    world.chiton.secret("key", KEY);
    engine().sees_only(workspace.parent().expect("a folder"), Some(&workspace));
    world
}

fn run(world: &World, name: &str, command: &[&str]) -> Outcome {
    let policy = world.chiton.policy(&http_policy(OPEN));
    run_under(&world.chiton, engine(), "debian", &policy, &["-d", "-n", name], command)
}

fn exec(world: &World, name: &str, script: &str) -> String {
    world.chiton.run(&["exec", name, "sh", "-c", script]).stdout
}

/// What the engine has of a sandbox: its own container first.
fn containers(name: &str) -> Vec<Value> {
    let named = |container: &Value| container["Names"].to_string().contains(&format!("/chiton-{name}-"));
    let mut found: Vec<_> = engine().containers().into_iter().filter(named).collect();
    found.sort_by_key(|container| container["Names"].to_string().contains("-sidecar"));
    found
}

fn ids(name: &str) -> Vec<String> {
    containers(name).iter().map(|container| container["Id"].as_str().expect("its id").to_owned()).collect()
}

fn volume_of(container: &str) -> String {
    let shown = engine().inspect(container);
    let mounts = shown["Mounts"].as_array().expect("mounts").clone();
    let volume = mounts.iter().find(|mount| mount["Type"] == "volume").expect("a volume");
    volume["Name"].as_str().expect("its name").to_owned()
}

fn until(what: &str, holds: impl Fn() -> bool) {
    assert!(soon(Duration::from_secs(60), holds), "not in time: {what}");
}

/// What was written down of each.
fn requests(world: &World) -> Vec<Value> {
    let mut audit = world.chiton.audit(&["--layer", "network"]);
    audit.retain(|event| event["action"] == "request");
    audit
}

fn nothing_left(name: &str, volume: &str) {
    until("no container is left", || containers(name).is_empty());
    until("no volume is left", || engine().volumes().iter().all(|one| one["Name"] != volume));
}

/// The engine sees neither this program nor a socket of ours: without the setting there is no sandbox.
#[test]
fn such_an_engine_is_no_use_without_it() {
    let world = world(false);
    refused(&run(&world, "without", &["true"]), &["docker cannot make the container"]);
    nothing_left("without", "");
}

/// An examination has this program there too.
#[test]
fn every_layer_is_tried_in_its_containers() {
    let world = world(true);
    let examined = world.chiton.run(&["doctor", "--driver", "docker", "--json"]).expect_success().json();
    assert!(examined["checks"].as_array().expect("checks").len() > 5, "{examined:#}");
}

/// Without the engine nothing can be said of a sandbox; when it is back, what it ended is removed.
#[test]
fn an_engine_that_is_killed_and_comes_back() {
    let engine = Engine::start_with(Kind::Docker, &Settings { network: true, ..Settings::default() });
    engine.import("busybox", &images::busybox().path(), &[]);
    let mut chiton = chiton_tests::Chiton::new(chiton_tests::As::User);
    let socket = engine.socket();
    chiton.sections(&format!("\n[docker]\nsocket = {socket:?}\nsidecar = true\n"));
    let policy = chiton.policy(crate::POLICY);
    let start =
        |name: &str| run_under(&chiton, &engine, "busybox", &policy, &["-d", "-n", name], &["sleep", "1000"]);
    let _ = start("away").expect_success();
    engine.kill();
    let said = chiton.run(&["exec", "away", "true"]);
    assert!(said.status == 125 && said.stderr.contains("cannot reach its engine"), "{said:?}");
    engine.start_again();
    until("its end", || chiton.run(&["ps", "-q"]).stdout.is_empty());
    let _ = start("next").expect_success();
    assert_eq!(chiton.run(&["exec", "next", "echo", "on"]).stdout, "on\n");
    let _ = chiton.run(&["rm", "-f", "next"]).expect_success();
    until("nothing is left", || engine.containers().is_empty() && engine.volumes().is_empty());
}

#[test]
fn requests_credentials_sessions_and_tightening() {
    let world = world(true);
    let _ = run(&world, "way", &["sleep", "1000"]).expect_success();
    assert_eq!(
        exec(&world, "way", &format!("{STATUS}/open/a; {STATUS}/closed; {STATUS}/own/a")),
        "200403200"
    );
    let seen = world.upstream.requests();
    assert_eq!(seen.iter().filter(|request| request.header("x-own") == Some(KEY)).count(), 1, "{seen:#?}");
    assert_eq!(seen.len(), 2);
    assert_eq!(exec(&world, "way", "echo here > made; cat made"), "here\n");
    assert_eq!(fs::read_to_string(world.chiton.workspace().join("made")).expect("it"), "here\n");

    let shown = world.chiton.run(&["show", "way", "--json"]).json();
    let layer = &shown["report"]["layers"][0];
    assert!(layer["enforced"] == true && layer["layer"] == "container", "{shown:#}");
    let detail = layer["detail"].as_str().expect("text");
    assert!(detail.contains("the way out is a sidecar container, which holds the credentials"), "{detail}");

    let ids = ids("way");
    let [own, sidecar] = [&ids[0], &ids[1]].map(|id| engine().inspect(id));
    looks_as_it_should(&world, &own, &sidecar);
    let volume = volume_of(&ids[1]);
    cannot_be_traced(&ids[1]);

    let policy = world.chiton.policy(&http_policy(SHUT));
    let applied = world.chiton.run(&["policy", "apply", "way", policy.to_str().expect("UTF-8")]);
    let _ = applied.expect_success();
    assert_eq!(
        exec(&world, "way", &format!("{STATUS}/open/a; {STATUS}/open/only; {STATUS}/own/a")),
        "403200403"
    );

    let _ = world.chiton.run(&["rm", "-f", "way"]).expect_success();
    nothing_left("way", &volume);
    let audit = requests(&world);
    let of = |decision: &str| audit.iter().filter(|event| event["decision"] == decision).count();
    assert_eq!((of("allow"), of("deny")), (3, 3), "{audit:#?}");
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
    assert!(world.chiton.files_holding(KEY.as_bytes()).is_empty());
}

/// What the engine was told, as it says itself.
fn looks_as_it_should(world: &World, own: &Value, sidecar: &Value) {
    let workspace = world.chiton.workspace();
    let of_host = |container: &Value| -> Vec<PathBuf> {
        let mounts = container["Mounts"].as_array().expect("mounts").iter();
        let binds = mounts.filter(|mount| mount["Type"] == "bind");
        binds.map(|mount| mount["Source"].as_str().expect("a path").into()).collect()
    };
    assert_eq!(of_host(own), [workspace], "{own:#}");
    assert!(of_host(sidecar).is_empty(), "{sidecar:#}");
    assert_eq!(own["HostConfig"]["NetworkMode"], "none");
    assert_eq!(sidecar["HostConfig"]["ReadonlyRootfs"], true, "{sidecar:#}");
    for container in [own, sidecar] {
        assert_eq!(container["Config"]["User"], "7100:7100", "{container:#}");
        assert_eq!(container["HostConfig"]["CapDrop"], serde_json::json!(["ALL"]), "{container:#}");
        assert!(container["HostConfig"]["SecurityOpt"].to_string().contains("no-new-privileges"));
        assert_eq!(container["HostConfig"]["Privileged"], false);
        assert!(!container.to_string().contains(KEY));
        assert!(container["Config"]["Labels"]["dev.chiton.sandbox"].is_string(), "{container:#}");
    }
    let volumes = |container: &Value| {
        let mounts = container["Mounts"].as_array().expect("mounts").iter();
        let volumes = mounts.filter(|mount| mount["Type"] == "volume");
        volumes.map(|mount| mount["RW"].as_bool().expect("a flag")).collect::<Vec<_>>()
    };
    assert_eq!((volumes(own), volumes(sidecar)), (vec![false], vec![true]));
}

/// The sandbox goes on without a gateway, and what it does meanwhile is written down once.
#[test]
fn a_killed_gateway_is_followed_by_one_that_carries_on() {
    let world = world(true);
    let script = "n=0; while [ ! -e stop ]; do n=$((n+1)); curl -s -o /dev/null https://api.example.com/open/$n; \
                  sleep 0.1; done; echo said; exec sleep 1000";
    let _ = run(&world, "on", &["sh", "-c", script]).expect_success();
    let volume = volume_of(&ids("on")[1]);
    let sent = || world.upstream.requests().len();
    until("requests", || sent() > 3);
    kill_gateway(&world.chiton);
    let before = sent();
    until("requests without a gateway", || sent() > before + 5);
    assert_eq!(exec(&world, "on", "echo still"), "still\n");
    world.chiton.write_workspace("stop", "");
    until("its last word", || world.chiton.run(&["logs", "on"]).stdout == "said\n");
    assert_eq!(exec(&world, "on", &format!("{STATUS}/own/a")), "200");
    assert_eq!(world.chiton.run(&["stop", "-t", "0", "on"]).stdout, "on\n");
    nothing_left("on", &volume);
    let written: Vec<_> = requests(&world)
        .iter()
        .filter(|event| event["decision"] == "allow")
        .filter_map(|event| Some(event["request"]["path"].as_str()?.to_owned()))
        .collect();
    let sent: BTreeSet<_> = world.upstream.requests().into_iter().map(|request| request.target).collect();
    assert_eq!(written.iter().cloned().collect::<BTreeSet<_>>(), sent);
    assert_eq!(written.len(), sent.len(), "each once");
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();

    // The same sandbox again: its files go on.
    let _ = world.chiton.run(&["start", "on"]).expect_success();
    until("its last word again", || world.chiton.run(&["logs", "on"]).stdout == "said\nsaid\n");
    assert_eq!(exec(&world, "on", &format!("{STATUS}/open/again")), "200");
    let _ = world.chiton.run(&["rm", "-f", "on"]).expect_success();
    let again = requests(&world).iter().filter(|event| event["request"]["path"] == "/open/again").count();
    assert_eq!(again, 1);
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

/// What is done last is fetched before the sidecar goes.
#[test]
fn the_last_request_is_written_down_too() {
    let world = world(true);
    let policy = world.chiton.policy(&http_policy(OPEN));
    let script = format!("{STATUS}/open/a; {STATUS}/own/b; echo; {STATUS}/open/c");
    for _ in 0..3 {
        let command = ["sh", "-c", script.as_str()];
        let options = ["--rm", "-n", "last"];
        let outcome = run_under(&world.chiton, engine(), "debian", &policy, &options, &command);
        assert_eq!(outcome.expect_success().stdout, "200200\n200");
    }
    until("removed", || containers("last").is_empty());
    assert_eq!(requests(&world).len(), 9);
    // Nor is one lost that is under way when all is ended.
    let script = "i=0; while :; do i=$((i+1)); curl -s -o /dev/null https://api.example.com/open/$0/$i; done";
    let script = format!("for n in 1 2 3 4; do sh -c '{script}' $n & done; wait");
    let _ = run(&world, "last", &["sh", "-c", &script]).expect_success();
    until("many requests", || world.upstream.requests().len() > 60);
    let _ = world.chiton.run(&["rm", "-f", "last"]).expect_success();
    until("removed", || containers("last").is_empty());
    let written: BTreeSet<_> = requests(&world)
        .iter()
        .map(|event| event["request"]["path"].as_str().expect("a path").to_owned())
        .collect();
    for request in world.upstream.requests() {
        assert!(written.contains(&request.target), "{} is not written down", request.target);
    }
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

/// As `docker pause` does from outside, with either of the two.
#[test]
fn a_container_that_is_paused() {
    let world = world(true);
    let _ = run(&world, "halts", &["sleep", "1000"]).expect_success();
    let ids = ids("halts");
    let volume = volume_of(&ids[1]);
    for (paused, said) in [(0, "its container is paused"), (1, "its sidecar is paused")] {
        engine().pause(&ids[paused], true);
        refused(&world.chiton.run(&["exec", "halts", "true"]), &[said]);
        kill_gateway(&world.chiton);
        assert_eq!(world.chiton.run(&["ps", "-q"]).stdout, "halts\n", "{said}");
        engine().pause(&ids[paused], false);
        // A gateway that could not reach the proxy starts another: what comes in between finds no network.
        until("a request", || exec(&world, "halts", &format!("{STATUS}/own/a")) == "200");
    }
    engine().pause(&ids[1], true);
    assert_eq!(world.chiton.run(&["rm", "-f", "halts"]).stdout, "halts\n");
    nothing_left("halts", &volume);
}

/// Whichever of the two ends, the sandbox is over, and nothing of it is left.
#[test]
fn either_of_the_two_that_is_killed() {
    let world = world(true);
    for killed in [1, 0] {
        let _ = run(&world, "two", &["sleep", "1000"]).expect_success();
        let ids = ids("two");
        let volume = volume_of(&ids[1]);
        engine().kill_container(&ids[killed]);
        assert_eq!(world.chiton.run(&["wait", "two"]).status, 125, "{killed}");
        until("it is over", || world.chiton.run(&["ps", "-q"]).stdout.is_empty());
        nothing_left("two", &volume);
        let _ = world.chiton.run(&["rm", "-f", "two"]).expect_success();
    }
    // While there is no gateway.
    let _ = run(&world, "two", &["sleep", "1000"]).expect_success();
    let ids = ids("two");
    let volume = volume_of(&ids[1]);
    kill_gateway(&world.chiton);
    engine().kill_container(&ids[1]);
    assert_eq!(world.chiton.run(&["ps", "-q"]).stdout, "");
    nothing_left("two", &volume);
}

/// The processes in a container, with their arguments: these tests share the engine's kernel, the product does not know.
fn processes(container: &str) -> Vec<(i32, String)> {
    let entries = fs::read_dir("/proc").expect("/proc").flatten();
    let pids = entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok());
    let ours = |pid: i32| {
        let read = |name: &str| {
            String::from_utf8_lossy(&fs::read(format!("/proc/{pid}/{name}")).unwrap_or_default()).into_owned()
        };
        read("cgroup").contains(container).then(|| (pid, read("cmdline").replace('\0', " ")))
    };
    pids.filter_map(ours).collect()
}

/// Nobody of the same user reads the memory of what holds or passes credentials.
fn cannot_be_traced(sidecar: &str) {
    let processes = processes(sidecar);
    for role in [
        "sidecar ",
        "sidecar supervisor.sock ",
        "sidecar proxy.sock ",
        "sidecar sidecar.sock ",
        "chiton proxy ",
    ] {
        assert!(processes.iter().any(|(_, line)| line.ends_with(role)), "{role}: {processes:?}");
    }
    for (pid, line) in processes {
        let owner = |name: &str| {
            use std::os::unix::fs::MetadataExt as _;
            fs::metadata(format!("/proc/{pid}/{name}")).map(|about| about.uid()).ok()
        };
        // The kernel gives these to root where a process is undumpable.
        assert!(matches!(owner("environ"), Some(0) | None), "{line} can be traced");
    }
}

/// Kills what carries the gateway's connections, and nothing else.
fn cut_connections(sidecar: &str) {
    for (pid, line) in processes(sidecar) {
        if line.contains(" sidecar ") && line.trim_end().ends_with(".sock") {
            let carrier = rustix::process::Pid::from_raw(pid).expect("its number");
            let _ = rustix::process::kill_process(carrier, rustix::process::Signal::KILL);
        }
    }
}

/// Only the engine says that a sandbox is over: not the end of a connection to it.
#[test]
fn a_connection_that_is_cut_is_no_end() {
    let world = world(true);
    let _ = run(&world, "stays", &["sleep", "1000"]).expect_success();
    let sidecar = ids("stays").remove(1);
    let cut = std::sync::atomic::AtomicBool::new(true);
    thread::scope(|scope| {
        scope.spawn(|| {
            while cut.load(std::sync::atomic::Ordering::Relaxed) {
                cut_connections(&sidecar);
            }
        });
        // Its answer never comes: to the one gateway, which waits for the end, and to the next, which looks what there is.
        thread::sleep(Duration::from_secs(3));
        kill_gateway(&world.chiton);
        let listed = world.chiton.run(&["ps", "-q"]).stdout;
        cut.store(false, std::sync::atomic::Ordering::Relaxed);
        assert_eq!(listed, "stays\n");
    });
    until("it answers", || exec(&world, "stays", "echo on") == "on\n");
    until("a request", || exec(&world, "stays", &format!("{STATUS}/own/a")) == "200");
    let _ = world.chiton.run(&["rm", "-f", "stays"]).expect_success();
    let _ = world.chiton.run(&["audit", "verify"]).expect_success();
}

#[test]
fn a_proxy_that_dies_is_replaced_there() {
    let world = world(true);
    let _ = run(&world, "dies", &["sleep", "1000"]).expect_success();
    let stand_in = |world: &World| exec(world, "dies", "getent ahostsv4 api.example.com | head -1");
    let before = stand_in(&world);
    assert_eq!(exec(&world, "dies", &format!("{STATUS}/own/a")), "200");
    let sidecar = ids("dies").remove(1);
    for (pid, line) in processes(&sidecar) {
        if line == "chiton proxy " {
            let proxy = rustix::process::Pid::from_raw(pid).expect("its number");
            rustix::process::kill_process(proxy, rustix::process::Signal::KILL).expect("a signal");
        }
    }
    until("another proxy", || exec(&world, "dies", &format!("{STATUS}/own/a")) == "200");
    assert_eq!(stand_in(&world), before, "a name keeps its address");
    let _ = world.chiton.run(&["rm", "-f", "dies"]).expect_success();
}

/// What this machine cannot look at is refused by name.
#[test]
fn what_is_not_kept_is_refused() {
    let world = world(true);
    let refused_with = |lines: &str, words: &[&str]| {
        let policy = world.chiton.policy(&format!("{}{lines}", crate::POLICY));
        refused(&run_under(&world.chiton, engine(), "busybox", &policy, &["-n", "no"], &["true"]), words);
    };
    refused_with("  resources: {pids: 20}\n", &["`static.resources.pids`"]);
    refused_with("  gpu: 1\n", &["`static.gpu` cannot be given beside a sidecar"]);
    nothing_left("no", "");
}
