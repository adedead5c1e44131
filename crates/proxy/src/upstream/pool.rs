//! Open connections to servers, by the identity of the permit that opened them: never used for another name, rule
//! or revision.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread::ThreadId,
    time::Instant,
};

use chiton_policy::{Host, RuleName, Scheme};

use super::{
    http1::Idle,
    http2::{Share, Shared},
};
use crate::limits;

/// Whose connection it is.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub(crate) struct Identity {
    /// The judged scheme.
    pub(crate) scheme: Scheme,
    /// The judged host.
    pub(crate) host: Host,
    /// The judged port.
    pub(crate) port: u16,
    /// It is HTTP/2 in the clear.
    pub(crate) knows_http2: bool,
    /// The rule or route of the permit.
    pub(crate) rule: Option<RuleName>,
    /// The revision that the permit is of.
    pub(crate) revision: u64,
    /// The thread that dialled it, whose event loop wakes its readers.
    pub(crate) worker: ThreadId,
}

/// A way to send one request.
pub(crate) enum Sender {
    /// Given back when the response has ended.
    Http1(Idle),
    /// One of several.
    Http2(Share),
}

/// What is known of one identity.
struct Entry {
    idle: Vec<(Instant, Idle)>,
    /// Each with when it was last used by one more.
    shared: Vec<(Instant, Arc<Shared>)>,
    /// So many exchanges may share a connection: no more than the server has once said that it takes.
    most: usize,
    /// How many that can be shared were opened.
    opened: u64,
    speaks_http1: bool,
    dialling: Arc<tokio::sync::Mutex<()>>,
}

impl Default for Entry {
    fn default() -> Self {
        Self {
            idle: Vec::new(),
            shared: Vec::new(),
            most: limits::STREAMS_SHARED as usize,
            opened: 0,
            speaks_http1: false,
            dialling: Arc::default(),
        }
    }
}

impl Entry {
    /// A share in one of the connections, where one has room.
    fn share(&mut self) -> Option<Share> {
        self.shared.retain(|(_, shared)| shared.is_open());
        self.most = self.shared.iter().map(|(_, shared)| shared.most()).fold(self.most, usize::min);
        self.shared.iter_mut().find_map(|(used, shared)| {
            let share = shared.share(self.most)?;
            *used = Instant::now();
            Some(share)
        })
    }

    /// Who dials: one for as many as may share what comes of it, while the others wait.
    fn dial_alone(&mut self) -> Plan {
        if Arc::strong_count(&self.dialling) > self.most {
            self.dialling = Arc::default();
        }
        Plan::DialAlone(self.dialling.clone(), self.opened)
    }
}

/// All connections that wait for a request.
#[derive(Default)]
pub(crate) struct Pool(Mutex<Inner>);

#[derive(Default)]
struct Inner {
    entries: HashMap<Identity, Entry>,
    idle: usize,
    revision: u64,
}

/// What a request without a connection does.
pub(crate) enum Plan {
    /// Use this one.
    Use(Sender),
    /// Dial one of its own.
    Dial,
    /// Dial, one at a time: the connection may serve the others too. With how many of that kind were opened before.
    DialAlone(Arc<tokio::sync::Mutex<()>>, u64),
}

impl Pool {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits, or how to get one.
    pub(crate) fn plan(&self, identity: &Identity) -> Plan {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(identity) else {
            return inner.entries.entry(identity.clone()).or_default().dial_alone();
        };
        if let Some(share) = entry.share() {
            return Plan::Use(Sender::Http2(share));
        }
        let mut taken = 0;
        let mut found = None;
        while let Some((since, mut sender)) = entry.idle.pop() {
            taken += 1;
            if since.elapsed() < limits::POOL_IDLE && sender.is_open() {
                found = Some(sender);
                break;
            }
        }
        let plan = match found {
            Some(sender) => Plan::Use(Sender::Http1(sender)),
            None if entry.speaks_http1 => Plan::Dial,
            None => entry.dial_alone(),
        };
        inner.idle = inner.idle.saturating_sub(taken);
        plan
    }

    /// Notes a new connection; one of HTTP/2 is shared from now on.
    pub(crate) fn opened(&self, identity: &Identity, sender: &Sender) {
        let mut inner = self.inner();
        if inner.revision > identity.revision {
            return;
        }
        let kept: usize = inner.entries.values().map(|entry| entry.shared.len()).sum();
        let entry = inner.entries.entry(identity.clone()).or_default();
        match sender {
            Sender::Http1(_) => entry.speaks_http1 = true,
            Sender::Http2(share) => {
                entry.speaks_http1 = false;
                if kept < limits::POOL_TOTAL {
                    entry.shared.push((Instant::now(), share.connection().clone()));
                    entry.opened += 1;
                }
            }
        }
    }

    /// Keeps a connection whose response has ended.
    pub(crate) fn give_back(&self, identity: &Identity, sender: Idle) {
        let mut inner = self.inner();
        if inner.revision > identity.revision || inner.idle >= limits::POOL_TOTAL {
            return;
        }
        let entry = inner.entries.entry(identity.clone()).or_default();
        if entry.idle.len() < limits::POOL_PER_KEY {
            entry.idle.push((Instant::now(), sender));
            inner.idle += 1;
        }
    }

    /// No further request goes on a connection that did not serve one.
    pub(crate) fn leave(&self, identity: &Identity, share: &Share) {
        if let Some(entry) = self.inner().entries.get_mut(identity) {
            entry.most = entry.most.min(share.connection().most());
            entry.shared.retain(|(_, shared)| !Arc::ptr_eq(shared, share.connection()));
        }
    }

    /// Drops what an older revision opened.
    pub(crate) fn keep_only(&self, revision: u64) {
        let mut inner = self.inner();
        inner.revision = revision;
        inner.entries.retain(|identity, _| identity.revision >= revision);
        inner.idle = inner.entries.values().map(|entry| entry.idle.len()).sum();
    }

    /// Drops what was not used for long.
    pub(crate) fn prune(&self) {
        let mut inner = self.inner();
        inner.entries.retain(|_, entry| {
            entry.idle.retain_mut(|(since, sender)| since.elapsed() < limits::POOL_IDLE && sender.is_open());
            entry.shared.retain(|(used, shared)| {
                shared.is_open() && (shared.is_used() || used.elapsed() <= limits::POOL_IDLE)
            });
            !entry.idle.is_empty() || !entry.shared.is_empty() || Arc::strong_count(&entry.dialling) > 1
        });
        inner.idle = inner.entries.values().map(|entry| entry.idle.len()).sum();
    }
}
