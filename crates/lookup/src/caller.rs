//! The calling thread: its memory, its descriptors, and what `/proc` says of it.
//!
//! Everything here goes by the thread's number. It is that thread's for as long as its notification waits, so
//! what was read counts only once the listener has said, afterwards, that it still does.

use std::{
    cell::RefCell,
    collections::HashMap,
    os::fd::{AsFd as _, BorrowedFd, OwnedFd},
    rc::Rc,
};

use chiton_sys::{Errno, Result, memory};
use rustix::{
    fs::{Mode, OFlags},
    process::PidfdGetfdFlags,
};

use crate::read_all;

const PATH_MAX: usize = 4096;
const PAGE: u64 = 4096;
const MOST_KEPT: usize = 128;

/// A thread that waits for an answer.
pub(crate) struct Caller<'a> {
    pub(crate) thread: u32,
    pub(crate) host_proc: BorrowedFd<'a>,
}

thread_local! {
    /// Descriptors of threads seen before. One that is no longer the thread's answers `ESRCH`.
    static THREADS: RefCell<HashMap<u32, Rc<OwnedFd>>> = RefCell::default();
}

impl Caller<'_> {
    /// A string up to its NUL, of at most `PATH_MAX` bytes with it.
    pub(crate) fn string(&self, address: u64) -> Result<Vec<u8>> {
        let mut text = Vec::new();
        let mut buffer = [0; 512];
        while text.len() < PATH_MAX {
            let at = address.checked_add(text.len() as u64).ok_or(Errno::FAULT)?;
            // Not over a page's end: what follows may not be mapped.
            let to_page_end = PAGE.saturating_sub(at % PAGE);
            let length = usize::try_from(to_page_end).unwrap_or(usize::MAX).min(buffer.len());
            let chunk = buffer.get_mut(..length).ok_or(Errno::FAULT)?;
            let got = memory::with_ptrace_read(self.thread, at, chunk)?;
            let chunk = chunk.get(..got).ok_or(Errno::FAULT)?;
            if let Some(end) = chunk.iter().position(|&b| b == 0) {
                text.extend_from_slice(chunk.get(..end).unwrap_or_default());
                return if text.len() < PATH_MAX { Ok(text) } else { Err(Errno::NAMETOOLONG) };
            }
            text.extend_from_slice(chunk);
        }
        Err(Errno::NAMETOOLONG)
    }

    /// Exactly as many bytes as the buffer has.
    pub(crate) fn read(&self, address: u64, buffer: &mut [u8]) -> Result<()> {
        let length = buffer.len();
        if length == 0 {
            return Ok(());
        }
        if memory::with_ptrace_read(self.thread, address, buffer)? == length {
            Ok(())
        } else {
            Err(Errno::FAULT)
        }
    }

    pub(crate) fn read_vec(&self, address: u64, length: usize) -> Result<Vec<u8>> {
        let mut bytes = vec![0; length];
        self.read(address, &mut bytes)?;
        Ok(bytes)
    }

    /// A descriptor of the thread, shared: the same description as the thread's own.
    pub(crate) fn descriptor(&self, number: i32) -> Result<OwnedFd> {
        if number < 0 {
            return Err(Errno::BADF);
        }
        let get = |pidfd: &OwnedFd| {
            memory::with_ptrace(|| rustix::process::pidfd_getfd(pidfd, number, PidfdGetfdFlags::empty()))
        };
        match get(&*self.pidfd(false)?) {
            Err(Errno::SRCH) => get(&*self.pidfd(true)?),
            other => other,
        }
    }

    fn pidfd(&self, fresh: bool) -> Result<Rc<OwnedFd>> {
        THREADS.with_borrow_mut(|threads| {
            if !fresh && let Some(known) = threads.get(&self.thread) {
                return Ok(Rc::clone(known));
            }
            if threads.len() >= MOST_KEPT {
                threads.clear();
            }
            match memory::open_thread(self.thread) {
                // Not kept: it goes on being its process's when the thread's number is another one's.
                Err(Errno::INVAL) => self.of_its_leader().map(Rc::new),
                opened => {
                    let opened = Rc::new(opened?);
                    threads.insert(self.thread, Rc::clone(&opened));
                    Ok(opened)
                }
            }
        })
    }

    /// A descriptor of the thread's process, which has the same descriptors. What kernels before 6.9 have.
    fn of_its_leader(&self) -> Result<OwnedFd> {
        let leader = self.status()?.process()?;
        match memory::with_ptrace(|| memory::share_descriptors(self.thread, leader))? {
            true => memory::open_thread(leader),
            false => Err(Errno::INVAL),
        }
    }

    pub(crate) fn working_directory(&self) -> Result<OwnedFd> {
        self.proc("cwd", OFlags::PATH)
    }

    pub(crate) fn proc(&self, name: &str, flags: OFlags) -> Result<OwnedFd> {
        let path = format!("{}/{name}", self.thread);
        memory::with_ptrace(|| {
            rustix::fs::openat(self.host_proc, path.as_str(), flags | OFlags::CLOEXEC, Mode::empty())
        })
    }

    /// What `status` says now.
    pub(crate) fn status(&self) -> Result<Status> {
        Ok(Status(read_all(self.proc("status", OFlags::RDONLY)?.as_fd())?))
    }

    /// The field of `stat` with this number, as in its manual (3 is the state).
    pub(crate) fn stat_field(&self, number: usize) -> Result<i64> {
        stat_field(&read_all(self.proc("stat", OFlags::RDONLY)?.as_fd())?, number)
    }
}

/// A field of a process's `stat` file, counted from 1; from 3 on.
pub(crate) fn stat_field(text: &[u8], number: usize) -> Result<i64> {
    // The name, in parentheses, may hold anything.
    let after = text.iter().rposition(|&b| b == b')').ok_or(Errno::SRCH)?;
    let mut fields = text.get(after..).unwrap_or_default().split(|&b| b == b' ').skip(1);
    let field = fields.nth(number.saturating_sub(3)).ok_or(Errno::SRCH)?;
    std::str::from_utf8(field).ok().and_then(|text| text.trim().parse().ok()).ok_or(Errno::SRCH)
}

/// A thread's `status` file.
pub(crate) struct Status(Vec<u8>);

impl Status {
    fn field(&self, name: &str) -> Option<&str> {
        self.0.split(|&b| b == b'\n').find_map(|line| {
            let value = line.strip_prefix(name.as_bytes())?.strip_prefix(b":")?;
            std::str::from_utf8(value).ok().map(str::trim)
        })
    }

    pub(crate) fn umask(&self) -> Mode {
        let mask = self.field("Umask").and_then(|text| u32::from_str_radix(text, 8).ok());
        // What cannot be told is masked.
        Mode::from_raw_mode(mask.unwrap_or(0o777))
    }

    /// The process's number where we are.
    pub(crate) fn process(&self) -> Result<u32> {
        self.field("Tgid").and_then(|text| text.parse().ok()).ok_or(Errno::SRCH)
    }

    /// The numbers of process and thread inside.
    pub(crate) fn inside(&self) -> Result<(u32, u32)> {
        let last = |name| {
            let numbers = self.field(name)?;
            numbers.split_whitespace().next_back()?.parse().ok()
        };
        Option::zip(last("NStgid"), last("NSpid")).ok_or(Errno::SRCH)
    }

    /// Whether another process traces the thread. What cannot be told is so.
    pub(crate) fn is_traced(&self) -> bool {
        self.field("TracerPid") != Some("0")
    }

    /// How many seccomp filters are on the thread.
    pub(crate) fn filters(&self) -> Result<u32> {
        self.field("Seccomp_filters").and_then(|text| text.parse().ok()).ok_or(Errno::OPNOTSUPP)
    }

    /// Whether a signal waits that the thread would handle now.
    pub(crate) fn has_signal(&self) -> bool {
        let set = |name| self.field(name).and_then(|text| u64::from_str_radix(text, 16).ok()).unwrap_or(0);
        (set("SigPnd") | set("ShdPnd")) & !set("SigBlk") & set("SigCgt") != 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn fields_behind_a_name_that_imitates_them() {
        let text = b"7 (a) S 1 2) R 1 7 7 34816 7 4194304";
        assert_eq!(stat_field(text, 7).unwrap(), 34816);
        assert_eq!(stat_field(text, 4).unwrap(), 1);
    }

    #[test]
    fn status_tells_the_mask_and_the_numbers_inside() {
        let status = Status(b"Name:\tx\nUmask:\t0027\nTgid:\t900\nNStgid:\t900\t7\nNSpid:\t901\t8\nSigPnd:\t0000000000000000\nShdPnd:\t0000000000000002\nSigBlk:\t0\nSigCgt:\t0000000000000002\n".to_vec());
        assert_eq!(status.umask(), Mode::from_raw_mode(0o027));
        assert_eq!(status.inside().unwrap(), (7, 8));
        assert_eq!(status.process().unwrap(), 900);
        assert!(status.has_signal());
    }

    #[test]
    fn status_tells_tracers_and_filters_or_the_worse() {
        let status = |text: &[u8]| Status(text.to_vec());
        let told = status(b"TracerPid:\t0\nSeccomp:\t2\nSeccomp_filters:\t3\n");
        assert_eq!((told.is_traced(), told.filters()), (false, Ok(3)));
        assert!(status(b"TracerPid:\t12\n").is_traced());
        assert!(status(b"").is_traced() && status(b"").filters().is_err());
    }

    #[test]
    fn a_mask_that_cannot_be_told_hides_everything() {
        assert_eq!(Status(Vec::new()).umask(), Mode::from_raw_mode(0o777));
    }
}
