//! Classic BPF, as far as the filter needs it.
//!
//! The numbers are cut into ranges of one disposition each and searched as a balanced tree; every leaf returns.

use std::collections::BTreeMap;

use chiton_sys::seccomp::Instruction;

use crate::seccomp::Disposition;

pub(super) const ALLOW: u32 = 0x7FFF_0000;
pub(super) const NOTIFY: u32 = 0x7FC0_0000;
pub(super) const EPERM: u32 = errno(libc::EPERM);
pub(super) const ENOSYS: u32 = errno(libc::ENOSYS);
pub(super) const ENOSUPPORT: u32 = errno(libc::EPROTONOSUPPORT);

/// AUDIT_ARCH_X86_64.
pub(super) const ARCHITECTURE: u32 = 0xC000_003E;
/// The bit of x32's numbers.
const X32: u32 = 0x4000_0000;
/// Offsets in `struct seccomp_data`.
const NUMBER: u32 = 0;
const ARCHITECTURE_AT: u32 = 4;
const ARGUMENTS: u32 = 16;

const fn errno(number: i32) -> u32 {
    0x0005_0000 | number.unsigned_abs()
}

const fn instruction(code: u16, jump_true: u8, jump_false: u8, operand: u32) -> Instruction {
    Instruction { code, jump_true, jump_false, operand }
}

const fn load(offset: u32) -> Instruction {
    instruction(0x20, 0, 0, offset)
}

/// The low 32 bits of an argument.
pub(super) fn load_low(argument: u8) -> Instruction {
    load(ARGUMENTS + 8 * u32::from(argument))
}

/// The high 32 bits of an argument.
pub(super) fn load_high(argument: u8) -> Instruction {
    load(ARGUMENTS + 8 * u32::from(argument) + 4)
}

pub(super) const fn and(mask: u32) -> Instruction {
    instruction(0x54, 0, 0, mask)
}

pub(super) const fn ret(action: u32) -> Instruction {
    instruction(0x06, 0, 0, action)
}

pub(super) const fn jump_equal(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(0x15, yes, no, value)
}

const fn jump_at_least(value: u32, yes: u8, no: u8) -> Instruction {
    instruction(0x35, yes, no, value)
}

pub(super) const fn jump_set(bits: u32, yes: u8, no: u8) -> Instruction {
    instruction(0x45, yes, no, bits)
}

const fn jump(over: u32) -> Instruction {
    instruction(0x05, 0, 0, over)
}

/// How far to jump over a block. Blocks of conditions are short: a longer one is cut to a jump that the kernel's own
/// check, or the filter's tests, would refuse.
pub(super) fn span(block: &[Instruction]) -> u8 {
    u8::try_from(block.len()).unwrap_or(u8::MAX)
}

/// Returns `hit` when the accumulator is one of the values, else `miss`.
pub(super) fn any_of(values: &[u32], hit: u32, miss: u32) -> Vec<Instruction> {
    let mut code: Vec<_> = (1..=values.len())
        .rev()
        .zip(values)
        .map(|(left, value)| jump_equal(*value, u8::try_from(left).unwrap_or(u8::MAX), 0))
        .collect();
    code.extend([ret(miss), ret(hit)]);
    code
}

/// The whole filter.
pub(super) fn assemble(calls: &BTreeMap<u32, Disposition>) -> Vec<Instruction> {
    let mut code = vec![
        load(ARCHITECTURE_AT),
        jump_equal(ARCHITECTURE, 1, 0),
        ret(ENOSYS),
        load(NUMBER),
        jump_at_least(X32, 0, 1),
        ret(ENOSYS),
    ];
    code.extend(search(&ranges(calls)));
    code
}

/// First numbers of consecutive ranges that share a disposition, from 0 up.
fn ranges(calls: &BTreeMap<u32, Disposition>) -> Vec<(u32, Disposition)> {
    let mut ranges: Vec<(u32, Disposition)> = vec![(0, Disposition::Missing)];
    let mut next = 0;
    let mut begin = |first: u32, disposition: Disposition| match ranges.last_mut() {
        Some((_, last)) if *last == disposition => {}
        Some((start, last)) if *start == first => *last = disposition,
        Some(_) | None => ranges.push((first, disposition)),
    };
    for (&number, &disposition) in calls {
        if number > next {
            begin(next, Disposition::Missing);
        }
        begin(number, disposition);
        next = number.saturating_add(1);
    }
    begin(next, Disposition::Missing);
    ranges
}

fn search(ranges: &[(u32, Disposition)]) -> Vec<Instruction> {
    let (lower, upper) = ranges.split_at(ranges.len() / 2);
    match (lower, upper) {
        ([], [(_, only)]) => leaf(*only),
        (_, [(middle, _), ..]) => {
            let (lower, upper) = (search(lower), search(upper));
            let mut code = match u8::try_from(lower.len()) {
                Ok(near) => vec![jump_at_least(*middle, near, 0)],
                Err(_) => {
                    let far = u32::try_from(lower.len()).unwrap_or(u32::MAX);
                    vec![jump_at_least(*middle, 0, 1), jump(far)]
                }
            };
            code.extend(lower);
            code.extend(upper);
            code
        }
        // No range at all: nothing is known.
        (_, []) => vec![ret(ENOSYS)],
    }
}

fn leaf(disposition: Disposition) -> Vec<Instruction> {
    match disposition {
        Disposition::Allow => vec![ret(ALLOW)],
        Disposition::Notify | Disposition::Blocked => vec![ret(NOTIFY)],
        Disposition::Refuse => vec![ret(EPERM)],
        Disposition::Missing => vec![ret(ENOSYS)],
        Disposition::When(condition) => condition.assemble(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::seccomp::{SeccompPlan, siblings};

    /// Runs the program as the kernel does.
    fn run(program: &[Instruction], architecture: u32, number: u32, arguments: [u64; 6]) -> u32 {
        let mut data = vec![];
        data.extend(number.to_le_bytes());
        data.extend(architecture.to_le_bytes());
        data.extend(0_u64.to_le_bytes());
        arguments.iter().for_each(|a| data.extend(a.to_le_bytes()));
        let (mut at, mut accumulator) = (0, 0_u32);
        loop {
            let i = program[at];
            at += 1;
            let mut branch = |holds: bool| at += usize::from(if holds { i.jump_true } else { i.jump_false });
            match i.code {
                0x20 => {
                    let from = i.operand as usize;
                    accumulator = u32::from_le_bytes(data[from..from + 4].try_into().unwrap());
                }
                0x54 => accumulator &= i.operand,
                0x15 => branch(accumulator == i.operand),
                0x35 => branch(accumulator >= i.operand),
                0x45 => branch(accumulator & i.operand != 0),
                0x05 => at += i.operand as usize,
                0x06 => return i.operand,
                other => panic!("unknown instruction {other:#x}"),
            }
        }
    }

    fn judge(number: libc::c_long, arguments: [u64; 6]) -> u32 {
        let program = SeccompPlan::new([], true).assemble();
        run(&program, ARCHITECTURE, u32::try_from(number).unwrap(), arguments)
    }

    #[test]
    fn the_program_says_what_the_table_says() {
        let plan = SeccompPlan::new([101, 165, 169], true);
        let program = plan.assemble();
        assert!(program.len() < 1000, "{} instructions", program.len());
        for number in (0..600).chain([u32::MAX - 1, 0x3FFF_FFFF]) {
            let got = run(&program, ARCHITECTURE, number, [0; 6]);
            match plan.disposition(number) {
                Disposition::Allow => assert_eq!(got, ALLOW, "{number}"),
                Disposition::Notify | Disposition::Blocked => assert_eq!(got, NOTIFY, "{number}"),
                Disposition::Refuse => assert_eq!(got, EPERM, "{number}"),
                Disposition::Missing => assert_eq!(got, ENOSYS, "{number}"),
                Disposition::When(_) => {}
            }
        }
        assert_eq!(plan.disposition(101), Disposition::Blocked);
    }

    #[test]
    fn other_architectures_and_x32_have_no_calls() {
        let program = SeccompPlan::new([], true).assemble();
        assert_eq!(run(&program, 0x4000_0003, 4, [0; 6]), ENOSYS);
        for number in [X32, X32 + 1, X32 + 512, u32::MAX] {
            assert_eq!(run(&program, ARCHITECTURE, number, [0; 6]), ENOSYS);
        }
        assert_eq!(run(&program, ARCHITECTURE, 1, [0; 6]), ALLOW);
    }

    #[test]
    fn namespaces_are_refused_in_any_mixture() {
        for bit in [0x2_0000, 0x200_0000, 0x400_0000, 0x800_0000, 0x1000_0000, 0x2000_0000, 0x4000_0000_u64] {
            for call in [libc::SYS_clone, libc::SYS_unshare] {
                assert_eq!(judge(call, [bit | 17, 0, 0, 0, 0, 0]), EPERM);
                assert_eq!(judge(call, [bit | 0x100_0000_0000, 0, 0, 0, 0, 0]), EPERM);
            }
        }
        assert_eq!(judge(libc::SYS_unshare, [0x80, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_clone, [0x003D_0F00, 0, 0, 0, 0, 0]), ALLOW);
        assert_eq!(judge(libc::SYS_clone3, [0; 6]), ENOSYS);
    }

    #[test]
    fn the_first_processs_limits_can_be_asked_for_alone() {
        let limits = |process, new| judge(libc::SYS_prlimit64, [process, 7, new, 0, 0, 0]);
        assert_eq!((limits(0, 0x7fff_0000_0000), limits(2, 8), limits(1, 0)), (ALLOW, ALLOW, ALLOW));
        for new in [8, 0x7fff_0000_0000] {
            assert_eq!(limits(1, new), EPERM);
            assert_eq!(limits(1 | 1 << 32, new), EPERM);
        }
    }

    #[test]
    fn sockets_are_ordinary_or_refused() {
        let socket = |family, kind, protocol| judge(libc::SYS_socket, [family, kind, protocol, 0, 0, 0]);
        let cloexec = 0x80000;
        for (family, kind, protocol) in [(1, 1, 0), (1, 5, 0), (2, 1, 6), (2, 2, 17), (10, 1, 0), (10, 2, 0)]
        {
            assert_eq!(socket(family, kind | cloexec, protocol), ALLOW, "{family} {kind} {protocol}");
        }
        assert_eq!(socket(16, 3 | cloexec, 0), ALLOW);
        // Unix datagrams also by their other name, raw, packet, vsock, alg, other netlink.
        for (family, kind, protocol) in [
            (1, 2, 0),
            (1, 3, 0),
            (2, 3, 1),
            (2, 2 + 1, 255),
            (10, 3, 58),
            (17, 3, 3),
            (40, 1, 0),
            (38, 5, 0),
        ] {
            assert_eq!(socket(family, kind, protocol), EPERM, "{family} {kind} {protocol}");
        }
        assert_eq!(socket(16, 3, 12), EPERM);
        assert_eq!(socket(2, 1, 262), ENOSUPPORT);
        assert_eq!(socket(2, 1, 132), ENOSUPPORT);
        assert_eq!(socket(2, 2, 1), ENOSUPPORT);
        assert_eq!(socket(1 | 1 << 32, 2, 0), EPERM);
        assert_eq!(judge(libc::SYS_socketpair, [1, 1, 0, 0, 0, 0]), ALLOW);
        assert_eq!(judge(libc::SYS_socketpair, [1, 2, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_socketpair, [2, 1, 0, 0, 0, 0]), EPERM);
    }

    #[test]
    fn terminals_cannot_be_typed_into() {
        for command in [0x5412, 0x541C, 0x541D, 0x5423, 0x1_0000_5412] {
            assert_eq!(judge(libc::SYS_ioctl, [0, command, 0, 0, 0, 0]), EPERM);
        }
        for command in [0x5401, 0x5413, 0x4004_9409, 0x541B] {
            assert_eq!(judge(libc::SYS_ioctl, [0, command, 0, 0, 0, 0]), ALLOW);
        }
        // BTRFS_IOC_SNAP_DESTROY names a file.
        assert_eq!(judge(libc::SYS_ioctl, [0, 0x5000_940F, 0, 0, 0, 0]), EPERM);
    }

    #[test]
    fn set_id_bits_are_refused_where_a_file_would_get_them() {
        for bits in [0o4755, 0o2755, 0o6777, 0o1_4000] {
            let expected = if bits & 0o6000 == 0 { NOTIFY } else { EPERM };
            assert_eq!(judge(libc::SYS_chmod, [1, bits, 0, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_fchmodat, [0, 1, bits, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_fchmodat2, [0, 1, bits, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_mkdirat, [0, 1, bits, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_openat, [0, 1, 0o101, bits, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_openat, [0, 1, 0o20_200_002, bits, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_open, [1, 0o101, bits, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_creat, [1, bits, 0, 0, 0, 0]), expected);
            assert_eq!(judge(libc::SYS_mknod, [1, bits, 0, 0, 0, 0]), expected);
        }
        assert_eq!(judge(libc::SYS_fchmod, [1, 0o4755, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_fchmod, [1, 0o1777, 0, 0, 0, 0]), ALLOW);
        // Without O_CREAT the mode is not read, and may be anything.
        assert_eq!(judge(libc::SYS_openat, [0, 1, 0, 0o6777, 0, 0]), NOTIFY);
    }

    #[test]
    fn device_nodes_are_refused_and_fifos_asked_about() {
        for kind in [libc::S_IFBLK, libc::S_IFCHR] {
            assert_eq!(judge(libc::SYS_mknodat, [0, 1, u64::from(kind) | 0o666, 0, 0, 0]), EPERM);
        }
        for kind in [libc::S_IFIFO, libc::S_IFREG, libc::S_IFSOCK] {
            assert_eq!(judge(libc::SYS_mknodat, [0, 1, u64::from(kind) | 0o666, 0, 0, 0]), NOTIFY);
        }
    }

    #[test]
    fn a_null_path_is_about_a_descriptor() {
        for call in [libc::SYS_newfstatat, libc::SYS_statx, libc::SYS_utimensat] {
            assert_eq!(judge(call, [3, 0, 0, 0, 0, 0]), ALLOW);
            assert_eq!(judge(call, [3, 1 << 32, 0, 0, 0, 0]), NOTIFY);
            assert_eq!(judge(call, [3, 0x7FFF_0000, 0, 0, 0, 0]), NOTIFY);
        }
    }

    #[test]
    fn personalities_are_few() {
        assert_eq!(judge(libc::SYS_personality, [0x0040_0000, 0, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_personality, [0xFFFF_FFFF, 0, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn a_process_cannot_say_that_its_memory_is_laid_out_otherwise() {
        assert_eq!(judge(libc::SYS_prctl, [35, 14, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_prctl, [0xFFFF_0000_0000 | 35, 14, 0, 0, 0, 0]), EPERM);
        assert_eq!(judge(libc::SYS_prctl, [38, 1, 0, 0, 0, 0]), ALLOW);
    }

    #[test]
    fn a_blocked_call_takes_its_siblings_along() {
        let chmod = u32::try_from(libc::SYS_chmod).unwrap();
        assert!(siblings(chmod).contains(&u32::try_from(libc::SYS_fchmodat2).unwrap()));
        let plan = SeccompPlan::new([u32::try_from(libc::SYS_mount).unwrap()], true);
        assert!(plan.is_blocked(u32::try_from(libc::SYS_fsmount).unwrap()));
        let program = plan.assemble();
        assert_eq!(run(&program, ARCHITECTURE, 165, [0; 6]), NOTIFY);
    }
}
