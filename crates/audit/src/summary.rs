//! An event as one line for a person.

use std::fmt::{self, Write};

use crate::{Event, Request};

impl Event {
    /// One line that is safe on a terminal: control and direction-changing characters are shown, not sent.
    #[must_use]
    pub fn summary(&self) -> String {
        let mut text = format!("{} {}", self.time, self.layer.as_str());
        if let Some(sandbox) = &self.sandbox {
            let _ = write!(text, " {}", Safe(sandbox));
        }
        if let Some(decision) = self.decision {
            let _ = write!(text, " {}", decision.as_str());
        }
        let _ = write!(text, " {}", self.action);
        if let Some(request) = &self.request {
            let _ = write!(text, "{}", Asked(request));
        }
        let figures = [
            self.response.and_then(|response| response.status).map(|status| format!("→ {status}")),
            self.reason.as_ref().map(|reason| format!("({reason})")),
            self.rule.as_ref().map(|rule| format!("rule {}", Safe(rule))),
            self.binary.as_ref().map(|binary| format!("by {}", Safe(binary))),
            self.llm
                .as_ref()
                .and_then(|llm| llm.model.as_ref())
                .map(|model| format!("model {}", Safe(model))),
        ];
        for figure in figures.into_iter().flatten() {
            let _ = write!(text, " {figure}");
        }
        text
    }
}

struct Asked<'a>(&'a Request);

impl fmt::Display for Asked<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Request { method, scheme, host, port, path, arguments, .. } = self.0;
        if let Some(method) = method {
            write!(f, " {}", Safe(method))?;
        }
        if let Some(host) = host {
            f.write_char(' ')?;
            if let Some(scheme) = scheme {
                write!(f, "{scheme}://")?;
            }
            write!(f, "{}", Safe(host))?;
            if let Some(port) = port {
                write!(f, ":{port}")?;
            }
        } else if path.is_some() {
            f.write_char(' ')?;
        }
        if let Some(path) = path {
            write!(f, "{}", Safe(path))?;
        }
        if !self.0.query.is_empty() {
            let names: Vec<String> =
                self.0.query.as_slice().iter().map(|name| format!("{}=…", Safe(name))).collect();
            write!(f, "?{}", names.join("&"))?;
        }
        arguments.map_or(Ok(()), |count| write!(f, " with {count} arguments"))
    }
}

/// A text from the agent, made harmless for a terminal.
struct Safe<'a>(&'a str);

impl fmt::Display for Safe<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for c in self.0.chars() {
            let hidden = matches!(c, '\u{ad}' | '\u{61c}' | '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{206f}' | '\u{feff}' | '\u{e0000}'..='\u{e007f}');
            if c.is_control() || hidden {
                write!(f, "{}", c.escape_default())?;
            } else {
                f.write_char(c)?;
            }
        }
        Ok(())
    }
}
