//! What a request that is signed already says of itself. Nothing of it is verified here: it is what its sender wants.

use http::{HeaderMap, header};

use super::{ALGORITHM, Scope};

/// Whom, and for what, a signature says that it is of.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Claim {
    /// Of which key.
    pub access_key_id: String,
    /// For what.
    pub scope: Scope,
    /// Whether it stands in the query, and not in a field.
    pub in_query: bool,
}

/// The parts of a query that are a signature.
const PARTS: [&str; 7] = [
    "x-amz-algorithm",
    "x-amz-credential",
    "x-amz-date",
    "x-amz-expires",
    "x-amz-signedheaders",
    "x-amz-security-token",
    "x-amz-signature",
];

impl Claim {
    /// The claim of a request; none where it has none, or more than one, or one of another algorithm.
    #[must_use]
    pub fn of(headers: &HeaderMap, query: &str) -> Option<Self> {
        let mut fields = headers.get_all(header::AUTHORIZATION).iter();
        let field = fields.next();
        let value = |wanted: &str| {
            let mut found = pairs(query).filter(|(name, _)| *name == wanted).map(|(_, value)| value);
            let first = found.next();
            first.filter(|_| found.next().is_none())
        };
        match (field, value("X-Amz-Credential"), fields.next()) {
            (Some(field), None, None) => {
                let rest = field.to_str().ok()?.strip_prefix(ALGORITHM)?.strip_prefix(' ')?;
                let mut parts = rest.split(',').filter_map(|part| part.trim().strip_prefix("Credential="));
                let only = parts.next().filter(|_| parts.next().is_none())?;
                Self::parse(only.split('/'), false)
            }
            (None, Some(credential), None) => {
                value("X-Amz-Algorithm").filter(|algorithm| *algorithm == ALGORITHM)?;
                let slashes = credential.replace("%2F", "/").replace("%2f", "/");
                Self::parse(slashes.split('/'), true)
            }
            _ => None,
        }
    }

    /// `KEY/20150830/us-east-1/s3/aws4_request`.
    fn parse<'a>(mut parts: impl Iterator<Item = &'a str>, in_query: bool) -> Option<Self> {
        let access_key_id = parts.next()?.to_owned();
        let (_date, region, service) = (parts.next()?, parts.next()?, parts.next()?);
        let scope = Scope::new(region, service).ok()?;
        let ends = parts.next() == Some("aws4_request") && parts.next().is_none();
        ends.then_some(Self { access_key_id, scope, in_query })
    }
}

/// A query without the signature that it may have.
#[must_use]
pub fn without_signature(query: &str) -> String {
    let is_part = |pair: &&str| {
        let (name, _) = pair.split_once('=').unwrap_or((pair, ""));
        PARTS.iter().any(|part| name.eq_ignore_ascii_case(part))
    };
    query.split('&').filter(|pair| !is_part(pair)).collect::<Vec<_>>().join("&")
}

fn pairs(query: &str) -> impl Iterator<Item = (&str, &str)> {
    query.split('&').map(|pair| pair.split_once('=').unwrap_or((pair, "")))
}
