//! Judges every path-naming system call of the agent, and does it on the agent's behalf.
//!
//! A mount over a denied file is gone when somebody replaces the file, and a name that does not exist cannot be
//! mounted over. So each call that names a path waits here (seccomp user notification). Its path is read once,
//! walked from where the caller stands, and the object at its end held by a descriptor; the object is judged
//! by every name it has in the view and by what it is, and the call is done on what is held. The caller gets
//! the result, or the errors of a file that does not exist.
//!
//! Always holds: nothing is looked up twice. What was judged is what is used. No call is left to the kernel but
//! starting a program, which nobody can do for another, and changing the working directory, which gains
//! nothing; both are judged before, and a program again after its start.
//!
//! The server's process must not be under Landlock, or it could not read what the agent's threads ask for, and
//! it must have no capability effective: it can do what the agent can, no more. The filter must be loaded so
//! that a received call is interrupted by a fatal signal only (`WAIT_KILLABLE_RECV`).

mod barred;
mod caller;
mod calls;
mod event;
mod images;
mod judge;
mod object;
mod owners;
mod pool;
mod request;
mod resolve;
mod rules;
mod scan;
mod server;
mod shared;
mod table;
mod view;
mod waits;

pub use event::{Sink, Started, Wanted};
pub use judge::{Unmasked, unmasked};
pub use owners::{Ends, Owner};
pub use rules::{Literal, Rules, Standing};
pub use server::{LookupConfig, Ownership, Server, StartError};
pub use table::notified;

/// The whole of a small file of `/proc`.
fn read_all(fd: impl std::os::fd::AsFd) -> chiton_sys::Result<Vec<u8>> {
    let mut text = Vec::with_capacity(4096);
    loop {
        let used = text.len();
        text.resize(used.saturating_add(4096), 0);
        let got = rustix::io::read(&fd, text.get_mut(used..).unwrap_or_default())?;
        text.truncate(used.saturating_add(got));
        if got == 0 {
            return Ok(text);
        }
    }
}
