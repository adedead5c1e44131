//! `chiton secret`: the local encrypted store, and whether a reference resolves. Values go in, never out.

use std::io::{self, IsTerminal, Read};

use chiton_api::http::{ChangeKey, ChangedKey, SecretInfo, SetSecret, StoreKey, TestSecret, TestedSecret};
use chiton_secret::SecretValue;
use clap::{Args, Subcommand, ValueEnum};
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

/// The local encrypted store, and whether references resolve.
#[derive(Debug, Subcommand)]
pub(crate) enum SecretCommand {
    Set(SetArgs),
    Ls(LsArgs),
    Rm(RmArgs),
    Rotate(RotateArgs),
    Rekey(RekeyArgs),
    Test(TestArgs),
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

/// Replace the value of a stored secret; the hosts that it may go to stay.
///
/// Sandboxes that use it have the new value with their next request.
#[derive(Debug, Args)]
pub(crate) struct RotateArgs {
    /// Its name, as in local://NAME
    name: String,
}

/// Seal the local store with another key; a passphrase comes from the terminal, or from standard input.
#[derive(Debug, Args)]
pub(crate) struct RekeyArgs {
    /// What the key is from now on
    #[arg(long, value_name = "KIND", default_value = "file")]
    to: Kind,
}

/// What the key of the store can be.
#[derive(Clone, Copy, Debug, ValueEnum)]
enum Kind {
    /// A new file beside the store
    File,
    /// Derived from a passphrase
    Passphrase,
    /// In the desktop's keyring
    Keyring,
}

/// Say whether a reference resolves, and how long and how old its value is; never the value.
///
/// Its store is asked anew, and sandboxes that use it get what it says.
#[derive(Debug, Args)]
pub(crate) struct TestArgs {
    /// A reference as a policy has it: local://NAME, vault://MOUNT/PATH#FIELD, aws-sm://NAME#KEY, exec://NAME, env://NAME, file:///PATH
    reference: String,
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
            Self::Rotate(args) => rotate(&args, context),
            Self::Rekey(args) => rekey(&args, context),
            Self::Test(args) => test(args, context),
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

fn rotate(args: &RotateArgs, context: &Context) -> Result<(), CliError> {
    let client = context.client()?;
    let stored: Vec<SecretInfo> = client.get("/v1/secrets")?;
    let known = stored.into_iter().find(|secret| secret.name == args.name);
    let Some(known) = known else {
        return Err(CliError::new(format!(
            "there is no secret `{}` whose value could be replaced",
            args.name
        ))
        .hint("`chiton secret ls` lists them; `chiton secret set` stores a new one"));
    };
    let body = SetSecret { value: read_value(&args.name)?, hosts: known.hosts };
    client.command("PUT", &format!("/v1/secrets/{}", escape(&args.name)), Some(encode(&body)?))?;
    if context.output.json {
        return context.output.document(&json!({ "rotated": args.name }));
    }
    note("replaced; sandboxes that use it have it with their next request");
    Ok(())
}

fn rekey(args: &RekeyArgs, context: &Context) -> Result<(), CliError> {
    let none = || SecretValue::new(Vec::new());
    let (to, passphrase, next) = match args.to {
        Kind::File => (
            StoreKey::File,
            none(),
            "start the gateway without CHITON_SECRETS_KEY and CHITON_SECRETS_PASSPHRASE from now on",
        ),
        Kind::Passphrase => (
            StoreKey::Passphrase,
            read_value("the passphrase")?,
            "start the gateway with CHITON_SECRETS_PASSPHRASE, or CHITON_SECRETS_PASSPHRASE_FILE, from now on",
        ),
        Kind::Keyring => {
            (StoreKey::Keyring, none(), "start the gateway with CHITON_SECRETS_KEY=keyring from now on")
        }
    };
    let changed: ChangedKey =
        context.client()?.send("POST", "/v1/store-key", &ChangeKey { to, passphrase })?;
    if context.output.json {
        return context.output.document(&changed);
    }
    note(format!("the key was changed, {} secrets are sealed with it; {next}", changed.secrets));
    Ok(())
}

fn test(args: TestArgs, context: &Context) -> Result<(), CliError> {
    let body = TestSecret { reference: args.reference };
    let tested: TestedSecret = context.client()?.send("POST", "/v1/resolve", &body)?;
    if context.output.json {
        return context.output.document(&tested);
    }
    let mut rows = vec![
        vec!["reference".to_owned().into(), tested.reference.to_string().into()],
        vec!["length".to_owned().into(), format!("{} bytes", tested.length).into()],
        vec!["age".to_owned().into(), tested.age_seconds.map_or("not known".to_owned(), span).into()],
        vec![
            "hosts".to_owned().into(),
            tested.hosts.map_or("any".to_owned(), |hosts| hosts.join(", ")).into(),
        ],
    ];
    if let (Some(refresh), Some(valid)) = (tested.refresh_seconds, tested.valid_seconds) {
        rows.push(vec!["asked again".to_owned().into(), format!("after {}", span(refresh)).into()]);
        rows.push(vec![
            "used without an answer".to_owned().into(),
            format!("for {} at most", span(valid)).into(),
        ]);
    }
    context.output.table(&["WHAT", "IS"], rows)?;
    if let Some(warning) = tested.warning {
        note(warning);
    }
    Ok(())
}

/// A time in the two largest units that it has.
fn span(seconds: u64) -> String {
    match (seconds / 86_400, seconds / 3600 % 24, seconds / 60 % 60, seconds % 60) {
        (0, 0, 0, seconds) => format!("{seconds} s"),
        (0, 0, minutes, seconds) => format!("{minutes} min {seconds} s"),
        (0, hours, minutes, _) => format!("{hours} h {minutes} min"),
        (days, hours, _, _) => format!("{days} d {hours} h"),
    }
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
