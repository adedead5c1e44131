//! Small pieces of what people read: moments, commands, counts.

use jiff::Timestamp;

/// A command in a table is not longer.
const COMMAND_WIDTH: usize = 40;

/// How long ago, in the largest unit that fits.
pub(crate) fn ago(then: Timestamp) -> String {
    format!("{} ago", span(Timestamp::now().as_second().saturating_sub(then.as_second())))
}

fn span(seconds: i64) -> String {
    let (count, unit) = match seconds.max(0) {
        s @ 0..60 => (s, "second"),
        s @ 60..3600 => (s / 60, "minute"),
        s @ 3600..86400 => (s / 3600, "hour"),
        s => (s / 86400, "day"),
    };
    plural(count.unsigned_abs(), unit)
}

/// A count and its noun.
pub(crate) fn plural(count: u64, noun: &str) -> String {
    let s = if count == 1 { "" } else { "s" };
    format!("{count} {noun}{s}")
}

/// So many events, which the log's chain holds.
pub(crate) fn hold(events: u64) -> String {
    format!("{} {}", plural(events, "event"), if events == 1 { "holds" } else { "hold" })
}

/// A command as one cell: quoted where it needs it, and cut.
pub(crate) fn command(argv: &[String]) -> String {
    let whole = argv.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    if whole.chars().count() <= COMMAND_WIDTH {
        return whole;
    }
    whole.chars().take(COMMAND_WIDTH - 1).chain(['…']).collect()
}

/// A word as a shell would take it.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./:=@%+,~".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        return word.to_owned();
    }
    format!("'{}'", word.replace('\'', r"'\''"))
}

/// A policy as one cell: its revision, and enough of its digest to tell two apart.
pub(crate) fn policy(revision: u64, digest: &str) -> String {
    let digest = digest.strip_prefix("sha256:").unwrap_or(digest);
    format!("r{revision} {}", digest.get(..8).unwrap_or(digest))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_use_the_largest_unit() {
        assert_eq!(span(1), "1 second");
        assert_eq!(span(119), "1 minute");
        assert_eq!(span(7200), "2 hours");
        assert_eq!(span(86400 * 3), "3 days");
    }

    #[test]
    fn one_holds_and_several_hold() {
        assert_eq!([0, 1, 2].map(hold), ["0 events hold", "1 event holds", "2 events hold"]);
    }

    #[test]
    fn commands_are_quoted_and_cut() {
        assert_eq!(command(&["sh".into(), "-c".into(), "it's".into()]), r"sh -c 'it'\''s'");
        assert_eq!(command(&["x".repeat(90)]).chars().count(), COMMAND_WIDTH);
    }

    #[test]
    fn a_policy_is_its_revision_and_digest() {
        assert_eq!(policy(2, "sha256:0123456789abcdef"), "r2 01234567");
    }
}
