//! Differences by example.

use super::{Effect, diff};
use crate::Policy;

fn policy(text: &str) -> Policy {
    Policy::parse(text).unwrap()
}

#[test]
fn the_same_meaning_is_no_difference() {
    let one = policy("dynamic: {network: {http: [{host: a.test}, {host: b.test}]}}");
    let two = policy(
        "dynamic: {network: {http: [{host: B.test}, {host: a.test., methods: [GET, HEAD, OPTIONS]}]}}",
    );
    assert!(diff(&one, &two).is_empty(), "{}", diff(&one, &two));
}

#[test]
fn which_way_it_goes() {
    let one = policy(
        "static: {filesystem: {allowed_paths: [/workspace]}}\n\
         dynamic: {network: {http: [{host: a.test, paths: [/x]}, {host: b.test}]}}",
    );
    let two = policy(
        "static: {filesystem: {allowed_paths: [/workspace, /tmp], denied_paths: [/workspace/.env]}}\n\
         dynamic: {mode: audit, network: {http: [{host: a.test}, {host: c.test, methods: [], deny: [{}]}]}}",
    );
    let diff = diff(&one, &two);
    let effects = |changes: &[super::Change]| {
        changes.iter().map(|change| (change.field.clone(), change.effect)).collect::<Vec<_>>()
    };
    assert_eq!(
        effects(&diff.fixed),
        [
            ("static.filesystem.allowed_paths".to_owned(), Effect::Widened),
            ("static.filesystem.denied_paths".to_owned(), Effect::Narrowed),
        ]
    );
    assert_eq!(
        effects(&diff.dynamic),
        [
            ("dynamic.mode".to_owned(), Effect::Widened),
            ("dynamic.network.http.a.test.paths".to_owned(), Effect::Widened),
            ("dynamic.network.http.b.test".to_owned(), Effect::Narrowed),
            ("dynamic.network.http.c.test".to_owned(), Effect::Narrowed),
        ]
    );
}

#[test]
fn an_absent_static_half_is_unchanged() {
    let one = policy("static: {filesystem: {allowed_paths: [/workspace]}}");
    assert!(diff(&one, &policy("{}")).is_empty());
    assert!(!diff(&policy("{}"), &one).is_empty());
}

#[test]
fn what_is_not_written_is_compared_as_it_is_meant() {
    let rule = |rest: &str| policy(&format!("dynamic: {{network: {{http: [{{host: a.test{rest}}}]}}}}"));
    let told = |one: &str, two: &str| diff(&rule(one), &rule(two)).to_string();
    assert_eq!(
        told(", methods: [GET]", ""),
        "dynamic\n  dynamic.network.http.a.test.methods (widened)\n    - [\"GET\",\"HEAD\"]\n    \
         + [\"GET\",\"HEAD\",\"OPTIONS\"]\n"
    );
    assert!(told("", ", methods: [GET]").contains("methods (narrowed)"));
    assert!(told("", ", methods: ['*']").contains("methods (widened)"));
    assert!(told(", methods: ['*']", "").contains("methods (narrowed)"));
    assert!(told(", methods: [POST]", "").contains("methods\n    - [\"POST\"]\n    + "));
    assert_eq!(told(", methods: [HEAD, GET]", ", methods: [GET]"), "");
    let ports = told(", ports: [8443]", "");
    assert!(ports.contains("ports\n    - [8443]\n    + [443]"), "{ports}");
    let scheme = told(", name: r", ", name: r, scheme: http, ports: [443]");
    assert!(scheme.contains("scheme\n    - \"https\"\n    + \"http\""), "{scheme}");
}

#[test]
fn a_credential_gives_more_and_another_place_is_neither() {
    let rule = |rest: &str| policy(&format!("dynamic: {{network: {{http: [{{host: a.test{rest}}}]}}}}"));
    let told = |one: &str, two: &str| diff(&rule(one), &rule(two)).to_string();
    let key = ", credential: {secret: 'local://k', query: key}";
    assert!(told("", key).contains("credential (widened)"), "{}", told("", key));
    assert!(told(key, "").contains("credential (narrowed)"));
    let other = told(key, ", credential: {secret: 'local://k', cookie: key}");
    assert!(other.contains("credential.query\n") && other.contains("credential.cookie\n"), "{other}");
}
