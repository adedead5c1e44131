//! `chiton show`: everything that is known of one sandbox.

use chiton_api::{control::LimitsHit, http::SandboxDetail};
use clap::Args;

use crate::{client::sandbox_target, context::Context, error::CliError, output::Output, text::Safe, words};

/// Show a sandbox: its state, its program, and what is enforced.
#[derive(Debug, Args)]
pub(crate) struct ShowArgs {
    /// Its name
    sandbox: String,
}

impl ShowArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let detail: SandboxDetail = context.client()?.get(&sandbox_target(&self.sandbox, "")?)?;
        if context.output.json {
            return context.output.document(&detail);
        }
        facts(context.output, &detail)?;
        layers(context.output, &detail)
    }
}

fn facts(output: Output, detail: &SandboxDetail) -> Result<(), CliError> {
    let sandbox = &detail.sandbox;
    let network = if detail.network { "through the proxy" } else { "none" };
    let optional = |moment: Option<jiff::Timestamp>| moment.map(|m| m.to_string());
    let facts = [
        ("name", Some(sandbox.name.to_string())),
        ("id", Some(sandbox.id.to_string())),
        ("state", Some(sandbox.state.as_str().to_owned())),
        ("exit code", sandbox.exit_code.map(|code| code.to_string())),
        ("reason", sandbox.reason.as_ref().map(|reason| reason.0.clone())),
        ("command", Some(words::command(&sandbox.argv))),
        ("workspace", Some(sandbox.workspace.display().to_string())),
        ("driver", Some(sandbox.driver.to_string())),
        ("image", detail.image.clone()),
        ("created", Some(sandbox.created.to_string())),
        ("started", optional(sandbox.started)),
        ("ended", optional(sandbox.ended)),
        ("policy", Some(words::policy(sandbox.revision, &sandbox.policy_digest))),
        ("policy file", detail.policy_file.as_ref().map(|path| path.display().to_string())),
        ("variables", Some(detail.env.join(", ")).filter(|names| !names.is_empty())),
        ("network", Some(network.to_owned())),
        ("connections", Some(detail.connections.to_string())),
        ("refused", Some(detail.denied.to_string())),
        ("limits hit", limits(detail.limits)),
    ];
    for (name, value) in facts {
        if let Some(value) = value {
            output.line(format!("{name:<12} {}", Safe::line(&value)))?;
        }
    }
    Ok(())
}

/// What it ran into so far; none where that is nothing.
fn limits(hit: LimitsHit) -> Option<String> {
    let memory = (hit.out_of_memory > 0)
        .then(|| format!("memory: {} killed", words::plural(hit.out_of_memory, "program")));
    let pids = (hit.pids > 0).then(|| format!("pids: {} not started", words::plural(hit.pids, "program")));
    let said: Vec<_> = memory.into_iter().chain(pids).collect();
    (!said.is_empty()).then(|| said.join(", "))
}

fn layers(output: Output, detail: &SandboxDetail) -> Result<(), CliError> {
    let Some(report) = &detail.report else { return Ok(()) };
    output.line("\nenforced:")?;
    for layer in &report.layers {
        let mark = if layer.enforced { "ok" } else { "NOT" };
        let detail = Safe::line(&layer.detail).to_string();
        output.line(format!("  {:<12} {mark:<4} {detail}", Safe::line(&layer.layer).to_string()))?;
    }
    Ok(())
}
