//! Denied paths do not exist, however they are named, whether or not they existed at the start.

use std::{fs, os::unix::fs::symlink, time::Duration};

use chiton_tests::{As, Chiton, Outcome, TEST_USER};

const POLICY: &str = "\
static:
  filesystem:
    allowed_paths: [/workspace, /tmp]
    denied_paths: [/workspace/.env, /workspace/later.txt, /workspace/vault, '/workspace/**/*.pem']
";
const SECRET: &str = "TOP-SECRET-CONTENT";

fn chiton(user: As) -> Chiton {
    let chiton = Chiton::new(user);
    chiton.write_workspace(".env", SECRET);
    chiton.write_workspace("vault/deep/key", SECRET);
    chiton.write_workspace("certs/server.pem", SECRET);
    chiton.write_workspace("plain.txt", "plain");
    // Each is masked by a mount, which hides the object that the other name has too.
    for (of, name) in
        [(".env", "innocent.txt"), ("vault/deep/key", "deep.txt"), ("certs/server.pem", "globbed.txt")]
    {
        fs::hard_link(chiton.workspace().join(of), chiton.workspace().join(name)).expect("a hard link");
    }
    symlink(".env", chiton.workspace().join("link")).expect("a link");
    chiton
}

fn sh(chiton: &Chiton, script: &str) -> Outcome {
    chiton.sandboxed(&chiton.policy(POLICY), &["sh", "-c", script])
}

#[test]
fn they_can_neither_be_read_nor_listed_nor_seen() {
    for user in [As::User, As::Root] {
        let chiton = chiton(user);
        let script = "for p in .env ./.env /workspace/.env ../workspace/.env //workspace//.env link innocent.txt deep.txt globbed.txt /proc/self/cwd/.env \
            /proc/self/root/workspace/.env /proc/$$/cwd/.env /proc/1/root/workspace/.env vault/deep/key vault/../plain.txt certs/server.pem \
            vault/deep/../deep/key; do cat $p 2>&1; done; ls -a; ls vault certs; find . ; stat .env; test -e .env && echo EXISTS; \
            exec 5<. && cat /proc/self/fd/5/.env; cd vault && echo ENTERED; tar cf - . 2>/dev/null | cat; python3 -c 'import os; print(os.listdir(\".\"))'; true";
        let outcome = sh(&chiton, script).expect_success();
        let all = format!("{}{}", outcome.stdout, outcome.stderr);
        assert!(
            !all.contains(SECRET)
                && !outcome.stdout.contains("EXISTS")
                && !outcome.stdout.contains("ENTERED"),
            "{outcome:?}"
        );
        assert!(outcome.stdout.contains("cat: .env: No such file or directory"), "{outcome:?}");
        let listed: Vec<_> = outcome
            .stdout
            .lines()
            .filter(|l| [".env", "vault", "./.env", "server.pem", "./vault"].contains(l))
            .collect();
        assert!(listed.is_empty(), "{listed:?} in {outcome:?}");
        assert!(outcome.stdout.contains("plain.txt"), "{outcome:?}");
    }
}

#[test]
fn they_cannot_be_made_replaced_renamed_or_linked() {
    for user in [As::User, As::Root] {
        let chiton = chiton(user);
        let script = "echo evil > .env; echo evil > later.txt; mkdir later.txt; mkfifo later.txt; ln -s plain.txt later.txt; ln plain.txt later.txt; \
            mv plain.txt .env; mv plain.txt later.txt; mv .env got; ln .env got; cp .env got; ln -s /etc/passwd later.txt; mv vault other; \
            rm -f .env; rm -rf vault certs; echo evil > certs/new.pem; echo x > a.txt && mv a.txt certs/b.pem; mkdir d && echo x > d/c.txt && mv d/c.txt d/c.pem; \
            python3 -c 'import os; f = os.open(\".\", os.O_TMPFILE | os.O_RDWR); os.write(f, b\"evil\"); os.link(f\"/proc/self/fd/{f}\", \"later.txt\")'; \
            cat got other/server.pem other/deep/key; true";
        let outcome = sh(&chiton, script).expect_success();
        assert!(!format!("{}{}", outcome.stdout, outcome.stderr).contains(SECRET), "{outcome:?}");
        let read = |name: &str| fs::read_to_string(chiton.workspace().join(name)).ok();
        assert_eq!(read(".env").as_deref(), Some(SECRET));
        assert_eq!(read("vault/deep/key").as_deref(), Some(SECRET));
        assert_eq!(read("certs/server.pem").as_deref(), Some(SECRET));
        for name in ["later.txt", "got", "other", "certs/new.pem", "certs/b.pem", "d/c.pem"] {
            assert!(
                fs::symlink_metadata(chiton.workspace().join(name)).is_err(),
                "{name} was made: {outcome:?}"
            );
        }
    }
}

#[test]
fn a_name_that_appears_later_is_denied_and_a_replacement_too() {
    let chiton = chiton(As::User);
    let policy = chiton.policy(POLICY);
    let policy = policy.to_str().expect("a path");
    let script = "echo ready > ready; until test -e go; do sleep 0.05; done; cat .env later.txt new/x.pem 2>&1; ls -a; true";
    let run = chiton.run(&["run", "-d", "-n", "later", "-p", policy, "--", "sh", "-c", script]);
    let _ = run.expect_success();
    wait_for(|| chiton.workspace().join("ready").exists());
    chiton.write_workspace("later.txt", SECRET);
    chiton.write_workspace("new/x.pem", SECRET);
    // As an editor saves: a new file, renamed over the old one.
    let new = chiton.write_workspace("editor.tmp", SECRET);
    fs::rename(new, chiton.workspace().join(".env")).expect("a rename");
    chiton.write_workspace("go", "");
    let _ = chiton.run(&["wait", "later"]).expect_success();
    let logs = chiton.run(&["logs", "later"]).expect_success();
    assert!(!format!("{}{}", logs.stdout, logs.stderr).contains(SECRET), "{logs:?}");
    assert!(!logs.stdout.lines().any(|l| l == ".env" || l == "later.txt"), "{logs:?}");
}

#[test]
fn races_of_links_and_renames_never_show_it() {
    let chiton = chiton(As::User);
    let script = r#"
import os, threading, time
stop = time.time() + 5
seen = []
def swap():
    while time.time() < stop:
        for target in ("plain.txt", ".env"):
            try:
                os.symlink(target, "tmp-link"); os.rename("tmp-link", "swap")
            except OSError: pass
def shuffle():
    os.makedirs("a/b", exist_ok=True)
    while time.time() < stop:
        for old, new in (("a", "c"), ("c", "a")):
            try: os.rename(old, new)
            except OSError: pass
def read():
    while time.time() < stop:
        for path in ("swap", "a/b/../../.env", "c/b/../../.env", "/proc/self/cwd/swap"):
            try:
                with open(path) as f: data = f.read()
                if "SECRET" in data: seen.append(path)
            except OSError: pass
threads = [threading.Thread(target=t) for t in (swap, swap, shuffle, read, read)]
for t in threads: t.start()
for t in threads: t.join()
print(sorted(set(seen)))
"#;
    chiton.write_workspace("race.py", script);
    let outcome = chiton.sandboxed(&chiton.policy(POLICY), &["/usr/bin/python3", "race.py"]).expect_success();
    assert_eq!(outcome.stdout, "[]\n", "{outcome:?}");
}

#[test]
fn what_the_host_would_run_is_protected() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        chiton.write_workspace(".git/config", "[core]\n");
        chiton.write_workspace(".git/hooks/pre-commit", "#!/bin/sh\n");
        chiton.write_workspace(".git/HEAD", "ref: refs/heads/main\n");
        let (config, linked) =
            (chiton.workspace().join(".git/config"), chiton.workspace().join("linked-config"));
        fs::hard_link(config, linked).expect("a hard link");
        let script = "echo '[alias]' >> .git/config; echo evil > .git/hooks/pre-commit; echo evil > .git/hooks/post-checkout; mv .git other; \
            echo ../evil > .git/commondir; echo evil > .git/config.worktree; echo evil > linked-config; \
            mkdir x && echo ../evil > x/commondir && mv x/commondir .git/; echo static: > chiton.yaml; rm -rf .git/hooks; echo evil > .envrc; mkdir .vscode; mkdir -p .idea/x; mv .git/hooks h; chmod 777 .git/config; \
            echo new > .git/index && echo written; git init -q nested && test -f nested/.git/config && echo own; true";
        let outcome = chiton.sandboxed(
            &chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n"),
            &["sh", "-c", script],
        );
        let outcome = outcome.expect_success();
        assert_eq!(outcome.stdout, "written\nown\n", "{outcome:?}");
        let read = |name: &str| fs::read_to_string(chiton.workspace().join(name)).ok();
        assert_eq!(read(".git/config").as_deref(), Some("[core]\n"));
        assert_eq!(read(".git/hooks/pre-commit").as_deref(), Some("#!/bin/sh\n"));
        for name in [
            ".envrc",
            ".vscode",
            ".idea",
            ".git/hooks/post-checkout",
            ".git/commondir",
            ".git/config.worktree",
            "chiton.yaml",
            "other",
            "h",
        ] {
            assert!(!chiton.workspace().join(name).exists(), "{name}: {outcome:?}");
        }
    }
}

#[test]
fn nothing_of_the_host_but_what_was_given_exists() {
    let chiton = Chiton::new(As::User);
    let script = "ls -A /home /root /var/lib 2>/dev/null; cat /etc/shadow; ls /proc | grep -c '^[0-9]'; cat /proc/1/environ; \
        ls /sys/kernel /boot /mnt; cat /proc/kcore | head -c 1; true";
    let policy = chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n");
    let outcome = chiton.sandboxed(&policy, &["sh", "-c", script]).expect_success();
    assert!(!outcome.stdout.contains("root:"), "{outcome:?}");
    let processes: u32 = outcome.stdout.lines().find_map(|l| l.parse().ok()).expect("a count");
    assert!(processes < 8, "only its own processes: {outcome:?}");
}

#[test]
fn set_id_bits_and_devices_are_refused() {
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        let script = "cp /bin/true t; chmod u+s t; chmod g+s t; chmod 6755 t; mknod n c 1 3; mknod b b 1 1; \
            python3 -c 'import os; os.open(\"s\", os.O_CREAT | os.O_WRONLY, 0o4755)'; \
            python3 -c 'import os; os.fchmod(os.open(\"t\", os.O_RDONLY), 0o4755)'; \
            setcap cap_net_admin+ep t; python3 -c 'import os; os.setxattr(\"t\", \"security.capability\", b\"x\" * 20)'; stat -c %a t; ls; true";
        let policy = chiton.policy("static: {filesystem: {allowed_paths: [/workspace, /tmp]}}\n");
        let outcome = chiton.sandboxed(&policy, &["sh", "-c", script]).expect_success();
        use std::os::unix::fs::PermissionsExt;
        for entry in fs::read_dir(chiton.workspace()).expect("it") {
            let entry = entry.expect("an entry");
            let metadata = entry.metadata().expect("metadata");
            assert!(
                metadata.is_file() && metadata.permissions().mode() & 0o6000 == 0,
                "{:?}: {outcome:?}",
                entry.path()
            );
        }
    }
}

/// The judge has the agent's rights, and the agent takes them from its own folders and gives them back.
#[test]
fn a_folder_that_is_closed_for_a_while_hides_no_hard_link() {
    let script = r#"
import os
def read(name, at):
    try: print(name, os.read(os.open(name, os.O_RDONLY, dir_fd=at), 99))
    except OSError as e: print(name, "refused")
def write(name, at):
    try: print(name, os.write(os.open(name, os.O_WRONLY, dir_fd=at), b"evil"))
    except OSError as e: print(name, "refused")
work = os.open("/workspace", os.O_RDONLY)
closed = [os.open(folder, os.O_RDONLY) for folder in ("/workspace", "/workspace/.git", "/workspace/certs")]
names = os.open("/workspace/names", os.O_RDONLY)
for mode in (0, 0o400, 0o300):
    for folder in closed: os.fchmod(folder, mode)
    read("of-literal", names); read("of-glob", names); write("of-config", names)
    for folder in reversed(closed):
        os.fchmod(folder, 0o700)
        read("of-literal", names); read("of-glob", names); write("of-config", names)
print(os.read(os.open("fine", os.O_RDONLY, dir_fd=names), 99))
"#;
    for user in [As::User, As::Root] {
        let chiton = chiton(user);
        let at = |name: &str| chiton.workspace().join(name);
        chiton.write_workspace(".git/config", "[core]\n");
        chiton.write_workspace("names/fine", "fine");
        let links = [
            (".env", "of-literal"),
            ("certs/server.pem", "of-glob"),
            (".git/config", "of-config"),
            ("names/fine", "also-fine"),
        ];
        for (of, name) in links {
            fs::hard_link(at(of), at("names").join(name)).expect("a hard link");
        }
        let policy = chiton.policy(POLICY);
        let outcome = chiton.sandboxed(&policy, &["/usr/bin/python3", "-c", script]).expect_success();
        let unexpected: Vec<_> = outcome.stdout.lines().filter(|line| !line.ends_with("refused")).collect();
        // Once everything can be read again, what is only a file with two names is one.
        assert_eq!(unexpected, ["b'fine'"], "{user:?} {outcome:?}");
        assert_eq!(fs::read_to_string(at(".git/config")).expect("the file"), "[core]\n");
    }
}

#[test]
fn a_folder_that_opens_and_closes_all_the_time_hides_no_hard_link() {
    let script = r#"
import os, threading, time
end = time.time() + 4
folders = [os.open(folder, os.O_RDONLY) for folder in ("/workspace", "/workspace/certs")]
work = folders[0]
def toggle(folder):
    while time.time() < end:
        for mode in (0, 0o700, 0o400, 0o700, 0o300, 0o700): os.fchmod(folder, mode)
seen = set()
def read(name):
    while time.time() < end:
        try: seen.add(os.read(os.open(name, os.O_RDONLY, dir_fd=work), 99))
        except OSError: pass
threads = [threading.Thread(target=toggle, args=(folder,)) for folder in folders]
threads += [threading.Thread(target=read, args=(name,)) for name in ("innocent.txt", "globbed.txt", "plain.txt")]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(seen)
"#;
    let chiton = chiton(As::User);
    let outcome = chiton.sandboxed(&chiton.policy(POLICY), &["/usr/bin/python3", "-c", script]);
    assert_eq!(outcome.expect_success().stdout, "{b'plain'}\n");
}

#[test]
fn a_folder_that_cannot_be_read_does_not_leave_its_patterns() {
    let policy = "static:\n  filesystem:\n    allowed_paths: [/workspace, /tmp]\n    denied_paths: ['/workspace/*/.env']\n";
    for user in [As::User, As::Root] {
        let chiton = Chiton::new(user);
        chiton.write_workspace("web/.env", SECRET);
        chiton.write_workspace("deep/web/x", "plain");
        let script = "mkdir p; for mode in 0 300 400; do chmod $mode web; mv web p/web; chmod 700 web; cat web/.env; done; \
            test -d p/web && { chmod 700 p/web; cat p/web/.env; }; mv deep p/deep && cat p/deep/web/x";
        let outcome = chiton.sandboxed(&chiton.policy(policy), &["sh", "-c", script]).expect_success();
        assert_eq!(outcome.stdout, "plain", "{outcome:?}");
        assert!(chiton.workspace().join("web/.env").exists(), "{outcome:?}");
    }
}

/// What only another user can open, the agent cannot either: it costs nothing.
#[test]
fn an_unreadable_folder_of_another_user_is_in_nobodys_way() {
    use std::os::unix::fs::{PermissionsExt as _, chown};
    for user in [As::User, As::Root] {
        let chiton = chiton(user);
        chiton.write_workspace("fine", "fine");
        chiton.write_workspace("tree/theirs/x", "x");
        let at = |name: &str| chiton.workspace().join(name);
        fs::hard_link(at("fine"), at("also-fine")).expect("a hard link");
        fs::set_permissions(at("tree/theirs"), fs::Permissions::from_mode(0o700)).expect("a mode");
        if chown(at("tree/theirs"), Some(TEST_USER + 1), None).is_err() {
            return; // Only root gives folders away.
        }
        let policy = POLICY.replace("later.txt", "tree/theirs/literal").replace("/**/*.pem", "/*/*/*.pem");
        let script =
            "ls tree/theirs; cat also-fine innocent.txt; mkdir p && mv tree p/tree && echo moved; true";
        let outcome = chiton.sandboxed(&chiton.policy(&policy), &["sh", "-c", script]).expect_success();
        assert_eq!(outcome.stdout, "fine", "{outcome:?}");
        assert!(outcome.stderr.contains("theirs': Permission denied"), "{outcome:?}");
    }
}

fn wait_for(condition: impl Fn() -> bool) {
    let deadline = std::time::Instant::now() + Duration::from_secs(30);
    while !condition() {
        assert!(std::time::Instant::now() < deadline, "it did not come about");
        std::thread::sleep(Duration::from_millis(10));
    }
}
