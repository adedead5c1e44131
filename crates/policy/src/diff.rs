//! What changes between two policies, by meaning: order and spelling of a document do not count.

mod wider;

use std::fmt;

use serde::Serialize;
use serde_json::Value;

use crate::{model::Policy, print};

/// Every difference, the static half first.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub struct PolicyDiff {
    /// What cannot be changed while a sandbox runs.
    #[serde(rename = "static")]
    pub fixed: Vec<Change>,
    /// What can.
    pub dynamic: Vec<Change>,
}

/// One difference.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Change {
    /// The field, from the top of the document; a rule by its name.
    pub field: String,
    /// What it was, as the document would say it; none when it was not there.
    pub before: Option<String>,
    /// What it is; none when it is no longer there.
    pub after: Option<String>,
    /// Whether the agent may do more or less.
    pub effect: Effect,
}

/// Which way a change goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Effect {
    /// The agent may do more.
    Widened,
    /// The agent may do less.
    Narrowed,
    /// Both, neither, or it cannot be told.
    Changed,
}

/// What changes from one policy to another. An absent static half of the second means unchanged.
#[must_use]
pub fn diff(before: &Policy, after: &Policy) -> PolicyDiff {
    let fixed = if after.has_static { static_diff(before, after) } else { Vec::new() };
    let (old, new) = (before.to_json(), after.to_json());
    let mut dynamic = Vec::new();
    let half = |document: &Value, names: &[&str]| {
        names.iter().try_fold(document, |value, name| value.get(name)).cloned().unwrap_or(Value::Null)
    };
    for path in [["dynamic", "mode"].as_slice(), &["dynamic", "llm_routing"], &["dynamic", "network", "tcp"]]
    {
        compare(&path.join("."), &half(&old, path), &half(&new, path), &mut dynamic);
    }
    compare("extends", &half(&old, &["extends"]), &half(&new, &["extends"]), &mut dynamic);
    compare_rules(before, after, &mut dynamic);
    PolicyDiff { fixed, dynamic }
}

/// The fields of the static half that differ: what `apply` refuses.
#[must_use]
pub fn static_diff(before: &Policy, after: &Policy) -> Vec<Change> {
    let mut changes = Vec::new();
    if before.fixed != after.fixed {
        let (old, new) = (print::fixed(&before.fixed), print::fixed(&after.fixed));
        compare("static", &old, &new, &mut changes);
    }
    changes
}

/// Rules are the same rule when they have the same name; unnamed ones when they say the same.
fn compare_rules(before: &Policy, after: &Policy, changes: &mut Vec<Change>) {
    let (old, new) = (&before.dynamic.http, &after.dynamic.http);
    let key = |rule: &crate::model::HttpRule| if rule.named { rule.name.to_string() } else { String::new() };
    let mut left: Vec<_> = new.iter().collect();
    let mut gone = Vec::new();
    for rule in old {
        let same =
            left.iter().position(|other| key(other) == key(rule) && spelled_out(other) == spelled_out(rule));
        match same {
            Some(at) => drop(left.remove(at)),
            None => gone.push(rule),
        }
    }
    for rule in gone {
        let twin = left.iter().position(|other| {
            if rule.named || other.named {
                key(other) == key(rule)
            } else {
                other.host == rule.host && other.scheme == rule.scheme
            }
        });
        let field = format!("dynamic.network.http.{}", label(rule));
        match twin {
            Some(at) => {
                let other = left.remove(at);
                compare(&field, &spelled_out(rule), &spelled_out(other), changes);
            }
            None => compare(&field, &print::http(rule), &Value::Null, changes),
        }
    }
    for rule in left {
        compare(&format!("dynamic.network.http.{}", label(rule)), &Value::Null, &print::http(rule), changes);
    }
}

/// A rule with what it means where it says nothing, so that every change has two sides.
fn spelled_out(rule: &crate::model::HttpRule) -> Value {
    let mut value = print::http(rule);
    if let Value::Object(fields) = &mut value {
        fields.insert("methods".to_owned(), print::methods_meant(&rule.methods));
        fields.insert("ports".to_owned(), print::ports(&rule.ports));
        fields.insert("scheme".to_owned(), rule.scheme.as_str().into());
    }
    value
}

fn label(rule: &crate::model::HttpRule) -> String {
    if rule.named { rule.name.to_string() } else { rule.host.to_string() }
}

/// Goes down into maps; what is no map differs as a whole.
fn compare(field: &str, old: &Value, new: &Value, changes: &mut Vec<Change>) {
    if old == new {
        return;
    }
    if let (Value::Object(a), Value::Object(b)) = (old, new) {
        let mut names: Vec<&String> = a.keys().collect();
        names.extend(b.keys().filter(|name| !a.contains_key(*name)));
        for name in names {
            let value = |map: &serde_json::Map<String, Value>| map.get(name).cloned().unwrap_or(Value::Null);
            compare(&format!("{field}.{name}"), &value(a), &value(b), changes);
        }
        return;
    }
    let told = |value: &Value| (!value.is_null()).then(|| value.to_string());
    let effect = wider::effect(field, old, new);
    changes.push(Change { field: field.to_owned(), before: told(old), after: told(new), effect });
}

impl PolicyDiff {
    /// Whether both policies say the same.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.fixed.is_empty() && self.dynamic.is_empty()
    }
}

impl fmt::Display for PolicyDiff {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let halves = [("static (needs --recreate)", &self.fixed), ("dynamic", &self.dynamic)];
        for (title, changes) in halves.into_iter().filter(|(_, changes)| !changes.is_empty()) {
            writeln!(f, "{title}")?;
            for change in changes {
                write!(f, "{change}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Change {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let effect = match self.effect {
            Effect::Widened => " (widened)",
            Effect::Narrowed => " (narrowed)",
            Effect::Changed => "",
        };
        writeln!(f, "  {}{effect}", self.field)?;
        for (sign, value) in [("-", &self.before), ("+", &self.after)] {
            if let Some(value) = value {
                writeln!(f, "    {sign} {value}")?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
