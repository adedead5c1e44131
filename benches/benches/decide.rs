//! One decision, and the canonical form before it, at 10 and at 10,000 rules.

use std::{fmt::Write, hint::black_box};

use chiton_policy::{CompiledPolicy, IncomingRequest, Intent, Policy, Scheme, compile, decide};
use criterion::{BenchmarkId, Criterion, criterion_group, criterion_main};

/// Rules for as many hosts, each with a wildcard beside it now and then, paths and a deny.
fn policy(rules: usize) -> CompiledPolicy {
    let mut text = String::from("dynamic:\n  network:\n    http:\n");
    for index in 0..rules {
        let host = if index % 10 == 9 {
            format!("'*.zone{index}.example.com'")
        } else {
            format!("api{index}.example.com")
        };
        let rule = format!(
            "      - host: {host}\n        methods: [GET, POST]\n        paths: [/repos/:owner/:name, '/v*/models', /files/**]\n        \
             deny: [{{methods: [DELETE], paths: ['/files/private/**']}}]\n"
        );
        let written = text.write_str(&rule);
        assert!(written.is_ok(), "a string grows");
    }
    match Policy::parse(&text) {
        Ok(policy) => compile(&policy),
        Err(errors) => unreachable!("{errors}"),
    }
}

fn request<'a>(hosts: &'a [&'a [u8]], target: &'a [u8]) -> IncomingRequest<'a> {
    IncomingRequest {
        scheme: Scheme::Https,
        port: 443,
        server_name: None,
        authority: None,
        host_headers: hosts,
        method: b"GET",
        target,
        method_override: false,
        framing_conflict: false,
        binary: None,
    }
}

fn decisions(criterion: &mut Criterion) {
    let cases: [(&str, &[u8], &[u8]); 4] = [
        ("allowed", b"api7.example.com", b"/repos/octocat/hello"),
        ("allowed-wildcard", b"x.zone9.example.com", b"/files/a/b/c"),
        ("path-refused", b"api7.example.com", b"/repos/octocat/hello/issues"),
        ("host-refused", b"api.example.org", b"/"),
    ];
    for (name, host, target) in cases {
        let mut group = criterion.benchmark_group(format!("decide/{name}"));
        for rules in [10, 10_000] {
            let policy = policy(rules);
            let Ok(intent) = Intent::from_parts(&request(&[host], target)) else {
                unreachable!("a plain request")
            };
            group.bench_with_input(BenchmarkId::from_parameter(rules), &rules, |bencher, _| {
                bencher.iter(|| black_box(decide(black_box(&policy), black_box(&intent))));
            });
        }
    }
}

fn canonical(criterion: &mut Criterion) {
    let plain: (&[u8], &[u8]) = (b"api.example.com", b"/repos/octocat/hello?page=2&per_page=100");
    let encoded: (&[u8], &[u8]) = (b"API.example.com.", b"/a/%2e%2e/caf%c3%a9/%7Eu/x?q=%2f&r=%70");
    for (name, (host, target)) in [("plain", plain), ("encoded", encoded)] {
        criterion.bench_function(&format!("canonical/{name}"), |bencher| {
            bencher.iter(|| black_box(Intent::from_parts(black_box(&request(&[host], target)))));
        });
    }
}

criterion_group!(benches, decisions, canonical);
criterion_main!(benches);
