//! The first process of a container that is not ours, with all that ours is given: the mounts, the socket of the
//! hand-over, what comes from it, and the connections of the gateway.
//!
//! It is started as `chiton supervisor SOCKET`. The lines of `plan` in the workspace are what it does: attempts of the
//! probe, each by a process of its own, and the steps below; what came of them it appends to `found` there.

use std::{
    fs::{self, File},
    io::{self, Read, Write},
    os::{
        fd::{AsRawFd, FromRawFd, OwnedFd, RawFd},
        unix::net::{UnixListener, UnixStream},
    },
    path::{Path, PathBuf},
    process::{Command, ExitCode},
    thread,
    time::Duration,
};

use serde_json::{Value, json};

use crate::{Attempt, Tried, argument, checked, line_of};

pub(crate) const ATTEMPTS: &[Attempt] = &[("write-in-namespace", write_in_namespace), ("ask", ask)];

const LIMIT: Duration = Duration::from_secs(10);
/// More than the gateway ever takes in one message.
const ENOUGH: usize = 8 << 20;

struct First {
    socket: PathBuf,
    /// The connection of the hand-over, and what came from it: listener, log, events, exit file.
    given: Option<(UnixStream, Vec<OwnedFd>)>,
    found: File,
}

/// Does what the plan says.
pub(crate) fn run(socket: &str) -> ExitCode {
    let socket = PathBuf::from(socket);
    let folder = socket.ancestors().nth(2).unwrap_or(Path::new("/")).to_owned();
    let done = fs::read_to_string(folder.join("workspace/plan")).and_then(|plan| {
        let found = File::options().create(true).append(true).open(folder.join("workspace/found"))?;
        let mut first = First { socket, given: None, found };
        let plan = plan.replace("{folder}", &folder.to_string_lossy());
        plan.lines().try_for_each(|line| first.step(&line.split(' ').collect::<Vec<_>>()))
    });
    if done.is_ok() { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

impl First {
    fn step(&mut self, words: &[&str]) -> io::Result<()> {
        match words {
            ["papers"] => self.papers(),
            ["climb"] => self.each_paper("climb", climb),
            ["grow", paper, length] => self.grow(paper, length),
            ["gateway"] => self.gateway(),
            ["answer", how] => self.answer(how),
            attempt => {
                let ended = Command::new("/proc/self/exe").args(attempt).output()?;
                if ended.stdout.is_empty() {
                    // The kernel ended it for what it tried.
                    let error = io::Error::other(ended.status.to_string());
                    return self.tell(attempt.first().unwrap_or(&""), Err(error));
                }
                self.found.write_all(&ended.stdout)
            }
        }
    }

    fn tell(&mut self, name: &str, tried: Tried) -> io::Result<()> {
        // In one call: whoever watches sees whole lines.
        self.found.write_all(format!("{}\n", line_of(name, tried)).as_bytes())
    }

    /// Asks for the papers, twice at once, and again when they are there.
    fn papers(&mut self) -> io::Result<()> {
        let (link, again) = (UnixStream::connect(&self.socket)?, UnixStream::connect(&self.socket));
        let (_, papers) = receive(&link)?;
        self.tell("papers", Ok(papers.len().to_string()))?;
        self.tell("papers-twice", again.and_then(|again| given(&again)))?;
        self.tell("papers-later", UnixStream::connect(&self.socket).map(|_| String::new()))?;
        self.given = Some((link, papers));
        Ok(())
    }

    fn each_paper(&mut self, name: &str, tried: fn(RawFd, &Path) -> Tried) -> io::Result<()> {
        let (_, papers) = self.given.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let place = self.socket.ancestors().nth(2).unwrap_or(Path::new("/")).join("workspace");
        let results: Vec<_> = papers.iter().map(|paper| tried(paper.as_raw_fd(), &place)).collect();
        results.into_iter().try_for_each(|result| self.tell(name, result))
    }

    /// Makes a file that the gateway reads as long as no disk: `log`, `events` or `exit`.
    fn grow(&mut self, paper: &str, length: &str) -> io::Result<()> {
        let (_, papers) = self.given.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let number = ["listener", "log", "events", "exit"].iter().position(|name| *name == paper);
        let file = papers.get(number.unwrap_or(usize::MAX)).ok_or(io::ErrorKind::NotFound)?;
        let length = length.parse().map_err(|_| io::ErrorKind::InvalidInput)?;
        File::from(file.try_clone()?).set_len(length)
    }

    /// What the gateway's end of a connection gives away.
    fn gateway(&mut self) -> io::Result<()> {
        const SO_PEERPIDFD: libc::c_int = 77;
        let (link, _) = self.given.as_ref().ok_or(io::ErrorKind::NotFound)?;
        let (mut peer, mut length): (libc::c_int, libc::socklen_t) = (-1, 4);
        // SAFETY: the value has the length that is told.
        let asked = unsafe {
            let peer = (&raw mut peer).cast();
            libc::getsockopt(link.as_raw_fd(), libc::SOL_SOCKET, SO_PEERPIDFD, peer, &raw mut length)
        };
        if let Err(error) = checked(asked.into()) {
            return self.tell("gateway-process", Err(error));
        }
        let call = |number, [a, b, c]: [libc::c_long; 3]| {
            // SAFETY: takes numbers.
            checked(unsafe { libc::syscall(number, peer, a, b, c) }).map(|answer| answer.to_string())
        };
        self.tell("gateway-signal", call(libc::SYS_pidfd_send_signal, [0, 0, 0]))?;
        for number in 0..32 {
            self.tell("gateway-descriptor", call(libc::SYS_pidfd_getfd, [number, 0, 0]))?;
        }
        for kind in [libc::CLONE_NEWNET, libc::CLONE_NEWNS, libc::CLONE_NEWPID, libc::CLONE_NEWUSER] {
            self.tell("gateway-namespace", call(libc::SYS_setns, [kind.into(), 0, 0]))?;
        }
        Ok(())
    }

    /// Answers the gateway's requests until it is killed.
    fn answer(&mut self, how: &str) -> io::Result<()> {
        let (_, mut papers) = self.given.take().ok_or(io::ErrorKind::NotFound)?;
        if papers.is_empty() {
            return Err(io::ErrorKind::NotFound.into());
        }
        let listener = UnixListener::from(papers.remove(0));
        listener.set_nonblocking(false)?;
        loop {
            let (link, _) = listener.accept()?;
            let how = how.to_owned();
            thread::spawn(move || while serve(&link, &how).is_ok() {});
        }
    }
}

/// Asks for the papers, by a process that is not the first.
fn ask(arguments: &[String]) -> Tried {
    given(&UnixStream::connect(argument(arguments, 0, ""))?)
}

/// How many papers come.
fn given(link: &UnixStream) -> Tried {
    link.set_read_timeout(Some(LIMIT))?;
    match receive(link)? {
        (0, _) => Err(io::ErrorKind::UnexpectedEof.into()),
        (_, papers) => Ok(papers.len().to_string()),
    }
}

/// One request, and what it is answered.
fn serve(mut link: &UnixStream, how: &str) -> io::Result<()> {
    let mut length = [0; 4];
    link.read_exact(&mut length)?;
    let mut request = vec![0; usize::try_from(u32::from_be_bytes(length)).unwrap_or(0)];
    link.read_exact(&mut request)?;
    match how {
        "silence" => loop {
            thread::park();
        },
        "junk" => link.write_all(b"\0\0\0\x05hello"),
        "endless" => {
            link.write_all(&[0xff; 4])?;
            loop {
                link.write_all(&[b' '; 4096])?;
            }
        }
        "deep" => link.write_all(&framed(&vec![b'['; ENOUGH])),
        "many" => send(link, &framed(&message(&created(200))), 200),
        "words" => {
            let words = format!("\u{1b}]0;mine\u{7}first\nerror: second {}", "x".repeat(ENOUGH / 2));
            link.write_all(&framed(&message(&json!({ "failed": { "message": words, "status": 125 } }))))
        }
        // A sandbox that is none, to its end.
        _ => pretend(link, &serde_json::from_slice(&request).unwrap_or_default()),
    }
}

fn pretend(mut link: &UnixStream, request: &Value) -> io::Result<()> {
    let name = request.as_object().and_then(|object| object.keys().next().cloned());
    let name = name.or_else(|| request.as_str().map(str::to_owned)).unwrap_or_default();
    let layer = json!({ "layer": "\u{1b}[2Jview", "enforced": true, "detail": "all\u{1b}[31m\n" });
    let reply = match name.as_str() {
        "create" | "listeners" => return send(link, &framed(&message(&created(5))), 5),
        "view" => json!({ "viewed": { "layers": [layer] } }),
        "launch" | "attach" => json!("launched"),
        "wait" | "stop" => loop {
            thread::park();
        },
        "status" => json!({ "status": { "report": { "layers": [layer] }, "started": true, "exit": null } }),
        _ => json!("done"),
    };
    link.write_all(&framed(&message(&reply)))?;
    if name == "launch" {
        // Frames of a session, and then what is none.
        link.write_all(&[&[1, 0, 0, 0, 3][..], b"hi\n", &[9, 255, 255, 255, 255], &[7; 4096]].concat())?;
    }
    Ok(())
}

/// As many listeners of each kind as make so many descriptors.
fn created(count: u8) -> Value {
    let each = count / 5;
    json!({ "created": { "tcp": each, "dns_udp": each, "dns_tcp": each, "dropped": each, "owners": each } })
}

fn message(value: &Value) -> Vec<u8> {
    value.to_string().into_bytes()
}

fn framed(bytes: &[u8]) -> Vec<u8> {
    let length = u32::try_from(bytes.len()).unwrap_or(u32::MAX).to_be_bytes();
    [&length[..], bytes].concat()
}

/// Sends bytes with so many descriptors of a file that is nothing of what it is taken for.
fn send(link: &UnixStream, bytes: &[u8], count: usize) -> io::Result<()> {
    let file = File::open("/dev/zero")?;
    let numbers = vec![file.as_raw_fd(); count];
    let room = usize::try_from(space(count)).unwrap_or(0);
    let mut control = vec![0_u64; room.div_ceil(8)];
    let mut data = libc::iovec { iov_base: bytes.as_ptr().cast_mut().cast(), iov_len: bytes.len() };
    // SAFETY: a message of zeros is an empty one.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut data, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), room);
    // SAFETY: the control buffer has the room for one header and the numbers behind it.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        ((*first).cmsg_level, (*first).cmsg_type) = (libc::SOL_SOCKET, libc::SCM_RIGHTS);
        (*first).cmsg_len = libc::CMSG_LEN(u32::try_from(count * 4).unwrap_or(0)) as usize;
        std::ptr::copy_nonoverlapping(numbers.as_ptr(), libc::CMSG_DATA(first).cast(), count);
    }
    // SAFETY: all of the header's pointers are alive.
    let sent = unsafe { libc::sendmsg(link.as_raw_fd(), &raw const header, libc::MSG_NOSIGNAL) };
    checked(sent as libc::c_long).map(drop)
}

fn space(count: usize) -> u32 {
    // SAFETY: computes.
    unsafe { libc::CMSG_SPACE(u32::try_from(count * 4).unwrap_or(0)) }
}

/// Some bytes, and the descriptors beside them.
fn receive(link: &UnixStream) -> io::Result<(usize, Vec<OwnedFd>)> {
    let (mut bytes, mut control) = ([0_u8; 16], [0_u64; 64]);
    let mut data = libc::iovec { iov_base: bytes.as_mut_ptr().cast(), iov_len: bytes.len() };
    // SAFETY: as in `send`.
    let mut header: libc::msghdr = unsafe { std::mem::zeroed() };
    (header.msg_iov, header.msg_iovlen) = (&raw mut data, 1);
    (header.msg_control, header.msg_controllen) = (control.as_mut_ptr().cast(), size_of_val(&control));
    // SAFETY: all of the header's pointers are alive, with the lengths that are told.
    let read = unsafe { libc::recvmsg(link.as_raw_fd(), &raw mut header, libc::MSG_CMSG_CLOEXEC) };
    let read = usize::try_from(checked(read as libc::c_long)?).unwrap_or(0);
    let mut descriptors = Vec::new();
    // SAFETY: the kernel wrote one whole header and as many numbers as it says; they are ours alone.
    unsafe {
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        if !first.is_null() && (*first).cmsg_type == libc::SCM_RIGHTS {
            let count = ((*first).cmsg_len - libc::CMSG_LEN(0) as usize) / 4;
            for at in 0..count {
                let number = libc::CMSG_DATA(first).cast::<RawFd>().add(at).read_unaligned();
                descriptors.push(OwnedFd::from_raw_fd(number));
            }
        }
    }
    Ok((read, descriptors))
}

/// From an open file to its folder, by every way there is, or to a second name of it in the workspace.
fn climb(file: RawFd, workspace: &Path) -> Tried {
    let shown = format!("/proc/self/fd/{file}");
    let above = Path::new(&shown).join("..");
    if let Ok(entries) = fs::read_dir(&above) {
        return Ok(format!("{} names in its folder", entries.count()));
    }
    let real = fs::read_link(&shown)?;
    if let Some(folder) = real.parent().filter(|folder| folder.is_absolute())
        && folder != Path::new("/")
        && let Ok(entries) = fs::read_dir(folder)
    {
        return Ok(format!("{} names in `{}`", entries.count(), folder.display()));
    }
    let (from, to) = (c_string(&shown)?, c_string(&workspace.join("linked").to_string_lossy())?);
    // SAFETY: both are C strings.
    let linked = unsafe {
        libc::linkat(libc::AT_FDCWD, from.as_ptr(), libc::AT_FDCWD, to.as_ptr(), libc::AT_SYMLINK_FOLLOW)
    };
    checked(linked.into()).map(|_| "a second name".to_owned())
}

fn c_string(text: &str) -> io::Result<std::ffi::CString> {
    std::ffi::CString::new(text).map_err(|_| io::ErrorKind::InvalidInput.into())
}

/// As root of namespaces of its own: takes the mount of a path for a writable one, and writes there.
fn write_in_namespace(arguments: &[String]) -> Tried {
    let path = argument(arguments, 0, "");
    // SAFETY: takes nothing.
    let (uid, gid) = unsafe { (libc::getuid(), libc::getgid()) };
    // SAFETY: takes a number.
    checked(unsafe { libc::unshare(libc::CLONE_NEWUSER | libc::CLONE_NEWNS) }.into())?;
    fs::write("/proc/self/setgroups", "deny")?;
    fs::write("/proc/self/uid_map", format!("0 {uid} 1"))?;
    fs::write("/proc/self/gid_map", format!("0 {gid} 1"))?;
    let target = c_string(path)?;
    let none = std::ptr::null();
    for flags in [libc::MS_REMOUNT | libc::MS_BIND, libc::MS_REMOUNT] {
        // SAFETY: the target is a C string; nothing else is read.
        unsafe { libc::mount(none, target.as_ptr(), none, flags, none.cast()) };
    }
    // SAFETY: as above.
    unsafe { libc::umount2(target.as_ptr(), libc::MNT_DETACH) };
    let place = Path::new(path);
    if place.is_dir() {
        return File::create(place.join("written")).map(|_| String::new());
    }
    File::options().write(true).open(place).map(|_| String::new())
}
