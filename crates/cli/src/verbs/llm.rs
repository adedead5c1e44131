//! `chiton llm`: what model calls used and cost.

use chiton_api::http::{SoFar, UsageBy, UsageReply, UsageRow};
use clap::{Args, Subcommand};
use jiff::Timestamp;

use super::audit::moment;
use crate::{
    client::escape,
    context::Context,
    error::CliError,
    output::{self, Field},
    words,
};

/// Model calls.
#[derive(Debug, Subcommand)]
pub(crate) enum LlmCommand {
    Usage(UsageArgs),
}

/// Show what model calls used and cost.
#[derive(Debug, Args)]
pub(crate) struct UsageArgs {
    /// Of this sandbox alone; it may be removed
    sandbox: Option<String>,
    /// Sum by sandbox, model or day
    #[arg(long, default_value = "model", value_name = "WHAT", value_parser = by)]
    by: UsageBy,
    /// Not before: a moment (2026-01-31T12:00:00Z) or a span back from now (90s, 10m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
}

fn by(text: &str) -> Result<UsageBy, CliError> {
    let found = UsageBy::ALL.into_iter().find(|by| by.as_str() == text);
    found.ok_or_else(|| CliError::new("expected one of sandbox, model, day"))
}

impl LlmCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Usage(args) => args.run(context),
        }
    }
}

impl UsageArgs {
    fn target(&self) -> String {
        let mut target = format!("/v1/llm/usage?by={}", self.by.as_str());
        let since = self.since.map(|since| since.to_string());
        for (name, value) in [("sandbox", &self.sandbox), ("since", &since)] {
            if let Some(value) = value {
                target.push_str(&format!("&{name}={}", escape(value)));
            }
        }
        target
    }

    fn run(self, context: &Context) -> Result<(), CliError> {
        let reply: UsageReply = context.client()?.get(&self.target())?;
        if context.output.json {
            return context.output.document(&reply);
        }
        let mut rows: Vec<_> = reply.rows.iter().map(|row| fields(&row.name, row)).collect();
        if rows.len() > 1 {
            rows.push(fields("total", &reply.total));
        }
        let names = [&*self.by.as_str().to_uppercase(), "CALLS", "INPUT", "CACHED", "OUTPUT", "USD"];
        context.output.table(&names, rows)?;
        for (count, said) in [
            (reply.total.unpriced, "without a price: see `[llm.prices]` of config.toml"),
            (reply.total.at_bound, "counted at the most that it could cost: its usage did not come"),
        ] {
            if count > 0 {
                output::note(format!("{} {said}", words::plural(count, "call")));
            }
        }
        if reply.total.open > 0 {
            output::note(open(&reply.total));
        }
        Ok(())
    }
}

/// What is known of calls that are not settled.
fn open(total: &UsageRow) -> String {
    let SoFar { input_tokens, output_tokens, events, reserved_tokens, .. } = &total.so_far;
    let told = match (input_tokens, output_tokens) {
        (0, 0) => "no tokens told so far".to_owned(),
        (read, written) => format!("{} read and {written} written so far", words::plural(*read, "token")),
    };
    let calls = words::plural(total.open, "call");
    let events = words::plural(*events, "event");
    format!(
        "{calls} not settled (running, or its proxy died): {told}, in {events}; {reserved_tokens} reserved"
    )
}

fn fields(name: &str, row: &UsageRow) -> Vec<Field> {
    let numbers = [row.calls, row.input_tokens, row.cached_tokens, row.output_tokens];
    let numbers = numbers.into_iter().map(|number| Field::from(number.to_string()));
    std::iter::once(name.into()).chain(numbers).chain([row.usd.to_string().into()]).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_known_of_calls_that_run() {
        let so_far = SoFar {
            input_tokens: 25,
            output_tokens: 7,
            events: 12,
            reserved_tokens: 812,
            ..SoFar::default()
        };
        let told = UsageRow { open: 1, so_far, ..UsageRow::default() };
        assert_eq!(
            open(&told),
            "1 call not settled (running, or its proxy died): 25 tokens read and 7 written so far, in 12 events; 812 reserved"
        );
        let so_far = SoFar { events: 1, reserved_tokens: 900, ..SoFar::default() };
        let untold = UsageRow { open: 2, so_far, ..UsageRow::default() };
        assert_eq!(
            open(&untold),
            "2 calls not settled (running, or its proxy died): no tokens told so far, in 1 event; 900 reserved"
        );
    }

    #[test]
    fn what_is_asked_for() {
        let since = moment("2026-01-31T12:00:00Z").unwrap();
        let args = UsageArgs { sandbox: Some("a&b".into()), by: by("day").unwrap(), since: Some(since) };
        assert_eq!(args.target(), "/v1/llm/usage?by=day&sandbox=a%26b&since=2026-01-31T12%3A00%3A00Z");
        assert!(by("week").is_err());
    }
}
