/* SPDX-License-Identifier: MIT */

/* The kinds of messages.h against the catalog: neither has what the other has not, and the texts can be filled in. */

#include <criterion/criterion.h>
#include <ctype.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "daemon/log.h"
#include "daemon/messages.h"

/* MONO_HANDLE_TEST_CATALOG is given by the build. */

#define TEXTS 100

typedef struct Entry {
        char id[33];
        char *text; /* all of it, header and body */
} Entry;

#define KIND(kind, id, burst, fields) { #kind, id, burst, fields },
static const struct {
        const char *name, *id;
        unsigned burst;
        const char *fields;
} kinds[] = { MESSAGES(KIND) };

static Entry entries[TEXTS];
static size_t n_entries;

static void read_catalog(void)
{
        _cleanup_fclose_ FILE *f = fopen(MONO_HANDLE_TEST_CATALOG, "re");
        _cleanup_free_ char *line = NULL;
        size_t size = 0, length = 0;
        FILE *text = NULL;

        cr_assert_not_null(f);
        while (getline(&line, &size, f) >= 0) {
                if (strncmp(line, "-- ", 3) == 0) {
                        cr_assert_lt(n_entries, TEXTS);
                        if (text)
                                (void)fclose(text);
                        cr_assert_eq(strlen(line), 36, "%s", line);
                        memcpy(entries[n_entries].id, line + 3, 32);
                        text = open_memstream(&entries[n_entries++].text, &length);
                } else if (text) {
                        (void)fputs(line, text);
                } else {
                        cr_assert(line[0] == '#' || line[0] == '\n', "before the first entry: %s", line);
                }
        }
        cr_assert_not_null(text);
        (void)fclose(text);
}

static void forget_catalog(void)
{
        for (size_t i = 0; i < n_entries; i++)
                free(entries[i].text);
}

TestSuite(messages, .init = read_catalog, .fini = forget_catalog);

static const char *text_of(const char *id)
{
        for (size_t i = 0; i < n_entries; i++)
                if (strcmp(entries[i].id, id) == 0)
                        return entries[i].text;
        return NULL;
}

static size_t kind_of(const char *id)
{
        size_t i = 0;

        while (i < ELEMENTSOF(kinds) && strcmp(kinds[i].id, id) != 0)
                i++;
        return i;
}

Test(messages, ids_are_ids_and_differ)
{
        cr_assert_null(log_message_id(MESSAGE_NONE));
        cr_assert_eq(ELEMENTSOF(kinds), MESSAGE_KIND_COUNT - 1);
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++) {
                cr_assert_str_eq(log_message_id((MessageKind)(i + 1)), kinds[i].id);
                cr_assert_eq(strlen(kinds[i].id), 32);
                cr_assert_eq(strspn(kinds[i].id, "0123456789abcdef"), 32);
                cr_assert_eq(kinds[i].id[12], '4', "random, by its version");
                cr_assert_eq(kind_of(kinds[i].id), i, "%s is there twice", kinds[i].id);
                cr_assert_gt(kinds[i].burst, 0);
        }
}

Test(messages, each_is_explained_and_nothing_else)
{
        for (size_t i = 0; i < ELEMENTSOF(kinds); i++)
                cr_assert_not_null(text_of(kinds[i].id), "%s is not explained", kinds[i].name);
        for (size_t i = 0; i < n_entries; i++) {
                cr_assert_lt(kind_of(entries[i].id), ELEMENTSOF(kinds), "%s is no message", entries[i].id);
                cr_assert_eq(text_of(entries[i].id), entries[i].text, "%s is there twice", entries[i].id);
        }
}

Test(messages, form_of_an_entry)
{
        for (size_t i = 0; i < n_entries; i++) {
                const char *text = entries[i].text, *body = strstr(text, "\n\n"), *line = text;

                cr_assert_eq(strncmp(text, "Subject: ", 9), 0, "%s", entries[i].id);
                cr_assert_not_null(body);
                cr_assert(strstr(text, "\nDefined-By: mono-handle-d\n") && strstr(text, "\nDefined-By:") < body);
                cr_assert(strstr(text, "\nDocumentation: man:") && strstr(text, "\nDocumentation:") < body);
                for (; line < body; line = strchr(line, '\n') + 1)
                        cr_assert(strncmp(line, "Subject: ", 9) == 0 || strncmp(line, "Defined-By: ", 12) == 0 ||
                                          strncmp(line, "Documentation: ", 15) == 0,
                                  "%s", line);
                /* What happened, what was done, what one can do: paragraphs. */
                cr_assert_geq(strlen(body), 200, "%s explains little", entries[i].id);
                cr_assert_not_null(strstr(body + 2, "\n\n"));
                cr_assert_null(strchr(text, '\t'));
        }
}

/* Is it one of the words? */
static bool is_field(const char *fields, const char *name, size_t n)
{
        for (const char *p = fields; *p;) {
                size_t length = strcspn(p, " ");

                if (length == n && strncmp(p, name, n) == 0)
                        return true;
                p += length + strspn(p + length, " ");
        }
        return false;
}

Test(messages, texts_use_the_fields_that_a_record_has)
{
        for (size_t i = 0; i < n_entries; i++) {
                const char *fields = kinds[kind_of(entries[i].id)].fields;

                for (const char *p = entries[i].text; (p = strchr(p, '@')); p++) {
                        const char *name = p + 1;

                        p = strchr(name, '@');
                        cr_assert_not_null(p, "%s", entries[i].id);
                        cr_assert(is_field(fields, name, (size_t)(p - name)), "%s has no %.*s", entries[i].id,
                                  (int)(p - name), name);
                }
                /* And what a record must have is of use. */
                for (const char *p = fields; *p;) {
                        size_t n = strcspn(p, " ");
                        char variable[64];

                        (void)snprintf(variable, sizeof(variable), "@%.*s@", (int)n, p);
                        cr_assert(strstr(entries[i].text, variable) || strcmp(variable, "@MONO_HANDLE_SEGMENT@") == 0,
                                  "%s does not say %s", entries[i].id, variable);
                        p += n + strspn(p + n, " ");
                }
        }
}

static int journalctl(const char *root, const char *what)
{
        char option[64];
        pid_t pid = fork();
        int status = -1;

        (void)snprintf(option, sizeof(option), "--root=%s", root);
        if (pid == 0) {
                (void)execlp("journalctl", "journalctl", option, what, (char *)NULL);
                _exit(127);
        }
        cr_assert_eq(waitpid(pid, &status, 0), pid);
        return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

Test(messages, journalctl_reads_the_catalog)
{
        static const char *const below[] = { "usr", "usr/lib", "usr/lib/systemd", "usr/lib/systemd/catalog",
                                             "var", "var/lib", "var/lib/systemd", "var/lib/systemd/catalog" };
        char root[] = "/tmp/mono-handle-d-catalog-XXXXXX", path[128], database[160];
        struct stat st;
        int r;

        cr_assert_not_null(mkdtemp(root));
        for (size_t i = 0; i < ELEMENTSOF(below); i++) {
                (void)snprintf(path, sizeof(path), "%s/%s", root, below[i]);
                cr_assert_eq(mkdir(path, 0755), 0);
        }
        (void)snprintf(database, sizeof(database), "%s/database", path);
        (void)snprintf(path, sizeof(path), "%s/usr/lib/systemd/catalog/mono-handle-d.catalog", root);
        cr_assert_eq(symlink(MONO_HANDLE_TEST_CATALOG, path), 0);

        r = journalctl(root, "--update-catalog");
        if (r == 0)
                r = stat(database, &st) < 0 ? -1 : st.st_size < 4096 ? -2 : 0;

        (void)unlink(database);
        (void)unlink(path);
        for (size_t i = ELEMENTSOF(below); i > 0; i--) {
                (void)snprintf(path, sizeof(path), "%s/%s", root, below[i - 1]);
                (void)rmdir(path);
        }
        (void)rmdir(root);
        if (r == 127)
                cr_skip_test("there is no journalctl");
        cr_assert_eq(r, 0);
}
