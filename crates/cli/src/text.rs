//! Text of others on its way to a terminal: control characters and direction marks are shown, never obeyed.

use std::fmt::{self, Display, Formatter, Write};

/// Shows text that came from a sandbox, a file or another program.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Safe<'a> {
    text: &'a str,
    newlines: bool,
}

impl<'a> Safe<'a> {
    /// For one line: a line end is shown as `\n`.
    #[must_use]
    pub(crate) const fn line(text: &'a str) -> Self {
        Self { text, newlines: false }
    }

    /// For text that may have several lines.
    #[must_use]
    pub(crate) const fn lines(text: &'a str) -> Self {
        Self { text, newlines: true }
    }
}

impl Display for Safe<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> fmt::Result {
        for c in self.text.chars() {
            match c {
                '\n' if self.newlines => f.write_char(c)?,
                '\t' if self.newlines => f.write_char(c)?,
                c if steers(c) => write!(f, "{}", c.escape_default())?,
                c => f.write_char(c)?,
            }
        }
        Ok(())
    }
}

/// Whether a terminal could take the character as an order.
fn steers(c: char) -> bool {
    c.is_control()
        || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2066}'..='\u{2069}' | '\u{feff}')
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escapes_what_steers_a_terminal() {
        assert_eq!(Safe::line("a\u{1b}]0;x\u{7}\nb").to_string(), "a\\u{1b}]0;x\\u{7}\\nb");
        assert_eq!(Safe::lines("a\nb\u{202e}").to_string(), "a\nb\\u{202e}");
        assert_eq!(Safe::line("grün").to_string(), "grün");
    }
}
