//! Which way a change goes, where it can be told from the field alone.

use serde_json::Value;

use super::Effect;

/// Fields where more entries give the agent more.
const GRANTS: [&str; 7] =
    ["allowed_paths", "read_only_paths", "unprotected", "http", "tcp", "ports", "llm_routing"];
/// Fields where more entries give it less.
const REFUSALS: [&str; 4] = ["denied_paths", "blocked_syscalls", "deny", "query"];
/// Lists that, when they are absent, mean any.
const LIMITING: [&str; 6] =
    ["paths", "binaries", "allowed_binaries", "allowed_addresses", "models", "limits"];
/// Flags that give more when they are set.
const FLAGS: [&str; 3] = ["websocket", "private_addresses", "encoded_slash"];

pub(super) fn effect(field: &str, old: &Value, new: &Value) -> Effect {
    let last = field.rsplit('.').next().unwrap_or(field);
    let in_rules = field.starts_with("dynamic.network.http.");
    if in_rules && (old.is_null() && new.get("host").is_some()) {
        return whole_rule(new, Effect::Widened);
    }
    if in_rules && (new.is_null() && old.get("host").is_some()) {
        return whole_rule(old, Effect::Narrowed);
    }
    if last == "mode" {
        return if new == "audit" { Effect::Widened } else { Effect::Narrowed };
    }
    let (fewer, more) = (subset(new, old), subset(old, new));
    if FLAGS.contains(&last) {
        return if new == true { Effect::Widened } else { Effect::Narrowed };
    }
    if GRANTS.contains(&last) {
        return by_count(fewer, more);
    }
    // Whoever asks with a key may do more than whoever asks without.
    if last == "credential" {
        return match (old.is_null(), new.is_null()) {
            (true, false) => Effect::Widened,
            (false, true) => Effect::Narrowed,
            _ => Effect::Changed,
        };
    }
    if field.ends_with(".credential.query") {
        return Effect::Changed;
    }
    if REFUSALS.contains(&last) {
        return by_count(more, fewer);
    }
    if LIMITING.contains(&last) {
        return match (old.is_null(), new.is_null()) {
            (true, false) => Effect::Narrowed,
            (false, true) => Effect::Widened,
            _ => by_count(fewer, more),
        };
    }
    // In a `deny` an absent `methods` is any; of a rule it is spelled out.
    if last == "methods" && !old.is_null() && !new.is_null() {
        return by_count(fewer || has_any(old), more || has_any(new));
    }
    Effect::Changed
}

/// A rule that only denies gives less by being there.
fn whole_rule(rule: &Value, with_allow: Effect) -> Effect {
    let denies = rule.get("deny").is_some();
    let allows = rule.get("methods") != Some(&Value::Array(Vec::new()));
    match (allows, denies, with_allow) {
        (true, false, effect) => effect,
        (false, true, Effect::Widened) => Effect::Narrowed,
        (false, true, Effect::Narrowed) => Effect::Widened,
        _ => Effect::Changed,
    }
}

fn has_any(methods: &Value) -> bool {
    methods.as_array().is_some_and(|methods| methods.iter().any(|method| method == "*"))
}

fn by_count(fewer: bool, more: bool) -> Effect {
    match (fewer, more) {
        (true, false) => Effect::Narrowed,
        (false, true) => Effect::Widened,
        _ => Effect::Changed,
    }
}

/// Whether every entry of one list is in the other; absent is empty.
fn subset(one: &Value, two: &Value) -> bool {
    match (one, two) {
        (Value::Null, _) => true,
        (Value::Array(one), Value::Array(two)) => one.iter().all(|item| two.contains(item)),
        (Value::Object(one), Value::Object(two)) => {
            one.iter().all(|(name, value)| two.get(name) == Some(value))
        }
        _ => false,
    }
}
