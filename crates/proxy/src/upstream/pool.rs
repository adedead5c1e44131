//! Open connections to servers, by the identity of the permit that opened them: never used for another name, rule
//! or revision.

use std::{
    collections::HashMap,
    sync::{Arc, Mutex, PoisonError},
    thread::ThreadId,
    time::Instant,
};

use chiton_policy::{Host, RuleName, Scheme};
use hyper::client::conn::http2;

use super::{forward::SentBody, http1::Idle};
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
    /// The rule or route of the permit.
    pub(crate) rule: Option<RuleName>,
    /// The revision that the permit is of.
    pub(crate) revision: u64,
    /// The thread that dialled it, whose event loop wakes its readers.
    pub(crate) worker: ThreadId,
}

/// HTTP/2: shared.
pub(crate) type Http2 = http2::SendRequest<SentBody>;

/// A way to send one request.
pub(crate) enum Sender {
    /// Given back when the response has ended.
    Http1(Idle),
    /// A clone.
    Http2(Http2),
}

/// What is known of one identity.
#[derive(Default)]
struct Entry {
    idle: Vec<(Instant, Idle)>,
    shared: Option<(Instant, Http2)>,
    speaks_http1: bool,
    dialling: Arc<tokio::sync::Mutex<()>>,
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
    /// Dial, one at a time: the connection may serve the others too.
    DialAlone(Arc<tokio::sync::Mutex<()>>),
}

impl Pool {
    fn inner(&self) -> std::sync::MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A connection that waits, or how to get one.
    pub(crate) fn plan(&self, identity: &Identity) -> Plan {
        let mut inner = self.inner();
        let Some(entry) = inner.entries.get_mut(identity) else {
            let entry = Entry::default();
            let dialling = entry.dialling.clone();
            inner.entries.insert(identity.clone(), entry);
            return Plan::DialAlone(dialling);
        };
        if let Some((used, shared)) = &mut entry.shared {
            if !shared.is_closed() {
                *used = Instant::now();
                return Plan::Use(Sender::Http2(shared.clone()));
            }
            entry.shared = None;
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
            None => Plan::DialAlone(entry.dialling.clone()),
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
        let kept = inner.entries.values().filter(|entry| entry.shared.is_some()).count();
        let entry = inner.entries.entry(identity.clone()).or_default();
        match sender {
            Sender::Http1(_) => entry.speaks_http1 = true,
            Sender::Http2(shared) => {
                entry.speaks_http1 = false;
                if kept < limits::POOL_TOTAL {
                    entry.shared = Some((Instant::now(), shared.clone()));
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
            let stale =
                |(used, shared): &(Instant, Http2)| used.elapsed() > limits::POOL_IDLE || shared.is_closed();
            if entry.shared.as_ref().is_some_and(stale) {
                entry.shared = None;
            }
            !entry.idle.is_empty() || entry.shared.is_some() || Arc::strong_count(&entry.dialling) > 1
        });
        inner.idle = inner.entries.values().map(|entry| entry.idle.len()).sum();
    }
}
