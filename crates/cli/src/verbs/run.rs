//! `chiton run`: make a sandbox, run a program in it, attached; its exit status is ours.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chiton_api::{
    http::{CreateRequest, Sandbox, Session},
    name::{DriverName, SandboxName},
};
use chiton_policy::Policy;
use clap::Args;
use jiff::Timestamp;

use crate::{
    attach::{Attended, attend_main, tell_limit, tell_refusals, wished},
    client::{Client, encode},
    context::{Context, home},
    driver::{parse_driver, strongest},
    environment::{Assignment, collect},
    error::{BeforeStart, CliError, Status},
    output::note,
    outside::{explain_absence, search_path},
    pull::pull,
    source::{Source, passed_through},
};

/// Run a command in a new sandbox.
///
/// The folder is /workspace inside. Without -p the policy is ./chiton.yaml, else a built-in one: the workspace
/// and /tmp, no network.
#[derive(Debug, Args)]
pub(crate) struct RunArgs {
    /// The policy
    #[arg(short, long, value_name = "FILE")]
    policy: Option<PathBuf>,
    /// The sandbox's name; without it one is made up
    #[arg(short, long, value_name = "NAME")]
    name: Option<String>,
    /// The folder that is /workspace inside
    #[arg(short, long, value_name = "DIR", default_value = ".")]
    workspace: PathBuf,
    /// What runs it: native, docker, podman, or auto
    #[arg(long, value_name = "DRIVER")]
    driver: Option<String>,
    /// The image whose files the sandbox sees, for docker and podman
    #[arg(long, value_name = "IMAGE")]
    image: Option<String>,
    /// A variable for the agent: K=V, or K to pass the caller's on (repeatable)
    #[arg(short, long, value_name = "K[=V]")]
    env: Vec<Assignment>,
    /// A path of this machine that is readable inside (repeatable)
    #[arg(short, long, value_name = "PATH")]
    read_only: Vec<PathBuf>,
    /// Print the name and leave it running
    #[arg(short, long)]
    detach: bool,
    /// Remove the sandbox when its command has ended
    #[arg(long)]
    rm: bool,
    /// For those who type -it: standard input and a terminal are taken where there are some
    #[arg(short, hide = true)]
    interactive: bool,
    /// See -i
    #[arg(short, hide = true)]
    tty: bool,
    /// The command and its arguments
    #[arg(required = true, trailing_var_arg = true, value_name = "CMD")]
    command: Vec<String>,
}

impl RunArgs {
    pub(crate) fn run(self, context: &Context) -> Result<Status, CliError> {
        let session = wished(!self.detach);
        let auto = self.driver.as_deref() == Some("auto");
        let mut request = self.request(session.clone()).before_start()?;
        let client = context.client().before_start()?;
        if auto {
            request.driver = Some(strongest(&client, request.image.as_deref()).before_start()?);
        }
        if let (Some(image), Some(driver)) = (&request.image, request.driver)
            && driver != DriverName::Native
        {
            pull(&client, driver, image).before_start()?;
        }
        if request.session.attach {
            return attached(&client, &request, &session);
        }
        let created = client.send::<Sandbox>("POST", "/v1/sandboxes", &request);
        let sandbox = created.map_err(|error| absence(error, &request)).before_start()?;
        if context.output.json {
            context.output.document(&sandbox)?;
        } else {
            context.output.line(sandbox.name.as_str())?;
        }
        Ok(Status::Code(0))
    }

    fn request(self, session: Session) -> Result<CreateRequest, CliError> {
        let source = Source::find(self.policy.as_deref())?;
        let policy = source.checked()?;
        if let Some(said) = source.said() {
            note(said);
        }
        let workspace = folder(&self.workspace)?;
        source.keeps_out_of(&workspace)?;
        let home = home()?;
        let read_only: Vec<_> = self.read_only.iter().map(|path| existing(path)).collect::<Result<_, _>>()?;
        let folders = match &self.image {
            None => shared_folders(&policy, &read_only, &home),
            // What the policy names is the image's, and so is `PATH`.
            Some(_) => Vec::new(),
        };
        let env = environment(&policy, self.env, &folders);
        Ok(CreateRequest {
            name: self.name.as_deref().map(parse_name).transpose()?,
            workspace,
            policy: source.text().to_owned(),
            policy_file: source.file(),
            home,
            image: self.image,
            driver: self.driver.as_deref().filter(|name| *name != "auto").map(parse_driver).transpose()?,
            argv: self.command,
            env,
            extra_read_only: read_only,
            session,
            remove: self.rm,
        })
    }
}

/// This machine's folders that are readable inside, by the policy and by `-r`.
fn shared_folders(policy: &Policy, read_only: &[PathBuf], home: &Path) -> Vec<PathBuf> {
    let named = policy.fixed.filesystem.read_only.iter().map(|path| path.resolve(home));
    let named = named.filter_map(|path| path.canonicalize().ok());
    named.chain(read_only.iter().cloned()).collect()
}

/// What the policy passes through, what `-e` gives, and a `PATH` that finds what `-r` and the policy let in.
fn environment(policy: &Policy, given: Vec<Assignment>, folders: &[PathBuf]) -> BTreeMap<String, String> {
    let mut env = BTreeMap::new();
    let policys = policy.fixed.process.env.iter().any(|entry| entry.name().as_str() == "PATH");
    if let Some(path) = search_path(folders).filter(|_| !policys) {
        env.insert("PATH".to_owned(), path);
    }
    env.extend(collect(passed_through(policy)));
    env.extend(collect(given));
    env
}

fn attached(client: &Client, request: &CreateRequest, session: &Session) -> Result<Status, CliError> {
    let since = Timestamp::now();
    let upgraded = client.session("/v1/sandboxes", Some(encode(request).before_start()?));
    let upgraded = upgraded.map_err(|error| absence(error, request)).before_start()?;
    let (name, identity) = (upgraded.sandbox.clone().unwrap_or_default(), upgraded.identity.clone());
    let Attended { status, refused } = attend_main(client, upgraded, session, &name)?;
    tell_refusals(client, refused, (&name, identity.as_deref()), since);
    tell_limit(client, &name, status);
    Ok(status)
}

fn absence(error: CliError, request: &CreateRequest) -> CliError {
    let program = request.argv.first().map(String::as_str).unwrap_or_default();
    explain_absence(error, program, &request.home)
}

fn parse_name(name: &str) -> Result<SandboxName, CliError> {
    name.parse().map_err(|error: chiton_api::name::NameError| CliError::new(error.to_string()))
}

fn folder(path: &Path) -> Result<PathBuf, CliError> {
    let path = path.canonicalize().map_err(|error| {
        CliError::new(format!("cannot use the workspace `{}`: {error}", path.display()))
            .hint("-w DIR names a folder that exists")
    })?;
    if !path.is_dir() {
        return Err(CliError::new(format!("the workspace `{}` is not a folder", path.display())));
    }
    Ok(path)
}

fn existing(path: &Path) -> Result<PathBuf, CliError> {
    path.canonicalize().map_err(|error| {
        CliError::new(format!("cannot use `{}`: {error}", path.display())).hint("name a path that exists")
    })
}
