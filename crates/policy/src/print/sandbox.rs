//! The static half, printed.

use serde_json::{Value, json};

use super::{Fields, texts};
use crate::{
    document::{show_decimal, show_size},
    model::{EnvEntry, FilesystemRules, Fixed, Gpu, ProcessRules, Resources, WorkspaceMode},
};

pub(crate) fn fixed(fixed: &Fixed) -> Value {
    let mut fields = Fields::default();
    fields.map("filesystem", filesystem(&fixed.filesystem));
    fields.map("process", process(&fixed.process));
    fields.map("resources", resources(&fixed.resources));
    fields.some("gpu", gpu(&fixed.gpu));
    fields.done()
}

fn filesystem(rules: &FilesystemRules) -> Value {
    let mut fields = Fields::default();
    fields.list("allowed_paths", texts(&rules.allowed));
    fields.list("read_only_paths", texts(&rules.read_only));
    fields.list("denied_paths", texts(&rules.denied));
    fields.list("unprotected", rules.unprotected.iter().map(|name| json!(name.as_str())).collect());
    if rules.workspace == WorkspaceMode::Staged {
        fields.put("workspace", json!("staged"));
    }
    fields.done()
}

fn process(rules: &ProcessRules) -> Value {
    let mut fields = Fields::default();
    fields.list("blocked_syscalls", texts(&rules.blocked_syscalls));
    fields.some("allowed_binaries", rules.allowed_binaries.as_ref().map(|globs| Value::Array(texts(globs))));
    let mut env = Fields::default();
    for entry in &rules.env {
        match entry {
            EnvEntry::Give { name, value } => env.put(name.as_str(), json!(value)),
            EnvEntry::Pass(name) => env.put(name.as_str(), Value::Null),
        }
    }
    fields.map("env", env.done());
    fields.done()
}

fn resources(resources: &Resources) -> Value {
    let mut fields = Fields::default();
    fields.some("cpus", resources.cpus.map(|cpus| json!(show_decimal(cpus.millis.into(), 3))));
    fields.some("memory", resources.memory.map(|size| json!(show_size(size))));
    fields.some("pids", resources.pids.map(|pids| json!(pids)));
    fields.some("disk", resources.disk.map(|size| json!(show_size(size))));
    fields.some("wall_time", resources.wall_time.map(|time| json!(format!("{}s", time.0.as_secs()))));
    fields.done()
}

fn gpu(gpu: &Gpu) -> Option<Value> {
    match gpu {
        Gpu::None => None,
        Gpu::All => Some(json!("all")),
        Gpu::Count(count) => Some(json!(count)),
        Gpu::Cdi(names) => Some(json!(names)),
    }
}
