//! A policy as a document again: what is printed reads back as the same policy.

mod network;
mod sandbox;

pub(crate) use network::{http, methods_meant, ports};
pub(crate) use sandbox::fixed;
use serde_json::{Map, Value, json};

use crate::model::{Base, Mode, Policy};

impl Policy {
    /// The policy as a document: defaults left out, everything in the order of the language.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let mut top = Fields::default();
        let extends = self.extends.iter().map(|extend| {
            let base = match &extend.base {
                Base::Preset(preset) => preset.as_str(),
                Base::File(file) => file,
            };
            let Some(given) = &extend.given else { return json!(base) };
            let mut fields = Fields::default();
            fields.put("use", json!(base));
            fields.put("credential", network::credential(&given.credential));
            fields.some("hosts", given.hosts.as_ref().map(|hosts| Value::Array(texts(hosts))));
            fields.done()
        });
        top.list("extends", extends.collect());
        if self.has_static {
            top.put("static", sandbox::fixed(&self.fixed));
        }
        let dynamic = network::dynamic(&self.dynamic);
        if dynamic != json!({}) {
            top.put("dynamic", dynamic);
        }
        top.done()
    }

    /// [`Policy::to_json`] as YAML.
    #[must_use]
    pub fn to_yaml(&self) -> String {
        let document = self.to_json();
        // Every JSON document is a YAML document.
        serde_saphyr::to_string(&document).unwrap_or_else(|_| document.to_string())
    }
}

/// A map that is being written; what is default is not.
#[derive(Default)]
struct Fields(Map<String, Value>);

impl Fields {
    fn put(&mut self, name: &str, value: Value) {
        self.0.insert(name.to_owned(), value);
    }

    fn list(&mut self, name: &str, items: Vec<Value>) {
        if !items.is_empty() {
            self.put(name, Value::Array(items));
        }
    }

    fn map(&mut self, name: &str, value: Value) {
        if value != json!({}) {
            self.put(name, value);
        }
    }

    fn flag(&mut self, name: &str, set: bool) {
        if set {
            self.put(name, json!(true));
        }
    }

    fn some(&mut self, name: &str, value: Option<Value>) {
        if let Some(value) = value {
            self.put(name, value);
        }
    }

    fn done(self) -> Value {
        Value::Object(self.0)
    }
}

fn texts<T: ToString>(items: &[T]) -> Vec<Value> {
    items.iter().map(|item| json!(item.to_string())).collect()
}

fn mode(mode: Mode) -> Option<Value> {
    match mode {
        Mode::Enforce => None,
        Mode::Audit => Some(json!("audit")),
    }
}
