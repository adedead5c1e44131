//! Sessions: pipes, terminals, slow and vanished clients.

use chiton_api::frame::SessionKind;
use chiton_driver::ComputeDriver as _;
use tokio::runtime::Runtime;

use crate::{
    Test,
    bench::{Bench, Session, exec, in_terminal, program, send, shell},
};

pub(crate) const TESTS: &[Test] = &[
    ("ten megabytes go through unharmed", pipe_through),
    ("a terminal is a terminal: size, resize, interrupt", terminal),
    ("job control works in a terminal", job_control),
    ("a signal reaches the main program", signal),
    ("stop terminates, then kills", stop),
    ("a client that reads nothing stops no other session", slow_client),
    ("a client that vanishes leaves the main program running", vanished_client),
    ("an attached session sees what comes from then on", attached),
];

fn pipe_through(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let Session { from, mut to, .. } = bench.session(program(&["cat"])).await.unwrap();
        let data: Vec<u8> =
            (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
        let sent = data.clone();
        let writer = tokio::spawn(async move {
            for piece in sent.chunks(60_000) {
                send(&mut to, SessionKind::Stdin, piece).await;
            }
            send(&mut to, SessionKind::Stdin, &[]).await;
            to
        });
        let mut got = Vec::new();
        let (_, to) = tokio::io::split(Box::pin(tokio::io::empty()) as chiton_driver::Link);
        let mut session = Session { from, to, seen: Vec::new() };
        loop {
            match session.frame().await {
                (SessionKind::Stdout, payload) => got.extend(payload),
                (SessionKind::Exit, _) => break,
                other => panic!("{other:?}"),
            }
        }
        writer.await.unwrap();
        assert!(got == data, "{} bytes of {}", got.len(), data.len());
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn terminal(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let script = "trap 'echo interrupted; stty size; exit 4' INT; tty; stty size; echo ready; \
                      while :; do read line || :; done";
        let mut session = bench.session(in_terminal(shell(script), 40, 100)).await.unwrap();
        let text = session.until("ready").await;
        assert!(text.contains("/dev/pts/") && text.contains("40 100"), "{text}");
        session.send(SessionKind::Resize, &[0, 50, 0, 120]).await;
        session.send(SessionKind::Stdin, b"\x03").await;
        let (output, _, status) = session.end().await;
        assert!(output.contains("interrupted") && output.contains("50 120"), "{output}");
        assert_eq!(status, 4);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn job_control(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let launch = in_terminal(program(&["/bin/bash", "--norc", "-i"]), 24, 80);
        let mut session = bench.session(launch).await.unwrap();
        session.send(SessionKind::Stdin, b"sh -c \"echo mar''ker; exec sleep 500\"\n").await;
        session.until("marker").await;
        session.send(SessionKind::Stdin, b"\x1a").await;
        session.until("Stopped").await;
        session.send(SessionKind::Stdin, b"kill %1; exit 6\nexit 6\n").await;
        let (output, _, status) = session.end().await;
        assert!(!output.contains("no job control"), "{output}");
        assert_eq!(status, 6, "{output}");
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn signal(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut session =
            bench.session(shell("trap 'exit 12' USR1; echo up; while :; do sleep 0.05; done")).await.unwrap();
        session.until("up").await;
        bench.driver.signal(&bench.handle, 10).await.unwrap();
        assert_eq!(session.end().await.2, 12);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn stop(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut session =
            bench.session(shell("trap '' TERM; echo up; sleep 1000 & wait; wait")).await.unwrap();
        session.until("up").await;
        let grace = std::time::Duration::from_millis(50);
        assert_eq!(bench.driver.stop(&bench.handle, grace).await.unwrap().code, 137);
        assert_eq!(session.end().await.2, 137);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn slow_client(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut main = bench.session(shell("echo up; read line")).await.unwrap();
        main.until("up").await;
        let mut slow =
            bench.session(exec(program(&["/bin/sh", "-c", "yes | head -c 3000000"]))).await.unwrap();
        let quick = bench.session(exec(shell("echo quick"))).await.unwrap().end().await;
        assert_eq!(quick.0, "quick\n");
        assert_eq!(slow.end().await.0.len(), 3_000_000);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn vanished_client(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut main = bench.session(shell("echo up; read x; yes | head -c 3000000; exit 8")).await.unwrap();
        main.until("up").await;
        drop(main);
        assert_eq!(bench.driver.wait(&bench.handle).await.unwrap().code, 8);
        assert!(std::fs::metadata(&bench.spec.log).unwrap().len() > 3_000_000);
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}

fn attached(runtime: &Runtime) {
    runtime.block_on(async {
        let bench = Bench::ready().await;
        let mut main = bench.session(shell("echo up; read x; echo later")).await.unwrap();
        main.until("up").await;
        let mut second = Session::over(bench.driver.attach(&bench.handle).await.unwrap());
        second.send(SessionKind::Stdin, b"go\n").await;
        assert_eq!(second.end().await.0, "later\n");
        assert_eq!(main.end().await.0, "up\nlater\n");
        bench.driver.destroy_sandbox(&bench.handle).await.unwrap();
    });
}
