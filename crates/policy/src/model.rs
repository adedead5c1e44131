//! The policy as types: what [`Policy::parse`](crate::Policy::parse) makes of a document.
//!
//! Closed sets are enums and names are newtypes, so nothing here can be invalid by itself. What can still be
//! wrong between parts (overlaps, paths above the home) was checked before a value of [`Policy`] exists.

mod base_url;
mod credential;
mod network;
mod paths;
mod sandbox;

pub use base_url::{BaseUrl, BaseUrlError};
pub use credential::{
    BasicUser, CookieName, Credential, CredentialFormat, CredentialPlace, HeaderName, ParameterName,
};
pub use network::{
    Cidr, CidrError, DenyRule, Dynamic, HttpRule, LlmLimits, LlmRoute, MethodSet, Mode, RequestLimits,
    TcpRule, TlsMode, Usd,
};
pub use paths::{DeniedPattern, PathError, PolicyPath};
pub use sandbox::{
    ByteSize, Cpus, EnvEntry, FilesystemRules, Fixed, Gpu, ProcessRules, Protection, Resources, WallTime,
    WorkspaceMode,
};

use crate::{diagnostics::Diagnostics, patterns::HostPattern};

/// A whole policy, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What it builds on. Not merged: [`unsupported`](crate::unsupported) names it.
    pub extends: Vec<Extend>,
    /// Whether the document has a `static` half; an absent one means unchanged when applied.
    pub has_static: bool,
    /// What it says itself, though it may be the default.
    pub written: Written,
    /// What is fixed when a sandbox is created.
    pub fixed: Fixed,
    /// What can be replaced while it runs.
    pub dynamic: Dynamic,
    /// What the checker has to say beside errors: warnings and notes.
    pub warnings: Diagnostics,
}

/// Which scalars that have a default a document writes itself. What it writes wins over what it extends.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Written {
    /// `static.filesystem.workspace`
    pub workspace: bool,
    /// `static.gpu`
    pub gpu: bool,
}

/// Something that a document builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Extend {
    /// What it is.
    pub base: Base,
    /// What its rules are given, where anything.
    pub given: Option<Given>,
}

/// A preset or a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Base {
    /// A built-in preset.
    Preset(Preset),
    /// A file, relative to the document.
    File(String),
}

/// A credential for the `http` rules that a base brings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Given {
    /// The credential.
    pub credential: Credential,
    /// For the rules of these hosts; none is for all.
    pub hosts: Option<Vec<HostPattern>>,
}

/// The built-in presets: what they say is in `presets/`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Reading from GitHub.
    GithubRead,
    /// Publishing to GitHub.
    GithubWrite,
    /// Installing from the npm registry.
    NpmInstall,
    /// Publishing to it.
    NpmPublish,
    /// Installing from PyPI.
    PypiInstall,
    /// Publishing to it.
    PypiPublish,
    /// Installing from crates.io.
    CratesInstall,
    /// Publishing to it.
    CratesPublish,
    /// Installing from Debian.
    DebianInstall,
    /// Pulling from Docker Hub.
    DockerPull,
    /// Pushing to it.
    DockerPush,
    /// Reading from Hugging Face.
    HuggingfaceRead,
    /// Publishing to it.
    HuggingfaceWrite,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 13] = [
        Preset::GithubRead,
        Preset::GithubWrite,
        Preset::NpmInstall,
        Preset::NpmPublish,
        Preset::PypiInstall,
        Preset::PypiPublish,
        Preset::CratesInstall,
        Preset::CratesPublish,
        Preset::DebianInstall,
        Preset::DockerPull,
        Preset::DockerPush,
        Preset::HuggingfaceRead,
        Preset::HuggingfaceWrite,
    ];

    /// As written in `extends`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::GithubRead => "github-read",
            Preset::GithubWrite => "github-write",
            Preset::NpmInstall => "npm-install",
            Preset::NpmPublish => "npm-publish",
            Preset::PypiInstall => "pypi-install",
            Preset::PypiPublish => "pypi-publish",
            Preset::CratesInstall => "crates-install",
            Preset::CratesPublish => "crates-publish",
            Preset::DebianInstall => "debian-install",
            Preset::DockerPull => "docker-pull",
            Preset::DockerPush => "docker-push",
            Preset::HuggingfaceRead => "huggingface-read",
            Preset::HuggingfaceWrite => "huggingface-write",
        }
    }
}

impl PartialEq for Policy {
    /// Two policies are the same when they say the same; where in a text they said it does not count.
    fn eq(&self, other: &Self) -> bool {
        self.extends == other.extends
            && self.has_static == other.has_static
            && self.fixed == other.fixed
            && self.dynamic == other.dynamic
    }
}

impl Policy {
    /// The policy that allows nothing.
    #[must_use]
    pub fn deny_all() -> Self {
        Self {
            extends: Vec::new(),
            has_static: false,
            written: Written::default(),
            fixed: Fixed::default(),
            dynamic: Dynamic::default(),
            warnings: Diagnostics::none(),
        }
    }
}
