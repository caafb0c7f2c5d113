/* SPDX-License-Identifier: MIT */

#include <errno.h>
#include <getopt.h>
#include <locale.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/cleanup.h"
#include "ctl/ctl.h"

static const Command *const commands[] = {
        &command_status, &command_clients, &command_list, &command_scratch, &command_check,
};

int ctl_error(const char *format, ...)
{
        va_list ap;

        (void)fflush(stdout);
        (void)fputs("mono-handlectl: ", stderr);
        va_start(ap, format);
        (void)vfprintf(stderr, format, ap);
        va_end(ap);
        (void)fputc('\n', stderr);
        return CTL_FAILED;
}

static void print_help(void)
{
        printf("mono-handlectl [OPTION...] [COMMAND]\n"
               "\n"
               "Looks at the handles and the scratch memory of mono-handle-d.\n"
               "\n"
               "Commands (default: %s):\n",
               commands[0]->name);
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                printf("  %-24s %s\n", commands[i]->name, commands[i]->help);
        printf("\n"
               "Options:\n"
               "  -s, --socket PATH        look at the segment of the daemon at that socket\n"
               "  -S, --segment NAME|FILE  look at this segment\n"
               "  -o, --output COLUMNS     show these columns, separated by commas; +COLUMNS: these as well\n"
               "  -J, --json               print JSON\n"
               "  -r, --raw                print columns without alignment, for programs; - is nothing\n"
               "  -n, --noheadings         print no headings\n"
               "  -b, --bytes              print sizes in bytes; --json and --raw do so, too\n"
               "      --at-rest            check: nobody is at work, so leaks and what is half done are findings\n"
               "  -h, --help               print this\n"
               "  -V, --version            print the version\n");
        for (size_t i = 0; i < ELEMENTSOF(commands); i++) {
                printf("\nColumns of %s (* shown by default):\n", commands[i]->name);
                for (size_t c = 0; c < commands[i]->n_columns; c++)
                        printf("%c %-14s %s\n", commands[i]->columns[c].initial ? '*' : ' ',
                               commands[i]->columns[c].name, commands[i]->columns[c].help);
        }
        printf("\n"
               "The socket is --socket, or else $MONO_HANDLE_D_SOCKET, or else\n"
               "$XDG_RUNTIME_DIR/mono-handle-d/socket. The daemon is not asked and need not run.\n"
               "\n"
               "Exit status: 0 all is well, 1 check found something, 2 wrong usage or the segment\n"
               "cannot be read, 3 there is no segment.\n"
               "\n"
               "See mono-handlectl(1).\n");
}

static int usage_error(void)
{
        (void)fputs("Try 'mono-handlectl --help'.\n", stderr);
        return CTL_FAILED;
}

static const Command *find_command(const char *name)
{
        for (size_t i = 0; i < ELEMENTSOF(commands); i++)
                if (strcmp(commands[i]->name, name) == 0)
                        return commands[i];
        return NULL;
}

enum {
        ARG_AT_REST = 0x100,
};

static const struct option long_options[] = {
        { "socket", required_argument, NULL, 's' },
        { "segment", required_argument, NULL, 'S' },
        { "output", required_argument, NULL, 'o' },
        { "json", no_argument, NULL, 'J' },
        { "raw", no_argument, NULL, 'r' },
        { "noheadings", no_argument, NULL, 'n' },
        { "bytes", no_argument, NULL, 'b' },
        { "at-rest", no_argument, NULL, ARG_AT_REST },
        { "help", no_argument, NULL, 'h' },
        { "version", no_argument, NULL, 'V' },
        {},
};

/* -1: go on. Else what to exit with. */
static int parse_option(Options *o, int option)
{
        switch (option) {
        case 's':
                o->socket = optarg;
                return -1;
        case 'S':
                o->segment = optarg;
                return -1;
        case 'o':
                o->output = optarg;
                return -1;
        case 'J':
                o->json = true;
                return -1;
        case 'r':
                o->raw = true;
                return -1;
        case 'n':
                o->noheadings = true;
                return -1;
        case 'b':
                o->bytes = true;
                return -1;
        case ARG_AT_REST:
                o->at_rest = true;
                return -1;
        case 'h':
                print_help();
                return CTL_OK;
        case 'V':
                printf("mono-handlectl %s\n", MONO_HANDLE_D_VERSION);
                return CTL_OK;
        default:
                return usage_error();
        }
}

/* -1: *ret is to be run. */
static int parse(int argc, char *argv[], Options *o, const Command **ret)
{
        const Command *command = commands[0];
        int option;

        while ((option = getopt_long(argc, argv, "s:S:o:JrnbhV", long_options, NULL)) >= 0) {
                int r = parse_option(o, option);

                if (r >= 0)
                        return r;
        }
        if (optind < argc)
                command = find_command(argv[optind]);
        if (!command || argc - optind > 1) {
                (void)ctl_error("there is no command '%s'", command ? argv[optind + 1] : argv[optind]);
                return usage_error();
        }
        if (o->json && o->raw) {
                (void)ctl_error("--json and --raw exclude each other");
                return usage_error();
        }
        if (o->socket && o->segment) {
                (void)ctl_error("--socket and --segment exclude each other");
                return usage_error();
        }
        if (o->at_rest && command != &command_check) {
                (void)ctl_error("--at-rest is for check");
                return usage_error();
        }
        *ret = command;
        return -1;
}

int main(int argc, char *argv[])
{
        const Command *command = NULL;
        Options options = {};
        int r;

        (void)setlocale(LC_ALL, "");
        r = parse(argc, argv, &options, &command);
        if (r < 0)
                r = command->run(&options);
        /* Who read only the first lines of it has what he wanted. */
        if ((ferror(stdout) || fflush(stdout) != 0) && errno != EPIPE)
                return ctl_error("cannot write: %s", strerror(errno));
        return r;
}
