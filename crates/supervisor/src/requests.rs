//! The gateway's requests, once the view stands.

use std::{
    io,
    os::fd::AsFd,
    time::{Duration, Instant},
};

use chiton_api::control::{Failure, Launch, SupervisorReply, SupervisorRequest, SupervisorStatus};
use rustix::process::Signal;

use crate::{
    confinement::Confinement,
    environment,
    failure::{ours, refused},
    init::{Init, Main},
    launch::{self, Order},
    link::{LinkId, Role},
    program::{Phase, Program, ProgramId},
};

impl<C: Confinement> Init<C> {
    /// Answers a request, now or when it can be answered.
    pub(crate) fn answer(&mut self, id: LinkId, request: SupervisorRequest) -> io::Result<()> {
        let answer = match request {
            SupervisorRequest::Create(_) | SupervisorRequest::View(_) => {
                Err(refused("the sandbox already has its view of the filesystem"))
            }
            SupervisorRequest::ProxyAttached => {
                self.standing.proxied = true;
                Ok(Some(SupervisorReply::Done))
            }
            SupervisorRequest::Listeners => {
                return self.links.get_mut(id).map_or(Ok(()), |link| self.standing.captured.send(link));
            }
            SupervisorRequest::Launch(launch) => self.launch(id, &launch).map(|()| None),
            SupervisorRequest::Attach => self.attach(id).map(|()| None),
            SupervisorRequest::Wait => Ok(self.wait(id)),
            SupervisorRequest::Signal(number) => self.signal(number).map(Some),
            SupervisorRequest::Stop { grace_ms } => self.stop(id, Duration::from_millis(grace_ms)),
            SupervisorRequest::Status => Ok(Some(SupervisorReply::Status(self.status()))),
        };
        let Some(link) = self.links.get_mut(id) else { return Ok(()) };
        match answer {
            Ok(Some(reply)) => link.reply(&reply, Vec::new()),
            Ok(None) => Ok(()),
            Err(failure) => link.refuse(failure),
        }
    }

    /// Starts a program; whether it came to run is heard later.
    fn launch(&mut self, asked_by: LinkId, launch: &Launch) -> Result<(), Failure> {
        self.check_launch(launch.main)?;
        let mut variables = self.standing.environment.clone();
        variables.extend(launch.terminal.map(|_| ("TERM".to_owned(), "xterm-256color".to_owned())));
        variables = environment::with(&variables, &launch.env);
        let directory = launch.cwd.clone().unwrap_or_else(|| self.standing.directory.clone());
        let order = Order { launch, environment: &variables, directory: &directory };
        let (confinement, partner) = (&self.confinement, self.papers.partner.as_fd());
        let started = self.papers.score.of_programs(|| launch::start(&order, confinement, partner));
        let started = started.map_err(|e| ours("cannot set who is killed when memory runs out", &e))??;
        self.last_program += 1;
        let id = ProgramId(self.last_program);
        let phase = Phase::Starting { news: started.news, asked_by, attach: launch.attach };
        self.programs.insert(id, Program::new(started.pid, launch.main, phase, started.streams));
        if launch.main {
            self.main = Main::Running(id);
        }
        if let Some(link) = self.links.get_mut(asked_by) {
            link.role = Role::Pending;
        }
        Ok(())
    }

    fn check_launch(&self, main: bool) -> Result<(), Failure> {
        match (self.main, main) {
            (Main::NotStarted, true) if !self.standing.proxied => {
                Err(refused("no proxy is attached: nothing starts without the only way out"))
            }
            (Main::NotStarted, true) | (Main::Running(_), false) => Ok(()),
            (Main::NotStarted, false) => Err(refused("the sandbox's own program was not started yet")),
            (Main::Running(_), true) => Err(refused("the sandbox's own program already runs")),
            (Main::Ending(..) | Main::Ended(..), _) => Err(refused("the sandbox's own program has ended")),
        }
    }

    fn attach(&mut self, id: LinkId) -> Result<(), Failure> {
        let Main::Running(main) = self.main else {
            return Err(refused("the sandbox's own program does not run"));
        };
        let Some(program) = self.programs.get_mut(&main).filter(|p| matches!(p.phase, Phase::Running)) else {
            return Err(refused("the sandbox's own program is only being started"));
        };
        if let Some(link) = self.links.get_mut(id)
            && link.reply(&SupervisorReply::Launched, Vec::new()).is_ok()
        {
            link.role = Role::Session(main);
            program.sessions.insert(id);
        }
        Ok(())
    }

    fn wait(&mut self, id: LinkId) -> Option<SupervisorReply> {
        if let Main::Ended(exit, _) = self.main {
            return Some(SupervisorReply::Exited(exit));
        }
        if let Some(link) = self.links.get_mut(id) {
            link.role = Role::Waiting;
        }
        None
    }

    fn signal(&mut self, number: i32) -> Result<SupervisorReply, Failure> {
        let signal = Signal::from_named_raw(number).ok_or_else(|| refused("there is no such signal"))?;
        if let Main::Running(main) = self.main
            && let Some(program) = self.programs.get(&main)
        {
            program.signal(signal).map_err(|e| ours("cannot send the signal", &e))?;
            return Ok(SupervisorReply::Done);
        }
        Err(refused("the sandbox's own program does not run"))
    }

    fn stop(&mut self, id: LinkId, grace: Duration) -> Result<Option<SupervisorReply>, Failure> {
        match self.main {
            Main::NotStarted => {
                self.over = true;
                Err(refused("the sandbox ends before its program was started"))
            }
            Main::Running(_) => {
                self.signal(Signal::TERM.as_raw())?;
                let at = Instant::now() + grace;
                self.deadline = Some(self.deadline.map_or(at, |earlier| earlier.min(at)));
                Ok(self.wait(id))
            }
            Main::Ending(..) | Main::Ended(..) => Ok(self.wait(id)),
        }
    }

    fn status(&self) -> SupervisorStatus {
        let exit = if let Main::Ended(exit, _) = self.main { Some(exit) } else { None };
        let started = !matches!(self.main, Main::NotStarted);
        SupervisorStatus { report: Some(self.standing.report.clone()), started, exit }
    }
}
