//! Resolution, and who may own what.

use std::{os::unix::fs::symlink, path::PathBuf};

use super::*;

fn environment(uid: u32, variables: &[(&str, &str)]) -> Environment {
    let variables = variables.iter().map(|(k, v)| (OsString::from(k), OsString::from(v))).collect();
    Environment { uid, config: None, variables }
}

#[test]
fn own_variables_come_first_then_xdg_then_the_usual() {
    let all = [
        ("CHITON_STATE_DIR", "/s"),
        ("CHITON_RUNTIME_DIR", "/r"),
        ("XDG_STATE_HOME", "/xs"),
        ("XDG_RUNTIME_DIR", "/xr"),
        ("XDG_CONFIG_HOME", "/xc"),
        ("HOME", "/home/u"),
    ];
    let own = Paths::resolve(&environment(1000, &all)).unwrap();
    assert_eq!((own.state, own.runtime), ("/s".into(), "/r".into()));
    let xdg = Paths::resolve(&environment(1000, &all[2..])).unwrap();
    assert_eq!((xdg.state, xdg.runtime), ("/xs/chiton".into(), "/xr/chiton".into()));
    let places = ["/xc/chiton/config.toml", "/etc/chiton/config.toml"].map(PathBuf::from).to_vec();
    assert_eq!(xdg.config, ConfigPlaces::Usual(places));
    let bare = Paths::resolve(&environment(1000, &all[5..])).unwrap();
    assert_eq!((bare.state, bare.runtime), ("/home/u/.local/state/chiton".into(), "/tmp/chiton-1000".into()));
    let root = Paths::resolve(&environment(0, &all[5..])).unwrap();
    assert_eq!((root.state, root.runtime), ("/var/lib/chiton".into(), "/run/chiton".into()));
}

#[test]
fn what_cannot_be_is_refused() {
    let relative = environment(1000, &[("CHITON_STATE_DIR", "s"), ("HOME", "/h")]);
    assert!(matches!(Paths::resolve(&relative), Err(PathsError::Relative("CHITON_STATE_DIR", _))));
    let long = format!("/{}", "x".repeat(60));
    let long = environment(1000, &[("CHITON_RUNTIME_DIR", &long), ("HOME", "/h")]);
    assert!(matches!(Paths::resolve(&long), Err(PathsError::TooLong { over: 7, .. })));
    assert!(matches!(Paths::resolve(&environment(1000, &[])), Err(PathsError::NoHome)));
}

#[test]
fn a_foreign_or_linked_runtime_folder_is_refused_and_an_open_one_closed() {
    let base = std::env::temp_dir().join(format!("chiton-paths-{}", std::process::id()));
    let (state, runtime) = (base.join("s"), base.join("r"));
    let paths = Paths { state, runtime: runtime.clone(), config: ConfigPlaces::Usual(vec![]) };
    paths.prepare().unwrap();
    fs::set_permissions(&runtime, fs::Permissions::from_mode(0o755)).unwrap();
    paths.prepare().unwrap();
    assert_eq!(fs::metadata(&runtime).unwrap().mode() & 0o777, 0o700);
    fs::remove_dir(&runtime).unwrap();
    symlink(base.join("s"), &runtime).unwrap();
    assert!(matches!(paths.check_runtime(), Err(PathsError::NotOurs { .. })));
    fs::remove_dir_all(&base).unwrap();
}
