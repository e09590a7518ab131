/* Instructions of following one row for steps: noise over two fillings of what is learnt from, a drop, and samples asked back. */
#include "step.h"

#include "count.h"

enum { SIZE = 16, BINS = 640, LAST = 256 };

void count_step(void) {
    const ll_step_api *k = ll_step();
    const ll_step_rule rule = {SIZE, 8, 4, 12, 20, 42, 193, 480, 0.0134, 0.21, 0.3, 0.21, 5.55, 1.0, 8.31};
    float *x = count_noise(SIZE * BINS, 1), work[SIZE], out[LAST];
    for (size_t i = 0; i < SIZE * BINS; i++) x[i] = 40.0f + 0.03f * x[i] - (i >= SIZE * 600 ? 1.0f : 0.0f);
    void *state = count_memory(k->room(&rule));
    k->start(&rule, state);
    ll_step_event event;
    size_t quiet = 0, drop = 0;
    count_begin();
    int none = k->push(&rule, state, x, SIZE * 590, &quiet, work, &event);
    int said = k->push(&rule, state, x + SIZE * 590, SIZE * 50, &drop, work, &event);
    count_end("step.push");
    COUNT_IS(none == LL_STEP_QUIET || none == LL_STEP_NONE);
    COUNT_IS(said == LL_STEP_ON && event.held == 192 && event.bins >= 5);
    count_begin();
    k->last(&rule, state, LAST, out);
    count_end("step.last");
    COUNT_IS(out[LAST - 1] == x[SIZE * 590 + drop - 1]);
    free(state);
    free(x);
}
