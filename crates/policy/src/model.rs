//! The policy as types: what [`Policy::parse`](crate::Policy::parse) makes of a document.
//!
//! Closed sets are enums and names are newtypes, so nothing here can be invalid by itself. What can still be
//! wrong between parts (overlaps, paths above the home) was checked before a value of [`Policy`] exists.

mod network;
mod paths;
mod sandbox;

pub use network::{
    BaseUrl, Cidr, CidrError, Credential, CredentialFormat, DenyRule, Dynamic, HeaderName, HttpRule,
    LlmLimits, LlmRoute, MethodSet, Mode, RequestLimits, TcpRule, TlsMode, Usd,
};
pub use paths::{DeniedPattern, PathError, PolicyPath};
pub use sandbox::{
    ByteSize, Cpus, EnvEntry, FilesystemRules, Fixed, Gpu, ProcessRules, Protection, Resources, WallTime,
    WorkspaceMode,
};

use crate::diagnostics::Diagnostics;

/// A whole policy, checked.
#[derive(Clone, Debug)]
pub struct Policy {
    /// What it builds on. Not merged: [`unsupported`](crate::unsupported) names it.
    pub extends: Vec<Extend>,
    /// Whether the document has a `static` half; an absent one means unchanged when applied.
    pub has_static: bool,
    /// What is fixed when a sandbox is created.
    pub fixed: Fixed,
    /// What can be replaced while it runs.
    pub dynamic: Dynamic,
    /// What the checker has to say beside errors: warnings and notes.
    pub warnings: Diagnostics,
}

/// Something that a document builds on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Extend {
    /// A built-in preset.
    Preset(Preset),
    /// A file, relative to the document.
    File(String),
}

/// The built-in presets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preset {
    /// Reading from GitHub.
    GithubRead,
    /// Installing from the npm registry.
    NpmInstall,
    /// Installing from PyPI.
    PypiInstall,
}

impl Preset {
    /// Every preset.
    pub const ALL: [Preset; 3] = [Preset::GithubRead, Preset::NpmInstall, Preset::PypiInstall];

    /// As written in `extends`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Preset::GithubRead => "github-read",
            Preset::NpmInstall => "npm-install",
            Preset::PypiInstall => "pypi-install",
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
            fixed: Fixed::default(),
            dynamic: Dynamic::default(),
            warnings: Diagnostics::none(),
        }
    }
}
