//! The baseline, written out: every call of x86_64 that Linux 6.18 has, and what happens to it.
//!
//! What ordinary programs need passes; what names a path or an address is asked about; what reaches for the
//! kernel, for other processes' memory or for a new namespace is refused. A number in no list is missing.

use std::collections::BTreeMap;

use libc::c_long;

use crate::seccomp::{Condition, Disposition};

mod lists;

/// What a call's set-id bits and the like are judged by.
const CONDITIONS: &[(c_long, Condition)] = &[
    (libc::SYS_clone, Condition::NoNewNamespace),
    (libc::SYS_unshare, Condition::NoNewNamespace),
    (libc::SYS_ioctl, Condition::SafeControl),
    (libc::SYS_socket, Condition::OrdinarySocket),
    (libc::SYS_socketpair, Condition::OrdinarySocketPair),
    (libc::SYS_setsockopt, Condition::NoDevice),
    (libc::SYS_personality, Condition::HarmlessPersonality),
    (libc::SYS_prctl, Condition::LayoutStays),
    (libc::SYS_prlimit64, Condition::FirstProcessStays),
    (libc::SYS_open, Condition::OpenWithoutSetId { flags: 1, mode: 2 }),
    (libc::SYS_openat, Condition::OpenWithoutSetId { flags: 2, mode: 3 }),
    (libc::SYS_creat, Condition::NotifyWithoutSetId { mode: 1 }),
    (libc::SYS_mkdir, Condition::NotifyWithoutSetId { mode: 1 }),
    (libc::SYS_mkdirat, Condition::NotifyWithoutSetId { mode: 2 }),
    (libc::SYS_chmod, Condition::NotifyWithoutSetId { mode: 1 }),
    (libc::SYS_fchmodat, Condition::NotifyWithoutSetId { mode: 2 }),
    (libc::SYS_fchmodat2, Condition::NotifyWithoutSetId { mode: 2 }),
    (libc::SYS_fchmod, Condition::AllowWithoutSetId { mode: 1 }),
    (libc::SYS_mknod, Condition::NotifyWithoutDevice { mode: 1 }),
    (libc::SYS_mknodat, Condition::NotifyWithoutDevice { mode: 2 }),
    (libc::SYS_newfstatat, Condition::NotifyUnlessNull { path: 1 }),
    (libc::SYS_statx, Condition::NotifyUnlessNull { path: 1 }),
    (libc::SYS_utimensat, Condition::NotifyUnlessNull { path: 1 }),
    (libc::SYS_futimesat, Condition::NotifyUnlessNull { path: 1 }),
];

/// Every number with its disposition.
pub(super) fn baseline() -> BTreeMap<u32, Disposition> {
    let mut calls = BTreeMap::new();
    let all = [
        (lists::ALLOW, Disposition::Allow),
        (lists::NOTIFY, Disposition::Notify),
        (lists::REFUSE, Disposition::Refuse),
        (lists::MISSING, Disposition::Missing),
    ];
    for (list, disposition) in all {
        calls.extend(list.iter().filter_map(|n| Some((u32::try_from(*n).ok()?, disposition))));
    }
    calls.extend(
        CONDITIONS.iter().filter_map(|(n, c)| Some((u32::try_from(*n).ok()?, Disposition::When(*c)))),
    );
    calls
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_call_is_in_exactly_one_list() {
        let conditions: Vec<c_long> = CONDITIONS.iter().map(|(n, _)| *n).collect();
        let lists = [lists::ALLOW, lists::NOTIFY, lists::REFUSE, lists::MISSING, &conditions];
        for number in (0..=334).chain(424..=469) {
            let times = lists.iter().flat_map(|l| l.iter()).filter(|n| **n == number).count();
            assert_eq!(times, 1, "call {number} is in {times} lists");
        }
    }
}
