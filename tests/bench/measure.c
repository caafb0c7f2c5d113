/* SPDX-License-Identifier: MIT */

#include "measure.h"

#include "base/cleanup.h"
#include "pass.h"
#include "stage.h"

#define N_MAX        1000000U
#define WARM_UP_NSEC UINT64_C(5000000)

static unsigned in_steps(const Side *side, unsigned n)
{
        unsigned step = side->step > 0 ? side->step : 1;

        return n < step ? step : n - n % step;
}

static uint64_t timed(const Side *side, unsigned n)
{
        uint64_t begin;

        /* The other side has had the caches meanwhile. */
        if (side->prepare)
                side->prepare(side->ctx, n);
        else
                side->run(side->ctx, in_steps(side, n / 8 + 1));
        begin = now_nsec();
        side->run(side->ctx, n);
        return now_nsec() - begin;
}

/* Of two tries: who is interrupted once would seem to be slow, and from then on measured in slices of a few pairs. */
static uint64_t best_time(const Side *side, unsigned n)
{
        uint64_t a = timed(side, n), b = timed(side, n);

        return MIN(a, b);
}

/* How often it fits into `nsec`; a by-product is that it is warm. */
static unsigned fit(const Side *side, uint64_t nsec, uint64_t warm_up)
{
        unsigned n = in_steps(side, 1);
        uint64_t end = now_nsec() + warm_up, took;

        while ((took = best_time(side, n)) < nsec / 2 && n < N_MAX)
                n *= 2;
        while (now_nsec() < end)
                took = MIN(took, timed(side, n));
        if (took > nsec)
                n = in_steps(side, (unsigned)((double)n * (double)nsec / (double)took));
        return n;
}

static void sample(const char *key, Side ours, Side peer, unsigned rounds, uint64_t slice_nsec)
{
        uint64_t warm_up = the_pass.quick ? WARM_UP_NSEC / 10 : WARM_UP_NSEC;
        unsigned n_ours, n_peer;

        if (!pass_wants(key))
                return;
        pass_begin(key);
        n_ours = fit(&ours, slice_nsec, warm_up);
        n_peer = fit(&peer, slice_nsec, warm_up);

        for (unsigned i = 0; i < rounds; i++) {
                uint64_t a, b;

                if (i % 2 == 0) {
                        a = timed(&ours, n_ours);
                        b = timed(&peer, n_peer);
                } else {
                        b = timed(&peer, n_peer);
                        a = timed(&ours, n_ours);
                }
                pass_sample(key, (double)a / n_ours, (double)b / n_peer);
        }
}

void measure(const char *key, Side ours, Side peer)
{
        sample(key, ours, peer, the_pass.rounds, the_pass.slice_nsec);
}

void measure_long(const char *key, Side ours, Side peer)
{
        sample(key, ours, peer, the_pass.rounds / 2 + 1, the_pass.slice_nsec * 4);
}
