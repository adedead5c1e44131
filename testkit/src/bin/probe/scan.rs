//! The search for a secret in everything that can be read from here.
//!
//! The needle is given in hexadecimal, so that our own arguments do not hold it.

use std::{
    fs::{self, File},
    io::{self, Read, Seek, SeekFrom},
    path::{Path, PathBuf},
};

use crate::{Attempt, Tried, argument, files::path_holds};

pub(crate) const ATTEMPTS: &[Attempt] = &[("scan", scan)];

/// Where a needle is a device, or endless.
const SKIPPED: [&str; 6] =
    ["/proc/kcore", "/proc/kmsg", "/proc/kpagecount", "/proc/kpageflags", "/dev", "/sys"];
/// No single file is read further.
const LONGEST: u64 = 64 << 20;

/// `scan HEX [ROOT…]`: succeeds where something holds the needle, and names it.
fn scan(arguments: &[String]) -> Tried {
    let needle = decode(argument(arguments, 0, ""))?;
    let roots: Vec<PathBuf> = match arguments.get(1..) {
        Some([]) | None => {
            ["/etc", "/home", "/root", "/run", "/tmp", "/var", "/workspace", "/proc", "/opt", "/srv"]
                .map(PathBuf::from)
                .to_vec()
        }
        Some(roots) => roots.iter().map(PathBuf::from).collect(),
    };
    let mut found = Vec::new();
    let mut read = 0_u64;
    for root in roots {
        walk(&root, &needle, &mut found, &mut read);
    }
    search_memory(&needle, &mut found);
    if found.is_empty() {
        return Err(io::Error::new(io::ErrorKind::NotFound, format!("{read} files read, none holds it")));
    }
    Ok(found.join(" "))
}

fn decode(hex: &str) -> io::Result<Vec<u8>> {
    let digits: Option<Vec<u8>> =
        (0..hex.len()).step_by(2).map(|at| u8::from_str_radix(hex.get(at..at + 2)?, 16).ok()).collect();
    digits.filter(|needle| !needle.is_empty()).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

fn walk(folder: &Path, needle: &[u8], found: &mut Vec<String>, read: &mut u64) {
    let own = format!("/proc/{}", std::process::id());
    for entry in fs::read_dir(folder).into_iter().flatten().flatten() {
        let path = entry.path();
        let text = path.to_string_lossy();
        let ours =
            [own.as_str(), "/proc/self", "/proc/thread-self"].iter().any(|skip| text.starts_with(skip));
        if ours || SKIPPED.iter().any(|skip| text.starts_with(skip)) {
            continue;
        }
        let Ok(kind) = entry.file_type() else { continue };
        if kind.is_dir() {
            walk(&path, needle, found, read);
        } else if kind.is_file() {
            *read += 1;
            if path_holds(&path, needle) || file_holds(&path, needle) {
                found.push(text.into_owned());
            }
        }
    }
}

fn file_holds(path: &Path, needle: &[u8]) -> bool {
    use std::os::unix::fs::OpenOptionsExt;

    // Some files of /proc wait for something to happen.
    let open = fs::OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK).open(path);
    let mut bytes = Vec::new();
    match open {
        Ok(file) => {
            let _ = file.take(LONGEST).read_to_end(&mut bytes);
            holds(&bytes, needle)
        }
        Err(_) => false,
    }
}

fn holds(bytes: &[u8], needle: &[u8]) -> bool {
    let [first, ..] = needle else { return false };
    let mut rest = bytes;
    while let Some(at) = rest.iter().position(|byte| byte == first) {
        if rest.get(at..at + needle.len()) == Some(needle) {
            return true;
        }
        rest = rest.get(at + 1..).unwrap_or_default();
    }
    false
}

/// The memory of every other process that lets us.
fn search_memory(needle: &[u8], found: &mut Vec<String>) {
    for entry in fs::read_dir("/proc").into_iter().flatten().flatten() {
        let name = entry.file_name().to_string_lossy().into_owned();
        let other = name.parse::<u32>().is_ok_and(|id| id != std::process::id());
        if other && memory_holds(&entry.path(), needle).unwrap_or(false) {
            found.push(format!("/proc/{name}/mem"));
        }
    }
}

fn memory_holds(process: &Path, needle: &[u8]) -> io::Result<bool> {
    let maps = fs::read_to_string(process.join("maps"))?;
    let mut memory = File::open(process.join("mem"))?;
    for line in maps.lines().filter(|line| line.contains(" rw")) {
        let range = line.split_once(' ').and_then(|(range, _)| range.split_once('-'));
        let bounds = range.and_then(|(from, to)| {
            Some((u64::from_str_radix(from, 16).ok()?, u64::from_str_radix(to, 16).ok()?))
        });
        let Some((from, to)) = bounds else { continue };
        let mut bytes = vec![0; usize::try_from((to - from).min(LONGEST)).unwrap_or(0)];
        if memory.seek(SeekFrom::Start(from)).is_ok()
            && memory.read_exact(&mut bytes).is_ok()
            && holds(&bytes, needle)
        {
            return Ok(true);
        }
    }
    Ok(false)
}
