/* SPDX-License-Identifier: MIT */

#include "daemon/options.h"

#include <assert.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "base/format.h"
#include "base/parse.h"

#define PROGRAM            "mono_handle_d"
#define ENVIRONMENT_PREFIX "MONO_HANDLE_D_"
#define SHM_DIRECTORY      "/dev/shm"

/* Where the size of the file system cannot be told, or is not bounded. */
#define SCRATCH_FALLBACK (UINT64_C(1) << 30)

/* Why a value was refused. */
#define WHY_MAX 256

typedef struct Option Option;

struct Option {
        const char *name;
        const char *value; /* what stands for it in --help; NULL: it takes none */
        const char *fallback;
        const char *help; /* lines */
        int (*read)(Options *o, const Option *option, const char *text, char why[static WHY_MAX]);
        size_t offset; /* of the field */
        uint64_t min, max;
};

/* ------------------------------------------------------------------------------------------------ kinds of values */

static _printf_(2, 3) int refuse(char why[static WHY_MAX], const char *format, ...)
{
        va_list ap;

        va_start(ap, format);
        (void)vsnprintf(why, WHY_MAX, format, ap);
        va_end(ap);
        return -EINVAL;
}

static void *field(Options *o, const Option *option)
{
        return (char *)o + option->offset;
}

static int read_path(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        char directory[PATH_MAX] = "";
        char *path = field(o, option);

        if (text[0] != '/' && !getcwd(directory, sizeof(directory)))
                return refuse(why, "is relative to a directory that cannot be told");
        if (snprintf(path, PATH_MAX, "%s%s%s", directory, text[0] == '/' ? "" : "/", text) >= PATH_MAX)
                return refuse(why, "is too long");
        return 0;
}

static int read_duration(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        uint64_t *usec = field(o, option);

        if (parse_duration(text, usec) < 0)
                return refuse(why, "is not a duration such as 60s, 500ms or infinity");
        return 0;
}

/* With a minimum, a maximum, and "infinity" for the maximum where the help says so. */
static int read_bounded(const Option *option, const char *text, bool size, uint64_t *ret, char why[static WHY_MAX])
{
        char min[FORMAT_MAX], max[FORMAT_MAX];
        bool endless = option->max == PARSE_INFINITY;
        uint64_t value;
        int r;

        if (endless && strcmp(text, "infinity") == 0) {
                *ret = PARSE_INFINITY;
                return 0;
        }
        r = size ? parse_size(text, &value) : parse_u64(text, 0, UINT64_MAX, &value);
        if (r == -EINVAL)
                return refuse(why, "is not %s%s", size ? "a size such as 4096, 64K or 2G" : "a number",
                              endless ? ", nor infinity" : "");
        if (r >= 0 && value >= option->min && value <= option->max) {
                *ret = value;
                return 0;
        }
        if (endless)
                return refuse(why, "is out of range: at least %" PRIu64, option->min);
        if (size)
                return refuse(why, "is out of range: from %s to %s", format_size(min, option->min),
                              format_size(max, option->max));
        return refuse(why, "is out of range: from %" PRIu64 " to %" PRIu64, option->min, option->max);
}

static int read_size(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        return read_bounded(option, text, true, field(o, option), why);
}

static int read_u64(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        return read_bounded(option, text, false, field(o, option), why);
}

static int read_u32(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        uint32_t *number = field(o, option);
        uint64_t value;
        int r;

        assert(option->max <= UINT32_MAX);

        r = read_bounded(option, text, false, &value, why);
        if (r >= 0)
                *number = (uint32_t)value;
        return r;
}

static int read_bool(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        bool *value = field(o, option);

        if (strcmp(text, "yes") != 0 && strcmp(text, "no") != 0)
                return refuse(why, "is neither yes nor no");
        *value = text[0] == 'y';
        return 0;
}

static int read_level(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        if (log_level_from_string(text, &o->log_level) < 0)
                return refuse(why, "is none of emerg, alert, crit, error, warning, notice, info, debug, 0 to 7");
        return 0;
}

static int read_target(Options *o, const Option *option, const char *text, char why[static WHY_MAX])
{
        if (log_target_from_string(text, &o->log_target) < 0)
                return refuse(why, "is none of auto, journal, stderr");
        return 0;
}

/* ------------------------------------------------------------------------------------------------ the table */

#define NUMBER_TEXT_(n) #n
#define NUMBER_TEXT(n)  NUMBER_TEXT_(n)

/* A fallback of NULL: computed, and said in the help. */
static const Option table[] = {
        { "socket", "PATH", NULL,
          "Where to listen, and where the lock and the record of the segment stand\n"
          "beside it. Default: $XDG_RUNTIME_DIR/mono-handle-d/socket",
          read_path, offsetof(Options, socket), 0, 0 },
        { "idle-timeout", "DURATION", "60s",
          "Leave after this time without clients and connections. 0: at once;\n"
          "infinity: never",
          read_duration, offsetof(Options, idle_timeout_usec), 0, 0 },
        { "hello-timeout", "DURATION", "10s", "Close a connection that has not said hello by then", read_duration,
          offsetof(Options, hello_timeout_usec), 0, 0 },
        { "connections", "N", "4096", "Connections at once, 1 to 65536; those beyond wait to be accepted", read_u32,
          offsetof(Options, connections), 1, OPTIONS_CONNECTIONS_MAX },
        { "handles", "N", "1048576",
          "Room for so many handles, 512 to 16777216, rounded up to a multiple of\n"
          "512. Of a new segment, as are the next two",
          read_u32, offsetof(Options, segment.n_slots), OPTIONS_HANDLES_MIN, OPTIONS_HANDLES_MAX },
        { "clients", "N", "1024",
          "Client ids, 2 to 4096. The daemon itself is one, so N - 1 clients can\n"
          "be attached at once",
          read_u32, offsetof(Options, segment.n_clients), OPTIONS_CLIENTS_MIN, OPTIONS_CLIENTS_MAX },
        { "scratch", "SIZE", NULL,
          "Room for so much scratch memory, 64K to 1T, rounded up to a multiple of\n"
          "64K. Nothing of it is taken before it is used. Default: half of " SHM_DIRECTORY,
          read_size, offsetof(Options, segment.scratch_bytes), OPTIONS_SCRATCH_STEP, OPTIONS_SCRATCH_MAX },
        { "client-handles", "N", "infinity",
          "Handles that one client may hold. Binding for clients that do not map\n"
          "the segment; for those that do, advice that the library follows",
          read_u64, offsetof(Options, segment.limit_client_handles), 1, PARSE_INFINITY },
        { "client-scratch", "SIZE", "infinity", "Scratch memory that one client may hold; as above", read_size,
          offsetof(Options, segment.limit_client_scratch), 1, PARSE_INFINITY },
        { "sweep", "YESNO", "yes",
          "At the start, remove segments in " SHM_DIRECTORY " that are proven to be\n"
          "nobody's: yes or no",
          read_bool, offsetof(Options, sweep), 0, 0 },
        { "log-level", "LEVEL", "info",
          "The least that is told: emerg, alert, crit, error, warning, notice,\n"
          "info, debug",
          read_level, 0, 0, 0 },
        { "log-target", "TARGET", "auto", "journal, stderr, or auto: the journal if stderr goes there anyway",
          read_target, 0, 0, 0 },
        { "help", NULL, NULL, "Show this, and exit", NULL, 0, 0, 0 },
        { "version", NULL, NULL, "Show the version, and exit", NULL, 0, 0, 0 },
};

#define ENVIRONMENT_MAX 64

/* "idle-timeout" is MONO_HANDLE_D_IDLE_TIMEOUT. */
static const char *environment_name(const Option *option, char buffer[static ENVIRONMENT_MAX])
{
        (void)snprintf(buffer, ENVIRONMENT_MAX, ENVIRONMENT_PREFIX "%s", option->name);
        for (char *p = buffer; *p; p++)
                *p = *p == '-' ? '_' : (char)toupper(*p);
        return buffer;
}

static const Option *find(const char *name, size_t n)
{
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (strlen(table[i].name) == n && strncmp(table[i].name, name, n) == 0)
                        return &table[i];
        return NULL;
}

static void print_help(FILE *out)
{
        char name[ENVIRONMENT_MAX];

        (void)fputs("Usage: " PROGRAM " [OPTION...]\n"
                    "\n"
                    "Keeps track of handles and scratch memory that the processes of a user share,\n"
                    "and takes back what a process held when it dies.\n"
                    "\n"
                    "Each option is also an environment variable, for the unit; the command line\n"
                    "wins. Durations are like 500ms, 60s or 2min, sizes like 4096, 64K or 2G.\n",
                    out);
        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const Option *o = &table[i];

                (void)fprintf(out, "\n  --%s%s%s", o->name, o->value ? "=" : "", o->value ?: "");
                if (o->fallback)
                        (void)fprintf(out, " (default: %s)", o->fallback);
                (void)fputc('\n', out);
                for (const char *line = o->help, *end; line; line = *end ? end + 1 : NULL) {
                        end = strchrnul(line, '\n');
                        (void)fprintf(out, "        %.*s\n", (int)(end - line), line);
                }
                if (o->value)
                        (void)fprintf(out, "        $%s\n", environment_name(o, name));
        }
        (void)fputs("\nExit status: 0 when it left because it was idle or asked to, 1 when something\n"
                    "failed, " NUMBER_TEXT(
                            OPTIONS_EXIT_WRONG) " when an option is wrong, 3 when the segment that is there is of a\n"
                                                "version that this daemon does not know.\n"
                                                "\n"
                                                "See mono_handle_d(8), mono-handlectl(1).\n",
                    out);
}

/* ------------------------------------------------------------------------------------------------ defaults */

static int default_socket(Options *o, FILE *err)
{
        const char *runtime = getenv("XDG_RUNTIME_DIR");

        if (!runtime || runtime[0] != '/') {
                (void)fputs(PROGRAM ": --socket is needed, because $XDG_RUNTIME_DIR is not set\n", err);
                return -EINVAL;
        }
        if (snprintf(o->socket, sizeof(o->socket), "%s/mono-handle-d/socket", runtime) >= (int)sizeof(o->socket)) {
                (void)fputs(PROGRAM ": $XDG_RUNTIME_DIR is too long\n", err);
                return -EINVAL;
        }
        return 0;
}

/* Half of the file system that the segment's pages come from, so that others find room there, too. */
static uint64_t default_scratch(void)
{
        uint64_t bytes = SCRATCH_FALLBACK;
        struct statvfs fs;

        if (statvfs(SHM_DIRECTORY, &fs) >= 0 && fs.f_blocks > 0)
                bytes = fs.f_blocks / 2 * fs.f_frsize & ~(OPTIONS_SCRATCH_STEP - 1);
        return MIN(MAX(bytes, OPTIONS_SCRATCH_STEP), OPTIONS_SCRATCH_MAX);
}

/* ------------------------------------------------------------------------------------------------ reading */

/* `origin` is how whoever wrote the value knows it: "--handles" or "$MONO_HANDLE_D_HANDLES". */
static int set(Options *o, const Option *option, const char *text, const char *origin, FILE *err)
{
        char why[WHY_MAX];

        if (!*text)
                (void)refuse(why, "is empty");
        else if (option->read(o, option, text, why) >= 0)
                return 0;
        (void)fprintf(err, PROGRAM ": %s: \"%s\" %s\n", origin, text, why);
        return -EINVAL;
}

static int read_environment(Options *o, FILE *err)
{
        char name[ENVIRONMENT_MAX], origin[ENVIRONMENT_MAX + 1];
        int r;

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                const char *text;

                if (!table[i].value)
                        continue;
                text = getenv(environment_name(&table[i], name));
                if (!text || !*text)
                        continue;
                (void)snprintf(origin, sizeof(origin), "$%s", name);
                r = set(o, &table[i], text, origin, err);
                if (r < 0)
                        return r;
        }
        return 0;
}

static int wrong(FILE *err, const char *argument, const char *why)
{
        (void)fprintf(err, PROGRAM ": %s: %s. Try --help\n", argument, why);
        return -EINVAL;
}

/* The argument at *i, and the next one if it is its value. OPTIONS_DONE after --help and --version. */
static int read_argument(Options *o, int argc, char *const argv[], int *i, FILE *out, FILE *err)
{
        const char *argument = argv[*i], *equals, *text;
        char origin[64];
        const Option *option;

        if (strcmp(argument, "-h") == 0)
                argument = "--help";
        if (argument[0] != '-')
                return wrong(err, argument, "arguments are not expected");
        equals = strchrnul(argument, '=');
        option = strncmp(argument, "--", 2) == 0 ? find(argument + 2, (size_t)(equals - argument) - 2) : NULL;
        if (!option)
                return wrong(err, argument, "there is no such option");
        if (!option->value) {
                if (*equals)
                        return wrong(err, argument, "this option takes no value");
                if (strcmp(option->name, "help") == 0)
                        print_help(out);
                else
                        (void)fputs(PROGRAM " " MONO_HANDLE_D_VERSION "\n", out);
                return OPTIONS_DONE;
        }

        text = *equals ? equals + 1 : argv[*i + 1];
        if (!text)
                return wrong(err, argument, "a value is missing");
        if (!*equals)
                (*i)++;
        (void)snprintf(origin, sizeof(origin), "--%s", option->name);
        return set(o, option, text, origin, err);
}

/* 0, OPTIONS_DONE, -EINVAL. */
static int read_command_line(Options *o, int argc, char *const argv[], FILE *out, FILE *err)
{
        int r = OPTIONS_RUN;

        for (int i = 1; i < argc && r == OPTIONS_RUN; i++)
                r = read_argument(o, argc, argv, &i, out, err);
        return r;
}

/* What depends on more than one of them, and what nobody set. */
static int complete(Options *o, FILE *err)
{
        SegmentConfig *segment = &o->segment;

        if (segment->scratch_bytes == 0)
                segment->scratch_bytes = default_scratch();
        segment->n_slots = ALIGN_UP(segment->n_slots, OPTIONS_HANDLES_STEP);
        segment->scratch_bytes = ALIGN_UP(segment->scratch_bytes, OPTIONS_SCRATCH_STEP);
        segment->limit_client_handles = MIN(segment->limit_client_handles, (uint64_t)segment->n_slots);
        segment->limit_client_scratch = MIN(segment->limit_client_scratch, segment->scratch_bytes);
        return o->socket[0] ? 0 : default_socket(o, err);
}

int options_parse(Options *ret, int argc, char *const argv[], FILE *out, FILE *err)
{
        Options o = {};
        int r;

        assert(ret && argv && out && err);

        /* Once for --help and for what is wrong, whatever the environment holds, and once more to win over it. */
        r = read_command_line(&o, argc, argv, out, err);
        if (r != OPTIONS_RUN)
                return r;

        o = (Options){};
        for (size_t i = 0; i < ELEMENTSOF(table); i++)
                if (table[i].fallback) {
                        r = set(&o, &table[i], table[i].fallback, "default", err);
                        assert(r >= 0);
                }
        r = read_environment(&o, err);
        if (r < 0)
                return r;
        r = read_command_line(&o, argc, argv, out, err);
        assert(r == OPTIONS_RUN);

        r = complete(&o, err);
        if (r < 0)
                return r;
        *ret = o;
        return OPTIONS_RUN;
}
