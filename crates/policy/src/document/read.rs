//! Reading one node as one kind of value: the value, or a note of what is wrong and nothing.

use std::{collections::HashSet, fmt::Display, ops::Range};

use super::{
    near::nearest,
    yaml::{Node, Value},
};
use crate::diagnostics::{Diagnostic, Diagnostics, Severity, shown};

/// What was noted so far.
#[derive(Debug, Default)]
pub(crate) struct Notes {
    items: Vec<Diagnostic>,
    hidden: Vec<Range<usize>>,
    errors: usize,
    /// The last of what came after there was more than anybody reads.
    beyond: Option<Diagnostic>,
}

/// More errors than this, or more of everything else, nobody reads.
const MOST_ITEMS: usize = 2000;

/// The entries of a map whose fields are known.
#[derive(Debug, Default)]
pub(crate) struct Fields<'a>(Vec<(&'a str, &'a Node, &'a Node)>);

impl<'a> Fields<'a> {
    /// The value of a field, unless it is absent or nothing.
    pub(crate) fn get(&self, name: &str) -> Option<&'a Node> {
        self.0.iter().find(|(field, _, _)| *field == name).map(|(_, _, value)| *value)
    }

    /// The key itself, for a place.
    pub(crate) fn key(&self, name: &str) -> Option<Range<usize>> {
        self.0.iter().find(|(field, _, _)| *field == name).map(|(_, key, _)| key.span.clone())
    }
}

impl Notes {
    pub(crate) fn error(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.note(Severity::Error, span, message.into())
    }

    pub(crate) fn warning(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.note(Severity::Warning, span, message.into())
    }

    pub(crate) fn info(&mut self, span: Range<usize>, message: impl Into<String>) -> &mut Diagnostic {
        self.note(Severity::Note, span, message.into())
    }

    fn note(&mut self, severity: Severity, span: Range<usize>, message: String) -> &mut Diagnostic {
        let item = Diagnostic { severity, message, label: None, help: None, line: 0, column: 0, span };
        let error = severity == Severity::Error;
        let before = if error { self.errors } else { self.items.len() - self.errors };
        if before >= MOST_ITEMS {
            return self.beyond.insert(item);
        }
        self.errors += usize::from(error);
        self.items.push_mut(item)
    }

    /// Whether there are more errors than anybody reads.
    pub(crate) fn is_full(&self) -> bool {
        self.errors >= MOST_ITEMS
    }

    /// These bytes of the text are never shown.
    pub(crate) fn hide(&mut self, span: Range<usize>) {
        self.hidden.push(span);
    }

    pub(crate) fn has_errors(&self) -> bool {
        self.errors > 0
    }

    /// Whether something wrong was found within this place.
    pub(crate) fn has_error_in(&self, span: &Range<usize>) -> bool {
        let inside = |item: &Diagnostic| span.start <= item.span.start && item.span.end <= span.end;
        self.items.iter().any(|item| item.severity == Severity::Error && inside(item))
    }

    pub(crate) fn into_items(self) -> Vec<Diagnostic> {
        self.items
    }

    pub(crate) fn finish(self, text: &str) -> Diagnostics {
        Diagnostics::new(text, self.items, self.hidden)
    }

    /// A node is not what `field` wants.
    pub(crate) fn wrong_type(&mut self, node: &Node, field: &str, wanted: &str) {
        let found = describe(node);
        self.error(node.span.clone(), format!("`{field}` must be {wanted}, and this is {found}"));
    }

    /// The fields of a map, unknown and repeated ones noted; nothing at all is a map without fields.
    pub(crate) fn fields<'a>(&mut self, node: &'a Node, field: &str, known: &[&'static str]) -> Fields<'a> {
        let Value::Map(pairs) = &node.value else {
            if !node.is_null() {
                self.wrong_type(node, field, "a map of fields");
            }
            return Fields::default();
        };
        let mut fields = Fields::default();
        let mut seen = HashSet::new();
        for (key, value) in pairs {
            let Some(name) = self.key_name(key, field) else { continue };
            if !seen.insert(name) {
                self.error(key.span.clone(), format!("`{}` stands here twice", shown(name))).help =
                    Some("keep one of them".to_owned());
            } else if known.contains(&name) {
                if !value.is_null() {
                    fields.0.push((name, key, value));
                }
            } else {
                self.unknown(key, name, &format!("`{field}` has no field"), known);
            }
        }
        fields
    }

    /// Free names and their values, repetitions noted.
    pub(crate) fn entries<'a>(&mut self, node: &'a Node, field: &str) -> Vec<(&'a str, &'a Node, &'a Node)> {
        let Value::Map(pairs) = &node.value else {
            if !node.is_null() {
                self.wrong_type(node, field, "a map");
            }
            return Vec::new();
        };
        let mut entries = Vec::new();
        let mut seen = HashSet::new();
        for (key, value) in pairs {
            let Some(name) = self.key_name(key, field) else { continue };
            if seen.insert(name) {
                entries.push((name, key, value));
            } else {
                self.error(key.span.clone(), format!("`{}` stands here twice", shown(name)));
            }
        }
        entries
    }

    fn key_name<'a>(&mut self, key: &'a Node, field: &str) -> Option<&'a str> {
        match &key.value {
            Value::Scalar { text, .. } => Some(text),
            Value::List(_) | Value::Map(_) => {
                self.error(key.span.clone(), format!("a name in `{field}` must be a text"));
                None
            }
        }
    }

    fn unknown(&mut self, node: &Node, name: &str, what: &str, known: &[&'static str]) {
        let message = format!("{what} `{}`", shown(name));
        let item = self.error(node.span.clone(), message);
        match nearest(name, known.iter().copied()) {
            Some(near) => item.help = Some(format!("did you mean `{near}`?")),
            None => item.help = Some(format!("known are: {}", known.join(", "))),
        }
    }

    /// The entries of a list; nothing at all is an empty one.
    pub(crate) fn list<'a>(&mut self, node: &'a Node, field: &str, of: &str) -> &'a [Node] {
        match &node.value {
            Value::List(items) => items,
            Value::Scalar { .. } | Value::Map(_) => {
                if !node.is_null() {
                    self.wrong_type(node, field, &format!("a list of {of}"));
                }
                &[]
            }
        }
    }

    /// A text: quoted, or plain and no number, truth value or nothing.
    pub(crate) fn text<'a>(&mut self, node: &'a Node, field: &str) -> Option<&'a str> {
        match &node.value {
            Value::Scalar { text, plain } if !plain || plain_kind(text) == Plain::Text => Some(text),
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.wrong_type(node, field, "a text");
                None
            }
        }
    }

    /// A text that some type can be read from.
    pub(crate) fn parsed<T, E: Display>(
        &mut self,
        node: &Node,
        field: &str,
        parse: impl FnOnce(&str) -> Result<T, E>,
    ) -> Option<T> {
        let text = self.text(node, field)?;
        match parse(text) {
            Ok(value) => Some(value),
            Err(error) => {
                let message = format!("`{field}` cannot be `{}`: {error}", shown(text));
                self.error(node.span.clone(), message);
                None
            }
        }
    }

    pub(crate) fn boolean(&mut self, node: &Node, field: &str) -> Option<bool> {
        match &node.value {
            Value::Scalar { text, plain: true } if plain_kind(text) == Plain::Truth => {
                Some(text.eq_ignore_ascii_case("true"))
            }
            Value::Scalar { .. } | Value::List(_) | Value::Map(_) => {
                self.wrong_type(node, field, "`true` or `false`");
                None
            }
        }
    }

    /// A whole number within a range.
    pub(crate) fn number(&mut self, node: &Node, field: &str, within: Range<u64>) -> Option<u64> {
        let Value::Scalar { text, plain: true } = &node.value else {
            self.wrong_type(node, field, "a number");
            return None;
        };
        if plain_kind(text) != Plain::Number {
            self.wrong_type(node, field, "a number");
            return None;
        }
        let number = text.parse().ok().filter(|number| within.contains(number));
        if number.is_none() {
            let (least, most) = (within.start, within.end - 1);
            let message =
                format!("`{field}` cannot be `{}`: a whole number from {least} to {most}", shown(text));
            self.error(node.span.clone(), message);
        }
        number
    }

    /// One of a closed set of names.
    pub(crate) fn choice<T: Copy>(
        &mut self,
        node: &Node,
        field: &str,
        known: &[(&'static str, T)],
    ) -> Option<T> {
        let text = self.text(node, field)?;
        let found = known.iter().find(|(name, _)| *name == text).map(|(_, value)| *value);
        if found.is_none() {
            let names: Vec<&'static str> = known.iter().map(|(name, _)| *name).collect();
            self.unknown(node, text, &format!("`{field}` cannot be"), &names);
        }
        found
    }
}

/// What a plain scalar is by YAML's core schema.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Plain {
    Null,
    Truth,
    Number,
    Text,
}

fn plain_kind(text: &str) -> Plain {
    match text {
        "" | "~" | "null" | "Null" | "NULL" => Plain::Null,
        "true" | "True" | "TRUE" | "false" | "False" | "FALSE" => Plain::Truth,
        ".inf" | "-.inf" | ".nan" | ".Inf" | ".NaN" => Plain::Number,
        _ if is_number(text) => Plain::Number,
        _ => Plain::Text,
    }
}

fn is_number(text: &str) -> bool {
    let digits = text.strip_prefix(['-', '+']).unwrap_or(text);
    let based = |prefix, radix| {
        digits
            .strip_prefix(prefix)
            .is_some_and(|rest: &str| !rest.is_empty() && rest.chars().all(|c| c.is_digit(radix)))
    };
    let begins = digits.starts_with(|c: char| c.is_ascii_digit() || c == '.');
    based("0x", 16) || based("0o", 8) || (begins && digits.parse::<f64>().is_ok())
}

fn describe(node: &Node) -> String {
    match &node.value {
        Value::List(_) => "a list".to_owned(),
        Value::Map(_) => "a map".to_owned(),
        Value::Scalar { text, plain: false } => format!("the text `{}`", shown(text)),
        Value::Scalar { text, plain: true } => match plain_kind(text) {
            Plain::Null => "nothing".to_owned(),
            Plain::Truth => format!("`{text}`, a truth value"),
            Plain::Number => format!("the number `{}`", shown(text)),
            Plain::Text => format!("the text `{}`", shown(text)),
        },
    }
}

#[cfg(test)]
mod tests {
    use super::{Plain, plain_kind};

    #[test]
    fn plain_scalars() {
        for (text, kind) in [
            ("1", Plain::Number),
            ("-1.5e3", Plain::Number),
            ("0x1F", Plain::Number),
            (".5", Plain::Number),
            ("1.2.3", Plain::Text),
            ("yes", Plain::Text),
            ("infinity", Plain::Text),
            ("true", Plain::Truth),
            ("~", Plain::Null),
        ] {
            assert!(plain_kind(text) == kind, "{text}");
        }
    }
}
