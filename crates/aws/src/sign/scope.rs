//! What a signature is good for: a service in a region.

use std::fmt;

/// A service in a region.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Scope {
    region: String,
    service: String,
}

/// Why a text is no region or service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected letters, digits and `-`, as `us-east-1`")]
pub struct ScopeError;

impl Scope {
    /// As Amazon writes them: `us-east-1`, `s3`.
    ///
    /// # Errors
    /// When one of them is no such name.
    pub fn new(region: &str, service: &str) -> Result<Self, ScopeError> {
        if !is_name(region) || !is_name(service) {
            return Err(ScopeError);
        }
        Ok(Self { region: region.to_owned(), service: service.to_owned() })
    }

    /// `us-east-1`.
    #[must_use]
    pub fn region(&self) -> &str {
        &self.region
    }

    /// `s3`: the name that is signed, which is not always that of the host.
    #[must_use]
    pub fn service(&self) -> &str {
        &self.service
    }

    /// Whether it is S3: its paths are signed as they are, and its payloads always told.
    #[must_use]
    pub fn is_s3(&self) -> bool {
        matches!(self.service.as_str(), "s3" | "s3-outposts" | "s3-object-lambda" | "s3express")
    }

    /// As a signature of this day (`20150830`) names it.
    pub(super) fn on(&self, date: &str) -> String {
        format!("{date}/{self}/aws4_request")
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.region, self.service)
    }
}

fn is_name(text: &str) -> bool {
    (1..=64).contains(&text.len()) && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}
