//! Calls that are judged by their arguments, as far as registers show them.
//!
//! Each condition becomes a few instructions that end in a return. Arguments are compared by the 32 bits that the
//! kernel itself reads: the low ones, except for a pointer.

use chiton_sys::seccomp::Instruction;
use serde::Serialize;

use crate::seccomp::bpf::{self, ALLOW, ENOSUPPORT, EPERM, NOTIFY};

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Condition {
    /// `clone` and `unshare`: refused with any new namespace.
    NoNewNamespace,
    /// `ioctl`: refused where it types into a terminal, changes its line discipline, or names a file of a Btrfs
    /// folder without a lookup.
    SafeControl,
    /// `socket`: Unix streams, TCP, UDP and route netlink; nothing raw. A Unix datagram socket could send to any
    /// path without a lookup.
    OrdinarySocket,
    /// `socketpair`: Unix streams, for the same reason.
    OrdinarySocketPair,
    /// `setsockopt`: refused where it binds a socket to a device. There is one, and of two sockets of which one is bound to
    /// it the kernel lets both have the same ends: whose a connection is could not be told by them.
    NoDevice,
    /// `personality`: asking, and what debuggers need.
    HarmlessPersonality,
    /// `prctl`: refused where a process would say something else of its memory's layout: where the stack begins
    /// tells whether a program that was let start runs.
    LayoutStays,
    /// `prlimit64`: refused where it would change a limit of the sandbox's first process, which has the caller's user.
    FirstProcessStays,
    /// `open`: asked about, refused where it would make a file with set-id bits.
    OpenWithoutSetId {
        /// Which argument holds the flags.
        flags: u8,
        /// Which holds the mode.
        mode: u8,
    },
    /// Asked about, refused with set-id bits.
    NotifyWithoutSetId {
        /// Which argument holds the mode.
        mode: u8,
    },
    /// Straight, refused with set-id bits.
    AllowWithoutSetId {
        /// Which argument holds the mode.
        mode: u8,
    },
    /// `mknod`: asked about, refused for devices and with set-id bits.
    NotifyWithoutDevice {
        /// Which argument holds the mode.
        mode: u8,
    },
    /// Asked about, straight where the path is a null pointer and the call is about a descriptor alone.
    NotifyUnlessNull {
        /// Which argument holds the path.
        path: u8,
    },
}

/// Set-user-id and set-group-id.
const SET_ID: u32 = 0o6000;
/// Namespaces of `clone` and `unshare`. The time namespace's bit is part of the exit signal in `clone`, where no
/// valid signal has it.
const NEW_NAMESPACES: u32 =
    0x0002_0000 | 0x0200_0000 | 0x0400_0000 | 0x0800_0000 | 0x1000_0000 | 0x2000_0000 | 0x4000_0000 | 0x80;
/// TIOCSTI, TIOCLINUX, TIOCCONS, TIOCSETD.
const TERMINAL: &[u32] = &[0x5412, 0x541C, 0x541D, 0x5423];
/// The type of Btrfs controls, and those of that type that every filesystem has: FICLONE, FICLONERANGE,
/// FIDEDUPERANGE.
const BTRFS: u32 = 0x9400;
const CLONE_RANGES: &[u32] = &[0x4004_9409, 0x4020_940D, 0xC018_9436];
const SOL_SOCKET: u32 = 1;
/// SO_BINDTODEVICE, SO_BINDTOIFINDEX.
const TO_DEVICE: &[u32] = &[25, 62];
/// PER_LINUX, PER_LINUX32 and both without randomised addresses; the last only asks.
const PERSONALITIES: &[u32] = &[0, 8, 0x0002_0000, 0x0002_0008, 0x0004_0000, 0xFFFF_FFFF];
const PR_SET_MM: u32 = 35;
/// The number of the first process of a pid namespace; nobody inside can make another one.
const FIRST: u32 = 1;
/// O_CREAT and the bit of O_TMPFILE that is not O_DIRECTORY.
const CREATING: u32 = 0o100 | 0o20_000_000;
const STREAMS: &[u32] = &[1, 5];
const TYPE: u32 = 0xF;

impl Condition {
    /// The instructions that decide, from the arguments to the return.
    pub(super) fn assemble(self) -> Vec<Instruction> {
        match self {
            Self::NoNewNamespace => mode_bits(0, NEW_NAMESPACES, ALLOW),
            Self::SafeControl => control(),
            Self::OrdinarySocket => socket(),
            Self::OrdinarySocketPair => {
                let mut code = vec![bpf::load_low(0), bpf::jump_equal(1, 1, 0), bpf::ret(EPERM)];
                code.extend([bpf::load_low(1), bpf::and(TYPE)]);
                code.extend(bpf::any_of(STREAMS, ALLOW, EPERM));
                code
            }
            Self::NoDevice => {
                let mut code = vec![bpf::load_low(1), bpf::jump_equal(SOL_SOCKET, 1, 0), bpf::ret(ALLOW)];
                code.push(bpf::load_low(2));
                code.extend(bpf::any_of(TO_DEVICE, EPERM, ALLOW));
                code
            }
            Self::HarmlessPersonality => {
                let mut code = vec![bpf::load_low(0)];
                code.extend(bpf::any_of(PERSONALITIES, ALLOW, EPERM));
                code
            }
            Self::LayoutStays => {
                let mut code = vec![bpf::load_low(0)];
                code.extend(bpf::any_of(&[PR_SET_MM], EPERM, ALLOW));
                code
            }
            Self::FirstProcessStays => vec![
                bpf::load_low(0),
                bpf::jump_equal(FIRST, 1, 0),
                bpf::ret(ALLOW),
                // Asking gives no new limit.
                bpf::load_low(2),
                bpf::jump_equal(0, 1, 0),
                bpf::ret(EPERM),
                bpf::load_high(2),
                bpf::jump_equal(0, 0, 1),
                bpf::ret(ALLOW),
                bpf::ret(EPERM),
            ],
            Self::OpenWithoutSetId { flags, mode } => {
                let mut code = vec![bpf::load_low(flags), bpf::jump_set(CREATING, 1, 0), bpf::ret(NOTIFY)];
                code.extend(mode_bits(mode, SET_ID, NOTIFY));
                code
            }
            Self::NotifyWithoutSetId { mode } => mode_bits(mode, SET_ID, NOTIFY),
            Self::AllowWithoutSetId { mode } => mode_bits(mode, SET_ID, ALLOW),
            Self::NotifyWithoutDevice { mode } => {
                let mut code = vec![bpf::load_low(mode), bpf::and(libc::S_IFMT)];
                code.extend([bpf::jump_equal(libc::S_IFBLK, 1, 0), bpf::jump_equal(libc::S_IFCHR, 0, 1)]);
                code.push(bpf::ret(EPERM));
                code.extend(mode_bits(mode, SET_ID, NOTIFY));
                code
            }
            Self::NotifyUnlessNull { path } => vec![
                bpf::load_low(path),
                bpf::jump_equal(0, 1, 0),
                bpf::ret(NOTIFY),
                bpf::load_high(path),
                bpf::jump_equal(0, 0, 1),
                bpf::ret(ALLOW),
                bpf::ret(NOTIFY),
            ],
        }
    }
}

/// Refused with any of the bits, else as given.
fn mode_bits(argument: u8, bits: u32, otherwise: u32) -> Vec<Instruction> {
    vec![bpf::load_low(argument), bpf::jump_set(bits, 0, 1), bpf::ret(EPERM), bpf::ret(otherwise)]
}

fn control() -> Vec<Instruction> {
    let mut btrfs = vec![bpf::load_low(1)];
    btrfs.extend(bpf::any_of(CLONE_RANGES, ALLOW, EPERM));
    let mut code = vec![bpf::load_low(1), bpf::and(0xFF00), bpf::jump_equal(BTRFS, 0, bpf::span(&btrfs))];
    code.extend(btrfs);
    code.push(bpf::load_low(1));
    code.extend(bpf::any_of(TERMINAL, EPERM, ALLOW));
    code
}

fn socket() -> Vec<Instruction> {
    let mut unix = vec![bpf::load_low(1), bpf::and(TYPE)];
    unix.extend(bpf::any_of(STREAMS, ALLOW, EPERM));

    let protocol = |number| {
        let mut code = vec![bpf::load_low(2)];
        code.extend(bpf::any_of(&[0, number], ALLOW, ENOSUPPORT));
        code
    };
    let (tcp, udp) = (protocol(6), protocol(17));
    let mut internet = vec![bpf::load_low(1), bpf::and(TYPE), bpf::jump_equal(1, 0, bpf::span(&tcp))];
    internet.extend(tcp);
    internet.push(bpf::jump_equal(2, 0, bpf::span(&udp)));
    internet.extend(udp);
    internet.push(bpf::ret(EPERM));

    let mut netlink = vec![bpf::load_low(2)];
    netlink.extend(bpf::any_of(&[0], ALLOW, EPERM));

    // AF_UNIX 1, AF_INET 2, AF_INET6 10, AF_NETLINK 16.
    let mut code = vec![bpf::load_low(0), bpf::jump_equal(1, 0, bpf::span(&unix))];
    code.extend(unix);
    code.extend([bpf::jump_equal(2, 1, 0), bpf::jump_equal(10, 0, bpf::span(&internet))]);
    code.extend(internet);
    code.push(bpf::jump_equal(16, 0, bpf::span(&netlink)));
    code.extend(netlink);
    code.push(bpf::ret(EPERM));
    code
}
