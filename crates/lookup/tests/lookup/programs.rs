//! Real programs, with a denied file beside what they work on.

use crate::harness::Rig;

fn rig() -> Rig {
    let secret = |work: &std::path::Path| std::fs::write(work.join(".env"), "SECRET=1").unwrap();
    Rig::prepared(secret, |work, rules| rules.deny(work.join(".env")).deny_name(".secret"), &[])
}

#[test]
fn a_shell_and_its_tools() {
    let rig = rig();
    let out = rig.sh(
        "echo hi > a; cat a; mkdir d; mv a d/b; ls -a . d; ln -s d/b l; cat l; readlink l; rm -r d; pwd; echo done",
    );
    let work = rig.work.display();
    assert_eq!(out, format!("hi\n.:\n.\n..\nd\n\nd:\n.\n..\nb\nhi\nd/b\n{work}\ndone\n"));
    let said = rig.run(&["/bin/cat", ".env"]);
    assert_eq!(said.err, "/bin/cat: .env: No such file or directory\n");
}

#[test]
fn git_keeps_a_repository() {
    let rig = rig();
    rig.sh(
        "export HOME=$PWD/../ GIT_CONFIG_GLOBAL=/dev/null; git init -q r; cd r; git config user.email a@b; git config user.name n; \
         for i in $(seq 50); do mkdir -p d$i; echo $i > d$i/f; done; echo x > .secret-not; git add -A; git commit -qm one; \
         git mv d1 e1; git rm -q d2/f; echo more >> d3/f; git commit -qam two; git checkout -q -b other HEAD~1; git merge -q other; \
         git gc -q; git stash -q || true; git status --short; cd ..; git clone -q r c; test \"$(ls c | wc -l)\" = 50; git -C c fsck --strict; git -C c log --oneline | wc -l",
    );
    assert_eq!(rig.sh("cd r && git -c core.quotePath=off status --porcelain --ignored"), "");
}

#[test]
fn archives_trees_and_times() {
    let rig = rig();
    let out = rig.sh(
        "mkdir -p t/a/b; echo 1 > t/a/f; ln t/a/f t/a/h; ln -s f t/a/s; mkfifo t/p; chmod 640 t/a/f; touch -d 2001-01-01 t/a/b; \
         tar cf x.tar t; mkdir o; tar xpf x.tar -C o; diff -r --no-dereference t/a o/t/a && stat -c '%a %h %Y' o/t/a/f o/t/a/b | head -1 | cut -d' ' -f1,2; \
         cp -a t u; find u | sort; rm -rf t u o; find . -newer x.tar | wc -l; du -a . > /dev/null; find / -maxdepth 1 > /dev/null",
    );
    assert!(out.starts_with("640 2\nu\nu/a\nu/a/b\nu/a/f\nu/a/h\nu/a/s\nu/p\n"), "{out}");
}

#[test]
fn a_compiler_and_what_it_makes() {
    let rig = rig();
    let out = rig.sh(
        "printf '#include <stdio.h>\\n#include <dirent.h>\\nint main(void){puts(\"made\");return 0;}' > m.c; cc -O1 -o m m.c && ./m; \
         printf 'all: x\\nx: y\\n\\tcp y x\\n' > Makefile; echo y > y; if command -v make >/dev/null; then make -s; else cp y x; fi; cat x",
    );
    assert_eq!(out, "made\ny\n");
}

#[test]
fn python_and_node_with_their_modules() {
    let rig = rig();
    let out = rig.sh(
        "/usr/bin/python3 -c 'import json, subprocess, tempfile, shutil, pathlib, multiprocessing, asyncio\n\
         d = tempfile.mkdtemp(dir=\".\"); shutil.rmtree(d); print(sorted(p.name for p in pathlib.Path(\".\").iterdir()))\n\
         print(subprocess.run([\"sh\", \"-c\", \"echo sub\"], capture_output=True, text=True).stdout)\n\
         async def main():\n  s = await asyncio.start_unix_server(lambda r, w: w.close(), \"sock\"); r, w = await asyncio.open_unix_connection(\"sock\"); print(await r.read())\n\
         asyncio.run(main())'",
    );
    assert_eq!(out, "[]\nsub\n\nb''\n");
    let node = "const fs = require('fs'), cp = require('child_process'); fs.mkdirSync('n/m', {recursive: true}); fs.writeFileSync('n/m/f', 'x'.repeat(10)); \
                fs.cpSync('n', 'o', {recursive: true}); console.log(fs.readdirSync('o', {recursive: true}).join(), fs.existsSync('.env'), fs.realpathSync('o/m/f').endsWith('o/m/f')); \
                fs.rmSync('o', {recursive: true}); console.log(cp.execSync('echo child').toString().trim()); \
                const net = require('net'); const s = net.createServer(c => c.end('hello')).listen('nsock', () => net.connect('nsock').on('data', d => { console.log(d.toString()); s.close(); }));";
    std::fs::write(rig.work.join("n.js"), node).unwrap();
    assert_eq!(rig.sh("node n.js"), "m,m/f false true\nchild\nhello\n");
}

#[test]
fn npm_installs_from_a_folder() {
    let rig = rig();
    let out = rig.sh(
        "export HOME=$PWD/h npm_config_update_notifier=false; mkdir h; mkdir dep app; echo '{\"name\":\"dep\",\"version\":\"1.0.0\",\"bin\":{\"dep\":\"d.js\"}}' > dep/package.json; \
         printf '#!/usr/bin/env node\\nconsole.log(1)' > dep/d.js; (cd dep && npm pack --silent); echo '{\"name\":\"app\",\"version\":\"1.0.0\"}' > app/package.json; \
         cd app && npm install --silent --no-audit --no-fund ../dep/dep-1.0.0.tgz && ls node_modules && ./node_modules/.bin/dep",
    );
    assert_eq!(out, "dep-1.0.0.tgz\ndep\n1\n");
}

#[test]
fn a_killed_caller_leaves_no_worker_behind() {
    let rig = rig();
    // A program that blocks on a FIFO is ended by a signal that it does not handle, and the server goes on.
    rig.sh("mkfifo p; for i in 1 2 3 4 5 6; do timeout 0.2 cat p; done; (cat p > got & echo sent > p; wait); cat got | grep -q sent");
}

#[test]
fn many_at_once() {
    let rig = rig();
    rig.sh("for i in $(seq 12); do (for j in $(seq 40); do mkdir -p m/$i/$j; echo $j > m/$i/$j/f; mv m/$i/$j/f m/$i/$j/g; cat m/$i/$j/g; done > /dev/null) & done; wait; test \"$(find m -name g | wc -l)\" = 480");
}

/// Each waits, as without us, and hears a signal.
#[test]
fn many_that_block_at_once() {
    let rig = rig();
    let script = "import collections, os, signal, socket, threading\n\
        server = socket.socket(1); server.bind('s'); server.listen(0)\n\
        said = []\n\
        def connect():\n  \
          s = socket.socket(1)\n  \
          try: s.connect('s'); said.append('connected')\n  \
          except OSError as e: said.append(repr(e))\n\
        threads = [threading.Thread(target=connect) for _ in range(200)]\n\
        for thread in threads: thread.start()\n\
        class Out(Exception): pass\n\
        def out(*_): raise Out\n\
        signal.signal(signal.SIGUSR1, out)\n\
        main = threading.get_ident()\n\
        try:\n  \
          threading.Timer(0.5, lambda: signal.pthread_kill(main, signal.SIGUSR1)).start()\n  \
          connect()\n\
        except Out: print('interrupted', os.path.exists('s'))\n\
        for _ in threads: server.accept()\n\
        for thread in threads: thread.join()\n\
        print(dict(collections.Counter(said)))";
    let said = rig.run(&["/usr/bin/python3", "-c", script]);
    assert_eq!(said.out, "interrupted True\n{'connected': 200}\n", "{}", said.err);
}

#[test]
fn a_terminal_is_the_callers_own() {
    let rig = rig();
    let said =
        rig.run(&["/usr/bin/script", "-qec", "test -t 0 && echo to-tty > /dev/tty && tty < /dev/tty", "log"]);
    assert_eq!(said.code, Some(0), "{}{}", said.out, said.err);
    assert!(said.out.contains("to-tty") && said.out.contains("/dev/pts/"), "{}", said.out);
}

#[test]
fn a_program_that_hides_from_its_own_user() {
    // Without the right to look into it there is nothing to be read: then it is an error, never a permission.
    let rig = rig();
    let script = "import ctypes; ctypes.CDLL(None).prctl(4, 0, 0, 0, 0)\ntry: open('.env').read(); print('read')\nexcept OSError: print('refused')";
    assert_eq!(rig.run(&["/usr/bin/python3", "-c", script]).out, "refused\n");
}
