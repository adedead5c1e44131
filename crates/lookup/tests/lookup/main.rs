//! Real programs under the server do what they do without.

mod alike;
mod attacks;
mod harness;

use harness::Rig;

#[test]
fn a_shell_and_its_tools() {
    let rig = Rig::new(|work, rules| rules.deny(work.join(".env")), &[]);
    std::fs::write(rig.work.join(".env"), "SECRET=1").unwrap();
    let out = rig.sh("echo hi > a; cat a; mkdir d; mv a d/b; ls -a . d; ln -s d/b l; cat l; readlink l; rm -r d; pwd; echo done");
    assert_eq!(out, format!("hi\n.:\n.\n..\nd\n\nd:\n.\n..\nb\nhi\nd/b\n{}\ndone\n", rig.work.display()));
    let said = rig.run(&["/bin/cat", ".env"]);
    assert_eq!(said.err, "/bin/cat: .env: No such file or directory\n");
}
