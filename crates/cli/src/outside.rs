//! A program that the caller has but the sandbox does not: where it is, and the line that lets it in.

use std::{
    os::unix::fs::PermissionsExt,
    path::{Component, Path, PathBuf},
};

use crate::error::{CliError, Status};

/// Adds to a 127 what is known of the program outside.
pub(crate) fn explain_absence(error: CliError, program: &str, home: &Path) -> CliError {
    if error.exit() != Status::Code(127) {
        return error;
    }
    let path = std::env::var_os("PATH").unwrap_or_default();
    match find(program, std::env::split_paths(&path)) {
        Some(found) if !trees(&found, home).is_empty() => error.hint(hint(&found, home)),
        _ => error,
    }
}

fn find(program: &str, mut folders: impl Iterator<Item = PathBuf>) -> Option<PathBuf> {
    let executable = |path: &Path| {
        path.metadata().is_ok_and(|found| found.is_file() && found.permissions().mode() & 0o111 != 0)
    };
    if program.contains('/') {
        let path = std::path::absolute(program).ok()?;
        return executable(&path).then_some(path);
    }
    folders.find_map(|folder| Some(folder.join(program)).filter(|path| executable(path)))
}

/// The folders that bring a program of the caller's inside, where it is not there anyway.
pub(crate) fn installation(program: &str, home: &Path) -> Option<Vec<String>> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let trees = trees(&find(program, std::env::split_paths(&path))?, home);
    Some(trees).filter(|trees| !trees.is_empty())
}

fn trees(found: &Path, home: &Path) -> Vec<String> {
    // A link (`~/.local/bin/x`) is of no use inside without what it points to.
    let paths = [Some(found.to_owned()), found.canonicalize().ok()];
    let mut trees = Vec::new();
    for path in paths.into_iter().flatten().filter(|path| !in_system(path)) {
        let tree = tree(&path, home);
        if !trees.contains(&tree) {
            trees.push(tree);
        }
    }
    trees
}

/// Whether it is there in every sandbox.
fn in_system(path: &Path) -> bool {
    ["/usr", "/bin", "/sbin", "/lib", "/lib64"].iter().any(|folder| path.starts_with(folder))
}

fn hint(found: &Path, home: &Path) -> String {
    let trees = trees(found, home);
    let options: Vec<_> = trees.iter().map(|tree| format!("-r {tree}")).collect();
    format!(
        "`{}` is on your machine but not visible inside: add `read_only_paths: [{}]` to the policy, or {} to this command",
        short(found, home),
        trees.join(", "),
        options.join(" "),
    )
}

/// The folder that brings the whole installation: `~/.nvm` for `~/.nvm/versions/…/bin/node`.
fn tree(path: &Path, home: &Path) -> String {
    if let Ok(rest) = path.strip_prefix(home) {
        let mut parts = rest.components();
        return match (parts.next(), parts.next()) {
            (Some(first), Some(_)) => format!("~/{}", first.as_os_str().to_string_lossy()),
            _ => short(path, home),
        };
    }
    let parts: PathBuf = path.components().take(3).collect();
    let whole = path.components().count() <= 3 || path.components().any(|c| c == Component::ParentDir);
    if whole { path.display().to_string() } else { parts.display().to_string() }
}

fn short(path: &Path, home: &Path) -> String {
    match path.strip_prefix(home) {
        Ok(rest) => format!("~/{}", rest.display()),
        Err(_) => path.display().to_string(),
    }
}

/// Where programs are looked for inside; as the supervisor sets it.
const SEARCH_PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// The `PATH` of an agent that was given some of the caller's folders: the caller's own entries that lie in
/// them come first. None where there are none.
pub(crate) fn search_path(given: &[PathBuf]) -> Option<String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let entries: Vec<_> = std::env::split_paths(&path).collect();
    search_path_of(&entries, given)
}

fn search_path_of(entries: &[PathBuf], given: &[PathBuf]) -> Option<String> {
    let inside = |entry: &PathBuf| {
        let entry = entry.canonicalize().ok()?;
        let within = given.iter().any(|folder| entry.starts_with(folder));
        entry.to_str().filter(|text| within && !text.contains(':')).map(str::to_owned)
    };
    let mut found: Vec<String> = entries.iter().filter_map(inside).collect();
    if found.is_empty() {
        return None;
    }
    found.push(SEARCH_PATH.to_owned());
    Some(found.join(":"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_whole_installation_is_named() {
        let home = Path::new("/home/u");
        assert_eq!(tree(Path::new("/home/u/.nvm/versions/node/v22/bin/node"), home), "~/.nvm");
        assert_eq!(tree(Path::new("/home/u/tool"), home), "~/tool");
        assert_eq!(tree(Path::new("/opt/go/bin/go"), home), "/opt/go");
    }

    #[test]
    fn a_program_is_found_as_the_shell_does() {
        let folders = [PathBuf::from("/nonexistent"), PathBuf::from("/bin")];
        assert_eq!(find("sh", folders.into_iter()), Some(PathBuf::from("/bin/sh")));
        assert_eq!(find("/etc/passwd", std::iter::empty()), None);
    }

    #[test]
    fn only_a_127_is_explained() {
        let error = CliError::new("x");
        assert_eq!(explain_absence(error, "sh", Path::new("/home/u")).render(), "error: x\n");
        let said = hint(Path::new("/home/u/.nvm/bin/x"), Path::new("/home/u"));
        assert!(said.contains("read_only_paths: [~/.nvm]") && said.contains("-r ~/.nvm"), "{said}");
    }

    #[test]
    fn the_callers_entries_that_are_given_come_first() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let bin = root.join("bin");
        std::fs::create_dir(&bin).unwrap();
        let entries = [PathBuf::from("/usr/bin"), bin.clone()];
        let path = search_path_of(&entries, &[root]).unwrap();
        assert!(path.starts_with(&format!("{}:/usr/local", bin.display())), "{path}");
        assert_eq!(search_path_of(&entries, &[]), None);
    }
}
