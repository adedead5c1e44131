//! The files of control groups.

/// The number behind a word at a line's begin, as flat keyed files have it (cgroups(7), the kernel's cgroup-v2.rst); 0
/// where there is none.
#[must_use]
pub fn count(text: &str, word: &str) -> u64 {
    let found = text.lines().find_map(|line| line.split_once(' ').filter(|(name, _)| *name == word));
    found.and_then(|(_, number)| number.trim().parse().ok()).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use super::count;

    #[test]
    fn the_number_is_that_of_the_whole_word() {
        assert_eq!(count("oom_kill_disable 0\nunder_oom 0\noom_kill 3\n", "oom_kill"), 3);
        assert_eq!(count("low 0\nmax 9\noom 2\noom_kill 1\noom_group_kill 0\n", "oom_kill"), 1);
        assert_eq!(count("max 12\n", "max"), 12);
        assert_eq!(count("", "max"), 0);
    }
}
