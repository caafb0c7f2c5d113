/* SPDX-License-Identifier: MIT */

#include "crash/memory.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/falloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "crash/fail.h"

/* A segment of the test is smaller. */
#define PAGES_MAX 4096U

/* What this process reserved since memory_watch(): there is one segment at a time. */
static uint64_t seen[PAGES_MAX / 64];
static Memory *watched;

static bool bit_get(const uint64_t *bits, uint32_t i)
{
        return bits[i / 64] >> i % 64 & 1;
}

static void bit_set(uint64_t *bits, uint32_t i, bool value)
{
        if (value)
                bits[i / 64] |= UINT64_C(1) << i % 64;
        else
                bits[i / 64] &= ~(UINT64_C(1) << i % 64);
}

/* ---------------------------------------------------------------------------------------------- watching */

static void note(uint64_t *present, uint64_t *marked, int mode, uint64_t offset, uint64_t size)
{
        bool punch = mode & FALLOC_FL_PUNCH_HOLE;
        uint64_t first = offset / MH_SHM_PAGE, end = (offset + size + MH_SHM_PAGE - 1) / MH_SHM_PAGE;

        if (punch) {
                first = (offset + MH_SHM_PAGE - 1) / MH_SHM_PAGE;
                end = (offset + size) / MH_SHM_PAGE;
        }
        for (uint64_t p = first; p < end && p < PAGES_MAX; p++) {
                bit_set(present, (uint32_t)p, !punch);
                if (punch && marked)
                        bit_set(marked, (uint32_t)p, false);
        }
}

/* Stands for the one of libc in this program. */
int fallocate(int fd, int mode, off_t offset, off_t size)
{
        long r = syscall(SYS_fallocate, fd, mode, offset, size);

        if (r == 0)
                note(watched ? watched->present : seen, watched ? watched->marked : NULL, mode, (uint64_t)offset,
                     (uint64_t)size);
        return (int)r;
}

void memory_watch(void)
{
        memset(seen, 0, sizeof(seen));
        watched = NULL;
}

void memory_note(Memory *m, int mode, uint64_t offset, uint64_t size)
{
        note(m->present, m->marked, mode, offset, size);
}

/* ---------------------------------------------------------------------------------------------- making */

static void *get(size_t size)
{
        void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

        if (p == MAP_FAILED)
                fail_hard("mmap: %s", strerror(errno));
        return p;
}

void memory_init(Memory *m, const Segment *seg, void *extra, size_t extra_size)
{
        uint64_t n = seg->total_size / MH_SHM_PAGE;

        if (n > PAGES_MAX)
                fail_hard("a segment of %llu pages is too large", (unsigned long long)n);
        *m = (Memory){
                .seg = seg,
                .present = get(sizeof(seen)),
                .marked = get(sizeof(seen)),
                .n_pages = (uint32_t)n,
                .first_data = (uint32_t)(seg->regions[MH_SHM_REGION_SCRATCH].offset / MH_SHM_PAGE),
                .extra = extra,
                .extra_size = extra_size,
        };
        memcpy(m->present, seen, sizeof(seen));
        watched = m;
}

void memory_done(Memory *m)
{
        watched = NULL;
        (void)munmap(m->present, sizeof(seen));
        (void)munmap(m->marked, sizeof(seen));
}

void snapshot_init(Snapshot *s, const Memory *m)
{
        *s = (Snapshot){
                .present = get(sizeof(seen)),
                .marked = get(sizeof(seen)),
                .pages = get((size_t)m->n_pages * MH_SHM_PAGE),
                .extra = get(m->extra_size),
        };
}

void snapshot_done(Snapshot *s, const Memory *m)
{
        (void)munmap(s->present, sizeof(seen));
        (void)munmap(s->marked, sizeof(seen));
        (void)munmap(s->pages, (size_t)m->n_pages * MH_SHM_PAGE);
        (void)munmap(s->extra, m->extra_size);
}

/* ---------------------------------------------------------------------------------------------- saving */

static uint64_t counting_word(const Memory *m, const uint64_t *present, const uint64_t *marked, uint32_t w)
{
        uint64_t bits = present[w];

        /* The data region begins at a multiple of 16 pages. */
        for (uint32_t p = w * 64; p < w * 64 + 64; p += 16)
                if (p >= m->first_data)
                        bits &= marked[w] | ~(UINT64_C(0xffff) << p % 64);
        return bits;
}

#define FOREACH_COUNTING(m, present, marked, p)                                  \
        for (uint32_t w_ = 0; w_ < ((m)->n_pages + 63) / 64; w_++)               \
                for (uint64_t b_ = counting_word(m, present, marked, w_), p = 0; \
                     b_ && (p = w_ * 64 + (unsigned)__builtin_ctzll(b_), true); b_ &= b_ - 1)

static uint8_t *page_of(const Memory *m, uint64_t page)
{
        return m->seg->base + page * MH_SHM_PAGE;
}

void memory_save(const Memory *m, Snapshot *ret)
{
        memcpy(ret->present, m->present, sizeof(seen));
        memcpy(ret->marked, m->marked, sizeof(seen));
        FOREACH_COUNTING(m, m->present, m->marked, p)
        memcpy(ret->pages + p * MH_SHM_PAGE, page_of(m, p), MH_SHM_PAGE);
        memcpy(ret->extra, m->extra, m->extra_size);
}

/* Makes what is there be there, in runs: a call for each page would take longer than all the rest. */
static void restore_presence(Memory *m, const Snapshot *s)
{
        for (uint32_t p = 0, n; p < m->n_pages; p += n) {
                bool want = bit_get(s->present, p), have = bit_get(m->present, p);

                n = 1;
                if (p % 64 == 0 && s->present[p / 64] == m->present[p / 64]) {
                        n = 64;
                        continue;
                }
                if (want == have)
                        continue;
                while (p + n < m->n_pages && bit_get(s->present, p + n) == want && bit_get(m->present, p + n) == have)
                        n++;
                if (syscall(SYS_fallocate, m->seg->fd, FALLOC_FL_KEEP_SIZE | (want ? 0 : FALLOC_FL_PUNCH_HOLE),
                            (off_t)p * MH_SHM_PAGE, (off_t)n * MH_SHM_PAGE) < 0)
                        fail_hard("fallocate: %s", strerror(errno));
        }
        memcpy(m->present, s->present, sizeof(seen));
        memcpy(m->marked, s->marked, sizeof(seen));
}

void memory_restore(Memory *m, const Snapshot *s)
{
        restore_presence(m, s);
        FOREACH_COUNTING(m, s->present, s->marked, p)
        memcpy(page_of(m, p), s->pages + p * MH_SHM_PAGE, MH_SHM_PAGE);
        memcpy(m->extra, s->extra, m->extra_size);
}

bool memory_differs(const Memory *m, const Snapshot *s)
{
        if (memcmp(m->present, s->present, sizeof(seen)) != 0)
                return true;
        FOREACH_COUNTING(m, s->present, s->marked, p)
        if (memcmp(page_of(m, p), s->pages + p * MH_SHM_PAGE, MH_SHM_PAGE) != 0)
                return true;
        return false;
}

void memory_mark(Memory *m, uint64_t offset)
{
        bit_set(m->marked, m->first_data + (uint32_t)(offset / MH_SHM_PAGE), true);
}

/* ---------------------------------------------------------------------------------------------- checking */

long memory_check(const Memory *m)
{
        struct stat st;
        long n = 0;

        if (fstat(m->seg->fd, &st) < 0)
                fail_hard("fstat: %s", strerror(errno));
        for (uint32_t w = 0; w < (m->n_pages + 63) / 64; w++)
                n += __builtin_popcountll(m->present[w]);
        return (long)(st.st_blocks / (MH_SHM_PAGE / 512)) - n;
}

void memory_forgive(Memory *m)
{
        off_t end = (off_t)m->n_pages * MH_SHM_PAGE, start, stop = 0;

        while ((start = lseek(m->seg->fd, stop, SEEK_DATA)) >= 0 && start < end) {
                stop = lseek(m->seg->fd, start, SEEK_HOLE);
                note(m->present, NULL, 0, (uint64_t)start, (uint64_t)(stop - start));
        }
}
