//! What an agent tries to get at a file that it was not given, or to change one that it may only read.

use std::{
    os::unix::fs::{MetadataExt as _, PermissionsExt},
    path::Path,
};

use chiton_lookup::Wanted;

use crate::harness::{Event, Rig};

const SECRET: &str = "TOP-SECRET";

/// A folder with a denied file, a denied folder, a protected file, and names that are denied anywhere.
fn rig() -> Rig {
    Rig::prepared(
        prepare,
        |work, rules| {
            rules
                .deny(work.join(".env"))
                .deny(work.join("sub/private"))
                .deny(work.join("later"))
                .protect(work.join(".git/config"))
                .protect(work.join(".git/hooks"))
                .deny_name(".secret")
                .deny_ending(work.join("keys"), ".pem")
        },
        &[],
    )
}

fn prepare(work: &Path) {
    for folder in ["sub/private", ".git/hooks", "keys", "other"] {
        std::fs::create_dir_all(work.join(folder)).unwrap();
    }
    for file in [".env", "sub/private/a", "keys/k.pem", "other/.secret"] {
        std::fs::write(work.join(file), SECRET).unwrap();
    }
    std::fs::write(work.join(".git/config"), "config").unwrap();
    std::fs::hard_link(work.join(".env"), work.join("hard")).unwrap();
    std::fs::hard_link(work.join("sub/private/a"), work.join("hard-folder")).unwrap();
    std::fs::hard_link(work.join("other/.secret"), work.join("hard-name")).unwrap();
    std::fs::hard_link(work.join(".git/config"), work.join("hard-config")).unwrap();
    std::os::unix::fs::symlink(".env", work.join("soft")).unwrap();
}

/// Runs each line of a script, and returns what they print, errors included.
fn each(rig: &Rig, lines: &[&str]) -> Vec<(String, i32)> {
    lines
        .iter()
        .map(|line| {
            let said = rig.run(&["/bin/sh", "-c", &format!("{{ {line}\n}} 2>&1")]);
            (said.out, said.code.unwrap_or(-1))
        })
        .collect()
}

#[test]
fn a_denied_file_is_not_read_under_any_name() {
    let rig = rig();
    let work = rig.work.to_string_lossy().into_owned();
    let absolute = format!("cat {work}/.env");
    let lines = [
        "cat .env",
        "cat ./.env",
        "cat sub/../.env",
        "cat sub/private/a",
        "cat soft",
        "cat hard",
        "cat hard-folder",
        "cat hard-name",
        "cat keys/k.pem",
        "cat other/.secret",
        "cat /proc/self/cwd/.env",
        absolute.as_str(),
        "cat /proc/self/root$PWD/.env",
        "cat /proc/thread-self/cwd/.env",
        "cd sub && cat ../.env",
        "exec 7<. && cat /proc/self/fd/7/.env",
        "ln -s .env mine; cat mine",
        "ln -s . dot; cat dot/dot/.env",
        "cat < .env",
        "cp .env copy",
        "cp hard copy",
        "head -c 3 .env",
        "tar cf - .env",
        "tail .env",
        "stat .env",
        "ls .env",
        "ls -d sub/private",
        "cd sub/private",
        "test -e .env",
        "test -e sub/private/../private",
        "readlink sub/private",
        "grep -r TOP .",
        "touch -r .env x",
        "sh .env",
        ". ./.env",
        "find . | xargs cat",
        "python3 -c 'import os; os.open(\".env\", os.O_PATH)'",
        "python3 -c 'import os; d = os.open(\".\", 0); print(open(os.open(\".env\", 0, dir_fd=d)).read())'",
        "python3 -c 'import mmap, os; print(mmap.mmap(os.open(\"hard\", 0), 0, prot=1)[:])'",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert!(!out.contains("TOP"), "{line}: {out}");
        let searches = line.starts_with("find") || line.starts_with("grep");
        assert!(searches || code != 0, "{line}: {out}");
    }
}

#[test]
fn a_denied_file_is_not_listed() {
    let rig = rig();
    let out = rig.sh("ls -a . sub keys other; find . -print; echo *; echo .*; echo sub/*; python3 -c 'import os; print([e.name for e in os.scandir()], list(os.walk(\".\")))'");
    for name in [".env", "private", "k.pem", ".secret"] {
        assert!(!out.contains(name), "{name}: {out}");
    }
    assert!(out.contains(".git") && out.contains("soft"));
}

#[test]
fn a_denied_name_is_not_made() {
    let rig = rig();
    let lines = [
        "echo x > .env",
        "echo x >> .env",
        "echo x > later",
        "mkdir later",
        "ln -s f later",
        "mkfifo later",
        "touch later",
        "echo x > f; mv f later",
        "echo x > f; mv f .env",
        "echo x > f; ln f later",
        "echo x > f; ln f .env",
        "cp f .env",
        "echo x > f; mv -f f sub/private/a",
        "mkdir sub/private/x",
        "mkdir n; mv n later",
        "echo x > keys/n.pem",
        "echo x > new/.secret",
        "mkdir -p w; echo x > w/.secret",
        "mkdir w/.secret",
        "truncate -s 0 .env",
        "truncate -s 0 hard",
        "echo x > hard",
        "rm .env",
        "rm -f hard && test ! -e hard && false",
        "rmdir sub/private",
        "chmod 777 .env",
        "chmod 777 hard",
        "touch .env",
        "touch hard",
        "mv .env e",
        "mv hard h",
        "ln .env e",
        "ln hard h",
        "mv sub s",
        "mv sub/private p",
        "python3 -c 'import os; t = os.open(\".\", os.O_TMPFILE | os.O_RDWR); os.link(\"/proc/self/fd/%d\" % t, \"later\", follow_symlinks=True)'",
        "python3 -c 'import socket; socket.socket(1).bind(\"later\")'",
        "python3 -c 'import socket; socket.socket(1).bind(\".env\")'",
        "ln -s later via; echo x > via",
        "cat /dev/null > soft",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert_ne!(code, 0, "{line}: {out}");
    }
    for path in [".env", "sub/private/a", "keys/k.pem", "other/.secret", "hard"] {
        assert_eq!(std::fs::read_to_string(rig.work.join(path)).unwrap(), SECRET, "{path}");
    }
    assert_eq!(rig.work.join("hard").metadata().unwrap().permissions().mode() & 0o777, 0o644);
    assert!(!rig.work.join("later").exists() && !rig.work.join("w/.secret").exists());
}

#[test]
fn a_directory_with_denied_names_does_not_leave_its_patterns() {
    let rig = rig();
    let lines = [
        "mv keys k2",
        "mkdir n; touch n/x.pem; mv n keys/n; mv keys/n/x.pem keys/y.pem",
        "mv -T n keys",
        "mv keys/n .",
    ];
    let said = each(&rig, &lines);
    assert_ne!(said[0].1, 0);
    assert_ne!(said[1].1, 0);
    assert_ne!(said[2].1, 0);
    // A name that is denied wherever it is may go anywhere, and stays denied.
    rig.sh("mv other elsewhere; test ! -e elsewhere/.secret");
    assert!(rig.work.join("elsewhere/.secret").exists());
}

#[test]
fn a_protected_file_is_read_and_not_changed() {
    let rig = rig();
    assert_eq!(rig.sh("cat .git/config hard-config; ls .git/hooks"), "configconfig");
    let lines = [
        "echo x > .git/config",
        "echo x >> .git/config",
        "echo x > hard-config",
        "rm .git/config",
        "mv .git/config c",
        "mv .git g",
        "rm -r .git",
        "ln .git/config c",
        "echo x > .git/hooks/pre-commit",
        "mkdir .git/hooks/d",
        "rmdir .git/hooks",
        "mv .git/hooks h",
        "echo x > f; mv f .git/config",
        "mkdir m; mv -T m .git/hooks",
        "chmod 777 .git/config",
        "chmod 777 .git/hooks",
        "touch .git/config",
        "truncate -s 0 .git/config",
        "ln -s x .git/hooks/y",
        "sed -i s/c/x/ .git/config",
        "python3 -c 'import os; os.open(\".git/config\", os.O_RDWR)'",
        "python3 -c 'import os; os.open(\".git/config\", os.O_RDONLY | os.O_TRUNC)'",
        "python3 -c 'import os; os.open(\"/proc/self/fd/%d\" % os.open(\".git/config\", 0), os.O_WRONLY)'",
        "python3 -c 'import os; os.fchmod(os.open(\".git/config\", 0), 0o777)'",
        "python3 -c 'import os; os.utime(os.open(\".git/config\", 0))'",
        "python3 -c 'import os; os.open(\".git/hooks\", os.O_TMPFILE | os.O_RDWR)'",
        "python3 -c 'import os; os.setxattr(os.open(\".git/config\", 0), \"user.x\", b\"x\")'",
        "test -w .git/config",
        "python3 -c 'import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).renameat2(-100, b\".git/config\", -100, b\"hard\", 2) == 0 else 1)'",
        "echo x > f; python3 -c 'import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).renameat2(-100, b\"f\", -100, b\".git/config\", 2) == 0 else 1)'",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert_ne!(code, 0, "{line}: {out}");
    }
    assert_eq!(std::fs::read_to_string(rig.work.join(".git/config")).unwrap(), "config");
    assert_eq!(rig.work.join(".git/config").metadata().unwrap().mode() & 0o777, 0o644);
    assert_eq!(std::fs::read_dir(rig.work.join(".git/hooks")).unwrap().count(), 0);
}

#[test]
fn a_name_for_folders_only_takes_nothing_else() {
    let rig = Rig::new(|work, rules| rules.folder_only(work.join(".git")).protect(work.join(".vscode")), &[]);
    let lines = [
        "echo x > .git",
        "ln -s x .git",
        "mkfifo .git",
        "touch f; mv f .git",
        "touch f; ln f .git",
        "mkdir .vscode",
        "touch .vscode",
        "mkdir d; touch f; python3 -c 'import ctypes, sys; sys.exit(0 if ctypes.CDLL(None).renameat2(-100, b\"f\", -100, b\".git\", 2) == 0 else 1)'",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert_ne!(code, 0, "{line}: {out}");
    }
    rig.sh("mkdir .git; touch .git/config; chmod 700 .git; mv .git g; mv g .git; git init -q; git status --short");
}

#[test]
fn set_id_bits_and_devices_are_refused() {
    let rig = rig();
    let lines = [
        "touch f; chmod u+s f",
        "chmod g+s f",
        "chmod 4755 f",
        "mkdir -m 2755 d2 && test -g d2",
        "python3 -c 'import os; os.open(\"g\", os.O_CREAT, 0o4755)'",
        "python3 -c 'import os; os.fchmod(os.open(\"f\", 0), 0o2755)'",
        "python3 -c 'import os; os.mknod(\"h\", 0o104755)'",
        "mknod dev c 1 3",
        "mknod dev b 7 0",
        "python3 -c 'import os, ctypes, struct, sys; b = struct.pack(\"QQQ\", os.O_CREAT | 1, 0o6755, 0); sys.exit(ctypes.CDLL(None).syscall(437, -100, b\"o2\", b, 24) < 0)'",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert_ne!(code, 0, "{line}: {out}");
    }
    for entry in std::fs::read_dir(&rig.work).unwrap() {
        assert_eq!(entry.unwrap().metadata().unwrap().mode() & 0o6000, 0);
    }
}

#[test]
fn sockets_of_the_host_are_not_connected_to() {
    let rig = rig();
    let _host = std::os::unix::net::UnixListener::bind(rig.work.join("host.sock")).unwrap();
    let _packets = std::os::unix::net::UnixDatagram::bind(rig.work.join("host.dgram")).unwrap();
    let connect = "python3 -c 'import socket; socket.socket(1).connect(\"host.sock\")'";
    let send = "python3 -c 'import socket; socket.socket(1, 2).sendto(b\"x\", \"host.dgram\")'";
    for (out, code) in each(&rig, &[connect, send]) {
        assert_ne!(code, 0);
        assert!(out.contains("PermissionError"), "{out}");
    }
    rig.sh("python3 -c 'import socket; s = socket.socket(1); s.bind(\"own\"); s.listen(); socket.socket(1).connect(\"own\")'");
    let events = rig.finish();
    let refused = |file: &str| {
        let is = |e: &Event| matches!(e, Event::Refused { file: f, wanted: Wanted::Connect, .. } if f.ends_with(file));
        events.iter().any(is)
    };
    assert!(refused("host.sock") && refused("host.dgram"), "{events:?}");
}

/// While a socket is bound another thread puts a link to the host's in the place of the name.
#[test]
fn a_link_to_the_hosts_socket_does_not_pass_for_one_bound_inside() {
    let rig = rig();
    let _host = std::os::unix::net::UnixListener::bind(rig.work.join("host.sock")).unwrap();
    let script = "import os, socket, threading, time\n\
        end = time.time() + 6\n\
        def attempt(deed):\n  \
          while time.time() < end:\n    \
            try: deed()\n    \
            except OSError: pass\n\
        def bind(): s = socket.socket(1); s.bind('n')\n\
        deeds = [bind, lambda: os.unlink('n'), lambda: os.link('host.sock', 'n')]\n\
        threads = [threading.Thread(target=attempt, args=(deed,)) for deed in deeds]\n\
        for thread in threads: thread.start()\n\
        for thread in threads: thread.join()\n\
        try: socket.socket(1).connect('host.sock'); print('connected')\n\
        except PermissionError: print('refused')";
    assert_eq!(rig.run(&["/usr/bin/python3", "-c", script]).out, "refused\n");
}

#[test]
fn the_supervisors_entry_in_proc_is_refused() {
    let rig = rig();
    let lines = [
        "cat /proc/1/environ",
        "ls /proc/1/fd",
        "cat /proc/1/maps",
        "ls /proc/1/root/",
        "readlink /proc/1/exe",
        "cat /proc/1/task/1/environ",
        "cd /proc/1 && cat maps",
        "cat /proc/self/../1/environ",
        "cat /proc/1/mem",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert_ne!(code, 0, "{line}: {out}");
    }
    rig.sh("cat /proc/1/stat /proc/1/status /proc/1/comm; ls -d /proc/1");
}

#[test]
fn what_is_started_and_refused_is_reported() {
    let rig = Rig::prepared(
        |work| {
            std::fs::copy("/bin/true", work.join("tool")).unwrap();
            std::fs::write(work.join("script"), "#!/bin/sh\ncat nothing 2>/dev/null\n./tool a\n").unwrap();
            std::fs::set_permissions(work.join("script"), PermissionsExt::from_mode(0o755)).unwrap();
            std::fs::copy("/bin/true", work.join("denied")).unwrap();
        },
        |work, rules| rules.deny(work.join("denied")),
        &[u32::try_from(libc::SYS_ptrace).unwrap()],
    );
    rig.sh("./script one two; ./denied x; for i in 1 2 3 4 5; do cat denied; done; true");
    let traced = rig.run(&["/usr/bin/python3", "-c", "import ctypes, os; c = ctypes.CDLL(None, use_errno=True); print(c.ptrace(0, 0, 0, 0), ctypes.get_errno())"]);
    assert_eq!(traced.out, "-1 1\n");
    let work = rig.work.clone();
    let events = rig.finish();
    let started = |name: &str, arguments: usize| {
        events.iter().any(|e| matches!(e, Event::Started { file, arguments: n, .. } if *file == work.join(name) && *n == arguments))
    };
    assert!(started("tool", 2), "{events:#?}");
    let script = |e: &Event| matches!(e, Event::Started { script: Some(s), arguments: 3, .. } if *s == work.join("script"));
    assert!(events.iter().any(script), "{events:#?}");
    assert!(events.contains(&Event::NotStarted(work.join("denied"))), "{events:#?}");
    assert!(events.contains(&Event::Blocked(101)), "{events:#?}");
    let refused: u64 = events
        .iter()
        .filter_map(|e| match e {
            Event::Refused { file, times, .. } if *file == work.join("denied") => Some(*times),
            Event::Refused { .. } | Event::Started { .. } | Event::NotStarted(_) | Event::Blocked(_) => None,
        })
        .sum();
    assert!(refused >= 5, "{events:#?}");
}

/// What was only counted is told while the sandbox runs, not at its end.
#[test]
fn repeated_refusals_are_reported_meanwhile() {
    let rig = rig();
    rig.sh("for i in 1 2 3 4 5; do cat .env 2>/dev/null; done; true");
    let counted = || -> u64 {
        let times = |event: &Event| match event {
            Event::Refused { file, times, .. } if *file == rig.work.join(".env") => *times,
            Event::Refused { .. } | Event::Started { .. } | Event::NotStarted(_) | Event::Blocked(_) => 0,
        };
        rig.recorder.events().iter().map(times).sum()
    };
    assert_eq!(counted(), 1, "the first is told at once, the others are counted");
    let began = std::time::Instant::now();
    while counted() < 5 {
        assert!(began.elapsed() < std::time::Duration::from_secs(60), "{:#?}", rig.recorder.events());
        std::thread::sleep(std::time::Duration::from_millis(100));
    }
}

/// Threads change a path's memory, links and names while others look things up: nothing secret is ever read.
#[test]
fn races_gain_nothing() {
    let rig = rig();
    let source = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/lookup/race.c");
    let program = rig.work.with_file_name("race");
    let built =
        std::process::Command::new("cc").args(["-O1", "-pthread", "-o"]).arg(&program).arg(source).status();
    assert!(built.unwrap().success());
    // Meanwhile the host replaces the denied file as an editor does.
    let work = rig.work.clone();
    let stop = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let stopped = std::sync::Arc::clone(&stop);
    let host = std::thread::spawn(move || {
        while !stopped.load(std::sync::atomic::Ordering::Relaxed) {
            let fresh = work.join("sub/private/fresh");
            std::fs::write(&fresh, SECRET).unwrap();
            std::fs::rename(&fresh, work.join(".env")).unwrap();
        }
    });
    let said = rig.run(&[program.to_str().unwrap()]);
    stop.store(true, std::sync::atomic::Ordering::Relaxed);
    host.join().unwrap();
    assert_eq!((said.out.as_str(), said.code), ("", Some(0)), "{}", said.err);
    assert_eq!(std::fs::read_to_string(rig.work.join(".git/config")).unwrap(), "config");
    assert_eq!(std::fs::read_to_string(rig.work.join(".env")).unwrap(), SECRET);
    assert!(!rig.work.join("later").exists());
}

#[test]
fn a_directory_that_moves_under_a_walk_leads_to_nothing_denied() {
    let rig = rig();
    std::fs::create_dir_all(rig.work.join("other/moving/c")).unwrap();
    std::fs::write(rig.work.join("later"), SECRET).unwrap();
    let over = std::sync::atomic::AtomicBool::new(false);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let (there, here) = (rig.work.join("other/moving"), rig.work.join("moving"));
            while !over.load(std::sync::atomic::Ordering::Relaxed) {
                std::fs::rename(&there, &here).unwrap();
                std::fs::rename(&here, &there).unwrap();
            }
        });
        let script = "import os\n\
            for _ in range(20000):\n  \
              try: print(os.read(os.open('other/moving/' + 'c/../' * 20 + '../later', 0), 99)); break\n  \
              except OSError: pass";
        let said = rig.run(&["python3", "-c", script]);
        over.store(true, std::sync::atomic::Ordering::Relaxed);
        assert_eq!((said.out.as_str(), said.code), ("", Some(0)), "{}", said.err);
    });
}

/// The folders are looked through once, and what that misses is missed for good.
#[test]
fn a_directory_that_moves_while_the_folders_are_looked_through_hides_no_link() {
    let script = "import os, threading\n\
        over = False\n\
        def move():\n  \
          while not over:\n    \
            os.rename('other', 'keys/other'); os.rename('keys/other', 'other')\n\
        mover = threading.Thread(target=move); mover.start()\n\
        try: print(open('hard-name').read())\n\
        except OSError: pass\n\
        over = True; mover.join()";
    for _ in 0..10 {
        let rig = rig();
        for folder in 0..500 {
            std::fs::create_dir(rig.work.join(format!("{folder}"))).unwrap();
        }
        let said = rig.run(&["/usr/bin/python3", "-c", script]);
        assert_eq!((said.out.as_str(), said.code), ("", Some(0)), "{}", said.err);
    }
}

#[test]
fn a_denied_path_through_a_link_is_denied_where_it_leads() {
    let rig = Rig::prepared(
        |work| {
            std::fs::create_dir_all(work.join("releases/5")).unwrap();
            std::fs::write(work.join("releases/5/key"), SECRET).unwrap();
            std::os::unix::fs::symlink("releases/5", work.join("current")).unwrap();
        },
        |work, rules| rules.deny(work.join("current/key")).deny(work.join("current/later")),
        &[],
    );
    std::fs::write(rig.work.join("releases/5/later"), SECRET).unwrap();
    let lines = [
        "cat current/key",
        "cat releases/5/key",
        "cd current && cat key",
        "cat releases/5/later",
        "mv releases/5 six && cat six/key",
        "mv releases r && cat r/5/key",
    ];
    for (line, (out, code)) in lines.iter().zip(each(&rig, &lines)) {
        assert!(!out.contains("TOP") && code != 0, "{line}: {out}");
    }
}
