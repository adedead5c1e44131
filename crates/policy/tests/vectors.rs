//! The vectors of the language: decisions by example, and policies that must be refused.
#![expect(clippy::unwrap_used, clippy::panic, reason = "a test fails by panicking")]

use chiton_policy::{Denial, Intent, Policy, RequestLineError, compile, decide};
use serde_json::Value;

fn load(name: &str) -> Value {
    let path = format!("{}/tests/vectors/{name}", env!("CARGO_MANIFEST_DIR"));
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

/// `None` when allowed, else the reason.
fn judge(policy: &Policy, request: &str) -> Option<&'static str> {
    let denial = match Intent::from_request_line(request) {
        Ok(intent) => decide(&compile(policy), &intent).into_permit().err()?,
        Err(RequestLineError::Ambiguous(ambiguous)) => Denial::from(ambiguous),
        Err(error @ RequestLineError::NotARequest(_)) => panic!("{error}"),
    };
    Some(denial.reason().as_str())
}

#[test]
fn decisions() {
    let mut wrong = Vec::new();
    for file in ["decisions.json", "more-decisions.json"] {
        for group in load(file)["groups"].as_array().unwrap() {
            let policy = Policy::parse(group["policy"].as_str().unwrap());
            let policy = policy.unwrap_or_else(|errors| panic!("{}: {errors}", group["name"]));
            for case in group["cases"].as_array().unwrap() {
                let request = case["request"].as_str().unwrap();
                let reason = judge(&policy, request);
                let allowed = case["decision"] == "allow";
                let right = reason.is_none() == allowed
                    && (allowed || case["reason"].is_null() || case["reason"].as_str() == reason);
                if !right {
                    wrong.push(format!("{}: {request}: {reason:?}, not {case}", group["name"]));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn invalid_policies() {
    for file in ["invalid.json", "more-invalid.json"] {
        for entry in load(file)["policies"].as_array().unwrap() {
            let errors =
                Policy::parse(entry["policy"].as_str().unwrap()).expect_err(&entry["name"].to_string());
            let shown = errors.render("policy.yaml", false);
            for mention in entry["mentions"].as_array().unwrap() {
                assert!(
                    shown.contains(mention.as_str().unwrap()),
                    "{}: {mention} in\n{shown}",
                    entry["name"]
                );
            }
        }
    }
}
