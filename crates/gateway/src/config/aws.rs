//! `[aws]` of `config.toml`: where AWS is asked for `aws-sm://`, and with whose credentials.
//!
//! Without it everything is as AWS's own tools have it, by their variables and files.

use chiton_credentials::{AwsSettings, Reach, ServerRoots};
use serde::Deserialize;

use super::{
    times::{Span, Times, keep, refresh, timeout},
    vault::{Beside, plain},
};

/// `[aws]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub(super) struct AwsSection {
    region: Option<String>,
    endpoint_url: Option<String>,
    profile: Option<String>,
    refresh: Span,
    keep: Span,
    timeout: Span,
}

impl Default for AwsSection {
    fn default() -> Self {
        Self {
            region: None,
            endpoint_url: None,
            profile: None,
            refresh: refresh(),
            keep: keep(),
            timeout: timeout(),
        }
    }
}

impl AwsSection {
    /// What a client needs. The error is about a value, and repeats none that may be secret.
    pub(super) fn settings(&self, beside: Beside) -> Result<AwsSettings, String> {
        let Times { refresh, keep, timeout } = Times::of("[aws]", [self.refresh, self.keep, self.timeout])?;
        let endpoint = self.endpoint_url.as_ref().map(|url| url.parse()).transpose();
        let endpoint = endpoint.map_err(|error| format!("`[aws] endpoint_url`: {error}"))?;
        if let Some(region) = self.region.as_ref().filter(|region| !is_region(region)) {
            return Err(format!("`[aws] region` is `{}`: expected a name as `us-east-1`", plain(region)));
        }
        if let Some(profile) = self.profile.as_ref().filter(|profile| !is_profile(profile)) {
            return Err(format!("`[aws] profile` is `{}`: expected a profile's name", plain(profile)));
        }
        let Beside { resolve, extra_ca } = beside;
        let reach = Reach { roots: ServerRoots::SystemAnd(extra_ca), resolve, timeout };
        let (region, profile) = (self.region.clone(), self.profile.clone());
        Ok(AwsSettings { region, endpoint, profile, reach, refresh, keep })
    }
}

fn is_region(text: &str) -> bool {
    let good = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
    (1..=32).contains(&text.len()) && text.bytes().all(good)
}

fn is_profile(text: &str) -> bool {
    let bad = |letter: char| letter.is_control() || "[]".contains(letter);
    !text.is_empty() && text.trim() == text && !text.contains(bad)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn settings(text: &str) -> Result<AwsSettings, String> {
        let section: AwsSection = toml::from_str(text).map_err(|error| error.to_string())?;
        section.settings(Beside { resolve: [].into(), extra_ca: Vec::new() })
    }

    #[test]
    fn what_holds_with_it_and_without() {
        let told = settings(
            "region = \"eu-west-1\"\nendpoint_url = \"http://127.0.0.1:5000\"\nprofile = \"team a\"\nrefresh = \"30s\"\nkeep = \"10m\"\ntimeout = \"2s\"",
        )
        .unwrap();
        assert_eq!((told.region.as_deref(), told.profile.as_deref()), (Some("eu-west-1"), Some("team a")));
        assert_eq!(told.endpoint.unwrap().to_string(), "http://127.0.0.1:5000");
        assert_eq!((told.refresh.as_secs(), told.keep.as_secs(), told.reach.timeout.as_secs()), (30, 600, 2));
        let bare = settings("").unwrap();
        assert_eq!((bare.region, bare.profile, bare.endpoint), (None, None, None));
        assert_eq!(
            (bare.refresh.as_secs(), bare.keep.as_secs(), bare.reach.timeout.as_secs()),
            (300, 3600, 10)
        );
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        for (text, said) in [
            ("region = \"us east\"", "`[aws] region`"),
            ("region = \"a.b/c\"", "`[aws] region`"),
            ("endpoint_url = \"http://aws.corp\"", "in the clear"),
            ("endpoint_url = \"https://me:hunter22@aws.corp\"", "`[aws] endpoint_url`"),
            ("profile = \"\"", "`[aws] profile`"),
            ("profile = \"a]b\"", "`[aws] profile`"),
            ("refresh = \"2h\"", "`[aws] refresh` is longer"),
            ("timeout = \"5m\"", "longer than a minute"),
            ("access_key_id = \"hunter22\"", "access_key_id"),
        ] {
            let error = settings(text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            assert!(!error.contains("hunter22") || text.starts_with("access"), "{error}");
        }
    }
}
