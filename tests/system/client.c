/* SPDX-License-Identifier: MIT */

/*
 * A client that does what its standard input says, a line at a time, and answers each with one line: "ok" and what the
 * call told, or "error" and the name of the errno. So a shell script can hold several clients and kill any of them.
 *
 *   attach, detach, id, new TYPE, open H, close H, put H WORD, get H, alloc SIZE, free S, give S H, store WORD, text S,
 *   fill HANDLES BYTES, work (and hold nothing more afterwards)
 *
 * With arguments it is a crowd instead: "client race PROCESSES ROUNDS PAUSE" forks PROCESSES, each of which attaches, makes
 * and closes a handle and detaches, ROUNDS times, with a random pause of up to PAUSE milliseconds in between.
 */

#include <errno.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include <monohandle.h>

#define SCRATCH_PIECE 65536U

static mh_client *client;

static uint64_t number(const char *word)
{
        return word ? strtoull(word, NULL, 0) : 0;
}

static int do_payload(const char *verb, mh_handle h, const char *word)
{
        size_t size;
        void *data;
        int r;

        r = mh_payload(client, h, &data, &size);
        if (r < 0)
                return r;

        if (strcmp(verb, "put") == 0) {
                (void)snprintf(data, size, "%s", word ?: "");
                printf("ok\n");
        } else
                printf("ok %.*s\n", (int)size, (const char *)data);
        return 0;
}

/* Holds so many handles more, and so much scratch in pieces. */
static int do_fill(uint64_t handles, uint64_t bytes)
{
        mh_scratch s;
        mh_handle h;
        int r;

        for (uint64_t i = 0; i < handles; i++) {
                r = mh_new(client, MH_TYPE_EVENT, &h);
                if (r < 0)
                        return r;
        }
        for (uint64_t i = 0; i < bytes; i += SCRATCH_PIECE) {
                r = mh_scratch_alloc(client, SCRATCH_PIECE, &s);
                if (r < 0)
                        return r;
        }
        printf("ok\n");
        return 0;
}

static int do_scratch(const char *verb, const char *a, const char *b)
{
        const char *text;
        mh_scratch s;
        int r;

        if (strcmp(verb, "alloc") == 0) {
                r = mh_scratch_alloc(client, number(a), &s);
                if (r >= 0)
                        printf("ok %" PRIu64 "\n", s);
        } else if (strcmp(verb, "store") == 0) {
                r = mh_scratch_store_string(client, a ?: "", &s);
                if (r >= 0)
                        printf("ok %" PRIu64 "\n", s);
        } else if (strcmp(verb, "text") == 0) {
                r = mh_scratch_get_string(client, number(a), &text);
                if (r >= 0)
                        printf("ok %s\n", text);
        } else if (strcmp(verb, "free") == 0) {
                r = mh_scratch_free(client, number(a));
                if (r >= 0)
                        printf("ok\n");
        } else if (strcmp(verb, "give") == 0) {
                r = mh_scratch_give(client, number(a), number(b));
                if (r >= 0)
                        printf("ok\n");
        } else
                return -EBADRQC;

        return r;
}

static int do_handle(const char *verb, const char *a)
{
        unsigned flags;
        mh_handle h;
        int r, type;

        if (strcmp(verb, "new") == 0) {
                r = mh_new(client, (int)number(a), &h);
                if (r >= 0)
                        printf("ok %" PRIu64 "\n", h);
        } else if (strcmp(verb, "open") == 0) {
                r = mh_open(client, number(a), &type);
                if (r >= 0)
                        printf("ok %d\n", type);
        } else if (strcmp(verb, "close") == 0) {
                r = mh_close(client, number(a), &flags);
                if (r >= 0)
                        printf("ok %u\n", flags);
        } else
                return -EBADRQC;

        return r;
}

/* Enough of it for the library to look after its connection, if the time has come. */
static int do_work(void)
{
        mh_handle h;
        int r = 0;

        for (unsigned i = 0; i < 300 && r >= 0; i++) {
                r = mh_new(client, MH_TYPE_EVENT, &h);
                if (r >= 0)
                        r = mh_close(client, h, NULL);
        }
        if (r >= 0)
                printf("ok\n");
        return r;
}

static int do_attachment(const char *verb)
{
        int r = 0;

        if (strcmp(verb, "attach") == 0) {
                r = client ? -EALREADY : mh_attach(&client, NULL, 0);
                if (r >= 0)
                        printf("ok\n");
        } else if (strcmp(verb, "detach") == 0) {
                client = mh_detach(client);
                printf("ok\n");
        } else if (strcmp(verb, "id") == 0) {
                r = mh_client_id(client);
                if (r >= 0)
                        printf("ok %d\n", r);
        } else if (strcmp(verb, "work") == 0)
                return do_work();
        else
                return -EBADRQC;

        return r;
}

static int obey(char *line)
{
        const char *verb, *a, *b;
        char *save;
        int r;

        verb = strtok_r(line, " \n", &save);
        if (!verb)
                return -EBADRQC;
        a = strtok_r(NULL, " \n", &save);
        b = strtok_r(NULL, " \n", &save);

        if (strcmp(verb, "put") == 0 || strcmp(verb, "get") == 0)
                return do_payload(verb, number(a), b);
        if (strcmp(verb, "fill") == 0)
                return do_fill(number(a), number(b));

        r = do_attachment(verb);
        if (r == -EBADRQC)
                r = do_handle(verb, a);
        if (r == -EBADRQC)
                r = do_scratch(verb, a, b);
        return r;
}

static int one_round(void)
{
        mh_client *c;
        unsigned flags;
        mh_handle h;
        int r;

        r = mh_attach(&c, NULL, 0);
        if (r < 0)
                return r;
        r = mh_new(c, MH_TYPE_MUTEX, &h);
        if (r >= 0)
                r = mh_close(c, h, &flags);
        if (r >= 0 && flags != (MH_CLOSED_HERE | MH_CLOSED_EVERYWHERE))
                r = -EPROTO;
        mh_detach(c);
        return r;
}

static void pause_up_to(unsigned ms)
{
        struct timespec ts;
        unsigned us;

        if (ms == 0)
                return;
        us = (unsigned)random() % (ms * 1000);
        ts = (struct timespec){ .tv_sec = us / 1000000, .tv_nsec = us % 1000000 * 1000 };
        (void)nanosleep(&ts, NULL);
}

static int racer(unsigned rounds, unsigned pause)
{
        srandom((unsigned)getpid());
        for (unsigned i = 0; i < rounds; i++) {
                int r = one_round();

                if (r < 0) {
                        printf("error in round %u: %s\n", i, strerrorname_np(-r));
                        return EXIT_FAILURE;
                }
                pause_up_to(pause);
        }
        return EXIT_SUCCESS;
}

static int race(unsigned processes, unsigned rounds, unsigned pause)
{
        bool good = true;
        int status;

        for (unsigned i = 0; i < processes; i++) {
                pid_t pid = fork();

                if (pid < 0)
                        return EXIT_FAILURE;
                if (pid == 0)
                        exit(racer(rounds, pause));
        }
        while (wait(&status) > 0)
                good = good && status == 0;

        printf(good ? "ok %u\n" : "lost some of %u\n", processes * rounds);
        return good ? EXIT_SUCCESS : EXIT_FAILURE;
}

int main(int argc, char *argv[])
{
        char line[4096];

        if (argc == 5 && strcmp(argv[1], "race") == 0)
                return race((unsigned)number(argv[2]), (unsigned)number(argv[3]), (unsigned)number(argv[4]));

        (void)setvbuf(stdout, NULL, _IOLBF, 0);
        while (fgets(line, sizeof(line), stdin)) {
                int r = obey(line);

                if (r < 0)
                        printf("error %s\n", strerrorname_np(-r));
        }

        /* What this client held is left to the daemon to be found: who wants to detach says so. */
        return EXIT_SUCCESS;
}
