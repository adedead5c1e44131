//! `[vault]` of `config.toml`: which Vault is asked for `vault://`, and how.

use std::{
    collections::BTreeMap,
    path::{Path, PathBuf},
};

use chiton_credentials::{
    ServerRoots,
    vault::{KvVersion, Login, VaultAddress, VaultSettings},
};
use chiton_secret::{Scheme, SecretRef};
use serde::Deserialize;

use super::times::{Span, Times, keep, refresh, timeout};

/// Where a pod finds the token of its service account.
const POD_TOKEN: &str = "/var/run/secrets/kubernetes.io/serviceaccount/token";

/// `[vault]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct VaultSection {
    address: String,
    namespace: Option<String>,
    ca: Option<PathBuf>,
    token: Option<SecretRef>,
    token_file: Option<PathBuf>,
    approle: Option<AppRoleSection>,
    kubernetes: Option<KubernetesSection>,
    #[serde(default)]
    mounts: BTreeMap<String, u8>,
    #[serde(default = "refresh")]
    refresh: Span,
    #[serde(default = "keep")]
    keep: Span,
    #[serde(default = "timeout")]
    timeout: Span,
}

/// `[vault.approle]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct AppRoleSection {
    role_id: String,
    secret_id: Option<SecretRef>,
    secret_id_file: Option<PathBuf>,
    #[serde(default = "approle")]
    mount: String,
}

/// `[vault.kubernetes]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct KubernetesSection {
    role: String,
    #[serde(default = "pod_token")]
    jwt_file: PathBuf,
    #[serde(default = "kubernetes")]
    mount: String,
}

fn approle() -> String {
    "approle".to_owned()
}

fn kubernetes() -> String {
    "kubernetes".to_owned()
}

fn pod_token() -> PathBuf {
    POD_TOKEN.into()
}

/// What of `[upstream]` holds for the servers that keep secrets too.
#[derive(Default)]
pub(super) struct Beside {
    /// `resolve`.
    pub(super) resolve: BTreeMap<String, std::net::SocketAddr>,
    /// `extra_ca`, read.
    pub(super) extra_ca: Vec<String>,
}

impl VaultSection {
    /// The file of its own authority.
    pub(super) fn ca(&self) -> Option<&Path> {
        self.ca.as_deref()
    }

    /// What a client needs; `ca` is that file's text. The error is about a value, and repeats none that may be secret.
    pub(super) fn settings(&self, ca: Option<String>, beside: Beside) -> Result<VaultSettings, String> {
        let address: VaultAddress =
            self.address.parse().map_err(|error| format!("`[vault] address`: {error}"))?;
        if let Some(namespace) = self.namespace.as_ref().filter(|namespace| !is_path(namespace)) {
            return Err(format!(
                "`[vault] namespace` is `{}`: expected `name` or `name/of/one`",
                plain(namespace)
            ));
        }
        let Times { refresh, keep, timeout } = Times::of("[vault]", [self.refresh, self.keep, self.timeout])?;
        let roots = match ca {
            Some(pem) => ServerRoots::Only(vec![pem]),
            None => ServerRoots::SystemAnd(beside.extra_ca),
        };
        Ok(VaultSettings {
            address,
            namespace: self.namespace.as_ref().map(|namespace| namespace.trim_matches('/').to_owned()),
            login: self.login()?,
            roots,
            resolve: beside.resolve,
            mounts: self.mounts()?,
            refresh,
            keep,
            timeout,
        })
    }

    fn mounts(&self) -> Result<BTreeMap<String, KvVersion>, String> {
        let version = |(mount, version): (&String, &u8)| {
            let version = match version {
                1 => KvVersion::V1,
                2 => KvVersion::V2,
                other => {
                    return Err(format!(
                        "`[vault.mounts]` has {other} for `{}`: expected 1 or 2",
                        plain(mount)
                    ));
                }
            };
            if !is_path(mount) {
                return Err(format!("`[vault.mounts]` has `{}`: expected a mount's path", plain(mount)));
            }
            Ok((mount.trim_matches('/').to_owned(), version))
        };
        self.mounts.iter().map(version).collect()
    }

    fn login(&self) -> Result<Login, String> {
        let token =
            either(("token", self.token.as_ref()), ("token_file", self.token_file.as_deref()), "[vault]")?;
        match (token, &self.approle, &self.kubernetes) {
            (Some(token), None, None) => Ok(Login::Token(token)),
            (None, Some(AppRoleSection { role_id, secret_id, secret_id_file, mount }), None) => {
                let told = (("secret_id", secret_id.as_ref()), ("secret_id_file", secret_id_file.as_deref()));
                let secret_id = either(told.0, told.1, "[vault.approle]")?;
                let secret_id = secret_id.ok_or("`[vault.approle]` has no `secret_id_file` and no `secret_id`")?;
                let mount = method(mount, "[vault.approle]")?;
                Ok(Login::AppRole { mount, role_id: role_id.clone(), secret_id })
            }
            (None, None, Some(KubernetesSection { role, jwt_file, mount })) => {
                let mount = method(mount, "[vault.kubernetes]")?;
                Ok(Login::Kubernetes { mount, role: role.clone(), jwt: file(jwt_file, "[vault.kubernetes] jwt_file")? })
            }
            (None, None, None) => {
                Err("`[vault]` has no way to log in: give it `token_file`, `token`, `approle` or `kubernetes`".into())
            }
            _ => Err("`[vault]` has more than one way to log in: keep one of `token_file`, `token`, `approle`, `kubernetes`".into()),
        }
    }
}

/// A reference, or a file, and not both.
fn either(
    (name, reference): (&str, Option<&SecretRef>),
    (file_name, path): (&str, Option<&Path>),
    section: &str,
) -> Result<Option<SecretRef>, String> {
    match (reference, path) {
        (Some(_), Some(_)) => Err(format!("`{section}` has both `{name}` and `{file_name}`: keep one")),
        (None, None) => Ok(None),
        (None, Some(path)) => file(path, &format!("{section} {file_name}")).map(Some),
        (Some(reference), None) => match reference.scheme() {
            Scheme::Local | Scheme::Env | Scheme::File => Ok(Some(reference.clone())),
            Scheme::Vault | Scheme::AwsSm | Scheme::Exec => Err(format!(
                "`{section} {name}` is `{reference}`: what opens Vault is kept on this host, so use local://, env:// or file://"
            )),
        },
    }
}

fn file(path: &Path, setting: &str) -> Result<SecretRef, String> {
    let shown = path.display();
    if path.is_relative() {
        return Err(format!("`{setting}` has `{shown}`: expected an absolute path"));
    }
    format!("file://{shown}").parse().map_err(|error| format!("`{setting}` has `{shown}`: {error}"))
}

fn method(mount: &str, section: &str) -> Result<String, String> {
    if !is_path(mount) {
        return Err(format!("`{section} mount` is `{}`: expected a path, as `approle`", plain(mount)));
    }
    Ok(mount.trim_matches('/').to_owned())
}

/// Segments of letters, digits, `-`, `_` and `.`; a slash at the end is as none.
fn is_path(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
    let segment = |segment: &str| !matches!(segment, "" | "." | "..") && segment.bytes().all(good);
    text.trim_matches('/').split('/').all(segment)
}

pub(super) fn plain(text: &str) -> String {
    text.chars().filter(|letter| !letter.is_control()).take(80).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<VaultSettings, String> {
        let section: VaultSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.settings(None, Beside { resolve: [].into(), extra_ca: Vec::new() })
    }

    const ADDRESS: &str = "address = \"https://vault.corp:8200\"\n";

    #[test]
    fn every_way_to_log_in() {
        let login = |text: &str| settings(&format!("{ADDRESS}{text}")).unwrap().login;
        let reference = |text: &str| text.parse().unwrap();
        assert_eq!(login("token_file = \"/t\""), Login::Token(reference("file:///t")));
        assert_eq!(login("token = \"env://VAULT_TOKEN\""), Login::Token(reference("env://VAULT_TOKEN")));
        let expected = Login::AppRole {
            mount: "approle".into(),
            role_id: "r".into(),
            secret_id: reference("file:///s"),
        };
        assert_eq!(login("[approle]\nrole_id = \"r\"\nsecret_id_file = \"/s\""), expected);
        let expected =
            Login::AppRole { mount: "a/b".into(), role_id: "r".into(), secret_id: reference("local://s") };
        assert_eq!(
            login("[approle]\nrole_id = \"r\"\nsecret_id = \"local://s\"\nmount = \"a/b/\""),
            expected
        );
        let jwt = reference(&format!("file://{POD_TOKEN}"));
        let expected = Login::Kubernetes { mount: "kubernetes".into(), role: "chiton".into(), jwt };
        assert_eq!(login("[kubernetes]\nrole = \"chiton\""), expected);
    }

    #[test]
    fn the_rest_and_what_holds_without_it() {
        let told = settings(&format!(
            "{ADDRESS}token_file = \"/t\"\nnamespace = \"a/b\"\nrefresh = \"30s\"\nkeep = \"10m\"\ntimeout = \"2s\"\n[mounts]\nllm = 2\n\"kv/old\" = 1"
        ));
        let told = told.unwrap();
        assert_eq!((told.refresh.as_secs(), told.keep.as_secs(), told.timeout.as_secs()), (30, 600, 2));
        assert_eq!(told.namespace.as_deref(), Some("a/b"));
        assert_eq!(told.mounts["kv/old"], KvVersion::V1);
        let bare = settings(&format!("{ADDRESS}token_file = \"/t\"")).unwrap();
        assert_eq!((bare.refresh.as_secs(), bare.keep.as_secs(), bare.timeout.as_secs()), (300, 3600, 10));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let with = |text: &str| format!("{ADDRESS}token_file = \"/t\"\n{text}");
        for (text, said) in [
            (ADDRESS.to_owned(), "no way to log in"),
            (with("token = \"env://A\""), "both `token` and `token_file`"),
            (with("[kubernetes]\nrole = \"x\""), "more than one way"),
            ("address = \"http://vault.corp:8200\"\ntoken_file = \"/t\"".to_owned(), "in the clear"),
            (
                "address = \"https://me:hunter22@v.corp\"\ntoken_file = \"/t\"".to_owned(),
                "`https://host:port`",
            ),
            (format!("{ADDRESS}token = \"vault://a/b\""), "kept on this host"),
            (format!("{ADDRESS}token = \"hunter22\""), "not a secret reference"),
            (format!("{ADDRESS}token_file = \"t\""), "absolute path"),
            (format!("{ADDRESS}[approle]\nrole_id = \"r\""), "no `secret_id_file`"),
            (with("refresh = \"2h\""), "longer than `keep`"),
            (with("refresh = \"5\""), "`30s`, `5m`"),
            (with("refresh = \"0s\""), "`30s`, `5m`"),
            (with("timeout = \"5m\""), "longer than a minute"),
            (with("namespace = \"a b\""), "`[vault] namespace`"),
            (with("[mounts]\nllm = 3"), "expected 1 or 2"),
            (with("[mounts]\n\"../llm\" = 2"), "a mount's path"),
            (with("tokens = 1"), "tokens"),
        ] {
            let error = settings(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            if !text.contains("token = \"hunter22") {
                assert!(!error.contains("hunter22"), "{error}");
            }
        }
    }
}
