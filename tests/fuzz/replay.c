/* SPDX-License-Identifier: MIT */

/*
 * Gives every file of some folders to a fuzz target, once. libFuzzer has a main() of its own that can do this, but only
 * clang has libFuzzer; with this one the inputs that were ever found to matter are tried under each compiler and tool.
 */

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);
int LLVMFuzzerInitialize(int *argc, char ***argv) __attribute__((weak));

static void __attribute__((noreturn)) die(const char *what)
{
        (void)fprintf(stderr, "%s: %s\n", what, strerror(errno));
        exit(EXIT_FAILURE);
}

static void replay_file(int dir, const char *name)
{
        struct stat st;
        uint8_t *data;
        ssize_t n;
        int fd;

        fd = openat(dir, name, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fstat(fd, &st) < 0)
                die(name);

        /* Just so large that a target which reads too far is caught. */
        data = malloc((size_t)st.st_size ?: 1);
        if (!data)
                die(name);
        n = read(fd, data, (size_t)st.st_size);
        if (n != st.st_size)
                die(name);
        (void)close(fd);

        (void)LLVMFuzzerTestOneInput(data, (size_t)n);
        free(data);
}

static unsigned replay_folder(const char *path)
{
        unsigned count = 0;
        struct dirent *e;
        DIR *dir;

        dir = opendir(path);
        if (!dir)
                die(path);
        while ((e = readdir(dir)))
                if (e->d_type == DT_REG) {
                        replay_file(dirfd(dir), e->d_name);
                        count++;
                }

        (void)closedir(dir);
        return count;
}

int main(int argc, char *argv[])
{
        unsigned count = 0;

        if (LLVMFuzzerInitialize)
                (void)LLVMFuzzerInitialize(&argc, &argv);

        for (int i = 1; i < argc; i++)
                count += replay_folder(argv[i]);

        printf("%u inputs\n", count);
        return count > 0 ? EXIT_SUCCESS : EXIT_FAILURE;
}
