/* SPDX-License-Identifier: MIT */

#include "daemon/record.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/random.h"

#define NAME_PREFIX "/mono-handle-d."

#define LINE_MAX_SIZE (RECORD_NAME_MAX + 1 + 32 + 2)

static int hex_digit(char c)
{
        if (c >= '0' && c <= '9')
                return c - '0';
        if (c >= 'a' && c <= 'f')
                return c - 'a' + 10;
        return -1;
}

int record_make(Record *ret)
{
        Record record = {};
        uint64_t random;
        int r;

        r = random_u64(&random);
        if (r < 0)
                return r;
        (void)snprintf(record.name, sizeof(record.name), NAME_PREFIX "%u.%016" PRIx64, (unsigned)geteuid(), random);
        *ret = record;
        return 0;
}

/* The number between the two dots, as "%u" writes it. NULL, or what follows it. */
static const char *parse_uid(const char *s, uint64_t *ret)
{
        const char *p = s;
        uint64_t uid = 0;

        for (; *p >= '0' && *p <= '9' && uid <= UINT32_MAX; p++)
                uid = uid * 10 + (uint64_t)(*p - '0');
        if (p == s || uid > UINT32_MAX || (*s == '0' && p > s + 1))
                return NULL;
        *ret = uid;
        return p;
}

int record_check_name(const char *name)
{
        const size_t n = strlen(NAME_PREFIX);
        uint64_t uid;
        const char *p;

        p = strncmp(name, NAME_PREFIX, n) == 0 ? parse_uid(name + n, &uid) : NULL;
        if (!p || *p != '.' || strlen(p + 1) != 16)
                return -EBADMSG;
        for (p++; *p; p++)
                if (hex_digit(*p) < 0)
                        return -EBADMSG;
        return uid != geteuid();
}

static int parse_id(const char *s, uint8_t ret[static 16])
{
        for (size_t i = 0; i < 16; i++) {
                int high = hex_digit(s[2 * i]);
                int low = high < 0 ? -1 : hex_digit(s[2 * i + 1]);

                if (low < 0)
                        return -EBADMSG;
                ret[i] = (uint8_t)(high << 4 | low);
        }
        return s[32] == '\0' ? 0 : -EBADMSG;
}

/* The line without its end. 1: it is of another user. */
static int parse_line(char *line, Record *ret)
{
        Record record = {};
        char *blank;
        int r, other;

        blank = strchr(line, ' ');
        if (!blank || (size_t)(blank - line) >= sizeof(record.name))
                return -EBADMSG;
        *blank = '\0';
        other = record_check_name(line);
        if (other < 0)
                return other;
        memcpy(record.name, line, strlen(line));
        r = parse_id(blank + 1, record.id);
        if (r < 0)
                return r;
        *ret = record;
        return other;
}

int record_read(const char *path, Record *ret)
{
        _cleanup_close_ int fd = -1;
        char line[LINE_MAX_SIZE + 1];
        struct stat st;
        ssize_t n;
        int r;

        assert(path && ret);

        /* Not following links, not waiting for a FIFO: what lies there may be anything. */
        fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
        if (fd < 0)
                return errno == ELOOP || errno == ENXIO ? -EBADMSG : -errno; /* a link, or a socket */
        if (fstat(fd, &st) < 0)
                return -errno;
        if (!S_ISREG(st.st_mode))
                return -EBADMSG;

        do
                n = read(fd, line, sizeof(line) - 1);
        while (n < 0 && errno == EINTR);
        if (n < 0)
                return -errno;
        line[n] = '\0';
        if (n == 0 || memchr(line, 0, (size_t)n) || line[n - 1] != '\n')
                return -EBADMSG;
        line[n - 1] = '\0';
        r = parse_line(line, ret);
        return r == 0 && st.st_uid != geteuid() ? 1 : r;
}

static int write_line(int fd, const Record *record)
{
        char line[LINE_MAX_SIZE];
        size_t size = 0, done = 0;

        size += (size_t)snprintf(line, sizeof(line), "%s ", record->name);
        for (size_t i = 0; i < sizeof(record->id); i++)
                size += (size_t)snprintf(line + size, sizeof(line) - size, "%02x", record->id[i]);
        line[size++] = '\n';

        while (done < size) {
                ssize_t n = write(fd, line + done, size - done);

                if (n < 0 && errno == EINTR)
                        continue;
                if (n < 0)
                        return -errno;
                done += (size_t)n;
        }
        return 0;
}

int record_write(const char *path, const Record *record)
{
        _cleanup_close_ int fd = -1;
        char temporary[PATH_MAX];
        int n, r;

        assert(path && record);

        n = snprintf(temporary, sizeof(temporary), "%s.new", path);
        if (n < 0 || (size_t)n >= sizeof(temporary))
                return -ENAMETOOLONG;

        /* A daemon that died left it: nobody else writes here while we hold the lock. */
        if (unlink(temporary) < 0 && errno != ENOENT)
                return -errno;
        fd = open(temporary, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
        if (fd < 0)
                return -errno;
        r = write_line(fd, record);
        if (r == 0 && rename(temporary, path) < 0)
                r = -errno;
        if (r < 0)
                (void)unlink(temporary);
        return r;
}

int record_remove(const char *path)
{
        return unlink(path) < 0 && errno != ENOENT ? -errno : 0;
}
