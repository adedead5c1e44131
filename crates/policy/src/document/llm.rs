//! `dynamic.llm_routing`

use std::ops::Range;

use chiton_secret::SecretRef;

use super::{Node, Notes, Sites, Value, process::amount, units};
use crate::{
    model::{BaseUrl, LlmLimits, LlmRoute},
    names::RuleName,
    patterns::TextGlob,
    provider::Provider,
};

const FIELDS: [&str; 9] = [
    "provider",
    "backend",
    "base_url",
    "strip_caller_credentials",
    "inject_backend_credential",
    "models",
    "model_alias",
    "limits",
    "fallback",
];

/// One route, or a list of them.
pub(super) fn read(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Vec<LlmRoute> {
    let mut routes: Vec<(LlmRoute, Range<usize>)> = Vec::new();
    match &node.value {
        Value::List(items) => {
            for (index, item) in items.iter().enumerate() {
                let route = read_route(item, &format!("llm_routing[{index}]"), true, notes);
                routes.extend(route.map(|route| (route, item.span.clone())));
            }
        }
        Value::Map(_) => {
            let route = read_route(node, "llm_routing", true, notes);
            routes.extend(route.map(|route| (route, node.span.clone())));
        }
        Value::Scalar { .. } => notes.wrong_type(node, "llm_routing", "a route or a list of routes"),
    }
    sites.llm.clone_from(&routes);
    routes.into_iter().map(|(route, _)| route).collect()
}

fn read_route(node: &Node, name: &str, outer: bool, notes: &mut Notes) -> Option<LlmRoute> {
    let fields = notes.fields(node, name, &FIELDS);
    let strip = fields.get("strip_caller_credentials");
    let strip = strip.and_then(|node| notes.boolean(node, "strip_caller_credentials")).unwrap_or(true);
    let inject = fields.get("inject_backend_credential");
    let inject = inject.and_then(|node| read_secret(node, "inject_backend_credential", notes));
    if let Some(span) = fields.key("strip_caller_credentials").filter(|_| inject.is_some() && !strip) {
        let message = "with `inject_backend_credential` the agent's own credentials must be stripped";
        notes.error(span, message).help = Some("leave `strip_caller_credentials` out".to_owned());
    }
    let base_url =
        fields.get("base_url").and_then(|node| notes.parsed(node, "base_url", str::parse::<BaseUrl>));
    let models = fields.get("models").map(|node| read_models(node, notes));
    let model_alias = fields.get("model_alias").map(|node| read_aliases(node, notes)).unwrap_or_default();
    let limits = fields.get("limits").map(|node| read_limits(node, notes)).unwrap_or_default();
    let fallback = fields.get("fallback").map(|node| read_fallback(node, name, outer, notes));
    let Some(provider) = fields.get("provider") else {
        if matches!(node.value, Value::Map(_)) && !notes.has_error_in(&node.span) {
            notes.error(node.span.clone(), format!("`{name}` has no `provider`"));
        }
        return None;
    };
    let known = Provider::ALL.map(|provider| (provider.as_str(), provider));
    let span = provider.span.clone();
    let provider = notes.choice(provider, "provider", &known)?;
    let backend = fields.get("backend").and_then(|node| read_backend(node, provider, notes));
    if let Some(key) = fields.key("strip_caller_credentials").filter(|_| backend.is_some() && !strip) {
        notes.error(
            key,
            "with `backend` the agent's own credentials must be stripped: they are another API's",
        );
    }
    let behind = backend.unwrap_or(provider);
    if behind.needs_base_url() && fields.get("base_url").is_none() {
        notes.error(span, format!("provider `{behind}` has no address of its own: name its `base_url`"));
    }
    Some(LlmRoute {
        name: RuleName::new(name),
        provider,
        backend_provider: backend,
        base_url,
        strip_caller_credentials: strip,
        inject_backend_credential: inject,
        models,
        model_alias,
        limits,
        fallback: fallback.unwrap_or_default(),
    })
}

/// Whose API is behind; none where it is the route's own.
fn read_backend(node: &Node, provider: Provider, notes: &mut Notes) -> Option<Provider> {
    let known = Provider::ALL.map(|provider| (provider.as_str(), provider));
    let backend = notes.choice(node, "backend", &known)?;
    if backend == provider {
        return None;
    }
    if !provider.translates_to(backend) {
        let message = format!("calls of `{provider}` are not translated for a backend of `{backend}`");
        let help = if provider.facts().conversation.is_some() {
            "translated are `anthropic` for a backend that speaks OpenAI's API, and the reverse; for another \
             backend of the same API name its `base_url` alone"
        } else {
            "translated are `anthropic` for a backend that speaks OpenAI's API, and the reverse"
        };
        notes.error(node.span.clone(), message).help = Some(help.to_owned());
        return None;
    }
    Some(backend)
}

fn read_fallback(node: &Node, name: &str, outer: bool, notes: &mut Notes) -> Vec<LlmRoute> {
    if !outer {
        notes
            .error(node.span.clone(), "a fallback has no fallback of its own: list them one after the other");
        return Vec::new();
    }
    let mut routes = Vec::new();
    for (index, item) in notes.list(node, "fallback", "routes").iter().enumerate() {
        routes.extend(read_route(item, &format!("{name}.fallback[{index}]"), false, notes));
    }
    routes
}

/// A secret reference. Of what is none nothing is shown but the scheme.
pub(super) fn read_secret(node: &Node, field: &str, notes: &mut Notes) -> Option<SecretRef> {
    let text = notes.text(node, field)?;
    match text.parse::<SecretRef>() {
        Ok(reference) => Some(reference),
        Err(error) => {
            let start = text.find("://").map_or(node.span.start, |at| node.span.start + at + 3);
            notes.hide(start.min(node.span.end)..node.span.end);
            let scheme = text.split_once("://").map(|(scheme, _)| scheme).unwrap_or_default();
            let schemes = chiton_secret::Scheme::ALL.map(chiton_secret::Scheme::as_str);
            let help = match super::near::nearest(scheme, schemes) {
                Some(near) if near != scheme => format!("did you mean `{near}://…`?"),
                _ => "keep the value with `chiton secret set NAME` and write `local://NAME` here".to_owned(),
            };
            notes.error(node.span.clone(), format!("`{field}`: {error}")).help = Some(help);
            None
        }
    }
}

fn read_models(node: &Node, notes: &mut Notes) -> Vec<TextGlob> {
    let items = notes.list(node, "models", "model names");
    let mut models = Vec::new();
    for item in items {
        models.extend(notes.text(item, "models").map(TextGlob::new));
    }
    models
}

fn read_aliases(node: &Node, notes: &mut Notes) -> Vec<(String, String)> {
    let mut aliases = Vec::new();
    for (name, _, value) in notes.entries(node, "model_alias") {
        let sent = notes.text(value, "model_alias");
        aliases.extend(sent.map(|sent| (name.to_owned(), sent.to_owned())));
    }
    aliases
}

fn read_limits(node: &Node, notes: &mut Notes) -> LlmLimits {
    let fields = notes.fields(node, "limits", &["requests_per_minute", "tokens_per_day", "usd_per_day"]);
    let mut number = |field, most| fields.get(field).and_then(|node| notes.number(node, field, 1..most));
    let often = number("requests_per_minute", 1 << 32).and_then(|often| u32::try_from(often).ok());
    let tokens_per_day = number("tokens_per_day", 1 << 53);
    let usd = fields.get("usd_per_day").and_then(|node| amount(node, "usd_per_day", notes, units::usd));
    LlmLimits { requests_per_minute: often, tokens_per_day, usd_per_day: usd }
}
