//! Small worlds, in which things meet often: few hosts, few paths, few methods.

use chiton_policy::Host;
use proptest::prelude::*;

pub(crate) fn host() -> impl Strategy<Value = String> {
    let label = prop::sample::select(vec!["a", "b", "ab", "*", "**", "a*", "*b", "*a*"]);
    let rest = prop::sample::select(vec!["x.example", "a.x.example", "b.a.x.example"]);
    (label, rest).prop_map(|(label, rest)| format!("{label}.{rest}"))
}

/// Every host that the patterns of [`host`] can tell apart.
pub(crate) fn all_hosts() -> Vec<Host> {
    let labels = ["a", "b", "ab", "aab", "abb", "bb", "aa", "xax", "bab", "x"];
    let mut names: Vec<String> = vec!["x.example".to_owned()];
    for _ in 0..3 {
        let longer: Vec<String> = names
            .iter()
            .filter(|name| name.matches('.').count() < 4)
            .flat_map(|name| labels.iter().map(move |label| format!("{label}.{name}")))
            .collect();
        names.extend(longer);
        names.sort();
        names.dedup();
    }
    names.iter().map(|name| Host::parse(name).unwrap()).collect()
}

fn segment() -> impl Strategy<Value = &'static str> {
    prop::sample::select(vec!["a", "b", "ab", "*", "**", "a*", "*b", ":id", "{n}"])
}

pub(crate) fn path() -> impl Strategy<Value = String> {
    (prop::collection::vec(segment(), 0..4), prop::bool::weighted(0.3)).prop_map(|(segments, slash)| {
        let joined = segments.join("/");
        if slash && !joined.is_empty() { format!("/{joined}/") } else { format!("/{joined}") }
    })
}

pub(crate) fn plain_path() -> impl Strategy<Value = String> {
    let segment = prop::sample::select(vec!["a", "b", "ab", "A", "x"]);
    (prop::collection::vec(segment, 0..4), prop::bool::weighted(0.3)).prop_map(|(segments, slash)| {
        let joined = segments.join("/");
        if slash && !joined.is_empty() { format!("/{joined}/") } else { format!("/{joined}") }
    })
}

/// Every path that the patterns of [`path`] can tell apart.
pub(crate) fn all_paths() -> Vec<String> {
    let mut paths = vec![String::new()];
    let mut all = vec!["/".to_owned()];
    for _ in 0..6 {
        paths = paths
            .iter()
            .flat_map(|path| ["a", "b", "ab", "x"].map(|segment| format!("{path}/{segment}")))
            .collect();
        all.extend(paths.iter().cloned());
        all.extend(paths.iter().map(|path| format!("{path}/")));
    }
    all
}

pub(crate) fn all_texts() -> Vec<String> {
    let mut texts = vec![String::new()];
    let mut all = texts.clone();
    for _ in 0..8 {
        texts = texts.iter().flat_map(|text| ["a", "b"].map(|c| format!("{text}{c}"))).collect();
        all.extend(texts.iter().cloned());
    }
    all
}

fn list(items: Vec<String>) -> String {
    format!("[{}]", items.iter().map(|item| format!("'{item}'")).collect::<Vec<_>>().join(", "))
}

fn methods() -> impl Strategy<Value = String> {
    let names = prop::sample::subsequence(vec!["GET", "POST", "HEAD", "PUT"], 0..4);
    prop_oneof![
        Just("['*']".to_owned()),
        names.prop_map(|names| list(names.into_iter().map(str::to_owned).collect())),
    ]
}

fn query() -> impl Strategy<Value = String> {
    let entry = (prop::sample::select(vec!["q", "v"]), prop::sample::select(vec!["*", "a", "a*"]));
    entry.prop_map(|(name, glob)| format!("{{{name}: '{glob}'}}"))
}

fn matcher() -> impl Strategy<Value = String> {
    let paths = prop::collection::vec(path(), 0..3).prop_map(list);
    let parts = (prop::option::of(methods()), prop::option::of(paths), prop::option::weighted(0.3, query()));
    parts.prop_map(|(methods, paths, query)| {
        let fields = [("methods", methods), ("paths", paths), ("query", query)];
        let fields = fields.into_iter().filter_map(|(name, value)| Some(format!("{name}: {}", value?)));
        fields.collect::<Vec<_>>().join(", ")
    })
}

fn rule() -> impl Strategy<Value = String> {
    let ports = prop::option::weighted(0.2, prop::sample::select(vec!["[443, 8443]", "[80]", "[8443]"]));
    let scheme = prop::bool::weighted(0.2);
    let deny = prop::option::weighted(0.4, matcher());
    (host(), ports, scheme, matcher(), deny).prop_map(|(host, ports, plain, matcher, deny)| {
        let mut rule = format!("{{host: '{host}'");
        let mut add = |text: String| rule.push_str(&format!(", {text}"));
        if let Some(ports) = ports {
            add(format!("ports: {ports}"));
        }
        if plain {
            add("scheme: http".to_owned());
        }
        if !matcher.is_empty() {
            add(matcher);
        }
        if let Some(deny) = deny {
            add(format!("deny: [{{{deny}}}]"));
        }
        rule.push('}');
        rule
    })
}

pub(crate) fn policy() -> impl Strategy<Value = String> {
    prop::collection::vec(rule(), 0..5)
        .prop_map(|rules| format!("dynamic: {{network: {{http: [{}]}}}}\n", rules.join(", ")))
}

pub(crate) fn request() -> impl Strategy<Value = String> {
    let method = prop::sample::select(vec!["GET", "POST", "HEAD", "PUT", "CONNECT"]);
    let scheme = prop::sample::select(vec!["https", "https", "https", "http"]);
    let label = prop::sample::select(vec!["a", "b", "ab", "A", "x.a", "a.b", "aab"]);
    let rest = prop::sample::select(vec!["x.example", "a.x.example", "b.a.x.example", "x.example."]);
    let port = prop::sample::select(vec!["", "", "", ":443", ":8443", ":80"]);
    let query = prop::sample::select(vec!["", "", "?q=a", "?q=b&v=ab", "?q=a&q=b", "?Q=A", "?v"]);
    (method, scheme, label, rest, port, plain_path(), query).prop_map(
        |(method, scheme, label, rest, port, path, query)| {
            format!("{method} {scheme}://{label}.{rest}{port}{path}{query}")
        },
    )
}
