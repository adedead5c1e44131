//! With the real Secret Service, on a bus and in folders of its own.

use std::{
    ffi::OsString,
    fs,
    io::{BufRead as _, BufReader},
    os::unix::fs::{PermissionsExt as _, symlink},
    path::Path,
    process::{Child, ChildStdin, Command, Stdio},
    time::Duration,
};

use tempfile::TempDir;

use super::{by_file, by_passphrase, folder, got, name, value};
use crate::{HostList, KeySource, Keyring, KeyringError, LocalError, LocalStore};

/// A bus and a keyring. They end when the pipe does: with this process at the latest.
struct Desktop {
    session: Child,
    stays: Option<ChildStdin>,
    address: String,
}

impl Desktop {
    fn start(home: &Path, unlocked: bool) -> Self {
        let runtime = home.join("run");
        fs::create_dir_all(&runtime).unwrap();
        fs::set_permissions(&runtime, fs::Permissions::from_mode(0o700)).unwrap();
        let unlock =
            if unlocked { "printf pw | gnome-keyring-daemon --unlock --components=secrets" } else { ":" };
        let script = format!("{{ {unlock}; }} >/dev/null 2>&1; echo \"$DBUS_SESSION_BUS_ADDRESS\"; exec cat");
        let mut command = Command::new("dbus-run-session");
        command.args(["--", "sh", "-c", &script]).env_clear();
        command.env("PATH", std::env::var_os("PATH").unwrap());
        command.env("HOME", home).env("XDG_RUNTIME_DIR", &runtime);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::null());
        let mut session = command.spawn().expect("component missing: dbus-run-session");
        let mut address = String::new();
        BufReader::new(session.stdout.take().unwrap()).read_line(&mut address).unwrap();
        let stays = session.stdin.take();
        Self { session, stays, address: address.trim().to_owned() }
    }

    fn keyring(&self) -> Keyring {
        Keyring::new(|name| match name {
            "PATH" => std::env::var_os("PATH"),
            "DBUS_SESSION_BUS_ADDRESS" => Some(OsString::from(&self.address)),
            _ => None,
        })
    }

    fn store(&self, folder: &Path) -> LocalStore {
        LocalStore::new(folder, KeySource::Keyring(self.keyring()))
    }
}

impl Drop for Desktop {
    fn drop(&mut self) {
        drop(self.stays.take());
        let _ = self.session.wait();
    }
}

#[test]
fn the_keyring_keeps_the_key_and_gives_it_only_unlocked() {
    let (home, folder) = (folder(), folder());
    let desktop = Desktop::start(home.path(), true);
    let store = desktop.store(folder.path());
    assert_eq!(got(&store, "a"), Ok(None));
    store.set(&name("a"), &value("value-of-a"), &HostList::default()).unwrap();
    store.set(&name("b"), &value("value-of-b"), &HostList::default()).unwrap();
    assert!(!folder.path().join("secrets.key").exists());
    assert_eq!(got(&desktop.store(folder.path()), "a"), Ok(Some("value-of-a".into())));

    let other = super::folder();
    desktop.store(other.path()).set(&name("c"), &value("value-of-c"), &HostList::default()).unwrap();
    assert_eq!(got(&desktop.store(folder.path()), "b"), Ok(Some("value-of-b".into())));
    drop(desktop);

    let desktop = Desktop::start(home.path(), false);
    let written = fs::read(folder.path().join("secrets.chiton")).unwrap();
    let error = got(&desktop.store(folder.path()), "a").unwrap_err();
    assert!(error.contains("unlock the keyring") && !error.contains('\n'), "{error}");
    let set =
        |folder: &Path| desktop.store(folder).set(&name("d"), &value("value-of-d"), &HostList::default());
    assert!(set(folder.path()).is_err());
    assert!(fs::read(folder.path().join("secrets.chiton")).unwrap() == written);
    let empty = super::folder();
    assert!(matches!(set(empty.path()), Err(LocalError::Keyring(KeyringError::Refused(_)))));
    assert!(!empty.path().join("secrets.chiton").exists());
    drop(desktop);

    let desktop = Desktop::start(home.path(), true);
    assert_eq!(got(&desktop.store(folder.path()), "a"), Ok(Some("value-of-a".into())));
}

#[test]
fn a_key_that_the_keyring_lost_is_never_replaced() {
    let (home, folder) = (folder(), folder());
    let desktop = Desktop::start(home.path(), true);
    desktop.store(folder.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    let clear = |service: &str| {
        let mut tool = Command::new("secret-tool");
        tool.args(["clear", "service", service]).env("DBUS_SESSION_BUS_ADDRESS", &desktop.address);
        assert!(tool.status().unwrap().success());
    };
    let path = folder.path().join("secrets.chiton");
    let whole = fs::read_to_string(&path).unwrap();
    fs::write(&path, whole.replacen("\"name\": \"", "\"name\": \"--", 1)).unwrap();
    assert!(got(&desktop.store(folder.path()), "a").unwrap_err().contains("the name of its key"));
    fs::write(&path, whole).unwrap();
    clear("chiton");
    let store = desktop.store(folder.path());
    let set = store.set(&name("b"), &value("12345678"), &HostList::default());
    assert!(matches!(set, Err(LocalError::Keyring(KeyringError::NoKey))));
    assert!(matches!(store.get(&name("a")), Err(LocalError::Keyring(KeyringError::NoKey))));
}

#[test]
fn a_store_opens_only_with_the_kind_of_key_it_was_made_with() {
    let (home, folder) = (folder(), folder());
    let desktop = Desktop::start(home.path(), true);
    desktop.store(folder.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    for store in [by_file(folder.path()), by_passphrase(folder.path(), "correct horse")] {
        let error = got(&store, "a").unwrap_err();
        assert!(error.contains("CHITON_SECRETS_KEY=keyring"), "{error}");
        assert!(store.set(&name("b"), &value("12345678"), &HostList::default()).is_err());
    }
    assert!(!folder.path().join("secrets.key").exists());
    type Made = fn(&Path) -> LocalStore;
    let others: [(Made, &str); 2] =
        [(by_file, "a key file"), (|folder| by_passphrase(folder, "correct horse"), "a passphrase")];
    for (made, said) in others {
        let folder = super::folder();
        made(folder.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
        let error = got(&desktop.store(folder.path()), "a").unwrap_err();
        assert!(error.contains(said), "{error}");
    }
    let by_key = super::folder();
    by_file(by_key.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    assert!(got(&by_passphrase(by_key.path(), "correct horse"), "a").unwrap_err().contains("a key file"));
}

/// A keyring whose `secret-tool` is another program.
fn answered_by(program: &str) -> (TempDir, Keyring) {
    let folder = folder();
    symlink(program, folder.path().join("secret-tool")).unwrap();
    let path = folder.path().as_os_str().to_owned();
    let keyring = Keyring::new(|name| match name {
        "PATH" => Some(path.clone()),
        "DBUS_SESSION_BUS_ADDRESS" => Some("unix:path=/nowhere".into()),
        _ => None,
    });
    (folder, keyring.within(Duration::from_secs(1)))
}

#[test]
fn every_other_answer_is_refused_in_one_line() {
    let asked = |program: &str| {
        let (_folder, keyring) = answered_by(program);
        let (read, made) = (keyring.read("00"), keyring.make().map(|_| ()));
        for error in [read.as_ref().unwrap_err().to_string(), made.as_ref().unwrap_err().to_string()] {
            assert!(!error.contains('\n'), "{error}");
        }
        (read.map(|_| ()), made)
    };
    use KeyringError as E;
    // It writes without end, and knows no `--label`.
    assert!(matches!(asked("/usr/bin/yes"), (Err(E::Slow), Err(E::Refused(_)))));
    assert!(matches!(asked("/usr/bin/true"), (Err(E::NoKey), Err(E::NotKept))));
    assert!(matches!(asked("/usr/bin/echo"), (Err(E::BadKey), Err(E::NotKept))));
    assert!(matches!(asked("/usr/bin/false"), (Err(E::NoKey), Err(E::Refused(_)))));
    assert!(matches!(asked("/usr/bin/secret-tool"), (Err(E::Refused(_)), Err(E::Refused(_)))));
    assert!(matches!(asked("/nowhere"), (Err(E::NoProgram), Err(E::NoProgram))));
}

#[test]
fn no_session_is_no_keyring_and_no_bus_is_started() {
    let path = |name: &str| (name == "PATH").then(|| std::env::var_os("PATH").unwrap());
    assert!(matches!(Keyring::new(path).make(), Err(KeyringError::NoSession)));
}
