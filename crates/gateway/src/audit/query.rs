//! Reading the log: filters, following, verification.

use std::{
    collections::VecDeque,
    fs::File,
    io::{self, BufRead, BufReader, Read, Seek, SeekFrom},
    sync::Arc,
};

use bytes::Bytes;
use chiton_api::http::{AuditQuery, VerifyReply};
use chiton_audit::{Decision, Event, Layer};
use jiff::Timestamp;
use tokio::{sync::mpsc, task::spawn_blocking};

use super::{AuditError, AuditLog};

/// Which events are asked for, as types.
#[derive(Clone, Debug, Default)]
pub(crate) struct Filter {
    sandbox: Option<String>,
    layer: Option<Layer>,
    decision: Option<Decision>,
    reason: Option<String>,
    since: Option<Timestamp>,
    limit: Option<u32>,
}

/// A filter that names none of the closed set.
#[derive(Debug, thiserror::Error)]
#[error("unknown {what} `{given}`: expected one of {expected}")]
pub(crate) struct BadFilter {
    what: &'static str,
    given: String,
    expected: String,
}

impl TryFrom<&AuditQuery> for Filter {
    type Error = BadFilter;

    fn try_from(query: &AuditQuery) -> Result<Self, BadFilter> {
        let decisions = [Decision::Allow, Decision::Deny, Decision::Audit];
        Ok(Self {
            sandbox: query.sandbox.clone(),
            layer: one_of("layer", query.layer.as_deref(), &Layer::ALL, Layer::as_str)?,
            decision: one_of("decision", query.decision.as_deref(), &decisions, Decision::as_str)?,
            reason: query.reason.clone(),
            since: query.since,
            limit: query.limit,
        })
    }
}

fn one_of<T: Copy>(
    what: &'static str,
    given: Option<&str>,
    all: &[T],
    word: impl Fn(T) -> &'static str,
) -> Result<Option<T>, BadFilter> {
    let Some(given) = given else { return Ok(None) };
    let found = all.iter().copied().find(|one| word(*one) == given);
    let expected = || all.iter().map(|one| word(*one)).collect::<Vec<_>>().join(", ");
    let shown = || given.chars().filter(|c| !c.is_control()).take(40).collect();
    found.map(Some).ok_or_else(|| BadFilter { what, given: shown(), expected: expected() })
}

impl Filter {
    fn matches(&self, line: &str) -> bool {
        let Ok(linked) = Event::parse(line) else { return false };
        let event = linked.event;
        self.sandbox.as_ref().is_none_or(|name| event.sandbox.as_ref() == Some(name))
            && self.layer.is_none_or(|layer| event.layer == layer)
            && self.decision.is_none_or(|decision| event.decision == Some(decision))
            && self
                .reason
                .as_ref()
                .is_none_or(|r| event.reason.as_ref().is_some_and(|code| code.as_str() == r))
            && self.since.is_none_or(|since| event.time.as_micros() >= since.as_microsecond())
    }
}

/// Sends the lines that match, and with `follow` those that come, until the receiver is gone.
pub(crate) fn search(log: Arc<AuditLog>, filter: Filter, follow: bool) -> mpsc::Receiver<io::Result<Bytes>> {
    let (sender, receiver) = mpsc::channel(64);
    tokio::spawn(async move {
        let mut grown = log.grown();
        let mut end = *grown.borrow_and_update();
        let mut from = 0;
        let mut filter = filter;
        loop {
            let (path, filter_there, sender_there) = (log.path.clone(), filter.clone(), sender.clone());
            let sent = spawn_blocking(move || {
                let file = File::open(path).and_then(|mut file| {
                    file.seek(SeekFrom::Start(from))?;
                    Ok(file.take(end - from))
                });
                file.and_then(|file| send(file, &filter_there, &sender_there))
            });
            match sent.await {
                Ok(Ok(())) => {}
                Ok(Err(error)) => {
                    let _ = sender.send(Err(error)).await;
                    return;
                }
                Err(_) => return,
            }
            // The limit is of what was there; what comes is not limited.
            filter.limit = None;
            from = end;
            if !follow {
                return;
            }
            tokio::select! {
                changed = grown.changed() => if changed.is_err() { return },
                () = sender.closed() => return,
            }
            end = (*grown.borrow_and_update()).max(from);
        }
    });
    receiver
}

/// Reads lines and sends those that match. A receiver that is gone ends it without an error.
fn send(file: impl Read, filter: &Filter, sender: &mpsc::Sender<io::Result<Bytes>>) -> io::Result<()> {
    let mut last = VecDeque::new();
    let limit = filter.limit.map(|limit| usize::try_from(limit).unwrap_or(usize::MAX));
    for line in BufReader::new(file).lines() {
        let mut line = line?;
        if !filter.matches(&line) {
            continue;
        }
        line.push('\n');
        match limit {
            None => {
                if sender.blocking_send(Ok(line.into())).is_err() {
                    return Ok(());
                }
            }
            Some(limit) => {
                last.push_back(line);
                if last.len() > limit {
                    last.pop_front();
                }
            }
        }
    }
    for line in last {
        if sender.blocking_send(Ok(line.into())).is_err() {
            break;
        }
    }
    Ok(())
}

/// Checks the chain, and each event file's own. Blocks.
pub(crate) fn verify(log: &AuditLog) -> Result<VerifyReply, AuditError> {
    let (head, length) = log.end();
    let file = File::open(&log.path).map_err(AuditError::Read)?;
    let mut unread = None;
    let mut shortened = None;
    let mut number = 0;
    let lines = BufReader::new(file.take(length)).split(b'\n').map_while(|line| match line {
        Ok(line) => {
            let line = String::from_utf8_lossy(&line).into_owned();
            number += 1;
            if Event::parse(&line).is_ok_and(|linked| super::log::says_shortened(&linked.event)) {
                shortened.get_or_insert(number);
            }
            Some(line)
        }
        Err(error) => {
            unread = Some(error);
            None
        }
    });
    let result = chiton_audit::verify(lines, Some(head));
    if let Some(error) = unread {
        return Err(AuditError::Read(error));
    }
    let events = match result {
        Ok(summary) => summary.chained,
        Err(broken) => {
            let events = broken.line.saturating_sub(1);
            return Ok(VerifyReply { events, unchained: 0, fault: Some(broken.to_string()) });
        }
    };
    if let Some(line) = shortened {
        let fault = Some(format!("events were removed from the end of the log, before line {line}"));
        return Ok(VerifyReply { events, unchained: 0, fault });
    }
    let mut unchained = 0;
    for (name, path, position) in log.files() {
        let Ok(bytes) = std::fs::read(&path) else { continue };
        let text = String::from_utf8_lossy(&bytes);
        if let Err(broken) = chiton_audit::verify_spool(&text) {
            let fault = Some(format!("in the events of `{name}` (`{}`): {broken}", path.display()));
            return Ok(VerifyReply { events, unchained, fault });
        }
        let waiting = usize::try_from(position).ok().and_then(|at| bytes.get(at..)).unwrap_or_default();
        unchained += waiting.iter().filter(|byte| **byte == b'\n').count() as u64;
    }
    Ok(VerifyReply { events, unchained, fault: None })
}
