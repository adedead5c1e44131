//! What the operator says of AWS.

use std::{ffi::OsString, fmt, sync::Arc, time::Duration};

use crate::{Reach, ServerAddress};

/// `[aws]` of `config.toml`, checked and with its files read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct AwsSettings {
    /// Whose services are asked, where a reference does not say it.
    pub region: Option<String>,
    /// What is asked in the place of Amazon's own servers.
    pub endpoint: Option<ServerAddress>,
    /// The profile of the shared files, and no other source of credentials.
    pub profile: Option<String>,
    /// How servers are reached.
    pub reach: Reach,
    /// A value is asked for again after this time.
    pub refresh: Duration,
    /// So long the last value is used where it is not given again.
    pub keep: Duration,
}

/// Variables of the gateway's environment.
#[derive(Clone)]
pub struct Variables(Arc<Get>);

type Get = dyn Fn(&str) -> Option<OsString> + Send + Sync;

impl Variables {
    /// Another environment.
    pub fn of(get: impl Fn(&str) -> Option<OsString> + Send + Sync + 'static) -> Self {
        Self(Arc::new(get))
    }

    /// What a variable says; one that is empty, or no text, says nothing.
    pub(super) fn get(&self, name: &str) -> Option<String> {
        (self.0)(name).and_then(|value| value.into_string().ok()).filter(|value| !value.is_empty())
    }

    pub(super) fn is_true(&self, name: &str) -> bool {
        self.get(name).is_some_and(|value| value.eq_ignore_ascii_case("true"))
    }
}

impl Default for Variables {
    fn default() -> Self {
        Self::of(|name| std::env::var_os(name))
    }
}

impl fmt::Debug for Variables {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Variables")
    }
}
