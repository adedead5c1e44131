//! Sessions: pipes, terminals, slow and vanished clients.

use chiton_api::frame::SessionKind;

use super::{
    Case, Fixture,
    sandbox::{Sandbox, Session, exec, in_terminal, program, send, shell},
};

pub(super) const CASES: &[Case] = &[
    Case { name: "ten megabytes go through unharmed", run: |fixture| Box::pin(pipe_through(fixture)) },
    Case {
        name: "a terminal is a terminal: size, resize, interrupt",
        run: |fixture| Box::pin(terminal(fixture)),
    },
    Case { name: "job control works in a terminal", run: |fixture| Box::pin(job_control(fixture)) },
    Case { name: "a signal reaches the main program", run: |fixture| Box::pin(signal(fixture)) },
    Case { name: "stop terminates, then kills", run: |fixture| Box::pin(stop(fixture)) },
    Case {
        name: "a client that reads nothing stops no other session",
        run: |fixture| Box::pin(slow_client(fixture)),
    },
    Case {
        name: "a client that vanishes leaves the main program running",
        run: |fixture| Box::pin(vanished_client(fixture)),
    },
    Case {
        name: "an attached session sees what comes from then on",
        run: |fixture| Box::pin(attached(fixture)),
    },
];

async fn pipe_through(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let Session { from, mut to, .. } = sandbox.session(program(&["cat"])).await.unwrap();
    let data: Vec<u8> = (0..10_000_000_u32).map(|n| (n.wrapping_mul(2_654_435_761) >> 24) as u8).collect();
    let sent = data.clone();
    let writer = tokio::spawn(async move {
        for piece in sent.chunks(60_000) {
            send(&mut to, SessionKind::Stdin, piece).await;
        }
        send(&mut to, SessionKind::Stdin, &[]).await;
        to
    });
    let mut got = Vec::new();
    let (_, to) = tokio::io::split(Box::pin(tokio::io::empty()) as crate::Link);
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
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn terminal(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let script = "trap 'echo interrupted; stty size; exit 4' INT; tty; stty size; echo ready; \
                  while :; do read line || :; done";
    let mut session = sandbox.session(in_terminal(shell(script), 40, 100)).await.unwrap();
    let text = session.until("ready").await;
    assert!(text.contains("/dev/pts/") && text.contains("40 100"), "{text}");
    session.send(SessionKind::Resize, &[0, 50, 0, 120]).await;
    session.send(SessionKind::Stdin, b"\x03").await;
    let (output, _, status) = session.end().await;
    assert!(output.contains("interrupted") && output.contains("50 120"), "{output}");
    assert_eq!(status, 4);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn job_control(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let launch = in_terminal(program(&["/bin/sh", "-i"]), 24, 80);
    let mut session = sandbox.session(launch).await.unwrap();
    session.send(SessionKind::Stdin, b"sh -c \"echo mar''ker; exec sleep 500\"\n").await;
    session.until("marker").await;
    session.send(SessionKind::Stdin, b"\x1a").await;
    session.until("Stopped").await;
    session.send(SessionKind::Stdin, b"kill %1; exit 6\nexit 6\n").await;
    let (output, _, status) = session.end().await;
    assert!(!output.contains("no job control"), "{output}");
    assert_eq!(status, 6, "{output}");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn signal(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut session =
        sandbox.session(shell("trap 'exit 12' USR1; echo up; while :; do sleep 0.05; done")).await.unwrap();
    session.until("up").await;
    sandbox.driver.signal(&sandbox.handle, 10).await.unwrap();
    assert_eq!(session.end().await.2, 12);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn stop(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut session = sandbox.session(shell("trap '' TERM; echo up; sleep 1000 & wait; wait")).await.unwrap();
    session.until("up").await;
    let grace = std::time::Duration::from_millis(50);
    assert_eq!(sandbox.driver.stop(&sandbox.handle, grace).await.unwrap().code, 137);
    assert_eq!(session.end().await.2, 137);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn slow_client(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read line")).await.unwrap();
    main.until("up").await;
    let mut slow = sandbox.session(exec(program(&["/bin/sh", "-c", "yes | head -c 3000000"]))).await.unwrap();
    let quick = sandbox.session(exec(shell("echo quick"))).await.unwrap().end().await;
    assert_eq!(quick.0, "quick\n");
    assert_eq!(slow.end().await.0.len(), 3_000_000);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn vanished_client(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read x; yes | head -c 3000000; exit 8")).await.unwrap();
    main.until("up").await;
    drop(main);
    assert_eq!(sandbox.driver.wait(&sandbox.handle).await.unwrap().code, 8);
    assert!(std::fs::metadata(&sandbox.spec.log).unwrap().len() > 3_000_000);
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn attached(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read x; echo later")).await.unwrap();
    main.until("up").await;
    let mut second = Session::over(sandbox.driver.attach(&sandbox.handle).await.unwrap());
    second.send(SessionKind::Stdin, b"go\n").await;
    assert_eq!(second.end().await.0, "later\n");
    assert_eq!(main.end().await.0, "up\nlater\n");
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}
