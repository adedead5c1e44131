//! Variables for the agent: `-e K=V`, or `-e K` for the caller's own value.

use std::{collections::BTreeMap, convert::Infallible, str::FromStr};

/// One `-e`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Assignment {
    /// `K=V`.
    Set(String, String),
    /// `K`: as the caller has it, or not at all.
    Pass(String),
}

impl FromStr for Assignment {
    type Err = Infallible;

    fn from_str(text: &str) -> Result<Self, Infallible> {
        Ok(match text.split_once('=') {
            Some((name, value)) => Self::Set(name.to_owned(), value.to_owned()),
            None => Self::Pass(text.to_owned()),
        })
    }
}

/// Names with their values. One that the caller does not have, or that is no text, is left out.
pub(crate) fn collect(assignments: impl IntoIterator<Item = Assignment>) -> BTreeMap<String, String> {
    let values = assignments.into_iter().filter_map(|assignment| match assignment {
        Assignment::Set(name, value) => Some((name, value)),
        Assignment::Pass(name) => std::env::var(&name).ok().map(|value| (name, value)),
    });
    values.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_taken_or_passed_on() {
        let given = ["A=b=c", "HOME", "CHITON_NO_SUCH_VARIABLE"].map(|text| text.parse().unwrap());
        let collected = collect(given);
        assert_eq!(collected.get("A").map(String::as_str), Some("b=c"));
        assert!(!collected.contains_key("CHITON_NO_SUCH_VARIABLE"));
    }
}
