//! What people see: errors with their places, explanations, differences, refusals.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

use chiton_policy::{Intent, Policy, compile, decide, explain, secret_refs, unsupported};
use insta::assert_snapshot;

/// Every field of the language, once.
const EVERYTHING: &str = include_str!("everything.yaml");

const REFERENCE: &str = include_str!("reference.yaml");

fn errors(text: &str) -> String {
    Policy::parse(text).unwrap_err().render("chiton.yaml", false)
}

#[test]
fn every_error_at_once() {
    assert_snapshot!(errors(
        "statik: {}\n\
         static:\n\
         \x20 filesystem:\n\
         \x20   allowed_path: [/workspace]\n\
         \x20   read_only_paths: [opt, /proc/self]\n\
         \x20   denied_paths: [.env]\n\
         \x20 process:\n\
         \x20   blocked_syscalls: [ptrase]\n\
         dynamic:\n\
         \x20 mode: enfoce\n\
         \x20 network:\n\
         \x20   http:\n\
         \x20     - host: 'api.*.com'\n\
         \x20       ports: [0]\n\
         \x20       methods: [get]\n\
         \x20       paths: [repos]\n\
         \x20     - hots: h.test\n\
         \x20 llm_routing:\n\
         \x20   provider: opneai\n"
    ));
}

#[test]
fn a_secret_is_never_shown() {
    let shown = errors(
        "static: {process: {env: {KEY: ghp_0123456789abcdefghij}}}\n\
         dynamic:\n\
         \x20 llm_routing:\n\
         \x20   provider: openai\n\
         \x20   inject_backend_credential: sk-live-0123456789abcdef # sk-live-0123456789abcdef\n",
    );
    assert!(!shown.contains("0123"), "{shown}");
    assert_snapshot!(shown);
}

#[test]
fn rules_whose_order_would_decide() {
    assert_snapshot!(errors(
        "dynamic:\n\
         \x20 network:\n\
         \x20   http:\n\
         \x20     - host: api.example.com\n\
         \x20       private_addresses: true\n\
         \x20     - host: '*.example.com'\n"
    ));
}

#[test]
fn warnings_of_the_reference_policy() {
    let policy = Policy::parse(REFERENCE).unwrap();
    assert_snapshot!(policy.warnings.render("chiton.yaml", false));
    let unsupported: Vec<String> = unsupported(&policy).iter().map(ToString::to_string).collect();
    assert!(unsupported.is_empty(), "{unsupported:?}");
    assert_eq!(
        secret_refs(&policy).iter().map(ToString::to_string).collect::<Vec<_>>(),
        ["vault://llm/openai"]
    );
}

#[test]
fn a_credential_that_says_too_much_or_too_little() {
    assert_snapshot!(errors(
        "static: {process: {env: {A_TOKEN: x, B_TOKEN: }}}\n\
         dynamic:\n\
         \x20 network:\n\
         \x20   http:\n\
         \x20     - {host: a.test, credential: {header: x-key}}\n\
         \x20     - {host: b.test, credential: {secret: 'local://b', header: x-key, basic: {user: me}}}\n\
         \x20     - {host: c.test, credential: {secret: 'local://c', query: key, format: 'Key {}'}}\n\
         \x20     - {host: d.test, credential: {secret: 'local://d', basic: {}}}\n\
         \x20     - {host: e.test, credential: {secret: 'local://e', basic: {user: 'a:b'}}}\n\
         \x20     - {host: f.test, credential: {secret: 'local://f', query: 'a b'}}\n\
         \x20     - {host: g.test, credential: {secret: 'local://g', cookie: 'a;b'}}\n\
         \x20     - {host: h.test, credential: {secret: 'local://h', header: Connection}}\n\
         \x20     - {host: i.test, credential: {secret: 'local://i', env: A_TOKEN}}\n\
         \x20     - {host: j.test, credential: {secret: 'local://j', env: B_TOKEN}}\n\
         \x20     - {host: k.test, credential: {secret: 'local://k', env: PATH}}\n\
         \x20     - {host: l.test, credential: {secret: 'local://l', env: SSL_CERT_FILE}}\n\
         \x20     - {host: m.test, credential: {secret: 'local://m', cookies: sid}}\n\
         \x20     - {host: n.test, credential: {secret: 'local://n', basic: {user: ghp_0123456789abcdefghij}}}\n\
         \x20     - {host: o.test, credential: local:/o}\n\
         \x20     - {host: p.test, tls: passthrough, credential: 'local://p'}\n"
    ));
}

#[test]
fn credentials_that_differ_in_their_place() {
    let rules = |one: &str, two: &str| {
        format!("dynamic: {{network: {{http: [{{host: a.test, credential: {one}}}, {{host: '*.test', credential: {two}}}]}}}}")
            .replace("*.test", "a.test")
    };
    for (one, two) in [
        ("'local://a'", "'local://b'"),
        ("'local://a'", "{secret: 'local://a', header: x-key}"),
        ("{secret: 'local://a', basic: {user: a}}", "{secret: 'local://a', basic: {user: b}}"),
        ("{secret: 'local://a', query: a}", "{secret: 'local://a', cookie: a}"),
        ("{secret: 'local://a', query: a}", "{secret: 'local://a', query: b}"),
        ("'local://a'", "null"),
    ] {
        let errors = errors(&rules(one, two));
        assert!(errors.contains("differ in `credential`"), "{errors}");
    }
    // The placeholder is nothing of a request's.
    assert!(Policy::parse(&rules("{secret: 'local://a', env: A}", "'local://a'")).is_ok());
}

#[test]
fn a_credential_in_the_clear_is_warned_of_and_an_added_one_explained() {
    let text = "dynamic: {network: {http: [{host: a.test, scheme: http, credential: 'local://a'},\n\
                {host: b.test, credential: {secret: 'local://b', basic: {user: git}}}]}}";
    let policy = Policy::parse(text).unwrap();
    let warnings = policy.warnings.render("chiton.yaml", false);
    assert!(warnings.contains("goes over the network in the clear"), "{warnings}");
    let intent = Intent::from_request_line("GET https://b.test/x").unwrap();
    assert_snapshot!(explain(&compile(&policy), &intent).to_string());
}

#[test]
fn a_program_with_many_names_is_warned_of() {
    let warned = |binary: &str| {
        let text = format!("dynamic: {{network: {{http: [{{host: a.test, binaries: ['{binary}']}}]}}}}");
        let warnings = Policy::parse(&text).unwrap().warnings.render("chiton.yaml", false);
        warnings.contains("is one program with many names")
    };
    assert!(warned("/bin/busybox") && warned("/usr/bin/toybox /opt/tool.sh"));
    assert!(!warned("/usr/bin/curl") && !warned("/usr/bin/python3 /opt/busybox"));
}

#[test]
fn the_sandboxs_own_variables_are_not_the_policys() {
    for text in ["{CHITON_SANDBOX: other}", "{SSL_CERT_FILE: /tmp/mine}", "[CURL_CA_BUNDLE]"] {
        let errors = Policy::parse(&format!("static: {{process: {{env: {text}}}}}")).unwrap_err();
        let errors = errors.render("chiton.yaml", false);
        assert!(errors.contains("the sandbox sets this variable itself"), "{errors}");
    }
}

#[test]
fn everything_reads_and_prints() {
    let policy = Policy::parse(EVERYTHING).unwrap();
    assert_eq!(Policy::parse(&policy.to_yaml()).unwrap(), policy);
    let unsupported: Vec<String> = unsupported(&policy).iter().map(ToString::to_string).collect();
    assert_snapshot!(unsupported.join("\n"));
    assert_snapshot!("everything_printed", policy.to_yaml());
}

#[test]
fn an_explanation() {
    let policy = compile(&Policy::parse(REFERENCE).unwrap());
    let intent = Intent::from_request_line("GET https://api.github.com/repos/o/n").unwrap();
    assert_snapshot!(explain(&policy, &intent).to_string());
}

#[test]
fn a_refusal_is_worded_as_promised() {
    let policy = compile(&Policy::parse(REFERENCE).unwrap());
    let refuse = |request: &str| {
        decide(&policy, &Intent::from_request_line(request).unwrap()).into_permit().unwrap_err()
    };
    let denial = refuse("GET https://api.github.com/repos/o/n");
    assert_eq!(
        denial.detail(),
        "GET /repos/o/n is not allowed for api.github.com: no path pattern of rule \"http[0]\" matches"
    );
    let suggestion = denial.suggestion().unwrap();
    assert_eq!(suggestion, "- host: api.github.com\n  methods: [GET]\n  paths: [/repos/o/n]");
    for request in [
        "PUT https://registry.npmjs.org/x",
        "GET http://api.github.com/repos/o",
        "GET https://api.github.com:8443/repos/o",
        "GET https://evil.test:8443/a:b?q=secret",
        "POST https://[2001:db8::1]/x",
    ] {
        let denial = refuse(request);
        let text = denial.suggestion().unwrap();
        // The suggestion alone is a policy that allows the request.
        let rule = text.lines().map(|line| format!("      {line}\n")).collect::<String>();
        let policy = Policy::parse(&format!("dynamic:\n  network:\n    http:\n{rule}")).unwrap();
        let intent = Intent::from_request_line(request).unwrap();
        assert!(decide(&compile(&policy), &intent).is_allowed(), "{text}");
        assert!(!denial.detail().contains("secret"));
    }
}

#[test]
fn what_many_do_not_expect_is_warned_of() {
    let warns = |http: &str, tcp: &str| {
        let text = format!("dynamic: {{network: {{http: [{http}], tcp: [{tcp}]}}}}");
        Policy::parse(&text).unwrap().warnings.render("chiton.yaml", false)
    };
    let both = ["{host: h.test, paths: [/x]}", "{host: h.test}"];
    for (order, covered) in [([0, 1], "http[0]"), ([1, 0], "http[1]")] {
        let warned = warns(&order.map(|at| both[at]).join(", "), "");
        assert!(warned.contains(&format!("`{covered}` is pointless")), "{warned}");
    }
    let denying = "{host: db.test, deny: [{paths: [/admin]}]}";
    let warned = warns(denying, "{host: '*.test', ports: [5432]}");
    assert!(warned.contains("what `http[0]` denies of this host cannot be seen there"), "{warned}");
    assert_eq!(warns(denying, "{host: other.test, ports: [5432]}"), "");
    // A document that extends others is no less whole: it is joined with them.
    assert_eq!(Policy::parse("extends: [github-read]").unwrap().warnings.render("chiton.yaml", false), "");
}
