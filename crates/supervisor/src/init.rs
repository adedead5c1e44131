//! The first process inside: launches, reaps, carries terminals, serves the gateway's connections.
//!
//! One loop over everything that can happen, which never blocks on one of them: a client that is slow or
//! gone stops its own program's output at most, and no other session.

use std::{
    collections::BTreeMap,
    io,
    os::fd::{AsFd, OwnedFd},
    time::{Duration, Instant},
};

use chiton_api::{
    control::{Exit, LimitsHit, SupervisorReply, TerminalSize},
    frame::{MAX_SESSION_PAYLOAD, SessionKind},
};
use chiton_sys::signal::SignalFd;
use rustix::{event::PollFlags, process::Signal};

use crate::{
    confinement::Confinement,
    counted::Counted,
    launch::{self, News},
    link::{Filled, HIGH_WATER, LinkId, Role},
    links::Links,
    log::Log,
    poll::{self, Interest, Token},
    program::{Phase, Piece, Program, ProgramId},
    prologue::{ABANDONED, Viewed},
    score::Score,
    standing::Standing,
};

/// A session that has this much to take while another one keeps up is cut.
const LAGGARD: usize = 4 << 20;
/// After the end, a client that takes nothing for this long does not hear the rest.
const LINGER: Duration = Duration::from_secs(10);

/// What is handed to the first process inside beside the connections.
#[derive(Debug)]
pub(crate) struct Papers {
    /// SIGCHLD.
    pub(crate) signals: SignalFd,
    /// Readable when the other half of the supervisor is gone.
    pub(crate) partner: OwnedFd,
    /// The main program's log.
    pub(crate) log: Log,
    /// Where its end is written.
    pub(crate) exit_file: OwnedFd,
    /// Its own, and the programs'.
    pub(crate) score: Score,
    /// What a container's own groups count.
    pub(crate) counted: Counted,
}

/// How far the main program is.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Main {
    /// It was not started yet.
    NotStarted,
    /// It runs.
    Running(ProgramId),
    /// It has ended; the others are being killed.
    Ending(ProgramId, Exit),
    /// All have ended, and everybody was told; the rest is on its way since then.
    Ended(Exit, Instant),
}

/// The first process.
#[derive(Debug)]
pub(crate) struct Init<C> {
    pub(crate) links: Links,
    pub(crate) standing: Standing,
    pub(crate) confinement: C,
    pub(crate) papers: Papers,
    pub(crate) programs: BTreeMap<ProgramId, Program>,
    pub(crate) last_program: u64,
    pub(crate) main: Main,
    /// When everything is killed after a `Stop`, or after the end of its time.
    pub(crate) deadline: Option<Instant>,
    /// When the main program's time is over.
    pub(crate) curfew: Option<Instant>,
    /// Which limits were run into.
    pub(crate) limits: LimitsHit,
    pub(crate) over: bool,
    alone_since: Instant,
    buffer: Vec<u8>,
}

impl<C: Confinement> Init<C> {
    /// Takes over.
    pub(crate) fn new(viewed: Viewed<C>, papers: Papers) -> Self {
        Self {
            links: viewed.links,
            standing: viewed.standing,
            confinement: viewed.confinement,
            papers,
            programs: BTreeMap::new(),
            last_program: 0,
            main: Main::NotStarted,
            deadline: None,
            curfew: None,
            limits: LimitsHit::default(),
            over: false,
            alone_since: Instant::now(),
            buffer: vec![0; MAX_SESSION_PAYLOAD],
        }
    }

    /// Serves until the main program has ended and everybody was told, or until the other half is gone.
    pub(crate) fn run(&mut self) -> io::Result<()> {
        self.settle();
        while !self.over {
            for (token, flags) in poll::wait(&self.interests(), self.until())? {
                self.handle(token, flags)?;
            }
            self.check_clock();
            self.settle();
        }
        Ok(())
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        let mut all: Vec<Interest<'_>> = Vec::new();
        for (&id, program) in &self.programs {
            if let Phase::Starting { news, .. } = &program.phase {
                all.push((Token::News(id), news.as_fd(), PollFlags::IN));
            } else if self.has_room(program) {
                all.extend(program.outputs().map(|(kind, fd)| (Token::Output(id, kind), fd, PollFlags::IN)));
            }
            all.extend(program.input_waiting().map(|fd| (Token::Input(id), fd, PollFlags::OUT)));
        }
        for (id, link) in self.links.iter() {
            let flags = Links::interest(link, self.may_read(link.role));
            all.push((Token::Link(id), link.as_fd(), flags));
        }
        all.extend(self.links.listener().map(|fd| (Token::Listener, fd, PollFlags::IN)));
        all.push((Token::Signals, self.papers.signals.as_fd(), PollFlags::IN));
        all.push((Token::Partner, self.papers.partner.as_fd(), PollFlags::IN));
        all
    }

    fn until(&self) -> Option<Instant> {
        let alone = matches!(self.main, Main::NotStarted) && self.links.iter().next().is_none();
        let idle = alone.then(|| self.alone_since + ABANDONED);
        let linger = if let Main::Ended(_, since) = self.main { Some(since + LINGER) } else { None };
        [self.deadline, self.curfew, idle, linger].into_iter().flatten().min()
    }

    fn check_clock(&mut self) {
        let now = Instant::now();
        if self.deadline.is_some_and(|at| at <= now) {
            self.deadline = None;
            self.kill_everything();
        } else if self.curfew.is_some_and(|at| at <= now) {
            self.time_is_over(now);
        } else if self.until().is_some_and(|at| at <= now) {
            self.over = true;
        }
        if self.links.iter().next().is_some() {
            self.alone_since = now;
        }
    }

    fn handle(&mut self, token: Token, flags: PollFlags) -> io::Result<()> {
        match token {
            Token::News(id) => self.hear(id),
            Token::Output(id, kind) => self.pump(id, kind),
            Token::Input(id) => {
                if let Some(program) = self.programs.get_mut(&id) {
                    program.write_input();
                }
            }
            Token::Link(id) => self.serve(id, flags),
            Token::Listener => self.links.accept()?,
            Token::Signals => self.reap()?,
            // Without its other half the sandbox has nobody who judges: everything ends.
            Token::Partner => self.over = true,
        }
        Ok(())
    }

    /// Whether a program's output has somewhere to go: one session that keeps up is enough.
    fn has_room(&self, program: &Program) -> bool {
        let mut sessions = program.sessions.iter().filter_map(|id| self.links.get(*id)).peekable();
        sessions.peek().is_none() || sessions.any(|link| link.queued() < HIGH_WATER)
    }

    fn may_read(&self, role: Role) -> bool {
        match role {
            Role::Session(id) => self.programs.get(&id).is_none_or(Program::takes_input),
            Role::Control | Role::Pending | Role::Waiting | Role::Closing => true,
        }
    }

    /// Whether a program came to run.
    pub(crate) fn hear(&mut self, id: ProgramId) {
        let Some(program) = self.programs.get_mut(&id) else { return };
        let Phase::Starting { news, asked_by, attach } = &program.phase else { return };
        let (asked_by, attach) = (*asked_by, *attach);
        let link = self.links.get_mut(asked_by);
        match launch::read_news(news) {
            News::Nothing => {}
            News::Runs => {
                program.phase = Phase::Running;
                if program.main {
                    self.curfew =
                        self.standing.resources.wall_time.and_then(|time| Instant::now().checked_add(time.0));
                }
                let told = link.map(|link| {
                    link.reply(&SupervisorReply::Launched, Vec::new())?;
                    link.role = if attach { Role::Session(id) } else { Role::Control };
                    io::Result::Ok(())
                });
                if attach {
                    program.sessions.insert(asked_by);
                }
                if !matches!(told, Some(Ok(()))) {
                    self.forget(asked_by);
                    self.leave(id, asked_by);
                }
                self.read_on(asked_by);
            }
            News::Failed(failure) => {
                self.programs.remove(&id);
                if matches!(self.main, Main::Running(main) if main == id) {
                    self.main = Main::NotStarted;
                }
                if link.is_some_and(|link| link.refuse(failure).is_err()) {
                    self.forget(asked_by);
                }
            }
        }
    }

    fn pump(&mut self, id: ProgramId, kind: SessionKind) {
        let mut buffer = std::mem::take(&mut self.buffer);
        if let Some(program) = self.programs.get_mut(&id)
            && let Piece::Bytes(n) = program.read(kind, &mut buffer)
        {
            self.deliver(id, kind, buffer.get(..n).unwrap_or_default());
        }
        self.buffer = buffer;
    }

    /// One piece of a program's output, to its log and its sessions.
    pub(crate) fn deliver(&mut self, id: ProgramId, kind: SessionKind, payload: &[u8]) {
        let Some(program) = self.programs.get(&id) else { return };
        if program.main {
            self.papers.log.keep(kind, payload);
        }
        let alone = program.sessions.len() == 1;
        let mut lost = Vec::new();
        for &session in &program.sessions {
            let Some(link) = self.links.get_mut(session) else { continue };
            let failed = link.push_frame(kind, payload).is_err();
            if failed || (!alone && link.queued() > LAGGARD) {
                lost.push(session);
            }
        }
        lost.into_iter().for_each(|session| self.forget(session));
    }

    fn serve(&mut self, id: LinkId, flags: PollFlags) {
        if !flags.intersects(PollFlags::IN | PollFlags::HUP | PollFlags::ERR) {
            return;
        }
        let Some(link) = self.links.get_mut(id) else { return };
        let filled = link.fill();
        self.read_on(id);
        match filled {
            Ok(Filled::More) => {}
            Ok(Filled::End) if !flags.contains(PollFlags::HUP) => self.half_closed(id),
            Ok(Filled::End) | Err(_) => self.forget(id),
        }
    }

    /// The peer sends no more, but still listens.
    fn half_closed(&mut self, id: LinkId) {
        if let Some(Role::Session(program)) = self.links.get(id).map(|link| link.role)
            && let Some(program) = self.programs.get_mut(&program)
        {
            program.feed(&[]);
        }
    }

    /// Reads on in what has come on a connection, as far as its role lets it.
    fn read_on(&mut self, id: LinkId) {
        while let Some(link) = self.links.get_mut(id) {
            let went = match link.role {
                Role::Control => match link.next_request() {
                    Ok(Some(request)) => self.answer(id, request).map(|()| true),
                    other => other.map(|_| false),
                },
                Role::Session(program) => self.session_frame(id, program),
                Role::Pending | Role::Waiting | Role::Closing => Ok(false),
            };
            match went {
                Ok(true) => {}
                Ok(false) => return,
                Err(_) => return self.forget(id),
            }
        }
    }

    fn session_frame(&mut self, id: LinkId, program: ProgramId) -> io::Result<bool> {
        let program = self.programs.get_mut(&program);
        if program.as_ref().is_some_and(|p| !p.takes_input()) {
            return Ok(false);
        }
        let Some(link) = self.links.get_mut(id) else { return Ok(false) };
        let Some((kind, payload)) = link.next_frame()? else { return Ok(false) };
        let Some(program) = program else { return Ok(true) };
        match (kind, payload.as_slice()) {
            (SessionKind::Stdin, bytes) => program.feed(bytes),
            (SessionKind::Resize, &[a, b, c, d]) => {
                let size =
                    TerminalSize { rows: u16::from_be_bytes([a, b]), columns: u16::from_be_bytes([c, d]) };
                program.resize(size)?;
            }
            (SessionKind::Signal, &[number]) => {
                let signal = Signal::from_named_raw(i32::from(number)).ok_or(io::ErrorKind::InvalidData)?;
                program.signal(signal)?;
            }
            (
                SessionKind::Resize
                | SessionKind::Signal
                | SessionKind::Stdout
                | SessionKind::Stderr
                | SessionKind::Exit
                | SessionKind::Refusals,
                _,
            ) => return Err(io::ErrorKind::InvalidData.into()),
        }
        Ok(true)
    }

    /// Closes a connection; if it was a session, its program has one less.
    pub(crate) fn forget(&mut self, id: LinkId) {
        if let Some(Role::Session(program)) = self.links.close(id) {
            self.leave(program, id);
        }
    }

    fn leave(&mut self, program: ProgramId, session: LinkId) {
        if let Some(program) = self.programs.get_mut(&program) {
            program.leave(session);
        }
    }

    /// At the end of each turn: sends what can be sent, and reads on where there is room again.
    fn settle(&mut self) {
        for id in self.links.in_any_session() {
            self.read_on(id);
        }
        let (over, sent) = self.links.flush();
        over.into_iter().for_each(|id| self.forget(id));
        self.programs.retain(|_, program| !program.is_over());
        if let Main::Ended(_, since) = &mut self.main {
            if sent > 0 {
                *since = Instant::now();
            }
            self.over |= self.links.queued() == 0;
        }
    }
}
