//! What every [`SecretStore`] does alike. A new one brings a [`Subject`] and passes.

use std::{
    cell::RefCell,
    collections::HashMap,
    ffi::OsString,
    os::unix::fs::PermissionsExt as _,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use chiton_secret::{Scheme, SecretRef, SecretValue};
use chiton_testkit::{
    aws::{AwsMode, AwsServer},
    vault::{Mode, VaultServer},
};
use tempfile::TempDir;

use crate::{
    AwsSecrets, Commands, Environment, Fault, Fetched, Files, HostList, KeySource, LocalStore, SecretStore,
    Vault, aws::tests as aws, backends::ask, exec::tests::shell, vault::tests as testing,
};

/// A place of secrets that the suite can write to.
trait Subject {
    fn store(&self) -> &dyn SecretStore;
    fn reference(&self, name: &str) -> SecretRef;
    /// Writes a value as its owner would.
    fn put(&self, name: &str, value: &str);
    fn remove(&self, name: &str);
    /// Makes the place one that cannot be read, with what is in it still there; whether there is such a thing.
    fn break_down(&self) -> bool;
    fn mend(&self);
}

async fn get(subject: &dyn Subject, name: &str) -> Result<Fetched, Fault> {
    ask(subject.store(), &subject.reference(name)).await
}

async fn value(subject: &dyn Subject, name: &str) -> String {
    let fetched = get(subject, name).await.unwrap();
    String::from_utf8(fetched.value.dangerous_expose().to_vec()).unwrap()
}

async fn conforms(subject: &dyn Subject) {
    assert_eq!(subject.reference("a").scheme(), subject.store().scheme());
    values_come_back_as_they_are(subject).await;
    what_is_not_there_is_said_for_certain(subject).await;
    what_cannot_be_used_is_refused_and_not_shown(subject).await;
    a_place_that_is_out_of_order_is_no_missing_secret(subject).await;
}

async fn values_come_back_as_they_are(subject: &dyn Subject) {
    for text in ["sk-plain-0123456789", "with \"quotes\" \\ and é", " spaces around it "] {
        subject.put("a", text);
        assert_eq!(
            value(subject, "a").await,
            text,
            "another value in its place is seen by the next question"
        );
    }
    subject.put("b", "sk-another-value");
    assert_eq!(value(subject, "a").await, " spaces around it ");
    assert_eq!(value(subject, "b").await, "sk-another-value");
    let (first, second) = tokio::join!(get(subject, "a"), get(subject, "a"));
    let (first, second) = (first.unwrap(), second.unwrap());
    assert_eq!(first.value, second.value);
    assert!(!format!("{first:?}").contains("spaces"), "{first:?}");
    if let Some(lifetime) = first.lifetime {
        assert!(Duration::ZERO < lifetime.refresh && lifetime.refresh <= lifetime.valid, "{lifetime:?}");
    }
}

async fn what_is_not_there_is_said_for_certain(subject: &dyn Subject) {
    let fault = get(subject, "never").await.unwrap_err();
    assert!(fault.is_final() && !fault.to_string().contains('\n'), "{fault}");
    subject.remove("b");
    assert!(get(subject, "b").await.unwrap_err().is_final());
    assert_eq!(value(subject, "a").await, " spaces around it ");
}

async fn what_cannot_be_used_is_refused_and_not_shown(subject: &dyn Subject) {
    // The local store takes none of these in the first place.
    if subject.store().scheme() == Scheme::Local {
        return;
    }
    for (text, said) in
        [("sk-5x", "5 bytes"), ("sk-line\r\nx-other: 1", "control"), (&"sk-".repeat(6000), "18000")]
    {
        subject.put("c", text);
        let fault = get(subject, "c").await.unwrap_err();
        assert!(fault.to_string().contains(said), "{fault}");
        assert!(!fault.to_string().contains("sk-") && !format!("{fault:?}").contains("sk-"), "{fault:?}");
    }
}

async fn a_place_that_is_out_of_order_is_no_missing_secret(subject: &dyn Subject) {
    if !subject.break_down() {
        return;
    }
    let fault = get(subject, "a").await.unwrap_err();
    assert!(!fault.is_final(), "what passes is not final: {fault}");
    assert!(!fault.to_string().contains("spaces") && !format!("{fault:?}").contains("spaces"), "{fault:?}");
    subject.mend();
    assert_eq!(value(subject, "a").await, " spaces around it ");
}

struct Local(TempDir, Arc<LocalStore>);

impl Local {
    fn file(&self) -> PathBuf {
        self.0.path().join("secrets.chiton")
    }
}

impl Subject for Local {
    fn store(&self) -> &dyn SecretStore {
        &self.1
    }

    fn reference(&self, name: &str) -> SecretRef {
        format!("local://{name}").parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        let value = SecretValue::new(value.as_bytes().to_vec());
        self.1.set(&name.parse().unwrap(), &value, &HostList::default()).unwrap();
    }

    fn remove(&self, name: &str) {
        assert!(self.1.remove(&name.parse().unwrap()).unwrap());
    }

    fn break_down(&self) -> bool {
        std::fs::rename(self.file(), self.0.path().join("whole")).unwrap();
        std::fs::write(self.file(), "{\"format\": 1").unwrap();
        std::fs::set_permissions(self.file(), std::fs::Permissions::from_mode(0o600)).unwrap();
        true
    }

    fn mend(&self) {
        std::fs::rename(self.0.path().join("whole"), self.file()).unwrap();
    }
}

#[tokio::test]
async fn the_local_store_conforms() {
    let folder =
        tempfile::Builder::new().permissions(std::fs::Permissions::from_mode(0o700)).tempdir().unwrap();
    let store = Arc::new(LocalStore::new(folder.path(), KeySource::File));
    conforms(&Local(folder, store)).await;
}

thread_local! {
    static VARIABLES: RefCell<HashMap<String, OsString>> = RefCell::default();
}

struct Variables(Environment);

impl Subject for Variables {
    fn store(&self) -> &dyn SecretStore {
        &self.0
    }

    fn reference(&self, name: &str) -> SecretRef {
        format!("env://{name}").parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        VARIABLES.with_borrow_mut(|all| all.insert(name.to_owned(), value.into()));
    }

    fn remove(&self, name: &str) {
        VARIABLES.with_borrow_mut(|all| all.remove(name));
    }

    fn break_down(&self) -> bool {
        false
    }

    fn mend(&self) {}
}

#[tokio::test]
async fn the_environment_conforms() {
    let get = |name: &str| VARIABLES.with_borrow(|all| all.get(name).cloned());
    conforms(&Variables(Environment::of(get))).await;
}

struct InFiles(TempDir);

impl InFiles {
    fn path(&self, name: &str) -> PathBuf {
        self.0.path().join("secrets").join(name)
    }
}

impl Subject for InFiles {
    fn store(&self) -> &dyn SecretStore {
        &Files
    }

    fn reference(&self, name: &str) -> SecretRef {
        format!("file://{}", self.path(name).display()).parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        std::fs::create_dir_all(self.0.path().join("secrets")).unwrap();
        std::fs::write(self.path(name), value).unwrap();
    }

    fn remove(&self, name: &str) {
        std::fs::remove_file(self.path(name)).unwrap();
    }

    /// A loop of links, which root cannot read either.
    fn break_down(&self) -> bool {
        std::fs::rename(self.path("a"), self.path("whole")).unwrap();
        std::os::unix::fs::symlink(self.path("a"), self.path("a")).unwrap();
        true
    }

    fn mend(&self) {
        std::fs::rename(self.path("whole"), self.path("a")).unwrap();
    }
}

#[tokio::test]
async fn files_conform() {
    conforms(&InFiles(tempfile::tempdir().unwrap())).await;
}

struct InVault {
    server: VaultServer,
    vault: Vault,
    mount: &'static str,
    _folder: TempDir,
}

impl InVault {
    fn new(mount: &'static str, version: u8) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let server = VaultServer::plain();
        server.mount(mount, version).token("hvs.conformance", 0, false);
        let vault = testing::vault(&server, testing::token(folder.path(), "hvs.conformance"));
        Self { server, vault, mount, _folder: folder }
    }
}

impl Subject for InVault {
    fn store(&self) -> &dyn SecretStore {
        &self.vault
    }

    fn reference(&self, name: &str) -> SecretRef {
        format!("vault://{}/team/{name}#key", self.mount).parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        self.server
            .put(&format!("{}/team/{name}", self.mount), &[("key", value), ("other", "sk-of-another-field")]);
    }

    fn remove(&self, name: &str) {
        self.server.delete(&format!("{}/team/{name}", self.mount));
    }

    fn break_down(&self) -> bool {
        self.server.set_mode(Mode::Sealed);
        true
    }

    fn mend(&self) {
        self.server.set_mode(Mode::Up);
    }
}

#[tokio::test]
async fn vault_conforms_in_both_versions_of_kv() {
    conforms(&InVault::new("kv", 1)).await;
    conforms(&InVault::new("secret", 2)).await;
    conforms(&InVault::new("kv/of/a/team", 2)).await;
}

struct InAws {
    server: AwsServer,
    aws: AwsSecrets,
    field: bool,
}

impl InAws {
    fn new(field: bool) -> Self {
        let server = AwsServer::plain();
        let aws = aws::secrets(&server);
        Self { server, aws, field }
    }
}

impl Subject for InAws {
    fn store(&self) -> &dyn SecretStore {
        &self.aws
    }

    fn reference(&self, name: &str) -> SecretRef {
        let field = if self.field { "#key" } else { "" };
        format!("aws-sm://team/{name}{field}").parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        let fields = serde_json::json!({ "key": value, "other": "sk-of-another-field" }).to_string();
        self.server.put(&format!("team/{name}"), if self.field { &fields } else { value });
    }

    fn remove(&self, name: &str) {
        self.server.remove(&format!("team/{name}"));
    }

    fn break_down(&self) -> bool {
        self.server.set_mode(AwsMode::Failing);
        true
    }

    fn mend(&self) {
        self.server.set_mode(AwsMode::Up);
    }
}

#[tokio::test]
async fn aws_secrets_manager_conforms() {
    conforms(&InAws::new(true)).await;
    conforms(&InAws::new(false)).await;
}

/// A command for each name, which says what is in a file.
struct ByCommands(TempDir, Commands);

impl ByCommands {
    fn new() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let script = |name: &str| shell(&format!("cat {}", folder.path().join(name).display()));
        let commands = ["a", "b", "c"].map(|name| (name.to_owned(), script(name)));
        Self(folder, Commands::new(commands.into()))
    }
}

impl Subject for ByCommands {
    fn store(&self) -> &dyn SecretStore {
        &self.1
    }

    fn reference(&self, name: &str) -> SecretRef {
        format!("exec://{name}").parse().unwrap()
    }

    fn put(&self, name: &str, value: &str) {
        std::fs::write(self.0.path().join(name), value).unwrap();
    }

    /// A command cannot say for certain that there is nothing; its owner can.
    fn remove(&self, name: &str) {
        std::fs::write(self.0.path().join(name), "").unwrap();
    }

    fn break_down(&self) -> bool {
        std::fs::rename(self.0.path().join("a"), self.0.path().join("whole")).unwrap();
        true
    }

    fn mend(&self) {
        std::fs::rename(self.0.path().join("whole"), self.0.path().join("a")).unwrap();
    }
}

#[tokio::test]
async fn commands_conform() {
    conforms(&ByCommands::new()).await;
}

/// The suite itself: a store that gets one thing wrong does not pass.
#[tokio::test]
#[should_panic(expected = "is seen by the next question")]
async fn a_store_that_answers_from_memory_does_not_conform() {
    struct Remembers(InFiles, tokio::sync::Mutex<Option<Vec<u8>>>);

    #[async_trait::async_trait]
    impl SecretStore for Remembers {
        fn scheme(&self) -> Scheme {
            Scheme::File
        }

        async fn fetch(&self, reference: &SecretRef) -> Result<Fetched, Fault> {
            let mut fetched = Files.fetch(reference).await?;
            let mut first = self.1.lock().await;
            let first = first.get_or_insert_with(|| fetched.value.dangerous_expose().to_vec());
            fetched.value = SecretValue::new(first.clone());
            Ok(fetched)
        }
    }

    impl Subject for Remembers {
        fn store(&self) -> &dyn SecretStore {
            self
        }

        fn reference(&self, name: &str) -> SecretRef {
            self.0.reference(name)
        }

        fn put(&self, name: &str, value: &str) {
            self.0.put(name, value);
        }

        fn remove(&self, name: &str) {
            self.0.remove(name);
        }

        fn break_down(&self) -> bool {
            self.0.break_down()
        }

        fn mend(&self) {
            self.0.mend();
        }
    }

    conforms(&Remembers(InFiles(tempfile::tempdir().unwrap()), tokio::sync::Mutex::default())).await;
}

/// Where tests put files that hold tokens.
pub(crate) fn write_private(path: &Path, text: &str) {
    std::fs::write(path, text).unwrap();
    std::fs::set_permissions(path, std::fs::Permissions::from_mode(0o600)).unwrap();
}
