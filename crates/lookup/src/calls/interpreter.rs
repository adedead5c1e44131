//! What else the kernel opens to run a file: the interpreter of a script's first line, the loader of an ELF
//! program. In: a file's beginning, which the agent wrote. Out: a path, or nothing.

/// How much of a file is looked at.
pub(crate) const HEAD: usize = 4096;

/// As much of a first line as the kernel reads.
const LINE: usize = 256;
const PROGRAM_INTERPRETER: u32 = 3;

/// A file that another one names to be run by.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Named {
    pub(super) path: Vec<u8>,
    pub(super) is_script: bool,
}

pub(super) fn of(head: &[u8]) -> Option<Named> {
    if let Some(line) = head.strip_prefix(b"#!") {
        return script(line.get(..LINE).unwrap_or(line)).map(|path| Named { path, is_script: true });
    }
    loader(head).map(|path| Named { path, is_script: false })
}

fn script(line: &[u8]) -> Option<Vec<u8>> {
    let line = line.split(|&b| b == b'\n' || b == 0).next()?;
    let mut words = line.split(|&b| b == b' ' || b == b'\t').filter(|word| !word.is_empty());
    words.next().map(<[u8]>::to_vec)
}

/// Whether a script's first line has options for its interpreter. What `env` is asked for is the interpreter itself.
pub(crate) fn asks_for_options(head: &[u8]) -> bool {
    let Some(line) = head.strip_prefix(b"#!") else { return false };
    let line = line.split(|&b| b == b'\n' || b == 0).next().unwrap_or_default();
    let mut words = line.split(|&b| matches!(b, b' ' | b'\t' | b'\r')).filter(|word| !word.is_empty());
    let env = words.next().is_some_and(|interpreter| interpreter.ends_with(b"/env"));
    let first = words.next();
    if env {
        first.is_some_and(|word| word.starts_with(b"-")) || words.next().is_some()
    } else {
        first.is_some()
    }
}

/// The path in the segment of a 64-bit program that names its loader.
fn loader(head: &[u8]) -> Option<Vec<u8>> {
    if !head.starts_with(b"\x7fELF\x02\x01") {
        return None;
    }
    let table = usize::try_from(wide(head, 32)?).ok()?;
    let size = usize::from(u16::from_le_bytes(*head.get(54..)?.first_chunk()?));
    let number = usize::from(u16::from_le_bytes(*head.get(56..)?.first_chunk()?));
    for index in 0..number {
        let segment = head.get(table.checked_add(index.checked_mul(size)?)?..)?;
        if u32::from_le_bytes(*segment.first_chunk()?) == PROGRAM_INTERPRETER {
            let offset = usize::try_from(wide(segment, 8)?).ok()?;
            let length = usize::try_from(wide(segment, 32)?).ok()?;
            let path = head.get(offset..offset.checked_add(length)?)?;
            return path.split(|&b| b == 0).next().map(<[u8]>::to_vec);
        }
    }
    None
}

fn wide(bytes: &[u8], at: usize) -> Option<u64> {
    bytes.get(at..)?.first_chunk().map(|b| u64::from_le_bytes(*b))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_first_line_of_a_script() {
        let named = |head: &[u8]| of(head).map(|n| String::from_utf8(n.path).unwrap());
        assert_eq!(named(b"#!/bin/sh\necho"), Some("/bin/sh".into()));
        assert_eq!(named(b"#! \t/usr/bin/env -S python3\n"), Some("/usr/bin/env".into()));
        assert_eq!(named(b"#!interp"), Some("interp".into()));
        assert_eq!(named(b"#!\n"), None);
        assert_eq!(named(b"echo"), None);
        assert_eq!(named(b""), None);
    }

    #[test]
    fn options_of_a_first_line() {
        for (head, expected) in [
            (&b"#!/usr/bin/python3\nx y"[..], false),
            (b"#! /usr/bin/python3 \t\r\n", false),
            (b"#!/usr/bin/python3 -I\n", true),
            (b"#!/usr/bin/env python3\n", false),
            (b"#!/usr/bin/env -S python3 -I\n", true),
            (b"#!/usr/bin/env python3 -I\n", true),
            (b"import sys\n", false),
            (b"", false),
        ] {
            assert_eq!(asks_for_options(head), expected, "{:?}", String::from_utf8_lossy(head));
        }
    }

    #[test]
    fn the_loader_of_a_program() {
        let head = std::fs::read("/bin/ls").unwrap();
        let named = of(&head[..HEAD]).unwrap();
        assert!(String::from_utf8(named.path).unwrap().contains("ld-linux"));
        assert!(!named.is_script);
    }

    #[test]
    fn a_program_cut_anywhere_names_nothing_or_the_same() {
        let head = std::fs::read("/bin/ls").unwrap();
        let whole = of(&head[..HEAD]);
        for end in 0..HEAD {
            let named = of(&head[..end]);
            assert!(named.is_none() || named == whole, "{end}");
        }
    }
}
