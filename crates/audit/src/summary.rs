//! An event as one line for a person.

use std::fmt::{self, Write};

use crate::{Event, LlmUse, Request, Response};

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
        let _ = write!(text, " {}", self.what());
        if let Some(reason) = &self.reason {
            let _ = write!(text, " ({reason})");
        }
        if let Some(rule) = &self.rule {
            let _ = write!(text, " rule {}", Safe(rule));
        }
        text
    }

    /// What was tried or done, and what came of it, without who judged it and how: `exec /usr/bin/git with 2
    /// arguments`, `response GET https://host:443/path → 200, 512 bytes in 35 ms`. As safe as [`Event::summary`].
    #[must_use]
    pub fn what(&self) -> String {
        let mut text = self.action.to_string();
        // A started program's own file; elsewhere who asked.
        let started = self.action.as_str() == "exec";
        if let Some(binary) = self.binary.as_ref().filter(|_| started) {
            let _ = write!(text, " {}", Safe(binary));
            if self.request.as_ref().is_some_and(|request| request.path.is_some()) {
                text.push_str(" running");
            }
        }
        if let Some(request) = &self.request {
            let _ = write!(text, "{}", Asked(request));
        }
        if let Some(response) = &self.response {
            let _ = write!(text, "{}", Answered(response));
        }
        if let Some(llm) = &self.llm {
            let _ = write!(text, "{}", Used(llm));
        }
        if let Some(binary) = self.binary.as_ref().filter(|_| !started) {
            let _ = write!(text, " by {}", Safe(binary));
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
        arguments
            .map_or(Ok(()), |count| write!(f, " with {count} argument{}", if count == 1 { "" } else { "s" }))
    }
}

struct Answered<'a>(&'a Response);

impl fmt::Display for Answered<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Response { status, sent, bytes, duration_us, first_byte_us: _ } = self.0;
        match (status, sent) {
            (Some(status), _) => write!(f, " → {status}")?,
            (None, Some(sent)) => write!(f, " → {sent} sent")?,
            (None, None) => f.write_str(" → no answer")?,
        }
        if let Some(bytes) = bytes {
            write!(f, ", {bytes} byte{}", if *bytes == 1 { "" } else { "s" })?;
        }
        duration_us.map_or(Ok(()), |micros| write!(f, " in {}.{} ms", micros / 1000, micros % 1000 / 100))
    }
}

struct Used<'a>(&'a LlmUse);

impl fmt::Display for Used<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let LlmUse { model, input_tokens, output_tokens, usd, bound, events, .. } = self.0;
        if let Some(model) = model {
            write!(f, ", model {}", Safe(model))?;
        }
        for (tokens, way) in [(input_tokens, "read"), (output_tokens, "written")] {
            if let Some(tokens) = tokens {
                let most = if *bound { "at most " } else { "" };
                write!(f, ", {most}{tokens} token{} {way}", if *tokens == 1 { "" } else { "s" })?;
            }
        }
        if let Some(usd) = usd {
            write!(f, ", {usd} dollars")?;
        }
        events
            .map_or(Ok(()), |count| write!(f, ", {count} event{} so far", if count == 1 { "" } else { "s" }))
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
