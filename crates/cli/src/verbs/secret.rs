//! `chiton secret`: the local encrypted store. Values go in, never out.

use std::io::{self, IsTerminal, Read};

use chiton_api::http::{SecretInfo, SetSecret};
use chiton_secret::SecretValue;
use clap::{Args, Subcommand};
use serde_json::json;

use crate::{
    client::{encode, escape},
    context::Context,
    error::CliError,
    output::note,
    terminal,
    verbs::each,
};

/// No more is read than tells that it is too long.
const MOST_READ: u64 = SecretValue::LONGEST as u64 + 2;

/// The local encrypted store.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    Set(SetArgs),
    Ls(LsArgs),
    Rm(RmArgs),
}

/// Store a secret; its value comes from the terminal without echo, or from standard input.
#[derive(Debug, Args)]
pub(crate) struct SetArgs {
    /// Its name, as in local://NAME
    name: String,
    /// A host that it may go to (repeatable); a policy may narrow this, never widen it
    #[arg(long = "host", value_name = "HOST")]
    hosts: Vec<String>,
}

/// List the stored secrets' names.
#[derive(Debug, Args)]
pub(crate) struct LsArgs {}

/// Remove stored secrets.
#[derive(Debug, Args)]
pub(crate) struct RmArgs {
    /// Their names
    #[arg(required = true)]
    names: Vec<String>,
}

impl SecretCommand {
    pub(crate) fn run(self, context: &Context) -> Result<(), CliError> {
        match self {
            Self::Set(args) => set(args, context),
            Self::Ls(_) => list(context),
            Self::Rm(args) => remove(&args, context),
        }
    }
}

fn set(args: SetArgs, context: &Context) -> Result<(), CliError> {
    let value = read_value(&args.name)?;
    let body = SetSecret { value, hosts: Some(args.hosts).filter(|hosts| !hosts.is_empty()) };
    let target = format!("/v1/secrets/{}", escape(&args.name));
    context.client()?.command("PUT", &target, Some(encode(&body)?))?;
    if context.output.json {
        return context.output.document(&json!({ "stored": args.name }));
    }
    note(format!("stored; a policy names it as local://{}", args.name));
    Ok(())
}

fn read_value(name: &str) -> Result<SecretValue, CliError> {
    let bytes = if io::stdin().is_terminal() {
        terminal::read_hidden(&format!("value of {name}: "))?.into_bytes()
    } else {
        let mut bytes = Vec::new();
        io::stdin().lock().take(MOST_READ + 1).read_to_end(&mut bytes)?;
        // `echo KEY | chiton secret set NAME`: the line's end is not the key's.
        while bytes.last().is_some_and(|byte| matches!(byte, b'\n' | b'\r')) {
            bytes.pop();
        }
        bytes
    };
    if bytes.is_empty() {
        return Err(CliError::new("the value is empty; nothing was stored"));
    }
    if bytes.len() > SecretValue::LONGEST {
        let most = SecretValue::LONGEST >> 10;
        return Err(CliError::new(format!("the value is longer than {most} KiB; nothing was stored"))
            .hint("a credential is what one header can carry: store the key alone"));
    }
    Ok(SecretValue::new(bytes))
}

fn list(context: &Context) -> Result<(), CliError> {
    let secrets: Vec<SecretInfo> = context.client()?.get("/v1/secrets")?;
    if context.output.json {
        return context.output.document(&secrets);
    }
    let rows = secrets.iter().map(|secret| {
        let hosts = secret.hosts.as_ref().map_or_else(|| "any".to_owned(), |hosts| hosts.join(", "));
        vec![secret.name.as_str().into(), hosts.into()]
    });
    context.output.table(&["NAME", "HOSTS"], rows.collect())
}

fn remove(args: &RmArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    each(&args.names, |name| {
        client.command("DELETE", &format!("/v1/secrets/{}", escape(name)), None)?;
        if context.output.json {
            return context.output.object(&json!({ "removed": name }));
        }
        Ok(())
    })
}
