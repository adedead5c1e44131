//! The outer supervisor: from the descriptors that the driver left to the parting of the two processes.

use std::{
    io,
    os::fd::{AsFd, OwnedFd},
    path::Path,
};

use chiton_api::{
    control::{Failure, SupervisorReply},
    descriptors,
};
use chiton_sys::{
    process::{self, Fork},
    signal::SignalFd,
    spawn::{fork_into_pid_namespace, inherited},
};
use rustix::{
    net::{AddressFamily, SocketFlags, SocketType},
    process::{Pid, geteuid},
};

use crate::{
    confinement::Confinement,
    counted::Counted,
    hand_over,
    init::{self, Init},
    kernel::Kernel,
    links::{Gate, Links},
    log::Log,
    prologue::{Prologue, Viewed},
    score::Score,
};

const SIGCHLD: i32 = 17;

/// What the driver gives us.
#[derive(Debug)]
pub(crate) struct Papers {
    pub(crate) listener: OwnedFd,
    pub(crate) log: OwnedFd,
    pub(crate) events: OwnedFd,
    pub(crate) exit_file: OwnedFd,
}

/// The whole life of the supervisor.
pub(crate) fn run() -> io::Result<()> {
    let (papers, gate, counted) = match std::env::args_os().nth(2) {
        Some(socket) => {
            let ordered = std::env::args_os().nth(3);
            let ordered = ordered.map(|text| serde_json::from_slice(text.as_encoded_bytes())).transpose()?;
            let (papers, gate) = hand_over::fetch(Path::new(&socket), ordered)?;
            (papers, gate, Counted::of_container())
        }
        None => {
            let gate = Gate { uid: geteuid().as_raw(), inside: false };
            let link = inherited(descriptors::SUPERVISOR_HAND_OVER)?;
            (hand_over::receive(link.as_fd())?, gate, Counted::default())
        }
    };
    let Papers { listener, log, events, exit_file } = papers;
    let links = Links::new(listener, gate)?;
    match Prologue::new(links, Kernel::default()).run()? {
        Some(viewed) => part(viewed, Left { log, events, exit_file, counted }),
        None => Ok(()),
    }
}

/// What the two processes share out.
#[derive(Debug)]
struct Left {
    log: OwnedFd,
    events: OwnedFd,
    exit_file: OwnedFd,
    counted: Counted,
}

/// The two processes part. The one inside has the connections, this one judges; a socket between them
/// carries the listeners of the filters, and shows each when the other is gone.
fn part<C: Confinement>(viewed: Viewed<C>, left: Left) -> io::Result<()> {
    let (ours, inside) =
        rustix::net::socketpair(AddressFamily::UNIX, SocketType::SEQPACKET, SocketFlags::CLOEXEC, None)?;
    match fork_into_pid_namespace()? {
        Fork::Child => {
            drop((ours, left.events));
            let status = u8::from(
                be_init(viewed, inside, Log::new(left.log), (left.exit_file, left.counted)).is_err(),
            );
            process::exit_now(status);
        }
        Fork::Parent(init) => {
            let Viewed { links, confinement, .. } = viewed;
            drop((links, left.log, left.exit_file, inside));
            let served = confinement.judge(ours, init, left.events);
            // Whatever ended it: nothing may run that nobody judges.
            let _ = rustix::process::kill_process(init, rustix::process::Signal::KILL);
            wait_for(init);
            served.map_err(io::Error::other)
        }
    }
}

fn wait_for(init: Pid) {
    let none = rustix::process::WaitOptions::empty();
    while matches!(rustix::process::waitpid(Some(init), none), Err(rustix::io::Errno::INTR)) {}
}

fn be_init<C: Confinement>(
    mut viewed: Viewed<C>,
    partner: OwnedFd,
    log: Log,
    (exit_file, counted): (OwnedFd, Counted),
) -> io::Result<()> {
    process::die_with_parent()?;
    let score = Score::open(viewed.standing.resources.memory.is_some())?;
    process::set_name(c"chiton")?;
    let signals = SignalFd::new(&[SIGCHLD])?;
    viewed.links.set_gate_inside();
    let entered = viewed.confinement.enter(partner.as_fd(), &mut viewed.standing.report);
    let reply = match &entered {
        Ok(()) => SupervisorReply::Viewed(viewed.standing.report.clone()),
        Err(failure) => SupervisorReply::Failed(failure.clone()),
    };
    if let Some(link) = viewed.links.get_mut(viewed.asked_by) {
        link.reply(&reply, Vec::new())?;
    }
    if let Err(failure) = entered {
        viewed.links.flush();
        return Err(io::Error::other::<Failure>(failure));
    }
    Init::new(viewed, init::Papers { signals, partner, log, exit_file, score, counted }).run()
}
