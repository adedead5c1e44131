//! Bringing an image before a sandbox is made of it.

use std::{
    collections::BTreeMap,
    io::{BufRead as _, BufReader, IsTerminal as _, Write as _, stderr},
};

use chiton_api::{
    http::{PullLine, PullRequest, PullStep},
    name::DriverName,
};

use crate::{client::Client, error::CliError, output::note, text::Safe};

/// Has the engine bring an image where it is not on this machine. On a terminal a line shows how far it is.
pub(crate) fn pull(client: &Client, driver: DriverName, image: &str) -> Result<(), CliError> {
    let request = PullRequest { image: image.to_owned() };
    let answer = client.lines(&format!("/v1/drivers/{driver}/pull"), &request)?;
    let mut shown = Shown::default();
    for line in BufReader::new(answer).lines() {
        let line = serde_json::from_str(&line?)
            .map_err(|error| CliError::new(format!("the gateway's answer cannot be read: {error}")))?;
        match line {
            PullLine::Step(step) => shown.step(image, step),
            PullLine::Done => return shown.end(image),
            PullLine::Failed(why) => {
                shown.clear();
                return Err(CliError::new(why));
            }
        }
    }
    Err(CliError::new(format!("the gateway ended before `{image}` was here")).hint("chiton gateway status"))
}

/// What has been said so far.
#[derive(Default)]
struct Shown {
    /// Bytes of each part: so far, and in all.
    parts: BTreeMap<String, (u64, u64)>,
    began: bool,
}

impl Shown {
    fn step(&mut self, image: &str, step: PullStep) {
        if !self.began {
            self.began = true;
            note(format!("pulling {image}"));
        }
        let PullStep { layer: Some(layer), done: Some(done), total: Some(total), .. } = step else { return };
        self.parts.insert(layer, (done, total));
        if stderr().is_terminal() {
            let sum = |of: fn(&(u64, u64)) -> u64| self.parts.values().map(of).sum::<u64>() >> 20;
            let (done, total) = (sum(|part| part.0), sum(|part| part.1));
            say(&format!("\r\u{1b}[2K{} parts, {done} of {total} MiB", self.parts.len()));
        }
    }

    fn end(&self, image: &str) -> Result<(), CliError> {
        self.clear();
        if self.began {
            note(format!("{} is here", Safe::line(image)));
        }
        Ok(())
    }

    fn clear(&self) {
        if stderr().is_terminal() && !self.parts.is_empty() {
            say("\r\u{1b}[2K");
        }
    }
}

fn say(text: &str) {
    let mut stderr = stderr().lock();
    // A terminal that went away needs no line.
    let _ = stderr.write_all(text.as_bytes()).and_then(|()| stderr.flush());
}
