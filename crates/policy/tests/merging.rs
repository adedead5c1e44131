//! The laws of `extends`: own before base, bases in their order, nothing changes nothing, grouping does not matter, and
//! no denial is ever lost; and what is wrong between documents is found exactly when the one text of all is wrong.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chiton_policy::{Intent, Part, Policy, compile, decide, faults_between, model::HttpRule};
use proptest::{prelude::*, sample::subsequence};

const RULES: [&str; 7] = [
    "{host: a.test}",
    "{host: a.test, methods: [POST], paths: [/x]}",
    "{host: a.test, deny: [{paths: [/no/**]}]}",
    "{name: b, host: b.test, websocket: true}",
    "{name: b, host: b.test}",
    "{host: '*.test', methods: ['*'], deny: [{methods: [DELETE]}]}",
    "{host: c.test, binaries: [/data/tool]}",
];
const TCP: [&str; 3] = [
    "{host: d.test, ports: [443]}",
    "{host: a.test, ports: [443]}",
    "{host: d.test, ports: [443], private_addresses: true}",
];
const ROUTES: [&str; 4] = [
    "{provider: openai}",
    "{provider: openai, inject_backend_credential: 'local://own'}",
    "{provider: anthropic}",
    "{provider: google}",
];

fn some(of: &'static [&'static str]) -> impl Strategy<Value = String> {
    subsequence(of, 0..=of.len()).prop_map(|items| format!("[{}]", items.join(", ")))
}

fn scalar(field: &'static str, of: &'static [&'static str]) -> impl Strategy<Value = Option<String>> {
    prop::option::of(prop::sample::select(of))
        .prop_map(move |value| value.map(|value| format!("{field}: {value}")))
}

fn map(fields: Vec<Option<String>>) -> String {
    format!("{{{}}}", fields.into_iter().flatten().collect::<Vec<_>>().join(", "))
}

fn fixed() -> impl Strategy<Value = String> {
    let filesystem = (
        some(&["/workspace", "/tmp", "/data"]),
        some(&["'**/.env'", "/workspace/x"]),
        scalar("workspace", &["live", "staged"]),
    );
    let filesystem = filesystem.prop_map(|(allowed, denied, workspace)| {
        map(vec![
            Some(format!("allowed_paths: {allowed}")),
            Some(format!("denied_paths: {denied}")),
            workspace,
        ])
    });
    let env = some(&["A: one", "B: two", "C: "]).prop_map(|env| env.replace('[', "{").replace(']', "}"));
    let process = (
        some(&["ptrace", "mount"]),
        scalar("allowed_binaries", &["[]", "[/usr/bin/git]", "['/usr/**', /usr/bin/git]"]),
        env,
    );
    let process = process.prop_map(|(blocked, binaries, env)| {
        map(vec![Some(format!("blocked_syscalls: {blocked}")), binaries, Some(format!("env: {env}"))])
    });
    let resources = (scalar("pids", &["10", "20"]), scalar("memory", &["1GiB", "2GiB"]));
    let resources = resources.prop_map(|(pids, memory)| map(vec![pids, memory]));
    (filesystem, process, resources, scalar("gpu", &["none", "all", "2"])).prop_map(
        |(filesystem, process, resources, gpu)| {
            map(vec![
                Some(format!("filesystem: {filesystem}")),
                Some(format!("process: {process}")),
                Some(format!("resources: {resources}")),
                gpu,
            ])
        },
    )
}

fn dynamic() -> impl Strategy<Value = String> {
    (some(&RULES), some(&TCP), some(&ROUTES), scalar("mode", &["enforce", "audit"])).prop_map(
        |(http, tcp, routes, mode)| {
            map(vec![
                Some(format!("network: {{http: {http}, tcp: {tcp}}}")),
                Some(format!("llm_routing: {routes}")),
                mode,
            ])
        },
    )
}

/// Texts of which each is a policy by itself.
fn document() -> impl Strategy<Value = String> {
    let halves = (prop::option::of(fixed()), prop::option::of(dynamic()));
    let text = halves.prop_map(|(fixed, dynamic)| {
        let half = |name, text: Option<String>| text.map(|text| format!("{name}: {text}"));
        map(vec![half("static", fixed), half("dynamic", dynamic)])
    });
    text.prop_filter("not a policy", |text| Policy::parse(text).is_ok())
}

fn policy() -> impl Strategy<Value = Policy> {
    document().prop_map(|text| Policy::parse(&text).unwrap())
}

/// A policy and which scalars it writes, which equality does not ask.
fn whole(policy: &Policy) -> (&Policy, chiton_policy::model::Written) {
    (policy, policy.written)
}

fn denials(rules: &[HttpRule]) -> usize {
    rules.iter().map(|rule| rule.deny.len()).sum()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(400))]

    #[test]
    fn nothing_inherited_changes_nothing(own in policy()) {
        for nothing in ["{}", "dynamic: {network: {http: []}}", "dynamic: {llm_routing: []}"] {
            let merged = own.clone().inheriting(Policy::parse(nothing).unwrap());
            prop_assert_eq!(whole(&merged), whole(&own));
        }
    }

    #[test]
    fn who_says_nothing_has_what_he_extends(base in policy()) {
        let mut merged = Policy::parse("{}").unwrap().inheriting(base.clone());
        // Nobody is put into `audit` by what he extends.
        prop_assert_eq!(merged.dynamic.mode, chiton_policy::Mode::Enforce);
        merged.dynamic.mode = base.dynamic.mode;
        merged.dynamic.llm.clone_from(&base.dynamic.llm);
        prop_assert_eq!(whole(&merged), whole(&base));
    }

    #[test]
    fn how_bases_are_grouped_does_not_matter(own in policy(), one in policy(), two in policy()) {
        let flat = own.clone().inheriting(one.clone()).inheriting(two.clone());
        let nested = own.inheriting(one.inheriting(two));
        prop_assert_eq!(whole(&flat), whole(&nested));
    }

    #[test]
    fn a_base_that_comes_twice_comes_once(own in policy(), one in policy(), two in policy()) {
        let once = own.inheriting(one.clone()).inheriting(two);
        let twice = once.clone().inheriting(one);
        prop_assert_eq!(whole(&twice), whole(&once));
    }

    #[test]
    fn own_entries_come_first_and_own_scalars_win(own in policy(), one in policy(), two in policy()) {
        let merged = own.clone().inheriting(one.clone()).inheriting(two.clone());
        let all = [&own, &one, &two];
        prop_assert!(merged.dynamic.http.starts_with(&own.dynamic.http));
        prop_assert!(merged.dynamic.tcp.starts_with(&own.dynamic.tcp));
        prop_assert!(merged.dynamic.llm.starts_with(&own.dynamic.llm));
        prop_assert!(merged.fixed.filesystem.allowed.starts_with(&own.fixed.filesystem.allowed));
        prop_assert!(merged.fixed.process.env.starts_with(&own.fixed.process.env));
        let place = |rule| merged.dynamic.http.iter().position(|one| one == rule).unwrap();
        let first_of_two = two.dynamic.http.iter().filter(|rule| ![&own, &one].iter().any(|p| p.dynamic.http.contains(rule)));
        if let (Some(first), Some(last)) = (first_of_two.map(place).min(), one.dynamic.http.iter().map(place).max()) {
            prop_assert!(last < first, "bases in their order");
        }
        prop_assert_eq!(merged.dynamic.mode, own.dynamic.mode);
        let workspace = all.iter().find(|policy| policy.written.workspace).map(|policy| policy.fixed.filesystem.workspace);
        prop_assert_eq!(merged.fixed.filesystem.workspace, workspace.unwrap_or_default());
        let gpu = all.iter().find(|policy| policy.written.gpu).map(|policy| policy.fixed.gpu.clone());
        prop_assert_eq!(&merged.fixed.gpu, &gpu.unwrap_or_default());
        prop_assert_eq!(merged.fixed.resources.pids, all.iter().find_map(|policy| policy.fixed.resources.pids));
        let binaries = all.iter().filter_map(|policy| policy.fixed.process.allowed_binaries.as_ref());
        let named = binaries.clone().flatten().all(|glob| merged.fixed.process.allowed_binaries.as_ref().unwrap().contains(glob));
        prop_assert!(named && merged.fixed.process.allowed_binaries.is_some() == (binaries.count() > 0));
        for policy in all {
            prop_assert!(policy.dynamic.llm.iter().all(|route| merged.dynamic.llm.iter().any(|one| one.provider == route.provider)));
            prop_assert!(policy.fixed.process.env.iter().all(|entry| merged.fixed.process.env.iter().any(|one| one.name() == entry.name())));
        }
    }

    #[test]
    fn no_denial_is_lost(own in policy(), base in policy()) {
        // In `audit` they are only told.
        let enforcing = |mut policy: Policy| {
            policy.dynamic.mode = chiton_policy::Mode::Enforce;
            policy
        };
        let (own, base) = (enforcing(own), enforcing(base));
        let merged = own.clone().inheriting(base.clone());
        let compiled = compile(&merged);
        for policy in [&own, &base] {
            let (less, more) = (&policy.fixed, &merged.fixed);
            prop_assert!(less.filesystem.denied.iter().all(|path| more.filesystem.denied.contains(path)));
            prop_assert!(less.process.blocked_syscalls.iter().all(|call| more.process.blocked_syscalls.contains(call)));
            prop_assert!(denials(&policy.dynamic.http) <= denials(&merged.dynamic.http));
            let alone = compile(policy);
            for request in ["GET https://a.test/no/x", "GET https://a.test/", "DELETE https://c.test/x", "POST https://a.test/x", "DELETE https://a.test/no"] {
                let refused = |policy| {
                    let intent = Intent::from_request_line(request).unwrap();
                    decide(policy, &intent).into_permit().err().map(|denial| denial.reason().as_str())
                };
                if refused(&alone) == Some("denied_by_rule") {
                    prop_assert_eq!(refused(&compiled), Some("denied_by_rule"), "{}", request);
                }
            }
        }
    }

    #[test]
    fn faults_are_found_exactly_when_the_one_text_is_wrong(texts in prop::collection::vec(document(), 1..4)) {
        let policies = texts.iter().map(|text| Policy::parse(text).unwrap());
        let merged = policies.reduce(Policy::inheriting).unwrap();
        let named = |(n, text): (usize, &String)| Part { name: format!("{n}.yaml"), text: text.clone(), given: Vec::new() };
        let parts: Vec<Part> = texts.iter().enumerate().map(named).collect();
        let faults = faults_between(&parts);
        let flat = Policy::parse(&merged.to_yaml());
        prop_assert_eq!(faults.is_empty(), flat.is_ok(), "{:?} {:?} {:?}", texts, faults, flat);
        for (part, found) in faults {
            // Each is at a rule of the text that it is said of.
            let lines = texts[part].lines().count();
            prop_assert!(found.iter().all(|item| item.line <= lines && item.column > 1), "{:?}", found);
        }
    }
}

#[test]
fn a_fault_is_told_where_it_stands() {
    let part = |name: &str, text: &str| Part { name: name.into(), text: text.into(), given: Vec::new() };
    let parts = [
        part("own.yaml", "# own\ndynamic:\n  network:\n    http:\n      - {host: a.test, websocket: true}\n"),
        part(
            "team.yaml",
            "# team\n\ndynamic:\n  network:\n    http:\n      - {host: b.test}\n      - {host: a.test}\n",
        ),
    ];
    let faults = faults_between(&parts);
    let told: Vec<_> = faults
        .iter()
        .flat_map(|(part, found)| found.iter().map(move |item| (*part, item.line, item.message.clone())))
        .collect();
    let message = "`http[0]` and `http[1] of team.yaml` match the same requests and differ in `websocket`: their order would decide";
    assert_eq!(told, [(1, 7, message.to_owned())]);
    let rendered = faults[0].1.render("team.yaml", false);
    assert!(rendered.contains("team.yaml:7:") && rendered.contains("{host: a.test}"), "{rendered}");
    // A credential that is put on a base's rules counts.
    let own = "dynamic: {network: {http: [{host: a.test, credential: 'local://x'}]}}";
    let base = "dynamic: {network: {http: [{host: a.test}]}}";
    assert_eq!(faults_between(&[part("own", own), part("base", base)]).len(), 1);
    let given = Policy::parse("extends: [{use: github-read, credential: 'local://x'}]").unwrap();
    let given = given.extends.into_iter().filter_map(|extend| extend.given).collect();
    assert!(faults_between(&[part("own", own), Part { given, ..part("base", base) }]).is_empty());
}
