//! The cheap facts.

use serde::Serialize;

/// What the plan must know of the host.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct HostFacts {
    /// The kernel's version.
    pub kernel: KernelVersion,
    /// Landlock's ABI, 0 where there is none.
    pub landlock_abi: u32,
}

/// A kernel's version; later ones compare greater.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Serialize)]
pub struct KernelVersion {
    /// As in 6.18.
    pub major: u32,
    /// As in 6.18.
    pub minor: u32,
}

impl HostFacts {
    /// Asks the kernel.
    #[must_use]
    pub fn read() -> Self {
        let name = rustix::system::uname();
        let kernel = KernelVersion::parse(&name.release().to_string_lossy());
        Self { kernel, landlock_abi: chiton_sys::landlock::abi() }
    }

    /// Whether a notified call can be made to wait for its answer (5.19).
    #[must_use]
    pub fn wait_killable(&self) -> bool {
        self.kernel >= KernelVersion { major: 5, minor: 19 }
    }
}

impl KernelVersion {
    /// Reads `6.18.44-whatever`; what cannot be read is 0.
    #[must_use]
    pub fn parse(release: &str) -> Self {
        let mut numbers = release.split(|c: char| !c.is_ascii_digit()).map(|n| n.parse().unwrap_or(0));
        Self { major: numbers.next().unwrap_or(0), minor: numbers.next().unwrap_or(0) }
    }
}

impl std::fmt::Display for KernelVersion {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}.{}", self.major, self.minor)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_read_and_compared() {
        assert_eq!(KernelVersion::parse("6.18.44-fc"), KernelVersion { major: 6, minor: 18 });
        assert_eq!(KernelVersion::parse("5.4.0"), KernelVersion { major: 5, minor: 4 });
        assert_eq!(KernelVersion::parse("what"), KernelVersion::default());
        assert!(KernelVersion::parse("5.19") < KernelVersion::parse("6.1"));
    }
}
