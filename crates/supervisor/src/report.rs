//! What is enforced, in the order in which it is applied. A layer that fails ends the start, so that what
//! stands here holds; what a host lacks is said as missing.

use chiton_api::control::{EnforcementReport, LayerReport};
use chiton_confine::{ConfinementPlan, locks::LandlockReport};

use crate::{kernel::identity_layer, rules::Rules};

/// The layers that hold once the view is assembled, and those that every program gets.
pub(crate) fn of(plan: &ConfinementPlan, rules: &Rules) -> EnforcementReport {
    let mut limits = format!(
        "{} processes and {} descriptors, no core files",
        plan.limits.processes, plan.limits.descriptors
    );
    if let Some(bytes) = rules.fixed.disk {
        limits.push_str(&format!("; {bytes} bytes in private folders"));
    }
    if let Some(time) = rules.resources.wall_time {
        limits.push_str(&format!("; {} seconds", time.0.as_secs()));
    }
    let shared = match plan.folders.folders.len() {
        1 => "1 folder".to_owned(),
        count => format!("{count} folders"),
    };
    EnforcementReport {
        layers: vec![
            layer("namespaces", "user, mount, pid, network, IPC, UTS and cgroup of its own".into()),
            layer(
                "capture",
                "every connection and every DNS question goes to the proxy, the rest is dropped".into(),
            ),
            layer("view", format!("{shared} of the host, the rest is the sandbox's own")),
            layer("lookup", "every path is judged when it is looked up".into()),
            layer("limits", limits),
            identity_layer(plan),
            layer(
                "seccomp",
                format!("{} system calls are known, the rest does not exist", plan.seccomp.calls.len()),
            ),
        ],
    }
}

/// What Landlock enforces, as its own library says.
pub(crate) fn landlock(report: &LandlockReport) -> LayerReport {
    LayerReport { layer: "landlock".into(), enforced: report.complete, detail: report.detail.clone() }
}

fn layer(layer: &str, detail: String) -> LayerReport {
    LayerReport { layer: layer.into(), enforced: true, detail }
}
