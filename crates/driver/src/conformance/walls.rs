//! Walls: what a program cannot see of the host, of the driver and of what watches it. And that a gateway may come
//! and go meanwhile.

use chiton_api::frame::SessionKind;

use super::{
    Case, Fixture,
    sandbox::{Sandbox, Session, exec, proxy_config, script, shell},
};

pub(super) const CASES: &[Case] = &[
    Case { name: "there is no network link but loopback", run: |fixture| Box::pin(links(fixture)) },
    Case { name: "nothing of the driver's is inside", run: |fixture| Box::pin(nothing_of_ours(fixture)) },
    Case {
        name: "the first process is neither seen nor reached",
        run: |fixture| Box::pin(first_process(fixture)),
    },
    Case { name: "nothing can be mounted, nothing can be made", run: |fixture| Box::pin(no_power(fixture)) },
    Case {
        name: "another gateway finds a sandbox and carries on",
        run: |fixture| Box::pin(another_gateway(fixture)),
    },
    Case {
        name: "a runtime folder that is taken away takes nothing along",
        run: |fixture| Box::pin(taken_away(fixture)),
    },
];

async fn links(fixture: &dyn Fixture) {
    let (output, errors, _) = script(fixture, "cat /proc/net/dev").await;
    let names: Vec<_> =
        output.lines().filter_map(|line| line.split_once(':')).map(|found| found.0.trim()).collect();
    assert_eq!(names, ["lo"], "{output}{errors}");
}

async fn nothing_of_ours(fixture: &dyn Fixture) {
    let text = "ls -A /run /run/chiton /var/run/docker.sock /run/podman 2>&1; find / -xdev -type s 2>/dev/null; \
                cat /proc/self/mountinfo /proc/1/mountinfo /proc/self/cgroup 2>&1";
    let (output, ..) = script(fixture, text).await;
    for word in ["hand-over", "supervisor.sock", "proxy.sock", "\ndocker.sock", "podman.sock"] {
        assert!(!output.contains(word), "{word}: {output}");
    }
}

async fn first_process(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read x; exit 3")).await.unwrap();
    main.until("up").await;
    // The programs of one sandbox may end each other.
    let text = "for signal in 9 15 1 7 11 19; do kill -$signal 1 2>/dev/null; done; \
                cat /proc/1/environ /proc/1/maps /proc/1/mem 2>/dev/null | wc -c; \
                ls -l /proc/1/exe /proc/1/fd/ /proc/1/root/ 2>/dev/null | wc -c";
    let (output, errors, _) = sandbox.session(exec(shell(text))).await.unwrap().end().await;
    assert_eq!(output, "0\n0\n", "{errors}");
    // What watches them still answers, and an ordinary end is one.
    main.send(SessionKind::Stdin, b"x\n").await;
    assert!([3, 137].contains(&main.end().await.2));
    sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
}

async fn no_power(fixture: &dyn Fixture) {
    let text = "mount -t tmpfs none /tmp; mount -t proc none /proc; mount -o remount,rw /; mknod /workspace/disk b 8 0; \
                unshare -Urm true; chroot / true; echo x > /proc/sys/kernel/hostname; hostname other; \
                echo $(hostname); ls /workspace; grep ' /tmp ' /proc/self/mounts";
    let (output, errors, _) = script(fixture, text).await;
    assert!(output.starts_with("sandbox\n"), "{output}{errors}");
    assert!(!output.contains("disk"), "{output}{errors}");
    assert!(errors.lines().count() >= 7, "{errors}");
}

async fn another_gateway(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read x; echo got $x; exit 6")).await.unwrap();
    main.until("up").await;
    let second = fixture.again(&sandbox);
    assert_eq!(second.list().await.unwrap(), std::slice::from_ref(&sandbox.handle));
    assert!(!second.report(&sandbox.handle).await.unwrap().layers.is_empty());
    let link = second.start(&sandbox.handle, &exec(shell("echo in; exit 9"))).await.unwrap();
    let ended = Session::over(link).end().await;
    assert_eq!((ended.0.as_str(), ended.2), ("in\n", 9));
    let mut attached = Session::over(second.attach(&sandbox.handle).await.unwrap());
    attached.send(SessionKind::Stdin, b"it\n").await;
    let ended = attached.end().await;
    assert_eq!((ended.0.as_str(), ended.2), ("got it\n", 6));
    assert_eq!(second.wait(&sandbox.handle).await.unwrap().code, 6);
    second.destroy_sandbox(&sandbox.handle).await.unwrap();
    assert!(second.list().await.unwrap().is_empty());
}

async fn taken_away(fixture: &dyn Fixture) {
    let sandbox = Sandbox::ready(fixture).await;
    let mut main = sandbox.session(shell("echo up; read x; exit 3")).await.unwrap();
    main.until("up").await;
    // The next proxy may be beginning in it.
    while std::fs::remove_dir_all(fixture.runtime(&sandbox)).is_err() {}
    let driver = &sandbox.driver;
    assert_eq!(driver.list().await.unwrap(), std::slice::from_ref(&sandbox.handle));
    assert!(!driver.report(&sandbox.handle).await.unwrap().layers.is_empty());
    let (output, errors, _) = sandbox.session(exec(shell("echo here"))).await.unwrap().end().await;
    assert_eq!(output, "here\n", "{errors}");
    driver.attach_network_proxy(&sandbox.handle, proxy_config()).await.unwrap();
    let _ = driver.proxy_link(&sandbox.handle).await.unwrap();
    // Another gateway finds it, or ends it: it lets nothing run that it does not reach.
    let _ = std::fs::remove_dir_all(fixture.runtime(&sandbox));
    let second = fixture.again(&sandbox);
    for found in second.list().await.unwrap() {
        second.destroy_sandbox(&found).await.unwrap();
    }
    assert!(driver.list().await.unwrap().is_empty());
}
