//! How much of the machine a sandbox gets, in plain numbers.

use std::{fmt, time::Duration};

use serde::{Deserialize, Serialize};

/// What a sandbox is held to; none is no limit of its own. `disk` and `wall_time` are the supervisor's to keep, which
/// reads them in the policy; the others are the driver's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Resources {
    /// Thousandths of a processor.
    pub cpu_millis: Option<u32>,
    /// Bytes of memory, swap included.
    pub memory: Option<u64>,
    /// Processes and threads of the agent.
    pub pids: Option<u32>,
    /// Bytes in the private folders.
    pub disk: Option<u64>,
    /// How long the main program may run.
    pub wall_time: Option<Duration>,
}

impl Resources {
    /// Whether nothing is limited.
    #[must_use]
    pub fn is_none(&self) -> bool {
        *self == Self::default()
    }
}

/// As in `cpus 0.5, memory 256MiB`.
impl fmt::Display for Resources {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let fields = [
            self.cpu_millis.map(|millis| format!("cpus {}", f64::from(millis) / 1000.0)),
            self.memory.map(|bytes| format!("memory {}", size(bytes))),
            self.pids.map(|pids| format!("pids {pids}")),
            self.disk.map(|bytes| format!("disk {}", size(bytes))),
            self.wall_time.map(|time| format!("wall_time {}s", time.as_secs())),
        ];
        f.write_str(&fields.into_iter().flatten().collect::<Vec<_>>().join(", "))
    }
}

/// In the largest unit that needs no fraction.
fn size(bytes: u64) -> String {
    let units = [(40, "TiB"), (30, "GiB"), (20, "MiB"), (10, "KiB")];
    let fit = units.into_iter().find(|(shift, _)| bytes.is_multiple_of(1 << shift));
    fit.map_or_else(|| bytes.to_string(), |(shift, unit)| format!("{}{unit}", bytes >> shift))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_reads_as_a_policy_does() {
        let all = Resources {
            cpu_millis: Some(1500),
            memory: Some(256 << 20),
            pids: Some(64),
            disk: Some(1_000_000),
            wall_time: Some(Duration::from_secs(90)),
        };
        assert_eq!(all.to_string(), "cpus 1.5, memory 256MiB, pids 64, disk 1000000, wall_time 90s");
        assert!(Resources::default().is_none() && Resources::default().to_string().is_empty());
    }
}
