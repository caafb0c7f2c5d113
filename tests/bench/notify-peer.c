/* SPDX-License-Identifier: MIT */

/*
 * The least that can be a service of the same kind: gets its listening socket from the service manager, says that it is
 * ready, and answers each packet with itself. It has no state, so all that its restart takes is the manager's.
 */

#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include <systemd/sd-daemon.h>

#define CLIENTS_MAX 16

int main(void)
{
        struct pollfd fds[1 + CLIENTS_MAX] = { { .fd = SD_LISTEN_FDS_START, .events = POLLIN } };
        nfds_t n = 1;

        if (sd_listen_fds(1) != 1)
                return EXIT_FAILURE;
        (void)sd_notify(0, "READY=1");
        for (;;) {
                if (poll(fds, n, -1) < 0 && errno != EINTR)
                        return EXIT_FAILURE;
                for (nfds_t i = n; i-- > 1;) {
                        char packet[256];
                        ssize_t size;

                        if (!fds[i].revents)
                                continue;
                        size = recv(fds[i].fd, packet, sizeof(packet), 0);
                        if (size > 0 && send(fds[i].fd, packet, (size_t)size, MSG_NOSIGNAL) == size)
                                continue;
                        (void)close(fds[i].fd);
                        fds[i] = fds[--n];
                }
                if (fds[0].revents && n <= CLIENTS_MAX) {
                        int fd = accept4(SD_LISTEN_FDS_START, NULL, NULL, SOCK_CLOEXEC);

                        if (fd >= 0)
                                fds[n++] = (struct pollfd){ .fd = fd, .events = POLLIN };
                }
        }
}
