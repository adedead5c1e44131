//! `extends`: what a document inherits.
//!
//! Nothing here reads files: whoever resolves a document (the client) reads each base, and merges them one after the
//! other into one policy, whose text is what is stored and travels. The document's own entries come first in every
//! list, its scalars win, and nothing that a base refuses disappears.

use crate::{
    model::{Dynamic, Fixed, Given, HttpRule, LlmRoute, Policy, Preset, Resources},
    patterns::HostPattern,
};

impl Preset {
    /// The preset's document.
    #[must_use]
    pub const fn text(self) -> &'static str {
        match self {
            Preset::GithubRead => include_str!("../presets/github-read.yaml"),
            Preset::GithubWrite => include_str!("../presets/github-write.yaml"),
            Preset::NpmInstall => include_str!("../presets/npm-install.yaml"),
            Preset::NpmPublish => include_str!("../presets/npm-publish.yaml"),
            Preset::PypiInstall => include_str!("../presets/pypi-install.yaml"),
            Preset::PypiPublish => include_str!("../presets/pypi-publish.yaml"),
            Preset::CratesInstall => include_str!("../presets/crates-install.yaml"),
            Preset::CratesPublish => include_str!("../presets/crates-publish.yaml"),
            Preset::DebianInstall => include_str!("../presets/debian-install.yaml"),
            Preset::DockerPull => include_str!("../presets/docker-pull.yaml"),
            Preset::DockerPush => include_str!("../presets/docker-push.yaml"),
            Preset::HuggingfaceRead => include_str!("../presets/huggingface-read.yaml"),
            Preset::HuggingfaceWrite => include_str!("../presets/huggingface-write.yaml"),
        }
    }

    /// What it opens, in one line.
    #[must_use]
    pub fn summary(self) -> &'static str {
        let first = self.text().lines().next().unwrap_or_default();
        first.trim_start_matches('#').trim_start()
    }
}

impl Policy {
    /// This policy, with what it has inherited from `base`. What this one extends is no longer said.
    #[must_use]
    pub fn inheriting(mut self, base: Policy) -> Policy {
        self.extends = Vec::new();
        self.has_static |= base.has_static;
        // The default is said too, where it is said.
        if !self.written.workspace {
            self.fixed.filesystem.workspace = base.fixed.filesystem.workspace;
        }
        if !self.written.gpu {
            self.fixed.gpu = base.fixed.gpu.clone();
        }
        self.written.workspace |= base.written.workspace;
        self.written.gpu |= base.written.gpu;
        fixed(&mut self.fixed, base.fixed);
        dynamic(&mut self.dynamic, base.dynamic);
        self
    }
}

impl Given {
    /// A base with this credential on its rules; on one that brings its own, that one stays. The hosts that no rule
    /// of it is for come back as an error.
    ///
    /// # Errors
    /// With the first host of `hosts` that the base has no rule for.
    pub fn put_on(&self, mut base: Policy) -> Result<Policy, HostPattern> {
        let missing = |host: &&HostPattern| !base.dynamic.http.iter().any(|rule| is_of(rule, host));
        if let Some(host) = self.hosts.iter().flatten().find(missing) {
            return Err(host.clone());
        }
        base.dynamic.http.iter_mut().for_each(|rule| self.put_on_rule(rule));
        Ok(base)
    }

    pub(crate) fn put_on_rule(&self, rule: &mut HttpRule) {
        let meant = self.hosts.as_ref().is_none_or(|hosts| hosts.iter().any(|host| is_of(rule, host)));
        if meant && rule.credential.is_none() {
            rule.credential = Some(self.credential.clone());
        }
    }
}

/// Whether `hosts` means this rule by this pattern.
fn is_of(rule: &HttpRule, host: &HostPattern) -> bool {
    *host == rule.host || rule.host.literal().is_some_and(|literal| host.matches(literal))
}

fn fixed(own: &mut Fixed, base: Fixed) {
    append(&mut own.filesystem.allowed, base.filesystem.allowed);
    append(&mut own.filesystem.read_only, base.filesystem.read_only);
    append(&mut own.filesystem.denied, base.filesystem.denied);
    append(&mut own.filesystem.unprotected, base.filesystem.unprotected);
    append(&mut own.process.blocked_syscalls, base.process.blocked_syscalls);
    // A list as any other; where there is none, any file is meant, and a base may narrow that.
    match (&mut own.process.allowed_binaries, base.process.allowed_binaries) {
        (Some(own), Some(base)) => append(own, base),
        (Some(_), None) => {}
        (own @ None, base) => *own = base,
    }
    append_new(&mut own.process.env, base.process.env, |one, two| one.name() == two.name());
    let Resources { cpus, memory, pids, disk, wall_time } = base.resources;
    own.resources = Resources {
        cpus: own.resources.cpus.or(cpus),
        memory: own.resources.memory.or(memory),
        pids: own.resources.pids.or(pids),
        disk: own.resources.disk.or(disk),
        wall_time: own.resources.wall_time.or(wall_time),
    };
}

/// The mode is the document's own: nobody is put into `audit` by what he extends.
fn dynamic(own: &mut Dynamic, base: Dynamic) {
    append(&mut own.http, base.http);
    append(&mut own.tcp, base.tcp);
    // A second route that is reached in the same way never is.
    append_new(&mut own.llm, base.llm, LlmRoute::is_same_way);
}

/// What comes by two ways is there once.
fn append<T: PartialEq>(own: &mut Vec<T>, base: Vec<T>) {
    append_new(own, base, T::eq);
}

/// What is there already, as `same` says, does not come again.
pub(crate) fn append_new<T>(own: &mut Vec<T>, base: Vec<T>, same: impl Fn(&T, &T) -> bool) {
    for item in base {
        if !own.iter().any(|one| same(one, &item)) {
            own.push(item);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn merged(own: &str, bases: &[&str]) -> Policy {
        let own = Policy::parse(own).unwrap();
        let merged = bases.iter().fold(own, |own, base| own.inheriting(Policy::parse(base).unwrap()));
        // What is printed says the same, and has places of its own.
        Policy::parse(&merged.to_yaml()).unwrap()
    }

    #[test]
    fn every_preset_is_a_policy_and_opens_nothing_but_network_rules() {
        for preset in Preset::ALL {
            let policy = Policy::parse(preset.text()).unwrap_or_else(|e| panic!("{}: {e}", preset.as_str()));
            let errors = policy.warnings.iter().filter(|d| d.severity != crate::Severity::Note).count();
            assert_eq!(errors, 0, "{}: {}", preset.as_str(), policy.warnings);
            assert!(!policy.has_static && policy.extends.is_empty(), "{}", preset.as_str());
            assert!(crate::unsupported(&policy).is_empty(), "{}", preset.as_str());
            assert!(policy.dynamic.http.iter().all(|rule| rule.named && !rule.private_addresses));
            assert!(!preset.summary().is_empty());
        }
    }

    #[test]
    fn all_presets_together_agree() {
        let all: Vec<_> = Preset::ALL.iter().map(|preset| preset.text()).collect();
        let policy = merged("dynamic: {}", &all);
        assert!(policy.dynamic.http.len() > 30);
    }

    #[test]
    fn own_entries_come_first_and_own_scalars_win() {
        let own = "static: {filesystem: {allowed_paths: [/workspace]}, process: {env: {A: own}}}\n\
                   dynamic: {network: {http: [{host: a.test}]}, llm_routing: {provider: openai}}";
        let base = "static: {filesystem: {allowed_paths: [/tmp, /workspace], denied_paths: ['**/.env']}, process: {env: {A: base, B: base}}}\n\
                    dynamic: {mode: audit, network: {http: [{host: b.test, deny: [{paths: [/x]}]}]}, llm_routing: {provider: anthropic}}";
        let policy = merged(own, &[base, base]);
        let hosts: Vec<_> = policy.dynamic.http.iter().map(|rule| rule.host.to_string()).collect();
        assert_eq!(hosts, ["a.test", "b.test"]);
        assert_eq!(policy.dynamic.http[1].deny.len(), 1, "a deny never disappears");
        assert_eq!(policy.dynamic.mode, crate::Mode::Enforce);
        let providers: Vec<_> = policy.dynamic.llm.iter().map(|route| route.provider).collect();
        assert_eq!(providers, [crate::Provider::OpenAi, crate::Provider::Anthropic]);
        assert_eq!((policy.fixed.filesystem.allowed.len(), policy.fixed.filesystem.denied.len()), (2, 1));
        assert_eq!(policy.fixed.process.env.len(), 2);
    }

    #[test]
    fn an_own_default_wins_too() {
        let base = "static: {filesystem: {workspace: staged}, gpu: all}";
        let own = "static: {filesystem: {workspace: live}, gpu: none}";
        let policy = merged(own, &[base]);
        assert_eq!(policy, Policy::parse(own).unwrap());
        assert_eq!(merged("static: {filesystem: {workspace: }}", &[base, own]), Policy::parse(base).unwrap());
    }

    #[test]
    fn an_own_route_takes_the_place_of_a_base_s_of_the_same_provider() {
        let own = "dynamic: {llm_routing: {provider: openai, inject_backend_credential: 'local://own'}}";
        let base = "dynamic: {llm_routing: [{provider: anthropic}, {provider: openai}]}";
        let routes = merged(own, &[base]).dynamic.llm;
        let told = routes
            .iter()
            .map(|route| (route.provider, route.inject_backend_credential.is_some()))
            .collect::<Vec<_>>();
        assert_eq!(told, [(crate::Provider::OpenAi, true), (crate::Provider::Anthropic, false)]);
    }

    #[test]
    fn a_credential_is_put_on_what_a_base_brings() {
        let given = |more: &str| {
            let text = format!(
                "extends: [{{use: github-write, credential: {{secret: 'local://gh', basic: {{user: x}}}}{more}}}]"
            );
            Policy::parse(&text).unwrap().extends.remove(0).given.unwrap()
        };
        let base = || Policy::parse(Preset::GithubWrite.text()).unwrap();
        let with = |policy: Policy| {
            let rules = policy.dynamic.http.into_iter();
            rules
                .filter(|rule| rule.credential.is_some())
                .map(|rule| rule.host.to_string())
                .collect::<Vec<_>>()
        };
        let all = base().dynamic.http.len();
        assert_eq!(with(given("").put_on(base()).unwrap()).len(), all);
        assert_eq!(with(given(", hosts: [github.com]").put_on(base()).unwrap()), ["github.com"; 2]);
        assert_eq!(
            given(", hosts: [github.com, gihub.com]").put_on(base()).unwrap_err().to_string(),
            "gihub.com"
        );
        // One of its own stays.
        let own = Policy::parse(
            "dynamic: {network: {http: [{host: a.test, credential: 'local://own'}, {host: b.test}]}}",
        );
        let policy = given("").put_on(own.unwrap()).unwrap();
        let secrets: Vec<_> = crate::secret_refs(&policy).iter().map(ToString::to_string).collect();
        assert_eq!(secrets, ["local://own", "local://gh"]);
    }

    #[test]
    fn nothing_inherited_changes_nothing() {
        let text = "static: {filesystem: {allowed_paths: [/workspace]}}\ndynamic: {network: {http: [{host: a.test}]}}";
        let policy = Policy::parse(text).unwrap();
        assert_eq!(policy.clone().inheriting(Policy::deny_all()), policy);
    }
}
