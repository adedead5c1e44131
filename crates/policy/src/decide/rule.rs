//! One rule against one request.

use crate::{
    binary::binary_matches,
    canonical::{Intent, Parameter, read_parameter},
    denial::Reason,
    model::{DenyRule, HttpRule, MethodSet, TlsMode},
    patterns::TextGlob,
};

/// How far a rule came with a request: what stopped it, in the order in which the fields are compared.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Stage {
    /// The scheme is another, or nothing of it is read.
    Scheme,
    /// The port is another.
    Port,
    /// The rule is for other executables.
    Binary,
    /// The method is another.
    Method,
    /// The path is another.
    Path,
    /// The query is another.
    Query,
    /// Nothing stopped it.
    Allowed,
}

impl Stage {
    pub(crate) const fn is_past_binary(self) -> bool {
        match self {
            Stage::Scheme | Stage::Port | Stage::Binary => false,
            Stage::Method | Stage::Path | Stage::Query | Stage::Allowed => true,
        }
    }

    /// What is said of a request that came this far.
    pub(crate) const fn reason(self) -> Reason {
        match self {
            Stage::Scheme => Reason::SchemeNotAllowed,
            Stage::Port => Reason::PortNotAllowed,
            Stage::Binary => Reason::BinaryNotAllowed,
            Stage::Method => Reason::MethodNotAllowed,
            Stage::Path => Reason::PathNotAllowed,
            // A request that nothing stopped and that is refused all the same was stopped by a deny.
            Stage::Query => Reason::QueryNotAllowed,
            Stage::Allowed => Reason::DeniedByRule,
        }
    }
}

/// How far a rule whose host matches comes.
pub(crate) fn judge(rule: &HttpRule, intent: &Intent) -> Stage {
    if rule.tls == TlsMode::Passthrough {
        // It allows connections that nobody looks into, never a request that was read.
        return Stage::Scheme;
    }
    if rule.scheme != intent.scheme() {
        Stage::Scheme
    } else if !rule.ports.contains(&intent.port()) {
        Stage::Port
    } else if !binary_matches(rule.binaries.as_deref(), intent.binary()) {
        Stage::Binary
    } else if !method_allowed(&rule.methods, intent.method().as_str()) {
        Stage::Method
    } else if !path_matches(rule, intent.path()) {
        Stage::Path
    } else if !query_allowed(&rule.query, intent) {
        Stage::Query
    } else {
        Stage::Allowed
    }
}

/// Whether a rule that could permit the request matches one of the two readings of an encoded slash.
pub(crate) fn matches_either_reading(rule: &HttpRule, intent: &Intent) -> bool {
    match judge(rule, intent) {
        Stage::Scheme | Stage::Port | Stage::Binary | Stage::Method => false,
        Stage::Query | Stage::Allowed => true,
        Stage::Path => intent.target().split_path().is_some_and(|path| path_matches(rule, path)),
    }
}

fn method_allowed(methods: &MethodSet, method: &str) -> bool {
    match methods {
        MethodSet::Any => !method.eq_ignore_ascii_case("CONNECT"),
        MethodSet::These(these) => these.iter().any(|allowed| method_is(allowed.as_str(), method)),
    }
}

/// GET implies HEAD.
pub(crate) fn method_is(allowed: &str, method: &str) -> bool {
    allowed == method || (allowed == "GET" && method == "HEAD")
}

fn path_matches(rule: &HttpRule, path: &str) -> bool {
    rule.paths.as_ref().is_none_or(|patterns| patterns.iter().any(|pattern| pattern.matches(path)))
}

/// Every named parameter is there, and every repetition of it matches, also for a server that takes `;` for
/// a separator.
fn query_allowed(query: &[(String, TextGlob)], intent: &Intent) -> bool {
    query.iter().all(|(name, glob)| {
        let mut named = repetitions(intent, name).peekable();
        named.peek().is_some() && named.all(|value| glob.matches(value))
    }) && (query.is_empty()
        || semicolon_parameters(intent).iter().all(|(name, value)| {
            query.iter().all(|(key, glob)| key.as_bytes() != name.as_slice() || glob.matches(value))
        }))
}

fn repetitions<'a>(intent: &'a Intent, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
    let parameters = intent.target().parameters().iter();
    parameters.filter(move |(key, _)| key == name.as_bytes()).map(|(_, value)| value.as_slice())
}

/// The parameters as a server reads them that also takes `;` for a separator.
fn semicolon_parameters(intent: &Intent) -> Vec<Parameter> {
    let query = intent.query().filter(|query| query.contains(';')).unwrap_or_default();
    let pairs = query.split(['&', ';']).filter(|pair| !pair.is_empty());
    pairs.map(|pair| read_parameter(pair.as_bytes())).collect()
}

/// Whether a deny matches. It reads the other way: an absent field means any, case and a trailing slash are
/// ignored, every reading of the path counts, and what cannot be told matches.
pub(crate) fn denies(deny: &DenyRule, intent: &Intent) -> bool {
    let method = match &deny.methods {
        None | Some(MethodSet::Any) => true,
        // A header asks for another method: which one the server takes cannot be told.
        Some(MethodSet::These(these)) if intent.has_method_override() => !these.is_empty(),
        Some(MethodSet::These(these)) => {
            let method = intent.method().as_str().to_ascii_uppercase();
            these.iter().any(|denied| method_is(denied.as_str(), &method))
        }
    };
    let path = || {
        deny.paths.as_ref().is_none_or(|patterns| {
            patterns
                .iter()
                .any(|pattern| intent.target().loose().iter().any(|reading| pattern.matches_loosely(reading)))
        })
    };
    method && path() && deny.query.iter().all(|(name, glob)| some_repetition_matches(name, glob, intent))
}

/// Case is ignored, `;` and `+` are also read as a separator and a space.
fn some_repetition_matches(name: &str, glob: &TextGlob, intent: &Intent) -> bool {
    let name = name.to_lowercase();
    let glob = TextGlob::new(&glob.as_str().to_lowercase());
    let other = semicolon_parameters(intent);
    intent.target().parameters().iter().chain(&other).any(|(key, value)| {
        let readings = [lower(value), lower(&value.iter().map(plus_to_space).collect::<Vec<u8>>())];
        lower(key) == name.as_bytes() && readings.iter().any(|value| glob.matches(value))
    })
}

fn plus_to_space(byte: &u8) -> u8 {
    if *byte == b'+' { b' ' } else { *byte }
}

fn lower(bytes: &[u8]) -> Vec<u8> {
    let mut text = Vec::with_capacity(bytes.len());
    for chunk in bytes.utf8_chunks() {
        text.extend_from_slice(chunk.valid().to_lowercase().as_bytes());
        text.extend_from_slice(chunk.invalid());
    }
    text
}
