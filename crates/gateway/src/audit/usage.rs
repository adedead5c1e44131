//! What model calls used and cost, summed over the log.

use std::{
    collections::{BTreeMap, HashMap},
    fs::File,
    io::{BufRead, BufReader, Read as _},
};

use chiton_api::http::{SoFar, UsageBy, UsageQuery, UsageReply, UsageRow};
use chiton_audit::{Event, EventId, LlmUse};
use jiff::Timestamp;

use super::{AuditError, AuditLog};

/// Sums up what the log has by now. Blocks.
pub(crate) fn usage(log: &AuditLog, query: &UsageQuery) -> Result<UsageReply, AuditError> {
    let (_, length) = log.end();
    let file = File::open(&log.path).map_err(AuditError::Read)?;
    let mut sums = Sums::default();
    for line in BufReader::new(file.take(length)).split(b'\n') {
        let line = line.map_err(AuditError::Read)?;
        let Ok(line) = std::str::from_utf8(&line) else { continue };
        // Most lines are of something else.
        if !line.contains("\"backend\"") {
            continue;
        }
        if let Ok(linked) = Event::parse(line) {
            sums.take(&linked.event, query);
        }
    }
    Ok(sums.reply())
}

/// The sums, and the calls that have reserved and are not settled.
#[derive(Default)]
struct Sums {
    rows: BTreeMap<String, UsageRow>,
    open: HashMap<EventId, (String, SoFar)>,
}

impl Sums {
    fn take(&mut self, event: &Event, query: &UsageQuery) {
        let Some(llm) = event.llm.as_ref().filter(|llm| llm.backend.is_some()) else { return };
        if query.sandbox.is_some() && query.sandbox != event.sandbox {
            return;
        }
        match (&llm.call, event.action.as_str()) {
            (Some(call), "progress") => return self.progress(call, llm),
            (Some(call), _) => drop(self.open.remove(call)),
            (None, _) => {}
        }
        if query.since.is_some_and(|since| event.time.as_micros() < since.as_microsecond()) {
            return;
        }
        let name = || name(event, llm, query.by);
        match event.action.as_str() {
            "reserve" => {
                let so_far = SoFar {
                    reserved_tokens: tokens(llm),
                    reserved_usd: llm.usd.unwrap_or_default(),
                    ..SoFar::default()
                };
                self.open.insert(event.id, (name(), so_far));
            }
            "response" => self.add(name(), llm),
            // One that never went out is no call.
            "settle" if llm.bound => self.add(name(), llm),
            _ => {}
        }
    }

    /// One that is settled, or began too early to be asked for, is not among those that are open.
    fn progress(&mut self, call: &EventId, llm: &LlmUse) {
        let Some((_, so_far)) = self.open.get_mut(call) else { return };
        so_far.input_tokens = llm.input_tokens.unwrap_or(0);
        so_far.output_tokens = llm.output_tokens.unwrap_or(0);
        so_far.usd = llm.usd.unwrap_or_default();
        so_far.events = llm.events.unwrap_or(0);
    }

    fn add(&mut self, name: String, llm: &LlmUse) {
        let told = llm.input_tokens.is_some() || llm.output_tokens.is_some();
        let row = UsageRow {
            name: String::new(),
            calls: 1,
            input_tokens: llm.input_tokens.unwrap_or(0),
            cached_tokens: llm.cached_tokens.unwrap_or(0),
            output_tokens: llm.output_tokens.unwrap_or(0),
            usd: llm.usd.unwrap_or_default(),
            unpriced: u64::from(told && llm.usd.is_none()),
            at_bound: u64::from(llm.bound),
            ..UsageRow::default()
        };
        sum(self.rows.entry(name).or_default(), &row);
    }

    fn reply(mut self) -> UsageReply {
        for (name, so_far) in self.open.into_values() {
            let row = UsageRow { open: 1, so_far, ..UsageRow::default() };
            sum(self.rows.entry(name).or_default(), &row);
        }
        let mut total = UsageRow::default();
        self.rows.values().for_each(|row| sum(&mut total, row));
        let rows = self.rows.into_iter().map(|(name, row)| UsageRow { name, ..row }).collect();
        UsageReply { rows, total }
    }
}

fn sum(to: &mut UsageRow, row: &UsageRow) {
    for (to, more) in [
        (&mut to.calls, row.calls),
        (&mut to.input_tokens, row.input_tokens),
        (&mut to.cached_tokens, row.cached_tokens),
        (&mut to.output_tokens, row.output_tokens),
        (&mut to.unpriced, row.unpriced),
        (&mut to.at_bound, row.at_bound),
        (&mut to.open, row.open),
        (&mut to.so_far.input_tokens, row.so_far.input_tokens),
        (&mut to.so_far.output_tokens, row.so_far.output_tokens),
        (&mut to.so_far.events, row.so_far.events),
        (&mut to.so_far.reserved_tokens, row.so_far.reserved_tokens),
    ] {
        *to = to.saturating_add(more);
    }
    for (to, more) in [
        (&mut to.usd, row.usd),
        (&mut to.so_far.usd, row.so_far.usd),
        (&mut to.so_far.reserved_usd, row.so_far.reserved_usd),
    ] {
        *to = to.plus(more);
    }
}

fn tokens(llm: &LlmUse) -> u64 {
    [llm.input_tokens, llm.output_tokens].into_iter().flatten().fold(0, u64::saturating_add)
}

fn name(event: &Event, llm: &LlmUse, by: UsageBy) -> String {
    match by {
        UsageBy::Sandbox => event.sandbox.clone().unwrap_or_default(),
        UsageBy::Model => {
            let provider = llm.provider.as_ref().map(ToString::to_string).unwrap_or_default();
            format!("{provider}/{}", llm.model.as_deref().unwrap_or("-"))
        }
        UsageBy::Day => {
            let moment = Timestamp::from_microsecond(event.time.as_micros()).unwrap_or_default();
            moment.to_string().chars().take(10).collect()
        }
    }
}

#[cfg(test)]
mod tests {
    use chiton_audit::{Layer, Usd};

    use super::*;

    fn event(action: &'static str, sandbox: &str, model: &str, tokens: u64) -> Event {
        let mut event = Event::new(Layer::Llm, action);
        event.sandbox = Some(sandbox.to_owned());
        event.llm = Some(LlmUse {
            provider: Some("openai".into()),
            backend: Some("https://api.openai.com/v1".into()),
            model: Some(model.to_owned()),
            input_tokens: Some(tokens),
            output_tokens: Some(1),
            usd: Some(Usd(tokens)),
            ..LlmUse::default()
        });
        event
    }

    #[test]
    fn what_a_running_call_has_used_is_told_until_it_is_settled() {
        let query = UsageQuery { by: UsageBy::Model, sandbox: None, since: None };
        let mut sums = Sums::default();
        let reserve = event("reserve", "a", "m", 1000);
        let progress = |tokens, events| {
            let mut event = event("progress", "a", "m", tokens);
            let llm = event.llm.as_mut().unwrap();
            (llm.call, llm.events) = (Some(reserve.id), Some(events));
            event
        };
        let other = event("reserve", "a", "m", 500);
        [reserve.clone(), progress(20, 1), other, progress(30, 4)]
            .iter()
            .for_each(|event| sums.take(event, &query));
        let told = SoFar {
            input_tokens: 30,
            output_tokens: 1,
            usd: Usd(30),
            events: 4,
            reserved_tokens: 1502,
            reserved_usd: Usd(1500),
        };
        let mut settled = event("response", "a", "m", 40);
        settled.llm.as_mut().unwrap().call = Some(reserve.id);
        let (running, mut after) = (sums.open.clone(), sums);
        let running = Sums { open: running, ..Sums::default() }.reply().total;
        assert_eq!((running.open, running.calls, running.input_tokens), (2, 0, 0));
        assert_eq!(running.so_far, told);
        // What comes after the end is of no call that runs.
        [settled, progress(50, 9)].iter().for_each(|event| after.take(event, &query));
        let total = after.reply().total;
        assert_eq!((total.open, total.calls, total.input_tokens), (1, 1, 40));
        assert_eq!((total.so_far.events, total.so_far.reserved_tokens), (0, 501));
    }

    #[test]
    fn calls_are_summed_and_what_is_not_settled_is_told_apart() {
        let reserve = event("reserve", "a", "m", 1000);
        let mut settled = event("response", "a", "m", 10);
        settled.llm.as_mut().unwrap().call = Some(reserve.id);
        let lost = event("reserve", "a", "m", 1000);
        let mut cut = event("settle", "b", "n", 500);
        let of_cut = cut.llm.as_mut().unwrap();
        (of_cut.bound, of_cut.usd) = (true, None);
        let unsent = event("settle", "b", "n", 0);
        let mut listed = event("response", "b", "n", 7);
        listed.llm.as_mut().unwrap().backend = None;
        let all = [reserve, settled, lost, cut, unsent, listed, event("response", "b", "m", 20)];
        let by = |by, sandbox: Option<&str>| {
            let query = UsageQuery { by, sandbox: sandbox.map(str::to_owned), since: None };
            let mut sums = Sums::default();
            all.iter().for_each(|event| sums.take(event, &query));
            sums.reply()
        };
        let models = by(UsageBy::Model, None);
        let names: Vec<_> = models.rows.iter().map(|row| row.name.as_str()).collect();
        assert_eq!(names, ["openai/m", "openai/n"]);
        let m = &models.rows[0];
        assert_eq!((m.calls, m.input_tokens, m.output_tokens, m.usd, m.open), (2, 30, 2, Usd(30), 1));
        let n = &models.rows[1];
        assert_eq!((n.calls, n.input_tokens, n.at_bound, n.unpriced), (1, 500, 1, 1));
        assert_eq!((models.total.calls, models.total.input_tokens, models.total.open), (3, 530, 1));
        assert_eq!(by(UsageBy::Sandbox, Some("b")).total.calls, 2);
        assert_eq!(by(UsageBy::Day, None).rows.len(), 1);
        assert_eq!(by(UsageBy::Day, None).rows[0].name.len(), 10);
    }
}
