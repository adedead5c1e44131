//! What the judge reports, as lines of the audit log. Each is written before the agent sees the effect, except
//! for started programs. Where it cannot be written, nobody may see the effect: the sandbox ends.

use std::{
    fs::File,
    os::fd::OwnedFd,
    path::Path,
    sync::{Mutex, PoisonError},
};

use chiton_api::control::Failure;
use chiton_audit::{Decision, Event, Layer, Request, Sink as _, Spool};
use chiton_lookup::{Sink, Started, Wanted};
use chiton_policy::Syscall;
use chiton_sys::process;

use crate::failure::status;

/// The supervisor's event file.
pub(crate) struct Events {
    sandbox: String,
    spool: Mutex<Spool>,
}

impl Events {
    /// Goes on with the file.
    pub(crate) fn resume(sandbox: &str, file: OwnedFd) -> Result<Self, Failure> {
        let spool = Spool::resume(File::from(file)).map_err(|e| status(125, e.to_string()))?;
        Ok(Self { sandbox: sandbox.to_owned(), spool: Mutex::new(spool) })
    }

    fn write(&self, mut event: Event) {
        event.sandbox = Some(self.sandbox.clone());
        let mut spool = self.spool.lock().unwrap_or_else(PoisonError::into_inner);
        if spool.append(&event).is_err() {
            // With this process init ends, and with init everything inside.
            process::exit_now(1);
        }
    }

    fn refused(&self, layer: Layer, action: &'static str, reason: &'static str, request: Option<Request>) {
        let mut event = Event::new(layer, action);
        event.decision = Some(Decision::Deny);
        event.reason = Some(reason.into());
        event.request = request;
        self.write(event);
    }
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

impl Sink for Events {
    fn exec_started(&self, _process: u32, started: &Started<'_>) {
        let mut event = Event::new(Layer::Process, "exec");
        event.decision = Some(Decision::Allow);
        event.binary = Some(text(started.file));
        let mut request = started.script.map(|script| Request::file(text(script))).unwrap_or_default();
        request.arguments = u32::try_from(started.arguments).ok();
        event.request = Some(request);
        self.write(event);
    }

    fn exec_denied(&self, _process: u32, file: &Path) {
        self.refused(Layer::Process, "exec", "denied_path", Some(Request::file(text(file))));
    }

    fn exec_unjudged(&self) {
        self.refused(Layer::Process, "exec", "no_thread", None);
    }

    fn file_refused(&self, _process: u32, file: &Path, wanted: Wanted, _times: u64) {
        let (action, reason) = match wanted {
            Wanted::Lookup => ("open", "denied_path"),
            Wanted::Change => ("change", "protected_path"),
            Wanted::Connect => ("connect", "foreign_socket"),
        };
        self.refused(Layer::Filesystem, action, reason, Some(Request::file(text(file))));
    }

    fn call_refused(&self, _process: u32, number: u32) {
        let name = Syscall::by_number(number).map_or("unknown", Syscall::name);
        self.refused(Layer::Process, name, "blocked_syscall", None);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_refused_file_is_a_chained_line() {
        let mut file = std::env::temp_dir();
        file.push(format!("chiton-events-{}", std::process::id()));
        let opened = File::options().read(true).append(true).create_new(true).open(&file).unwrap();
        let events = Events::resume("demo", opened.into()).unwrap();
        events.file_refused(7, Path::new("/workspace/.env"), Wanted::Lookup, 1);
        events.call_refused(7, 101);
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::remove_file(&file).unwrap();
        let lines: Vec<_> = text.lines().map(|line| Event::parse(line).unwrap()).collect();
        assert_eq!(lines.len(), 2);
        assert_eq!(lines[0].event.request.as_ref().unwrap().path.as_deref(), Some("/workspace/.env"));
        assert_eq!(lines[1].event.action.as_str(), "ptrace");
        assert!(lines[1].link.is_some());
    }
}
