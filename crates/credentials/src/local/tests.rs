mod keyring;

use std::{fs, os::unix::fs::PermissionsExt as _, path::Path, sync::Arc};

use chiton_secret::SecretValue;
use tempfile::TempDir;

use super::{HostList, KeySource, LocalError, LocalStore, SecretName};

fn folder() -> TempDir {
    tempfile::Builder::new().permissions(fs::Permissions::from_mode(0o700)).tempdir().unwrap()
}

fn value(text: &str) -> SecretValue {
    SecretValue::new(text.as_bytes().to_vec())
}

fn name(text: &str) -> SecretName {
    text.parse().unwrap()
}

fn by_file(folder: &Path) -> LocalStore {
    LocalStore::new(folder, KeySource::File)
}

fn by_passphrase(folder: &Path, passphrase: &str) -> LocalStore {
    LocalStore::new(folder, KeySource::Passphrase(value(passphrase)))
}

fn got(store: &LocalStore, of: &str) -> Result<Option<String>, String> {
    let got = store.get(&name(of)).map_err(|error| error.to_string())?;
    Ok(got.map(|stored| String::from_utf8(stored.value.dangerous_expose().to_vec()).unwrap()))
}

#[test]
fn what_is_set_is_got_listed_and_removed() {
    let folder = folder();
    let store = by_file(folder.path());
    assert_eq!(got(&store, "a"), Ok(None));
    assert!(store.list().unwrap().is_empty());
    assert!(!store.set(&name("b"), &value("value-of-b"), &HostList::default()).unwrap());
    assert!(!store.set(&name("a"), &value("first-of-a"), &HostList::default()).unwrap());
    let hosts = HostList::new(["API.example.com"]).unwrap();
    assert!(store.set(&name("a"), &value("value-of-a!"), &hosts).unwrap());
    let store = by_file(folder.path());
    assert_eq!(got(&store, "a"), Ok(Some("value-of-a!".into())));
    assert_eq!(got(&store, "b"), Ok(Some("value-of-b".into())));
    let listed = store.list().unwrap();
    let told: Vec<_> = listed.iter().map(|i| (i.name.as_str(), i.hosts.as_slice().len(), i.length)).collect();
    assert_eq!(told, [("a", 1, 11), ("b", 0, 10)]);
    assert!(store.remove(&name("a")).unwrap());
    assert!(!store.remove(&name("a")).unwrap());
    assert_eq!(got(&store, "a"), Ok(None));
}

#[test]
fn nothing_on_disk_shows_a_value_and_only_the_owner_reads_it() {
    let folder = folder();
    by_file(folder.path()).set(&name("a"), &value("very-secret-value"), &HostList::default()).unwrap();
    for entry in fs::read_dir(folder.path()).unwrap() {
        let entry = entry.unwrap();
        assert_eq!(entry.metadata().unwrap().permissions().mode() & 0o777, 0o600, "{entry:?}");
        let bytes = fs::read(entry.path()).unwrap();
        assert!(!String::from_utf8_lossy(&bytes).contains("secret-value"));
    }
    assert!(!format!("{:?}", by_file(folder.path())).contains("secret-value"));
}

#[test]
fn a_folder_is_made_for_its_owner_alone() {
    let folder = folder();
    let inner = folder.path().join("state/chiton");
    by_file(&inner).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    assert_eq!(fs::metadata(&inner).unwrap().permissions().mode() & 0o777, 0o700);
}

#[test]
fn files_that_others_can_read_are_refused_with_the_command_that_mends_it() {
    let folder = folder();
    let store = by_file(folder.path());
    store.set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    for file in ["secrets.key", "secrets.chiton"] {
        let path = folder.path().join(file);
        fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
        let error = got(&by_file(folder.path()), "a").unwrap_err();
        assert!(error.contains(&format!("chmod 600 {}", path.display())), "{error}");
        fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    }
    fs::set_permissions(folder.path(), fs::Permissions::from_mode(0o777)).unwrap();
    let error = store.set(&name("b"), &value("12345678"), &HostList::default()).unwrap_err().to_string();
    assert!(error.contains("chmod 700"), "{error}");
}

#[test]
fn every_damage_is_found_and_the_store_is_left_as_it_is() {
    let folder = folder();
    let store = by_file(folder.path());
    for n in ["a", "b"] {
        store.set(&name(n), &value("value-to-keep"), &HostList::new(["h.example"]).unwrap()).unwrap();
    }
    let path = folder.path().join("secrets.chiton");
    let whole = fs::read(&path).unwrap();
    let mut damages: Vec<Vec<u8>> =
        (0..whole.len()).step_by(37).map(|length| whole[..length].to_vec()).collect();
    let text = String::from_utf8(whole.clone()).unwrap();
    damages.push(text.replace("h.example", "x.example").into());
    damages.push(text.replacen("\"b\"", "\"c\"", 1).into());
    damages.extend((0..whole.len()).step_by(11).filter(|at| whole[*at].is_ascii_alphanumeric()).map(|at| {
        let mut flipped = whole.clone();
        flipped[at] = if flipped[at] == b'z' { b'y' } else { b'z' };
        flipped
    }));
    for damage in damages.into_iter().filter(|damage| *damage != whole) {
        fs::write(&path, &damage).unwrap();
        let store = by_file(folder.path());
        assert!(store.get(&name("a")).is_err(), "{}", String::from_utf8_lossy(&damage));
        assert!(store.set(&name("n"), &value("new-value"), &HostList::default()).is_err());
        assert!(store.remove(&name("a")).is_err());
        assert!(fs::read(&path).unwrap() == damage, "it was written over");
    }
    fs::write(&path, &whole).unwrap();
    assert_eq!(got(&by_file(folder.path()), "a"), Ok(Some("value-to-keep".into())));
}

#[test]
fn an_entry_cannot_be_taken_out_or_brought_back() {
    let folder = folder();
    let store = by_file(folder.path());
    let path = folder.path().join("secrets.chiton");
    store.set(&name("a"), &value("value-one"), &HostList::default()).unwrap();
    let old: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    store.set(&name("a"), &value("value-two"), &HostList::default()).unwrap();
    let mut new: serde_json::Value = serde_json::from_slice(&fs::read(&path).unwrap()).unwrap();
    new["secrets"][0] = old["secrets"][0].clone();
    fs::write(&path, new.to_string()).unwrap();
    assert!(got(&by_file(folder.path()), "a").unwrap_err().contains("damaged"));
    new["secrets"] = serde_json::json!([]);
    fs::write(&path, new.to_string()).unwrap();
    assert!(got(&by_file(folder.path()), "a").unwrap_err().contains("damaged"));
}

#[test]
fn a_lost_key_is_never_replaced() {
    let folder = folder();
    by_file(folder.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    let key = folder.path().join("secrets.key");
    let text = fs::read_to_string(&key).unwrap();
    fs::remove_file(&key).unwrap();
    let store = by_file(folder.path());
    assert!(matches!(store.get(&name("a")), Err(LocalError::NoKeyFile(_))));
    assert!(matches!(
        store.set(&name("b"), &value("12345678"), &HostList::default()),
        Err(LocalError::NoKeyFile(_))
    ));
    assert!(!key.exists());
    let other = super::tests::folder();
    by_file(other.path()).set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    fs::copy(other.path().join("secrets.key"), &key).unwrap();
    assert!(matches!(by_file(folder.path()).get(&name("a")), Err(LocalError::WrongKey("key file"))));
    fs::write(&key, "nonsense").unwrap();
    assert!(matches!(by_file(folder.path()).get(&name("a")), Err(LocalError::BadKeyFile(_))));
    fs::write(&key, text).unwrap();
    assert!(got(&by_file(folder.path()), "a").is_ok());
}

#[test]
fn a_passphrase_opens_and_another_does_not() {
    let folder = folder();
    let store = by_passphrase(folder.path(), "correct horse");
    store.set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    assert!(!folder.path().join("secrets.key").exists());
    assert_eq!(got(&by_passphrase(folder.path(), "correct horse"), "a"), Ok(Some("12345678".into())));
    assert!(matches!(
        by_passphrase(folder.path(), "battery").get(&name("a")),
        Err(LocalError::WrongKey("passphrase"))
    ));
    assert!(matches!(by_file(folder.path()).get(&name("a")), Err(LocalError::Locked)));
    assert_eq!(by_file(folder.path()).list().unwrap().len(), 1);
    let empty = self::folder();
    let store = by_passphrase(empty.path(), "");
    assert!(matches!(
        store.set(&name("a"), &value("12345678"), &HostList::default()),
        Err(LocalError::EmptyPassphrase)
    ));
}

#[test]
fn the_environment_says_where_the_key_comes_from() {
    let folder = folder();
    let path = folder.path().join("passphrase");
    fs::write(&path, "from a file\n").unwrap();
    let source = |variables: &[(&str, &str)]| {
        let get =
            |name: &str| variables.iter().find(|(known, _)| *known == name).map(|(_, value)| value.into());
        match KeySource::from_variables(get) {
            Ok(KeySource::Passphrase(passphrase)) => Some(passphrase.dangerous_expose().to_vec()),
            Ok(KeySource::File) => None,
            Ok(KeySource::Keyring(_)) => Some(b"keyring".to_vec()),
            Err(error) => Some(error.to_string().into()),
        }
    };
    let file = ("CHITON_SECRETS_PASSPHRASE_FILE", path.to_str().unwrap());
    assert_eq!(source(&[]), None);
    assert_eq!(source(&[("CHITON_SECRETS_PASSPHRASE", "")]), None);
    assert_eq!(source(&[file]).as_deref(), Some(&b"from a file"[..]));
    assert_eq!(source(&[file, ("CHITON_SECRETS_PASSPHRASE", "first")]).as_deref(), Some(&b"first"[..]));
    let missing = source(&[("CHITON_SECRETS_PASSPHRASE_FILE", "/nowhere/p")]).unwrap();
    assert!(String::from_utf8(missing).unwrap().starts_with("cannot read the passphrase from `/nowhere/p`"));
    let told = |chosen: &'static str, more: &[(&str, &str)]| {
        let told = source(&[&[("CHITON_SECRETS_KEY", chosen)], more].concat());
        told.map(|told| String::from_utf8(told).unwrap())
    };
    assert_eq!(told("file", &[]), None);
    assert_eq!(told("keyring", &[]).as_deref(), Some("keyring"));
    assert_eq!(told("passphrase", &[file]).as_deref(), Some("from a file"));
    assert!(told("passphrase", &[]).unwrap().contains("empty"));
    assert!(told("keyring", &[file]).unwrap().contains("unset one"));
    assert!(told("file", &[file]).unwrap().contains("unset one"));
    assert!(told("Keyring", &[]).unwrap().contains("`Keyring`"));
}

#[test]
fn what_a_killed_writer_left_is_in_nobodys_way() {
    let folder = folder();
    let store = by_file(folder.path());
    fs::write(folder.path().join("secrets.key.new"), "half a k").unwrap();
    store.set(&name("a"), &value("12345678"), &HostList::default()).unwrap();
    fs::write(folder.path().join("secrets.chiton.new"), "half a st").unwrap();
    assert_eq!(got(&store, "a"), Ok(Some("12345678".into())));
    store.set(&name("b"), &value("12345678"), &HostList::default()).unwrap();
    assert_eq!(store.list().unwrap().len(), 2);
    assert!(!folder.path().join("secrets.chiton.new").exists());
}

#[test]
fn a_newer_format_is_named() {
    let folder = folder();
    let path = folder.path().join("secrets.chiton");
    fs::write(&path, r#"{"format":2,"anything":1}"#).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
    assert!(matches!(by_file(folder.path()).list(), Err(LocalError::Newer { found: 2, .. })));
}

#[test]
fn two_writers_lose_nothing() {
    let folder = folder();
    let path: Arc<Path> = folder.path().into();
    let writers: Vec<_> = (0..4)
        .map(|writer| {
            let path = Arc::clone(&path);
            std::thread::spawn(move || {
                for number in 0..8 {
                    let name = name(&format!("s{writer}-{number}"));
                    by_file(&path).set(&name, &value("12345678"), &HostList::default()).unwrap();
                }
            })
        })
        .collect();
    writers.into_iter().for_each(|writer| writer.join().unwrap());
    assert_eq!(by_file(&path).list().unwrap().len(), 32);
}

#[test]
fn names_and_hosts_are_checked() {
    assert!("a b".parse::<SecretName>().is_err());
    assert!("../a".parse::<SecretName>().is_err());
    assert!("x".repeat(200).parse::<SecretName>().is_err());
    for good in
        ["api.openai.com", "*.example.com", "10.0.0.1", "::1", "[::1]", "localhost", "Bücher.example."]
    {
        assert!(HostList::new([good]).is_ok(), "{good}");
    }
    for bad in ["", "https://a.b", "a.b/c", "a.b:443", "*", "*.com", "a b", "a..b", "0x7f.1"] {
        assert!(HostList::new([bad]).is_err(), "{bad}");
    }
}

#[test]
fn the_key_is_changed_to_any_other_and_the_old_one_opens_nothing() {
    let folder = folder();
    let store = by_file(folder.path());
    assert!(matches!(store.change_key(KeySource::File), Err(LocalError::NothingStored)));
    let hosts = HostList::new(["api.example.com"]).unwrap();
    store.set(&name("a"), &value("value-of-a!"), &hosts).unwrap();
    store.set(&name("b"), &value("value-of-b!"), &HostList::default()).unwrap();
    let (old_key, old_store) = (folder.path().join("secrets.key"), folder.path().join("secrets.chiton"));
    let first = fs::read(&old_key).unwrap();
    let listed = store.list().unwrap();
    // Another file.
    assert_eq!(store.change_key(KeySource::File).unwrap(), 2);
    let second = fs::read(&old_key).unwrap();
    assert!(first != second && second.len() == first.len(), "one key, and another");
    assert_eq!(got(&by_file(folder.path()), "a"), Ok(Some("value-of-a!".into())));
    assert_eq!(store.list().unwrap(), listed, "names, hosts and ages stay");
    fs::write(&old_key, &first).unwrap();
    assert!(matches!(by_file(folder.path()).get(&name("a")), Err(LocalError::WrongKey(_))));
    fs::write(&old_key, &second).unwrap();
    // A passphrase: the file goes.
    store.change_key(KeySource::Passphrase(value("correct horse"))).unwrap();
    assert!(!old_key.exists());
    assert_eq!(got(&by_passphrase(folder.path(), "correct horse"), "b"), Ok(Some("value-of-b!".into())));
    assert!(matches!(by_file(folder.path()).get(&name("a")), Err(LocalError::Locked)));
    assert_eq!(got(&store, "a"), Ok(Some("value-of-a!".into())), "the store that did it goes on");
    store.set(&name("c"), &value("value-of-c!"), &HostList::default()).unwrap();
    // An empty passphrase is none, and changes nothing.
    let before = fs::read(&old_store).unwrap();
    assert!(matches!(store.change_key(KeySource::Passphrase(value(""))), Err(LocalError::EmptyPassphrase)));
    assert_eq!(fs::read(&old_store).unwrap(), before);
    // And back.
    assert_eq!(store.change_key(KeySource::File).unwrap(), 3);
    assert_eq!(got(&by_file(folder.path()), "c"), Ok(Some("value-of-c!".into())));
}

/// Killed between any two writes of a change: the key file has both keys, and the store opens with one of them.
#[test]
fn a_change_of_the_key_that_did_not_come_to_its_end_loses_nothing() {
    let folder = folder();
    let store = by_file(folder.path());
    store.set(&name("a"), &value("value-of-a!"), &HostList::default()).unwrap();
    let at = |file: &str| folder.path().join(file);
    let (old_key, old_store) =
        (fs::read(at("secrets.key")).unwrap(), fs::read(at("secrets.chiton")).unwrap());
    store.change_key(KeySource::File).unwrap();
    let (new_key, new_store) =
        (fs::read(at("secrets.key")).unwrap(), fs::read(at("secrets.chiton")).unwrap());
    for sealed in [&old_store, &new_store] {
        fs::write(at("secrets.key"), [old_key.as_slice(), &new_key].concat()).unwrap();
        fs::write(at("secrets.chiton"), sealed).unwrap();
        assert_eq!(got(&by_file(folder.path()), "a"), Ok(Some("value-of-a!".into())));
    }
    // One that cannot be written at all stays as it was.
    fs::write(at("secrets.chiton"), "{").unwrap();
    assert!(by_file(folder.path()).change_key(KeySource::File).is_err());
    assert_eq!(fs::read(at("secrets.chiton")).unwrap(), b"{");
}
