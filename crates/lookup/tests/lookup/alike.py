"""Calls with every kind of argument; prints what each answers, for comparison with and without judging."""
import ctypes, errno, fcntl, os, socket, stat, struct, sys, time

libc = ctypes.CDLL(None, use_errno=True)
base = os.getcwd()

def show(name, f):
    try:
        r = f()
        if isinstance(r, os.stat_result):
            r = (oct(r.st_mode), r.st_nlink, r.st_size, r.st_uid)
        print(name, "=", r)
    except OSError as e:
        print(name, "!", errno.errorcode.get(e.errno, e.errno))
    except Exception as e:
        print(name, "?", type(e).__name__)

def raw(number, *args):
    def f():
        r = libc.syscall(ctypes.c_long(number), *[
            ctypes.c_char_p(a) if isinstance(a, bytes) else (a if not isinstance(a, int) else ctypes.c_long(a)) for a in args])
        if r < 0:
            raise OSError(ctypes.get_errno(), "")
        return r
    return f

def closing(f, path_only=False):
    def g():
        fd = f()
        try:
            fl = fcntl.fcntl(fd, fcntl.F_GETFL) & ~os.O_NOFOLLOW
            if fl & os.O_PATH or path_only:
                return stat.S_IFMT(os.fstat(fd).st_mode)
            return (oct(fl), fcntl.fcntl(fd, fcntl.F_GETFD), stat.S_IFMT(os.fstat(fd).st_mode))
        finally:
            os.close(fd)
    return g

os.umask(0o027)
os.mkdir("d"); os.mkdir("d/e", 0o777)
open("f", "w").write("hello"); open("d/g", "w").write("gg")
os.symlink("f", "l"); os.symlink("d", "ld"); os.symlink("nowhere", "dang"); os.symlink("loop", "loop")
os.symlink(base + "/d/g", "abs"); os.symlink("../f", "d/up"); os.symlink("new-by-link", "mk"); os.symlink("/", "root")
os.mkfifo("p"); os.symlink("ld", "lld")
s = socket.socket(socket.AF_UNIX); s.bind("sock"); s.listen(1)
dfd = os.open("d", os.O_RDONLY | os.O_DIRECTORY); pfd = os.open("d", os.O_PATH); ffd = os.open("f", os.O_RDWR)

def plain(p, nofollow):
    try: mode = (os.lstat if nofollow else os.stat)(p).st_mode
    except OSError: return True
    return stat.S_ISREG(mode) or stat.S_ISDIR(mode)

paths = ["f", "./f", "f/", "f/.", "f/x", "d", "d/", "d/.", "d/..", "d/../f", "d//g", "d/e/../../f", "l", "l/", "ld", "ld/", "ld/g",
         "ld/../f", "lld/g", "dang", "dang/", "loop", "loop/x", "abs", "d/up", "nope", "nope/", "nope/x", "", "/", "//", "/..", ".", "..",
         "x" * 255, "x" * 256, "d/" * 3000, "/" + "a/" * 2047, "root/etc/hostname", "sock", base + "/f", base + "/ld/../f",
         "/proc/self/fd/0", "/proc/self/cwd/f", "/proc/self/root/etc/hostname", "/proc/self/exe", "/proc/thread-self/comm",
         "/dev/null", "/dev/fd/0", "/proc/self", "/proc/self/", "/proc/mounts", "/proc/nope", "/proc/self/fd/999", "/etc/hostname/x",
         "/bin/sh", "/lib64/ld-linux-x86-64.so.2", "/usr/lib/../lib/os-release"]
for p in paths:
    n = p if len(p) < 60 else p[:20] + "…%d" % len(p)
    show("stat " + n, lambda: os.stat(p)); show("lstat " + n, lambda: os.lstat(p))
    for fl in ("O_RDONLY", "O_WRONLY", "O_RDWR", "O_PATH", "O_RDONLY|O_NOFOLLOW", "O_PATH|O_NOFOLLOW", "O_RDONLY|O_DIRECTORY", "O_PATH|O_DIRECTORY|O_NOFOLLOW",
               "O_RDONLY|O_CREAT|O_EXCL", "O_RDWR|O_APPEND", "O_PATH|O_CREAT"):
        if "EXCL" in fl and p.startswith("nope"): continue
        if p.startswith("/") and not p.startswith(base) and ("WR" in fl or "CREAT" in fl): continue
        if p in ("/proc/self/fd/0", "/dev/fd/0") and "W" in fl: continue
        if "PATH" in fl and not plain(p, "NOFOLLOW" in fl): continue  # Stated: no descriptor that only names one of these.
        flags = 0
        for x in fl.split("|"): flags |= getattr(os, x)
        show("open %s %s" % (n, fl), closing(lambda: os.open(p, flags | os.O_NONBLOCK if "PATH" not in fl else flags), "PATH" in fl))
        if p.startswith(("x" * 255,)):
            try: os.unlink(p)
            except OSError: pass
    show("access " + n, lambda: [os.access(p, m) for m in (os.F_OK, os.R_OK, os.X_OK)])
    show("accessw " + n, raw(439, -100, p.encode(), 2, 0x200))
    show("accesseff " + n, raw(439, -100, p.encode(), 4, 0x100))
    if "/proc/self/exe" != p and p not in ("/proc/self/fd/0",):
        show("readlink " + n, lambda: os.readlink(p) if p not in ("/proc/self",) else os.readlink(p) == str(os.getpid()))
    if p != "..": show("listdir " + n, lambda: sorted(os.listdir(p))[:5] if not p.startswith("/proc/self") and p != "/proc/nope" else len(os.listdir(p)) > 0)
    show("statvfs " + n, lambda: os.statvfs(p).f_bsize)
    show("getxattr " + n, lambda: os.getxattr(p, "user.none")); show("listxattr " + n, lambda: os.listxattr(p))
    show("chdir " + n, lambda: (os.chdir(p), os.getcwd() if not p.startswith("/proc") else "", os.chdir(base))[1])

for p in ["f", "l", "ld", "dang", "d", "nope", "", "p", "sock", "loop", "f/x", "d/g/"]:
    show("chmod " + p, lambda: os.chmod(p, 0o640)); show("chmodsuid " + p, lambda: None)
    show("chown " + p, lambda: os.chown(p, -1, -1)); show("lchown " + p, lambda: os.lchown(p, -1, -1))
    show("utime " + p, lambda: (os.utime(p, (5, 6)), os.stat(p).st_mtime)[1]); show("lutime " + p, lambda: os.utime(p, (7, 8), follow_symlinks=False))
    show("utimens bad " + p, raw(280, -100, p.encode(), struct.pack("qqqq", 1, 2 * 10**9, 1, 0), 0))
    show("truncate " + p, lambda: os.truncate(p, 3)); show("setxattr " + p, lambda: os.setxattr(p, "user.a", b"v"))
    show("getxattr2 " + p, lambda: os.getxattr(p, "user.a")); show("listx " + p, lambda: os.listxattr(p)); show("rmx " + p, lambda: os.removexattr(p, "user.a"))
    show("rmx again " + p, lambda: os.removexattr(p, "user.a"))

for p in ["n1", "d/n2", "ld/n3", "f", "l", "dang", "mk", "n4/", "nope/x", "f/x", "", ".", "..", "/", "d/.", "d/..", "loop", "d/n5//"]:
    show("mkdir " + p, lambda: os.mkdir(p, 0o775)); show("mode " + p, lambda: oct(os.lstat(p).st_mode))
    show("rmdir " + p, lambda: os.rmdir(p) if p not in ("", ".", "..", "/", "d/..", "d/.") else os.rmdir(p))
    show("symlink " + p, lambda: os.symlink("to", p)); show("unlink " + p, lambda: os.unlink(p) if p not in ("f", "l", "dang", "mk", "loop") else None)
    show("mkfifo " + p, lambda: os.mkfifo(p, 0o666)); show("unlink2 " + p, lambda: os.unlink(p) if p not in ("f", "l", "dang", "mk", "loop") else None)
    show("mknod dir " + p, lambda: os.mknod(p, stat.S_IFREG | 0o600)); show("unlink3 " + p, lambda: os.unlink(p) if p not in ("f", "l", "dang", "mk", "loop") else None)
    show("creat " + p, closing(lambda: os.open(p, os.O_CREAT | os.O_WRONLY, 0o666))); show("mode2 " + p, lambda: oct(os.lstat(p).st_mode))
    show("creat excl " + p, closing(lambda: os.open(p, os.O_CREAT | os.O_EXCL | os.O_WRONLY)))
    show("creat nofollow " + p, closing(lambda: os.open(p, os.O_CREAT | os.O_NOFOLLOW | os.O_WRONLY)))
    show("creat dir " + p, closing(lambda: os.open(p, os.O_CREAT | os.O_DIRECTORY)))
    show("unlink4 " + p, lambda: os.unlink(p) if p not in ("f", "l", "dang", "mk", "loop") else None)
show("by link", lambda: (os.path.exists("new-by-link"), os.path.exists("nowhere")))

for a, b in [("f", "f2"), ("f2", "f"), ("f", "d"), ("d", "f"), ("d/e", "d2"), ("d2", "d/e"), ("d", "d/e/x"), ("nope", "x"), ("f", "nope/x"), ("l", "l2"), ("l2", "l"),
             ("ld/", "x"), ("d/e/", "d/e3"), ("d/e3", "d/e/"), ("f/", "x"), ("f", "x/"), (".", "x"), ("..", "x"), ("d/.", "x"), ("f", "."), ("", "x"), ("f", ""),
             ("d/e", "d"), ("d", "ld"), ("f", "/proc/x"), ("f", "/dev/shm/x-none/y")]:
    show("rename %s %s" % (a, b), lambda: os.rename(a, b))
    show("noreplace %s %s" % (a, b), lambda: raw(316, -100, a.encode(), -100, b.encode(), 1)() if a != b and not (b and os.path.lexists(b) is False and a in ("f", "l", "d/e", "d/e/")) else None)
    show("exchange %s %s" % (a, b), lambda: (raw(316, -100, a.encode(), -100, b.encode(), 2)(), raw(316, -100, a.encode(), -100, b.encode(), 2)())[0])
    show("badflag %s %s" % (a, b), raw(316, -100, a.encode(), -100, b.encode(), 64))
    show("link %s %s" % (a, b), lambda: (os.link(a, b), os.unlink(b))[0])
    show("link follow %s %s" % (a, b), lambda: (os.link(a, b + "k", follow_symlinks=True), os.lstat(b + "k").st_nlink, os.unlink(b + "k"))[1])
show("tree", lambda: sorted(os.listdir(".")) + sorted(os.listdir("d")))

for d in (dfd, pfd, ffd, 999, -1):
    name = {dfd: "dfd", pfd: "pfd", ffd: "ffd"}.get(d, str(d))
    for p in ("g", "", ".", "..", "../f", "nope"):
        show("statat %s %s" % (name, p), lambda: os.stat(p, dir_fd=d)); show("openat %s %s" % (name, p), closing(lambda: os.open(p, os.O_RDONLY, dir_fd=d)))
        show("access %s %s" % (name, p), raw(269, d, p.encode(), 4)); show("abs %s" % name, lambda: os.stat(base + "/f", dir_fd=d).st_size)
    buf = ctypes.create_string_buffer(256)
    show("fstatat empty " + name, lambda: (raw(262, d, b"", buf, 0x1000)(), oct(struct.unpack_from("I", buf, 24)[0]))[1])
    show("fstatat noempty " + name, raw(262, d, b"", buf, 0)); show("fstatat flags " + name, raw(262, d, b"g", buf, 0x4))
    show("statx empty " + name, lambda: (raw(332, d, b"", 0x1000, 0xfff, buf)(), oct(struct.unpack_from("H", buf, 28)[0]))[1])
    show("fchmodat2 empty " + name, raw(452, d, b"", 0o750, 0x1000)); show("readlinkat empty " + name, raw(267, d, b"", buf, 256))
    if d == pfd: continue  # Judged, it is a descriptor for reading.
    show("utimensat null " + name, raw(280, d, 0, 0, 0))
    show("fchmod " + name, lambda: os.fchmod(d, 0o750)); show("fchown " + name, lambda: os.fchown(d, -1, -1))
    show("getdents " + name, lambda: raw(217, d, buf, 256)() > 0)
    show("getdents small " + name, raw(217, d, buf, 10)); show("fsetxattr " + name, lambda: os.setxattr(d, "user.b", b"x"))
show("readlink size 0", raw(267, -100, b"l", buf, 0))
show("readlink short", lambda: (raw(267, -100, b"abs", buf, 3)(), buf.raw[:3])); show("efault stat", raw(4, 8, buf)); show("efault out", raw(4, b"f", 8))
show("efault statx", raw(332, -100, b"f", 0, 0xfff, 8)); show("statx reserved", raw(332, -100, b"f", 0, 0x80000000, buf)); show("efault open", raw(2, 1, 0))
show("access bad", raw(21, b"f", 64)); show("mknod dir", raw(133, b"mm", 0o40755, 0)); show("mknod bad", raw(133, b"mm", 0o150644, 0))
show("unlinkat bad", raw(263, -100, b"f", 1)); show("unlinkat dir on file", raw(263, -100, b"f", 0x200)); show("rmdir nonempty", lambda: os.rmdir("d"))

def how(flags, mode=0, resolve=0): return struct.pack("QQQ", flags, mode, resolve)
for p, fl, mode, res in [("f", 0, 0, 0), ("f", 0, 0o644, 0), ("l", 0, 0, 4), ("ld/g", 0, 0, 4), ("l", 0, 0, 2), ("../x", 0, 0, 8), ("d/../f", 0, 0, 8), (base + "/f", 0, 0, 8),
                         ("abs", 0, 0, 8), ("d/up", 0, 0, 8), ("/f", 0, 0, 16), ("../../f", 0, 0, 16), ("/proc/self/cwd", 0, 0, 2), ("f", 0, 0, 24), ("f", 0, 0, 64),
                         ("f", 1 << 40, 0, 0), ("/dev/null", 0, 0, 1), ("d/g", 0, 0, 1), ("o2", 0o101, 0o644, 8), ("o2", 0o301, 0o644, 8), ("../o3", 0o101, 0o644, 8), ("f", 0o10000000, 0, 0)]:
    show("openat2 %s %o %o %d" % (p.replace(base, "BASE"), fl, mode, res), closing(raw(437, -100, p.encode(), how(fl, mode, res), 24), fl == 0o10000000))
show("openat2 small", raw(437, -100, b"f", how(0), 16)); show("openat2 big", raw(437, -100, b"f", how(0) + b"\1" * 8, 32)); show("openat2 zeros", closing(raw(437, -100, b"f", how(0) + b"\0" * 8, 32)))
t = os.open("d", os.O_TMPFILE | os.O_RDWR, 0o640); os.write(t, b"tmp")
show("tmpfile link", lambda: (os.link("/proc/self/fd/%d" % t, "named", follow_symlinks=True), open("named").read(), oct(os.stat("named").st_mode)))
show("tmpfile link again", lambda: raw(265, t, b"", -100, b"named2", 0x1000)()); show("tmpfile ro", lambda: os.open("d", os.O_TMPFILE | os.O_RDONLY)); show("tmpfile on file", lambda: os.open("f", os.O_TMPFILE | os.O_RDWR))
show("tmpfile stat", lambda: os.fstat(t).st_size); show("reopen", closing(lambda: os.open("/proc/self/fd/%d" % t, os.O_RDONLY))); show("memfd", lambda: (lambda m: (os.write(m, b"m"), os.stat("/proc/self/fd/%d" % m).st_size, open("/proc/self/fd/%d" % m).read(), os.fchmod(m, 0o600)))(os.memfd_create("m")))
r, w = os.pipe(); show("pipe", closing(lambda: os.open("/proc/self/fd/%d" % r, os.O_RDONLY | os.O_NONBLOCK))); show("pipe stat", lambda: stat.S_ISFIFO(os.stat("/dev/fd/%d" % r).st_mode)); show("sock open", lambda: os.open("sock", os.O_RDONLY))
show("sock fd open", lambda: os.open("/proc/self/fd/%d" % s.fileno(), os.O_RDONLY)); show("tty", lambda: os.open("/dev/tty", os.O_RDWR))
c = socket.socket(socket.AF_UNIX); show("connect", lambda: c.connect("sock")); show("connect file", lambda: socket.socket(socket.AF_UNIX).connect("f")); show("connect none", lambda: socket.socket(socket.AF_UNIX).connect("nope"))
show("bind taken", lambda: socket.socket(socket.AF_UNIX).bind("sock")); show("bind nodir", lambda: socket.socket(socket.AF_UNIX).bind("nope/x")); show("bind mode", lambda: oct(os.stat("sock").st_mode)); a = socket.socket(socket.AF_UNIX); show("abstract", lambda: a.bind("\0lookup-%d" % os.getpid()))
i = socket.socket(); show("inet", lambda: i.bind(("127.0.0.1", 0))); i.listen(1); j = socket.socket(); show("tcp", lambda: j.connect(i.getsockname())); k = socket.socket(); k.setblocking(False); show("tcp nb", lambda: k.connect(i.getsockname())); show("refused", lambda: socket.socket().connect(("127.0.0.1", 1)))
u = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); u.bind(("127.0.0.1", 0)); v = socket.socket(socket.AF_INET, socket.SOCK_DGRAM); show("udp", lambda: (v.sendto(b"hi", u.getsockname()), u.recv(9)))
ud = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); ud.bind("dg"); ue = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM); show("unix dgram", lambda: (ue.sendto(b"yo", "dg"), ud.recv(9))); show("badfd", raw(42, 999, b"\1\0", 2)); show("notsock", raw(42, ffd, b"\1\0", 2)); show("socketpair", lambda: socket.socketpair()[0].send(b"x"))
ino = libc.inotify_init1(0o4000); show("watch", lambda: raw(254, ino, b"d", 0x100)()); show("watch none", raw(254, ino, b"nope", 0x100)); show("watch onlydir", raw(254, ino, b"f", 0x01000100)); show("watch badfd", raw(254, ffd, b"d", 0x100)); show("watch again", lambda: raw(254, ino, b"ld", 0x200)())
open("d/watched", "w").close(); show("event", lambda: b"watched" in os.read(ino, 4096))
os.mkdir("many")
for n in range(300): open("many/file-with-a-long-name-%03d" % n, "w").close()
show("many", lambda: len(os.listdir("many"))); show("scandir", lambda: sum(e.is_file() for e in os.scandir("many"))); os.mkdir("gone"); g = os.open("gone", os.O_RDONLY); os.chdir("gone"); os.rmdir("../gone")
show("gone cwd", lambda: os.getcwd()); show("gone stat", lambda: os.stat("x")); show("gone dot", lambda: os.stat(".").st_nlink); show("gone creat", lambda: os.open("x", os.O_CREAT | os.O_WRONLY)); show("gone list", lambda: os.listdir(g)); show("gone up", lambda: os.path.basename(base) in os.listdir("../..") if False else len(os.listdir("..")) > 0); os.chdir(base)
show("exec none", lambda: os.execv("nope", ["x"])); show("exec dir", lambda: os.execv("d", ["x"])); show("exec noperm", lambda: os.execv("named", ["x"])); show("exec loop", lambda: os.execv("loop", ["x"])); open("scr", "w").write("#!/nope/interp\n"); os.chmod("scr", 0o755); show("exec badinterp", lambda: os.execv("scr", ["x"])); open("txt", "w").write("text"); os.chmod("txt", 0o755); show("exec text", lambda: os.execv("txt", ["x"]))
def spawn(*a): sys.stdout.flush(); return os.waitstatus_to_exitcode(os.waitpid(os.posix_spawn(a[0], list(a), os.environ), 0)[1])
open("ok", "w").write("#!/bin/sh\necho ran $0 $#\n"); os.chmod("ok", 0o755); show("script", lambda: spawn("./ok", "a", "b")); show("fexec", lambda: spawn("/proc/self/exe", "-c", "print('self')")); show("ns", lambda: stat.S_ISREG(os.stat("/proc/self/ns/net").st_mode)); show("suid dir", lambda: None)
import threading
show("blocked fifo", lambda: (threading.Thread(target=lambda: (time.sleep(0.05), open("p", "w").write("late"))).start(), open("p").read())[1])
import signal
def onalarm(*a): raise TimeoutError
signal.signal(signal.SIGALRM, onalarm); signal.setitimer(signal.ITIMER_REAL, 0.1); show("alarm", lambda: open("p")); signal.signal(signal.SIGALRM, signal.SIG_DFL)
