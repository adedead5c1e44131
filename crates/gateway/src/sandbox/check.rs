//! Everything that is checked and resolved before a sandbox begins to exist, so that bad input leaves nothing behind
//! but, at most, a supervisor that waits for the next.

use std::{
    collections::BTreeMap,
    fs,
    path::{Path, PathBuf},
    sync::Arc,
};

use chiton_api::{
    control::{Credential, Upstream},
    http::{CreateRequest, Session},
};
use chiton_audit::Layer;
use chiton_driver::{ComputeDriver, DriverError};
use chiton_secret::SecretRef;
use chiton_store::{Record, Spec};

use super::{
    path::Limits,
    upstream::{Unresolved, credentials_of},
};
use crate::{
    config::Config,
    document::Document,
    error::GatewayError,
    gateway::{Gateway, Told},
};

/// The most arguments and variables together that a program is started with.
const MOST_WORDS: usize = 16_384;

/// A request that can be fulfilled.
pub(super) struct Checked {
    pub(super) spec: Spec,
    pub(super) document: Document,
    pub(super) driver: Arc<dyn ComputeDriver>,
    pub(super) upstream: Unresolved,
    pub(super) session: Session,
}

/// Checks a request, but for its secrets and whether its name is free.
pub(super) fn check(gateway: &Gateway, request: &CreateRequest) -> Result<Checked, GatewayError> {
    check_words(&request.argv, &request.env)?;
    check_session(&request.session)?;
    let config = Config::load(&gateway.paths)?;
    let driver = gateway.driver(request.driver.unwrap_or(config.gateway.default_driver))?;
    // Nearly every request can be fulfilled, and what a driver begins with takes as long as the rest of this.
    driver.expect_sandbox();
    let document = Document::parse(&request.policy)?;
    document.check_backends(&config)?;
    let upstream = Unresolved::of(&config)?;
    driver.check_resources(&document.resources())?;
    check_gpu(&*driver, &document)?;
    let home = canonical_home(&request.home)?;
    let limits = Limits::new(gateway.paths.own_folders(), home.clone());
    let workspace = limits.folder("the workspace", &request.workspace)?;
    let extra = request.extra_read_only.iter().map(|path| limits.shown_inside("the read-only path", path));
    let extra_read_only = extra.collect::<Result<_, _>>()?;
    check_image(&*driver, request.image.as_deref())?;
    if request.image.is_none() {
        check_host_paths(&limits, &document, &home)?;
    }
    let policy_file = request.policy_file.as_ref().and_then(|path| policy_file(path, &workspace));
    let spec = Spec {
        workspace,
        image: request.image.clone(),
        home,
        policy_file,
        argv: request.argv.clone(),
        env: request.env.clone(),
        extra_read_only,
    };
    Ok(Checked { spec, document, driver, upstream, session: request.session.clone() })
}

/// The policy's file, where the agent could reach it: in the workspace.
pub(super) fn policy_file(path: &Path, workspace: &Path) -> Option<PathBuf> {
    fs::canonicalize(path).ok().filter(|path| path.starts_with(workspace))
}

/// Checks again what may have changed since a record was made, with the document that it shall have.
pub(super) fn check_record(
    gateway: &Gateway,
    record: &Record,
    document: &Document,
) -> Result<Unresolved, GatewayError> {
    let driver = gateway.driver(record.driver)?;
    driver.check_resources(&document.resources())?;
    check_gpu(&*driver, document)?;
    let spec = &record.spec;
    let limits = Limits::new(gateway.paths.own_folders(), spec.home.clone());
    limits.folder("the workspace", &spec.workspace)?;
    for path in &spec.extra_read_only {
        limits.existing("the read-only path", path)?;
    }
    if spec.image.is_none() {
        check_host_paths(&limits, document, &spec.home)?;
    }
    let config = Config::load(&gateway.paths)?;
    document.check_backends(&config)?;
    Unresolved::of(&config)
}

/// One value for every reference of a document, each told of.
pub(super) async fn resolved(
    gateway: &Gateway,
    record: &Record,
    document: &Document,
) -> Result<Vec<Credential>, GatewayError> {
    let mut credentials = Vec::new();
    for reference in chiton_policy::secret_refs(&document.policy) {
        let resolved = gateway.secrets.resolve(&reference).await;
        credentials.push(resolved.inspect_err(|_| tell_missing(gateway, record, &reference))?);
    }
    tell(gateway, record, &credentials)?;
    Ok(credentials)
}

/// The same for what the operator's settings name.
pub(super) async fn resolved_upstream(
    gateway: &Gateway,
    record: &Record,
    upstream: &Unresolved,
) -> Result<Upstream, GatewayError> {
    let resolved = upstream.resolve(&gateway.secrets).await.inspect_err(|_| {
        if let Some(reference) = upstream.credential() {
            tell_missing(gateway, record, reference);
        }
    })?;
    tell(gateway, record, credentials_of(&resolved))?;
    Ok(resolved)
}

fn tell_missing(gateway: &Gateway, record: &Record, reference: &SecretRef) {
    let reference = reference.to_string();
    gateway.record_anyway(Told { rule: Some(&reference), ..told(record).denied("credential_unavailable") });
}

/// Writes an event for each value, before it is used.
pub(super) fn tell(
    gateway: &Gateway,
    record: &Record,
    credentials: &[Credential],
) -> Result<(), GatewayError> {
    for credential in credentials {
        let reference = credential.reference.to_string();
        gateway.record(Told { rule: Some(&reference), ..told(record).allowed() })?;
    }
    Ok(())
}

fn told(record: &Record) -> Told<'_> {
    Told { layer: Layer::Credential, ..Told::of(record, "resolve") }
}

/// Whether the driver's sandboxes have the system that was asked for.
fn check_image(driver: &dyn ComputeDriver, image: Option<&str>) -> Result<(), GatewayError> {
    let name = driver.name();
    match (driver.has_images(), image) {
        (true, Some(_)) | (false, None) => Ok(()),
        (false, Some(image)) => Err(GatewayError::BadRequest(format!(
            "`--image {image}`: the driver `{name}` has no images, its sandboxes see this machine's /usr: add \
             --driver docker or --driver podman, or leave --image out"
        ))),
        (true, None) => Err(GatewayError::BadRequest(format!(
            "the driver `{name}` needs an image for the sandbox's files: add --image IMAGE"
        ))),
    }
}

/// Whether the driver gives devices at all. Which there are is its own to say.
fn check_gpu(driver: &dyn ComputeDriver, document: &Document) -> Result<(), GatewayError> {
    if document.gpu().is_none() || driver.capabilities().gpu {
        return Ok(());
    }
    Err(GatewayError::Driver(DriverError::Unsupported(format!(
        "`static.gpu`: the driver `{}` gives no devices: leave it out, or add --driver podman or --driver docker, and \
         --image IMAGE",
        driver.name()
    ))))
}

/// Of a sandbox whose system is the host's: an image's paths are looked up in the image, when it starts.
fn check_host_paths(limits: &Limits, document: &Document, home: &Path) -> Result<(), GatewayError> {
    for path in document.host_paths(home) {
        limits.existing("the policy's path", &path)?;
    }
    Ok(())
}

fn canonical_home(home: &Path) -> Result<PathBuf, GatewayError> {
    if !home.is_absolute() {
        return Err(GatewayError::BadRequest("`home` is not an absolute path".into()));
    }
    // A home that does not exist gives nothing, and is kept from nothing.
    Ok(fs::canonicalize(home).unwrap_or_else(|_| home.to_path_buf()))
}

/// What can be an argument vector and an environment.
pub(crate) fn check_words(argv: &[String], env: &BTreeMap<String, String>) -> Result<(), GatewayError> {
    let bad = |text: &str| Err(GatewayError::BadRequest(text.to_owned()));
    if argv.first().is_none_or(String::is_empty) {
        return bad("there is no program to start");
    }
    if argv.len() + env.len() > MOST_WORDS {
        return bad(&format!("there are more than {MOST_WORDS} arguments and variables"));
    }
    if argv.iter().chain(env.values()).any(|word| word.contains('\0')) {
        return bad("an argument or a variable holds a NUL");
    }
    if env.keys().any(|name| name.is_empty() || name.contains(['=', '\0'])) {
        return bad("a variable's name is empty, or holds `=` or a NUL");
    }
    if let Some(name) = env.keys().find(|name| chiton_policy::EnvName::is_sandboxs(name)) {
        return bad(&format!("the sandbox sets `{name}` itself; leave it out"));
    }
    Ok(())
}

fn check_session(session: &Session) -> Result<(), GatewayError> {
    if session.stdin && !session.attach {
        return Err(GatewayError::BadRequest("standard input is open only in a session".into()));
    }
    Ok(())
}
