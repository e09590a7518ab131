/* Four channels of 8,192 samples: where no ratio is wanted, with all of them, and with a sample in each stretch that is missing. */
#include "trigger.h"

#include <math.h>

#include "count.h"

enum { ROWS = 4, N = 8192, STA = 50, LTA = 1000 };

static const ll_trigger_rule rule = {
    .gain = 0.99778, .a1 = 1.995557, .a2 = -0.995567, .keep = {1 - 1.0 / STA, 1 - 1.0 / LTA}, .scale = (double)LTA / STA,
    .on = 15, .warm = LTA};

static void ready(ll_trigger_state *s) {
    memset(s, 0, sizeof *s);
    for (int r = 0; r < ROWS; r++) s->sum[0][r] = STA, s->sum[1][r] = LTA, s->count[r] = LTA;
}

void count_trigger(void) {
    const ll_trigger_api *k = ll_trigger();
    float *x = count_noise(ROWS * N, 1), *y = count_memory(ROWS * N * sizeof *y), *ratio = count_memory(ROWS * N * sizeof *ratio);
    const float *in[ROWS];
    float *out[ROWS], *told[ROWS];
    ll_trigger_state s;
    for (int r = 0; r < ROWS; r++) in[r] = x + r * N, out[r] = y + r * N, told[r] = ratio + r * N;

    ready(&s), count_begin();
    size_t at = k->run(&s, &rule, in, ROWS, N, 0, out, NULL);
    count_end("trigger.run");
    COUNT_IS(at == N && s.count[0] == LTA + N && isfinite(y[N - 1]));

    ready(&s), count_begin();
    at = k->run(&s, &rule, in, ROWS, N, 0, out, told);
    count_end("trigger.run ratios");
    COUNT_IS(at == N && ratio[N - 1] > 0 && ratio[N - 1] < 15);

    for (size_t i = 0; i < N; i += 256) x[i] = NAN;
    ready(&s), count_begin();
    at = k->run(&s, &rule, in, ROWS, N, 0, out, NULL);
    count_end("trigger.run missing");
    COUNT_IS(at == N && s.count[0] < LTA + N && s.count[1] == LTA + N);
    free(x), free(y), free(ratio);
}
