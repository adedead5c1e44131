//! As in a sandbox: the agent in a pid namespace of its own with its own `/proc`, the server in the one above, and
//! masks mounted over denied files. The test starts itself again in such namespaces.

use std::process::Command;

use crate::harness::Rig;

const SET_UP: &str = r#"
set -e
mkdir "$1/proc"
mount --bind /proc "$1/proc"
unshare --pid --fork --kill-child sh -c 'mount -t proc proc /proc && echo ready && exec sleep 1000' > "$1/ready" &
above=$!
until grep -q ready "$1/ready"; do sleep 0.01; done
first=$(cat "$1/proc/$above/task/$above/children" | tr -d ' ')
export LOOKUP_HOST_PROC="$1/proc" LOOKUP_PIDS="$1/proc/$first/ns/pid" LOOKUP_ITSELF="$2"
status=0
"$2" --exact --ignored --nocapture --test-threads=1 inside::in_namespaces || status=$?
kill -9 $above
exit $status
"#;

#[test]
fn an_agent_with_processes_of_its_own() {
    let dir = tempfile::tempdir_in("/tmp").unwrap();
    let ran = Command::new("unshare")
        .args(["--user", "--map-root-user", "--mount", "--propagation", "private", "sh", "-c", SET_UP, "sh"])
        .arg(dir.path())
        .arg(std::env::current_exe().unwrap())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&ran.stdout) + String::from_utf8_lossy(&ran.stderr);
    assert!(ran.status.success() && said.contains("1 passed"), "{said}");
}

#[test]
#[ignore = "started by the test above, in its namespaces"]
fn in_namespaces() {
    let rig = Rig::prepared(
        |work| {
            std::fs::write(work.join(".env"), "TOP").unwrap();
            std::fs::hard_link(work.join(".env"), work.join("hard")).unwrap();
            std::fs::create_dir(work.join("private")).unwrap();
            std::fs::write(work.join("private/a"), "TOP").unwrap();
            std::fs::hard_link(work.join("private/a"), work.join("hard-folder")).unwrap();
            let empty = work.with_file_name("empty");
            std::fs::create_dir(&empty).unwrap();
            for (over, on) in [("/dev/null".into(), ".env"), (empty, "private")] {
                let mounted = Command::new("mount").arg("--bind").arg(over).arg(work.join(on)).status();
                assert!(mounted.unwrap().success());
            }
        },
        |work, rules| rules.deny(work.join(".env")).deny(work.join("private")),
        &[],
    );
    for path in [".env", "hard", "private", "hard-folder", "private/a"] {
        let said = rig.run(&["/bin/cat", path]);
        assert_eq!((said.out.as_str(), said.code), ("", Some(1)), "{path}: {}", said.err);
    }
    let tables = rig
        .sh("cat /proc/self/mountinfo /proc/mounts /proc/1/mounts /proc/self/mountstats 2>/dev/null; true");
    assert!(tables.contains(" / ") && !tables.contains(".env") && !tables.contains("/private "), "{tables}");
    let out = rig.sh(
        "/usr/bin/python3 -c 'import os, threading\n\
         me = str(os.getpid()); assert os.readlink(\"/proc/self\") == me and int(me) < 1000\n\
         assert open(\"/proc/self/stat\").read().split()[0] == me and os.path.samefile(\"/proc/self\", \"/proc/\" + me)\n\
         def thread(): assert os.readlink(\"/proc/thread-self\") == me + \"/task/\" + str(threading.get_native_id())\n\
         t = threading.Thread(target=thread); t.start(); t.join()\n\
         d = os.open(\".\", 0); assert os.readlink(\"/proc/self/fd/%d\" % d) == os.getcwd() == os.readlink(\"/proc/self/cwd\")\n\
         assert os.path.samefile(\"/dev/fd/%d\" % d, \".\") and open(\"/dev/fd/0\").read() == \"\"\n\
         assert \"python\" in os.readlink(\"/proc/self/exe\") and os.path.samefile(\"/proc/self/root\", \"/\")\n\
         try: open(\"/proc/1/environ\"); raise SystemExit(\"environ\")\n\
         except PermissionError: pass\n\
         r, w = os.pipe(); os.write(w, b\"x\"); assert os.read(os.open(\"/proc/self/fd/%d\" % r, 0), 1) == b\"x\"\n\
         print(sorted(int(p) for p in os.listdir(\"/proc\") if p.isdigit())[0])'; ps -o pid= -p $$ > /dev/null && echo shown",
    );
    assert_eq!(out, "1\nshown\n");
}
