//! The same calls with and without judging answer the same.

use crate::harness::Rig;

const SCRIPT: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lookup/alike.py");

#[test]
fn every_call_answers_as_without() {
    let rig = Rig::new(|work, rules| rules.deny(work.join("denied")).deny_name(".never"), &[]);
    let script = rig.work.with_extension("py");
    std::fs::copy(SCRIPT, &script).unwrap();
    let program = ["/usr/bin/python3", "-u", script.to_str().unwrap()];
    let plain = rig.run_plainly(&program);
    rig.clear();
    let judged = rig.run(&program);
    let only = |here: &str, there: &str| -> Vec<String> {
        let there: std::collections::HashSet<_> = there.lines().collect();
        here.lines().filter(|line| !there.contains(line)).map(Into::into).collect()
    };
    let (without, with) = (only(&plain.out, &judged.out), only(&judged.out, &plain.out));
    assert!(without.is_empty() && with.is_empty(), "without: {without:#?}\nwith: {with:#?}\n{}", judged.err);
    assert_eq!((plain.err.as_str(), plain.code), ("", Some(0)));
    assert_eq!((judged.err.as_str(), judged.code), ("", Some(0)));
}
