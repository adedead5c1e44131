//! A secret reference: a URL that names where a credential is kept.

use std::{fmt, str::FromStr};

use serde::{Deserialize, Serialize};

/// Where a credential is kept. A closed set: an unknown scheme is an error.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// `local://name`: the local encrypted store.
    Local,
    /// `vault://mount/path#field`: HashiCorp Vault or OpenBao, KV.
    Vault,
    /// `aws-sm://name#key`: AWS Secrets Manager; `?stage=` or `?version=` before `#` names another version.
    AwsSm,
    /// `env://NAME`: a variable of the gateway's environment.
    Env,
    /// `file:///path`: a file of the gateway's host.
    File,
    /// `exec://name`: a command of the operator's.
    Exec,
}

impl Scheme {
    /// Every scheme, in the order in which help and errors list them.
    pub const ALL: [Scheme; 6] =
        [Scheme::Local, Scheme::Vault, Scheme::AwsSm, Scheme::Env, Scheme::File, Scheme::Exec];

    /// The scheme as written before `://`.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Scheme::Local => "local",
            Scheme::Vault => "vault",
            Scheme::AwsSm => "aws-sm",
            Scheme::Env => "env",
            Scheme::File => "file",
            Scheme::Exec => "exec",
        }
    }

    /// Whether a value of it holds for a time only, and is asked for again while it is used.
    #[must_use]
    pub const fn is_refreshed(self) -> bool {
        match self {
            Scheme::Vault | Scheme::AwsSm | Scheme::Exec => true,
            Scheme::Local | Scheme::Env | Scheme::File => false,
        }
    }
}

impl fmt::Display for Scheme {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// A parsed reference such as `local://openai` or `vault://llm/openai#key`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct SecretRef {
    scheme: Scheme,
    locator: String,
    field: Option<String>,
}

/// Why a text is no secret reference. The text itself is never part of the message: it may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum RefError {
    /// There is no `://`.
    #[error(
        "not a secret reference: expected `scheme://…` with one of local, vault, aws-sm, env, file, exec"
    )]
    NoScheme,
    /// The scheme is none of ours. Only a short, letter-like scheme is ever repeated.
    #[error("unknown secret scheme `{0}`: expected one of local, vault, aws-sm, env, file, exec")]
    UnknownScheme(String),
    /// Nothing, or something impossible, stands after `://`.
    #[error("a `{scheme}://` reference needs {needs}")]
    BadLocator {
        /// The scheme whose form was not kept.
        scheme: Scheme,
        /// What it needs, as a noun phrase.
        needs: &'static str,
    },
}

impl SecretRef {
    /// Where it is kept.
    #[must_use]
    pub const fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// What stands after `://` and before `#`: a name, a variable, an absolute path.
    #[must_use]
    pub fn locator(&self) -> &str {
        &self.locator
    }

    /// What stands after `#`, where the scheme knows fields.
    #[must_use]
    pub fn field(&self) -> Option<&str> {
        self.field.as_deref()
    }
}

impl FromStr for SecretRef {
    type Err = RefError;

    fn from_str(text: &str) -> Result<Self, RefError> {
        let (scheme, rest) = text.split_once("://").ok_or(RefError::NoScheme)?;
        let Some(scheme) = Scheme::ALL.into_iter().find(|s| s.as_str() == scheme) else {
            let printable =
                scheme.len() <= 16 && scheme.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-');
            return Err(if printable { RefError::UnknownScheme(scheme.into()) } else { RefError::NoScheme });
        };
        let bad = |needs| RefError::BadLocator { scheme, needs };
        if rest.is_empty() || rest.chars().any(|c| c.is_control() || c.is_whitespace()) {
            return Err(bad("something after `://`, without white space"));
        }
        let (locator, field) = match scheme {
            Scheme::Vault | Scheme::AwsSm => match rest.split_once('#') {
                Some((_, "")) => return Err(bad("a field after `#`")),
                Some((locator, field)) => (locator, Some(field.to_owned())),
                None => (rest, None),
            },
            Scheme::Local | Scheme::Env | Scheme::File | Scheme::Exec => (rest, None),
        };
        let name = |extra: &[u8]| {
            !locator.is_empty() && locator.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
        };
        let good = match scheme {
            Scheme::Local | Scheme::Exec => (name(b"-_."), "a name of letters, digits, `-`, `_` and `.`"),
            Scheme::Env => (name(b"_"), "a variable's name"),
            Scheme::File => (locator.starts_with('/'), "an absolute path, as `file:///path`"),
            Scheme::Vault => {
                let whole = locator.contains('/') && locator.split('/').all(|segment| !segment.is_empty());
                (name(b"-_./") && whole, "a mount and a path, as `vault://mount/path`")
            }
            Scheme::AwsSm => (
                is_aws(locator),
                "a secret's name or ARN, and at most one of `?stage=LABEL` and `?version=ID` after it",
            ),
        };
        if !good.0 || (scheme != Scheme::File && locator.split('/').any(|s| s == ".." || s == ".")) {
            return Err(bad(good.1));
        }
        Ok(Self { scheme, locator: locator.to_owned(), field })
    }
}

/// `name`, `name?stage=LABEL`, `name?version=ID`. A name has no `?`, and may have an `@`.
fn is_aws(locator: &str) -> bool {
    let all = |text: &str, extra: &[u8]| {
        !text.is_empty() && text.bytes().all(|b| b.is_ascii_alphanumeric() || extra.contains(&b))
    };
    let (name, version) = locator.split_once('?').map_or((locator, None), |(name, told)| (name, Some(told)));
    all(name, b"-_./+=@:")
        && match version.map(|told| told.split_once('=')) {
            None => true,
            Some(Some(("stage", label))) => all(label, b"-_./+=@:"),
            Some(Some(("version", id))) => all(id, b"-"),
            Some(_) => false,
        }
}

impl fmt::Display for SecretRef {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}://{}", self.scheme, self.locator)?;
        self.field.as_ref().map_or(Ok(()), |field| write!(f, "#{field}"))
    }
}

impl TryFrom<String> for SecretRef {
    type Error = RefError;

    fn try_from(text: String) -> Result<Self, RefError> {
        text.parse()
    }
}

impl From<SecretRef> for String {
    fn from(reference: SecretRef) -> String {
        reference.to_string()
    }
}

#[cfg(test)]
mod tests {
    use super::{RefError, SecretRef};

    #[test]
    fn round_trips() {
        for text in [
            "local://openai",
            "vault://llm/openai",
            "vault://llm/openai#key",
            "aws-sm://a/b#k",
            "aws-sm:///prod/a@b+c=d#k",
            "aws-sm://a?stage=AWSPREVIOUS#k",
            "aws-sm://arn:aws:secretsmanager:eu-west-1:123456789012:secret:a/b-AbCdEf?version=0f1e2d3c-1",
            "exec://op-github",
            "env://OPENAI_API_KEY",
            "file:///etc/key",
        ] {
            assert_eq!(text.parse::<SecretRef>().map(|r| r.to_string()), Ok(text.to_owned()));
        }
    }

    #[test]
    fn refuses_what_is_not_a_reference() {
        assert_eq!("vualt://llm/openai".parse::<SecretRef>(), Err(RefError::UnknownScheme("vualt".into())));
        for text in [
            "sk-live-123",
            "local://",
            "local://a/../b",
            "env://A B",
            "file://relative",
            "vault://mount",
            "vault://m/p#",
            "vault://m//p",
            "vault:///m/p",
            "vault://m/p/",
            "aws-sm://?stage=A",
            "aws-sm://a?stage=",
            "aws-sm://a?stage=A&version=b",
            "aws-sm://a?label=A",
            "aws-sm://a?version=a/b",
            "exec:///bin/sh",
            "exec://a b",
        ] {
            assert!(text.parse::<SecretRef>().is_err(), "{text}");
        }
    }
}
