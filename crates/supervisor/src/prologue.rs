//! Before there is a first process inside: `Create`, `View`, and what may be asked in between.
//!
//! ```text
//! fresh ──Create──▶ created ──View──▶ viewed: the first process inside takes over
//!   └───── a step that fails, `Stop`, or a minute without any connection: the end ─────┘
//! ```

use std::{
    io,
    time::{Duration, Instant},
};

use chiton_api::control::{
    CreateSandbox, EnforcementReport, FilesystemPolicy, SupervisorReply, SupervisorRequest, SupervisorStatus,
};
use rustix::event::PollFlags;

use crate::{
    confinement::Confinement,
    environment,
    failure::refused,
    link::{LinkId, Role},
    links::Links,
    poll::{self, Interest, Token},
    standing::{Captured, Standing},
};

/// A sandbox that nobody starts, and that nobody is connected to, ends after this.
pub(crate) const ABANDONED: Duration = Duration::from_secs(60);

/// The supervisor before the view stands.
#[derive(Debug)]
pub(crate) struct Prologue<C> {
    links: Links,
    confinement: C,
    created: Option<(CreateSandbox, Captured)>,
    proxied: bool,
}

/// What the first process inside takes over.
#[derive(Debug)]
pub(crate) struct Viewed<C> {
    /// The connections.
    pub(crate) links: Links,
    /// The locks.
    pub(crate) confinement: C,
    /// Who waits for `Viewed`.
    pub(crate) asked_by: LinkId,
    /// The sandbox.
    pub(crate) standing: Standing,
}

/// What a request led to.
enum Next {
    /// On with the next.
    Stay,
    /// The view stands.
    Viewed(LinkId, Box<FilesystemPolicy>, EnforcementReport),
    /// All is over.
    End,
}

impl<C: Confinement> Prologue<C> {
    /// Nothing is made yet.
    pub(crate) fn new(links: Links, confinement: C) -> Self {
        Self { links, confinement, created: None, proxied: false }
    }

    /// Serves until the view stands. None when the sandbox ends before.
    pub(crate) fn run(mut self) -> io::Result<Option<Viewed<C>>> {
        let mut alone_since = Instant::now();
        loop {
            let lonely = self.links.iter().next().is_none();
            let until = lonely.then(|| alone_since + ABANDONED);
            if until.is_some_and(|at| at <= Instant::now()) {
                return Ok(None);
            }
            for (token, _) in poll::wait(&self.interests(), until)? {
                match token {
                    Token::Listener => self.links.accept()?,
                    Token::Link(id) => match self.serve(id) {
                        Next::Stay => {}
                        Next::Viewed(asked_by, policy, report) => {
                            return Ok(self.viewed(asked_by, &policy, report));
                        }
                        Next::End => return Ok(None),
                    },
                    Token::Signals
                    | Token::Partner
                    | Token::News(_)
                    | Token::Input(_)
                    | Token::Output(..) => {}
                }
                alone_since = Instant::now();
            }
            self.flush();
        }
    }

    fn interests(&self) -> Vec<Interest<'_>> {
        use std::os::fd::AsFd;
        let links =
            self.links.iter().map(|(id, link)| (Token::Link(id), link.as_fd(), Links::interest(link, true)));
        let listener = self.links.listener().map(|fd| (Token::Listener, fd, PollFlags::IN));
        links.chain(listener).collect()
    }

    fn flush(&mut self) {
        for id in self.links.flush().0 {
            self.links.close(id);
        }
    }

    fn serve(&mut self, id: LinkId) -> Next {
        let Some(link) = self.links.get_mut(id) else { return Next::Stay };
        if link.fill().is_err() {
            self.links.close(id);
            return Next::Stay;
        }
        loop {
            let Some(link) = self.links.get_mut(id) else { return Next::Stay };
            let next = match link.next_request() {
                Ok(Some(request)) => self.answer(id, request),
                Ok(None) => return Next::Stay,
                Err(e) => Err(e),
            };
            match next {
                Ok(Next::Stay) => {}
                Ok(next) => return next,
                Err(_) => {
                    self.links.close(id);
                    return Next::Stay;
                }
            }
        }
    }

    fn answer(&mut self, id: LinkId, request: SupervisorRequest) -> io::Result<Next> {
        let Some(link) = self.links.get_mut(id) else { return Ok(Next::Stay) };
        match request {
            SupervisorRequest::Create(_) if self.created.is_some() => {
                link.refuse(refused("the sandbox was already created"))?;
            }
            SupervisorRequest::Create(sandbox) => return self.create(id, sandbox),
            SupervisorRequest::View(policy) => return self.view(id, policy),
            SupervisorRequest::Listeners => match &self.created {
                Some((_, captured)) => captured.send(link)?,
                None => link.refuse(refused("the sandbox has no listeners before it was created"))?,
            },
            SupervisorRequest::ProxyAttached if self.created.is_some() => {
                self.proxied = true;
                link.reply(&SupervisorReply::Done, Vec::new())?;
            }
            SupervisorRequest::Status => {
                let status = SupervisorStatus { report: None, started: false, exit: None };
                link.reply(&SupervisorReply::Status(status), Vec::new())?;
            }
            SupervisorRequest::Stop { .. } => {
                link.refuse(refused("the sandbox ends before its program was started"))?;
                self.flush();
                return Ok(Next::End);
            }
            SupervisorRequest::ProxyAttached
            | SupervisorRequest::Launch(_)
            | SupervisorRequest::Attach
            | SupervisorRequest::Wait
            | SupervisorRequest::Signal(_) => {
                link.refuse(refused("the sandbox has no view of the filesystem yet: send `View` first"))?;
            }
        }
        Ok(Next::Stay)
    }

    fn create(&mut self, id: LinkId, sandbox: CreateSandbox) -> io::Result<Next> {
        let before = rustix::process::geteuid();
        let made = self.confinement.create(&sandbox);
        let Some(link) = self.links.get_mut(id) else { return Ok(Next::End) };
        match made {
            Ok((listeners, descriptors)) => {
                let captured = Captured { listeners, descriptors };
                captured.send(link)?;
                self.links.set_gate_entered(before);
                self.created = Some((sandbox, captured));
                Ok(Next::Stay)
            }
            Err(failure) => {
                link.refuse(failure)?;
                self.flush();
                Ok(Next::End)
            }
        }
    }

    fn view(&mut self, id: LinkId, policy: Box<FilesystemPolicy>) -> io::Result<Next> {
        let made = if self.created.is_some() {
            self.confinement.view(&policy)
        } else {
            Err(refused("the sandbox was not created yet: send `Create` first"))
        };
        let Some(link) = self.links.get_mut(id) else { return Ok(Next::End) };
        match made {
            Ok(report) => {
                link.role = Role::Pending;
                Ok(Next::Viewed(id, policy, report))
            }
            Err(failure) => {
                link.refuse(failure)?;
                self.flush();
                Ok(Next::End)
            }
        }
    }

    fn viewed(
        self,
        asked_by: LinkId,
        policy: &FilesystemPolicy,
        report: EnforcementReport,
    ) -> Option<Viewed<C>> {
        let (sandbox, captured) = self.created?;
        let environment = environment::of_sandbox(
            &sandbox.name,
            &policy.image_env,
            self.confinement.variables(),
            &policy.env,
        );
        let directory = environment::working_directory(policy);
        let proxied = self.proxied;
        let resources = self.confinement.resources();
        let standing = Standing { captured, proxied, report, environment, resources, directory };
        Some(Viewed { links: self.links, confinement: self.confinement, asked_by, standing })
    }
}
