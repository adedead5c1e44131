//! `dynamic.network.http`

use std::ops::Range;

use super::{
    Node, Notes, Sites,
    credential::{self, SitedCredential},
    process::{amount, read_binaries},
    read::Fields,
    units,
};
use crate::{
    compile::is_internal,
    model::{Cidr, DenyRule, HttpRule, MethodSet, RequestLimits, TlsMode},
    names::{Method, Port, RuleName, Scheme},
    patterns::{HostPattern, PathPattern, TextGlob},
};

const FIELDS: [&str; 16] = [
    "name",
    "host",
    "ports",
    "scheme",
    "methods",
    "paths",
    "query",
    "deny",
    "binaries",
    "websocket",
    "tls",
    "private_addresses",
    "allowed_addresses",
    "encoded_slash",
    "credential",
    "limits",
];
/// Rules are compared with each other: so many that it stays quick.
const MOST_RULES: usize = 20_000;
/// What cannot be asked of a connection that nobody looks into.
const INSIDE: [&str; 8] =
    ["methods", "paths", "query", "deny", "websocket", "encoded_slash", "credential", "limits"];

/// A rule and where its parts stand.
#[derive(Debug)]
pub(crate) struct SitedRule {
    pub(crate) rule: HttpRule,
    pub(crate) span: Range<usize>,
    pub(crate) host: Range<usize>,
    pub(crate) paths: Vec<Range<usize>>,
    pub(crate) deny: Vec<Range<usize>>,
    pub(crate) methods: Option<Range<usize>>,
    pub(crate) binaries: Option<Range<usize>>,
    pub(crate) credential: Option<SitedCredential>,
}

pub(super) fn read(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Vec<HttpRule> {
    let items = notes.list(node, "http", "rules");
    if items.len() > MOST_RULES {
        notes.error(node.span.clone(), format!("{} rules: a policy has at most {MOST_RULES}", items.len()));
    }
    for (index, item) in items.iter().take(MOST_RULES).enumerate() {
        sites.http.extend(read_rule(item, index, notes));
    }
    sites.http.iter().map(|site| site.rule.clone()).collect()
}

fn read_rule(node: &Node, index: usize, notes: &mut Notes) -> Option<SitedRule> {
    let field = format!("http[{index}]");
    let fields = notes.fields(node, &field, &FIELDS);
    let (name, named) = read_name(&fields, &field, notes);
    let host = read_host(node, &fields, &field, notes);
    let schemes = [("https", Scheme::Https), ("http", Scheme::Http)];
    let scheme = fields.get("scheme").and_then(|node| notes.choice(node, "scheme", &schemes));
    let scheme = scheme.unwrap_or(Scheme::Https);
    let tls = read_tls(&fields, scheme, notes);
    let mut flag = |field| fields.get(field).and_then(|node| notes.boolean(node, field)).unwrap_or(false);
    let (websocket, private_addresses, encoded_slash) =
        (flag("websocket"), flag("private_addresses"), flag("encoded_slash"));
    let methods = fields.get("methods").map(|node| read_methods(node, notes));
    let paths = fields.get("paths").map(|node| read_paths(node, notes));
    let (deny, deny_spans) = fields.get("deny").map(|node| read_denies(node, notes)).unwrap_or_default();
    let ports = read_ports(&fields, scheme.default_port(), notes);
    let query = fields.get("query").map(|node| read_query(node, notes)).unwrap_or_default();
    let binaries = fields.get("binaries").map(|node| read_binaries(node, notes));
    let allowed_addresses = read_addresses(&fields, notes);
    let credential = fields.get("credential").and_then(|node| credential::read(node, notes));
    let (credential, credential_site) = credential.unzip();
    let limits = fields.get("limits").map(|node| read_limits(node, notes)).unwrap_or_default();
    // Everything was read, so that everything wrong is told; without a host there is no rule.
    let (host, host_span) = host?;
    let rule = HttpRule {
        name,
        named,
        host,
        ports,
        scheme,
        methods: methods.unwrap_or_else(usual_methods),
        paths: paths.as_ref().map(|paths| paths.iter().map(|(path, _)| path.clone()).collect()),
        query,
        deny,
        binaries,
        websocket,
        tls,
        private_addresses,
        allowed_addresses,
        encoded_slash,
        credential,
        limits,
    };
    Some(SitedRule {
        rule,
        span: node.span.clone(),
        host: host_span,
        paths: paths.unwrap_or_default().into_iter().map(|(_, span)| span).collect(),
        deny: deny_spans,
        methods: fields.get("methods").map(|node| node.span.clone()),
        binaries: fields.get("binaries").map(|node| node.span.clone()),
        credential: credential_site,
    })
}

fn read_name(fields: &Fields<'_>, field: &str, notes: &mut Notes) -> (RuleName, bool) {
    let label = |text: &str| {
        let good = (1..=64).contains(&text.len()) && !text.chars().any(|c| c.is_control() || c == '"');
        let place = text.starts_with("http[") || text.starts_with("tcp[") || text.starts_with("llm_routing");
        if good && !place {
            Ok(RuleName::new(text))
        } else {
            Err("a name is 1 to 64 characters, and not a place")
        }
    };
    let given = fields.get("name").and_then(|node| notes.parsed(node, "name", label));
    let named = given.is_some();
    (given.unwrap_or_else(|| RuleName::new(field)), named)
}

/// The host of a rule, which must be there.
pub(super) fn read_host(
    rule: &Node,
    fields: &Fields<'_>,
    field: &str,
    notes: &mut Notes,
) -> Option<(HostPattern, Range<usize>)> {
    let Some(node) = fields.get("host") else {
        if !notes.has_error_in(&rule.span) {
            notes.error(rule.span.clone(), format!("`{field}` has no `host`"));
        }
        return None;
    };
    let host = notes.parsed(node, "host", HostPattern::parse)?;
    if host.literal().is_some_and(is_internal) {
        let message =
            format!("`host` cannot be `{host}`: it is answered inside the sandbox and needs no rule");
        notes.error(node.span.clone(), message);
        return None;
    }
    Some((host, node.span.clone()))
}

/// The ports of a rule; none are its usual one.
pub(super) fn read_ports(fields: &Fields<'_>, usual: Port, notes: &mut Notes) -> Vec<Port> {
    let Some(node) = fields.get("ports") else { return vec![usual] };
    let items = notes.list(node, "ports", "numbers");
    if items.is_empty() && !notes.has_error_in(&node.span) {
        notes.error(node.span.clone(), "`ports` is empty: name one, or leave the field out");
    }
    let mut ports = Vec::new();
    for item in items {
        let port = notes.number(item, "ports", 1..65536).and_then(|port| u16::try_from(port).ok());
        ports.extend(port.and_then(Port::new).filter(|port| !ports.contains(port)));
    }
    ports
}

fn usual_methods() -> MethodSet {
    MethodSet::These(["GET", "HEAD", "OPTIONS"].into_iter().filter_map(Method::new).collect())
}

fn read_methods(node: &Node, notes: &mut Notes) -> MethodSet {
    let items = notes.list(node, "methods", "method names");
    let mut these = Vec::new();
    let mut any = false;
    for item in items {
        match notes.parsed(item, "methods", parse_method) {
            Some(Some(method)) if these.contains(&method) => {
                notes.warning(item.span.clone(), format!("`{method}` is listed twice"));
            }
            Some(Some(method)) => these.push(method),
            Some(None) => any = true,
            None => {}
        }
    }
    if any && !these.is_empty() {
        notes.warning(node.span.clone(), "`*` is every method: the others are pointless");
    }
    if any { MethodSet::Any } else { MethodSet::These(these) }
}

/// Why a text is no method.
#[derive(Debug, thiserror::Error)]
enum MethodError {
    #[error("a tunnel is never allowed by a rule: its requests are judged one by one")]
    Connect,
    #[error("a method is a name, as `GET`, or `*` alone")]
    NotAName,
    #[error("methods are in upper case: write `{0}`")]
    LowerCase(String),
}

/// A method, or none for `*`.
fn parse_method(text: &str) -> Result<Option<Method>, MethodError> {
    if text == "*" {
        return Ok(None);
    }
    let upper = text.to_ascii_uppercase();
    if upper == "CONNECT" {
        return Err(MethodError::Connect);
    }
    let method = Method::new(text).filter(|_| !text.contains('*')).ok_or(MethodError::NotAName)?;
    if upper == text { Ok(Some(method)) } else { Err(MethodError::LowerCase(upper)) }
}

fn read_paths(node: &Node, notes: &mut Notes) -> Vec<(PathPattern, Range<usize>)> {
    let items = notes.list(node, "paths", "path patterns");
    let mut paths = Vec::new();
    for item in items {
        paths.extend(notes.parsed(item, "paths", PathPattern::parse).map(|path| (path, item.span.clone())));
    }
    paths
}

fn read_query(node: &Node, notes: &mut Notes) -> Vec<(String, TextGlob)> {
    let mut query = Vec::new();
    for (name, key, value) in notes.entries(node, "query") {
        if name.is_empty() {
            notes.error(key.span.clone(), "a parameter in `query` has a name");
        }
        let glob = match &value.value {
            // A number is what a request says too: its digits.
            super::Value::Scalar { text, .. } if !value.is_null() => Some(text.as_str()),
            super::Value::Scalar { .. } | super::Value::List(_) | super::Value::Map(_) => {
                notes.text(value, "query")
            }
        };
        query.extend(glob.map(|glob| (name.to_owned(), TextGlob::new(glob))));
    }
    query
}

fn read_denies(node: &Node, notes: &mut Notes) -> (Vec<DenyRule>, Vec<Range<usize>>) {
    let items = notes.list(node, "deny", "maps of `methods`, `paths` and `query`");
    let mut denies = Vec::new();
    for item in items {
        let fields = notes.fields(item, "deny", &["methods", "paths", "query"]);
        denies.push(DenyRule {
            methods: fields.get("methods").map(|node| read_methods(node, notes)),
            paths: fields
                .get("paths")
                .map(|node| read_paths(node, notes).into_iter().map(|(path, _)| path).collect()),
            query: fields.get("query").map(|node| read_query(node, notes)).unwrap_or_default(),
        });
    }
    (denies, items.iter().map(|item| item.span.clone()).collect())
}

fn read_tls(fields: &Fields<'_>, scheme: Scheme, notes: &mut Notes) -> TlsMode {
    let modes = [("inspect", TlsMode::Inspect), ("passthrough", TlsMode::Passthrough)];
    let tls = fields.get("tls").and_then(|node| notes.choice(node, "tls", &modes)).unwrap_or_default();
    if tls == TlsMode::Passthrough {
        for field in INSIDE {
            if let Some(span) = fields.key(field) {
                let message = format!("`{field}` needs to look inside, and `tls: passthrough` does not");
                notes.error(span, message);
            }
        }
        if scheme == Scheme::Http {
            let span = fields.key("scheme").unwrap_or_default();
            notes.error(span, "`scheme: http` has no TLS that could be passed through");
        }
    }
    tls
}

fn read_addresses(fields: &Fields<'_>, notes: &mut Notes) -> Vec<Cidr> {
    let Some(node) = fields.get("allowed_addresses") else { return Vec::new() };
    let items = notes.list(node, "allowed_addresses", "address ranges");
    if items.is_empty() && !notes.has_error_in(&node.span) {
        notes.error(node.span.clone(), "`allowed_addresses` is empty: name a range, or leave the field out");
    }
    items.iter().filter_map(|item| notes.parsed(item, "allowed_addresses", str::parse::<Cidr>)).collect()
}

fn read_limits(node: &Node, notes: &mut Notes) -> RequestLimits {
    let fields = notes.fields(node, "limits", &["requests_per_minute", "request_body", "response_body"]);
    let mut size = |field| fields.get(field).and_then(|node| amount(node, field, notes, units::size));
    let (request_body, response_body) = (size("request_body"), size("response_body"));
    let often = fields.get("requests_per_minute");
    let often = often.and_then(|node| notes.number(node, "requests_per_minute", 1..1 << 32));
    RequestLimits {
        requests_per_minute: often.and_then(|often| u32::try_from(often).ok()),
        request_body,
        response_body,
    }
}
