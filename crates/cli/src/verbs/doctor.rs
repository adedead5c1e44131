//! `chiton doctor`: what this machine can enforce, proved by trying, and what mends what is missing.

use chiton_api::{http::LayerCheck, name::DriverName};
use chiton_confine::probe::{Check, probe};
use clap::Args;

use crate::{
    context::Context,
    driver::{examine, parse_driver},
    error::{CliError, Status},
    output::{Output, Tone},
    text::Safe,
};

/// Try every layer of protection on this machine; exits with 1 when a needed one is missing.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// Which driver: native, docker or podman
    #[arg(long, value_name = "DRIVER", default_value = "native")]
    driver: String,
}

impl DoctorArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let (checks, next) = match parse_driver(&self.driver)? {
            DriverName::Native => {
                let host = probe();
                if context.output.json {
                    context.output.document(&host)?;
                }
                (host.checks.iter().map(as_layer).collect(), "chiton demo".to_owned())
            }
            // Where its sandboxes run, and by who makes them.
            driver => {
                let found = examine(&context.client()?, driver)?;
                if context.output.json {
                    context.output.document(&found)?;
                }
                (found.checks, format!("chiton run --driver {driver} --image IMAGE -- CMD"))
            }
        };
        if !context.output.json {
            print(context.output, &checks, &next)?;
        }
        Ok(if can_start(&checks) { Status::Code(0) } else { Status::Failed })
    }
}

fn can_start(checks: &[LayerCheck]) -> bool {
    checks.iter().all(|check| check.works || !check.required)
}

fn print(output: Output, checks: &[LayerCheck], next: &str) -> Result<(), CliError> {
    for check in checks {
        let (word, tone) = match (check.works, check.required) {
            (true, _) => ("OK     ", Tone::Good),
            (false, true) => ("MISSING", Tone::Bad),
            (false, false) => ("absent ", Tone::Faint),
        };
        let layer = Safe::line(&check.layer).to_string();
        output.line(format!("{}  {layer:<16} {}", output.toned(word, tone), Safe::line(&check.found)))?;
        if let Some(mend) = check.mend.as_deref().filter(|_| !check.works) {
            output.line(format!("         {:<16} mend: {}", "", Safe::line(mend)))?;
        }
    }
    output.line(if can_start(checks) {
        format!("\nsandboxes can run on this machine: {next}")
    } else {
        "\nsandboxes cannot run on this machine until what is MISSING is mended".to_owned()
    })
}

/// In the words of the gateway's answer; the layer as its JSON names it.
fn as_layer(check: &Check) -> LayerCheck {
    let layer = serde_json::to_value(check.layer).ok();
    LayerCheck {
        layer: layer.and_then(|value| value.as_str().map(str::to_owned)).unwrap_or_default(),
        works: check.works,
        required: check.required,
        found: check.found.clone(),
        mend: check.mend.clone(),
    }
}
