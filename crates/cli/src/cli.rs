//! The command line's description: the verbs and the options that all of them have.

use std::{ffi::OsString, path::PathBuf, process::ExitCode};

use clap::{Args, Parser, Subcommand};

use crate::{
    Serve,
    context::Context,
    error::{CliError, Status},
    verbs::{
        attach::AttachArgs,
        audit::AuditCommand,
        completions::{CompletionsArgs, ManArgs},
        demo::{DemoAgentArgs, DemoArgs},
        doctor::DoctorArgs,
        exec::ExecArgs,
        gateway::GatewayCommand,
        init::InitArgs,
        llm::LlmCommand,
        logs::LogsArgs,
        policy::PolicyCommand,
        ps::PsArgs,
        rm::RmArgs,
        run::RunArgs,
        secret::SecretCommand,
        show::ShowArgs,
        start::StartArgs,
        stop::StopArgs,
        wait::WaitArgs,
    },
};

/// Runs agents in sandboxes that hold nothing worth stealing and have no way out but one.
#[derive(Debug, Parser)]
#[command(name = "chiton", version, max_term_width = 100, arg_required_else_help = true)]
#[command(disable_help_subcommand = true, propagate_version = false)]
pub(crate) struct Cli {
    #[command(flatten)]
    pub(crate) common: Common,
    #[command(subcommand)]
    pub(crate) verb: Verb,
}

/// What all verbs have.
#[derive(Debug, Args)]
pub(crate) struct Common {
    /// Print JSON
    #[arg(long, global = true)]
    pub(crate) json: bool,
    /// The configuration file
    #[arg(long, global = true, value_name = "FILE")]
    pub(crate) config: Option<PathBuf>,
}

/// The verbs that programs type too, again and again: to describe all of them costs some fifty pages of memory more.
#[derive(Debug, Parser)]
#[command(name = "chiton", disable_help_subcommand = true)]
struct Frequent {
    #[command(flatten)]
    common: Common,
    #[command(subcommand)]
    verb: FrequentVerb,
}

#[derive(Debug, Subcommand)]
enum FrequentVerb {
    Run(RunArgs),
    Exec(ExecArgs),
}

impl Cli {
    /// What the arguments ask for. Whatever is not understood at once is read by the whole description, which says why.
    pub(crate) fn read(arguments: &[OsString]) -> Result<Self, clap::Error> {
        if arguments.get(1).is_some_and(|verb| verb == "run" || verb == "exec")
            && let Ok(Frequent { common, verb }) = Frequent::try_parse_from(arguments)
        {
            let verb = match verb {
                FrequentVerb::Run(args) => Verb::Run(args),
                FrequentVerb::Exec(args) => Verb::Exec(args),
            };
            return Ok(Self { common, verb });
        }
        Self::try_parse_from(arguments)
    }
}

/// The verbs.
#[derive(Debug, Subcommand)]
pub(crate) enum Verb {
    Demo(DemoArgs),
    #[command(hide = true)]
    DemoAgent(DemoAgentArgs),
    Init(InitArgs),
    Run(RunArgs),
    Ps(PsArgs),
    Show(ShowArgs),
    Stop(StopArgs),
    Start(StartArgs),
    Rm(RmArgs),
    Wait(WaitArgs),
    Logs(LogsArgs),
    Exec(ExecArgs),
    Attach(AttachArgs),
    /// Copy files (not supported yet)
    #[command(hide = true)]
    Cp {
        /// Whatever was given
        #[arg(trailing_var_arg = true, allow_hyphen_values = true)]
        rest: Vec<String>,
    },
    #[command(subcommand)]
    Policy(PolicyCommand),
    #[command(subcommand)]
    Secret(SecretCommand),
    #[command(subcommand)]
    Audit(AuditCommand),
    #[command(subcommand)]
    Llm(LlmCommand),
    Doctor(DoctorArgs),
    #[command(subcommand)]
    Gateway(GatewayCommand),
    Completions(CompletionsArgs),
    Man(ManArgs),
}

impl Verb {
    pub(crate) fn run(self, context: &Context, serve: Serve) -> Result<ExitCode, CliError> {
        match self {
            Self::Demo(args) => ended(args.run(context)),
            Self::DemoAgent(args) => ended(args.run(context)),
            Self::Init(args) => done(args.run(context)),
            Self::Run(args) => ended(args.run(context)),
            Self::Ps(args) => done(args.run(context)),
            Self::Show(args) => done(args.run(context)),
            Self::Stop(args) => done(args.run(context)),
            Self::Start(args) => ended(args.run(context)),
            Self::Rm(args) => done(args.run(context)),
            Self::Wait(args) => ended(args.run(context)),
            Self::Logs(args) => done(args.run(context)),
            Self::Exec(args) => ended(args.run(context)),
            Self::Attach(args) => ended(args.run(context)),
            Self::Cp { .. } => Err(CliError::new("`chiton cp` is not supported yet")
                .hint("the workspace folder is /workspace inside: copy through it")),
            Self::Policy(command) => command.run(context),
            Self::Doctor(args) => ended(args.run(context)),
            Self::Secret(command) => done(command.run(context)),
            Self::Audit(command) => done(command.run(context)),
            Self::Llm(command) => done(command.run(context)),
            Self::Gateway(command) => command.run(context, serve),
            Self::Completions(args) => done(args.run(context)),
            Self::Man(args) => done(args.run(context)),
        }
    }
}

fn done(result: Result<(), CliError>) -> Result<ExitCode, CliError> {
    result.map(|()| ExitCode::SUCCESS)
}

fn ended(result: Result<Status, CliError>) -> Result<ExitCode, CliError> {
    result.map(Into::into)
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_description_is_consistent() {
        Cli::command().debug_assert();
        Frequent::command().debug_assert();
    }

    #[test]
    fn a_verb_is_the_same_by_either_description() {
        for line in
            ["run --json -n a -p b --config c -- true -x", "exec a b --json", "--json run true", "run -d x"]
        {
            let arguments: Vec<OsString> =
                ["chiton"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let (one, other) = (Cli::read(&arguments).unwrap(), Cli::try_parse_from(&arguments).unwrap());
            assert_eq!(format!("{one:?}"), format!("{other:?}"));
        }
        for line in ["run", "run --no-such x", "exec a", "run --help", "runs x"] {
            let arguments: Vec<OsString> =
                ["chiton"].into_iter().chain(line.split(' ')).map(Into::into).collect();
            let (one, other) =
                (Cli::read(&arguments).unwrap_err(), Cli::try_parse_from(&arguments).unwrap_err());
            assert_eq!(one.render().to_string(), other.render().to_string());
        }
    }
}
