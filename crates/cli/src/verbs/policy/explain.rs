//! `chiton policy explain`: how one request would be judged, and by what.

use std::path::PathBuf;

use chiton_policy::{Decision, Denial, Intent, Policy, RequestLineError, RequestPermit, compile, decide};
use clap::Args;
use serde_json::{Value, json};

use crate::{
    context::Context,
    error::{CliError, Status},
    output::{Output, Tone},
    source::Source,
    text::Safe,
};

/// Explain how a request would be judged; exits with 0 when it is allowed, 1 when it is denied, 2 when the
/// policy or the request is not valid.
#[derive(Debug, Args)]
pub(crate) struct ExplainArgs {
    /// The policy
    file: PathBuf,
    /// The request: `METHOD scheme://authority/target`
    #[arg(long, value_name = "REQUEST")]
    request: String,
    /// The program that asks
    #[arg(long, value_name = "PATH")]
    binary: Option<PathBuf>,
}

impl ExplainArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        self.judge(context).map_err(|error| error.status(Status::Invalid))
    }

    fn judge(self, context: &Context) -> Result<Status, CliError> {
        let policy: Policy = Source::named(&self.file)?.checked()?;
        let judged = match self.intent() {
            Ok(intent) => decide(&compile(&policy), &intent),
            Err(RequestLineError::Ambiguous(ambiguous)) => Decision::Deny(Denial::from(ambiguous)),
            Err(error @ RequestLineError::NotARequest(_)) => return Err(CliError::new(error.to_string())),
        };
        if context.output.json {
            context.output.document(&as_json(&judged))?;
        } else {
            print(context.output, &judged)?;
        }
        Ok(if judged.is_allowed() { Status::Code(0) } else { Status::Failed })
    }

    fn intent(&self) -> Result<Intent, RequestLineError> {
        match &self.binary {
            Some(binary) => {
                Intent::from_request_line_of(&self.request, binary.as_os_str().as_encoded_bytes())
            }
            None => Intent::from_request_line(&self.request),
        }
    }
}

fn as_json(judged: &Decision) -> Value {
    match judged {
        Decision::Allow(permit) => json!({
            "decision": if permit.audited().is_some() { "audit" } else { "allow" },
            "reason": permit.audited().map(|denial| denial.reason().as_str()),
            "rule": permit.rule().map(ToString::to_string),
            "sent": sent(permit),
        }),
        Decision::Deny(denial) => json!({
            "decision": "deny",
            "reason": denial.reason().as_str(),
            "rule": denial.rule().map(ToString::to_string),
            "detail": denial.detail(),
            "suggestion": denial.suggestion(),
        }),
    }
}

fn sent(permit: &RequestPermit) -> String {
    let (method, scheme) = (permit.method(), permit.scheme());
    format!("{method} {scheme}://{}{}", permit.authority(), permit.path_and_query())
}

fn print(output: Output, judged: &Decision) -> Result<(), CliError> {
    let fact = |name: &str, value: &str| output.line(format!("{name:<8} {}", Safe::line(value)));
    match judged {
        Decision::Allow(permit) => {
            match permit.audited() {
                None => output.line(output.toned("allowed", Tone::Good))?,
                Some(denial) => {
                    output.line(format!(
                        "{} (mode audit: recorded, and let pass)",
                        output.toned("would be denied", Tone::Bad)
                    ))?;
                    fact("reason", denial.reason().as_str())?;
                    fact("why", &denial.detail())?;
                }
            }
            if let Some(rule) = permit.rule() {
                fact("rule", &rule.to_string())?;
            }
            fact("sent as", &sent(permit))
        }
        Decision::Deny(denial) => {
            output.line(output.toned("denied", Tone::Bad))?;
            fact("reason", denial.reason().as_str())?;
            fact("why", &denial.detail())?;
            if let Some(rule) = denial.rule() {
                fact("rule", &rule.to_string())?;
            }
            match denial.suggestion() {
                Some(suggestion) => {
                    output.line("the narrowest rule that would allow it, under dynamic.network.http:")?;
                    suggestion.lines().try_for_each(|line| output.line(format!("  {}", Safe::line(line))))
                }
                None => Ok(()),
            }
        }
    }
}
