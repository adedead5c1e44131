//! The probe: a small static program that tries one thing inside a sandbox and says what came of it.
//!
//! `chiton-probe ATTEMPT [ARGUMENT…]` prints one line of JSON: `{"attempt", "ok", "errno", "detail"}`, and ends
//! with 0 when the attempt succeeded, 1 when it was refused. Several attempts are separated by `,`.
//! `chiton-probe list` names them all.

mod answers;
mod blind;
mod corpus;
mod files;
mod first;
mod kernel;
mod load;
mod look;
mod net;
mod scan;

use std::{io, process::ExitCode};

use serde_json::{Value, json};

/// What an attempt found, or the system's error.
type Tried = io::Result<String>;
/// One attempt.
type Attempt = (&'static str, fn(&[String]) -> Tried);

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    if let [role, socket] = words.as_slice()
        && role == "supervisor"
    {
        return first::run(socket);
    }
    let attempts: Vec<Attempt> = [
        corpus::ATTEMPTS,
        files::ATTEMPTS,
        first::ATTEMPTS,
        kernel::ATTEMPTS,
        load::ATTEMPTS,
        look::ATTEMPTS,
        net::ATTEMPTS,
        scan::ATTEMPTS,
    ]
    .concat();
    if matches!(words.as_slice(), [] | [_]) && words.first().is_none_or(|word| word == "list") {
        attempts.iter().for_each(|(name, _)| println!("{name}"));
        return ExitCode::SUCCESS;
    }
    let mut all_ok = true;
    for words in words.split(|word| word == ",") {
        let Some((name, arguments)) = words.split_first() else { continue };
        let Some((_, attempt)) = attempts.iter().find(|(known, _)| known == name) else {
            eprintln!("unknown attempt `{name}`");
            return ExitCode::from(2);
        };
        let tried = attempt(arguments);
        all_ok &= tried.is_ok();
        report(name, tried);
    }
    if all_ok { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn report(name: &str, tried: Tried) {
    println!("{}", line_of(name, tried));
}

fn line_of(name: &str, tried: Tried) -> Value {
    match tried {
        Ok(detail) => json!({ "attempt": name, "ok": true, "errno": null, "detail": detail }),
        Err(error) => {
            let errno = error.raw_os_error();
            json!({ "attempt": name, "ok": false, "errno": errno.map(errno_name), "detail": error.to_string() })
        }
    }
}

fn errno_name(errno: i32) -> String {
    let name = match errno {
        libc::EPERM => "EPERM",
        libc::ENOENT => "ENOENT",
        libc::EACCES => "EACCES",
        libc::EINVAL => "EINVAL",
        libc::ENOSYS => "ENOSYS",
        libc::EAFNOSUPPORT => "EAFNOSUPPORT",
        libc::ECONNREFUSED => "ECONNREFUSED",
        libc::ECONNRESET => "ECONNRESET",
        libc::ENETUNREACH => "ENETUNREACH",
        libc::EHOSTUNREACH => "EHOSTUNREACH",
        libc::ETIMEDOUT => "ETIMEDOUT",
        libc::EAGAIN => "EAGAIN",
        libc::EROFS => "EROFS",
        libc::EXDEV => "EXDEV",
        libc::EBADF => "EBADF",
        libc::ESRCH => "ESRCH",
        libc::EIO => "EIO",
        libc::ENOTTY => "ENOTTY",
        libc::EEXIST => "EEXIST",
        libc::EOPNOTSUPP => "EOPNOTSUPP",
        libc::ENOMEM => "ENOMEM",
        other => return other.to_string(),
    };
    name.to_owned()
}

/// The argument at a place, or what is meant without it.
fn argument<'a>(arguments: &'a [String], at: usize, default: &'a str) -> &'a str {
    arguments.get(at).map_or(default, String::as_str)
}

/// A system call's answer as a result.
fn checked(answer: libc::c_long) -> io::Result<libc::c_long> {
    if answer < 0 { Err(io::Error::last_os_error()) } else { Ok(answer) }
}
