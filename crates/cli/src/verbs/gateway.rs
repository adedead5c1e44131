//! `chiton gateway`: the control plane, which the other commands start on demand.

use std::{os::fd::OwnedFd, process::ExitCode};

use chiton_api::http::{Status as GatewayStatus, StopGateway, Stopping};
use clap::{Args, Subcommand};
use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, pidfd_open},
};
use serde_json::json;

use crate::{
    Serve,
    client::Client,
    context::Context,
    error::{CliError, Status},
    output::{Output, note},
    progress::Progress,
    text::Safe,
    words,
};

/// The control plane.
#[derive(Debug, Subcommand)]
pub(crate) enum GatewayCommand {
    /// Start it, if none runs
    Start,
    /// Where it stands
    Status,
    Stop(StopArgs),
    /// Serve in this process
    #[command(hide = true)]
    Serve,
}

/// Stop it; sandboxes run on.
#[derive(Debug, Args)]
pub(crate) struct StopArgs {
    /// Stop every sandbox first
    #[arg(long)]
    all: bool,
}

impl GatewayCommand {
    pub(crate) fn run(self, context: &Context, serve: Serve) -> Result<ExitCode, CliError> {
        match self {
            Self::Start => {
                let status: GatewayStatus = context.client()?.get("/v1/status")?;
                print(context.output, &status)?;
            }
            Self::Status => match context.running()? {
                Some(client) => print(context.output, &client.get("/v1/status")?)?,
                None if context.output.json => {
                    context.output.document(&json!({ "running": null }))?;
                    return Ok(Status::Failed.into());
                }
                None => return Err(CliError::new("no gateway runs").hint("chiton gateway start")),
            },
            Self::Stop(args) => stop(args, context)?,
            Self::Serve => return Ok(serve(context.config().map(Into::into))),
        }
        Ok(ExitCode::SUCCESS)
    }
}

fn print(output: Output, status: &GatewayStatus) -> Result<(), CliError> {
    if output.json {
        return output.document(status);
    }
    let config = status.folders.config.as_ref().map_or("none".into(), |path| path.display().to_string());
    let audit = match &status.audit.fault {
        None => words::plural(status.audit.events, "event"),
        Some(fault) => format!("NOT WRITABLE: {fault}"),
    };
    let drivers: Vec<_> = status.drivers.iter().map(|driver| driver.name.as_str()).collect();
    let facts = [
        ("gateway", format!("runs, process {}, version {}", status.pid, status.version)),
        ("since", status.started.to_string()),
        ("sandboxes", format!("{} running", status.running)),
        ("drivers", drivers.join(", ")),
        ("audit", audit),
        ("state", status.folders.state.display().to_string()),
        ("sockets", status.folders.runtime.display().to_string()),
        ("config", config),
    ];
    facts.iter().try_for_each(|(name, value)| output.line(format!("{name:<10} {}", Safe::line(value))))
}

/// The gateway's process; none where it cannot be asked or held.
fn process_of(client: &Client) -> Option<OwnedFd> {
    let status: GatewayStatus = client.get("/v1/status").ok()?;
    let pid = Pid::from_raw(i32::try_from(status.pid).ok()?)?;
    pidfd_open(pid, PidfdFlags::empty()).ok()
}

/// Waits for the process itself: its lock is free a moment before.
fn await_exit(process: &OwnedFd) {
    let limit = Timespec { tv_sec: 10, tv_nsec: 0 };
    let _ended = poll(&mut [PollFd::new(process, PollFlags::IN)], Some(&limit));
}

fn stop(args: StopArgs, context: &Context) -> Result<(), CliError> {
    let Some(client) = context.running()? else {
        note("no gateway runs");
        return Ok(());
    };
    let progress = Progress::of("stopping");
    // Held before the request: the number of a process that has ended may be another's.
    let process = process_of(&client);
    let stopping: Stopping = client.send("POST", "/v1/stop", &StopGateway { all: args.all })?;
    client.await_end()?;
    if let Some(process) = process {
        await_exit(&process);
    }
    drop(progress);
    if context.output.json {
        return context.output.document(&stopping);
    }
    context.output.line(format!(
        "stopped the gateway; {} stopped, {} running on",
        words::plural(stopping.stopped, "sandbox").replace("sandboxs", "sandboxes"),
        words::plural(stopping.running, "sandbox").replace("sandboxs", "sandboxes"),
    ))
}
