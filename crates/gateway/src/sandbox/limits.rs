//! Limits of `static.resources` that a sandbox ran into: each growth is an event, once, and its end says what ended it.
//!
//! Drivers count, and are asked every second while there is something to count; at the end the exit says it all. What
//! was told is in a file beside the sandbox's other records, for the gateway after this one.

use std::{fs, path::PathBuf, time::Duration};

use chiton_api::http::Reason;
use chiton_audit::Layer;
use chiton_driver::{Exit, LimitsHit, Resources};
use chiton_store::Record;
use tokio::time::Instant;

use super::{live::Live, make::limits_file};
use crate::{
    document::Document,
    gateway::{Gateway, Told},
};

const PERIOD: Duration = Duration::from_secs(1);

/// What is known of a sandbox's limits.
pub(super) struct Limits {
    asked: Resources,
    file: PathBuf,
    told: LimitsHit,
    next: Instant,
}

impl Limits {
    /// Of a sandbox, as far as was told.
    pub(super) fn of(gateway: &Gateway, record: &Record) -> Self {
        let asked = Document::parse(&record.policy).map(|document| document.resources()).unwrap_or_default();
        let file = limits_file(&gateway.folder(&record.id));
        let told = fs::read(&file).ok().and_then(|bytes| serde_json::from_slice(&bytes).ok());
        Self { asked, file, told: told.unwrap_or_default(), next: Instant::now() + PERIOD }
    }

    /// When it is worth asking again; never where no driver counts anything.
    pub(super) async fn due(&self) {
        if self.asked.memory.is_none() && self.asked.pids.is_none() {
            std::future::pending::<()>().await;
        }
        tokio::time::sleep_until(self.next).await;
    }

    /// Asks, and tells what is new.
    pub(super) async fn watch(&mut self, gateway: &Gateway, record: &Record, live: &Live) {
        self.next = Instant::now() + PERIOD;
        if let Ok(hit) = live.driver.limits_hit(&live.handle).await {
            self.tell(gateway, record, hit);
        }
    }

    /// An event for each limit that was run into since the last time.
    pub(super) fn tell(&mut self, gateway: &Gateway, record: &Record, hit: LimitsHit) {
        let grown = [
            (hit.out_of_memory > self.told.out_of_memory, "out_of_memory", "static.resources.memory"),
            (hit.pids > self.told.pids, "pids_limit", "static.resources.pids"),
            (hit.wall_time && !self.told.wall_time, "time_over", "static.resources.wall_time"),
        ];
        for (_, reason, rule) in grown.into_iter().filter(|(grown, ..)| *grown) {
            let told = Told { layer: Layer::Process, rule: Some(rule), ..Told::of(record, "limit") };
            gateway.record_anyway(told.denied(reason));
        }
        if hit != self.told {
            self.told = hit;
            let written = fs::write(&self.file, serde_json::to_vec(&hit).unwrap_or_default());
            if let Err(error) = written {
                tracing::warn!(%error, sandbox = %record.name, "a limit may be told of again");
            }
        }
    }

    /// What its user reads of an end; none where it ran into nothing.
    pub(super) fn reason(&self, exit: Exit) -> Option<Reason> {
        let Resources { memory, pids, wall_time, .. } = self.asked;
        let (memory, pids, wall_time) = (
            Resources { memory, ..Resources::default() },
            Resources { pids, ..Resources::default() },
            Resources { wall_time, ..Resources::default() },
        );
        let LimitsHit { out_of_memory, pids: refused, wall_time: over } = exit.limits;
        let text = match exit.code {
            _ if over => format!("ended: its time was over ({wall_time})"),
            137 if out_of_memory > 0 => format!("killed: out of memory ({memory})"),
            _ if out_of_memory > 0 => format!("a program in it was killed: out of memory ({memory})"),
            _ if refused > 0 => format!("it could not start all of its processes ({pids})"),
            _ => return None,
        };
        Some(Reason(text))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_end_by_a_limit_names_it() {
        let asked = Resources {
            memory: Some(256 << 20),
            pids: Some(64),
            wall_time: Some(Duration::from_secs(90)),
            ..Resources::default()
        };
        let limits = Limits { asked, file: PathBuf::new(), told: LimitsHit::default(), next: Instant::now() };
        let said = |code, out_of_memory, pids, wall_time| {
            let limits_hit = LimitsHit { out_of_memory, pids, wall_time };
            limits.reason(Exit { limits: limits_hit, ..Exit::of(code) }).map(|reason| reason.0)
        };
        let some = |text: &str| Some(text.to_owned());
        assert_eq!(said(137, 1, 0, false), some("killed: out of memory (memory 256MiB)"));
        assert_eq!(said(2, 1, 9, false), some("a program in it was killed: out of memory (memory 256MiB)"));
        assert_eq!(said(0, 0, 9, false), some("it could not start all of its processes (pids 64)"));
        assert_eq!(said(143, 0, 9, true), some("ended: its time was over (wall_time 90s)"));
        assert_eq!(said(137, 0, 0, false), None);
    }
}
