//! `chiton policy apply`: a new dynamic half for a running sandbox; answers when it is enforced.

use std::path::PathBuf;

use chiton_api::http::{ApplyReply, ApplyRequest, Sandbox};
use clap::Args;

use crate::{
    client::sandbox_target, context::Context, error::CliError, progress::Progress, source::Source, words,
};

/// Replace the dynamic half of a running sandbox's policy.
#[derive(Debug, Args)]
pub(crate) struct ApplyArgs {
    /// The sandbox's name
    sandbox: String,
    /// The policy
    file: PathBuf,
    /// Where the static half differs, make the sandbox again, with its state kept
    #[arg(long)]
    recreate: bool,
}

impl ApplyArgs {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        let source = Source::named(&self.file)?;
        source.checked()?;
        let request = ApplyRequest {
            policy: source.text().to_owned(),
            recreate: self.recreate,
            policy_file: source.file(),
        };
        let client = context.client()?;
        let sandbox: Sandbox = client.get(&sandbox_target(&self.sandbox, "")?)?;
        source.keeps_out_of(&sandbox.workspace)?;
        let target = sandbox_target(&self.sandbox, "/policy")?;
        let progress = Progress::of("waiting until it is enforced");
        let reply: ApplyReply = client.send("PUT", &target, &request)?;
        drop(progress);
        if context.output.json {
            return context.output.document(&reply);
        }
        let cut = if reply.cut == 0 {
            String::new()
        } else {
            format!(", {} cut", words::plural(reply.cut, "exchange"))
        };
        let again = if reply.recreated { ", the sandbox was made again" } else { "" };
        context.output.line(format!("revision {} is enforced{cut}{again}", reply.revision))
    }
}
