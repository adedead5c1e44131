//! Standard output: tables for people, JSON for programs. Writing to a reader that went away ends the command
//! quietly, as other Unix tools do.

use std::io::{self, IsTerminal, Write};

use comfy_table::{Attribute, Cell, Color, ContentArrangement, Table as Comfy, presets::NOTHING};
use serde::Serialize;

use crate::{error::CliError, text::Safe};

/// A terminal with fewer columns breaks lines by itself.
const NARROWEST: u16 = 40;

/// How a command prints.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Output {
    /// Whether `--json` was given.
    pub(crate) json: bool,
    colour: bool,
    terminal: bool,
}

/// A colour by meaning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Tone {
    /// As it is.
    Plain,
    /// Good: allowed, running, OK.
    Good,
    /// Bad: denied, failed, missing.
    Bad,
    /// Neither: stopped.
    Faint,
}

/// A cell of a table.
#[derive(Clone, Debug)]
pub(crate) struct Field(String, Tone);

impl Field {
    /// A cell in a tone.
    pub(crate) fn toned(text: impl AsRef<str>, tone: Tone) -> Self {
        Self(Safe::line(text.as_ref()).to_string(), tone)
    }
}

impl<T: AsRef<str>> From<T> for Field {
    fn from(text: T) -> Self {
        Self::toned(text, Tone::Plain)
    }
}

impl Output {
    /// As the environment and the terminal want it.
    #[must_use]
    pub(crate) fn new(json: bool) -> Self {
        let terminal = io::stdout().is_terminal();
        Self { json, colour: terminal && !no_colour(), terminal }
    }

    /// One line, as it is.
    pub(crate) fn line(self, text: impl AsRef<str>) -> Result<(), CliError> {
        self.raw(format!("{}\n", text.as_ref()).as_bytes())
    }

    /// One JSON document for people and programs to read.
    pub(crate) fn document<T: Serialize>(self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string_pretty(value).map_err(|e| CliError::new(e.to_string()))?;
        self.line(text)
    }

    /// One JSON object on one line.
    pub(crate) fn object<T: Serialize>(self, value: &T) -> Result<(), CliError> {
        let text = serde_json::to_string(value).map_err(|e| CliError::new(e.to_string()))?;
        self.line(text)
    }

    /// Bytes as they are.
    pub(crate) fn raw(self, bytes: &[u8]) -> Result<(), CliError> {
        let mut out = io::stdout().lock();
        match out.write_all(bytes).and_then(|()| out.flush()) {
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => std::process::exit(0),
            Err(error) => Err(CliError::new(format!("cannot write to standard output: {error}"))),
            Ok(()) => Ok(()),
        }
    }

    /// Columns under their names.
    pub(crate) fn table(self, names: &[&str], rows: Vec<Vec<Field>>) -> Result<(), CliError> {
        let mut table = Comfy::new();
        table.load_style(NOTHING);
        // A serial line does not know how wide its terminal is, and says 0.
        let fits = self.terminal && table.width().is_some_and(|width| width >= NARROWEST);
        let arrangement = if fits { ContentArrangement::Dynamic } else { ContentArrangement::Disabled };
        table.set_content_arrangement(arrangement);
        table.set_header(names.iter().map(|name| self.cell(Field::from(name), Some(Attribute::Bold))));
        for row in rows {
            table.add_row(row.into_iter().map(|field| self.cell(field, None)));
        }
        for column in table.column_iter_mut() {
            column.set_padding((0, 3));
        }
        for line in table.to_string().lines() {
            self.line(line.trim_end())?;
        }
        Ok(())
    }

    /// A word in a tone, within a line.
    pub(crate) fn toned(self, word: &str, tone: Tone) -> String {
        let code = match tone {
            Tone::Good => "32",
            Tone::Bad => "31",
            Tone::Faint => "90",
            Tone::Plain => return word.to_owned(),
        };
        if self.colour { format!("\u{1b}[{code}m{word}\u{1b}[0m") } else { word.to_owned() }
    }

    fn cell(self, Field(text, tone): Field, attribute: Option<Attribute>) -> Cell {
        let cell = Cell::new(text);
        if !self.colour {
            return cell;
        }
        let cell = match tone {
            Tone::Plain => cell,
            Tone::Good => cell.fg(Color::Green),
            Tone::Bad => cell.fg(Color::Red),
            Tone::Faint => cell.fg(Color::DarkGrey),
        };
        match attribute {
            Some(attribute) => cell.add_attribute(attribute),
            None => cell,
        }
    }
}

/// Whether what goes to standard error may be coloured.
fn colour_on_stderr() -> bool {
    io::stderr().is_terminal() && !no_colour()
}

fn no_colour() -> bool {
    std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty())
}

/// What a checker said, on standard error. It renders text of others safely by itself, and in colour.
pub(crate) fn diagnostics(said: &chiton_policy::Diagnostics, file: &str) {
    if !said.is_empty() {
        let text = said.render(&Safe::line(file).to_string(), colour_on_stderr());
        // As in `note`.
        let _ = writeln!(io::stderr().lock(), "{}", text.trim_end());
    }
}

/// One line to the user beside the output.
pub(crate) fn note(text: impl AsRef<str>) {
    // Standard error may be closed; there is nobody left to tell then.
    let _ = writeln!(io::stderr().lock(), "{}", Safe::lines(text.as_ref()));
}
