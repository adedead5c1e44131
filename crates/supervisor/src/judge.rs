//! The outer half after the parting: judges lookups until init has ended.

use std::os::fd::{AsFd, OwnedFd};

use chiton_api::control::Failure;
use chiton_confine::{locks, view::Step};
use chiton_lookup::{LookupConfig, Server};
use chiton_sys::capability::CapabilitySet;
use rustix::{
    event::{PollFd, PollFlags},
    fs::{Mode, OFlags},
    io::Errno,
    process::{Pid, PidfdFlags},
    thread::CapabilitySets,
};

use crate::{
    events::Events,
    failure::{ours, refused, status},
    kernel::Prepared,
    owners::Owners,
    partner::{self, Message},
    standings::Standings,
};

/// Init's number inside.
const INIT: u32 = 1;

/// The host's `/proc`, while it is still in sight.
pub(crate) fn host_proc() -> Result<OwnedFd, Failure> {
    folder("/proc")
}

fn folder(path: &str) -> Result<OwnedFd, Failure> {
    let flags = OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC;
    rustix::fs::open(path, flags, Mode::empty())
        .map_err(|e| ours("cannot open a folder of the view", &e.into()))
}

/// Serves until init has ended.
pub(crate) fn judge(
    prepared: (Prepared, Owners),
    partner: &OwnedFd,
    init: Pid,
    events: OwnedFd,
) -> Result<(), Failure> {
    let gone = rustix::process::pidfd_open(init, PidfdFlags::empty())
        .map_err(|e| ours("cannot hold the first process inside", &e.into()))?;
    let (prepared, owners) = prepared;
    // While init goes into its view.
    let events = Events::resume(&prepared.sandbox.name, events);
    let Some(Message::Entered) = partner::receive(partner.as_fd())? else {
        return Err(refused("the first process inside did not come to its view"));
    };
    let server = match events.and_then(|events| server(prepared, events)) {
        Ok(server) => server,
        Err(failure) => return tell(failure, partner, &gone),
    };
    partner::send(partner.as_fd(), &Message::Judging)?;
    // While init goes on, and before any program's listener is taken.
    server.begin().map_err(|e| status(125, e.to_string()))?;
    let mut owners = Some(owners);
    loop {
        let mut fds = vec![PollFd::new(&gone, PollFlags::IN), PollFd::new(partner, PollFlags::IN)];
        fds.extend(owners.as_ref().map(|owners| PollFd::new(owners, PollFlags::IN)));
        match rustix::event::poll(&mut fds, None) {
            Ok(_) | Err(Errno::INTR) => {}
            Err(e) => return Err(ours("cannot wait for lookups", &e.into())),
        }
        let mut ready = fds.into_iter().map(|fd| !fd.revents().is_empty());
        let (ended, spoken, asked) = (ready.next(), ready.next(), ready.next());
        if ended == Some(true) {
            return Ok(());
        }
        // Most sandboxes have no rule that asks.
        if asked == Some(true) {
            owners = owners.and_then(|owners| owners.serve(server.ownership()));
        }
        if spoken != Some(true) {
            continue;
        }
        match partner::receive(partner.as_fd())? {
            Some(Message::Listener(listener)) => {
                // Where it cannot, the one program ends, and it is in the log.
                let _ended = server.add_listener(listener);
            }
            Some(Message::Entered | Message::Judging | Message::Failed(_)) => {
                return Err(refused("the first process inside said what it cannot say"));
            }
            // Every process inside is about to end.
            None => return Ok(()),
        }
    }
}

/// Init passes the reason on to who asked, and ends.
fn tell(failure: Failure, partner: &OwnedFd, gone: &OwnedFd) -> Result<(), Failure> {
    partner::send(partner.as_fd(), &Message::Failed(failure.clone()))?;
    let soon = rustix::event::Timespec { tv_sec: 2, tv_nsec: 0 };
    let _ = rustix::event::poll(&mut [PollFd::new(gone, PollFlags::IN)], Some(&soon));
    Err(failure)
}

/// The judge itself, in a process that can do no more than the agent.
fn server(prepared: Prepared, events: Events) -> Result<Server, Failure> {
    let Prepared { plan, rules, host_proc, .. } = prepared;
    let fail = |e: &dyn std::fmt::Display| status(125, e.to_string());
    let live: Vec<_> = plan.folders.folders.iter().map(|folder| folder.inside.clone()).collect();
    // While this process may still mount.
    let unmasked = chiton_lookup::unmasked(&live)
        .map_err(|e| ours("cannot see the folders without the masks in them", &e.into()))?;
    locks::apply_to_outer(CapabilitySet::SYS_PTRACE).map_err(|e| fail(&e))?;
    // Permitted, for the moment in which a process that hides from its own user must be read; not effective.
    let held = CapabilitySets {
        effective: CapabilitySet::empty(),
        permitted: CapabilitySet::SYS_PTRACE,
        inheritable: CapabilitySet::empty(),
    };
    rustix::thread::set_capabilities(None, held)
        .map_err(|e| ours("cannot give up the supervisor's capabilities", &e.into()))?;
    let private = plan.view.iter().filter_map(|step| match step {
        Step::Memory { path, .. } | Step::MemoryPart { path, .. } => Some(path.clone()),
        _ => None,
    });
    let blocked = plan.seccomp.calls.keys().copied().filter(|number| plan.seccomp.is_blocked(*number));
    let config = LookupConfig {
        rules: Box::new(Standings::new(rules.files()?)),
        host_proc,
        root: folder("/")?,
        live,
        private: private.collect(),
        supervisor: Some(INIT),
        blocked: blocked.collect(),
        sink: Box::new(events),
    };
    Server::with_unmasked(config, unmasked).map_err(|e| fail(&e))
}
