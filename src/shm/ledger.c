/* SPDX-License-Identifier: MIT */

#include <assert.h>
#include <linux/futex.h>
#include <time.h>

#include "base/atomics.h"
#include "base/cleanup.h"
#include "shm/chunk.h"
#include "shm/ledger.h"
#include "shm/quiet.h"
#include "shm/words.h"

/* A spin of this many looks is shorter than the sleep and wake that it may save; nobody holds IN_FLIGHT for long. */
#define SPIN 200U

/* A wake can be missed, see ledger_settle(). */
#define NAP_NSEC 1000000

void actor_init(Actor *ret, Segment *seg, uint32_t id, void *ledger)
{
        *ret = (Actor){
                .seg = seg,
                .id = id,
                .small = span_make_small(0, id, 0, 0),
                .page = ledger,
                .account = &((struct mh_shm_account *)ledger)->line[0],
                .hazard = &seg->hazards[id].line[0],
                .bit = id < MH_SHM_GROUP_CLIENTS ? UINT64_C(1) << id : 0,
                .slots = seg->slots,
                .shared = seg->shared,
                .spans = seg->spans,
                .owners = seg->owners,
                .owner_word = owner_make(0, MH_SHM_OWNER_CLIENT, 0, id),
                .ledger = (uint64_t *)((uint8_t *)ledger + seg->ledger_slots),
                .span_bits = (uint64_t *)((uint8_t *)ledger + seg->ledger_spans),
        };
        for (unsigned i = 0; i < MH_SHM_CLASSES; i++)
                ret->classes[i].size = class_size(i);
}

void actor_set_thread(Actor *a, unsigned thread)
{
        struct mh_shm_hazard *h = &a->seg->hazards[a->id];
        uint64_t used = load_sc(&h->line[0].used);

        assert(thread < MH_SHM_THREADS);
        a->thread = thread;
        a->small = span_make_small(0, a->id, thread, 0);
        a->account = &a->page->line[thread];
        a->hazard = &h->line[thread];
        /* Before the line is used, so that who looks for hazards looks there. Pairs with hazard_seen(). */
        while (used < thread + 1 && !cas_sc(&h->line[0].used, &used, (uint64_t)thread + 1))
                ;
}

/* ------------------------------------------------------------------------------------------------ memory */

bool ledger_is_reserved(const Actor *a, uint64_t offset)
{
        uint64_t unit = offset / MH_SHM_LEDGER_UNIT;

        /* Acquire: the bit is set after the pages were reserved, maybe by another thread. Pairs with reserve(). */
        return load_acquire(&a->page->reserved[unit / 64]) >> unit % 64 & 1;
}

static int reserve(Actor *a, uint64_t offset)
{
        uint64_t unit = offset / MH_SHM_LEDGER_UNIT;
        int r;

        if (ledger_is_reserved(a, offset))
                return 0;
        r = segment_reserve(a->seg, MH_SHM_REGION_LEDGERS,
                            a->id * a->seg->ledger_stride + a->seg->ledger_slots + unit * MH_SHM_LEDGER_UNIT,
                            MH_SHM_LEDGER_UNIT);
        if (r < 0)
                return r;
        (void)fetch_or_sc(&a->page->reserved[unit / 64], UINT64_C(1) << unit % 64);
        return 0;
}

/* Words per unit. */
#define UNIT_SLOTS (MH_SHM_LEDGER_UNIT / (uint32_t)sizeof(uint64_t))

/* Which of 64 parts have no memory. Acquire: as in ledger_is_reserved(). */
static uint64_t holes_in(const Actor *a, uint32_t word)
{
        return ~load_acquire(&a->page->reserved[word]);
}

/* Parts with memory lie next to each other, and `unit` is one of them: the first, and the one after the last, or `end`. */
static uint32_t run_begin(const Actor *a, uint32_t unit)
{
        uint32_t word = unit / 64;
        uint64_t holes = holes_in(a, word) & ((UINT64_C(1) << unit % 64) - 1);

        while (!holes && word > 0)
                holes = holes_in(a, --word);
        return holes ? word * 64 + 64 - (unsigned)__builtin_clzll(holes) : 0;
}

static uint32_t run_end(const Actor *a, uint32_t unit, uint32_t end)
{
        uint32_t word = unit / 64;
        uint64_t holes = holes_in(a, word) & UINT64_MAX << unit % 64;

        while (!holes && (word + 1) * 64 < end)
                holes = holes_in(a, ++word);
        return holes ? MIN(end, word * 64 + (unsigned)__builtin_ctzll(holes)) : end;
}

/*
 * The size last, because an actor that stops being alone in this moment may be told so between any two lines here: whoever tells it
 * closes the window after a barrier, and if we open it after that, we see what was written before the barrier.
 */
static void move_window(Actor *a, uint32_t slot)
{
        uint32_t end, unit = slot / UNIT_SLOTS;

        /* Acquire: as in ledger_change(). */
        if (!load_acquire(&a->alone))
                return;
        /* Where the ledger has memory for another reason, a chunk may have no descriptor. */
        end = chunk_slots_end(a->seg);
        if (slot >= end)
                return;
        a->window = run_begin(a, unit) * UNIT_SLOTS;
        end = MIN(end, run_end(a, unit, (end + UNIT_SLOTS - 1) / UNIT_SLOTS) * UNIT_SLOTS);
        store_relaxed(&a->window_size, end - a->window);
        __atomic_signal_fence(__ATOMIC_SEQ_CST);
        if (!load_relaxed(&a->alone))
                actor_close_window(a);
}

bool ledger_move(Actor *a, uint32_t slot)
{
        uint64_t offset = (uint64_t)slot * sizeof(uint64_t);

        if (!ledger_is_reserved(a, offset))
                return false;
        a->ledger_unit = offset / MH_SHM_LEDGER_UNIT + 1;
        move_window(a, slot);
        return true;
}

static uint64_t slot_offset(uint32_t slot)
{
        return (uint64_t)slot * sizeof(uint64_t);
}

static uint64_t span_offset(const Actor *a, uint32_t span)
{
        return a->seg->ledger_spans - a->seg->ledger_slots + span / 64 * sizeof(uint64_t);
}

int ledger_reserve_slot(Actor *a, uint32_t slot)
{
        assert(slot < a->seg->n_slots);
        return reserve(a, slot_offset(slot));
}

int ledger_reserve_span(Actor *a, uint32_t span)
{
        assert(span < a->seg->n_spans);
        return reserve(a, span_offset(a, span));
}

/* ------------------------------------------------------------------------------------------------ slots */

/* The half of the word that holds the flags: the only size that futex(2) knows. */
static uint32_t *futex_word(uint64_t *word)
{
        return (uint32_t *)(void *)word;
}

void ledger_wake(Actor *a, uint32_t slot)
{
        (void)QUIET_SYSCALL(SYS_futex, futex_word(&a->ledger[slot]), FUTEX_WAKE | FUTEX_PRIVATE_FLAG, INT32_MAX, NULL,
                            NULL, 0);
}

void ledger_wait(Actor *a, uint32_t slot, uint64_t seen)
{
        const struct timespec nap = { .tv_nsec = NAP_NSEC };
        uint64_t *word = &a->ledger[slot];

        for (unsigned i = 0; i < SPIN; i++) {
                /* Relaxed: a spin; the caller loads the word anew, in order. */
                if (load_relaxed(word) != seen)
                        return;
                cpu_relax();
        }
        if (!(seen & MH_SHM_LEDGER_WAITERS)) {
                if (!cas_sc(word, &seen, seen | MH_SHM_LEDGER_WAITERS))
                        return;
                seen |= MH_SHM_LEDGER_WAITERS;
        }
        /* EINTR, EAGAIN and the end of the time mean the same to the caller: look again. */
        (void)QUIET_SYSCALL(SYS_futex, futex_word(word), FUTEX_WAIT | FUTEX_PRIVATE_FLAG, (uint32_t)seen, &nap, NULL,
                            0);
}

/* ------------------------------------------------------------------------------------------------ spans */

bool ledger_has_span(Actor *a, uint32_t span)
{
        return ledger_span_word(a, span / 64) >> span % 64 & 1;
}

uint64_t ledger_span_word(Actor *a, uint32_t word)
{
        if (word >= (a->seg->n_spans + 63) / 64 || !ledger_is_reserved(a, span_offset(a, word * 64)))
                return 0;
        return load_sc(&a->span_bits[word]);
}

void ledger_set_span(Actor *a, uint32_t span)
{
        (void)fetch_or_sc(&a->span_bits[span / 64], UINT64_C(1) << span % 64);
}

void ledger_clear_span(Actor *a, uint32_t span)
{
        if (ledger_has_span(a, span))
                (void)fetch_and_sc(&a->span_bits[span / 64], ~(UINT64_C(1) << span % 64));
}
