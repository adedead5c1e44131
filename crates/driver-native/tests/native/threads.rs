//! What kernels before ours have otherwise: threads that lead no process, and the end of a filter.

use std::{
    io,
    net::{SocketAddr, TcpStream, UdpSocket},
    os::unix::{fs::PermissionsExt as _, net::UnixListener},
    process::ExitCode,
    time::Duration,
};

use chiton_driver::conformance::{Sandbox, exec, program, shell};
use rustix::fs::{Mode, OFlags};
use tokio::runtime::Runtime;

use crate::{Test, bench::Native, death};

pub(crate) const TESTS: &[Test] = &[
    ("a thread that leads no process does what the first does", any_thread),
    ("programs that have ended leave no thread behind", nothing_left),
];

fn any_thread(runtime: &Runtime) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        let copy = sandbox.spec.workspace.join("suite");
        std::fs::copy("/proc/self/exe", &copy).unwrap();
        std::fs::set_permissions(&copy, std::fs::Permissions::from_mode(0o755)).unwrap();
        let (output, errors, _) =
            sandbox.session(program(&["./suite", "threads"])).await.unwrap().end().await;
        assert_eq!(output, "first: fine\nother: fine\n", "{errors}");
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    });
}

/// This program's part inside.
pub(crate) fn be_threads() -> ExitCode {
    let told = |who, deeds: io::Result<()>| match deeds {
        Ok(()) => println!("{who}: fine"),
        Err(error) => println!("{who}: {error}"),
    };
    told("first", deeds("first"));
    std::thread::spawn(move || told("other", deeds("other"))).join().unwrap();
    ExitCode::SUCCESS
}

/// What names a descriptor of the caller's, or may have to wait.
fn deeds(name: &str) -> io::Result<()> {
    let here = rustix::fs::open(".", OFlags::RDONLY | OFlags::DIRECTORY, Mode::empty())?;
    let _ = rustix::fs::openat(&here, "suite", OFlags::RDONLY, Mode::empty())?;
    let _ = rustix::fs::Dir::read_from(&here)?.count();
    let _ = UnixListener::bind(name)?;
    let _ = std::os::unix::net::UnixStream::connect(name);
    UdpSocket::bind("127.0.0.1:0")?.connect("127.0.0.1:9")?;
    let to: SocketAddr = "127.0.0.1:1".parse().unwrap();
    match TcpStream::connect(to) {
        Err(error) if error.raw_os_error() == Some(rustix::io::Errno::INVAL.raw_os_error()) => {
            return Err(error);
        }
        _ => {}
    }
    let fifo = format!("{name}.fifo");
    rustix::fs::mknodat(&here, &*fifo, rustix::fs::FileType::Fifo, 0o600.into(), 0)?;
    let writer = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(200));
        std::fs::File::options().write(true).open(fifo)
    });
    let _ = rustix::fs::openat(&here, &*format!("{name}.fifo"), OFlags::RDONLY, Mode::empty())?;
    writer.join().unwrap().map(drop)
}

fn nothing_left(runtime: &Runtime) {
    runtime.block_on(async {
        let sandbox = Sandbox::ready(&Native).await;
        let mut main = sandbox.session(shell("echo up; read x")).await.unwrap();
        main.until("up").await;
        let outer = death::recorded(&sandbox)[0];
        let count =
            |what: &str| std::fs::read_dir(format!("/proc/{outer}/{what}")).map_or(0, Iterator::count);
        let mut after_five = (0, 0);
        for round in 0..25 {
            assert_eq!(sandbox.session(exec(shell("ls"))).await.unwrap().end().await.2, 0);
            if round == 4 {
                after_five = settled(count).await;
            }
        }
        assert_eq!(settled(count).await, after_five, "threads, descriptors");
        drop(main);
        sandbox.driver.destroy_sandbox(&sandbox.handle).await.unwrap();
    });
}

/// How many threads and descriptors there are once their number stays.
async fn settled(count: impl Fn(&str) -> usize) -> (usize, usize) {
    let mut before = (0, 0);
    loop {
        tokio::time::sleep(Duration::from_secs(1)).await;
        let now = (count("task"), count("fd"));
        if now == before {
            return now;
        }
        before = now;
    }
}
