/* Races against the judging of lookups, for two seconds. Prints what was gained; nothing, if all is well. */
#define _GNU_SOURCE
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

static atomic_int stop;
static char path[64] = "open";

/* The path's memory: a harmless name and a denied one in turn. */
static void *flip(void *unused) {
    while (!stop) { memcpy(path, "open", 5); memcpy(path, ".env", 5); memcpy(path, "./sub/private/a", 16); memcpy(path, "later", 6); }
    return unused;
}
/* A symlink, and a name that a directory and a link have in turn. */
static void *relink(void *unused) {
    while (!stop) {
        symlink("open", "s.new"); rename("s.new", "s"); symlink(".env", "s.new"); rename("s.new", "s");
        rename("dir", "aside"); symlink("sub/private", "dir"); unlink("dir"); rename("aside", "dir");
        rename("dir", ".git/hooks"); rename("f", ".git/config"); syscall(SYS_renameat2, AT_FDCWD, "s", AT_FDCWD, "open2", 2);
    }
    return unused;
}
static void check(int fd, const char *how) {
    char text[32] = "";
    if (fd < 0) return;
    if (read(fd, text, 31) > 0 && strstr(text, "TOP")) { printf("read by %s\n", how); fflush(stdout); }
    close(fd);
}
static void *look(void *unused) {
    while (!stop) {
        struct stat st;
        check(open(path, O_RDONLY), "memory");
        check(open("s", O_RDONLY), "symlink");
        check(open("dir/a", O_RDONLY), "directory");
        if (stat(path, &st) == 0 && st.st_size == 10) { printf("stat\n"); fflush(stdout); }
        if (stat("s", &st) == 0 && st.st_size == 10) { printf("stat of symlink\n"); fflush(stdout); }
        int at = open("dir", O_RDONLY | O_DIRECTORY);
        if (at >= 0) { check(openat(at, "../.env", O_RDONLY), "parent"); check(openat(at, "a", O_RDONLY), "dirfd"); close(at); }
    }
    return unused;
}
static void *change(void *unused) {
    while (!stop) {
        int fd = open("dir/x", O_CREAT | O_WRONLY, 0644);
        if (fd >= 0) { write(fd, "x", 1); close(fd); }
        fd = open(path, O_WRONLY | O_TRUNC);
        if (fd >= 0) close(fd);
        fd = open("s", O_WRONLY | O_CREAT | O_TRUNC, 0644);
        if (fd >= 0) close(fd);
        link("s", "l"); check(open("l", O_RDONLY), "link"); unlink("l");
        link(path, "l"); check(open("l", O_RDONLY), "link of memory"); unlink("l");
        rename(path, "m"); check(open("m", O_RDONLY), "rename"); rename("m", "open");
        chdir(path); chdir("s");
        DIR *list = opendir(".");
        for (struct dirent *e; list && (e = readdir(list));)
            if (!strcmp(e->d_name, ".env") || !strcmp(e->d_name, "private")) { printf("listed %s\n", e->d_name); fflush(stdout); }
        if (list) closedir(list);
        close(open("open", O_CREAT | O_WRONLY, 0644)); close(open("f", O_CREAT | O_WRONLY, 0644));
    }
    return unused;
}
int main(void) {
    mkdir("dir", 0755); close(open("dir/a", O_CREAT | O_WRONLY, 0644)); close(open("open", O_CREAT | O_WRONLY, 0644));
    void *(*all[])(void *) = {flip, relink, relink, look, look, change};
    pthread_t threads[6];
    for (int i = 0; i < 6; i++) pthread_create(&threads[i], 0, all[i], 0);
    nanosleep(&(struct timespec){2, 0}, 0);
    stop = 1;
    for (int i = 0; i < 6; i++) pthread_join(threads[i], 0);
    return 0;
}
