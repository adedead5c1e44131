//! Rules found by host, and among many rules of one host by the first segment of the path.

use std::{collections::HashMap, net::IpAddr};

use crate::{model::HttpRule, names::Host, patterns::HostShape};

/// Rules by host. A wildcard is found by what follows its leftmost label.
#[derive(Debug, Default)]
pub(super) struct HostIndex {
    names: HashMap<Box<str>, Bucket>,
    wildcards: HashMap<Box<str>, Bucket>,
    addresses: HashMap<IpAddr, Bucket>,
}

/// The rules of one host or one wildcard's domain.
#[derive(Debug, Default)]
struct Bucket {
    all: Vec<u32>,
    /// Those that a path alone does not rule out: any path, a wild first segment, or a deny.
    always: Vec<u32>,
    /// The others, by the literal first segments of their paths.
    by_segment: HashMap<Box<str>, Vec<u32>>,
}

impl Bucket {
    fn add(&mut self, rule: &HttpRule, index: u32) {
        self.all.push(index);
        let paths = rule.paths.as_ref().filter(|_| rule.deny.is_empty());
        let segments: Option<Vec<&str>> =
            paths.and_then(|paths| paths.iter().map(crate::PathPattern::first_literal).collect());
        let Some(mut segments) = segments else {
            self.always.push(index);
            return;
        };
        segments.sort_unstable();
        segments.dedup();
        for segment in segments {
            self.by_segment.entry(segment.into()).or_default().push(index);
        }
    }

    fn for_segment(&self, segment: &str) -> impl Iterator<Item = u32> {
        self.always.iter().chain(self.by_segment.get(segment).into_iter().flatten()).copied()
    }
}

impl HostIndex {
    pub(super) fn add(&mut self, rule: &HttpRule, index: u32) {
        let bucket = match rule.host.shape() {
            HostShape::Literal(Host::Ip(address)) => self.addresses.entry(*address).or_default(),
            HostShape::Literal(Host::Name(name)) => self.names.entry(name.as_str().into()).or_default(),
            HostShape::OneLabel { rest }
            | HostShape::AnyLabels { rest }
            | HostShape::InLabel { rest, .. } => self.wildcards.entry((&**rest).into()).or_default(),
        };
        bucket.add(rule, index);
    }

    /// Rules that may match this host.
    pub(super) fn candidates<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = u32> + 'a {
        self.buckets(host).flat_map(|bucket| bucket.all.iter().copied())
    }

    /// Rules that may match this host and a canonical path.
    pub(super) fn candidates_for<'a>(
        &'a self,
        host: &'a Host,
        path: &'a str,
    ) -> impl Iterator<Item = u32> + 'a {
        let segment = path.split('/').nth(1).unwrap_or_default();
        self.buckets(host).flat_map(|bucket| bucket.for_segment(segment))
    }

    /// The rules for the very host, and the wildcards over each of its parents.
    fn buckets<'a>(&'a self, host: &'a Host) -> impl Iterator<Item = &'a Bucket> + 'a {
        let (exact, name) = match host {
            Host::Ip(address) => (self.addresses.get(address), ""),
            Host::Name(name) => (self.names.get(name.as_str()), name.as_str()),
        };
        let name = if self.wildcards.is_empty() { "" } else { name };
        let parents = name.match_indices('.').filter_map(|(at, _)| self.wildcards.get(name.get(at + 1..)?));
        exact.into_iter().chain(parents)
    }
}
