/* SPDX-License-Identifier: MIT */

#include "shm/verify-rules.h"

#include <assert.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdio.h>

#include "base/cleanup.h"

/* In a sentence, %0 is the first number in decimal, #0 in hexadecimal. */
static const struct {
        const char *name;
        const char *text;
        bool at_rest;
} rules[] = {
        [RULE_HWM_RANGE] = { "hwm-range", "high-water mark of %0: %1 where there are %2" },
        [RULE_CLIENT_STATE] = { "client-state", "client %0: there is no state %1" },
        [RULE_CLIENT_FLAGS] = { "client-flags", "client %0: flags #1 make no sense" },
        [RULE_CLIENT_NAME] = { "client-name", "client %0: its name has no end" },
        [RULE_CLIENT_BEYOND_HWM] = { "client-beyond-hwm", "client %0: in use, at or above the high-water mark %1" },
        [RULE_CLIENT_PENDING] = { "client-pending", "client %0: its state is %1, attaching or dead", true },
        [RULE_INTENT_SEQUENCE] = { "intent-sequence",
                                   "client %0: the intent is that of request %1, the outcome that of request %2" },
        [RULE_INTENT_PENDING] = { "intent-pending", "client %0: request %1 was begun and not finished", true },
        [RULE_HAZARD_RANGE] = { "hazard-range", "client %0: hazard %1 is span %2 of %3" },
        [RULE_HAZARD_UNCOUNTED] = { "hazard-uncounted", "client %0: hazard %1 is in use, and only %2 are looked at" },
        [RULE_HAZARD_LEFT] = { "hazard-left", "client %0: hazard %1 still names span %2", true },
        [RULE_ACCOUNT_DRIFT] = { "account-drift", "client %0: its account says %1 handles, its ledger has %2 words",
                                 true },
        [RULE_ACCOUNT_SCRATCH] = { "account-scratch", "client %0: its account says %1 bytes of scratch, it owns %2",
                                   true },

        [RULE_CHUNK_WORD] = { "chunk-word", "chunk %0: the word #1 makes no sense" },
        [RULE_CHUNK_PENDING] = { "chunk-pending", "chunk %0: half opened or half closed (word #1)", true },
        [RULE_CHUNK_BEYOND_HWM] = { "chunk-beyond-hwm",
                                    "chunk %0: the word is #1, at or above the high-water mark %2" },
        [RULE_CHUNK_NOT_OPEN] = { "chunk-not-open",
                                  "slot %0: in use (state #1) in a chunk that is not open (word #2)" },
        [RULE_CHUNK_NOT_FINDABLE] = { "chunk-not-findable",
                                      "chunk %0: has %1 free slots, and its bit says that it is full", true },
        [RULE_SLOT_WORD] = { "slot-word", "slot %0: the state #1 makes no sense" },
        [RULE_SLOT_GENERATION] = { "slot-generation",
                                   "slot %0: state #1 is older than the floor of its chunk (word #2)" },
        [RULE_SLOT_WITHOUT_LEDGER] = { "slot-without-ledger",
                                       "slot %0: state #1 belongs to client %2, whose ledger word is 0" },
        [RULE_SLOT_PENDING] = { "slot-pending", "slot %0: state #1 of client %2 is half way to another", true },
        [RULE_SLOT_PAYLOAD_LEFT] = { "slot-payload-left", "slot %0: free (state #1), and its payload is not zero",
                                     true },
        [RULE_SLOT_NOT_FINDABLE] = { "slot-not-findable",
                                     "slot %0: free (state #1), no ledger names it, and its bit says that it is taken",
                                     true },
        [RULE_HANDLE_ORPHANED] = { "handle-orphaned", "slot %0: alive (state #1), and nobody holds it" },

        [RULE_HOLDER_WITHOUT_LEDGER] = { "holder-without-ledger",
                                         "slot %0: client %1 has its holder bit there, and its ledger word is 0 (state #2)" },
        [RULE_HOLDER_RANGE] = { "holder-range", "slot %0: holder bits #2 in word %1 are of clients that cannot be" },
        [RULE_LEDGER_WORD] = { "ledger-word", "client %0: the ledger word #2 of slot %1 makes no sense" },
        [RULE_LEDGER_OF_FREE_CLIENT] = { "ledger-of-free-client",
                                         "client %0: not attached, and the ledger word of slot %1 is #2" },
        [RULE_LEDGER_BEYOND_HWM] = { "ledger-beyond-hwm",
                                     "client %0: the ledger word of slot %1 is #2, but slots end at %3 so far" },
        [RULE_LEDGER_NOT_RESERVED] = { "ledger-not-reserved",
                                       "client %0: the ledger word of slot %1 is #2, in memory that was never reserved" },
        [RULE_LEDGER_PENDING] = { "ledger-pending", "client %0: the ledger word #2 of slot %1 is half way to another",
                                  true },
        [RULE_COUNT_STALE] = { "count-stale", "client %0: the ledger word of slot %1 is #2, but its state is #3" },
        [RULE_COUNT_WITHOUT_HOLDER] = { "count-without-holder",
                                        "client %0: the ledger word of slot %1 is #2, and the holder bit is clear" },
        [RULE_RESERVED_ELSEWHERE] = { "reserved-elsewhere",
                                      "client %0: the ledger word #2 of slot %1 says reserved, but its state is #3",
                                      true },

        [RULE_REF_LEFT] = { "ref-left", "slot %0: reference %1 is #2 in a slot without a handle (state #3)" },
        [RULE_REF_RANGE] = { "ref-range", "slot %0: reference %1 is #2, which is no block of a client" },
        [RULE_REF_UNUSED] = { "ref-unused", "slot %0: reference %1 is #2, and that block does not name it (word #3)",
                              true },
        [RULE_REF_ABANDONED] = { "ref-abandoned",
                                 "slot %0: reference %1 is #2 of client %4, which is not attached, and that "
                                 "block does not name it (word #3)" },
        [RULE_BLOCK_WORD] = { "block-word", "span %0: the owner word #2 of block %1 makes no sense (span #3)" },
        [RULE_BLOCK_FOREIGN] = { "block-foreign",
                                 "span %0: block %1 belongs to client %2, which the span does not (word #3)" },
        [RULE_BLOCK_WITHOUT_REF] = { "block-without-ref",
                                     "span %0: block %1 belongs to a slot (owner #2) whose state is #3 and reference #4" },
        [RULE_BLOCK_BEYOND_CLASS] = { "block-beyond-class",
                                      "span %0: block %1 is in use (owner #2), but there are only %3", true },

        [RULE_SPAN_WORD] = { "span-word", "span %0: the word #1 makes no sense" },
        [RULE_SPAN_OF_FREE_CLIENT] = { "span-of-free-client",
                                       "span %0: of client %2, which is not attached (word #1)" },
        [RULE_SPAN_WITHOUT_BIT] = { "span-without-bit",
                                    "span %0: of client %2, and nothing of that client leads to it (word #1)" },
        [RULE_SPAN_PENDING] = { "span-pending", "span %0: claimed (word #1), on its way in or out", true },
        [RULE_SPAN_BEYOND_HWM] = { "span-beyond-hwm", "span %0: the word is #1, at or above the high-water mark %2" },
        [RULE_SPAN_NOT_FINDABLE] = { "span-not-findable",
                                     "span %0: free (word #1), no ledger names it, and its bit says that it is not",
                                     true },
        [RULE_ORPHAN_EMPTY] = { "orphan-empty", "span %0: of nobody (word #1), and no block of it is in use", true },
        [RULE_LARGE_RUN] = { "large-run",
                             "span %0: a large block (word #1) of %2 spans and %3 bytes, which cannot be" },
        [RULE_LARGE_CONTINUATION] = { "large-continuation",
                                      "span %0: not a part of the large block at span %2 (word #1), which has %3 spans" },
        [RULE_LARGE_WITHOUT_OWNER] = { "large-without-owner", "span %0: a large block of nobody (word #1, owner #2)" },
        [RULE_LARGE_PENDING] = { "large-pending", "span %0: a large block that is half freed (owner #1)", true },
        [RULE_CONT_WITHOUT_HEAD] = { "cont-without-head", "span %0: says that it goes on from span %2 (word #1), "
                                                          "whose word is #3 and run is %4" },

        [RULE_MEMORY_IN_HOLE] = { "memory-in-hole", "region %0: there is memory at offset #1 that belongs to nothing",
                                  true },
};

static_assert(ELEMENTSOF(rules) == RULE_COUNT, "one entry for each rule");

const char *rule_name(Rule rule)
{
        assert(rule < RULE_COUNT);
        return rules[rule].name;
}

int rule_at_rest(Rule rule)
{
        assert(rule < RULE_COUNT);
        return rules[rule].at_rest;
}

void rule_text(Rule rule, const uint64_t args[static RULE_ARGS], char *ret, size_t size)
{
        size_t used = 0;

        assert(rule < RULE_COUNT);
        assert(size > 0);

        for (const char *p = rules[rule].text; *p && used < size - 1; p++) {
                bool number = (*p == '%' || *p == '#') && p[1] >= '0' && p[1] < '0' + (int)RULE_ARGS;
                int n;

                if (!number) {
                        ret[used++] = *p;
                        continue;
                }
                if (*p == '%')
                        n = snprintf(ret + used, size - used, "%" PRIu64, args[p[1] - '0']);
                else
                        n = snprintf(ret + used, size - used, "0x%" PRIx64, args[p[1] - '0']);
                used = MIN(used + (size_t)MAX(n, 0), size - 1);
                p++;
        }
        ret[used] = 0;
}
