//! policy.md read sentence by sentence, without any thought of speed, over texts alone.

use chiton_policy::{
    Policy, Scheme,
    model::{DenyRule, HttpRule, MethodSet},
};

/// A request whose target is canonical already, taken apart.
struct Request<'a> {
    method: &'a str,
    scheme: &'a str,
    host: String,
    port: u16,
    path: &'a str,
    query: Vec<(&'a str, &'a str)>,
}

/// Why a request without encodings, dots or empty segments is refused; none when it is allowed.
pub(crate) fn reason(policy: &Policy, line: &str) -> Option<&'static str> {
    let request = read(line);
    let rules: Vec<&HttpRule> =
        policy.dynamic.http.iter().filter(|rule| host(&rule.host.to_string(), &request.host)).collect();
    let stages: Vec<usize> = rules.iter().map(|rule| stage(rule, &request)).collect();
    let nearest = stages.iter().copied().max().unwrap_or(0);
    let denied = rules.iter().any(|rule| rule.deny.iter().any(|entry| denies(entry, &request)));
    if denied && nearest > 2 {
        return Some("denied_by_rule");
    }
    [
        "host_not_allowed",
        "scheme_not_allowed",
        "port_not_allowed",
        "method_not_allowed",
        "path_not_allowed",
        "query_not_allowed",
    ]
    .get(nearest)
    .copied()
}

fn read(line: &str) -> Request<'_> {
    let (method, url) = line.split_once(' ').unwrap();
    let (scheme, rest) = url.split_once("://").unwrap();
    let (authority, target) = rest.split_at(rest.find('/').unwrap());
    let (host, port) = match authority.split_once(':') {
        Some((host, port)) => (host, port.parse().unwrap()),
        None => (authority, if scheme == "https" { 443 } else { 80 }),
    };
    let (path, query) = target.split_once('?').unwrap_or((target, ""));
    let query = query.split('&').filter(|pair| !pair.is_empty());
    let query = query.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).collect();
    Request { method, scheme, host: host.to_lowercase().trim_end_matches('.').to_owned(), port, path, query }
}

/// 0 host, 1 scheme, 2 port, 3 method, 4 path, 5 query, 6 allowed.
fn stage(rule: &HttpRule, request: &Request<'_>) -> usize {
    let scheme = if rule.scheme == Scheme::Https { "https" } else { "http" };
    if scheme != request.scheme {
        return 1;
    }
    if !rule.ports.iter().any(|port| port.get() == request.port) {
        return 2;
    }
    if !method(&rule.methods, request.method) {
        return 3;
    }
    if let Some(patterns) = &rule.paths
        && !patterns.iter().any(|pattern| path(pattern.as_str(), request.path))
    {
        return 4;
    }
    let fine = rule.query.iter().all(|(name, value)| {
        let named: Vec<&str> =
            request.query.iter().filter(|(key, _)| key == name).map(|(_, value)| *value).collect();
        !named.is_empty() && named.iter().all(|text| glob(value.as_str(), text))
    });
    if fine { 6 } else { 5 }
}

fn method(methods: &MethodSet, asked: &str) -> bool {
    match methods {
        MethodSet::Any => asked != "CONNECT",
        MethodSet::These(these) => {
            these.iter().any(|one| one.as_str() == asked || (one.as_str() == "GET" && asked == "HEAD"))
        }
    }
}

fn denies(entry: &DenyRule, request: &Request<'_>) -> bool {
    let by_method = match &entry.methods {
        None | Some(MethodSet::Any) => true,
        Some(these) => method(these, &request.method.to_uppercase()),
    };
    let asked = request.path.to_lowercase();
    let asked = asked.trim_end_matches('/');
    let by_path = entry.paths.as_ref().is_none_or(|patterns| {
        patterns.iter().any(|pattern| {
            let pattern = pattern.as_str().to_lowercase();
            let pattern = pattern.trim_end_matches('/');
            if pattern.is_empty() || asked.is_empty() {
                return pattern == asked
                    || (asked.is_empty() && pattern.split('/').skip(1).all(|name| name == "**"));
            }
            path(pattern, asked)
        })
    });
    let by_query = entry.query.iter().all(|(name, value)| {
        let value = value.as_str().to_lowercase();
        request.query.iter().any(|(key, text)| {
            key.to_lowercase() == name.to_lowercase() && glob(&value, &text.to_lowercase())
        })
    });
    by_method && by_path && by_query
}

fn host(pattern: &str, host: &str) -> bool {
    let (pattern, host): (Vec<&str>, Vec<&str>) = (pattern.split('.').collect(), host.split('.').collect());
    match pattern.split_first().unwrap() {
        (&"**", rest) => host.len() > rest.len() && host.ends_with(rest),
        (first, rest) => {
            let label = host.first().unwrap();
            host.len() == pattern.len() && host.ends_with(rest) && label_glob(first, label)
        }
    }
}

fn label_glob(pattern: &str, label: &str) -> bool {
    match pattern.chars().next() {
        None => label.is_empty(),
        Some('*') => (1..=label.len()).any(|end| label_glob(&pattern[1..], &label[end..])),
        Some(c) => label.starts_with(c) && label_glob(&pattern[1..], &label[1..]),
    }
}

pub(crate) fn path(pattern: &str, path: &str) -> bool {
    let pattern: Vec<&str> = pattern.split('/').skip(1).collect();
    let path: Vec<&str> = path.split('/').skip(1).collect();
    segments(&pattern, &path)
}

fn segments(pattern: &[&str], path: &[&str]) -> bool {
    match pattern.split_first() {
        None => path.is_empty(),
        Some((&"**", rest)) => {
            (0..=path.len()).any(|taken| path.get(taken..).is_some_and(|more| segments(rest, more)))
        }
        Some((one, rest)) => path.split_first().is_some_and(|(segment, more)| {
            let whole = *one == "*" || one.starts_with(':') || one.starts_with('{');
            let fits = if whole { !segment.is_empty() } else { glob(one, segment) };
            fits && segments(rest, more)
        }),
    }
}

pub(crate) fn glob(pattern: &str, text: &str) -> bool {
    match pattern.chars().next() {
        None => text.is_empty(),
        Some('*') => (0..=text.len()).any(|taken| glob(&pattern[1..], &text[taken..])),
        Some(c) => text.starts_with(c) && glob(&pattern[1..], &text[1..]),
    }
}
