//! What the sandbox is made of by now, and the answers that do not change it.

use std::{os::fd::OwnedFd, path::PathBuf};

use chiton_api::control::{EnforcementReport, Failure, Listeners, SupervisorReply};

use chiton_policy::model::Resources;

use crate::{environment::Environment, failure::ours, link::Link};

/// The listeners that were made inside, kept so that a proxy can be replaced.
#[derive(Debug)]
pub(crate) struct Captured {
    /// Which there are.
    pub(crate) listeners: Listeners,
    /// Their descriptors, in that order.
    pub(crate) descriptors: Vec<OwnedFd>,
}

/// A sandbox whose view stands.
#[derive(Debug)]
pub(crate) struct Standing {
    /// The listeners.
    pub(crate) captured: Captured,
    /// Whether a proxy accepts from them.
    pub(crate) proxied: bool,
    /// What is enforced.
    pub(crate) report: EnforcementReport,
    /// The variables of every program.
    pub(crate) environment: Environment,
    /// How much of the machine it gets.
    pub(crate) resources: Resources,
    /// Where a program starts that did not say.
    pub(crate) directory: PathBuf,
}

impl Captured {
    /// Sends the listeners.
    pub(crate) fn send(&self, link: &mut Link) -> std::io::Result<()> {
        let copies: std::io::Result<Vec<OwnedFd>> = self.descriptors.iter().map(OwnedFd::try_clone).collect();
        match copies {
            Ok(copies) => link.reply(&SupervisorReply::Created(self.listeners), copies),
            Err(e) => link.refuse(cannot_copy(&e)),
        }
    }
}

fn cannot_copy(error: &std::io::Error) -> Failure {
    ours("cannot hand over the sandbox's listeners", error)
}
