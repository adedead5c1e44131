/* What a call costs: microseconds for each, the best of five rounds. */
#define _GNU_SOURCE
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static double now(void) { struct timespec t; clock_gettime(CLOCK_MONOTONIC, &t); return t.tv_sec * 1e6 + t.tv_nsec / 1e3; }
#define COST(name, n, call) do { double best = 1e9; for (int r = 0; r < 5; r++) { double t = now(); for (int i = 0; i < n; i++) { call; } \
    t = (now() - t) / n; if (t < best) best = t; } printf("%-28s %7.2f\n", name, best); } while (0)

int main(void) {
    struct stat st; char b[64];
    mkdir("d", 0755); mkdir("d/e", 0755); close(open("d/e/f", O_CREAT | O_WRONLY, 0644)); symlink("d", "l");
    for (int i = 0; i < 100; i++) { snprintf(b, 64, "d/n%d", i); close(open(b, O_CREAT | O_WRONLY, 0644)); }
    int at = open("d", O_RDONLY);
    COST("getppid", 20000, getppid());
    COST("nothing, but asked", 5000, sendto(-1, b, 1, 0, 0, 0));
    COST("stat absolute", 5000, stat("/usr/bin/env", &st));
    COST("stat relative", 5000, stat("d/e/f", &st));
    COST("stat missing", 5000, stat("d/e/none", &st));
    COST("stat through a link", 5000, stat("l/e/f", &st));
    COST("stat at", 5000, fstatat(at, "e/f", &st, 0));
    COST("stat /lib/…", 5000, stat("/lib/x86_64-linux-gnu/libc.so.6", &st));
    COST("open+close absolute", 5000, close(open("/usr/bin/env", O_RDONLY)));
    COST("open+close relative", 5000, close(open("d/e/f", O_RDONLY)));
    COST("open+close for writing", 5000, close(open("d/e/f", O_RDWR)));
    COST("open+close missing", 5000, close(open("d/e/none", O_RDONLY)));
    COST("fstatat empty", 5000, fstatat(at, "", &st, AT_EMPTY_PATH));
    COST("create+unlink", 2000, (close(open("d/new", O_CREAT | O_WRONLY, 0644)), unlink("d/new")));
    COST("rename there and back", 2000, (rename("d/e/f", "d/g"), rename("d/g", "d/e/f")));
    COST("list 100 names", 500, { DIR *l = opendir("d"); while (readdir(l)); closedir(l); });
    return 0;
}
