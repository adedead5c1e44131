//! What can only be said of a document as a whole: overlaps, secrets where references belong, rules without
//! effect, and what is not supported yet.

mod overlap;
mod pointless;

use crate::{
    diagnostics::{looks_like_a_secret, shown},
    document::{Node, Notes, Sites, Value},
    model::{EnvEntry, Mode, Policy},
    unsupported::unsupported_at,
};

/// A literal that looks like a secret is an error wherever it stands.
pub(crate) fn secrets(node: &Node, notes: &mut Notes) {
    match &node.value {
        Value::Scalar { text, .. } => {
            if looks_like_a_secret(text) {
                notes.hide(node.span.clone());
                if !notes.has_error_in(&node.span) {
                    let message =
                        format!("`{}` looks like a secret, and a policy holds references only", shown(text));
                    notes.error(node.span.clone(), message).help = Some(
                        "keep the value with `chiton secret set NAME` and refer to it as `local://NAME`"
                            .to_owned(),
                    );
                }
            }
        }
        Value::List(items) => items.iter().for_each(|item| secrets(item, notes)),
        Value::Map(pairs) => {
            for (key, value) in pairs {
                secrets(key, notes);
                secrets(value, notes);
            }
        }
    }
}

/// Everything that compares parts with each other.
pub(crate) fn whole(policy: &Policy, root: &Node, sites: &Sites, notes: &mut Notes) {
    overlap::check(sites, notes);
    pointless::check(sites, notes);
    env(sites, notes);
    binaries(sites, notes);
    if policy.dynamic.mode == Mode::Audit {
        let span = root.at(&["dynamic", "mode"]);
        notes.warning(span, "`mode: audit` lets pass what the rules refuse, and only records it");
    }
    let place = |index: usize| sites.http.get(index).map_or(index, |site| site.index);
    for item in unsupported_at(policy, place) {
        let path: Vec<&str> = item.place.iter().map(String::as_str).collect();
        notes.warning(root.at(&path), item.to_string()).help =
            Some("`chiton run` and `chiton policy apply` refuse this policy until it is".to_owned());
    }
}

fn env(sites: &Sites, notes: &mut Notes) {
    const SECRET_WORDS: [&str; 5] = ["SECRET", "TOKEN", "PASSWORD", "API_KEY", "PRIVATE_KEY"];
    for (entry, span) in &sites.env {
        let EnvEntry::Give { name, value } = entry else { continue };
        if !value.is_empty() && SECRET_WORDS.iter().any(|word| name.as_str().ends_with(word)) {
            let message = format!("the agent can read `{}`: no real credential belongs there", name.as_str());
            notes.warning(span.clone(), message);
        }
    }
}

/// What the agent can write it can also replace: such a path says nothing about who runs.
fn binaries(sites: &Sites, notes: &mut Notes) {
    const PRIVATE_HOME: &str = "/home/agent";
    for site in &sites.http {
        let (Some(globs), Some(span)) = (&site.rule.binaries, &site.binaries) else { continue };
        notes.info(
            span.clone(),
            "`binaries` narrows what ordinary tools do; it does not bound hostile code that loads itself into an \
             allowed program",
        );
        let writable = sites.allowed.iter().map(|(path, _)| path.as_str()).chain([PRIVATE_HOME]);
        for path in writable {
            if let Some(glob) = globs.iter().find(|glob| glob.could_match_below(path.as_bytes())) {
                let message = format!("`{glob}` covers files below `{path}`, which the agent can write");
                notes.error(span.clone(), message);
            }
        }
    }
}
