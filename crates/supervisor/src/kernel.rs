//! The confinement by this kernel: the stages of `chiton-confine` and the judgement of `chiton-lookup`, each
//! in the process and at the moment where it belongs.

use std::os::fd::{BorrowedFd, OwnedFd};

use chiton_api::control::{
    CreateSandbox, EnforcementReport, Failure, FilesystemPolicy, Identity, LayerReport, Listeners,
};
use chiton_confine::{
    ConfinementPlan, Entered, HostFacts, PlanInputs,
    capture::{self, CapturedListeners},
    locks::{self, AgentLocks},
    namespaces,
    plan::{System, folders, plan},
    view::View,
};
use chiton_policy::model::Resources;
use rustix::process::Pid;

use crate::{
    confinement::Confinement,
    environment::Environment,
    failure::{refused, status},
    ids, judge,
    owners::Owners,
    partner::{self, Message},
    report,
    rules::Rules,
};

/// How far the confinement is.
#[derive(Debug, Default)]
pub(crate) enum Kernel {
    /// Nothing is made.
    #[default]
    Fresh,
    /// The namespaces and the capture stand.
    Created(CreateSandbox, namespaces::Identity, Entered, Owners),
    /// The view is assembled.
    Viewed(Box<Prepared>, View, Owners),
    /// The first process inside can start programs.
    Entered(Box<AgentLocks>),
}

/// What both halves know once the view is assembled.
#[derive(Debug)]
pub(crate) struct Prepared {
    pub(crate) sandbox: CreateSandbox,
    pub(crate) plan: ConfinementPlan,
    pub(crate) rules: Rules,
    /// The host's `/proc`, for the outer half.
    pub(crate) host_proc: OwnedFd,
}

fn fail(error: impl std::fmt::Display) -> Failure {
    status(125, error.to_string())
}

fn out_of_order() -> Failure {
    refused("the sandbox's confinement was asked for out of order")
}

impl Confinement for Kernel {
    fn create(&mut self, sandbox: &CreateSandbox) -> Result<(Listeners, Vec<OwnedFd>), Failure> {
        let Self::Fresh = self else { return Err(out_of_order()) };
        let identity = identity(&sandbox.identity)?;
        let entered = namespaces::enter(identity, &sandbox.name).map_err(fail)?;
        let captured = capture::build().map_err(fail)?;
        let (owners, asked_on) = Owners::pair()?;
        *self = Self::Created(sandbox.clone(), identity, entered, owners);
        handed_over(captured, asked_on)
    }

    fn view(&mut self, sent: &FilesystemPolicy) -> Result<EnforcementReport, Failure> {
        let Self::Created(sandbox, identity, entered, owners) = std::mem::take(self) else {
            return Err(out_of_order());
        };
        let rules = Rules::read(sent)?;
        let inputs = PlanInputs {
            name: sandbox.name.clone(),
            identity,
            uid: entered.uid,
            gid: entered.gid,
            workspace: sent.workspace.clone(),
            caller_home: sent.home.clone(),
            extra_read_only: sent.extra_read_only.clone(),
            system: if sent.image { System::Image } else { System::Host },
            own_folders: sent.own_folders.clone(),
            policy_file: rules.policy_file.clone(),
            devices: sent.devices.nodes.clone(),
            device_files: sent.devices.files.clone(),
            authority_pem: sent.authority_pem.clone(),
        };
        // Whoever opens them as root does so while the rest is made.
        let request = folders(&rules.fixed, &inputs).map_err(fail)?;
        let mut opening = entered.folders.begin(&request).map_err(fail)?;
        let plan = plan(&rules.fixed, &HostFacts::read(), &inputs).map_err(fail)?;
        let host_proc = judge::host_proc()?;
        let begun = View::begin(&plan).map_err(fail)?;
        let view = begun.finish(opening.finish().map_err(fail)?).map_err(fail)?;
        drop(opening);
        let report = report::of(&plan, &rules);
        let owners = owners.with_home(&sent.home);
        let prepared = Prepared { sandbox, plan, rules, host_proc };
        *self = Self::Viewed(Box::new(prepared), view, owners);
        Ok(report)
    }

    fn variables(&self) -> Environment {
        match self {
            Self::Viewed(prepared, ..) => prepared.rules.variables.clone(),
            Self::Fresh | Self::Created(..) | Self::Entered(_) => Environment::new(),
        }
    }

    fn resources(&self) -> Resources {
        match self {
            Self::Viewed(prepared, ..) => prepared.rules.resources.clone(),
            Self::Fresh | Self::Created(..) | Self::Entered(_) => Resources::default(),
        }
    }

    fn enter(&mut self, partner: BorrowedFd<'_>, report: &mut EnforcementReport) -> Result<(), Failure> {
        let Self::Viewed(prepared, view, _asked) = std::mem::take(self) else { return Err(out_of_order()) };
        view.mount_proc().map_err(fail)?;
        view.enter().map_err(fail)?;
        partner::send(partner, &Message::Entered)?;
        let agent = AgentLocks::prepare(&prepared.plan).map_err(fail)?;
        report.layers.push(report::landlock(agent.landlock()));
        locks::apply_to_init().map_err(fail)?;
        match partner::receive(partner)? {
            Some(Message::Judging) => {}
            Some(Message::Failed(failure)) => return Err(failure),
            Some(Message::Entered | Message::Listener(_)) | None => {
                return Err(refused("the half of the supervisor that judges lookups did not start"));
            }
        }
        *self = Self::Entered(Box::new(agent));
        Ok(())
    }

    fn lock(&self, partner: BorrowedFd<'_>) -> Result<(), Failure> {
        let Self::Entered(agent) = self else { return Err(out_of_order()) };
        let applied = agent.apply().map_err(fail)?;
        partner::send(partner, &Message::Listener(applied.listener))
    }

    fn judge(self, partner: OwnedFd, init: Pid, events: OwnedFd) -> Result<(), Failure> {
        let Self::Viewed(prepared, view, owners) = self else { return Err(out_of_order()) };
        drop(view);
        judge::judge((*prepared, owners), &partner, init, events)
    }
}

fn identity(identity: &Identity) -> Result<namespaces::Identity, Failure> {
    Ok(match identity {
        Identity::Caller => namespaces::Identity::Caller,
        Identity::Image { user } => match ids::of_image(user)? {
            Some((uid, gid)) => namespaces::Identity::Shown { uid, gid },
            None => namespaces::Identity::Caller,
        },
        Identity::Mapped { host_id } => namespaces::Identity::Mapped { host_id: *host_id },
    })
}

fn handed_over(captured: CapturedListeners, owners: OwnedFd) -> Result<(Listeners, Vec<OwnedFd>), Failure> {
    let count = |sockets: &[OwnedFd]| u8::try_from(sockets.len()).map_err(fail);
    let listeners = Listeners {
        tcp: count(&captured.tcp)?,
        dns_udp: count(&captured.dns_udp)?,
        dns_tcp: count(&captured.dns_tcp)?,
        dropped: 1,
        owners: 1,
    };
    let CapturedListeners { tcp, dns_udp, dns_tcp, dropped, .. } = captured;
    Ok((listeners, tcp.into_iter().chain(dns_udp).chain(dns_tcp).chain([dropped, owners]).collect()))
}

/// For the report: who the agent is.
pub(crate) fn identity_layer(plan: &ConfinementPlan) -> LayerReport {
    let host = match plan.identity {
        namespaces::Identity::Caller | namespaces::Identity::Shown { .. } => {
            "the caller's own id on the host".to_owned()
        }
        namespaces::Identity::Mapped { host_id } => format!("id {host_id} on the host"),
    };
    let detail = format!("uid {} inside, {host}; no capability, no new privileges", plan.uid);
    LayerReport { layer: "identity".into(), enforced: true, detail }
}
