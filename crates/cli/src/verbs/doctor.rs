//! `chiton doctor`: what this machine can enforce, proved by trying, and what mends what is missing.

use chiton_confine::probe::{Check, HostProbe, probe};
use clap::Args;

use crate::{
    context::Context,
    error::{CliError, Status},
    output::{Output, Tone},
    text::Safe,
};

/// Try every layer of protection on this machine; exits with 1 when a needed one is missing.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Which driver: native
    #[arg(long, value_name = "DRIVER", default_value = "native")]
    driver: String,
}

impl DoctorArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        if self.driver != "native" {
            return Err(CliError::new(format!("`--driver {}`: not supported yet", self.driver))
                .hint("--driver native"));
        }
        let host = probe();
        if context.output.json {
            context.output.document(&host)?;
        } else {
            print(context.output, &host)?;
        }
        Ok(if host.can_start() { Status::Code(0) } else { Status::Failed })
    }
}

fn print(output: Output, host: &HostProbe) -> Result<(), CliError> {
    for check in &host.checks {
        let (word, tone) = match (check.works, check.required) {
            (true, _) => ("OK     ", Tone::Good),
            (false, true) => ("MISSING", Tone::Bad),
            (false, false) => ("absent ", Tone::Faint),
        };
        let layer = layer(check);
        output.line(format!("{}  {layer:<16} {}", output.toned(word, tone), Safe::line(&check.found)))?;
        if let Some(mend) = check.mend.as_deref().filter(|_| !check.works) {
            output.line(format!("         {:<16} mend: {}", "", Safe::line(mend)))?;
        }
    }
    output.line(if host.can_start() {
        "\nsandboxes can run on this machine: chiton demo"
    } else {
        "\nsandboxes cannot run on this machine until what is MISSING is mended"
    })
}

/// The layer as its JSON names it.
fn layer(check: &Check) -> String {
    serde_json::to_value(check.layer)
        .ok()
        .and_then(|value| value.as_str().map(str::to_owned))
        .unwrap_or_default()
}
