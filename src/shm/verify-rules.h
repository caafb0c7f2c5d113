/* SPDX-License-Identifier: MIT */
#pragma once

/* What can be wrong with a segment: every rule once, with its name and its sentence.
 *
 * A rule is checked by one of three files: verify-tables.c (what the daemon writes), verify-handles.c (chunks, slots,
 * holder bits, ledger words), verify-scratch.c (spans, blocks, references, memory). */

#include <stddef.h>
#include <stdint.h>

typedef enum Rule {
        /* tables */
        RULE_HWM_RANGE,
        RULE_CLIENT_STATE,
        RULE_CLIENT_FLAGS,
        RULE_CLIENT_NAME,
        RULE_CLIENT_BEYOND_HWM,
        RULE_CLIENT_PENDING,
        RULE_INTENT_SEQUENCE,
        RULE_INTENT_PENDING,
        RULE_HAZARD_RANGE,
        RULE_HAZARD_UNCOUNTED,
        RULE_HAZARD_LEFT,
        RULE_ACCOUNT_DRIFT,
        RULE_ACCOUNT_SCRATCH,

        /* chunks and slots */
        RULE_CHUNK_WORD,
        RULE_CHUNK_PENDING,
        RULE_CHUNK_BEYOND_HWM,
        RULE_CHUNK_NOT_OPEN,
        RULE_CHUNK_NOT_FINDABLE,
        RULE_SLOT_WORD,
        RULE_SLOT_GENERATION,
        RULE_SLOT_WITHOUT_LEDGER,
        RULE_SLOT_PENDING,
        RULE_SLOT_PAYLOAD_LEFT,
        RULE_SLOT_NOT_FINDABLE,
        RULE_HANDLE_ORPHANED,

        /* who holds what */
        RULE_HOLDER_WITHOUT_LEDGER,
        RULE_HOLDER_RANGE,
        RULE_LEDGER_WORD,
        RULE_LEDGER_OF_FREE_CLIENT,
        RULE_LEDGER_BEYOND_HWM,
        RULE_LEDGER_NOT_RESERVED,
        RULE_LEDGER_PENDING,
        RULE_COUNT_STALE,
        RULE_COUNT_WITHOUT_HOLDER,
        RULE_RESERVED_ELSEWHERE,

        /* references and blocks */
        RULE_REF_LEFT,
        RULE_REF_RANGE,
        RULE_REF_UNUSED,
        RULE_REF_ABANDONED,
        RULE_BLOCK_WORD,
        RULE_BLOCK_FOREIGN,
        RULE_BLOCK_WITHOUT_REF,
        RULE_BLOCK_BEYOND_CLASS,

        /* spans */
        RULE_SPAN_WORD,
        RULE_SPAN_OF_FREE_CLIENT,
        RULE_SPAN_WITHOUT_BIT,
        RULE_SPAN_PENDING,
        RULE_SPAN_BEYOND_HWM,
        RULE_SPAN_NOT_FINDABLE,
        RULE_ORPHAN_EMPTY,
        RULE_LARGE_RUN,
        RULE_LARGE_CONTINUATION,
        RULE_LARGE_WITHOUT_OWNER,
        RULE_LARGE_PENDING,
        RULE_CONT_WITHOUT_HEAD,

        RULE_MEMORY_IN_HOLE,

        RULE_COUNT
} Rule;

#define RULE_ARGS 5U

/* Such as "holder-without-ledger". */
const char *rule_name(Rule rule);

/* Only where nobody works on the segment is this wrong? */
int rule_at_rest(Rule rule);

/* The sentence with its numbers; cut where it does not fit. */
void rule_text(Rule rule, const uint64_t args[static RULE_ARGS], char *ret, size_t size);
