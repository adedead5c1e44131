//! What the language has and this version does not enforce yet: named, and never accepted and ignored.

use std::fmt;

use crate::{
    model::{Fixed, LlmRoute, Policy, WorkspaceMode},
    provider::Provider,
};

/// A field that is not enforced yet.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Unsupported {
    /// Where it stands, from the top of the document.
    pub(crate) place: Vec<String>,
    what: String,
}

impl Unsupported {
    /// The field, as `dynamic.network.http[2].limits`.
    #[must_use]
    pub fn field(&self) -> &str {
        &self.what
    }
}

impl fmt::Display for Unsupported {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "not supported yet: `{}`", self.what)
    }
}

/// Everything in a policy that is not enforced yet. `run` and `apply` refuse a policy that has any.
#[must_use]
pub fn unsupported(policy: &Policy) -> Vec<Unsupported> {
    let mut found = Found::default();
    found.when(!policy.extends.is_empty(), &["extends"], "");
    fixed(&policy.fixed, &mut found);
    for outer in &policy.dynamic.llm {
        for route in outer.with_fallbacks() {
            llm(route, outer.provider, &mut found);
        }
    }
    found.0
}

#[derive(Default)]
struct Found(Vec<Unsupported>);

impl Found {
    fn when(&mut self, used: bool, place: &[&str], detail: &str) {
        if !used {
            return;
        }
        let mut what = String::new();
        for name in place {
            let index = name.bytes().all(|b| b.is_ascii_digit());
            let (before, after) = if index { ("[", "]") } else { (".", "") };
            let before = if what.is_empty() { "" } else { before };
            what.push_str(&format!("{before}{name}{after}"));
        }
        what.push_str(detail);
        self.0.push(Unsupported { place: place.iter().map(|name| (*name).to_owned()).collect(), what });
    }
}

fn fixed(fixed: &Fixed, found: &mut Found) {
    let staged = fixed.filesystem.workspace == WorkspaceMode::Staged;
    found.when(staged, &["static", "filesystem", "workspace"], ": staged");
    let binaries = fixed.process.allowed_binaries.is_some();
    found.when(binaries, &["static", "process", "allowed_binaries"], "");
}

/// `asked`: whose API the agent speaks.
fn llm(route: &LlmRoute, asked: Provider, found: &mut Found) {
    // The name says where it is: `llm_routing[1].fallback[0]`.
    let steps = route.name.as_str().split(['.', '[', ']']).filter(|step| !step.is_empty());
    let mut field = |used, name, detail: &str| {
        let place: Vec<&str> = std::iter::once("dynamic").chain(steps.clone()).chain([name]).collect();
        found.when(used, &place, detail);
    };
    let other = !asked.shares_calls_with(route.provider) && !asked.translates_to(route.provider);
    field(other, "provider", &format!(": {} after `{asked}`, which has other calls", route.provider));
}
