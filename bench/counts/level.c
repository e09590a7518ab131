/* 131,072 samples at 200 Hz against two limits: far below them, and crossing them again and again. */
#include "level.h"

#include "count.h"

enum { N = 1 << 17, ROOM = 64 };

static size_t events(const ll_level_api *k, const ll_level_rule *rule, const float *x) {
    ll_level_clock clock = {.anchor_ns = 1790000000000000000, .num = 200, .den = 1};
    ll_level_state s;
    ll_level_event out[ROOM];
    size_t used = 0, made = 0;
    k->start(&s);
    while (used < N) {
        int n = k->push(&s, rule, x, &clock, N, &used, out, ROOM);
        COUNT_IS(n >= 0);
        made += (size_t)n;
    }
    return made;
}

void count_level(void) {
    const ll_level_api *k = ll_level();
    float *x = count_noise(N, 1), *out = count_memory(N * sizeof *out);
    ll_level_rule quiet = {.bound = {{2.0f, 3.0f}}, .clear = {1.5f}, .n = {2, 0}};
    ll_level_rule busy = {.bound = {{0.5f, 0.9f}}, .clear = {0.4f}, .n = {2, 0}, .on_ns = 10000000};

    count_begin();
    size_t none = events(k, &quiet, x);
    count_end("level.push quiet");
    COUNT_IS(none == 0);

    count_begin();
    size_t many = events(k, &busy, x);
    count_end("level.push busy");
    COUNT_IS(many > 100);

    ll_level_clock clock = {.anchor_ns = 1790000000000000000, .num = 200, .den = 1};
    ll_slope_state *s = count_memory(sizeof *s);
    k->slope_start(s);
    count_begin();
    int status = k->slope(s, 10000000000, 0, 1e9, x, &clock, N, out);
    count_end("level.slope");
    COUNT_IS(status == LL_OK && out[N - 1] == out[N - 1]);
    free(x), free(out), free(s);
}
