//! Which of the devices that there are a policy means.

use std::{collections::HashSet, path::Path};

use chiton_driver::{DriverError, Gpu, Result};

use super::spec::{Device, Known};

/// By convention a name for all devices of a kind together.
const TOGETHER: &str = "all";

/// The devices that are asked for, each once.
pub(super) fn devices<'a>(asked: &Gpu, known: &'a Known) -> Result<Vec<&'a Device>> {
    let each = each(known);
    match asked {
        Gpu::None => Ok(Vec::new()),
        Gpu::All if each.is_empty() => Err(too_few("all", 0, known)),
        Gpu::All => Ok(each),
        Gpu::Count(count) => {
            let wanted = usize::try_from(*count).unwrap_or(usize::MAX);
            match each.get(..wanted) {
                Some(some) => Ok(some.to_vec()),
                None => Err(too_few(&count.to_string(), each.len(), known)),
            }
        }
        Gpu::Named(names) => {
            let mut found: Vec<&Device> = Vec::new();
            for name in names {
                let device = known.devices.iter().find(|device| device.full_name() == *name);
                let device = device.ok_or_else(|| unknown(name, &each, known))?;
                if !found.iter().any(|other| other.full_name() == *name) {
                    found.push(device);
                }
            }
            Ok(found)
        }
    }
}

/// Each device once, in a fixed order: one device may have several names (a number, an id), and a kind a name for all
/// of them.
fn each(known: &Known) -> Vec<&Device> {
    let mut all: Vec<&Device> = known.devices.iter().collect();
    all.sort_by_key(|device| (&device.kind, device.name == TOGETHER, device.name.len(), &device.name));
    let (mut nodes, mut kinds) = (HashSet::<&Path>::new(), HashSet::<&str>::new());
    all.retain(|device| {
        let alone = kinds.insert(&device.kind);
        let mut new = device.own_nodes().next().is_none();
        for node in device.own_nodes() {
            new |= nodes.insert(node);
        }
        new && (device.name != TOGETHER || alone)
    });
    all
}

fn too_few(asked: &str, there: usize, known: &Known) -> DriverError {
    let there = if there == 0 { "none".to_owned() } else { format!("only {there}") };
    DriverError::Unsupported(format!(
        "`static.gpu: {asked}`: there is {there} on this machine, by {}: the vendor's tool describes what there is \
         (`nvidia-ctk cdi generate`)",
        sought(known)
    ))
}

fn unknown(name: &str, each: &[&Device], known: &Known) -> DriverError {
    let there: Vec<_> = each.iter().map(|device| device.full_name()).collect();
    let there = if there.is_empty() { "no GPU at all".to_owned() } else { there.join(", ") };
    DriverError::Unsupported(format!(
        "`static.gpu`: there is no `{name}` on this machine, but {there}, by {}: name one that there is",
        sought(known)
    ))
}

/// Where it was looked.
fn sought(known: &Known) -> String {
    let folders: Vec<_> = known.folders.iter().map(|folder| folder.display().to_string()).collect();
    let unread = known.unread.first().map(|first| format!(", of which one file cannot be read ({first})"));
    format!("the files in {}{}", folders.join(" and "), unread.unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cdi::spec::{DeviceNode, Edits};

    fn known(devices: &[(&str, &[&str])]) -> Known {
        let device = |(name, nodes): &(&str, &[&str])| {
            let (kind, name) = name.split_once('=').unwrap();
            let node = |path: &&str| DeviceNode { path: path.into(), host_path: None };
            let edits = Edits { device_nodes: nodes.iter().map(node).collect(), ..Edits::default() };
            Device { kind: kind.to_owned(), name: name.to_owned(), common: Edits::default(), edits }
        };
        Known {
            devices: devices.iter().map(device).collect(),
            folders: vec!["/etc/cdi".into()],
            unread: Vec::new(),
        }
    }

    fn chosen(asked: &Gpu, known: &Known) -> Vec<String> {
        devices(asked, known).unwrap().into_iter().map(Device::full_name).collect()
    }

    #[test]
    fn a_device_of_several_names_is_one() {
        let known = known(&[
            ("n/gpu=all", &["/dev/n0", "/dev/n1", "/dev/n10"]),
            ("n/gpu=10", &["/dev/n10"]),
            ("n/gpu=1", &["/dev/n1"]),
            ("n/gpu=GPU-7f", &["/dev/n0"]),
            ("n/gpu=0", &["/dev/n0"]),
            ("a/gpu=all", &["/dev/a"]),
        ]);
        let all = ["a/gpu=all", "n/gpu=0", "n/gpu=1", "n/gpu=10"];
        assert_eq!(chosen(&Gpu::All, &known), all);
        assert_eq!(chosen(&Gpu::Count(2), &known), all[..2]);
        assert_eq!(chosen(&Gpu::Count(4), &known), all);
        let error = devices(&Gpu::Count(5), &known).unwrap_err().to_string();
        assert!(error.contains("`static.gpu: 5`") && error.contains("only 4"), "{error}");
        let named = Gpu::Named(vec!["n/gpu=GPU-7f".into(), "n/gpu=all".into(), "n/gpu=GPU-7f".into()]);
        assert_eq!(chosen(&named, &known), ["n/gpu=GPU-7f", "n/gpu=all"]);
    }

    #[test]
    fn what_is_not_there_is_refused_by_name() {
        let nothing = known(&[]);
        for asked in [Gpu::All, Gpu::Count(1), Gpu::Named(vec!["n/gpu=0".into()])] {
            let error = devices(&asked, &nothing).unwrap_err().to_string();
            assert!(error.contains("static.gpu") && error.contains("/etc/cdi"), "{error}");
        }
        let some = known(&[("n/gpu=0", &["/dev/n0"])]);
        let error =
            devices(&Gpu::Named(vec!["n/gpu=0".into(), "n/gpu=4".into()]), &some).unwrap_err().to_string();
        assert!(error.contains("`n/gpu=4`") && error.contains("but n/gpu=0,"), "{error}");
    }
}
