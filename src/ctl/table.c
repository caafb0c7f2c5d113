/* SPDX-License-Identifier: MIT */

#include "ctl/table.h"

#include <assert.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cleanup.h"
#include "base/format.h"

static int find_column(const Command *command, const char *name, size_t size)
{
        for (size_t i = 0; i < command->n_columns; i++)
                if (strlen(command->columns[i].name) == size && strncasecmp(command->columns[i].name, name, size) == 0)
                        return (int)i;
        return -1;
}

static int choose(Table *t, const Command *command, const char *list)
{
        if (!list || *list == '+')
                for (size_t i = 0; i < command->n_columns; i++)
                        if (command->columns[i].initial)
                                t->chosen[t->n_chosen++] = i;
        if (!list)
                return CTL_OK;

        list += *list == '+';
        for (;;) {
                size_t size = strcspn(list, ",");
                int column = find_column(command, list, size);

                if (column < 0)
                        return ctl_error("%s has no column '%.*s': see --help", command->name, (int)size, list);
                if (t->n_chosen == TABLE_COLUMNS_MAX)
                        return ctl_error("too many columns");
                t->chosen[t->n_chosen++] = (size_t)column;
                list += size;
                if (*list == 0)
                        return CTL_OK;
                list++;
        }
}

static int add_column(Table *t, const Column *c)
{
        bool list = t->options->json && (c->json == SCOLS_JSON_ARRAY_STRING || c->json == SCOLS_JSON_ARRAY_NUMBER);
        struct libscols_column *column;

        /* Only what is wrapped at its line breaks is taken apart into the items of a list. */
        column = scols_table_new_column(t->table, c->name, 0, c->flags | (list ? SCOLS_FL_WRAP : 0));
        if (!column || scols_column_set_json_type(column, c->json) < 0)
                return ctl_error("out of memory");
        if (list)
                (void)scols_column_set_wrapfunc(column, scols_wrapnl_chunksize, scols_wrapnl_nextchunk, NULL);
        return CTL_OK;
}

int table_init(Table *t, const Options *options, const Command *command)
{
        int r;

        assert(command->n_columns <= TABLE_COLUMNS_MAX);

        *t = (Table){ .options = options, .columns = command->columns };
        r = choose(t, command, options->output);
        if (r != CTL_OK)
                return r;
        t->table = scols_new_table();
        if (!t->table)
                return ctl_error("out of memory");
        (void)scols_table_enable_json(t->table, options->json);
        (void)scols_table_enable_raw(t->table, options->raw);
        (void)scols_table_enable_noheadings(t->table, options->noheadings);
        if (options->json && scols_table_set_name(t->table, command->name) < 0)
                return ctl_error("out of memory");
        for (size_t i = 0; i < t->n_chosen; i++) {
                r = add_column(t, &t->columns[t->chosen[i]]);
                if (r != CTL_OK)
                        return r;
        }
        return CTL_OK;
}

void table_done(Table *t)
{
        scols_unref_table(t->table);
        t->table = NULL;
}

bool table_wants(const Table *t, size_t column)
{
        for (size_t i = 0; i < t->n_chosen; i++)
                if (t->chosen[i] == column)
                        return true;
        return false;
}

void table_row(Table *t)
{
        t->line = scols_table_new_line(t->table, NULL);
        if (!t->line)
                t->failed = true;
        /* Who splits lines at blanks would not see an empty cell. */
        for (size_t i = 0; i < t->n_chosen && t->options->raw; i++)
                table_set(t, t->chosen[i], "-");
}

void table_set(Table *t, size_t column, const char *text)
{
        if (*text == 0)
                return;
        for (size_t i = 0; i < t->n_chosen && t->line; i++)
                if (t->chosen[i] == column && scols_line_set_data(t->line, i, text) < 0)
                        t->failed = true;
}

void table_setf(Table *t, size_t column, const char *format, ...)
{
        _cleanup_free_ char *text = NULL;
        va_list ap;
        int n;

        if (!table_wants(t, column))
                return;
        va_start(ap, format);
        n = vasprintf(&text, format, ap);
        va_end(ap);
        if (n < 0) {
                text = NULL;
                t->failed = true;
                return;
        }
        table_set(t, column, text);
}

void table_set_number(Table *t, size_t column, uint64_t n)
{
        table_setf(t, column, "%" PRIu64, n);
}

void table_set_bytes(Table *t, size_t column, uint64_t n)
{
        if (t->options->bytes || t->options->json || t->options->raw)
                table_set_number(t, column, n);
        else
                table_set(t, column, format_bytes((char[FORMAT_MAX]){}, n));
}

void table_set_list(Table *t, size_t column, char *text)
{
        if (!t->options->json)
                for (char *p = text; *p; p++)
                        if (*p == '\n')
                                *p = t->options->raw ? ',' : ' ';
        table_set(t, column, text);
}

/* The length of an array at `p` in which nothing is but null, or 0. */
static size_t null_array(const char *p)
{
        const char *q = p + 1;

        if (*p != '[')
                return 0;
        q += strspn(q, " \n");
        if (strncmp(q, "null", 4) != 0)
                return 0;
        q += 4 + strspn(q + 4, " \n");
        return *q == ']' ? (size_t)(q + 1 - p) : 0;
}

/* An array without elements is printed as one that holds null, by the library's version that Debian 12 has. */
static void empty_arrays(char *json)
{
        char *to = json;
        bool in_string = false;

        for (const char *p = json; *p;) {
                size_t n = in_string ? 0 : null_array(p);

                if (n > 0) {
                        *to++ = '[';
                        *to++ = ']';
                        p += n;
                        continue;
                }
                if (*p == '"')
                        in_string = !in_string;
                else if (in_string && *p == '\\' && p[1])
                        *to++ = *p++;
                *to++ = *p++;
        }
        *to = 0;
}

int table_print(Table *t)
{
        _cleanup_free_ char *text = NULL;

        if (t->failed)
                return ctl_error("out of memory");
        if (!t->options->json)
                return scols_print_table(t->table) < 0 ? ctl_error("cannot print the table") : CTL_OK;
        if (scols_print_table_to_string(t->table, &text) < 0)
                return ctl_error("cannot print the table");
        empty_arrays(text);
        return fputs(text, stdout) < 0 ? ctl_error("cannot print the table") : CTL_OK;
}
