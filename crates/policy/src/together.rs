//! A document and what it extends, compared with each other: each fault is told at its place in the text where it
//! stands. Merged, they are one text that nobody wrote.
//!
//! In: texts that are policies by themselves, the document's own first, then those that it extends in their order,
//! each followed by what that one extends. Out: what is wrong between them. The laws are those of `extend`.

use crate::{
    Document,
    check::between,
    diagnostics::{Diagnostic, Diagnostics, Severity},
    document::{Notes, Sites},
    extend::append_new,
    model::{Given, HttpRule, TcpRule},
    names::RuleName,
};

/// One of the texts.
#[derive(Clone, Debug)]
pub struct Part {
    /// What it is called.
    pub name: String,
    /// What it says.
    pub text: String,
    /// What is put on its rules: by who extends it, then by who extends that one.
    pub given: Vec<Given>,
}

/// What is wrong between the texts; with each that has faults, by its number, where they are.
#[must_use]
pub fn faults_between(parts: &[Part]) -> Vec<(usize, Diagnostics)> {
    // As if the texts stood one after the other in one.
    let (mut all, mut written, mut starts, mut end) = (Sites::default(), Written::default(), Vec::new(), 0);
    for (number, part) in parts.iter().enumerate() {
        let Some(mut sites) = sites(part, end) else { continue };
        for site in &mut sites.http {
            part.given.iter().for_each(|given| given.put_on_rule(&mut site.rule));
        }
        starts.push((end, number));
        end += part.text.len() + 1;
        join(&mut all, &mut written, sites, (number > 0).then_some(part.name.as_str()));
    }
    let mut notes = Notes::default();
    between(&all, &mut notes);
    let mut found: Vec<(usize, usize, Vec<Diagnostic>)> =
        starts.iter().map(|(start, number)| (*start, *number, Vec::new())).collect();
    for mut item in notes.into_items().into_iter().filter(|item| item.severity == Severity::Error) {
        let at = starts.partition_point(|(start, _)| *start <= item.span.start);
        let Some((start, _, items)) = at.checked_sub(1).and_then(|at| found.get_mut(at)) else { continue };
        item.span = item.span.start - *start..item.span.end.saturating_sub(*start);
        items.push(item);
    }
    let with_text = |(_, number, items): (usize, usize, Vec<Diagnostic>)| {
        let text = parts.get(number).map_or("", |part| part.text.as_str());
        (number, Diagnostics::new(text, items, Vec::new()))
    };
    found.into_iter().filter(|(_, _, items)| !items.is_empty()).map(with_text).collect()
}

fn sites(part: &Part, start: usize) -> Option<Sites> {
    Some(Document::parse(&part.text).ok()?.sites_from(start))
}

/// The rules that are there, as they were written.
#[derive(Default)]
struct Written {
    http: Vec<HttpRule>,
    tcp: Vec<TcpRule>,
}

/// Adds what another text brings. Rules without a name get its name too: each text counts its own.
fn join(all: &mut Sites, written: &mut Written, more: Sites, of: Option<&str>) {
    let named = |name: &RuleName| match of {
        Some(of) => RuleName::new(&format!("{name} of {of}")),
        None => name.clone(),
    };
    for mut site in more.http {
        if !written.http.contains(&site.rule) {
            written.http.push(site.rule.clone());
            if !site.rule.named {
                site.rule.name = named(&site.rule.name);
            }
            all.http.push(site);
        }
    }
    for (mut rule, span) in more.tcp {
        if !written.tcp.contains(&rule) {
            written.tcp.push(rule.clone());
            rule.name = named(&rule.name);
            all.tcp.push((rule, span));
        }
    }
    append_new(&mut all.llm, more.llm, |(one, _), (two, _)| one.is_same_way(two));
    append_new(&mut all.allowed, more.allowed, |(one, _), (two, _)| one == two);
    append_new(&mut all.read_only, more.read_only, |(one, _), (two, _)| one == two);
    append_new(&mut all.denied, more.denied, |(one, _), (two, _)| one == two);
    append_new(&mut all.env, more.env, |(one, _), (two, _)| one.name() == two.name());
    all.given.extend(more.given);
}
