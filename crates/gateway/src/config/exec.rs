//! `[exec.NAME]` of `config.toml`: the commands that `exec://NAME` runs.

use std::{collections::BTreeMap, path::PathBuf};

use chiton_credentials::ExecCommand;
use serde::Deserialize;

use super::{
    times::{Span, Times, keep, refresh, timeout},
    vault::plain,
};

/// `[exec.NAME]`.
#[derive(Clone, Debug, PartialEq, Eq, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct ExecSection {
    command: Vec<String>,
    #[serde(default)]
    environment: Vec<String>,
    #[serde(default = "refresh")]
    refresh: Span,
    #[serde(default = "keep")]
    keep: Span,
    #[serde(default = "timeout")]
    timeout: Span,
}

/// What each of them runs.
pub(super) fn commands(
    sections: &BTreeMap<String, ExecSection>,
) -> Result<BTreeMap<String, ExecCommand>, String> {
    sections.iter().map(|(name, section)| Ok((name.clone(), section.command(name)?))).collect()
}

impl ExecSection {
    /// The error repeats no word of the command: one may be secret.
    fn command(&self, name: &str) -> Result<ExecCommand, String> {
        let good = |byte: u8| byte.is_ascii_alphanumeric() || b"-_.".contains(&byte);
        if name.is_empty() || !name.bytes().all(good) {
            return Err(format!(
                "`[exec]` has `{}`: expected a name of letters, digits, `-`, `_` and `.`",
                plain(name)
            ));
        }
        let section = format!("[exec.{name}]");
        let Times { refresh, keep, timeout } = Times::of(&section, [self.refresh, self.keep, self.timeout])?;
        let whole =
            "expected the program by its whole path and then its words, as `[\"/usr/bin/op\", \"read\", …]`";
        let Some((program, arguments)) = self.command.split_first() else {
            return Err(format!("`{section} command` is empty: {whole}"));
        };
        let program = PathBuf::from(program);
        if program.is_relative() || self.command.iter().any(|word| word.contains('\0')) {
            return Err(format!("`{section} command` names no program: {whole}"));
        }
        if let Some(variable) = self.environment.iter().find(|variable| !is_variable(variable)) {
            return Err(format!(
                "`{section} environment` has `{}`: expected names of variables, without values",
                plain(variable.split('=').next().unwrap_or_default())
            ));
        }
        let (arguments, variables) = (arguments.to_vec(), self.environment.clone());
        Ok(ExecCommand { program, arguments, variables, timeout, refresh, keep })
    }
}

fn is_variable(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<BTreeMap<String, ExecCommand>, String> {
        commands(&toml::from_str(text).map_err(|error| error.to_string())?)
    }

    #[test]
    fn a_command_and_what_holds_without_more() {
        let told = read("[op-github]\ncommand = [\"/usr/bin/op\", \"read\", \"op://a b/c\"]\nenvironment = [\"OP_TOKEN\"]").unwrap();
        let command = &told["op-github"];
        assert_eq!(command.program, PathBuf::from("/usr/bin/op"));
        assert_eq!(
            (&command.arguments[..], &command.variables[..]),
            (&["read".into(), "op://a b/c".into()][..], &["OP_TOKEN".into()][..])
        );
        let times = (command.timeout.as_secs(), command.refresh.as_secs(), command.keep.as_secs());
        assert_eq!(times, (10, 300, 3600));
    }

    #[test]
    fn what_cannot_be_is_refused_by_name() {
        let with = |text: &str| format!("[a]\ncommand = [\"/bin/x\"]\n{text}");
        for (text, said) in [
            ("[a]\ncommand = []".to_owned(), "`[exec.a] command` is empty"),
            ("[a]\ncommand = [\"op\", \"hunter22\"]".to_owned(), "its whole path"),
            ("[a]\ncommand = \"/bin/op hunter22\"".to_owned(), "sequence"),
            ("[\"a b\"]\ncommand = [\"/bin/x\"]".to_owned(), "expected a name"),
            (with("environment = [\"A=hunter22\"]"), "`[exec.a] environment` has `A`"),
            (with("refresh = \"2h\""), "`[exec.a] refresh` is longer"),
            (with("timeout = \"2m\""), "longer than a minute"),
            (with("shell = true"), "shell"),
        ] {
            let error = read(&text).unwrap_err();
            assert!(error.contains(said), "{text}: {error}");
            if !text.contains("command = \"") {
                assert!(!error.contains("hunter22"), "{error}");
            }
        }
    }
}
