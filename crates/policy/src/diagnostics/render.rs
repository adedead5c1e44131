//! Diagnostics as a person reads them.

use annotate_snippets::{AnnotationKind, Level, Renderer, Snippet};

use super::{Diagnostic, Diagnostics, Severity, secrets};

/// Text around a place that is handed to the renderer, which looks at every line it is given.
const LINES_AROUND: usize = 2;

pub(super) fn render(diagnostics: &Diagnostics, file_name: &str, color: bool) -> String {
    let source = secrets::covered(&diagnostics.source, &diagnostics.hidden);
    let renderer = if color { Renderer::styled() } else { Renderer::plain() };
    let mut out = String::new();
    for item in diagnostics.iter() {
        out.push_str(&render_one(&renderer, item, &source, file_name));
        out.push_str("\n\n");
    }
    out.truncate(out.trim_end().len());
    out
}

fn render_one(renderer: &Renderer, item: &Diagnostic, source: &str, file_name: &str) -> String {
    let level = match item.severity {
        Severity::Error => Level::ERROR,
        Severity::Warning => Level::WARNING,
        Severity::Note => Level::NOTE,
    };
    let (window, first_line, start) = around(source, item);
    let length = item.span.len().min(window.len().saturating_sub(start));
    let end = (start + length).min(window.len());
    let annotation = AnnotationKind::Primary.span(start.min(end)..end).label(item.label.as_deref());
    let snippet =
        Snippet::source(window).path(file_name).line_start(first_line).fold(true).annotation(annotation);
    let mut group = level.primary_title(item.message.as_str()).element(snippet);
    if let Some(help) = &item.help {
        group = group.element(Level::HELP.message(help.as_str()));
    }
    renderer.render(&[group])
}

/// The lines around a place: the text, the number of its first line, and where the place is in it.
fn around<'a>(source: &'a str, item: &Diagnostic) -> (&'a str, usize, usize) {
    let at = item.span.start.min(source.len());
    let before = source.get(..at).unwrap_or_default();
    let first_line = item.line.saturating_sub(LINES_AROUND).max(1);
    let start = before.rmatch_indices('\n').nth(item.line - first_line).map_or(0, |(at, _)| at + 1);
    let until = item.span.end.clamp(at, source.len());
    let rest = source.get(until..).unwrap_or_default();
    let end = rest.find('\n').map_or(source.len(), |line_end| until + line_end);
    (source.get(start..end).unwrap_or_default(), first_line, at - start)
}
