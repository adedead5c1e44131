//! What the checker says about a document: every error at once, each with its place.
//!
//! Rendering never shows a secret: what looks like one is shown by its first four characters at most, in
//! messages and in the quoted source alike.

mod render;
mod secrets;

use std::{fmt, ops::Range, sync::Arc};

pub(crate) use secrets::{looks_like_a_secret, shown};
use serde::Serialize;

/// How much it matters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Severity {
    /// The policy is not valid.
    Error,
    /// It is valid and probably not what was meant.
    Warning,
    /// Something worth knowing.
    Note,
}

/// One thing to say.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Diagnostic {
    /// How much it matters.
    pub severity: Severity,
    /// One line, lower case.
    pub message: String,
    /// What stands under the underlined text.
    pub label: Option<String>,
    /// What to do next.
    pub help: Option<String>,
    /// From 1.
    pub line: usize,
    /// In characters, from 1.
    pub column: usize,
    /// Which bytes of the text are meant.
    #[serde(skip)]
    pub(crate) span: Range<usize>,
}

/// Everything there is to say about one text, in the order of the text.
#[derive(Clone, Debug)]
pub struct Diagnostics {
    source: Arc<str>,
    items: Vec<Diagnostic>,
    /// Bytes of the source that must not be shown.
    hidden: Vec<Range<usize>>,
}

impl Diagnostics {
    /// Nothing to say.
    #[must_use]
    pub fn none() -> Self {
        Self { source: "".into(), items: Vec::new(), hidden: Vec::new() }
    }

    pub(crate) fn new(source: &str, mut items: Vec<Diagnostic>, hidden: Vec<Range<usize>>) -> Self {
        let lines: Vec<usize> =
            std::iter::once(0).chain(source.match_indices('\n').map(|(at, _)| at + 1)).collect();
        for item in &mut items {
            (item.line, item.column) = place(source, &lines, item.span.start);
        }
        items.sort_by_key(|item| (item.span.start, item.severity));
        items.dedup();
        Self { source: source.into(), items, hidden }
    }

    /// What there is to say.
    pub fn iter(&self) -> impl Iterator<Item = &Diagnostic> {
        self.items.iter()
    }

    /// How much there is to say.
    #[must_use]
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Whether there is nothing to say.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.items.is_empty()
    }

    /// For a terminal or a file: each with its lines of the document, the place underlined.
    #[must_use]
    pub fn render(&self, file_name: &str, color: bool) -> String {
        render::render(self, file_name, color)
    }
}

impl fmt::Display for Diagnostics {
    /// One line each, without the document's own lines.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, item) in self.items.iter().enumerate() {
            let separator = if index == 0 { "" } else { "; " };
            write!(f, "{separator}line {}: {}", item.line, item.message)?;
        }
        Ok(())
    }
}

impl std::error::Error for Diagnostics {}

/// Line and column of an offset, both from 1; `lines` are the offsets at which lines begin.
fn place(source: &str, lines: &[usize], offset: usize) -> (usize, usize) {
    let offset = offset.min(source.len());
    let line = lines.partition_point(|start| *start <= offset);
    let start = line.checked_sub(1).and_then(|index| lines.get(index)).copied().unwrap_or(0);
    let column = source.get(start..offset).unwrap_or_default().chars().count();
    (line, column + 1)
}
