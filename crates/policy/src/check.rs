//! What can only be said of a document as a whole: overlaps, secrets where references belong, rules without
//! effect, and what is not supported yet.

mod overlap;
mod pointless;

use std::collections::HashSet;

use crate::{
    diagnostics::{looks_like_a_secret, shown},
    document::{Node, Notes, Sites, Value},
    model::{EnvEntry, Mode, Policy},
    names::Scheme,
    patterns::{BinaryPattern, FileGlob},
    unsupported::unsupported,
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

/// Everything that compares parts with each other and can be wrong.
pub(crate) fn between(sites: &Sites, notes: &mut Notes) {
    names(sites, notes);
    overlap::check(sites, notes);
    credentials(sites, notes);
    binaries(sites, notes);
}

/// Everything that compares parts with each other.
pub(crate) fn whole(policy: &Policy, root: &Node, sites: &Sites, notes: &mut Notes) {
    between(sites, notes);
    pointless::check(sites, notes);
    env(sites, notes);
    if policy.dynamic.mode == Mode::Audit {
        let span = root.at(&["dynamic", "mode"]);
        notes.warning(span, "`mode: audit` lets pass what the rules refuse, and only records it");
    }
    // A document that extends others is joined with them before it is used.
    for item in unsupported(policy).into_iter().filter(|item| item.field() != "extends") {
        let path: Vec<&str> = item.place.iter().map(String::as_str).collect();
        notes.warning(root.at(&path), item.to_string()).help =
            Some("`chiton run` and `chiton policy apply` refuse this policy until it is".to_owned());
    }
}

fn names(sites: &Sites, notes: &mut Notes) {
    let mut names = HashSet::new();
    for site in &sites.http {
        if !names.insert(site.rule.name.as_str()) {
            let message = format!("two rules are called `{}`", shown(site.rule.name.as_str()));
            notes.error(site.span.clone(), message).help = Some("give each its own name".to_owned());
        }
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

/// A credential in the clear, and a placeholder that another value of the same name would hide.
fn credentials(sites: &Sites, notes: &mut Notes) {
    let rules = || sites.http.iter().filter_map(|site| Some((site, site.credential.as_ref()?)));
    for (site, credential) in rules().filter(|(site, _)| site.rule.scheme == Scheme::Http) {
        let message = format!("the credential of `{}` goes over the network in the clear", site.rule.name);
        notes.warning(credential.span.clone(), message).help =
            Some("leave `scheme: http` out where the host speaks TLS".to_owned());
    }
    let all = rules().map(|(_, credential)| credential).chain(&sites.given);
    for (name, span) in all.filter_map(|credential| credential.env.as_ref()) {
        if sites.env.iter().any(|(entry, _)| entry.name() == name) {
            let message = format!("`{}` is set under `process.env` already", name.as_str());
            notes.error(span.clone(), message).help = Some(
                "`env` of a credential is for a placeholder: leave the variable out of one of them"
                    .to_owned(),
            );
        }
    }
}

/// What the agent can write it can also replace: such a path says nothing about who runs.
fn binaries(sites: &Sites, notes: &mut Notes) {
    let http = sites.http.iter().map(|site| (site.rule.binaries.as_deref(), site.binaries.clone()));
    let tcp = sites.tcp.iter().map(|(rule, span)| (rule.binaries.as_deref(), Some(span.clone())));
    for (globs, span) in http.chain(tcp) {
        let (Some(globs), Some(span)) = (globs, span) else { continue };
        notes.info(
            span.clone(),
            "`binaries` narrows what ordinary tools do; it does not bound hostile code that loads itself into an \
             allowed program",
        );
        for glob in globs.iter().map(BinaryPattern::program).filter(|glob| has_many_names(glob)) {
            let message =
                format!("`{glob}` is one program with many names: whatever it is called as may use the rule");
            notes.warning(span.clone(), message);
        }
        for pattern in globs.iter().filter(|pattern| pattern.script().is_some()) {
            let message = format!(
                "`{pattern}` tells which script an interpreter was started with; what else it loads the agent still \
                 chooses, by its environment and by files in its home"
            );
            notes.warning(span.clone(), message);
        }
        for glob in globs.iter().flat_map(BinaryPattern::globs) {
            if let Some(folder) = writable_below(sites, glob) {
                let message = format!("`{glob}` covers files below `{folder}`, which the agent can write");
                notes.error(span.clone(), message);
            }
        }
    }
}

/// Programs that are told by what they are called what to be. Others are not known by their names.
fn has_many_names(glob: &FileGlob) -> bool {
    let last = glob.as_str().rsplit('/').next();
    last.is_some_and(|name| matches!(name, "busybox" | "toybox" | "coreutils"))
}

/// A folder that the agent can write and that the pattern reaches into. A path that is given to read, within one
/// that is given to write, is none of that one's.
fn writable_below<'a>(sites: &'a Sites, glob: &FileGlob) -> Option<&'a str> {
    const OWN: [&str; 2] = ["/home/agent", "/dev/shm"];
    let prefix = glob.literal_folders();
    let only_read = |writable: &str| {
        let within = |folder: &str| is_below(folder, writable) && is_below(&prefix, folder);
        sites.read_only.iter().any(|(path, _)| path.as_str() != writable && within(path.as_str()))
    };
    let writable = sites.allowed.iter().map(|(path, _)| path.as_str()).chain(OWN);
    writable.into_iter().find(|folder| {
        // A file itself can be given to write, too.
        let reaches = glob.could_match_below(folder.as_bytes()) || glob.covers(folder.as_bytes());
        reaches && !only_read(folder)
    })
}

fn is_below(path: &str, folder: &str) -> bool {
    path.strip_prefix(folder).is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
}
