//! Any text is a policy or a list of errors, and both can be shown; what is printed reads back the same.
#![no_main]

use chiton_policy::{Policy, compile, diff};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|text: &str| {
    match Policy::parse(text) {
        Ok(policy) => {
            let printed = policy.to_yaml();
            match Policy::parse(&printed) {
                Ok(again) => assert!(again == policy && diff(&policy, &again).is_empty(), "{printed}"),
                Err(errors) => panic!("printed and not read back: {errors}\n{printed}"),
            }
            let _ = policy.warnings.render("policy.yaml", false);
            let _ = compile(&policy);
        }
        Err(errors) => {
            assert!(!errors.is_empty());
            let _ = errors.render("policy.yaml", true);
        }
    }
});
