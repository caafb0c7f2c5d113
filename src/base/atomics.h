/* SPDX-License-Identifier: MIT */
#pragma once

/* Atomic access to plain words.
 *
 * The words of a shared mapping are plain uint32_t and uint64_t: the format is what the bytes are, not what one
 * compiler makes of _Atomic. So the access is atomic, not the type, and each access says its order in its name:
 *
 *   relaxed   only that word is in one piece; orders nothing else. Hints, counters, words from somebody untrusted.
 *   acquire   what the storer wrote before its release is seen after this load.
 *   release   what was written before is seen by who loads this store with acquire.
 *   acq_rel   both, for a read-modify-write.
 *   sc        one order that all agree on, of all sc accesses: needed where two sides write one word each and then
 *             read the other's ("one of the two looks last").
 *
 * Whoever uses one of the weaker ones says in a comment what it pairs with.
 *
 * cas_*(ptr, &expected, desired) is strong: it fails only if the word differs, and then leaves what it found in
 * `expected`. fetch_*() return the word before. A word must be aligned to its size; the processor
 * then does each of these without a lock, which is what makes them work between processes. */

#include <stdbool.h>
#include <stdint.h>

#define ATOMICS_CHECK(ptr)                                                                                           \
        _Static_assert((sizeof(*(ptr)) == 8 || sizeof(*(ptr)) == 4) && __atomic_always_lock_free(sizeof(*(ptr)), 0), \
                       "only words that the processor changes in one piece")

#define load_relaxed(ptr) ATOMICS_LOAD(ptr, __ATOMIC_RELAXED)
#define load_acquire(ptr) ATOMICS_LOAD(ptr, __ATOMIC_ACQUIRE)
#define load_sc(ptr)      ATOMICS_LOAD(ptr, __ATOMIC_SEQ_CST)

#define store_relaxed(ptr, value) ATOMICS_STORE(ptr, value, __ATOMIC_RELAXED)
#define store_release(ptr, value) ATOMICS_STORE(ptr, value, __ATOMIC_RELEASE)
#define store_sc(ptr, value)      ATOMICS_STORE(ptr, value, __ATOMIC_SEQ_CST)

#define cas_relaxed(ptr, expected, desired) ATOMICS_CAS(ptr, expected, desired, __ATOMIC_RELAXED, __ATOMIC_RELAXED)
#define cas_acq_rel(ptr, expected, desired) ATOMICS_CAS(ptr, expected, desired, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)
#define cas_sc(ptr, expected, desired)      ATOMICS_CAS(ptr, expected, desired, __ATOMIC_SEQ_CST, __ATOMIC_SEQ_CST)

#define fetch_or_sc(ptr, bits)       ATOMICS_RMW(fetch_or, ptr, bits, __ATOMIC_SEQ_CST)
#define fetch_and_relaxed(ptr, bits) ATOMICS_RMW(fetch_and, ptr, bits, __ATOMIC_RELAXED)
#define fetch_and_sc(ptr, bits)      ATOMICS_RMW(fetch_and, ptr, bits, __ATOMIC_SEQ_CST)
#define fetch_add_relaxed(ptr, n)    ATOMICS_RMW(fetch_add, ptr, n, __ATOMIC_RELAXED)
#define fetch_add_sc(ptr, n)         ATOMICS_RMW(fetch_add, ptr, n, __ATOMIC_SEQ_CST)
#define fetch_sub_relaxed(ptr, n)    ATOMICS_RMW(fetch_sub, ptr, n, __ATOMIC_RELAXED)
#define fetch_sub_sc(ptr, n)         ATOMICS_RMW(fetch_sub, ptr, n, __ATOMIC_SEQ_CST)

/* ThreadSanitizer knows no fences. There, a read-modify-write of one word that all share orders at least as much. */
#if defined(__SANITIZE_THREAD__)
#define ATOMICS_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define ATOMICS_TSAN 1
#endif
#endif

#ifdef ATOMICS_TSAN
extern uint64_t atomics_tsan_fence;
__attribute__((weak)) uint64_t atomics_tsan_fence;

static inline void fence_sc(void)
{
        (void)__atomic_fetch_add(&atomics_tsan_fence, 0, __ATOMIC_SEQ_CST);
}
#else
static inline void fence_sc(void)
{
        __atomic_thread_fence(__ATOMIC_SEQ_CST);
}
#endif

/* In a short spin: tells the processor that we wait for somebody on another one. */
static inline void cpu_relax(void)
{
#if defined(__x86_64__)
        __builtin_ia32_pause();
#elif defined(__aarch64__)
        __asm__ volatile("yield" ::: "memory");
#else
        __asm__ volatile("" ::: "memory");
#endif
}

#define ATOMICS_LOAD(ptr, order)             \
        ({                                   \
                ATOMICS_CHECK(ptr);          \
                __atomic_load_n(ptr, order); \
        })

#define ATOMICS_STORE(ptr, value, order)             \
        ({                                           \
                ATOMICS_CHECK(ptr);                  \
                __atomic_store_n(ptr, value, order); \
        })

#define ATOMICS_CAS(ptr, expected, desired, success, failure)                                       \
        ({                                                                                          \
                ATOMICS_CHECK(ptr);                                                                 \
                (bool)__atomic_compare_exchange_n(ptr, expected, desired, false, success, failure); \
        })

#define ATOMICS_RMW(operation, ptr, value, order)        \
        ({                                               \
                ATOMICS_CHECK(ptr);                      \
                __atomic_##operation(ptr, value, order); \
        })
