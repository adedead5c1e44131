//! What came of the tour: attempt, layer, outcome, audit event.

use chiton_audit::Event;
use jiff::Timestamp;
use serde_json::json;

use super::{
    attempts::{Attempt, Expected, Seen},
    stage::{SANDBOX, Stage},
};
use crate::{
    error::CliError,
    output::{Field, Output, Tone},
};

/// An event that another process writes comes at most so many microseconds later.
const LATEST: i64 = 2_000_000;

/// One line of the table.
#[derive(Debug)]
pub(crate) struct Row {
    pub(crate) attempt: &'static Attempt,
    pub(crate) seen: Seen,
    pub(crate) as_expected: bool,
    /// Between these two moments it was tried.
    pub(crate) from: Timestamp,
    pub(crate) until: Timestamp,
    /// The audit event's id.
    pub(crate) event: Option<String>,
}

impl Row {
    /// The outcome as a word of fixed width; what should not be stands out.
    pub(crate) fn word(&self) -> (&'static str, Tone) {
        match (self.seen.outcome, self.as_expected) {
            (Expected::Allowed, true) => ("allowed", Tone::Good),
            (Expected::Refused, true) => ("refused", Tone::Good),
            (Expected::Allowed, false) => ("ALLOWED", Tone::Bad),
            (Expected::Refused, false) => ("FAILED ", Tone::Bad),
        }
    }
}

/// Finds the event of each attempt. One that should have an event and has none did not go as it should.
pub(crate) fn add_events(stage: &Stage, rows: &mut [Row]) -> Result<(), CliError> {
    let said = stage.chiton(&["audit", "query", "--sandbox", SANDBOX, "--json"])?;
    let events: Vec<Event> =
        said.stdout.lines().filter_map(|line| Event::parse(line).ok()).map(|linked| linked.event).collect();
    let mut found: Vec<&Event> = Vec::new();
    for row in rows.iter_mut() {
        let late = if row.attempt.late { LATEST } else { 0 };
        let (from, until) = (row.from.as_microsecond(), row.until.as_microsecond() + late);
        let fits = |event: &&Event| {
            let new = found.iter().all(|earlier| earlier.id != event.id);
            new && (from..=until).contains(&event.time.as_micros()) && row.attempt.matches(event)
        };
        let event = events.iter().find(fits);
        row.event = event.map(|event| event.id.to_string());
        row.as_expected &= event.is_some() || !row.attempt.audited;
        found.extend(event);
    }
    Ok(())
}

/// Prints all of them.
pub(crate) fn print(output: Output, rows: &[Row]) -> Result<(), CliError> {
    if output.json {
        return output.document(&rows.iter().map(as_json).collect::<Vec<_>>());
    }
    output.line("")?;
    let lines = rows.iter().map(|row| {
        let (word, tone) = row.word();
        vec![
            row.attempt.what.into(),
            row.attempt.layer.as_str().into(),
            Field::toned(word.trim_end(), tone),
            row.event.as_deref().unwrap_or("-").into(),
        ]
    });
    output.table(&["ATTEMPT", "LAYER", "OUTCOME", "AUDIT EVENT"], lines.collect())
}

fn as_json(row: &Row) -> serde_json::Value {
    let outcome = match row.seen.outcome {
        Expected::Allowed => "allowed",
        Expected::Refused => "refused",
    };
    json!({
        "attempt": row.attempt.what,
        "layer": row.attempt.layer.as_str(),
        "outcome": outcome,
        "as_expected": row.as_expected,
        "event": row.event,
    })
}
