//! YAML as a tree whose nodes know their bytes in the text, within a budget.
//!
//! Scalars stay texts: what a plain one means depends on the field. Aliases are followed, within the budget;
//! tags mean nothing here and are errors, as is a second document.

use std::{collections::HashMap, ops::Range};

use granit_parser::{Event, Parser, ScalarStyle, Span};

/// The longest text that is read: far more than any policy, far less than what hurts.
const MAX_BYTES: usize = 4 << 20;
/// The most nodes, aliases followed.
const MAX_NODES: usize = 1_000_000;
/// The deepest nesting.
const MAX_DEPTH: usize = 24;

/// A node and where it stands.
#[derive(Clone, Debug)]
pub(crate) struct Node {
    pub(crate) span: Range<usize>,
    pub(crate) value: Value,
}

/// What a node is.
#[derive(Clone, Debug)]
pub(crate) enum Value {
    /// A scalar; `plain` when it is not quoted and could so be a number, a truth value or nothing.
    Scalar {
        text: String,
        plain: bool,
    },
    List(Vec<Node>),
    /// Keys and values in order, repetitions kept.
    Map(Vec<(Node, Node)>),
}

/// Why a text is no document.
#[derive(Debug)]
pub(crate) struct YamlError {
    pub(crate) span: Range<usize>,
    pub(crate) message: String,
}

impl Node {
    /// Whether there is nothing: an empty plain scalar, `~` or `null`.
    pub(crate) fn is_null(&self) -> bool {
        matches!(&self.value, Value::Scalar { text, plain: true } if matches!(text.as_str(), "" | "~" | "null" | "Null" | "NULL"))
    }

    /// The value at the end of a path of names, where there is one.
    pub(crate) fn value_at(&self, path: &[&str]) -> Option<&Node> {
        let Some((name, rest)) = path.split_first() else { return Some(self) };
        let Value::Map(pairs) = &self.value else { return None };
        let named =
            |(key, _): &&(Node, Node)| matches!(&key.value, Value::Scalar { text, .. } if text == name);
        pairs.iter().find(named)?.1.value_at(rest)
    }

    /// Moves it as if so many bytes stood before its text.
    pub(crate) fn shift(&mut self, by: usize) {
        self.span = self.span.start + by..self.span.end + by;
        match &mut self.value {
            Value::Scalar { .. } => {}
            Value::List(items) => items.iter_mut().for_each(|item| item.shift(by)),
            Value::Map(pairs) => pairs.iter_mut().for_each(|(key, value)| {
                key.shift(by);
                value.shift(by);
            }),
        }
    }

    /// Where the node at the end of a path of names and numbers stands, or as far of it as there is.
    pub(crate) fn at(&self, path: &[&str]) -> Range<usize> {
        let Some((name, rest)) = path.split_first() else { return self.span.clone() };
        match &self.value {
            Value::Scalar { .. } => self.span.clone(),
            // A list of one stands for the one.
            Value::List(items) => match name.parse::<usize>() {
                Ok(index) => items.get(index).map_or(self.span.clone(), |item| item.at(rest)),
                Err(_) => items.first().map_or(self.span.clone(), |item| item.at(path)),
            },
            Value::Map(pairs) => pairs
                .iter()
                .find(|(key, _)| matches!(&key.value, Value::Scalar { text, .. } if text == name))
                .map_or(
                    self.span.clone(),
                    |(key, value)| if rest.is_empty() { key.span.clone() } else { value.at(rest) },
                ),
        }
    }

    fn nothing(at: usize) -> Self {
        Self { span: at..at, value: Value::Scalar { text: String::new(), plain: true } }
    }
}

/// Reads one document.
pub(crate) fn parse(text: &str) -> Result<Node, YamlError> {
    if text.len() > MAX_BYTES {
        let message = format!("the document has {} bytes: a policy has at most {MAX_BYTES}", text.len());
        return Err(YamlError { span: 0..0, message });
    }
    Builder { text, nodes: 0, open: Vec::new(), anchors: HashMap::new(), root: None }.run()
}

struct Builder<'a> {
    text: &'a str,
    nodes: usize,
    open: Vec<Open>,
    anchors: HashMap<usize, (Node, usize)>,
    root: Option<Node>,
}

/// A list or map whose end has not come.
struct Open {
    anchor: usize,
    start: usize,
    kind: Kind,
}

enum Kind {
    List(Vec<Node>),
    Map { pairs: Vec<(Node, Node)>, key: Option<Node> },
}

impl Builder<'_> {
    fn run(mut self) -> Result<Node, YamlError> {
        let mut documents = 0;
        for next in Parser::new_from_str(self.text) {
            let (event, span) = next.map_err(|error| {
                let at =
                    self.offset(error.marker().byte_offset(), error.marker().line(), error.marker().col());
                fail(at..at, format!("this is not YAML: {}", error.info()))
            })?;
            let range = self.range(&span);
            if matches!(event, Event::DocumentStart(..)) {
                documents += 1;
                if documents > 1 {
                    return Err(fail(range, "a policy is one YAML document".to_owned()));
                }
            }
            self.take(event, range)?;
        }
        Ok(self.root.take().unwrap_or_else(|| Node::nothing(0)))
    }

    fn take(&mut self, event: Event<'_>, span: Range<usize>) -> Result<(), YamlError> {
        if event.tag().is_some() {
            return Err(fail(span, "a tag has no meaning in a policy".to_owned()));
        }
        match event {
            Event::Scalar(text, style, anchor, _) => {
                let plain = matches!(style, ScalarStyle::Plain);
                let node = Node { span, value: Value::Scalar { text: text.into_owned(), plain } };
                self.add(node, anchor, 1)
            }
            Event::SequenceStart(_, anchor, _) => self.begin(anchor, span, Kind::List(Vec::new())),
            Event::MappingStart(_, anchor, _) => {
                self.begin(anchor, span, Kind::Map { pairs: Vec::new(), key: None })
            }
            Event::SequenceEnd | Event::MappingEnd => self.end(span),
            Event::Alias(anchor) => {
                let (node, size) =
                    self.anchors.get(&anchor).cloned().ok_or_else(|| {
                        fail(span.clone(), "this alias stands for nothing complete".to_owned())
                    })?;
                self.add(Node { span, value: node.value }, 0, size)
            }
            _ => Ok(()),
        }
    }

    fn begin(&mut self, anchor: usize, span: Range<usize>, kind: Kind) -> Result<(), YamlError> {
        if self.open.len() >= MAX_DEPTH {
            return Err(fail(span, format!("nested deeper than {MAX_DEPTH}: no policy is")));
        }
        self.open.push(Open { anchor, start: span.start, kind });
        Ok(())
    }

    fn end(&mut self, span: Range<usize>) -> Result<(), YamlError> {
        let Some(open) = self.open.pop() else { return Ok(()) };
        let (value, last) = match open.kind {
            Kind::List(items) => {
                let last = items.last().map(|item| item.span.end);
                (Value::List(items), last)
            }
            Kind::Map { pairs, .. } => {
                let last = pairs.last().map(|(key, value)| value.span.end.max(key.span.end));
                (Value::Map(pairs), last)
            }
        };
        // A block ends where its last entry does; its own end is on a later line.
        let closed = matches!(self.text.as_bytes().get(open.start), Some(b'[' | b'{'));
        let end = if closed { span.end } else { last.unwrap_or(span.end) };
        let node = Node { span: open.start..end.max(open.start), value };
        let size = if open.anchor == 0 { 1 } else { count(&node) };
        // What is inside was counted when it came.
        self.nodes = self.nodes.saturating_sub(size.saturating_sub(1));
        self.add(node, open.anchor, size)
    }

    fn add(&mut self, node: Node, anchor: usize, size: usize) -> Result<(), YamlError> {
        self.nodes = self.nodes.saturating_add(size);
        if self.nodes > MAX_NODES {
            return Err(fail(node.span, format!("more than {MAX_NODES} values: no policy has so many")));
        }
        if anchor != 0 {
            self.anchors.insert(anchor, (node.clone(), size));
        }
        match self.open.last_mut().map(|open| &mut open.kind) {
            None => self.root = Some(node),
            Some(Kind::List(items)) => items.push(node),
            Some(Kind::Map { pairs, key }) => match key.take() {
                None => *key = Some(node),
                Some(key) => pairs.push((key, node)),
            },
        }
        Ok(())
    }

    fn range(&self, span: &Span) -> Range<usize> {
        let range = span.byte_range().unwrap_or_else(|| {
            let at = |marker: granit_parser::Marker| {
                self.offset(marker.byte_offset(), marker.line(), marker.col())
            };
            at(span.start)..at(span.end)
        });
        range.start.min(self.text.len())..range.end.clamp(range.start, self.text.len().max(range.start))
    }

    fn offset(&self, known: Option<usize>, line: usize, column: usize) -> usize {
        known.unwrap_or_else(|| {
            let before: usize =
                self.text.split_inclusive('\n').take(line.saturating_sub(1)).map(str::len).sum();
            let rest = self.text.get(before..).unwrap_or_default();
            before + rest.char_indices().nth(column).map_or(rest.len(), |(at, _)| at)
        })
    }
}

fn count(node: &Node) -> usize {
    1 + match &node.value {
        Value::Scalar { .. } => 0,
        Value::List(items) => items.iter().map(count).sum(),
        Value::Map(pairs) => pairs.iter().map(|(key, value)| count(key) + count(value)).sum(),
    }
}

fn fail(span: Range<usize>, message: String) -> YamlError {
    YamlError { span, message }
}

#[cfg(test)]
mod tests {
    use super::{Value, parse};

    #[test]
    fn places_are_bytes() {
        let text = "a:\n  - é\n  - [x, 'y']\n";
        let Value::Map(pairs) = parse(text).unwrap().value else { panic!("a map") };
        let Value::List(items) = &pairs[0].1.value else { panic!("a list") };
        assert_eq!(&text[items[0].span.clone()], "é");
        assert_eq!(&text[items[1].span.clone()], "[x, 'y']");
        assert_eq!(&text[pairs[0].0.span.clone()], "a");
    }

    #[test]
    fn hostile_documents_end_early() {
        let mut bomb = String::from("a0: &a0 [x, x, x, x, x, x, x, x, x, x]\n");
        for level in 1..10 {
            let inner = format!("*a{},", level - 1).repeat(10);
            bomb.push_str(&format!("a{level}: &a{level} [{inner}]\n"));
        }
        assert!(parse(&bomb).unwrap_err().message.contains("more than"));
        assert!(parse(&"[".repeat(100)).is_err());
        assert!(parse(&"x".repeat((4 << 20) + 1)).is_err());
        assert!(parse("a: 1\n---\nb: 2\n").is_err());
        assert!(parse("a: &a [*a]\n").is_err());
        assert!(parse("a: !!str x\n").is_err());
        assert!(parse("a: [1, 2\n").is_err());
    }
}
