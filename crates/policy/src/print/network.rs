//! The dynamic half, printed.

use serde_json::{Value, json};

use super::{Fields, mode, texts};
use crate::{
    document::{show_decimal, show_size},
    model::{
        Credential, CredentialPlace, DenyRule, Dynamic, HttpRule, LlmLimits, LlmRoute, MethodSet,
        RequestLimits, TcpRule, TlsMode,
    },
    names::{Port, Scheme},
    patterns::TextGlob,
};

pub(super) fn dynamic(dynamic: &Dynamic) -> Value {
    let mut fields = Fields::default();
    fields.some("mode", mode(dynamic.mode));
    let mut network = Fields::default();
    network.list("http", dynamic.http.iter().map(http).collect());
    network.list("tcp", dynamic.tcp.iter().map(tcp).collect());
    fields.map("network", network.done());
    match dynamic.llm.as_slice() {
        [] => {}
        // A single route in a list has another name than one that stands alone.
        [one] if one.name.as_str() == "llm_routing" => fields.put("llm_routing", route(one)),
        many => fields.put("llm_routing", Value::Array(many.iter().map(route).collect())),
    }
    fields.done()
}

pub(crate) fn http(rule: &HttpRule) -> Value {
    let mut fields = Fields::default();
    if rule.named {
        fields.put("name", json!(rule.name.as_str()));
    }
    fields.put("host", json!(host(&rule.host.to_string())));
    if rule.ports != [rule.scheme.default_port()] {
        fields.put("ports", ports(&rule.ports));
    }
    if rule.scheme == Scheme::Http {
        fields.put("scheme", json!("http"));
    }
    if !is_usual(&rule.methods) {
        fields.put("methods", methods(&rule.methods));
    }
    fields.some("paths", rule.paths.as_ref().map(|paths| Value::Array(texts(paths))));
    fields.map("query", query(&rule.query));
    fields.list("deny", rule.deny.iter().map(deny).collect());
    fields.some("binaries", rule.binaries.as_ref().map(|globs| Value::Array(texts(globs))));
    fields.flag("websocket", rule.websocket);
    if rule.tls == TlsMode::Passthrough {
        fields.put("tls", json!("passthrough"));
    }
    fields.flag("private_addresses", rule.private_addresses);
    fields.list("allowed_addresses", texts(&rule.allowed_addresses));
    fields.flag("encoded_slash", rule.encoded_slash);
    fields.some("credential", rule.credential.as_ref().map(credential));
    fields.map("limits", limits(&rule.limits));
    fields.done()
}

/// An IPv6 address stands in a policy without brackets, which YAML would take for a list.
fn host(text: &str) -> &str {
    text.trim_start_matches('[').trim_end_matches(']')
}

fn is_usual(methods: &MethodSet) -> bool {
    match methods {
        MethodSet::Any => false,
        MethodSet::These(these) => these.iter().map(crate::Method::as_str).eq(["GET", "HEAD", "OPTIONS"]),
    }
}

fn methods(methods: &MethodSet) -> Value {
    match methods {
        MethodSet::Any => json!(["*"]),
        MethodSet::These(these) => Value::Array(texts(these)),
    }
}

/// With what is meant and not written, in one order.
pub(crate) fn methods_meant(methods_: &MethodSet) -> Value {
    let MethodSet::These(these) = methods_ else { return methods(methods_) };
    let mut names: Vec<&str> = these.iter().map(crate::Method::as_str).collect();
    if names.contains(&"GET") {
        names.push("HEAD");
    }
    names.sort_unstable();
    names.dedup();
    json!(names)
}

pub(crate) fn ports(ports: &[Port]) -> Value {
    ports.iter().map(|port| json!(port.get())).collect()
}

fn query(query: &[(String, TextGlob)]) -> Value {
    let mut fields = Fields::default();
    for (name, glob) in query {
        fields.put(name, json!(glob.as_str()));
    }
    fields.done()
}

fn deny(deny: &DenyRule) -> Value {
    let mut fields = Fields::default();
    fields.some("methods", deny.methods.as_ref().map(methods));
    fields.some("paths", deny.paths.as_ref().map(|paths| Value::Array(texts(paths))));
    fields.map("query", query(&deny.query));
    fields.done()
}

pub(super) fn credential(credential: &Credential) -> Value {
    let mut fields = Fields::default();
    let secret = if credential.place == CredentialPlace::Aws { "aws" } else { "secret" };
    fields.put(secret, json!(credential.secret.to_string()));
    match &credential.place {
        CredentialPlace::Header { name, format } => {
            fields.put("header", json!(name.as_str()));
            fields.put("format", json!(format.as_str()));
        }
        CredentialPlace::Basic(user) => fields.put("basic", json!({ "user": user.as_str() })),
        CredentialPlace::Query(name) => fields.put("query", json!(name.as_str())),
        CredentialPlace::Cookie(name) => fields.put("cookie", json!(name.as_str())),
        CredentialPlace::Aws => {}
    }
    fields.some("env", credential.env.as_ref().map(|env| json!(env.as_str())));
    fields.done()
}

fn limits(limits: &RequestLimits) -> Value {
    let mut fields = Fields::default();
    fields.some("requests_per_minute", limits.requests_per_minute.map(|often| json!(often)));
    fields.some("request_body", limits.request_body.map(|size| json!(show_size(size))));
    fields.some("response_body", limits.response_body.map(|size| json!(show_size(size))));
    fields.done()
}

fn tcp(rule: &TcpRule) -> Value {
    let mut fields = Fields::default();
    fields.put("host", json!(host(&rule.host.to_string())));
    fields.put("ports", ports(&rule.ports));
    fields.some("binaries", rule.binaries.as_ref().map(|globs| Value::Array(texts(globs))));
    fields.flag("private_addresses", rule.private_addresses);
    fields.done()
}

fn route(route_: &LlmRoute) -> Value {
    let mut fields = Fields::default();
    fields.put("provider", json!(route_.provider.as_str()));
    fields.some("backend", route_.backend_provider.map(|provider| json!(provider.as_str())));
    fields.some("base_url", route_.base_url.as_ref().map(|url| json!(url.to_string())));
    if !route_.strip_caller_credentials {
        fields.put("strip_caller_credentials", json!(false));
    }
    let inject = route_.inject_backend_credential.as_ref();
    fields.some("inject_backend_credential", inject.map(|reference| json!(reference.to_string())));
    fields.some("models", route_.models.as_ref().map(|models| Value::Array(texts(models))));
    let mut aliases = Fields::default();
    for (name, sent) in &route_.model_alias {
        aliases.put(name, json!(sent));
    }
    fields.map("model_alias", aliases.done());
    fields.map("limits", llm_limits(&route_.limits));
    fields.list("fallback", route_.fallback.iter().map(route).collect());
    fields.done()
}

fn llm_limits(limits: &LlmLimits) -> Value {
    let mut fields = Fields::default();
    fields.some("requests_per_minute", limits.requests_per_minute.map(|often| json!(often)));
    fields.some("tokens_per_day", limits.tokens_per_day.map(|tokens| json!(tokens)));
    fields.some("usd_per_day", limits.usd_per_day.map(|usd| json!(show_decimal(usd.micros, 6))));
    fields.done()
}
