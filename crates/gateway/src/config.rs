//! `config.toml`: what the operator says. Read at the gateway's start and again for each sandbox that is
//! started, so that a change needs no restart; one with an error refuses that start and changes nothing else.
//!
//! Unknown keys are errors. What is known but not there yet (`listen` other than `unix`) parses, and is refused by
//! name where it would be used.

mod aws;
mod exec;
mod times;
mod vault;

use std::{
    collections::BTreeMap,
    fs, io,
    net::SocketAddr,
    path::{Path, PathBuf},
};

use chiton_api::{
    control::Upstream,
    forward::{Exception, ForwardProxy, ProxyUrl},
    name::DriverName,
    paths::Paths,
};
use chiton_credentials::{AwsSettings, ExecCommand, VaultSettings};
use chiton_llm::PriceRows;
use chiton_policy::{BaseUrl, BaseUrlError};
use chiton_secret::SecretRef;
use serde::Deserialize;

use aws::AwsSection;
use exec::ExecSection;
use vault::{Beside, VaultSection};

/// Why the configuration cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file, or one that it names, cannot be read.
    #[error("cannot read `{path}`{}: {source}", .setting.map(|s| format!(", which `{s}` names")).unwrap_or_default())]
    Read {
        /// The file.
        path: PathBuf,
        /// The setting that names it.
        setting: Option<&'static str>,
        /// What the system said.
        source: io::Error,
    },
    /// It does not parse.
    #[error("`{path}`, line {line}, column {column}: {message}")]
    Invalid {
        /// The file.
        path: PathBuf,
        /// From 1.
        line: usize,
        /// From 1.
        column: usize,
        /// What is wrong, one line.
        message: String,
    },
    /// A value cannot be what it is.
    #[error("`{path}`: {message}")]
    Value {
        /// The file.
        path: PathBuf,
        /// Which value, and why.
        message: String,
    },
    /// Known, but not there yet.
    #[error("not supported yet: `{0}` of config.toml")]
    NotSupported(&'static str),
}

const EXTRA_CA: &str = "[upstream] extra_ca";

/// The whole of `config.toml`.
#[derive(Clone, Debug, Default, PartialEq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct Config {
    pub(crate) gateway: GatewaySection,
    upstream: UpstreamSection,
    llm: LlmSection,
    vault: Option<VaultSection>,
    aws: AwsSection,
    exec: BTreeMap<String, ExecSection>,
    docker: DockerSection,
    podman: PodmanSection,
    #[serde(skip)]
    file: PathBuf,
}

/// `[gateway]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(crate) struct GatewaySection {
    listen: Vec<String>,
    pub(crate) default_driver: DriverName,
    tls: Option<TlsSection>,
}

impl Default for GatewaySection {
    fn default() -> Self {
        Self { listen: vec!["unix".into()], default_driver: DriverName::Native, tls: None }
    }
}

/// `[docker]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct DockerSection {
    socket: Option<PathBuf>,
    sidecar: bool,
}

/// `[podman]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct PodmanSection {
    socket: Option<PathBuf>,
}

/// Where container engines listen, where the operator says so.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct EngineSockets {
    /// `[docker] socket`.
    pub docker: Option<PathBuf>,
    /// `[docker] sidecar`: the way out is a second container, for an engine whose kernel is not this machine's.
    pub docker_sidecar: bool,
    /// `[podman] socket`.
    pub podman: Option<PathBuf>,
}

/// `[gateway.tls]`, which no listener uses yet.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
struct TlsSection {
    certificate: PathBuf,
    key: PathBuf,
}

/// `[upstream]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct UpstreamSection {
    extra_ca: Vec<PathBuf>,
    proxy: Option<ProxyUrl>,
    proxy_credential: Option<SecretRef>,
    proxy_resolves: bool,
    no_proxy: Vec<Exception>,
    resolve: BTreeMap<String, String>,
}

impl UpstreamSection {
    /// A key that says something of a proxy, where there is none.
    fn without_a_proxy(&self) -> Option<&'static str> {
        let keys = [
            ("proxy_credential", self.proxy_credential.is_some()),
            ("proxy_resolves", self.proxy_resolves),
            ("no_proxy", !self.no_proxy.is_empty()),
        ];
        let said = keys.into_iter().find(|(_, is_there)| *is_there).map(|(key, _)| key);
        said.filter(|_| self.proxy.is_none())
    }
}

/// `[llm]`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
struct LlmSection {
    allow: Vec<BaseUrlText>,
    prices: PriceRows,
}

/// A base URL as it stands in the file.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(try_from = "String")]
struct BaseUrlText(BaseUrl);

impl TryFrom<String> for BaseUrlText {
    type Error = BaseUrlError;

    fn try_from(text: String) -> Result<Self, BaseUrlError> {
        Ok(Self(text.parse()?))
    }
}

impl Config {
    /// Where container engines listen, read once at the gateway's start.
    pub(crate) fn engine_sockets(&self) -> EngineSockets {
        EngineSockets {
            docker: self.docker.socket.clone(),
            docker_sidecar: self.docker.sidecar,
            podman: self.podman.socket.clone(),
        }
    }

    /// Reads the file in use; without one, everything is as by default.
    pub(crate) fn load(paths: &Paths) -> Result<Self, ConfigError> {
        let Some(file) = paths.config_file() else { return Ok(Self::default()) };
        let text = fs::read_to_string(&file).map_err(|source| ConfigError::Read {
            path: file.clone(),
            setting: None,
            source,
        })?;
        Self::parse(&text, &file)
    }

    pub(crate) fn parse(text: &str, file: &Path) -> Result<Self, ConfigError> {
        let mut config: Self = toml::from_str(text).map_err(|error| {
            let (line, column) = place(text, error.span().map_or(0, |span| span.start));
            let message = error.message().lines().collect::<Vec<_>>().join(", ");
            ConfigError::Invalid { path: file.to_path_buf(), line, column, message }
        })?;
        config.file = file.to_path_buf();
        config.check()?;
        Ok(config)
    }

    fn check(&self) -> Result<(), ConfigError> {
        let bad = |message| Err(ConfigError::Value { path: self.file.clone(), message });
        for (name, address) in &self.upstream.resolve {
            let port = name.rsplit_once(':').filter(|(host, _)| !host.is_empty());
            if port.and_then(|(_, port)| port.parse::<u16>().ok()).is_none_or(|port| port == 0) {
                return bad(format!("`[upstream.resolve]` has `{name}`: expected `host:port`"));
            }
            if address.parse::<SocketAddr>().is_err() {
                return bad(format!(
                    "`[upstream.resolve]` has `{address}` for `{name}`: expected `address:port`"
                ));
            }
        }
        if let Some(path) = self.upstream.extra_ca.iter().find(|path| path.is_relative()) {
            return bad(format!("`[upstream] extra_ca` has `{}`: expected an absolute path", path.display()));
        }
        if let Some(vault) = &self.vault {
            if let Some(path) = vault.ca().filter(|path| path.is_relative()) {
                return bad(format!("`[vault] ca` has `{}`: expected an absolute path", path.display()));
            }
            if let Err(message) = vault.settings(None, Beside::default()) {
                return bad(message);
            }
        }
        let aws = self.aws.settings(Beside::default()).map(drop);
        if let Err(message) = aws.and_then(|()| exec::commands(&self.exec).map(drop)) {
            return bad(message);
        }
        if let Some(reference) = &self.upstream.proxy_credential
            && reference.scheme().is_refreshed()
        {
            // It is not refreshed while a sandbox runs, and would be used past its time.
            return bad(format!(
                "not supported yet: `[upstream] proxy_credential` is `{reference}`; use local://, env:// or file://"
            ));
        }
        match self.upstream.without_a_proxy() {
            Some(key) => bad(format!(
                "`[upstream] {key}` stands there without `proxy`: name the proxy that it is about"
            )),
            None => Ok(()),
        }
    }

    /// That the gateway can listen as it is told to.
    pub(crate) fn check_listen(&self) -> Result<(), ConfigError> {
        match self.gateway.listen.as_slice() {
            [only] if only == "unix" => Ok(()),
            [] => Err(ConfigError::Value {
                path: self.file.clone(),
                message: "`[gateway] listen` is empty: expected `[\"unix\"]`".into(),
            }),
            _ => Err(ConfigError::NotSupported("[gateway] listen = [\"https://…\"]")),
        }
    }

    /// What a proxy gets of it, with the files read, and the reference whose value is still missing.
    pub(crate) fn upstream(&self) -> Result<(Upstream, Option<SecretRef>), ConfigError> {
        let mut extra_ca = Vec::new();
        for path in &self.upstream.extra_ca {
            extra_ca.push(self.read_ca(path, EXTRA_CA)?);
        }
        let resolve = self.upstream.resolve.clone();
        let forward = self.upstream.proxy.clone().map(|url| ForwardProxy {
            url,
            credential: None,
            resolves: self.upstream.proxy_resolves,
            except: self.upstream.no_proxy.clone(),
        });
        let llm_allow = self.llm_allow().iter().map(ToString::to_string).collect();
        // Names and numbers always serialise.
        let llm_prices = serde_json::to_string(&self.llm.prices).unwrap_or_default();
        let upstream = Upstream { extra_ca, resolve, llm_allow, llm_prices, forward };
        Ok((upstream, self.upstream.proxy_credential.clone()))
    }

    /// `[llm] allow`.
    pub(crate) fn llm_allow(&self) -> Vec<BaseUrl> {
        self.llm.allow.iter().map(|BaseUrlText(url)| url.clone()).collect()
    }

    /// How Vault is asked, with the files read; none where there is none.
    pub(crate) fn vault(&self) -> Result<Option<VaultSettings>, ConfigError> {
        let Some(vault) = &self.vault else { return Ok(None) };
        let ca = vault.ca().map(|path| self.read_ca(path, "[vault] ca")).transpose()?;
        let beside = self.beside(ca.is_none())?;
        vault.settings(ca, beside).map(Some).map_err(|message| self.bad_value(message))
    }

    /// How AWS is asked, with the files read.
    pub(crate) fn aws(&self) -> Result<AwsSettings, ConfigError> {
        self.aws.settings(self.beside(true)?).map_err(|message| self.bad_value(message))
    }

    /// The commands of `exec://`.
    pub(crate) fn exec(&self) -> Result<BTreeMap<String, ExecCommand>, ConfigError> {
        exec::commands(&self.exec).map_err(|message| self.bad_value(message))
    }

    fn beside(&self, trusts_extra: bool) -> Result<Beside, ConfigError> {
        let mut extra_ca = Vec::new();
        for path in self.upstream.extra_ca.iter().filter(|_| trusts_extra) {
            extra_ca.push(self.read_ca(path, EXTRA_CA)?);
        }
        let resolve = self.upstream.resolve.iter();
        let resolve = resolve.filter_map(|(name, address)| Some((name.clone(), address.parse().ok()?)));
        Ok(Beside { resolve: resolve.collect(), extra_ca })
    }

    fn bad_value(&self, message: String) -> ConfigError {
        ConfigError::Value { path: self.file.clone(), message }
    }

    fn read_ca(&self, path: &Path, setting: &'static str) -> Result<String, ConfigError> {
        let read = fs::read_to_string(path);
        let pem = read.map_err(|source| ConfigError::Read {
            path: path.to_path_buf(),
            setting: Some(setting),
            source,
        })?;
        chiton_tls::Roots::only(std::slice::from_ref(&pem)).map_err(|error| ConfigError::Value {
            path: self.file.clone(),
            message: format!("`{setting}` has `{}`: {error}", path.display()),
        })?;
        Ok(pem)
    }
}

/// Line and column, from 1, of a place in a text.
fn place(text: &str, at: usize) -> (usize, usize) {
    let before = text.get(..at).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    let column = before.get(line_start..).unwrap_or_default().chars().count() + 1;
    (before.matches('\n').count() + 1, column)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<Config, ConfigError> {
        Config::parse(text, Path::new("/etc/chiton/config.toml"))
    }

    #[test]
    fn the_promised_file_parses_and_what_is_missing_is_refused_where_used() {
        let config = parse(
            "[gateway]\nlisten = [\"unix\"]\ndefault_driver = \"native\"\n[upstream]\nextra_ca = [\"/path/ca.pem\"]\n\
             proxy = \"http://proxy.corp:3128\"\nproxy_credential = \"local://corp-proxy\"\nproxy_resolves = true\n\
             no_proxy = [\"10.0.0.0/8\", \".corp.example\", \"host.example\"]\n[upstream.resolve]\n\"api.github.com:443\" = \"127.0.0.1:8443\"\n\
             [llm]\nallow = [\"http://127.0.0.1:1\"]\n[vault]\naddress = \"https://vault.corp:8200\"\n\
             token_file = \"/path\"\n[aws]\nregion = \"us-east-1\"\nendpoint_url = \"http://127.0.0.1:5000\"\n",
        )
        .unwrap();
        config.check_listen().unwrap();
        let https = parse("[gateway]\nlisten = [\"unix\", \"https://127.0.0.1:7443\"]").unwrap();
        let error = https.check_listen().unwrap_err().to_string();
        assert!(error.starts_with("not supported yet: "), "{error}");
    }

    #[test]
    fn an_error_has_its_place_and_is_one_line() {
        let error = parse("[upstream]\n  extra_cas = []\n").unwrap_err();
        assert!(matches!(&error, ConfigError::Invalid { line: 2, column: 3, .. }), "{error}");
        assert!(!error.to_string().contains('\n'));
        assert!(parse("[upstream.resolve]\n\"api.github.com\" = \"127.0.0.1:1\"").is_err());
        assert!(parse("[upstream.resolve]\n\"api.github.com:443\" = \"localhost:1\"").is_err());
        assert!(parse("[upstream]\nextra_ca = [\"ca.pem\"]").is_err());
        assert!(parse("[gateway]\ndefault_driver = \"lxc\"").is_err());
    }

    #[test]
    fn a_sidecar_is_dockers_alone_and_asked_for() {
        let sockets = parse("[docker]\nsidecar = true\n").unwrap().engine_sockets();
        assert!(sockets.docker_sidecar && sockets.docker.is_none());
        assert!(!parse("[docker]\nsocket = \"/s\"\n").unwrap().engine_sockets().docker_sidecar);
        let error = parse("[podman]\nsidecar = true\n").unwrap_err().to_string();
        assert!(error.contains("unknown field `sidecar`"), "{error}");
    }

    #[test]
    fn prices_are_read_and_a_wrong_one_has_its_place() {
        let config = parse("[llm.prices.\"openai/gpt-9\"]\ninput = 1.25\noutput = \"10\"\n").unwrap();
        let (upstream, _) = config.upstream().unwrap();
        assert!(upstream.llm_prices.contains("\"openai/gpt-9\":{\"input\":\"1.250000\""), "{upstream:?}");
        for (text, line, said) in [
            ("[llm.prices.\"openai/x\"]\ninput = 1\noutput = -2", 3, "`-2` is no price"),
            ("[llm.prices.\"openai/x\"]\ninput = 1\noutput = 1\ntokens = 3", 4, "unknown field `tokens`"),
            ("[llm]\nallow = []\n[llm.prices.\"gpt-5\"]\ninput = 1\noutput = 1", 3, "names no model"),
        ] {
            let error = parse(text).unwrap_err();
            assert!(
                matches!(&error, ConfigError::Invalid { line: at, .. } if *at == line),
                "{text}: {error}"
            );
            assert!(error.to_string().contains(said) && !error.to_string().contains('\n'), "{error}");
        }
    }

    #[test]
    fn a_forward_proxy_is_read_with_all_that_belongs_to_it() {
        let config = parse(
            "[upstream]\nproxy = \"http://Proxy.corp:3128\"\nproxy_credential = \"local://corp-proxy\"\n\
             no_proxy = [\"10.0.0.0/8\", \".corp.example\"]\n",
        );
        let (upstream, credential) = config.unwrap().upstream().unwrap();
        let forward = upstream.forward.unwrap();
        assert_eq!(forward.url.to_string(), "http://proxy.corp:3128");
        assert_eq!(credential.unwrap().to_string(), "local://corp-proxy");
        assert!(!forward.resolves && forward.credential.is_none() && forward.except.len() == 2);
    }

    #[test]
    fn a_bad_forward_proxy_is_refused_with_its_place_and_without_a_password() {
        let proxy = "[upstream]\nproxy = \"http://proxy.corp:3128\"\n";
        for (text, said) in [
            (
                "[upstream]\nproxy = \"http://me:hunter22@proxy.corp:3128\"".to_owned(),
                "`chiton secret set NAME`",
            ),
            ("[upstream]\nproxy = \"proxy.corp:3128\"".to_owned(), "`http://host:port`"),
            ("[upstream]\nproxy = \"socks5://proxy.corp:1080\"".to_owned(), "SOCKS"),
            (format!("{proxy}proxy_credential = \"me:hunter22\""), "secret reference"),
            (format!("{proxy}no_proxy = [\"*\"]"), "leave `proxy` out"),
            (format!("{proxy}no_proxy = [\"10.0.0.1/8\"]"), "`10.0.0.1/8`"),
            (format!("{proxy}no_proxy = [\"host:443\"]"), "`host:443`"),
            (format!("{proxy}no_proxy = \"a.example,b.example\""), "sequence"),
            (format!("{proxy}proxy_resolves = \"yes\""), "boolean"),
            ("[upstream]\nno_proxy = [\"a.example\"]".to_owned(), "`[upstream] no_proxy`"),
            ("[upstream]\nproxy_credential = \"local://x\"".to_owned(), "`[upstream] proxy_credential`"),
        ] {
            let error = parse(&text).unwrap_err().to_string();
            assert!(error.contains(said) && !error.contains('\n'), "{text}: {error}");
            assert!(!error.contains("hunter22") && error.starts_with("`/etc/chiton/config.toml`"), "{error}");
        }
    }

    #[test]
    fn a_missing_or_bad_ca_file_is_named() {
        let error =
            parse("[upstream]\nextra_ca = [\"/nonexistent/ca.pem\"]").unwrap().upstream().unwrap_err();
        let text = error.to_string();
        assert!(text.contains("/nonexistent/ca.pem") && text.contains("extra_ca"), "{text}");
        let bad = parse("[upstream]\nextra_ca = [\"/dev/null\"]").unwrap().upstream().unwrap_err();
        assert!(matches!(bad, ConfigError::Value { .. }), "{bad}");
    }
}
