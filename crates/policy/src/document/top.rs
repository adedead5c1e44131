//! The document as a whole: version, what it extends, and its two halves.

use super::{Node, Notes, Sites, Value, credential, filesystem, llm, near::nearest, network, process, tcp};
use crate::{
    diagnostics::{Diagnostics, shown},
    model::{Base, Dynamic, Extend, Fixed, Given, Mode, Policy, Preset, Written},
    patterns::HostPattern,
};

pub(super) fn read(root: &Node, notes: &mut Notes) -> (Policy, Sites) {
    let mut sites = Sites::default();
    let fields = notes.fields(root, "policy", &["version", "extends", "static", "dynamic"]);
    if let Some(node) = fields.get("version") {
        notes.number(node, "version", 1..2);
    }
    let extends = fields.get("extends").map(|node| read_extends(node, notes, &mut sites)).unwrap_or_default();
    let has_static = fields.key("static").is_some();
    let fixed = fields.get("static").map(|node| read_fixed(node, notes, &mut sites)).unwrap_or_default();
    let dynamic = fields.get("dynamic").map(|node| read_dynamic(node, notes, &mut sites)).unwrap_or_default();
    let writes = |path: &[&str]| root.value_at(path).is_some_and(|node| !node.is_null());
    let written = Written {
        workspace: writes(&["static", "filesystem", "workspace"]),
        gpu: writes(&["static", "gpu"]),
    };
    (Policy { extends, has_static, written, fixed, dynamic, warnings: Diagnostics::none() }, sites)
}

fn read_extends(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Vec<Extend> {
    let items = notes.list(node, "extends", "presets or files");
    let mut extends = Vec::new();
    for item in items {
        if let Value::Map(_) = item.value {
            extends.extend(read_given(item, notes, sites));
        } else {
            extends.extend(read_base(item, "extends", notes).map(|base| Extend { base, given: None }));
        }
    }
    extends
}

/// A base whose rules are given a credential.
fn read_given(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Option<Extend> {
    let fields = notes.fields(node, "extends", &["use", "credential", "hosts"]);
    let base = fields.get("use").map(|node| read_base(node, "use", notes));
    if base.is_none() && !notes.has_error_in(&node.span) {
        let message = "this entry of `extends` has no `use`: a preset or a file";
        notes.error(node.span.clone(), message);
    }
    let credential = fields.get("credential").and_then(|node| credential::read(node, notes));
    let hosts = fields.get("hosts").map(|node| {
        let items = notes.list(node, "hosts", "hosts");
        if items.is_empty() && !notes.has_error_in(&node.span) {
            notes.error(node.span.clone(), "`hosts` is empty: name one, or leave the field out");
        }
        items.iter().filter_map(|item| notes.parsed(item, "hosts", HostPattern::parse)).collect()
    });
    if let (None, Some(span)) = (fields.get("credential"), fields.key("hosts")) {
        notes.error(span, "`hosts` says for whose rules the `credential` is, and there is none");
    }
    let given = credential.map(|(credential, site)| {
        sites.given.push(site);
        Given { credential, hosts }
    });
    Some(Extend { base: base??, given })
}

fn read_base(node: &Node, field: &str, notes: &mut Notes) -> Option<Base> {
    let text = notes.text(node, field)?;
    let file = text.contains('/') || text.ends_with(".yaml") || text.ends_with(".yml");
    match Preset::ALL.into_iter().find(|preset| preset.as_str() == text) {
        Some(preset) => Some(Base::Preset(preset)),
        None if file && !text.starts_with(['/', '~']) => Some(Base::File(text.to_owned())),
        None => {
            let message = format!("`{field}` knows no preset `{}`", shown(text));
            let known = Preset::ALL.map(Preset::as_str);
            let help = match nearest(text, known) {
                Some(near) => format!("did you mean `{near}`?"),
                None => format!("presets are {}; a file is relative, as `./base.yaml`", known.join(", ")),
            };
            notes.error(node.span.clone(), message).help = Some(help);
            None
        }
    }
}

fn read_fixed(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Fixed {
    let fields = notes.fields(node, "static", &["filesystem", "process", "resources", "gpu"]);
    let mut fixed = Fixed::default();
    if let Some(node) = fields.get("filesystem") {
        fixed.filesystem = filesystem::read(node, notes, sites);
    }
    if let Some(node) = fields.get("process") {
        fixed.process = process::read(node, notes, sites);
    }
    if let Some(node) = fields.get("resources") {
        fixed.resources = process::read_resources(node, notes);
    }
    if let Some(node) = fields.get("gpu") {
        fixed.gpu = process::read_gpu(node, notes).unwrap_or_default();
    }
    fixed
}

fn read_dynamic(node: &Node, notes: &mut Notes, sites: &mut Sites) -> Dynamic {
    let fields = notes.fields(node, "dynamic", &["mode", "network", "llm_routing"]);
    let mut dynamic = Dynamic::default();
    if let Some(node) = fields.get("mode") {
        let modes = [("enforce", Mode::Enforce), ("audit", Mode::Audit)];
        dynamic.mode = notes.choice(node, "mode", &modes).unwrap_or_default();
    }
    if let Some(node) = fields.get("network") {
        let network = notes.fields(node, "network", &["http", "tcp"]);
        if let Some(node) = network.get("http") {
            dynamic.http = network::read(node, notes, sites);
        }
        if let Some(node) = network.get("tcp") {
            dynamic.tcp = tcp::read(node, notes, sites);
        }
    }
    if let Some(node) = fields.get("llm_routing") {
        dynamic.llm = llm::read(node, notes, sites);
    }
    dynamic
}
