//! The laws of the language: the compiled policy decides as a naive reading of policy.md does, a deny never
//! allows more, what is printed reads back, and two patterns overlap exactly when something matches both.
#![expect(clippy::unwrap_used, reason = "a test fails by panicking")]

#[path = "laws/naive.rs"]
mod naive;
#[path = "laws/strategy.rs"]
mod strategy;

use chiton_policy::{
    CompiledPolicy, HostPattern, Intent, PathPattern, Policy, TextGlob, compile, decide, model::DenyRule,
};
use proptest::prelude::*;
use strategy::{policy, request};

fn reason(policy: &CompiledPolicy, request: &str) -> Option<&'static str> {
    let intent = Intent::from_request_line(request).unwrap();
    decide(policy, &intent).into_permit().err().map(|denial| denial.reason().as_str())
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(500))]

    #[test]
    fn decides_as_the_naive_reading(text in policy(), request in request()) {
        let policy = Policy::parse(&text);
        prop_assume!(policy.is_ok());
        let policy = policy.unwrap();
        let expected = naive::reason(&policy, &request);
        prop_assert_eq!(reason(&compile(&policy), &request), expected, "{}\n{}", text, request);
    }

    #[test]
    fn a_deny_never_allows_more(text in policy(), extra in policy(), requests in prop::collection::vec(request(), 8)) {
        let (Ok(policy), Ok(extra)) = (Policy::parse(&text), Policy::parse(&extra)) else { return Ok(()) };
        let denies: Vec<DenyRule> = extra.dynamic.http.iter().flat_map(|rule| rule.deny.clone()).collect();
        let mut stricter = policy.clone();
        for (rule, deny) in stricter.dynamic.http.iter_mut().zip(denies) {
            rule.deny.push(deny);
        }
        let (before, after) = (compile(&policy), compile(&stricter));
        for request in requests {
            prop_assert!(reason(&before, &request).is_none() || reason(&after, &request).is_some(), "{}", request);
        }
    }

    #[test]
    fn a_rule_less_never_allows_more(text in policy(), which in 0_usize..4, requests in prop::collection::vec(request(), 8)) {
        let Ok(policy) = Policy::parse(&text) else { return Ok(()) };
        let mut fewer = policy.clone();
        if let Some(rule) = fewer.dynamic.http.get_mut(which) {
            // The rule stays with its denies, and allows nothing any more.
            rule.methods = chiton_policy::model::MethodSet::These(Vec::new());
        }
        let (before, after) = (compile(&policy), compile(&fewer));
        for request in requests {
            prop_assert!(reason(&before, &request).is_none() || reason(&after, &request).is_some(), "{}", request);
        }
    }

    #[test]
    fn nothing_allows_nothing(request in request()) {
        prop_assert!(reason(&CompiledPolicy::deny_all(), &request).is_some());
    }

    #[test]
    fn printed_reads_back(text in policy()) {
        let Ok(policy) = Policy::parse(&text) else { return Ok(()) };
        let printed = policy.to_yaml();
        let again = Policy::parse(&printed);
        prop_assert!(again.is_ok(), "{}\n{}", printed, again.unwrap_err());
        prop_assert_eq!(again.unwrap(), policy, "{}", printed);
    }

    #[test]
    fn canonical_is_stable(request in request()) {
        let intent = Intent::from_request_line(&request).unwrap();
        let again = format!("{} {}://{}{}", intent.method(), intent.scheme(), intent.authority(), intent.path_and_query());
        let again = Intent::from_request_line(&again).unwrap();
        prop_assert_eq!(intent.path_and_query(), again.path_and_query());
    }

    #[test]
    fn parsing_never_panics(text in ".{0,200}") {
        let _ = Policy::parse(&text).map_err(|errors| errors.render("p", false));
    }

    #[test]
    fn hosts_overlap_exactly_when_one_matches_both(one in strategy::host(), two in strategy::host()) {
        let (one, two) = (HostPattern::parse(&one).unwrap(), HostPattern::parse(&two).unwrap());
        let both = strategy::all_hosts().iter().any(|host| one.matches(host) && two.matches(host));
        prop_assert_eq!(one.overlaps(&two), both, "{} {}", one, two);
        prop_assert_eq!(two.overlaps(&one), both);
    }

    #[test]
    fn paths_overlap_exactly_when_one_matches_both(one in strategy::path(), two in strategy::path()) {
        let (one, two) = (PathPattern::parse(&one).unwrap(), PathPattern::parse(&two).unwrap());
        let both = strategy::all_paths().iter().any(|path| one.matches(path) && two.matches(path));
        prop_assert_eq!(one.overlaps(&two), both, "{} {}", one, two);
    }

    #[test]
    fn texts_overlap_exactly_when_one_matches_both(one in "[ab*]{0,4}", two in "[ab*]{0,4}") {
        let both = strategy::all_texts().iter().any(|text| {
            naive::glob(&one, text) && naive::glob(&two, text)
        });
        prop_assert_eq!(TextGlob::new(&one).overlaps(&TextGlob::new(&two)), both, "{} {}", one, two);
    }

    #[test]
    fn texts_match_as_the_naive_reading(glob in "[ab*]{0,6}", text in "[ab]{0,6}") {
        prop_assert_eq!(TextGlob::new(&glob).matches(text.as_bytes()), naive::glob(&glob, &text));
    }

    #[test]
    fn paths_match_as_the_naive_reading(pattern in strategy::path(), path in strategy::plain_path()) {
        let compiled = PathPattern::parse(&pattern).unwrap();
        prop_assert_eq!(compiled.matches(&path), naive::path(&pattern, &path), "{} {}", pattern, path);
    }
}
