//! Host patterns: a literal host, or a name with a wildcard as its leftmost label.
//!
//! `*` is exactly one label, `**` is one or more, and a `*` inside the leftmost label is one or more
//! characters of that label. An address is matched only by a literal address.

use std::{fmt, sync::Arc};

use super::text::Stars;
use crate::names::{Host, HostError, canonical_name, reads_as_ipv4};

/// Which hosts a rule is about.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct HostPattern(HostShape);

/// The forms of a host pattern. `rest` is what follows the leftmost label, without a dot before it.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum HostShape {
    /// This host and no other.
    Literal(Host),
    /// One whole label before `rest`.
    OneLabel { rest: Arc<str> },
    /// One or more labels before `rest`.
    AnyLabels { rest: Arc<str> },
    /// One label that `label`, with its stars, matches.
    InLabel { label: Arc<str>, stars: Stars, rest: Arc<str> },
}

/// Why a text is no host pattern.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum HostPatternError {
    /// Nothing there.
    #[error("the host is empty: name one, as `api.example.com`")]
    Empty,
    /// A scheme, a path, a port or credentials stand in it.
    #[error("a host is a name alone: no scheme, port, path or user")]
    MoreThanAHost,
    /// A wildcard that is not in the leftmost label.
    #[error("a wildcard may only be (in) the leftmost label, as `*.example.com`")]
    InnerWildcard,
    /// `**` beside other characters of its label.
    #[error("`**` must be a whole label, as `**.example.com`")]
    PartialDoubleStar,
    /// Nothing but a wildcard.
    #[error("a wildcard alone would be every host: name a domain, as `**.example.com`")]
    WildcardAlone,
    /// A wildcard over what anyone can register.
    #[error(
        "a wildcard directly under a public suffix would be anyone's host: name a domain, as `**.example.com`"
    )]
    PublicSuffix,
    /// The fixed labels are no host name, or an odd address.
    #[error(transparent)]
    Host(#[from] HostError),
}

impl From<Host> for HostPattern {
    fn from(host: Host) -> Self {
        Self(HostShape::Literal(host))
    }
}

impl HostPattern {
    /// Reads a pattern.
    ///
    /// # Errors
    /// When it could never match, or would match hosts that anyone can register.
    pub fn parse(text: &str) -> Result<Self, HostPatternError> {
        if text.is_empty() {
            return Err(HostPatternError::Empty);
        }
        if let Ok(address) = text.parse::<std::net::IpAddr>() {
            if address != address.to_canonical() {
                return Err(HostError::OddAddress.into());
            }
            return Ok(Self(HostShape::Literal(Host::Ip(address))));
        }
        if !text.starts_with('[') && text.contains(['/', ':', '@', '?', '#', '\\']) {
            return Err(HostPatternError::MoreThanAHost);
        }
        if !text.contains('*') {
            return Ok(Self(HostShape::Literal(Host::parse(text)?)));
        }
        Self::parse_wildcard(text.strip_suffix('.').unwrap_or(text)).map(Self)
    }

    fn parse_wildcard(text: &str) -> Result<HostShape, HostPatternError> {
        let (label, rest) = text.split_once('.').ok_or(HostPatternError::WildcardAlone)?;
        if rest.contains('*') {
            return Err(HostPatternError::InnerWildcard);
        }
        let rest: Arc<str> = canonical_name(rest)?.into();
        if reads_as_ipv4(&rest) {
            return Err(HostError::OddAddress.into());
        }
        let whole_label = matches!(label, "*" | "**");
        // `*.ck` of the list: whatever stands there is one more suffix under which anyone may have a name.
        let deeper = label == "**" && is_open_to_anyone(&format!("x.{rest}"), true);
        if deeper || is_open_to_anyone(&rest, whole_label) {
            return Err(HostPatternError::PublicSuffix);
        }
        match label {
            "*" => Ok(HostShape::OneLabel { rest }),
            "**" => Ok(HostShape::AnyLabels { rest }),
            _ if label.contains("**") => Err(HostPatternError::PartialDoubleStar),
            _ => {
                let good = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'*');
                if !label.bytes().all(good) || label.len() > 63 {
                    return Err(HostError::NotAName.into());
                }
                let label = label.to_ascii_lowercase();
                Ok(HostShape::InLabel { stars: Stars::parse(&label, 1), label: label.into(), rest })
            }
        }
    }

    pub(crate) const fn shape(&self) -> &HostShape {
        &self.0
    }

    /// The host, where the pattern is just one.
    #[must_use]
    pub const fn literal(&self) -> Option<&Host> {
        match &self.0 {
            HostShape::Literal(host) => Some(host),
            HostShape::OneLabel { .. } | HostShape::AnyLabels { .. } | HostShape::InLabel { .. } => None,
        }
    }

    /// Whether this host is one of the pattern's.
    #[must_use]
    pub fn matches(&self, host: &Host) -> bool {
        let name = match (&self.0, host) {
            (HostShape::Literal(literal), _) => return literal == host,
            (_, Host::Ip(_)) => return false,
            (_, Host::Name(name)) => name.as_str(),
        };
        match &self.0 {
            HostShape::Literal(_) => false,
            HostShape::OneLabel { rest } => before(name, rest).is_some_and(|label| !label.contains('.')),
            HostShape::AnyLabels { rest } => before(name, rest).is_some(),
            HostShape::InLabel { stars, rest, .. } => before(name, rest)
                .is_some_and(|first| !first.contains('.') && stars.matches(first.as_bytes())),
        }
    }

    /// Whether some host is matched by both patterns.
    #[must_use]
    pub fn overlaps(&self, other: &Self) -> bool {
        match (&self.0, &other.0) {
            (HostShape::Literal(host), _) => other.matches(host),
            (_, HostShape::Literal(host)) => self.matches(host),
            (HostShape::AnyLabels { rest: a }, HostShape::AnyLabels { rest: b }) => {
                a == b || before(a, b).is_some() || before(b, a).is_some()
            }
            (HostShape::AnyLabels { rest: any }, one) | (one, HostShape::AnyLabels { rest: any }) => {
                one.rest().is_some_and(|rest| rest == &**any || before(rest, any).is_some())
            }
            (HostShape::InLabel { stars: a, rest: x, .. }, HostShape::InLabel { stars: b, rest: y, .. }) => {
                x == y && a.overlaps(b)
            }
            (
                HostShape::OneLabel { rest: x },
                HostShape::OneLabel { rest: y } | HostShape::InLabel { rest: y, .. },
            )
            | (HostShape::InLabel { rest: x, .. }, HostShape::OneLabel { rest: y }) => x == y,
        }
    }
}

impl HostShape {
    fn rest(&self) -> Option<&str> {
        match self {
            HostShape::Literal(_) => None,
            HostShape::OneLabel { rest }
            | HostShape::AnyLabels { rest }
            | HostShape::InLabel { rest, .. } => Some(rest),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            HostShape::Literal(host) => write!(f, "{host}"),
            HostShape::OneLabel { rest } => write!(f, "*.{rest}"),
            HostShape::AnyLabels { rest } => write!(f, "**.{rest}"),
            HostShape::InLabel { label, rest, .. } => write!(f, "{label}.{rest}"),
        }
    }
}

/// What stands before `.rest` in a name.
fn before<'a>(name: &'a str, rest: &str) -> Option<&'a str> {
    name.strip_suffix(rest)?.strip_suffix('.').filter(|front| !front.is_empty())
}

/// Whether anyone may register names directly under `rest`. For a star inside a label only the suffixes of
/// registries count: under a company's own suffix (`*-aiplatform.googleapis.com`) it is that company's label.
fn is_open_to_anyone(rest: &str, whole_label: bool) -> bool {
    let Some(suffix) = psl::suffix(rest.as_bytes()) else { return false };
    let registry = suffix.typ() == Some(psl::Type::Icann);
    suffix.is_known() && suffix.as_bytes() == rest.as_bytes() && (registry || whole_label)
}

#[cfg(test)]
mod tests {
    use super::{HostPattern, HostPatternError};
    use crate::names::Host;

    fn matches(pattern: &str, host: &str) -> bool {
        HostPattern::parse(pattern).unwrap().matches(&Host::parse(host).unwrap())
    }

    #[test]
    fn labels_are_counted() {
        assert!(matches("*.example.com", "A.example.com."));
        assert!(!matches("*.example.com", "a.b.example.com"));
        assert!(!matches("*.example.com", "example.com"));
        assert!(matches("**.example.com", "a.b.example.com"));
        assert!(!matches("**.example.com", "notexample.com"));
        assert!(matches("*-a.example.com", "x-a.example.com"));
        assert!(!matches("*-a.example.com", "-a.example.com"));
        assert!(!matches("*-a.example.com", "b.x-a.example.com"));
        assert!(matches("bücher.example", "xn--bcher-kva.example"));
        assert!(matches("*.bücher.example", "x.xn--bcher-kva.example"));
    }

    #[test]
    fn addresses_match_literally_only() {
        assert!(matches("203.0.113.7", "203.0.113.7"));
        assert!(matches("2001:db8::1", "[2001:DB8::1]"));
        assert!(matches("[2001:db8::1]", "[2001:db8::1]"));
        assert!(!matches("**.example.com", "203.0.113.7"));
    }

    #[test]
    fn what_could_not_match_or_would_match_anyone() {
        for (text, error) in [
            ("", HostPatternError::Empty),
            ("api.*.com", HostPatternError::InnerWildcard),
            ("*", HostPatternError::WildcardAlone),
            ("**", HostPatternError::WildcardAlone),
            ("*.com", HostPatternError::PublicSuffix),
            ("**.co.uk", HostPatternError::PublicSuffix),
            ("*.github.io", HostPatternError::PublicSuffix),
            ("*x.com", HostPatternError::PublicSuffix),
            ("**.ck", HostPatternError::PublicSuffix),
            ("**.kawasaki.jp", HostPatternError::PublicSuffix),
            ("**.compute.amazonaws.com", HostPatternError::PublicSuffix),
            ("::ffff:203.0.113.7", HostPatternError::Host(crate::names::HostError::OddAddress)),
            ("a**.example.com", HostPatternError::PartialDoubleStar),
            ("https://example.com", HostPatternError::MoreThanAHost),
            ("example.com:443", HostPatternError::MoreThanAHost),
            ("example.com/x", HostPatternError::MoreThanAHost),
        ] {
            assert_eq!(HostPattern::parse(text), Err(error), "{text}");
        }
        for text in ["3405803783", "0x7f.1", "*.0.0.1", "a b.com", "*.a..com", "[::1"] {
            assert!(HostPattern::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn overlap() {
        let overlap =
            |a: &str, b: &str| HostPattern::parse(a).unwrap().overlaps(&HostPattern::parse(b).unwrap());
        assert!(overlap("*.example.com", "**.example.com"));
        assert!(overlap("*.a.example.com", "**.example.com"));
        assert!(!overlap("*.example.com", "**.a.example.com"));
        assert!(overlap("a*.example.com", "*b.example.com"));
        assert!(!overlap("a*.example.com", "b*.example.com"));
        assert!(!overlap("*.example.com", "*.example.org"));
        assert!(overlap("**.a.example.com", "**.example.com"));
    }
}
