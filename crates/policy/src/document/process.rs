//! `static.process`, `static.resources` and `static.gpu`

use std::ops::Range;

use super::{Node, Notes, Sites, Value, near::nearest, units};
use crate::{
    diagnostics::shown,
    model::{EnvEntry, Gpu, ProcessRules, Resources},
    names::EnvName,
    patterns::{BinaryPattern, FileGlob},
    syscalls::Syscall,
};

pub(super) fn read(node: &Node, notes: &mut Notes, sites: &mut Sites) -> ProcessRules {
    let fields = notes.fields(node, "process", &["blocked_syscalls", "allowed_binaries", "env"]);
    let blocked = fields.get("blocked_syscalls").map(|node| read_syscalls(node, notes));
    let binaries = fields.get("allowed_binaries").map(|node| read_globs(node, "allowed_binaries", notes));
    sites.env = fields.get("env").map(|node| read_env(node, notes)).unwrap_or_default();
    ProcessRules {
        blocked_syscalls: blocked.unwrap_or_default(),
        allowed_binaries: binaries,
        env: sites.env.iter().map(|(entry, _)| entry.clone()).collect(),
    }
}

fn read_syscalls(node: &Node, notes: &mut Notes) -> Vec<Syscall> {
    let items = notes.list(node, "blocked_syscalls", "system call names");
    let mut calls = Vec::new();
    for item in items {
        let Some(text) = notes.text(item, "blocked_syscalls") else { continue };
        match Syscall::by_name(text) {
            Some(call) if calls.contains(&call) => {
                notes.warning(item.span.clone(), format!("`{call}` is listed twice"));
            }
            Some(call) => calls.push(call),
            None => {
                let message = format!("`{}` is no system call of Linux on x86_64", shown(text));
                let near = nearest(text, Syscall::all().map(Syscall::name));
                notes.error(item.span.clone(), message).help =
                    near.map(|near| format!("did you mean `{near}`?"));
            }
        }
    }
    calls
}

/// Globs over executables.
fn read_globs(node: &Node, field: &str, notes: &mut Notes) -> Vec<FileGlob> {
    let items = notes.list(node, field, "path globs");
    items.iter().filter_map(|item| notes.parsed(item, field, FileGlob::parse)).collect()
}

/// Who may use a rule.
pub(super) fn read_binaries(node: &Node, notes: &mut Notes) -> Vec<BinaryPattern> {
    let items = notes.list(node, "binaries", "path globs");
    items.iter().filter_map(|item| notes.parsed(item, "binaries", BinaryPattern::parse)).collect()
}

/// A map of names to values, or a list of names and of such maps; a name without a value is passed through.
fn read_env(node: &Node, notes: &mut Notes) -> Vec<(EnvEntry, Range<usize>)> {
    let mut entries = Vec::new();
    match &node.value {
        Value::List(items) => {
            for item in items {
                match &item.value {
                    Value::Map(_) => read_env_map(item, notes, &mut entries),
                    Value::Scalar { .. } | Value::List(_) => {
                        let name = notes.parsed(item, "env", env_name);
                        entries.extend(name.map(|name| (EnvEntry::Pass(name), item.span.clone())));
                    }
                }
            }
        }
        Value::Map(_) => read_env_map(node, notes, &mut entries),
        Value::Scalar { .. } => notes.wrong_type(node, "env", "a map of variables, or a list of names"),
    }
    let mut seen = std::collections::HashSet::new();
    for (entry, span) in &entries {
        if !seen.insert(entry.name()) {
            notes.error(span.clone(), format!("the variable `{}` is set twice", entry.name().as_str()));
        }
    }
    entries
}

fn read_env_map(node: &Node, notes: &mut Notes, entries: &mut Vec<(EnvEntry, Range<usize>)>) {
    for (text, key, value) in notes.entries(node, "env") {
        let name = match env_name(text) {
            Ok(name) => name,
            Err(error) => {
                notes.error(key.span.clone(), format!("`env` cannot set `{}`: {error}", shown(text)));
                continue;
            }
        };
        let entry = match &value.value {
            _ if value.is_null() => EnvEntry::Pass(name),
            Value::Scalar { text, .. } if text.contains('\0') => {
                notes.error(value.span.clone(), "a variable's value has no NUL");
                continue;
            }
            Value::Scalar { text, .. } => EnvEntry::Give { name, value: text.clone() },
            Value::List(_) | Value::Map(_) => {
                notes.wrong_type(value, "env", "a text");
                continue;
            }
        };
        entries.push((entry, key.span.start..value.span.end));
    }
}

pub(super) fn env_name(text: &str) -> Result<EnvName, &'static str> {
    let why = if text.contains('=') {
        "in a list stands the name alone; with a value write it as a map, `NAME: value`"
    } else {
        "a variable's name is letters, digits and `_`"
    };
    match EnvName::new(text) {
        Some(name) if EnvName::is_sandboxs(name.as_str()) => Err("the sandbox sets this variable itself"),
        name => name.ok_or(why),
    }
}

pub(super) fn read_resources(node: &Node, notes: &mut Notes) -> Resources {
    let fields = notes.fields(node, "resources", &["cpus", "memory", "pids", "disk", "wall_time"]);
    let mut resources = Resources::default();
    if let Some(node) = fields.get("cpus") {
        resources.cpus = amount(node, "cpus", notes, units::cpus);
    }
    if let Some(node) = fields.get("memory") {
        resources.memory = amount(node, "memory", notes, units::size);
    }
    if let Some(node) = fields.get("pids") {
        let pids = notes.number(node, "pids", 1..1 << 22);
        resources.pids = pids.and_then(|pids| u32::try_from(pids).ok());
    }
    if let Some(node) = fields.get("disk") {
        resources.disk = amount(node, "disk", notes, units::size);
    }
    if let Some(node) = fields.get("wall_time") {
        resources.wall_time = amount(node, "wall_time", notes, units::time);
    }
    resources
}

/// An amount, whether YAML takes it for a number or a text.
pub(super) fn amount<T>(
    node: &Node,
    field: &str,
    notes: &mut Notes,
    parse: fn(&str) -> Result<T, units::UnitError>,
) -> Option<T> {
    let Value::Scalar { text, .. } = &node.value else {
        notes.wrong_type(node, field, "an amount");
        return None;
    };
    match parse(text) {
        Ok(amount) => Some(amount),
        Err(error) => {
            notes.error(node.span.clone(), format!("`{field}` cannot be `{}`: {error}", shown(text)));
            None
        }
    }
}

pub(super) fn read_gpu(node: &Node, notes: &mut Notes) -> Option<Gpu> {
    match &node.value {
        Value::List(items) => {
            let names = items.iter().filter_map(|item| notes.parsed(item, "gpu", cdi_name));
            Some(Gpu::Cdi(names.collect()))
        }
        Value::Scalar { text, plain: true } if text.bytes().all(|b| b.is_ascii_digit()) => {
            let count = notes.number(node, "gpu", 1..1024)?;
            u32::try_from(count).ok().map(Gpu::Count)
        }
        Value::Scalar { text, .. } if text.contains(['/', '=']) => {
            notes.parsed(node, "gpu", cdi_name).map(|name| Gpu::Cdi(vec![name]))
        }
        Value::Scalar { .. } | Value::Map(_) => {
            let known = [("none", 0), ("all", 1)];
            let all = notes.choice(node, "gpu", &known)?;
            Some(if all == 1 { Gpu::All } else { Gpu::None })
        }
    }
}

/// A device's full name, `VENDOR/CLASS=NAME` (<https://github.com/cncf-tags/container-device-interface>, SPEC.md). The
/// class is a GPU's: nothing else that a machine may give to containers is given by this field.
fn cdi_name(text: &str) -> Result<String, &'static str> {
    let word = |text: &str, inner: &[u8]| {
        let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
        let all = text.bytes().all(|b| b.is_ascii_alphanumeric() || inner.contains(&b));
        all && ends(text.as_bytes().first()) && ends(text.as_bytes().last())
    };
    let parts = text.split_once('=').and_then(|(kind, device)| Some((kind.split_once('/')?, device)));
    match parts {
        Some(((vendor, class), device)) if word(vendor, b"-_.") && word(device, b"-_.:") => match class {
            "gpu" => Ok(text.to_owned()),
            _ if word(class, b"-_") => {
                Err("only devices of the class `gpu` are given, as `nvidia.com/gpu=0`")
            }
            _ => Err("a CDI name is as `nvidia.com/gpu=0`"),
        },
        _ => Err("a CDI name is as `nvidia.com/gpu=0`"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_device_is_a_gpu_by_its_class_and_its_name_is_plain() {
        for good in ["nvidia.com/gpu=0", "nvidia.com/gpu=GPU-8a1b", "a_b.c-d/gpu=0:1", "x/gpu=all"] {
            assert!(cdi_name(good).is_ok(), "{good}");
        }
        let other = ["vendor.com/net=eth0", "vendor.com/GPU=0", "vendor.com/gpu-x=0"];
        for name in other {
            assert!(cdi_name(name).unwrap_err().contains("class"), "{name}");
        }
        for name in [
            "",
            "=",
            "/=",
            "gpu=0",
            "/gpu=0",
            "nvidia.com/gpu",
            "nvidia.com/gpu=",
            "nvidia.com/=0",
            "a/b/gpu=0",
            "../gpu=0",
            "nvidia.com/gpu=../0",
            "nvidia.com/gpu=0 1",
            "nvidia.com/gpu=0,1",
            "nvidia.com/gpu=0\n",
            "nvidia.com/gpu=0=1",
            "nvidia.com/gpu=-0",
            "nvidia.com/gpu=0:",
            "-x/gpu=0",
            "ñ/gpu=0",
        ] {
            assert!(cdi_name(name).is_err(), "{name}");
        }
    }
}
