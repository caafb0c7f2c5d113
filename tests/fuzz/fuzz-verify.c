/* SPDX-License-Identifier: MIT */

/*
 * Damaged segments for the verifier: a small one that is in order, in which the input changes words.
 *
 * An input is records of 13 bytes: region, place (4 bytes), value (8 bytes). The high bit of the region byte says whether the
 * place is anywhere in the region, or in its first 32 KiB, where nearly all that matters is. One byte more, a5, at the end: the
 * segment is also looked at as one in use.
 */

#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/cleanup.h"
#include "shm/verify.h"
#include "tools/craft.h"

#define RECORD      13U
#define RECORDS_MAX 64U
#define NEAR        32768U
#define IN_USE      0xa5

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void check(bool good)
{
        if (!good)
                abort();
}

static void change(const Craft *c, const uint8_t record[static RECORD])
{
        enum mh_shm_region_id region = record[0] % MH_SHM_REGION_COUNT;
        uint64_t n, value;
        uint32_t place;

        memcpy(&place, record + 1, sizeof(place));
        memcpy(&value, record + 5, sizeof(value));
        n = c->seg.regions[region].size;
        if (!(record[0] & 0x80))
                n = MIN(n, (uint64_t)NEAR);
        if (n > 0)
                craft_put(c, region, place % (n / 8) * 8, value);
}

static void look(const VerifyFinding *finding, void *userdata)
{
        unsigned *n = userdata;

        check(strlen(finding->rule) > 0 && strlen(finding->text) > 0);
        (*n)++;
}

static int verify(const Craft *c, unsigned flags)
{
        struct stat before, after;
        VerifyStats stats = {};
        unsigned n = 0;
        int r;

        check(fstat(c->fd, &before) == 0);
        r = verify_segment(c->fd, flags, look, &n, &stats);
        check(fstat(c->fd, &after) == 0 && before.st_blocks == after.st_blocks);
        check(r < 0 || ((unsigned)r == n && stats.findings == n));
        return r;
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
        Craft c;
        int fd, r;

        fd = memfd_create("fuzz", MFD_CLOEXEC);
        check(fd >= 0 && craft_world(&c, fd, 0) == 0);
        for (size_t i = 0; i + RECORD <= MIN(size, (size_t)RECORDS_MAX * RECORD); i += RECORD)
                change(&c, data + i);

        r = verify(&c, VERIFY_AT_REST | VERIFY_NO_DEAD);
        check(verify(&c, VERIFY_AT_REST) <= r || r < 0);
        /* What is in use is looked at again and again: slow, so not each time. What is wrong there is wrong at rest. */
        if (size % RECORD > 0 && data[size - 1] == IN_USE) {
                int live = verify(&c, 0);

                check(live <= r || r < 0);
        }
        (void)close(fd);
        return 0;
}
