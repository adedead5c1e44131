//! What the proxy gives up before the first byte of the agent: files, programs, other processes, other kinds of
//! sockets, core files.

use chiton_sys::{process, seccomp};
use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, Ruleset, RulesetAttr, RulesetError,
    RulesetStatus, Scope,
};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

use crate::limits;

/// Why the proxy could not lock itself down. It then does not begin.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LockdownError {
    /// Landlock failed.
    #[error("cannot give up files: {0}")]
    Landlock(#[from] RulesetError),
    /// This kernel has no Landlock.
    #[error("cannot give up files: this kernel has no Landlock")]
    NoLandlock,
    /// A system call failed.
    #[error("cannot lock the proxy down ({what}): {source}")]
    System {
        /// What was tried.
        what: &'static str,
        /// Why.
        #[source]
        source: chiton_sys::Errno,
    },
}

/// Locks this process, which has one thread yet. There is no way back.
pub(crate) fn lock_down() -> Result<(), LockdownError> {
    let failed = |what| move |source| LockdownError::System { what, source };
    setrlimit(Resource::Core, Rlimit { current: Some(0), maximum: Some(0) }).map_err(failed("core files"))?;
    let files = getrlimit(Resource::Nofile);
    setrlimit(Resource::Nofile, Rlimit { current: files.maximum, ..files }).map_err(failed("open files"))?;
    at_most(Resource::Data, limits::MEMORY).map_err(failed("memory"))?;
    at_most(Resource::Fsize, limits::EVENT_FILE).map_err(failed("the event file's size"))?;
    process::set_undumpable().map_err(failed("undumpable"))?;
    process::set_no_new_privs().map_err(failed("no_new_privs"))?;
    give_up_files()?;
    seccomp::load(&filter()).map_err(failed("seccomp"))
}

/// Lowers a limit, and leaves one that is lower already.
fn at_most(resource: Resource, most: u64) -> Result<(), rustix::io::Errno> {
    let most = Some(getrlimit(resource).maximum.map_or(most, |maximum| maximum.min(most)));
    setrlimit(resource, Rlimit { current: most, maximum: most })
}

fn give_up_files() -> Result<(), LockdownError> {
    let ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(AccessFs::from_all(ABI::V5))?
        .handle_access(AccessNet::BindTcp)?
        .scope(Scope::from_all(ABI::V6))?
        .create()?;
    match ruleset.restrict_self()?.ruleset {
        RulesetStatus::FullyEnforced | RulesetStatus::PartiallyEnforced => Ok(()),
        RulesetStatus::NotEnforced => Err(LockdownError::NoLandlock),
    }
}

// Classic BPF, as `struct seccomp_data` is laid out on x86_64.
const LOAD: u16 = 0x20;
const EQUAL: u16 = 0x15;
const AT_LEAST: u16 = 0x35;
const RETURN: u16 = 0x06;
const NUMBER: u32 = 0;
const ARCHITECTURE: u32 = 4;
const FIRST_ARGUMENT: u32 = 16;
const X86_64: u32 = 0xc000_003e;
const X32_BIT: u32 = 0x4000_0000;
const ALLOW: u32 = 0x7fff_0000;
const KILL: u32 = 0x8000_0000;
const REFUSE: u32 = 0x0005_0000 | 1;
const SOCKET: u32 = 41;
const FAMILIES: [u32; 2] = [2, 10];

/// Calls that a proxy has no use for and an attacker in it would: programs, other processes, mounts, namespaces,
/// tracing, kernel interfaces, files by handle.
const REFUSED: [u32; 34] = [
    57, 58, 59, 322, 101, 310, 311, 434, 438, 440, 165, 166, 155, 161, 428, 429, 430, 272, 308, 321, 298,
    323, 425, 426, 427, 246, 320, 175, 313, 303, 304, 248, 250, 319,
];

const fn step(code: u16, operand: u32, jump_true: u8, jump_false: u8) -> seccomp::Instruction {
    seccomp::Instruction { code, jump_true, jump_false, operand }
}

fn filter() -> Vec<seccomp::Instruction> {
    let mut program = vec![
        step(LOAD, ARCHITECTURE, 0, 0),
        step(EQUAL, X86_64, 1, 0),
        step(RETURN, KILL, 0, 0),
        step(LOAD, NUMBER, 0, 0),
        step(AT_LEAST, X32_BIT, 0, 1),
        step(RETURN, KILL, 0, 0),
    ];
    for number in REFUSED {
        program.push(step(EQUAL, number, 0, 1));
        program.push(step(RETURN, REFUSE, 0, 0));
    }
    // Only the internet's families: no Unix socket of the host can be reached.
    program.extend([
        step(EQUAL, SOCKET, 1, 0),
        step(RETURN, ALLOW, 0, 0),
        step(LOAD, FIRST_ARGUMENT, 0, 0),
        step(EQUAL, FAMILIES[0], 2, 0),
        step(EQUAL, FAMILIES[1], 1, 0),
        step(RETURN, REFUSE, 0, 0),
        step(RETURN, ALLOW, 0, 0),
    ]);
    program
}
