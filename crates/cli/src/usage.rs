//! What is said to arguments that are none of ours: one line and a hint, with the verb's own status.

use std::{ffi::OsString, process::ExitCode};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::{
    error::{CliError, Status},
    output::Output,
};

/// Answers what `clap` could not parse, or was asked to print.
pub(crate) fn answer(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if asked && arguments.len() == 1 {
        // Nothing was asked for yet: what there is.
        return match Output::new(false).line(error.render().to_string().trim_end()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => error.exit().into(),
        };
    }
    if asked {
        // A reader that went away wanted no help.
        let _ = error.print();
        let missing = error.kind() == ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand;
        return if missing { Status::Failed.into() } else { ExitCode::SUCCESS };
    }
    let error = explain(error, arguments);
    error.say();
    error.exit().into()
}

fn explain(error: &clap::Error, arguments: &[OsString]) -> CliError {
    let text = error.render().to_string();
    let first = text.split("\n\n").next().unwrap_or_default();
    let words: Vec<_> = first.split_whitespace().collect();
    let message = words.join(" ");
    let message = message.strip_prefix("error: ").unwrap_or(&message).replace('\'', "`");
    let verb = verb(arguments);
    CliError::new(message).hint(hint(error, &verb)).status(status(&verb))
}

fn hint(error: &clap::Error, verb: &[String]) -> String {
    let meant = [ContextKind::SuggestedSubcommand, ContextKind::SuggestedArg, ContextKind::SuggestedValue];
    let meant = meant.into_iter().find_map(|kind| match error.get(kind)? {
        ContextValue::String(text) => Some(text.clone()),
        ContextValue::Strings(texts) => texts.last().cloned(),
        _ => None,
    });
    let help = ["chiton"].into_iter().chain(verb.iter().map(String::as_str)).collect::<Vec<_>>().join(" ");
    match meant {
        Some(meant) => format!("`{meant}` is near; see {help} --help"),
        None => format!("{help} --help"),
    }
}

/// The verb, and for those with subcommands the second word.
fn verb(arguments: &[OsString]) -> Vec<String> {
    let words =
        arguments.iter().skip(1).filter_map(|word| word.to_str()).filter(|word| !word.starts_with('-'));
    let words: Vec<_> = words.take(2).map(str::to_owned).collect();
    let known = |path: &[String]| {
        let mut command = <crate::Cli as clap::CommandFactory>::command();
        path.iter().all(|word| match command.find_subcommand(word).cloned() {
            Some(found) => {
                command = found;
                true
            }
            None => false,
        })
    };
    (0..=words.len())
        .rev()
        .filter_map(|n| words.get(..n))
        .find(|path| known(path))
        .unwrap_or_default()
        .to_vec()
}

fn status(verb: &[String]) -> Status {
    match verb.iter().map(String::as_str).collect::<Vec<_>>().as_slice() {
        ["run" | "exec" | "wait", ..] => Status::Chiton,
        ["policy", "check" | "explain"] => Status::Invalid,
        _ => Status::Failed,
    }
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::*;
    use crate::Cli;

    fn said(line: &str) -> String {
        let arguments: Vec<OsString> = line.split_whitespace().map(OsString::from).collect();
        let error = Cli::try_parse_from(&arguments).unwrap_err();
        let error = explain(&error, &arguments);
        format!("$ {line}\n{}({})\n", error.render(), error.exit().code())
    }

    #[test]
    fn wrong_arguments_get_one_line_and_a_hint() {
        let lines = [
            "chiton rum -- true",
            "chiton run",
            "chiton run --polcy x -- true",
            "chiton exec box",
            "chiton policy explain p.yaml",
            "chiton policy chek",
            "chiton audit query --layer wifi",
            "chiton audit tail --since yesterday",
            "chiton stop --time soon box",
            "chiton init --agent hal",
            "chiton logs",
        ];
        insta::assert_snapshot!(lines.map(said).join("\n"));
    }

    #[test]
    fn help_says_what_there_is() {
        let mut command = Cli::command().max_term_width(100);
        command.build();
        let mut text = command.render_help().to_string();
        let mut rest: Vec<_> = command.get_subcommands_mut().collect();
        while !rest.is_empty() {
            let found = rest.remove(0);
            if found.is_hide_set() || found.get_name() == "help" {
                continue;
            }
            let help = found.render_help().to_string();
            text.push_str(&format!("\n=== {}\n{help}", found.get_bin_name().unwrap_or_default()));
            rest.extend(found.get_subcommands_mut());
        }
        insta::assert_snapshot!(text);
    }
}
