/* A disk that takes IMG.JPG and img.jpg for one file, as those of Macs, Windows and cameras do.
 * Loaded before the C library: every name below $CASEFOLD that is not there as it is written is
 * looked for among its neighbours without regard to case. */
#define _GNU_SOURCE
#include <dirent.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/stat.h>
#include <unistd.h>

#define REAL(name) ((typeof(&name))dlsym(RTLD_NEXT, #name))

static const char *real_name(const char *path, char *out)
{
    const char *root = getenv("CASEFOLD");
    size_t length = root ? strlen(root) : 0;
    if (!length || !path || strncmp(path, root, length) || path[length] != '/' || strlen(path) >= PATH_MAX)
        return path;
    strcpy(out, root);
    for (const char *at = path + length; *at;) {
        char part[NAME_MAX + 1];
        size_t count = strcspn(++at, "/");
        if (count > NAME_MAX)
            return path;
        memcpy(part, at, count);
        part[count] = 0;
        at += count;
        DIR *folder = count ? REAL(opendir)(out) : NULL;
        for (struct dirent *entry; folder && (entry = readdir(folder));)
            if (!strcasecmp(entry->d_name, part)) {
                strcpy(part, entry->d_name);
                break;
            }
        if (folder)
            closedir(folder);
        strcat(strcat(out, "/"), part);
    }
    return out;
}

#define FOLD(path) char folded[PATH_MAX]; path = real_name(path, folded)
#define FOLD2(path) char other[PATH_MAX]; path = real_name(path, other)
#define OPEN(name) \
    int name(const char *path, int flags, ...) \
    { va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); FOLD(path); return REAL(name)(path, flags, mode); }
#define OPENAT(name) \
    int name(int at, const char *path, int flags, ...) \
    { va_list more; va_start(more, flags); int mode = va_arg(more, int); va_end(more); FOLD(path); return REAL(name)(at, path, flags, mode); }
#define ONE(result, name, declared, given) result name declared { FOLD(path); return REAL(name) given; }
#define TWO(name, declared, given) int name declared { FOLD(path); FOLD2(to); return REAL(name) given; }

OPEN(open) OPEN(open64) OPENAT(openat) OPENAT(openat64)
ONE(int, stat, (const char *path, struct stat *s), (path, s))
ONE(int, stat64, (const char *path, struct stat64 *s), (path, s))
ONE(int, lstat, (const char *path, struct stat *s), (path, s))
ONE(int, lstat64, (const char *path, struct stat64 *s), (path, s))
ONE(int, fstatat, (int at, const char *path, struct stat *s, int f), (at, path, s, f))
ONE(int, fstatat64, (int at, const char *path, struct stat64 *s, int f), (at, path, s, f))
ONE(int, mkdir, (const char *path, mode_t m), (path, m))
ONE(int, rmdir, (const char *path), (path))
ONE(int, unlink, (const char *path), (path))
ONE(int, access, (const char *path, int m), (path, m))
ONE(int, chmod, (const char *path, mode_t m), (path, m))
ONE(int, utimensat, (int at, const char *path, const struct timespec t[2], int f), (at, path, t, f))
ONE(ssize_t, readlink, (const char *path, char *b, size_t n), (path, b, n))
ONE(DIR *, opendir, (const char *path), (path))
TWO(rename, (const char *path, const char *to), (path, to))
TWO(link, (const char *path, const char *to), (path, to))
TWO(linkat, (int a, const char *path, int b, const char *to, int f), (a, path, b, to, f))
ONE(int, symlink, (const char *to, const char *path), (to, path))
