/* Let each call about a file below a folder answer late, and count the calls; see __main__.py.

   Reads and writes of an open file are not delayed, which a client of a network file system does in its own memory.
   Such a client may also remember names and attributes for some seconds; here each call asks anew, so that this is
   the worst case. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

enum kind { OPEN, STAT, LIST, CHANGE, LOCK, SYNC, KINDS }; /* KINDS in __main__.py has the same order */
static atomic_long nowhere[KINDS];
static atomic_long *calls = nowhere;

/* All processes count in one file, since some of them end without a last word. */
__attribute__((constructor)) static void share_counts(void) {
    const char *path = getenv("SLOW_FILES_COUNTS");
    long file = path == NULL ? -1 : syscall(SYS_openat, AT_FDCWD, path, O_RDWR, 0);
    if (file < 0) return;
    void *shared = mmap(NULL, sizeof nowhere, PROT_READ | PROT_WRITE, MAP_SHARED, (int)file, 0);
    if (shared != MAP_FAILED) calls = shared;
    close((int)file);
}

static int is_below(const char *path) {
    const char *folder = getenv("SLOW_FILES_BELOW");
    char here[2 * PATH_MAX];
    if (folder == NULL || path == NULL) return 0;
    if (path[0] != '/') {
        if (getcwd(here, PATH_MAX) == NULL) return 0;
        strcat(here, "/");
        strncat(here, path, PATH_MAX - 2);
        path = here;
    }
    size_t length = strlen(folder);
    return strncmp(path, folder, length) == 0 && (path[length] == '/' || path[length] == 0);
}

static void wait_for(enum kind kind) {
    const char *ms = getenv("SLOW_FILES_MS");
    double seconds = ms == NULL ? 0 : atof(ms) / 1e3;
    struct timespec rest = {(time_t)seconds, (long)((seconds - (time_t)seconds) * 1e9)};
    atomic_fetch_add(&calls[kind], 1);
    while (nanosleep(&rest, &rest) != 0) {}
}

static void delay(enum kind kind, const char *path) {
    if (is_below(path)) wait_for(kind);
}

static void delay_descriptor(enum kind kind, int descriptor) {
    char link[64], path[PATH_MAX];
    snprintf(link, sizeof link, "/proc/self/fd/%d", descriptor);
    ssize_t length = readlink(link, path, sizeof path - 1);
    if (length <= 0) return;
    path[length] = 0;
    delay(kind, path);
}

/* What a path is relative to: an absolute one to nothing, others to a descriptor, which is then asked for its own. */
static void delay_at(enum kind kind, int descriptor, const char *path) {
    if (path != NULL && (path[0] == '/' || (descriptor == AT_FDCWD && path[0] != 0))) delay(kind, path);
    else if (descriptor != AT_FDCWD && (path == NULL || path[0] != 0)) delay_descriptor(kind, descriptor);
    /* an empty path asks about an open file, which a client knows */
}

#define REAL(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))
#define MODE(flags, mode) \
    mode_t mode = 0; \
    if ((flags) & (O_CREAT | O_TMPFILE)) { \
        va_list rest; \
        va_start(rest, flags); \
        mode = va_arg(rest, mode_t); \
        va_end(rest); \
    }
#define OPEN_AS(name) \
    int name(const char *path, int flags, ...) { \
        MODE(flags, mode) \
        delay(OPEN, path); \
        return REAL(name)(path, flags, mode); \
    }
#define OPEN_AT_AS(name) \
    int name(int descriptor, const char *path, int flags, ...) { \
        MODE(flags, mode) \
        delay_at(OPEN, descriptor, path); \
        return REAL(name)(descriptor, path, flags, mode); \
    }
OPEN_AS(open)
OPEN_AS(open64)
OPEN_AT_AS(openat)
OPEN_AT_AS(openat64)

#define PATH_FIRST(kind, type, name, parameters, arguments) \
    type name parameters { \
        delay(kind, path); \
        return REAL(name) arguments; \
    }
#define AT_FIRST(kind, name, parameters, arguments) \
    int name parameters { \
        delay_at(kind, at, path); \
        return REAL(name) arguments; \
    }
PATH_FIRST(OPEN, FILE *, fopen, (const char *path, const char *mode), (path, mode))
PATH_FIRST(OPEN, FILE *, fopen64, (const char *path, const char *mode), (path, mode))
PATH_FIRST(STAT, int, stat, (const char *path, struct stat *into), (path, into))
PATH_FIRST(STAT, int, stat64, (const char *path, struct stat64 *into), (path, into))
PATH_FIRST(STAT, int, lstat, (const char *path, struct stat *into), (path, into))
PATH_FIRST(STAT, int, lstat64, (const char *path, struct stat64 *into), (path, into))
PATH_FIRST(STAT, int, access, (const char *path, int mode), (path, mode))
PATH_FIRST(STAT, ssize_t, readlink, (const char *path, char *into, size_t size), (path, into, size))
PATH_FIRST(LIST, DIR *, opendir, (const char *path), (path))
PATH_FIRST(CHANGE, int, rename, (const char *path, const char *to), (path, to))
PATH_FIRST(CHANGE, int, unlink, (const char *path), (path))
PATH_FIRST(CHANGE, int, mkdir, (const char *path, mode_t mode), (path, mode))
PATH_FIRST(CHANGE, int, rmdir, (const char *path), (path))
PATH_FIRST(CHANGE, int, chmod, (const char *path, mode_t mode), (path, mode))
PATH_FIRST(CHANGE, int, link, (const char *path, const char *to), (path, to))
AT_FIRST(STAT, fstatat, (int at, const char *path, struct stat *into, int flags), (at, path, into, flags))
AT_FIRST(STAT, fstatat64, (int at, const char *path, struct stat64 *into, int flags), (at, path, into, flags))
AT_FIRST(STAT, statx, (int at, const char *path, int flags, unsigned mask, struct statx *into), (at, path, flags, mask, into))
AT_FIRST(STAT, faccessat, (int at, const char *path, int mode, int flags), (at, path, mode, flags))
AT_FIRST(CHANGE, unlinkat, (int at, const char *path, int flags), (at, path, flags))
AT_FIRST(CHANGE, mkdirat, (int at, const char *path, mode_t mode), (at, path, mode))
AT_FIRST(CHANGE, fchmodat, (int at, const char *path, mode_t mode, int flags), (at, path, mode, flags))
AT_FIRST(CHANGE, renameat, (int at, const char *path, int to_at, const char *to), (at, path, to_at, to))

int flock(int descriptor, int operation) {
    delay_descriptor(LOCK, descriptor);
    return REAL(flock)(descriptor, operation);
}

int fsync(int descriptor) {
    delay_descriptor(SYNC, descriptor);
    return REAL(fsync)(descriptor);
}

int fdatasync(int descriptor) {
    delay_descriptor(SYNC, descriptor);
    return REAL(fdatasync)(descriptor);
}

#define FCNTL_AS(name) \
    int name(int descriptor, int command, ...) { \
        va_list rest; \
        va_start(rest, command); \
        void *argument = va_arg(rest, void *); \
        va_end(rest); \
        if (command == F_SETLK || command == F_SETLKW || command == F_OFD_SETLK || command == F_OFD_SETLKW) \
            delay_descriptor(LOCK, descriptor); \
        return REAL(name)(descriptor, command, argument); \
    }
FCNTL_AS(fcntl)
FCNTL_AS(fcntl64)
