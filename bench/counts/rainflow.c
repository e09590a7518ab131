/* 131,072 samples: noise, which turns at two of three, and a slow wave with small ripples; then what is open and bins. */
#include "rainflow.h"

#include <math.h>

#include "count.h"

enum { N = 1 << 17, RANGES = 64 };

static ll_cycles cycles(void) {
    return (ll_cycles){.ranges = count_memory((N + 16) * 8), .means = count_memory((N + 16) * 8), .counts = count_memory((N + 16) * 8)};
}

static void push(const ll_rainflow_api *k, const char *name, const void *x, int is_double, ll_cycles *out) {
    ll_history s = {0};
    COUNT_IS(!k->reserve(&s, 1 << 14));
    out->n = 0;
    count_begin();
    int status = k->push(&s, x, is_double, N, out);
    count_end(name);
    COUNT_IS(status == LL_OK && s.seen == N && out->n > 1000);
    double *scratch = count_memory((s.top + 1) * sizeof *scratch);
    k->residue(&s, scratch, out);
    free(scratch);
    k->close(&s);
}

void count_rainflow(void) {
    const ll_rainflow_api *k = ll_rainflow();
    float *x = count_noise(N, 1);
    double *d = count_noise64(N, 1), *bins = count_memory(RANGES * sizeof *bins);
    ll_cycles out = cycles();
    push(k, "rainflow.push noise, float64", d, 1, &out);
    push(k, "rainflow.push noise", x, 0, &out);
    for (int i = 0; i < N; i++) x[i] = (float)(sin(i / 27.5) + 0.5 * sin(i / 6.57 + 1.0));
    push(k, "rainflow.push sines", x, 0, &out);
    for (int i = 0; i < N; i++) x[i] = (i & 1 ? -1.0f : 1.0f) * (float)(N - i);

    ll_history s = {0};
    out.n = 0;
    COUNT_IS(!k->push(&s, x, 0, N, &out) && !out.n);
    double *scratch = count_memory((s.top + 1) * sizeof *scratch);
    count_begin();
    k->residue(&s, scratch, &out);
    count_end("rainflow.residue, all open");
    COUNT_IS(out.n == N - 1);

    ll_rainflow_bins b = {.range_width = 0.05, .mean_width = 1.0, .n_ranges = RANGES, .n_means = 1};
    count_begin();
    k->bin(&out, &b, bins);
    count_end("rainflow.bin");
    COUNT_IS(bins[RANGES - 1] > 0.0);
    k->close(&s);
    free(scratch), free(x), free(d), free(bins), free(out.ranges), free(out.means), free(out.counts);
}
