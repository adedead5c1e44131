//! What the control flow needs of the kernel. One implementation; a trait so that the flow reads without it.

use std::os::fd::{BorrowedFd, OwnedFd};

use chiton_api::control::{CreateSandbox, EnforcementReport, Failure, FilesystemPolicy, Listeners};
use chiton_policy::model::Resources;
use rustix::process::Pid;

use crate::environment::Environment;

/// The confinement of one sandbox. The methods are called in the order in which they stand here.
pub(crate) trait Confinement {
    /// Makes the namespaces and captures the network.
    fn create(&mut self, sandbox: &CreateSandbox) -> Result<(Listeners, Vec<OwnedFd>), Failure>;

    /// Builds the view and fixes the locks that every program gets.
    fn view(&mut self, policy: &FilesystemPolicy) -> Result<EnforcementReport, Failure>;

    /// The variables that the policy gives.
    fn variables(&self) -> Environment;

    /// How much the policy gives.
    fn resources(&self) -> Resources;

    /// In the first process inside: what only it can do. Returns when the other one judges. What is known only
    /// then is added to the report.
    fn enter(&mut self, partner: BorrowedFd<'_>, report: &mut EnforcementReport) -> Result<(), Failure>;

    /// In the process that is about to be a program: every lock, in order. After it nothing is left to do
    /// but to execute the program's file.
    fn lock(&self, partner: BorrowedFd<'_>) -> Result<(), Failure>;

    /// In the outer process: judges until init has ended.
    fn judge(self, partner: OwnedFd, init: Pid, events: OwnedFd) -> Result<(), Failure>;
}
