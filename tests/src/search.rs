//! A search from inside for what must not be there.

/// A Python program for inside, `search.py`: looks for these values, their second halves and private keys in every
/// process's memory, environment and descriptors, and in every file that can be read. Prints `NOTHING`, or `FOUND` and
/// where. A value is written in two halves, so that the program itself does not hold it.
#[must_use]
pub fn search_for(values: &[&str]) -> String {
    let halves = values.iter().map(|value| value.split_at(value.len() / 2));
    let halves: String = halves.map(|(first, second)| format!("(b\"{first}\", b\"{second}\"), ")).collect();
    format!("HALVES = [{halves}]\n{SEARCH}")
}

const SEARCH: &str = r#"
import os, sys, re
needles = [n for first, second in HALVES for n in (first + second, second)] + [b"PRIVATE" + b" KEY-----\nM"]
own = os.getpid()
found = []
def look(name, data):
    if any(n in data for n in needles): found.append(name)
def read(path, limit=64 << 20):
    try:
        with open(path, "rb") as f: return f.read(limit)
    except OSError: return b""
for pid in filter(str.isdigit, os.listdir("/proc")):
    for part in ("environ", "cmdline", "comm", "maps"):
        look(f"/proc/{pid}/{part}", read(f"/proc/{pid}/{part}"))
    try:
        for fd in os.listdir(f"/proc/{pid}/fd"): look(f"/proc/{pid}/fd/{fd}", os.readlink(f"/proc/{pid}/fd/{fd}").encode())
    except OSError: pass
    if int(pid) == own: continue
    try:
        with open(f"/proc/{pid}/maps") as maps, open(f"/proc/{pid}/mem", "rb", 0) as mem:
            for line in maps:
                m = re.match(r"([0-9a-f]+)-([0-9a-f]+) r", line)
                if not m: continue
                start, end = int(m[1], 16), int(m[2], 16)
                try:
                    mem.seek(start); look(f"/proc/{pid}/mem", mem.read(min(end - start, 64 << 20)))
                except (OSError, ValueError, OverflowError): pass
    except OSError: pass
for top in ("/etc", "/home", "/tmp", "/workspace", "/run", "/var", "/root", "/dev/shm"):
    for folder, _, files in os.walk(top):
        for name in files:
            path = os.path.join(folder, name)
            # A package brings a key of its own, for its own tests.
            if os.path.isfile(path) and not path.endswith("search.py") and "/moto_proxy/" not in path: look(path, read(path))
print("FOUND", found) if found else print("NOTHING")
"#;
