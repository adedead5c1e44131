//! Why this machine does not let an ordinary user make a sandbox, and the command that changes it.

use chiton_api::control::Failure;
use chiton_driver::DriverError;

/// A switch of the kernel or the distribution.
struct Switch {
    path: &'static str,
    forbids: &'static str,
    who: &'static str,
    command: &'static str,
}

const SWITCHES: [Switch; 3] = [
    Switch {
        path: "/proc/sys/user/max_user_namespaces",
        forbids: "0",
        who: "this machine allows no user namespaces",
        command: "sudo sysctl -w user.max_user_namespaces=15000",
    },
    Switch {
        path: "/proc/sys/kernel/unprivileged_userns_clone",
        forbids: "0",
        who: "this machine allows user namespaces to root only",
        command: "sudo sysctl -w kernel.unprivileged_userns_clone=1",
    },
    Switch {
        path: "/proc/sys/kernel/apparmor_restrict_unprivileged_userns",
        forbids: "1",
        who: "AppArmor allows user namespaces to root and to named programs only",
        command: "sudo sysctl -w kernel.apparmor_restrict_unprivileged_userns=0",
    },
];

/// The supervisor's failure, or what is behind it where that can be mended.
pub(crate) fn explain(failure: Failure, read: impl Fn(&str) -> Option<String>) -> DriverError {
    let set = |switch: &&Switch| read(switch.path).is_some_and(|value| value.trim() == switch.forbids);
    match SWITCHES.iter().find(set) {
        Some(Switch { who, command, .. }) => {
            DriverError::Unsupported(format!("{who}, and a sandbox needs one: run `{command}`"))
        }
        None => failure.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn failure() -> Failure {
        Failure { message: "cannot make namespaces".into(), status: 125 }
    }

    #[test]
    fn a_switch_that_forbids_is_named_with_its_command() {
        let read = |path: &str| path.contains("apparmor").then(|| "1\n".to_owned());
        let text = explain(failure(), read).to_string();
        assert!(text.contains("AppArmor") && text.contains("`sudo sysctl -w kernel.apparmor"), "{text}");
    }

    #[test]
    fn else_the_failure_stays() {
        let read = |path: &str| path.contains("max").then(|| "15000\n".to_owned());
        assert_eq!(explain(failure(), read).to_string(), "cannot make namespaces");
    }
}
