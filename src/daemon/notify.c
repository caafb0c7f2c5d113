/* SPDX-License-Identifier: MIT */

#include "daemon/notify.h"

#include <assert.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <systemd/sd-daemon.h>

#include "base/cleanup.h"

/* One line of a status; more is cut. */
#define STATUS_MAX 256

/* The manager's limit for a name, and the characters that it takes. */
#define NAME_MAX_LENGTH 255

static int name_check(const char *name)
{
        size_t n = strlen(name);

        if (n == 0 || n > NAME_MAX_LENGTH)
                return -EINVAL;
        for (const char *p = name; *p; p++)
                if ((unsigned char)*p < ' ' || (unsigned char)*p >= 127 || *p == ':')
                        return -EINVAL;
        return 0;
}

int notify_ready(void)
{
        return sd_notify(0, "READY=1");
}

int notify_status(const char *text)
{
        char message[sizeof("STATUS=") + STATUS_MAX];

        assert(text);

        (void)snprintf(message, sizeof(message), "STATUS=%s", text);
        /* A second line would be another assignment. */
        for (char *p = message; *p; p++)
                if (*p == '\n')
                        *p = ' ';
        return sd_notify(0, message);
}

int notify_stopping(void)
{
        return sd_notify(0, "STOPPING=1");
}

int notify_store_fd(const char *name, int fd)
{
        char message[sizeof("FDSTORE=1\nFDNAME=") + NAME_MAX_LENGTH];
        int r;

        assert(name);

        r = name_check(name);
        if (r < 0)
                return r;
        (void)snprintf(message, sizeof(message), "FDSTORE=1\nFDNAME=%s", name);
        return sd_pid_notify_with_fds(0, 0, message, &fd, 1);
}

int notify_remove_fd(const char *name)
{
        char message[sizeof("FDSTOREREMOVE=1\nFDNAME=") + NAME_MAX_LENGTH];
        int r;

        assert(name);

        r = name_check(name);
        if (r < 0)
                return r;
        (void)snprintf(message, sizeof(message), "FDSTOREREMOVE=1\nFDNAME=%s", name);
        return sd_notify(0, message);
}
