//! What is said to arguments that are none of ours: one line and a hint, with the verb's own status.

use std::{ffi::OsString, process::ExitCode};

use clap::error::{ContextKind, ContextValue, ErrorKind};

use crate::error::{CliError, Status};

/// Answers what `clap` could not parse, or was asked to print.
pub(crate) fn answer(error: &clap::Error, arguments: &[OsString]) -> ExitCode {
    let asked = matches!(
        error.kind(),
        ErrorKind::DisplayHelp
            | ErrorKind::DisplayVersion
            | ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand
    );
    if asked {
        // A reader that went away wanted no help.
        let _ = error.print();
        let wanted =
            error.kind() != ErrorKind::DisplayHelpOnMissingArgumentOrSubcommand || arguments.len() == 1;
        return if wanted { ExitCode::SUCCESS } else { Status::Failed.into() };
    }
    let error = explain(error, arguments);
    eprint!("{}", error.render());
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
        ContextValue::Strings(texts) => texts.first().cloned(),
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
