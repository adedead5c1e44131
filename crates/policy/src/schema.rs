//! The JSON Schema of the language, for editors. Written by hand beside the reader: a test holds every field
//! of both against each other.

use serde_json::{Value, json};

use crate::{
    model::{Preset, Protection},
    provider::Provider,
    syscalls::Syscall,
};

/// The schema (draft 2020-12). What it accepts is well formed; the checker says more.
#[must_use]
pub fn schema() -> Value {
    json!({
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": "https://chiton.internal/policy/v1",
        "title": "Chiton policy",
        "type": ["object", "null"],
        "additionalProperties": false,
        "properties": {
            "version": { "const": 1, "description": "Language version." },
            "extends": {
                "type": ["array", "null"],
                "description": "Built-in presets or relative files, merged in order.",
                "items": { "anyOf": [reference("base"), reference("given")] }
            },
            "static": fixed(),
            "dynamic": dynamic()
        },
        "$defs": definitions()
    })
}

fn object(description: &str, properties: &Value) -> Value {
    json!({
        "type": ["object", "null"],
        "description": description,
        "additionalProperties": false,
        "properties": properties
    })
}

fn list(description: &str, items: &Value) -> Value {
    json!({ "type": ["array", "null"], "description": description, "items": items })
}

fn reference(name: &str) -> Value {
    json!({ "$ref": format!("#/$defs/{name}") })
}

fn fixed() -> Value {
    let path = reference("path");
    let filesystem = json!({
        "allowed_paths": list("The agent reads and writes these.", &path),
        "read_only_paths": list("The agent reads and executes these.", &path),
        "denied_paths": list("Nothing at or under these exists for the agent.", &reference("denied")),
        "unprotected": list("Built-in protections to lift.", &json!({ "enum": Protection::LIFTABLE.map(Protection::as_str) })),
        "workspace": { "enum": ["live", "staged", null] }
    });
    let calls: Vec<&str> = Syscall::all().map(Syscall::name).collect();
    let process = json!({
        "blocked_syscalls": list("Refused with EPERM, on top of the baseline.", &json!({ "enum": calls })),
        "allowed_binaries": list("Which files may be executed.", &reference("glob")),
        "env": reference("env")
    });
    let resources = json!({
        "cpus": reference("amount"),
        "memory": reference("amount"),
        "pids": { "type": ["integer", "null"], "minimum": 1 },
        "disk": reference("amount"),
        "wall_time": reference("amount")
    });
    object(
        "Fixed when the sandbox is created.",
        &json!({
            "filesystem": object("What exists in the sandbox.", &filesystem),
            "process": object("Calls, programs and variables.", &process),
            "resources": object("How much of the machine.", &resources),
            "gpu": { "anyOf": [
                { "enum": ["none", "all", null] },
                { "type": "integer", "minimum": 1 },
                reference("cdi"),
                { "type": "array", "items": reference("cdi") }
            ] }
        }),
    )
}

fn dynamic() -> Value {
    object(
        "Can be replaced while the sandbox runs.",
        &json!({
            "mode": { "enum": ["enforce", "audit", null] },
            "network": object("What the agent may reach.", &json!({
                "http": list("HTTP rules.", &reference("http")),
                "tcp": list("Any other protocol, by name.", &reference("tcp"))
            })),
            "llm_routing": { "anyOf": [
                reference("route"),
                { "type": "array", "items": reference("route") },
                { "type": "null" }
            ] }
        }),
    )
}

fn definitions() -> Value {
    json!({
        "path": { "type": "string", "pattern": "^(/|~/)" },
        "denied": { "type": "string", "pattern": "^(/|~/|\\*\\*/)" },
        "glob": { "type": "string", "pattern": "^(/|~/|\\*\\*/)" },
        "cdi": { "type": "string", "pattern": "^[^/=]+/gpu=[^/=]+$" },
        "amount": { "type": ["string", "number", "null"] },
        "count": { "type": ["integer", "null"], "minimum": 1 },
        "flag": { "type": ["boolean", "null"] },
        "port": { "type": "integer", "minimum": 1, "maximum": 65535 },
        "host": { "type": "string", "minLength": 1, "pattern": "^[^/@?#]+$" },
        "secret": { "type": "string", "pattern": "^(local|vault|aws-sm|env|file|exec)://." },
        "env": { "anyOf": [
            { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } },
            { "type": "array", "items": { "anyOf": [
                { "type": "string", "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" },
                { "type": "object", "additionalProperties": { "type": ["string", "number", "boolean", "null"] } }
            ] } },
            { "type": "null" }
        ] },
        "methods": { "type": ["array", "null"], "items": { "type": "string", "pattern": "^([A-Z0-9!#$%&'+.^_`|~-]+|\\*)$" } },
        "paths": { "type": ["array", "null"], "items": { "type": "string", "pattern": "^/[^?#]*$" } },
        "query": { "type": ["object", "null"], "additionalProperties": { "type": ["string", "number", "boolean"] } },
        "http": http(),
        "credential": credential(),
        "base": { "anyOf": [
            { "enum": Preset::ALL.map(Preset::as_str) },
            { "type": "string", "pattern": "^[^/~].*(/|\\.ya?ml$)" }
        ] },
        "given": {
            "type": "object",
            "description": "What is extended, with a credential for its rules.",
            "additionalProperties": false,
            "required": ["use"],
            "properties": {
                "use": reference("base"),
                "credential": { "anyOf": [reference("credential"), { "type": "null" }] },
                "hosts": { "type": ["array", "null"], "minItems": 1, "items": reference("host") }
            }
        },
        "tcp": tcp(),
        "route": route()
    })
}

fn http() -> Value {
    let deny =
        json!({ "methods": reference("methods"), "paths": reference("paths"), "query": reference("query") });
    let limits = json!({
        "requests_per_minute": reference("count"),
        "request_body": reference("amount"),
        "response_body": reference("amount")
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["host"],
        "properties": {
            "name": { "type": ["string", "null"], "minLength": 1, "maxLength": 64 },
            "host": reference("host"),
            "ports": { "type": ["array", "null"], "minItems": 1, "items": reference("port") },
            "scheme": { "enum": ["https", "http", null] },
            "methods": reference("methods"),
            "paths": reference("paths"),
            "query": reference("query"),
            "deny": list("Wins over any allow for the same host.", &object("An absent field means any.", &deny)),
            "binaries": list("Which executables may use the rule, or `INTERPRETER SCRIPT`.", &reference("glob")),
            "websocket": reference("flag"),
            "tls": { "enum": ["inspect", "passthrough", null] },
            "private_addresses": reference("flag"),
            "allowed_addresses": { "type": ["array", "null"], "minItems": 1, "items": { "type": "string" } },
            "encoded_slash": reference("flag"),
            "credential": { "anyOf": [reference("credential"), { "type": "null" }] },
            "limits": object("How often, how much.", &limits)
        }
    })
}

fn credential() -> Value {
    let basic = json!({ "user": { "type": "string", "maxLength": 256, "pattern": "^[^:]*$" } });
    let name = json!({ "type": ["string", "null"], "minLength": 1, "maxLength": 64 });
    let env = json!({ "type": ["string", "null"], "pattern": "^[A-Za-z_][A-Za-z0-9_]*$" });
    let aws = json!({ "aws": reference("secret"), "env": env });
    let place = json!({
        "secret": reference("secret"),
        "header": { "type": ["string", "null"] },
        "format": { "type": ["string", "null"], "pattern": "\\{\\}" },
        "basic": object("The password of this user.", &basic),
        "query": name,
        "cookie": name,
        "env": env
    });
    json!({ "anyOf": [reference("secret"), {
        "type": "object",
        "description": "An AWS key, by which requests are signed anew.",
        "additionalProperties": false,
        "required": ["aws"],
        "properties": aws
    }, {
        "type": "object",
        "description": "Added after the decision, upstream only; one place at most.",
        "additionalProperties": false,
        "required": ["secret"],
        "properties": place
    }] })
}

fn tcp() -> Value {
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["host", "ports"],
        "properties": {
            "host": reference("host"),
            "ports": { "type": "array", "minItems": 1, "items": reference("port") },
            "binaries": list("Which executables may use the rule, or `INTERPRETER SCRIPT`.", &reference("glob")),
            "private_addresses": reference("flag")
        }
    })
}

fn route() -> Value {
    let limits = json!({
        "requests_per_minute": reference("count"),
        "tokens_per_day": reference("count"),
        "usd_per_day": reference("amount")
    });
    json!({
        "type": "object",
        "additionalProperties": false,
        "required": ["provider"],
        "properties": {
            "provider": { "enum": Provider::ALL.map(Provider::as_str) },
            "backend": { "anyOf": [{ "enum": Provider::ALL.map(Provider::as_str) }, { "type": "null" }] },
            "base_url": { "type": ["string", "null"], "pattern": "^https?://" },
            "strip_caller_credentials": reference("flag"),
            "inject_backend_credential": { "anyOf": [reference("secret"), { "type": "null" }] },
            "models": { "type": ["array", "null"], "items": { "type": "string" } },
            "model_alias": { "type": ["object", "null"], "additionalProperties": { "type": "string" } },
            "limits": object("How often, how much.", &limits),
            "fallback": list("Further routes to try.", &reference("route"))
        }
    })
}

#[cfg(test)]
mod tests;
