/* A disk that fails on order, for every process that this library is loaded into (LD_PRELOAD).
 *
 * Calls that change files below one folder are counted in a file that all of those processes map
 * (FAILING_DISK). At the call whose turn it is the whole process group dies, or the process gets a signal, or the
 * call gives an error, once or from then on. Wherever the call comes from, it is seen: Python, FFmpeg, Arrow, Rust's standard library.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/sendfile.h>
#include <sys/stat.h>
#include <sys/uio.h>
#include <unistd.h>

enum { OFF, COUNT, FAIL };
enum { LOG_BYTES = 1 << 22 };

/* fault_trials.py knows this layout. */
struct disk {
    long mode, calls, turn;
    long error; /* errno; 0: SIGKILL; below 0: that signal */
    long stays, failed, log_used;
    char folder[1024];
    char log[LOG_BYTES];
};
static struct disk *disk;

__attribute__((constructor)) static void find_disk(void) {
    const char *path = getenv("FAILING_DISK");
    int file = path ? open(path, O_RDWR | O_CLOEXEC) : -1;
    if (file < 0) return;
    void *found = mmap(NULL, sizeof *disk, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0);
    if (found != MAP_FAILED) disk = found;
    close(file);
}

#define REAL(result, name, ...)                                        \
    static result (*real)(__VA_ARGS__);                                \
    if (!real) real = (result (*)(__VA_ARGS__))dlsym(RTLD_NEXT, #name)

static int is_inside(const char *path) {
    size_t length = strlen(disk->folder);
    return !strncmp(path, disk->folder, length) && (path[length] == '/' || !path[length]);
}

static int name_of(int file, char *name) {
    char link[64];
    snprintf(link, sizeof link, "/proc/self/fd/%d", file);
    ssize_t length = readlink(link, name, PATH_MAX - 1);
    name[length > 0 ? length : 0] = 0;
    return length > 0;
}

static void full_name(int folder, const char *path, char *name) {
    char base[PATH_MAX] = "";
    if (path[0] != '/') {
        if (folder == AT_FDCWD) {
            if (!getcwd(base, sizeof base)) base[0] = 0;
        } else {
            name_of(folder, base);
        }
    }
    if (!strcmp(path, ".")) path = "";
    snprintf(name, PATH_MAX, "%.2000s%s%.2000s", base, base[0] && path[0] ? "/" : "", path);
}

static void note(const char *call, const char *name, const char *other) {
    char line[2 * PATH_MAX + 64];
    int length = snprintf(line, sizeof line, "%s\t%.2000s\t%.2000s\n", call, name, other);
    long start = __sync_fetch_and_add(&disk->log_used, length);
    if (start + length <= LOG_BYTES) memcpy(disk->log + start, line, length);
}

/* A full disk still forgets, one that cannot be written to still flushes. */
static int refuses(const char *call) {
    if (disk->error == ENOSPC) return strcmp(call, "unlink") && strcmp(call, "rmdir") && strcmp(call, "chmod");
    if (disk->error == EROFS) return strcmp(call, "fsync");
    return 1;
}

/* Whether the call fails, with errno set; it does not come back where the process is to die. */
static int fails(const char *call, const char *name, const char *other, int (*before_death)(void *), void *what) {
    if (!disk || disk->mode == OFF || !is_inside(name)) return 0;
    long number = __sync_fetch_and_add(&disk->calls, 1);
    note(call, name, other);
    if (disk->mode != FAIL || number < disk->turn || (number > disk->turn && !disk->stays)) return 0;
    if (disk->error < 0) {
        disk->failed = 1;
        kill(getpid(), (int)-disk->error);
        return 0;
    }
    if (!disk->error) {
        disk->failed = 1;
        if (before_death) before_death(what);
        kill(0, SIGKILL);
        for (;;) pause();
    }
    if (!refuses(call)) return 0;
    disk->failed = 1;
    errno = disk->error;
    return 1;
}

static int name_fails(const char *call, int folder, const char *path) {
    char name[PATH_MAX];
    if (!disk || disk->mode == OFF) return 0;
    full_name(folder, path, name);
    return fails(call, name, "", NULL, NULL);
}

static int file_fails(const char *call, int file) {
    char name[PATH_MAX];
    if (!disk || disk->mode == OFF || file <= 2 || !name_of(file, name)) return 0;
    return fails(call, name, "", NULL, NULL);
}

static int rename_fails(int folder, const char *from, int other, const char *to) {
    char name[PATH_MAX], target[PATH_MAX];
    if (!disk || disk->mode == OFF) return 0;
    full_name(folder, from, name);
    full_name(other, to, target);
    return fails("rename", name, target, NULL, NULL);
}

static int open_fails(int folder, const char *path, int flags) {
    int writes = (flags & O_ACCMODE) != O_RDONLY || flags & (O_CREAT | O_TRUNC);
    return writes && name_fails("open", folder, path);
}

#define OPEN(name)                                                     \
    int name(const char *path, int flags, ...) {                       \
        REAL(int, name, const char *, int, ...);                       \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                  \
        return open_fails(AT_FDCWD, path, flags) ? -1 : real(path, flags, mode); \
    }
#define OPENAT(name)                                                   \
    int name(int folder, const char *path, int flags, ...) {           \
        REAL(int, name, int, const char *, int, ...);                  \
        va_list rest;                                                  \
        va_start(rest, flags);                                         \
        mode_t mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(rest, mode_t) : 0; \
        va_end(rest);                                                  \
        return open_fails(folder, path, flags) ? -1 : real(folder, path, flags, mode); \
    }
OPEN(open)
OPEN(open64)
OPENAT(openat)
OPENAT(openat64)

/* C++ streams and OpenCV open by this one. */
#define FOPEN(name)                                                    \
    FILE *name(const char *path, const char *mode) {                   \
        REAL(FILE *, name, const char *, const char *);                \
        int writes = strpbrk(mode, "wa+") != NULL;                     \
        return writes && name_fails("open", AT_FDCWD, path) ? NULL : real(path, mode); \
    }
FOPEN(fopen)
FOPEN(fopen64)

struct piece {
    int file;
    const void *bytes;
    size_t count;
};

/* A process that dies in the midst of writing leaves a part of it. */
static int write_half(void *what) {
    struct piece *piece = what;
    REAL(ssize_t, write, int, const void *, size_t);
    return real(piece->file, piece->bytes, piece->count / 2) < 0;
}

ssize_t write(int file, const void *bytes, size_t count) {
    REAL(ssize_t, write, int, const void *, size_t);
    char name[PATH_MAX];
    struct piece piece = {file, bytes, count};
    if (disk && disk->mode != OFF && file > 2 && name_of(file, name)
        && fails("write", name, "", write_half, &piece)) return -1;
    return real(file, bytes, count);
}

ssize_t writev(int file, const struct iovec *pieces, int count) {
    REAL(ssize_t, writev, int, const struct iovec *, int);
    return file_fails("write", file) ? -1 : real(file, pieces, count);
}

#define PWRITE(name)                                                   \
    ssize_t name(int file, const void *bytes, size_t count, off_t at) { \
        REAL(ssize_t, name, int, const void *, size_t, off_t);         \
        return file_fails("write", file) ? -1 : real(file, bytes, count, at); \
    }
PWRITE(pwrite)
PWRITE(pwrite64)

#define SENDFILE(name)                                                 \
    ssize_t name(int file, int source, off_t *at, size_t count) {      \
        REAL(ssize_t, name, int, int, off_t *, size_t);                \
        return file_fails("write", file) ? -1 : real(file, source, at, count); \
    }
SENDFILE(sendfile)
SENDFILE(sendfile64)

ssize_t copy_file_range(int source, off_t *from, int file, off_t *to, size_t count, unsigned flags) {
    REAL(ssize_t, copy_file_range, int, off_t *, int, off_t *, size_t, unsigned);
    return file_fails("write", file) ? -1 : real(source, from, file, to, count, flags);
}

#define FTRUNCATE(name)                                                \
    int name(int file, off_t length) {                                 \
        REAL(int, name, int, off_t);                                   \
        return file_fails("truncate", file) ? -1 : real(file, length); \
    }
FTRUNCATE(ftruncate)
FTRUNCATE(ftruncate64)

int fsync(int file) {
    REAL(int, fsync, int);
    return file_fails("fsync", file) ? -1 : real(file);
}

int fdatasync(int file) {
    REAL(int, fdatasync, int);
    return file_fails("fsync", file) ? -1 : real(file);
}

int rename(const char *from, const char *to) {
    REAL(int, rename, const char *, const char *);
    return rename_fails(AT_FDCWD, from, AT_FDCWD, to) ? -1 : real(from, to);
}

int renameat(int folder, const char *from, int other, const char *to) {
    REAL(int, renameat, int, const char *, int, const char *);
    return rename_fails(folder, from, other, to) ? -1 : real(folder, from, other, to);
}

int renameat2(int folder, const char *from, int other, const char *to, unsigned flags) {
    REAL(int, renameat2, int, const char *, int, const char *, unsigned);
    return rename_fails(folder, from, other, to) ? -1 : real(folder, from, other, to, flags);
}

int unlink(const char *path) {
    REAL(int, unlink, const char *);
    return name_fails("unlink", AT_FDCWD, path) ? -1 : real(path);
}

int unlinkat(int folder, const char *path, int flags) {
    REAL(int, unlinkat, int, const char *, int);
    return name_fails(flags & AT_REMOVEDIR ? "rmdir" : "unlink", folder, path) ? -1 : real(folder, path, flags);
}

int rmdir(const char *path) {
    REAL(int, rmdir, const char *);
    return name_fails("rmdir", AT_FDCWD, path) ? -1 : real(path);
}

int mkdir(const char *path, mode_t mode) {
    REAL(int, mkdir, const char *, mode_t);
    return name_fails("mkdir", AT_FDCWD, path) ? -1 : real(path, mode);
}

int mkdirat(int folder, const char *path, mode_t mode) {
    REAL(int, mkdirat, int, const char *, mode_t);
    return name_fails("mkdir", folder, path) ? -1 : real(folder, path, mode);
}

int chmod(const char *path, mode_t mode) {
    REAL(int, chmod, const char *, mode_t);
    return name_fails("chmod", AT_FDCWD, path) ? -1 : real(path, mode);
}
