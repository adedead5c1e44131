//! How programs end: each is reaped and its sessions are told; with the main program everything ends.

use std::{
    io,
    time::{Duration, Instant},
};

use chiton_api::{
    control::{Exit, SupervisorReply},
    frame::SessionKind,
};
use rustix::{
    io::Errno,
    process::{Pid, Signal, WaitOptions, WaitStatus},
};

use crate::{
    confinement::Confinement,
    init::{Init, Main},
    link::Role,
    program::{Phase, ProgramId},
};

/// Between the end of a program's time and the death of everything.
const GRACE: Duration = Duration::from_secs(10);

impl<C: Confinement> Init<C> {
    /// Reaps every process that has ended: programs, and the orphans that fell to the first process.
    pub(crate) fn reap(&mut self) -> io::Result<()> {
        while self.papers.signals.next()?.is_some() {}
        loop {
            match rustix::process::wait(WaitOptions::NOHANG) {
                Ok(Some((pid, status))) => self.reaped(pid, status),
                Ok(None) | Err(Errno::INTR) => return Ok(()),
                Err(Errno::CHILD) => break,
                Err(e) => return Err(e.into()),
            }
        }
        if let Main::Ending(main, exit) = self.main {
            self.end(main, exit);
        }
        Ok(())
    }

    fn reaped(&mut self, pid: Pid, status: WaitStatus) {
        let running = |phase: &Phase| !matches!(phase, Phase::Told);
        let found = self.programs.iter().find(|(_, p)| p.pid == pid && running(&p.phase));
        let Some((&id, _)) = found else { return };
        self.hear(id);
        let exit = exit_of(status);
        match self.main {
            Main::Running(main) if main == id => {
                self.main = Main::Ending(id, exit);
                (self.deadline, self.curfew) = (None, None);
                self.kill_everything();
            }
            Main::NotStarted | Main::Running(_) | Main::Ending(..) | Main::Ended(..) => self.tell(id, exit),
        }
    }

    /// The main program has had its `wall_time`: it is asked to end, and everything is killed a little later.
    pub(crate) fn time_is_over(&mut self, now: Instant) {
        self.curfew = None;
        self.limits.wall_time = true;
        if let Main::Running(main) = self.main
            && let Some(program) = self.programs.get(&main)
        {
            // What cannot be signalled is killed at the deadline.
            let _ = program.signal(Signal::TERM);
        }
        let at = now + GRACE;
        self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at)));
    }

    /// Everything but the first process itself is killed; without a pid namespace of its own, nothing is.
    pub(crate) fn kill_everything(&self) {
        if rustix::process::getpid() == Pid::INIT {
            // The group of number 1 is, for the kernel, everyone that may be signalled.
            let _ = rustix::process::kill_process_group(Pid::INIT, Signal::KILL);
        } else {
            for program in self.programs.values().filter(|p| !matches!(p.phase, Phase::Told)) {
                let _ = rustix::process::kill_process(program.pid, Signal::KILL);
            }
        }
    }

    /// The end of a program: the rest of its output, then `Exit`, to each session.
    fn tell(&mut self, id: ProgramId, exit: Exit) {
        let Some(program) = self.programs.get_mut(&id) else { return };
        program.phase = Phase::Told;
        for (kind, words) in program.last_words() {
            self.deliver(id, kind, &words);
        }
        let Some(program) = self.programs.get_mut(&id) else { return };
        let sessions = std::mem::take(&mut program.sessions);
        let payload = serde_json::to_vec(&exit).unwrap_or_default();
        for session in sessions {
            let Some(link) = self.links.get_mut(session) else { continue };
            if link.push_frame(SessionKind::Exit, &payload).is_ok() {
                link.role = Role::Closing;
            } else {
                self.links.close(session);
            }
        }
    }

    /// The main program has ended and nothing else is left: its end is written down, then told.
    fn end(&mut self, main: ProgramId, exit: Exit) {
        // First: what follows opens files and sends, and whoever has no memory for that is killed.
        self.papers.score.release();
        let exit = Exit { limits: self.limits.and(self.papers.counted.hit()), ..exit };
        self.tell(main, exit);
        let line = serde_json::to_vec(&exit).unwrap_or_default();
        let _ = rustix::io::write(&self.papers.exit_file, &line);
        self.main = Main::Ended(exit, Instant::now());
        for id in self.links.in_role(Role::Waiting) {
            let told =
                self.links.get_mut(id).map(|link| link.reply(&SupervisorReply::Exited(exit), Vec::new()));
            if matches!(told, Some(Err(_))) {
                self.forget(id);
            }
        }
    }
}

/// A program's own status, or 128+N for signal N.
fn exit_of(status: WaitStatus) -> Exit {
    let code = status.exit_status().or_else(|| status.terminating_signal().map(|n| 128 + n));
    Exit::of(code.and_then(|code| u8::try_from(code).ok()).unwrap_or(255))
}
