//! What judging costs, printed and never judged itself: `cargo test -p chiton-lookup -- --ignored cost`.

use crate::harness::Rig;

#[test]
#[ignore = "prints figures"]
fn cost() {
    let rig = Rig::new(|work, rules| rules.deny(work.join(".env")).deny_name(".secret"), &[]);
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lookup/cost.c");
    let program = rig.work.with_file_name("cost");
    let built = std::process::Command::new("cc").args(["-O1", "-o"]).arg(&program).arg(source).status();
    assert!(built.unwrap().success());
    let program = [program.to_str().unwrap()];
    let plain = rig.run_plainly(&program);
    rig.clear();
    let judged = rig.run(&program);
    println!("{:28} {:>7} {:>7}", "µs a call", "without", "with");
    for (plain, judged) in plain.out.lines().zip(judged.out.lines()) {
        println!("{plain} {}", judged.split_at(29).1);
    }
}
