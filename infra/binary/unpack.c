/* The single file: it holds a folder, compressed, unpacks it once per build into a place of the user's own, and
 * becomes the Python in there. Linked statically, so that it starts wherever the kernel does.
 *
 *     PLACE/unpacked/lock      held by who unpacks
 *     PLACE/unpacked/new-PID   being unpacked; whole once it is renamed
 *     PLACE/unpacked/BUILD     the folder of a build; locked, shared, by every process that runs from it
 *
 * PLACE is the first of these that can be used: $COGFLARE_UNPACK (and then no other), $CACHE_DIRECTORY of
 * systemd, $XDG_CACHE_HOME/cogflare, $HOME/.cache/cogflare, /var/tmp/cogflare-UID, /tmp/cogflare-UID. What others
 * could have written is never run. Folders of other builds that nobody runs from are removed when one is made.
 *
 * The archive: entries of a byte for the kind ('x' a program, 'f' a file, 'e' the end), two for the length of the
 * path, four for the length of the content (little-endian), the path, the content.
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <ftw.h>
#include <dirent.h>
#include <limits.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>
#include <zlib.h>

__asm__(".section .rodata\n"
        ".global archive, archive_end\n"
        "archive: .incbin \"" ARCHIVE "\"\n"
        "archive_end:\n"
        ".previous\n");
extern const unsigned char archive[], archive_end[];

enum { CANNOT_UNPACK = 5 }; /* ExitCode.STORAGE of edge/exits.py */

static char problem[PATH_MAX + 256]; /* why the last place cannot be used */

static bool failed(const char *what, const char *path) {
    snprintf(problem, sizeof problem, "%s %s: %s", what, path, strerror(errno));
    return false;
}

/* ---- places ------------------------------------------------------------------------------------------- */

static bool make_folders(char *path) {
    for (char *slash = path + 1;; slash++) {
        if (*slash != '/' && *slash != '\0') continue;
        char end = *slash;
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST || (errno == EROFS && access(path, F_OK) == 0);
        *slash = end;
        if (!made) return failed("cannot make", path);
        if (end == '\0') return true;
    }
}

/* Nobody but root and this user may put anything into the folder, if it is ours, or exchange one that leads to it. */
static bool only_ours(const char *path, bool ours) {
    char real[PATH_MAX];
    if (realpath(path, real) == NULL) return failed("cannot find", path);
    for (;; ours = false) {
        struct stat found;
        const char *folder = real[0] ? real : "/";
        if (lstat(folder, &found) != 0) return failed("cannot look at", folder);
        bool foreign = found.st_uid != geteuid() && (ours || found.st_uid != 0);
        bool sticky = !ours && (found.st_mode & S_ISVTX);
        if (foreign || (!sticky && (found.st_mode & 022))) {
            errno = EPERM;
            return failed("others may write to", folder);
        }
        char *slash = strrchr(real, '/');
        if (slash == NULL) return true;
        *slash = '\0';
    }
}

static bool usable(char *place) {
    struct statvfs system;
    if (place[0] != '/') {
        errno = EINVAL;
        return failed("not an absolute path:", place);
    }
    char there[PATH_MAX]; /* what is there already: nothing is made in another user's folder */
    snprintf(there, sizeof there, "%s", place);
    while (access(there, F_OK) != 0 && strrchr(there, '/') != there) *strrchr(there, '/') = '\0';
    if (access(there, F_OK) == 0 && !only_ours(there, false)) return false;
    if (!make_folders(place) || !only_ours(place, true)) return false;
    if (statvfs(place, &system) != 0) return failed("cannot look at", place);
    if (system.f_flag & ST_NOEXEC) {
        errno = EACCES;
        return failed("programs cannot run from", place);
    }
    return true;
}

/* ---- unpacking ---------------------------------------------------------------------------------------- */

struct reader {
    z_stream stream;
};

static bool take(struct reader *from, void *bytes, size_t length) {
    from->stream.next_out = bytes;
    from->stream.avail_out = length;
    while (from->stream.avail_out > 0) {
        int state = inflate(&from->stream, Z_NO_FLUSH);
        if (state != Z_OK && !(state == Z_STREAM_END && from->stream.avail_out == 0)) {
            errno = EILSEQ;
            return failed("this file is damaged:", "its archive cannot be read");
        }
    }
    return true;
}

static uint32_t number(const unsigned char *bytes, int length) {
    uint32_t value = 0;
    while (length-- > 0) value = value << 8 | bytes[length];
    return value;
}

static bool write_file(struct reader *from, char *path, mode_t mode, uint32_t length) {
    static unsigned char block[1 << 18];
    int file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    if (file < 0 && errno == ENOENT) {
        char *name = strrchr(path, '/');
        *name = '\0';
        bool made = make_folders(path);
        *name = '/';
        if (!made) return false;
        file = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, mode);
    }
    if (file < 0) return failed("cannot write", path);
    while (length > 0) {
        uint32_t part = length < sizeof block ? length : sizeof block;
        if (!take(from, block, part)) return close(file), false;
        for (uint32_t done = 0; done < part;) {
            ssize_t written = write(file, block + done, part - done);
            if (written < 0) return failed("cannot write", path), close(file), false;
            done += written;
        }
        length -= part;
    }
    if (close(file) != 0) return failed("cannot write", path);
    return true;
}

static bool unpack_into(const char *folder) {
    struct reader from = {.stream = {.next_in = (unsigned char *)archive, .avail_in = archive_end - archive}};
    if (inflateInit(&from.stream) != Z_OK) {
        errno = ENOMEM;
        return failed("cannot unpack into", folder);
    }
    bool good;
    unsigned char head[7];
    while ((good = take(&from, head, sizeof head)) && head[0] != 'e') {
        char path[PATH_MAX], name[1024];
        uint32_t length = number(head + 1, 2);
        if (length >= sizeof name) {
            errno = ENAMETOOLONG;
            good = failed("cannot unpack into", folder);
            break;
        }
        if (!(good = take(&from, name, length))) break;
        name[length] = '\0';
        snprintf(path, sizeof path, "%.*s/%s", PATH_MAX - 1026, folder, name);
        if (!(good = write_file(&from, path, head[0] == 'x' ? 0700 : 0600, number(head + 3, 4)))) break;
    }
    inflateEnd(&from.stream);
    return good;
}

static int remove_one(const char *path, const struct stat *found, int type, struct FTW *where) {
    (void)found, (void)type, (void)where;
    return remove(path);
}

static void remove_tree(const char *path) {
    nftw(path, remove_one, 32, FTW_DEPTH | FTW_PHYS);
}

/* What killed processes have left, and builds that nobody runs from. The lock is held. */
static void remove_unused(const char *unpacked) {
    DIR *folder = opendir(unpacked);
    if (folder == NULL) return;
    for (struct dirent *entry; (entry = readdir(folder)) != NULL;) {
        if (entry->d_name[0] == '.' || strcmp(entry->d_name, "lock") == 0 || strcmp(entry->d_name, BUILD) == 0)
            continue;
        char path[PATH_MAX];
        snprintf(path, sizeof path, "%.*s/%s", PATH_MAX - 258, unpacked, entry->d_name);
        int other = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (other < 0) continue;
        if (flock(other, LOCK_EX | LOCK_NB) == 0) remove_tree(path);
        close(other);
    }
    closedir(folder);
}

/* Run from the build's folder, if it is there whole: locked from here on, until the program that this becomes has
 * ended. So neither another build nor systemd-tmpfiles takes it away. */
static bool hold(const char *build) {
    for (;;) {
        int folder = open(build, O_RDONLY | O_DIRECTORY);
        if (folder < 0) return false;
        struct stat held, there;
        if (flock(folder, LOCK_SH) == 0 && fstat(folder, &held) == 0 && stat(build, &there) == 0 &&
            held.st_ino == there.st_ino)
            return true;
        close(folder); /* it was being removed */
    }
}

static bool prepare(const char *unpacked, const char *build) {
    char path[PATH_MAX];
    if (hold(build)) return true;
    snprintf(path, sizeof path, "%.*s/lock", PATH_MAX - 32, unpacked);
    int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (lock < 0 || flock(lock, LOCK_EX) != 0) return failed("cannot lock", path);
    bool good = hold(build); /* unpacked by another, while we waited */
    if (!good) {
        remove_unused(unpacked);
        snprintf(path, sizeof path, "%.*s/new-%d", PATH_MAX - 32, unpacked, (int)getpid());
        good = unpack_into(path);
        /* A power cut must not leave the name without the content. */
        if (good && syncfs(lock) != 0) good = failed("cannot write", path);
        if (good && rename(path, build) != 0) good = failed("cannot write", build);
        if (good) good = hold(build);
        else remove_tree(path);
    }
    close(lock);
    return good;
}

/* ---- start -------------------------------------------------------------------------------------------- */

static void run(const char *build, int count, char **words) {
    static char program[PATH_MAX];
    snprintf(program, sizeof program, "%.*s/bin/cogflare-python", PATH_MAX - 32, build);
    char **line = calloc(count + 4, sizeof *line);
    if (line == NULL) {
        failed("cannot start", program);
        return;
    }
    line[0] = program;
    line[1] = "-IB";
    line[2] = "-m";
    line[3] = "edge.cli";
    memcpy(line + 4, words + 1, (count - 1) * sizeof *line);
    if (access("/proc/self/exe", F_OK) != 0) { /* where no /proc is, the loader cannot see where a program lies */
        char folder[PATH_MAX];
        snprintf(folder, sizeof folder, "%.*s/bin", PATH_MAX - 32, build);
        setenv("LD_ORIGIN_PATH", folder, 1);
    }
    execv(program, line);
    failed("cannot start", program);
}

static void try(const char *place, int count, char **words) {
    char unpacked[PATH_MAX], build[PATH_MAX];
    snprintf(unpacked, sizeof unpacked, "%.*s/unpacked", PATH_MAX - 128, place);
    snprintf(build, sizeof build, "%.*s/" BUILD, PATH_MAX - 64, unpacked);
    if (usable(unpacked) && prepare(unpacked, build)) run(build, count, words);
}

int main(int count, char **words) {
    static const struct {
        const char *variable, *below;
    } places[] = {{"CACHE_DIRECTORY", ""}, {"XDG_CACHE_HOME", "/cogflare"}, {"HOME", "/.cache/cogflare"}};
    static const char *const shared[] = {"/var/tmp", "/tmp"};
    char place[PATH_MAX];
    const char *named = getenv("COGFLARE_UNPACK");
    umask(077);
    if (named != NULL && *named) {
        try(named, count, words);
    } else {
        for (size_t i = 0; i < sizeof places / sizeof *places; i++) {
            const char *base = getenv(places[i].variable);
            if (base == NULL || !*base || strchr(base, ':')) continue;
            snprintf(place, sizeof place, "%.*s%s", PATH_MAX - 64, base, places[i].below);
            try(place, count, words);
        }
        for (size_t i = 0; i < sizeof shared / sizeof *shared; i++) {
            snprintf(place, sizeof place, "%s/cogflare-%u", shared[i], (unsigned)geteuid());
            try(place, count, words);
        }
    }
    fprintf(stderr, "cogflare: there is no place to unpack into: %s (name a folder of yours: COGFLARE_UNPACK=DIR)\n",
            problem);
    return CANNOT_UNPACK;
}
