//! `chiton ps`: the sandboxes.

use chiton_api::http::{Sandbox, State};
use clap::Args;

use crate::{
    context::Context,
    error::CliError,
    output::{Field, Tone},
    words,
};

/// List sandboxes.
#[derive(Debug, Args)]
pub(crate) struct PsArgs {
    /// Those that have ended, too
    #[arg(short, long)]
    all: bool,
    /// Names alone
    #[arg(short, long)]
    quiet: bool,
}

impl PsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let target = if self.all { "/v1/sandboxes?all=true" } else { "/v1/sandboxes" };
        let sandboxes: Vec<Sandbox> = context.client()?.get(target)?;
        let names = || sandboxes.iter().map(|sandbox| sandbox.name.as_str());
        match (self.quiet, context.output.json) {
            (true, true) => return context.output.document(&names().collect::<Vec<_>>()),
            (true, false) => return names().try_for_each(|name| context.output.line(name)),
            (false, true) => return context.output.document(&sandboxes),
            (false, false) => {}
        }
        let rows = sandboxes.iter().map(row).collect();
        context.output.table(&["NAME", "STATE", "DRIVER", "CREATED", "COMMAND", "POLICY"], rows)
    }
}

fn row(sandbox: &Sandbox) -> Vec<Field> {
    let state = match sandbox.exit_code {
        Some(code) if !sandbox.state.is_live() => format!("{} ({code})", sandbox.state.as_str()),
        _ => sandbox.state.as_str().to_owned(),
    };
    vec![
        sandbox.name.as_str().into(),
        Field::toned(state, tone(sandbox.state)),
        sandbox.driver.as_str().into(),
        words::ago(sandbox.created).into(),
        words::command(&sandbox.argv).into(),
        words::policy(sandbox.revision, &sandbox.policy_digest).into(),
    ]
}

/// How a state looks.
pub(crate) fn tone(state: State) -> Tone {
    match state {
        State::Running => Tone::Good,
        State::Failed => Tone::Bad,
        State::Stopped | State::Removed => Tone::Faint,
        State::Creating | State::Stopping => Tone::Plain,
    }
}
