//! A text becomes a policy: YAML with places kept, every error found at once.
//!
//! The YAML is read into a tree of [`yaml::Node`]s, each with its bytes in the text. Reading the tree into the
//! model never stops at an error: it notes it and goes on, so that one run tells everything.

mod credential;
mod filesystem;
mod llm;
mod near;
mod network;
mod process;
mod read;
mod tcp;
mod top;
mod units;
mod yaml;

use std::ops::Range;

pub(crate) use credential::SitedCredential;
pub(crate) use network::SitedRule;
pub(crate) use read::Notes;

use crate::{
    check,
    diagnostics::Diagnostics,
    model::{DeniedPattern, LlmRoute, Policy, PolicyPath, TcpRule},
};

/// A document: valid YAML whose places are known, not yet a policy.
#[derive(Debug)]
pub struct Document<'a> {
    text: &'a str,
    root: yaml::Node,
}

/// Where the parts are that are compared with each other after reading.
#[derive(Debug, Default)]
pub(crate) struct Sites {
    pub(crate) http: Vec<SitedRule>,
    pub(crate) tcp: Vec<(TcpRule, Range<usize>)>,
    pub(crate) llm: Vec<(LlmRoute, Range<usize>)>,
    pub(crate) allowed: Vec<(PolicyPath, Range<usize>)>,
    pub(crate) read_only: Vec<(PolicyPath, Range<usize>)>,
    pub(crate) denied: Vec<(DeniedPattern, Range<usize>)>,
    pub(crate) env: Vec<(crate::model::EnvEntry, Range<usize>)>,
    /// Credentials for what is extended.
    pub(crate) given: Vec<SitedCredential>,
}

impl<'a> Document<'a> {
    /// Reads the YAML of a document.
    ///
    /// # Errors
    /// When it is no YAML, or larger or deeper than any policy.
    pub fn parse(text: &'a str) -> Result<Self, Diagnostics> {
        match yaml::parse(text) {
            Ok(root) => Ok(Self { text, root }),
            Err(error) => {
                let mut notes = Notes::default();
                notes.error(error.span, error.message);
                Err(notes.finish(text))
            }
        }
    }

    /// Where its parts are, as if so many bytes stood before its text.
    pub(crate) fn sites_from(mut self, start: usize) -> Sites {
        self.root.shift(start);
        top::read(&self.root, &mut Notes::default()).1
    }

    /// Reads the policy, and checks it as a whole.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once; warnings are among them.
    pub fn check(&self) -> Result<Policy, Diagnostics> {
        let mut notes = Notes::default();
        let (mut policy, sites) = top::read(&self.root, &mut notes);
        check::secrets(&self.root, &mut notes);
        check::whole(&policy, &self.root, &sites, &mut notes);
        let failed = notes.has_errors();
        let diagnostics = notes.finish(self.text);
        if failed {
            return Err(diagnostics);
        }
        policy.warnings = diagnostics;
        Ok(policy)
    }
}

impl Policy {
    /// Reads and checks a policy.
    ///
    /// # Errors
    /// Everything that is wrong with it, at once, each with its place in the text.
    pub fn parse(text: &str) -> Result<Self, Diagnostics> {
        Document::parse(text)?.check()
    }
}

pub(crate) use units::{show_decimal, show_size};
pub(crate) use yaml::{Node, Value};
