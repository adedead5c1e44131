//! Writes JSON in a given order, with parts that keep their bytes.

use super::read::Text;

/// An object that is being written.
#[derive(Debug)]
pub(super) struct Obj(String);

impl Obj {
    pub(super) fn new() -> Self {
        Self("{".to_owned())
    }

    /// A value that is JSON already. The key is one of ours, and needs no escape.
    pub(super) fn raw(mut self, key: &str, json: &str) -> Self {
        if self.0.len() > 1 {
            self.0.push(',');
        }
        for part in ["\"", key, "\":", json] {
            self.0.push_str(part);
        }
        self
    }

    pub(super) fn some(self, key: &str, json: Option<&str>) -> Self {
        match json {
            Some(json) => self.raw(key, json),
            None => self,
        }
    }

    pub(super) fn text(self, key: &str, text: Text<'_>) -> Self {
        self.raw(key, text.0)
    }

    pub(super) fn str(self, key: &str, text: &str) -> Self {
        self.raw(key, &quoted(text))
    }

    pub(super) fn number(self, key: &str, number: u64) -> Self {
        self.raw(key, &number.to_string())
    }

    pub(super) fn end(mut self) -> String {
        self.0.push('}');
        self.0
    }
}

pub(super) fn list<I: AsRef<str>>(items: &[I]) -> String {
    let mut out = String::from("[");
    for (index, item) in items.iter().enumerate() {
        if index > 0 {
            out.push(',');
        }
        out.push_str(item.as_ref());
    }
    out.push(']');
    out
}

pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string()
}

/// `{"type":"text","text":…}`
pub(super) fn text_block(text: Text<'_>) -> String {
    Obj::new().str("type", "text").text("text", text).end()
}
