//! `chiton audit`: the log of everything that was decided.

use std::io::{BufRead, BufReader};

use chiton_api::http::{AuditQuery, VerifyReply};
use chiton_audit::{Decision, Event, Layer};
use clap::{Args, Subcommand};
use jiff::{Span, Timestamp};

use crate::{
    attach::audit_target,
    context::Context,
    error::CliError,
    output::{Output, Tone},
    text::Safe,
    words,
};

/// The audit log.
#[derive(Debug, Subcommand)]
pub(crate) enum AuditCommand {
    Tail(TailArgs),
    Query(QueryArgs),
    Verify(VerifyArgs),
}

/// Show the last events.
#[derive(Debug, Args)]
pub(crate) struct TailArgs {
    /// Go on with what comes
    #[arg(short, long)]
    follow: bool,
    /// How many
    #[arg(short = 'n', long, default_value_t = 20, value_name = "COUNT")]
    lines: u32,
    #[command(flatten)]
    filter: Filter,
}

/// Show the events that match.
#[derive(Debug, Args)]
pub(crate) struct QueryArgs {
    /// The last so many
    #[arg(long, value_name = "COUNT")]
    limit: Option<u32>,
    #[command(flatten)]
    filter: Filter,
}

/// Check that no event was changed, removed or reordered.
#[derive(Debug, Args)]
pub(crate) struct VerifyArgs {}

#[derive(Debug, Args)]
struct Filter {
    /// Of this sandbox
    #[arg(long, value_name = "NAME")]
    sandbox: Option<String>,
    /// Of this layer: filesystem, process, network, llm, credential, policy, lifecycle
    #[arg(long, value_parser = layer)]
    layer: Option<Layer>,
    /// With this decision: allow, deny, audit
    #[arg(long, value_parser = decision)]
    decision: Option<Decision>,
    /// With this reason, as path_not_allowed
    #[arg(long)]
    reason: Option<String>,
    /// Not before: a moment (2026-01-31T12:00:00Z) or a span back from now (90s, 10m, 2h, 7d)
    #[arg(long, value_name = "WHEN", value_parser = moment)]
    since: Option<Timestamp>,
}

impl AuditCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Tail(args) => {
                let query =
                    AuditQuery { limit: Some(args.lines), follow: args.follow, ..args.filter.query() };
                print(&query, context)
            }
            Self::Query(args) => print(&AuditQuery { limit: args.limit, ..args.filter.query() }, context),
            Self::Verify(_) => verify(context),
        }
    }
}

impl Filter {
    fn query(self) -> AuditQuery {
        AuditQuery {
            sandbox: self.sandbox,
            layer: self.layer.map(|layer| layer.as_str().to_owned()),
            decision: self.decision.map(|decision| decision.as_str().to_owned()),
            reason: self.reason,
            since: self.since,
            ..AuditQuery::default()
        }
    }
}

fn layer(text: &str) -> Result<Layer, CliError> {
    let found = Layer::ALL.into_iter().find(|layer| layer.as_str() == text);
    found.ok_or_else(|| {
        let all = Layer::ALL.map(Layer::as_str).join(", ");
        CliError::new(format!("expected one of {all}"))
    })
}

fn decision(text: &str) -> Result<Decision, CliError> {
    let all = [Decision::Allow, Decision::Deny, Decision::Audit];
    let found = all.into_iter().find(|decision| decision.as_str() == text);
    found.ok_or_else(|| CliError::new("expected one of allow, deny, audit"))
}

/// A moment, or how far back it is from now.
pub(crate) fn moment(text: &str) -> Result<Timestamp, CliError> {
    let wrong = || CliError::new("expected a moment as 2026-01-31T12:00:00Z, or a span as 10m");
    if let Ok(moment) = text.parse() {
        return Ok(moment);
    }
    let unit = text.chars().last().ok_or_else(wrong)?;
    let count: i64 =
        text.strip_suffix(unit).and_then(|n| n.parse().ok()).filter(|n| *n >= 0).ok_or_else(wrong)?;
    let seconds = match unit {
        's' => Some(count),
        'm' => count.checked_mul(60),
        'h' => count.checked_mul(3600),
        'd' => count.checked_mul(86400),
        _ => None,
    };
    let span = seconds.and_then(|s| Span::new().try_seconds(s).ok()).ok_or_else(wrong)?;
    Timestamp::now().checked_sub(span).map_err(|_| wrong())
}

fn print(query: &AuditQuery, context: &Context) -> Result<(), CliError> {
    let stream = context.client()?.stream(&audit_target(query))?;
    for line in BufReader::new(stream).lines() {
        let line = line?;
        if context.output.json {
            context.output.line(&line)?;
        } else if !line.is_empty() {
            print_event(&line, context.output)?;
        }
    }
    Ok(())
}

fn print_event(line: &str, output: Output) -> Result<(), CliError> {
    let Ok(linked) = Event::parse(line) else {
        return output.line(format!("(not an event) {}", Safe::line(line)));
    };
    let event = linked.event;
    let decision = match event.decision {
        Some(Decision::Allow) => output.toned("allow", Tone::Good),
        Some(Decision::Deny) => output.toned("deny ", Tone::Bad),
        Some(Decision::Audit) => output.toned("audit", Tone::Bad),
        None => "-    ".to_owned(),
    };
    let mut text = format!(
        "{}  {:<12}  {:<10}  {decision}  {}",
        event.time,
        Safe::line(event.sandbox.as_deref().unwrap_or("-")).to_string(),
        event.layer.as_str(),
        event.what(),
    );
    for (name, value) in
        [("reason", event.reason.as_ref().map(|r| r.as_str())), ("rule", event.rule.as_deref())]
    {
        if let Some(value) = value {
            text.push_str(&format!("  {name}={}", Safe::line(value)));
        }
    }
    output.line(text)
}

fn verify(context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let reply: VerifyReply = client.send("POST", "/v1/audit/verify", &serde_json::json!({}))?;
    if context.output.json {
        context.output.document(&reply)?;
    }
    if let Some(fault) = reply.fault {
        return Err(CliError::new(format!("the audit log was tampered with: {fault}"))
            .hint(format!("{} before it; keep a copy of the file", words::hold(reply.events))));
    }
    if !context.output.json {
        let tail = words::plural(reply.unchained, "event");
        context.output.line(format!("ok: {}, {tail} not chained yet", words::hold(reply.events)))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_moment_is_absolute_or_a_span() {
        assert!(moment("2026-01-31T12:00:00Z").is_ok());
        let back = moment("10m").unwrap();
        assert!(Timestamp::now().as_second() - back.as_second() >= 600);
        for wrong in ["", "x", "10", "-5m", "99999999999999999999d", "1ä"] {
            assert!(moment(wrong).is_err(), "{wrong}");
        }
    }
}
