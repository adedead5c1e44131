//! `chiton logs`: what the program wrote, each stream to its own.

use std::io::{ErrorKind, Read, Write};

use chiton_api::frame::{MAX_SESSION_PAYLOAD, SessionKind, parse_session_header};
use clap::Args;

use crate::{client::sandbox_target, context::Context, error::CliError, output::Output};

/// Show what a sandbox's program wrote.
#[derive(Debug, Args)]
pub(crate) struct LogsArgs {
    /// Its name
    sandbox: String,
    /// Go on until the program has ended
    #[arg(short, long)]
    follow: bool,
}

impl LogsArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let rest = if self.follow { "/logs?follow=true" } else { "/logs" };
        let stream = context.client()?.stream(&sandbox_target(&self.sandbox, rest)?)?;
        copy(stream, context.output)
    }
}

fn copy(mut from: impl Read, output: Output) -> Result<(), CliError> {
    let mut payload = vec![0; MAX_SESSION_PAYLOAD];
    loop {
        let mut header = [0; 5];
        match from.read_exact(&mut header) {
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(()),
            other => other?,
        }
        let (kind, len) = parse_session_header(header)?;
        let Some(payload) = payload.get_mut(..len) else { return Ok(()) };
        from.read_exact(payload)?;
        if output.json {
            print_object(kind, payload, output)?;
            continue;
        }
        match kind {
            SessionKind::Stdout => output.raw(payload)?,
            SessionKind::Stderr => std::io::stderr().lock().write_all(payload)?,
            SessionKind::Stdin
            | SessionKind::Resize
            | SessionKind::Signal
            | SessionKind::Exit
            | SessionKind::Refusals => {}
        }
    }
}

fn print_object(kind: SessionKind, payload: &[u8], output: Output) -> Result<(), CliError> {
    let stream = match kind {
        SessionKind::Stdout => "stdout",
        SessionKind::Stderr => "stderr",
        SessionKind::Stdin
        | SessionKind::Resize
        | SessionKind::Signal
        | SessionKind::Exit
        | SessionKind::Refusals => return Ok(()),
    };
    output.object(&serde_json::json!({ "stream": stream, "text": String::from_utf8_lossy(payload) }))
}
