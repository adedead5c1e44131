//! `/etc`: what programs need of the host's, what is written anew, and the trusted roots.
//!
//! By name and never whole: no password hashes, no keys, no configuration that may hold credentials.

use std::{
    collections::BTreeMap,
    fs,
    os::unix::fs::MetadataExt as _,
    path::{Path, PathBuf},
};

use crate::{
    plan::{
        HOME, PlanError, PlanInputs, RESOLVER, System, TRUST_BUNDLE, USER,
        system::{as_on_host, repeat},
    },
    view::{Source, Step},
};

/// Taken over where the host has them.
const TAKEN: &[&str] = &[
    "ld.so.cache",
    "ld.so.conf",
    "ld.so.conf.d",
    "localtime",
    "timezone",
    "alternatives",
    "host.conf",
    "gai.conf",
    "mime.types",
    "protocols",
    "services",
    "rpc",
    "networks",
    "netconfig",
    "ethertypes",
    "shells",
    "bash.bashrc",
    "bashrc",
    "profile",
    "profile.d",
    "bash_completion.d",
    "inputrc",
    "locale.alias",
    "locale.conf",
    "locale.gen",
    "os-release",
    "lsb-release",
    "debian_version",
    "alpine-release",
    "fedora-release",
    "redhat-release",
    "system-release",
    "magic",
    "magic.mime",
    "manpath.config",
    "mailcap",
    "perl",
    "fonts",
    "terminfo",
    "xml",
    "sgml",
    "crypto-policies",
    "gnutls",
    "vim",
    "texmf",
    "groff",
    "gdb",
    "R",
    "ImageMagick-6",
    "ImageMagick-7",
    "OpenCL",
    "vulkan",
    "glvnd",
    "dpkg",
    "maven",
];

/// The same for what lies deeper.
const TAKEN_BELOW: &[&str] = &["ssl/openssl.cnf", "pki/tls/openssl.cnf"];

/// The same for names that carry a version.
const TAKEN_BY_PREFIX: &[&str] = &["python", "java", "openmpi"];

/// What is written anew, or assembled by name, whatever an image has there.
const WRITTEN: &[&str] = &[
    "passwd",
    "passwd-",
    "shadow",
    "shadow-",
    "group",
    "group-",
    "gshadow",
    "gshadow-",
    "hostname",
    "hosts",
    "resolv.conf",
    "nsswitch.conf",
    "mtab",
    "ssl",
    "pki",
];

/// Where hosts keep their bundle of trusted roots: Debian and Alpine, Fedora, SUSE, BSD's name.
const BUNDLES: &[&str] = &[
    TRUST_BUNDLE,
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/var/lib/ca-certificates/ca-bundle.pem",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
];

/// Debian's folder of roots by hash, which holds the bundle too.
const ROOTS: &str = "/etc/ssl/certs";

/// Debian's store of roots for every Java.
const JAVA_ROOTS: &str = "/etc/ssl/certs/java/cacerts";

/// No more is copied: an image may have as many files as it likes.
const MOST_COPIED: u64 = 1 << 20;

/// Everything under `/etc`.
pub(super) fn steps(inputs: &PlanInputs) -> Result<Vec<Step>, PlanError> {
    let mut steps = taken(inputs.system)?;
    steps.push(Step::Link { path: "/etc/mtab".into(), target: "/proc/self/mounts".into() });
    steps.extend(written(inputs));
    steps.extend(trust(&inputs.authority_pem));
    Ok(steps)
}

/// What the host has of the lists, by one reading of its folder.
fn taken(system: System) -> Result<Vec<Step>, PlanError> {
    let etc = Path::new("/etc");
    let failed = |source| PlanError::Host { path: etc.to_owned(), source };
    let mut found = BTreeMap::new();
    let entries = match fs::read_dir(etc) {
        // An image may have none.
        Err(e) if e.kind() == std::io::ErrorKind::NotFound => None,
        entries => Some(entries.map_err(failed)?),
    };
    for entry in entries.into_iter().flatten() {
        let entry = entry.map_err(failed)?;
        if entry.file_name().to_str().is_some_and(|name| is_taken(name, system)) {
            found.insert(entry.path(), entry.metadata().map_err(failed)?);
        }
    }
    let mut room = MOST_COPIED;
    let step = |(path, about): (&PathBuf, &fs::Metadata)| match room.checked_sub(about.len()) {
        Some(left) if is_copied(about) => {
            room = left;
            Ok(Step::Copy(path.clone()))
        }
        _ => repeat(path, about.is_symlink()),
    };
    let mut steps = found.iter().map(step).collect::<Result<Vec<_>, _>>()?;
    for below in TAKEN_BELOW {
        steps.extend(as_on_host(&etc.join(below))?);
    }
    Ok(steps)
}

/// A file of a few pages that everybody reads costs less as a copy than as a mount. Whose it is cannot be told from
/// inside the namespace.
fn is_copied(about: &fs::Metadata) -> bool {
    about.is_file() && about.len() <= 32 << 10 && about.mode() & 0o777 == 0o644
}

/// Whether a path stays among the system's files, where links lead it. What is read of an image is read by the
/// supervisor, which sees more than the agent.
fn is_systems(path: &Path) -> bool {
    let kernels = |real: &Path| ["/proc", "/sys", "/dev"].iter().any(|kernels| real.starts_with(kernels));
    fs::canonicalize(path).is_ok_and(|real| !kernels(&real))
}

fn is_taken(name: &str, system: System) -> bool {
    if system == System::Image {
        return !WRITTEN.contains(&name);
    }
    TAKEN.contains(&name) || TAKEN_BY_PREFIX.iter().any(|prefix| name.starts_with(prefix))
}

fn written(inputs: &PlanInputs) -> Vec<Step> {
    let (uid, gid, name) = (inputs.uid, inputs.gid, &inputs.name);
    let shell = if Path::new("/bin/bash").exists() { "/bin/bash" } else { "/bin/sh" };
    let nobody = 65534;
    let mut passwd =
        format!("root:x:0:0:root:/root:/usr/sbin/nologin\n{USER}:x:{uid}:{gid}:{USER}:{HOME}:{shell}\n");
    if uid != nobody {
        passwd += "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n";
    }
    let mut group = String::from("root:x:0:\n");
    if gid != 0 {
        group += &format!("{USER}:x:{gid}:\n");
    }
    if gid != nobody {
        group += "nogroup:x:65534:\n";
    }
    let file = |path: &str, text: String| Step::File { path: PathBuf::from(path), text };
    vec![
        file("/etc/passwd", passwd),
        file("/etc/group", group),
        file("/etc/hostname", format!("{name}\n")),
        file(
            "/etc/hosts",
            format!("127.0.0.1 localhost {name}\n::1 localhost ip6-localhost ip6-loopback\n"),
        ),
        file("/etc/resolv.conf", format!("nameserver {RESOLVER}\n")),
        file(
            "/etc/nsswitch.conf",
            "passwd: files\ngroup: files\nshadow: files\nhosts: files dns\nnetworks: files\nprotocols: files\n\
             services: files\nethers: files\nrpc: files\n"
                .to_owned(),
        ),
    ]
}

/// The bundle with the sandbox's authority, under every name that programs look for it by.
fn trust(authority: &str) -> Vec<Step> {
    let host = BUNDLES.iter().map(PathBuf::from).find(|path| path.is_file() && is_systems(path));
    let plain = |path: &str| {
        fs::symlink_metadata(path).is_ok_and(|found| !found.is_symlink()) && is_systems(Path::new(path))
    };
    let bundle = |path: &str| Step::TrustBundle {
        path: PathBuf::from(path),
        host: host.clone(),
        authority: authority.to_owned(),
    };
    let mut steps = if plain(ROOTS) && plain(TRUST_BUNDLE) {
        // The host's folder of hashes stays, and only the bundle in it is another.
        let written = "/etc/ssl/bundle.pem";
        vec![
            bundle(written),
            Step::Mount { path: PathBuf::from(ROOTS), source: Source::Host(PathBuf::from(ROOTS)) },
            Step::Cover { path: PathBuf::from(TRUST_BUNDLE), source: Source::Inside(PathBuf::from(written)) },
        ]
    } else {
        vec![bundle(TRUST_BUNDLE)]
    };
    if plain(ROOTS) && plain(JAVA_ROOTS) {
        steps.push(Step::JavaRoots {
            path: PathBuf::from("/etc/ssl/java-cacerts"),
            over: PathBuf::from(JAVA_ROOTS),
            host: PathBuf::from(JAVA_ROOTS),
            authority: authority.to_owned(),
        });
    }
    for other in BUNDLES.iter().filter(|path| **path != TRUST_BUNDLE) {
        steps.push(Step::Link { path: PathBuf::from(other), target: PathBuf::from(TRUST_BUNDLE) });
    }
    steps
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_of_the_first_process_is_among_the_roots() {
        let link = std::env::temp_dir().join(format!("chiton-roots-{}", std::process::id()));
        std::os::unix::fs::symlink("/proc/self/environ", &link).unwrap();
        let (found, followed) = (link.is_file(), is_systems(&link));
        fs::remove_file(&link).unwrap();
        assert!(found && !followed);
        assert!(is_systems(Path::new("/etc")));
        assert!(!is_systems(Path::new("/nonexistent")));
    }

    /// In a user namespace root's files look like nobody's.
    #[test]
    fn a_small_file_is_copied_whoever_has_it() {
        use std::os::unix::fs::PermissionsExt as _;
        let path = std::env::temp_dir().join(format!("chiton-copied-{}", std::process::id()));
        let copied = |mode: u32, length: u64| {
            let file = fs::File::create(&path).unwrap();
            file.set_len(length).unwrap();
            file.set_permissions(fs::Permissions::from_mode(mode)).unwrap();
            is_copied(&fs::metadata(&path).unwrap())
        };
        let told = [copied(0o644, 9), copied(0o640, 9), copied(0o4644, 9), copied(0o644, 32769)];
        fs::remove_file(&path).unwrap();
        assert_eq!(told, [true, false, true, false]);
        assert!(!is_copied(&fs::metadata("/etc").unwrap()));
    }
}
