//! Making a sandbox and starting its program: the driver's contract, in its order.

use std::{
    fs,
    io::{self, ErrorKind, Write},
    os::unix::fs::{DirBuilderExt, OpenOptionsExt},
    path::{Path, PathBuf},
    sync::Arc,
};

use chiton_api::{
    control::{
        AuthorityMaterial, Credential, Devices, FilesystemPolicy, Launch, Listeners, ProxyConfig, Revised,
        Upstream,
    },
    http::Session,
};
use chiton_driver::{ComputeDriver, Link, SandboxSpec};
use chiton_secret::SecretValue;
use chiton_store::Record;
use chiton_tls::Authority;
use jiff::Timestamp;

use crate::{
    document::Document,
    error::GatewayError,
    gateway::{Gateway, Told, handle},
};

/// Everything that a sandbox is made of, checked and resolved.
pub(super) struct Making {
    pub(super) record: Record,
    pub(super) driver: Arc<dyn ComputeDriver>,
    /// The document whose static half holds.
    pub(super) base: Document,
    /// The document of the revision in force.
    pub(super) revision: Document,
    pub(super) credentials: Vec<Credential>,
    pub(super) upstream: Upstream,
    pub(super) session: Session,
}

/// Makes it and starts its program; the link is the session, where one was asked for. When this fails,
/// something of the sandbox may be left, for the caller to undo.
pub(super) async fn make(gateway: &Gateway, making: Making) -> Result<Link, GatewayError> {
    let Making { record, driver, base, revision, credentials, upstream, session } = making;
    gateway.record(Told::of(&record, "create"))?;
    let folder = gateway.folder(&record.id);
    prepare_folder(&folder)
        .map_err(|source| GatewayError::Io { doing: "cannot make the sandbox's folder", source })?;
    gateway.audit.follow(&record.id, &record.name, &folder);
    gateway.audit.count_anew(&record.id);
    let authority = Authority::generate(record.name.as_str())?;
    let material =
        AuthorityMaterial { certificate: authority.certificate_pem().to_owned(), key: authority.key_pem() };
    write_authority(&folder, &material)
        .map_err(|source| GatewayError::Io { doing: "cannot keep the sandbox's authority", source })?;
    let handle = driver.create_sandbox(&sandbox_spec(&record, &folder, &base)).await?;
    let view = filesystem_policy(gateway, &record, &base, material.certificate.clone());
    let revised = Revised { revision: record.revision, policy: revision.text.to_string(), credentials };
    let config = proxy_config(&record, material, revised, upstream);
    // The two know nothing of each other; the supervisor starts nothing before it has both, and its own is the longer.
    let (viewed, attached) = tokio::join!(
        driver.inject_filesystem_policy(&handle, view),
        driver.attach_network_proxy(&handle, config)
    );
    viewed?;
    attached?;
    gateway.record(Told::of(&record, "start").allowed())?;
    let link = driver.start(&handle, &launch(&record, &session)).await?;
    gateway.store.started(&record.id, Timestamp::now()).await?;
    Ok(link)
}

/// Takes back what [`make`] did before it failed.
pub(super) async fn unmake(driver: &dyn ComputeDriver, record: &Record) {
    if let Err(error) = driver.destroy_sandbox(&handle(record)).await {
        tracing::error!(%error, sandbox = %record.name, "something of a sandbox that did not start is left");
    }
}

fn sandbox_spec(record: &Record, folder: &Path, base: &Document) -> SandboxSpec {
    SandboxSpec {
        id: record.id.clone(),
        name: record.name.to_string(),
        workspace: record.spec.workspace.clone(),
        image: record.spec.image.clone(),
        log: folder.join("log"),
        supervisor_events: folder.join("supervisor.events"),
        proxy_events: folder.join("proxy.events"),
        exit: exit_file(folder),
        resources: base.resources(),
        gpu: base.gpu(),
    }
}

fn filesystem_policy(
    gateway: &Gateway,
    record: &Record,
    base: &Document,
    authority_pem: String,
) -> FilesystemPolicy {
    let spec = &record.spec;
    FilesystemPolicy {
        policy: base.text.to_string(),
        workspace: base.gives_workspace().then(|| spec.workspace.clone()),
        home: spec.home.clone(),
        extra_read_only: spec.extra_read_only.clone(),
        own_folders: gateway.paths.own_folders(),
        policy_file: spec.policy_file.clone(),
        image: spec.image.is_some(),
        image_env: std::collections::BTreeMap::new(),
        devices: Devices::default(),
        directory: None,
        authority_pem,
        env: spec.env.clone(),
    }
}

/// What a proxy begins with. The driver says which descriptors come with it.
pub(super) fn proxy_config(
    record: &Record,
    authority: AuthorityMaterial,
    revised: Revised,
    upstream: Upstream,
) -> ProxyConfig {
    let listeners = Listeners { tcp: 0, dns_udp: 0, dns_tcp: 0, dropped: 0, owners: 0 };
    ProxyConfig { sandbox: record.name.to_string(), listeners, revised, authority, upstream }
}

fn launch(record: &Record, session: &Session) -> Launch {
    Launch {
        main: true,
        argv: record.spec.argv.clone(),
        env: std::collections::BTreeMap::new(),
        cwd: None,
        terminal: session.terminal,
        attach: session.attach,
        stdin: session.attach && session.stdin,
    }
}

/// Where the supervisor writes how the program ended.
pub(super) fn exit_file(folder: &Path) -> PathBuf {
    folder.join("exit.json")
}

/// Where it is written down which of its limits the audit log has told of.
pub(super) fn limits_file(folder: &Path) -> PathBuf {
    folder.join("limits.json")
}

/// The folder for a sandbox's records, without what its last run left of its end.
fn prepare_folder(folder: &Path) -> io::Result<()> {
    fs::DirBuilder::new().recursive(true).mode(0o700).create(folder)?;
    for file in [exit_file(folder), limits_file(folder)] {
        match fs::remove_file(file) {
            Err(error) if error.kind() != ErrorKind::NotFound => return Err(error),
            _ => {}
        }
    }
    Ok(())
}

fn authority_file(folder: &Path) -> PathBuf {
    folder.join("authority.pem")
}

/// Keeps certificate and key, for a proxy that replaces one that died.
fn write_authority(folder: &Path, material: &AuthorityMaterial) -> io::Result<()> {
    let mut open = fs::OpenOptions::new();
    let mut file = open.create(true).truncate(true).write(true).mode(0o600).open(authority_file(folder))?;
    file.write_all(material.certificate.as_bytes())?;
    file.write_all(material.key.dangerous_expose())
}

/// Reads back what [`write_authority`] wrote.
pub(super) fn read_authority(folder: &Path) -> io::Result<AuthorityMaterial> {
    let both = SecretValue::new(fs::read(authority_file(folder))?);
    let bytes = both.dangerous_expose();
    const KEY: &[u8] = b"-----BEGIN PRIVATE KEY-----";
    let at = bytes.windows(KEY.len()).position(|window| window == KEY);
    let (certificate, key) = at.and_then(|at| bytes.split_at_checked(at)).ok_or(ErrorKind::InvalidData)?;
    let certificate = String::from_utf8(certificate.to_vec()).map_err(|_| ErrorKind::InvalidData)?;
    Ok(AuthorityMaterial { certificate, key: SecretValue::new(key.to_vec()) })
}
