/* SPDX-License-Identifier: MIT */

/* Chunks, slots, holder bits, and the ledgers' words for them. */

#include <string.h>

#include "base/cleanup.h"
#include "shm/verify-internal.h"
#include "shm/words.h"

/* ---------------------------------------------------------------------------------------------- ledger words */

/* The words of one client for the chunk at hand, and which of them have memory. */
typedef struct LedgerPage {
        uint32_t client;
        struct mh_shm_account account;
        uint64_t words[MH_SHM_CHUNK_SLOTS];
} LedgerPage;

static bool holder_bit(const Verify *v, unsigned i, uint32_t client)
{
        return v->chunk->holders[client / MH_SHM_GROUP_CLIENTS][i] >> client % MH_SHM_GROUP_CLIENTS & 1;
}

static void check_count(Verify *v, uint32_t client, uint32_t slot, unsigned i, uint64_t word)
{
        uint64_t state = v->chunk->slots[i].state;
        bool good;

        switch (state_phase(state)) {
        case MH_SHM_PHASE_LIVE:
        case MH_SHM_PHASE_DYING:
                good = true;
                break;
        case MH_SHM_PHASE_RESERVED:
                good = state_owner(state) == client; /* about to be published */
                break;
        default:
                good = false;
        }
        if (!good || state_generation(state) != ledger_generation(word))
                FINDING(v, RULE_COUNT_STALE, client, slot, word, state);
        else if (!holder_bit(v, i, client))
                FINDING(v, RULE_COUNT_WITHOUT_HOLDER, client, slot, word);
}

static void check_half_way(Verify *v, uint32_t client, uint32_t slot, unsigned i, uint64_t word)
{
        uint64_t state = v->chunk->slots[i].state;

        if (!verify_pending(v, client))
                return;
        /* Who keeps his own ledger may keep reserved slots ready. */
        if (word & (MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_WAITERS) || client == MH_SHM_CLIENT_DAEMON ||
            !(v->view.clients[client].flags & MH_SHM_CLIENT_LEDGER))
                FINDING(v, RULE_LEDGER_PENDING, client, slot, word);
        else if (state_phase(state) != MH_SHM_PHASE_RESERVED || state_owner(state) != client)
                FINDING(v, RULE_RESERVED_ELSEWHERE, client, slot, word, state);
}

static void check_ledger_word(Verify *v, const LedgerPage *page, unsigned i)
{
        uint32_t slot = v->chunk->index * MH_SHM_CHUNK_SLOTS + i, client = page->client;
        uint64_t word = page->words[i];
        uint64_t mode = word & (MH_SHM_LEDGER_IN_FLIGHT | MH_SHM_LEDGER_RESERVED);
        uint64_t unit = (uint64_t)slot * sizeof(uint64_t) / MH_SHM_LEDGER_UNIT;

        if (!(page->account.reserved[unit / 64] >> unit % 64 & 1))
                FINDING(v, RULE_LEDGER_NOT_RESERVED, client, slot, word);
        if (!verify_client_in_use(v, client)) {
                FINDING(v, RULE_LEDGER_OF_FREE_CLIENT, client, slot, word);
                return;
        }
        /* Who opens makes the word non-zero first, and then looks how far slots go. */
        if (v->chunk->index >= v->view.chunk_hwm && !(word & MH_SHM_LEDGER_IN_FLIGHT)) {
                FINDING(v, RULE_LEDGER_BEYOND_HWM, client, slot, word,
                        (uint64_t)v->view.chunk_hwm * MH_SHM_CHUNK_SLOTS);
                return;
        }
        if ((mode != 0) == (ledger_count(word) != 0) || (mode == 0 && ledger_generation(word) == 0)) {
                FINDING(v, RULE_LEDGER_WORD, client, slot, word);
                return;
        }

        if (mode != 0 || word & MH_SHM_LEDGER_WAITERS)
                check_half_way(v, client, slot, i, word);
        /* The reaper clears the bit and ends the handle first, and the word last. */
        if (mode == 0 && !verify_client_dead(v, client))
                check_count(v, client, slot, i, word);
}

static void check_ledgers(Verify *v)
{
        LedgerPage page;

        memset(v->named, 0, v->view.seg.n_groups * sizeof(*v->named));
        memset(v->any, 0, sizeof(v->any));
        memset(v->excuse, 0, sizeof(v->excuse));

        for (uint32_t c = view_next_ledger(&v->view, v->chunk->index, 0); c < v->view.seg.n_clients;
             c = view_next_ledger(&v->view, v->chunk->index, c + 1)) {
                page.client = c;
                view_account(&v->view, c, &page.account);
                view_ledger_words(&v->view, c, v->chunk->index, page.words);
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++) {
                        if (page.words[i] == 0)
                                continue;
                        v->named[c / MH_SHM_GROUP_CLIENTS][i] |= UINT64_C(1) << c % MH_SHM_GROUP_CLIENTS;
                        v->any[i] = true;
                        if (page.words[i] & MH_SHM_LEDGER_IN_FLIGHT || verify_client_dead(v, c))
                                v->excuse[i] = true;
                        if (!v->again)
                                v->words[c]++;
                        check_ledger_word(v, &page, i);
                }
        }
}

/* ---------------------------------------------------------------------------------------------- holder bits */

/* Returns whether somebody holds it. */
static bool check_holders(Verify *v, uint32_t slot, unsigned i)
{
        bool held = false;

        for (uint32_t g = 0; g < v->view.seg.n_groups; g++) {
                uint64_t bits = v->chunk->holders[g][i];
                uint32_t clients = v->view.seg.n_clients - g * MH_SHM_GROUP_CLIENTS;
                uint64_t cannot = clients < MH_SHM_GROUP_CLIENTS ? UINT64_MAX << clients : 0;

                held = held || bits != 0;
                if (bits & cannot)
                        FINDING(v, RULE_HOLDER_RANGE, slot, g, bits & cannot);
                for (uint64_t left = bits & ~cannot & ~v->named[g][i]; left != 0; left &= left - 1)
                        FINDING(v, RULE_HOLDER_WITHOUT_LEDGER, slot,
                                g * MH_SHM_GROUP_CLIENTS + (uint32_t)__builtin_ctzll(left), v->chunk->slots[i].state);
        }
        return held;
}

/* ---------------------------------------------------------------------------------------------- slots */

static bool type_makes_sense(unsigned type)
{
        return (type >= 1 && type <= 10) || type >= 64;
}

static bool state_makes_sense(const Verify *v, uint64_t state)
{
        uint32_t owner = state_owner(state);

        if (state_generation(state) == 0)
                return false;
        switch (state_phase(state)) {
        case MH_SHM_PHASE_FREE:
                return owner == 0;
        case MH_SHM_PHASE_LIVE:
                return owner == 0 && type_makes_sense(state_type(state));
        case MH_SHM_PHASE_RESERVED:
        case MH_SHM_PHASE_DYING:
        case MH_SHM_PHASE_DEAD:
                return owner < v->view.seg.n_clients;
        default:
                return false;
        }
}

static bool is_zero(const void *p, size_t size)
{
        const uint8_t *bytes = p;

        for (size_t i = 0; i < size; i++)
                if (bytes[i] != 0)
                        return false;
        return true;
}

static void check_no_refs(Verify *v, uint32_t slot, const struct mh_shm_slot *s)
{
        for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++)
                if (s->refs[e] != 0)
                        FINDING(v, RULE_REF_LEFT, slot, e, s->refs[e], s->state);
}

/* RESERVED, DYING and DEAD: the ledger of the one who is at it says so; the daemon may work for a dead one. */
static void check_owned(Verify *v, uint32_t slot, unsigned i, const struct mh_shm_slot *s)
{
        uint32_t owner = state_owner(s->state);
        unsigned chunk = chunk_state(v->chunk->chunk.word);
        bool named;

        if (!v->again)
                v->stats.reserved++;
        if (owner == MH_SHM_CLIENT_DAEMON)
                named = v->any[i] || chunk == MH_SHM_CHUNK_CLOSING || chunk == MH_SHM_CHUNK_PUNCHING;
        else
                named = v->named[owner / MH_SHM_GROUP_CLIENTS][i] >> owner % MH_SHM_GROUP_CLIENTS & 1;
        if (!named)
                FINDING(v, RULE_SLOT_WITHOUT_LEDGER, slot, s->state, owner);

        if (!verify_pending(v, owner))
                return;
        /* One that is kept ready is complete as it is, if the ledger calls it the same. */
        if (state_phase(s->state) != MH_SHM_PHASE_RESERVED || owner == MH_SHM_CLIENT_DAEMON ||
            !(view_ledger_word(&v->view, owner, slot) & MH_SHM_LEDGER_RESERVED))
                FINDING(v, RULE_SLOT_PENDING, slot, s->state, owner);
}

static void check_live(Verify *v, uint32_t slot, unsigned i, const struct mh_shm_slot *s, bool held)
{
        if (!v->again)
                v->stats.handles++;
        if (!held && !v->excuse[i])
                FINDING(v, RULE_HANDLE_ORPHANED, slot, s->state);
}

static bool taken(const Verify *v, unsigned i)
{
        return v->chunk->chunk.taken[i / 64] >> i % 64 & 1;
}

static void check_free(Verify *v, uint32_t slot, unsigned i, const struct mh_shm_slot *s)
{
        check_no_refs(v, slot, s);
        if (!verify_at_rest(v))
                return;
        if (!is_zero(s->payload, sizeof(s->payload)))
                FINDING(v, RULE_SLOT_PAYLOAD_LEFT, slot, s->state);
        if (taken(v, i) && !v->any[i] && chunk_state(v->chunk->chunk.word) == MH_SHM_CHUNK_OPEN)
                FINDING(v, RULE_SLOT_NOT_FINDABLE, slot, s->state);
}

/* In a chunk that is not open, nobody uses a slot; but while it is closed, the daemon has reserved them. */
static void check_place(Verify *v, uint32_t slot, const struct mh_shm_slot *s)
{
        uint64_t word = v->chunk->chunk.word, first = v->view.seg.first_generation;
        unsigned state = chunk_state(word);

        if (state != MH_SHM_CHUNK_OPEN && state_phase(s->state) != MH_SHM_PHASE_FREE &&
            !((state == MH_SHM_CHUNK_CLOSING || state == MH_SHM_CHUNK_PUNCHING) &&
              state_phase(s->state) == MH_SHM_PHASE_RESERVED && state_owner(s->state) == MH_SHM_CLIENT_DAEMON))
                FINDING(v, RULE_CHUNK_NOT_OPEN, slot, s->state, word);
        /* In PUNCHING the floor is already that of the next time. */
        if (chunk_floor(word) != 0 && state != MH_SHM_CHUNK_PUNCHING &&
            generation_age(state_generation(s->state), first) < generation_age(chunk_floor(word), first))
                FINDING(v, RULE_SLOT_GENERATION, slot, s->state, word);
}

static void check_slot(Verify *v, unsigned i)
{
        const struct mh_shm_slot *s = &v->chunk->slots[i];
        uint32_t slot = v->chunk->index * MH_SHM_CHUNK_SLOTS + i;
        bool held = check_holders(v, slot, i);

        if (s->state == 0) { /* no memory, or retired */
                check_no_refs(v, slot, s);
                return;
        }
        if (!state_makes_sense(v, s->state)) {
                FINDING(v, RULE_SLOT_WORD, slot, s->state);
                return;
        }
        check_place(v, slot, s);

        switch (state_phase(s->state)) {
        case MH_SHM_PHASE_FREE:
                check_free(v, slot, i, s);
                break;
        case MH_SHM_PHASE_RESERVED:
                check_no_refs(v, slot, s);
                check_owned(v, slot, i, s);
                break;
        case MH_SHM_PHASE_LIVE:
                check_live(v, slot, i, s, held);
                break;
        default:
                check_owned(v, slot, i, s);
                break;
        }
        if (state_phase(s->state) >= MH_SHM_PHASE_LIVE)
                for (unsigned e = 0; e < MH_SHM_SLOT_REFS; e++)
                        verify_reference(v, slot, e, s);
}

/* ---------------------------------------------------------------------------------------------- chunks */

static void check_chunk_word(Verify *v)
{
        uint64_t word = v->chunk->chunk.word;
        uint32_t index = v->chunk->index, owner = chunk_owner(word);
        unsigned state = chunk_state(word);

        if (index >= v->view.chunk_hwm) {
                if (!is_zero(&v->chunk->chunk, sizeof(v->chunk->chunk)))
                        FINDING(v, RULE_CHUNK_BEYOND_HWM, index, word, v->view.chunk_hwm);
                return;
        }
        if (state > MH_SHM_CHUNK_PUNCHING || chunk_groups(word) >= v->view.seg.n_groups ||
            owner >= v->view.seg.n_clients)
                FINDING(v, RULE_CHUNK_WORD, index, word);
        else if (state == MH_SHM_CHUNK_OPENING && !verify_client_in_use(v, owner))
                FINDING(v, RULE_CHUNK_WORD, index, word);
        else if (state != MH_SHM_CHUNK_OPEN && state != MH_SHM_CHUNK_HOLE && verify_pending(v, owner))
                FINDING(v, RULE_CHUNK_PENDING, index, word);
}

/* At rest: is what is free in it found by those who look at the map of chunks first? */
static void check_findable(Verify *v)
{
        unsigned n = 0;

        /* The bit of a hole says nothing: whoever opens it clears it. */
        if (chunk_state(v->chunk->chunk.word) != MH_SHM_CHUNK_OPEN ||
            !view_hint(&v->view, MH_SHM_REGION_CHUNKMAP, v->chunk->index))
                return;
        for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                n += v->chunk->slots[i].state != 0 && state_phase(v->chunk->slots[i].state) == MH_SHM_PHASE_FREE &&
                     !taken(v, i);
        if (n > 0)
                FINDING(v, RULE_CHUNK_NOT_FINDABLE, v->chunk->index, n);
}

void verify_chunk(Verify *v, uint32_t chunk)
{
        view_chunk(&v->view, chunk, v->chunk);
        check_chunk_word(v);
        check_ledgers(v);
        if (chunk < v->view.chunk_hwm)
                for (unsigned i = 0; i < MH_SHM_CHUNK_SLOTS; i++)
                        check_slot(v, i);
        if (verify_at_rest(v))
                check_findable(v);
}
