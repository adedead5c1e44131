//! `chiton demo`: a tour on this machine alone. An agent in a sandbox tries what it may and what it may not.
//!
//! Everything is real but small: a gateway with folders of its own, a server on loopback with an authority of its
//! own that stands for `api.github.com` and `api.openai.com`, a random key in a local store, and this very
//! program as the agent. Nothing of the user's own state is touched, and all of it is removed at the end.

pub(crate) mod agent;
mod attempts;
mod stage;
mod table;
mod upstream;

use std::time::Duration;

use jiff::Timestamp;

use self::{
    attempts::{Attempt, Expected, Seen, TOUR},
    stage::Stage,
    table::Row,
};
use crate::{
    context::Context,
    error::{CliError, Status},
    output::{Output, Tone, note},
};

/// No attempt takes longer.
const LIMIT: Duration = Duration::from_secs(30);

/// Runs the tour.
pub(crate) fn run(context: &Context) -> Result<Status, CliError> {
    let output = context.output;
    let say = |text: &str| if output.json { Ok(()) } else { output.line(text) };
    let mut stage = Stage::set()?;
    say(
        "A folder, a policy, a key in the local store, and a server that stands for the internet: all of them made up,",
    )?;
    say(&format!("in {}, and gone at the end. The policy:\n", stage.folder().display()))?;
    say(&indented(attempts::POLICY))?;
    stage.start()?;
    say("The agent is inside. It tries:\n")?;
    let mut rows = Vec::new();
    for attempt in TOUR {
        if let Some(what) = attempt.before {
            say(what)?;
        }
        let row = try_one(&mut stage, attempt)?;
        tell(output, &row)?;
        rows.push(row);
    }
    table::add_events(&stage, &mut rows)?;
    let verified = stage.chiton(&["audit", "verify"])?;
    let key_is_out = stage.key_stayed_out()?;
    finish(output, &rows, &verified.stdout, key_is_out && stage.upstream().model_saw(stage.key()))
}

fn try_one(stage: &mut Stage, attempt: &'static Attempt) -> Result<Row, CliError> {
    let from = Timestamp::now();
    let seen = (attempt.act)(stage)?;
    Ok(Row {
        attempt,
        as_expected: seen.outcome == attempt.expected,
        seen,
        from,
        until: Timestamp::now(),
        event: None,
    })
}

fn tell(output: Output, row: &Row) -> Result<(), CliError> {
    if output.json {
        return Ok(());
    }
    let (word, tone) = row.word();
    output.line(format!("  {}  {}{}", output.toned(word, tone), row.attempt.what, row.seen.aside()))
}

fn finish(output: Output, rows: &[Row], verified: &str, key_stayed_out: bool) -> Result<Status, CliError> {
    table::print(output, rows)?;
    let good = key_stayed_out && rows.iter().all(|row| row.as_expected);
    if !output.json {
        output.line(if key_stayed_out {
            "\nThe key reached the model's server, was in nothing that the agent saw, and is in no file in the clear."
        } else {
            "\nTHE KEY WAS NOT WHERE IT SHOULD BE, or where it should not be."
        })?;
        output.line(format!("Audit log {}", verified.trim_end()))?;
        output.line("Next: chiton init, then chiton run -- YOUR-AGENT")?;
    }
    if good {
        return Ok(Status::Code(0));
    }
    note(
        output.toned("something did not go as it should have: see the table, and chiton doctor", Tone::Plain),
    );
    Ok(Status::Failed)
}

fn indented(text: &str) -> String {
    text.lines().map(|line| format!("    {line}\n")).collect()
}

/// What came of one attempt, in one place for the whole tour.
pub(crate) fn outcome(refused: bool) -> Expected {
    if refused { Expected::Refused } else { Expected::Allowed }
}

/// An attempt's outcome and a few words beside it.
pub(crate) fn seen(refused: bool, aside: impl Into<String>) -> Seen {
    Seen::new(outcome(refused), aside.into())
}
