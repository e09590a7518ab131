/* Handing out: see handout.h. A piece is shown to every reader's takers before the next, so that it is read from the first cache;
 * a reader whose taker refuses gets all the rest of the block in Python. */
#include "handout.h"

void ll_crowd_free(ll_join *j) {
    ll_crowd *c = j->crowd;
    if (!c) return;
    free(c->first), free(c->takers), free(c->from), free(c->skew_s), free(c->x), free(c);
    j->crowd = NULL;
}

static ll_crowd *crowd_of(int32_t readers, int32_t takers, int32_t rows) {
    ll_crowd *c = calloc(1, sizeof *c);
    if (!c) return NULL;
    c->n = readers;
    c->first = calloc((size_t)readers + 1, sizeof *c->first), c->from = calloc((size_t)readers + 1, sizeof *c->from);
    c->takers = calloc((size_t)takers + 1, sizeof *c->takers);
    c->skew_s = calloc((size_t)rows + 1, sizeof *c->skew_s), c->x = calloc((size_t)rows + 1, sizeof *c->x);
    if (c->first && c->from && c->takers && c->skew_s && c->x) return c;
    ll_join gone = {.crowd = c};
    ll_crowd_free(&gone);
    return NULL;
}

int ll_crowd_set(ll_assembler *a, int32_t join, const int32_t *n, int32_t readers, ll_taker *const *takers) {
    ll_join *j = &a->joins[2 * join];
    ll_crowd *old = j->crowd, *c = NULL;
    int32_t sum = 0, left = old && old->left && old->n == readers;
    for (int32_t r = 0; r < readers; r++) sum += n[r];
    if ((sum || left) && !(c = crowd_of(readers, sum, j->n))) return LL_NOMEM;
    if (c) {
        c->all = 1;
        for (int32_t r = 0; r < readers; r++) c->first[r + 1] = c->first[r] + n[r], c->all &= n[r] > 0;
        memcpy(c->takers, takers, (size_t)sum * sizeof *takers);
        c->held = old && old->held, c->asked = old ? old->asked : 0;
    }
    if (left) {
        c->left = 1, c->left_at = old->left_at, c->piece = old->piece;
        memcpy(c->from, old->from, (size_t)readers * sizeof *c->from);
        memcpy(c->skew_s, old->skew_s, (size_t)j->n * sizeof *c->skew_s);
    }
    ll_crowd_free(j);
    j->crowd = c;
    return LL_OK;
}

/* What one taker writes comes to the caches while the one before it computes. */
static int takes(const ll_crowd *c, int32_t reader, const ll_given *g) {
    for (int32_t k = c->first[reader]; k < c->first[reader + 1]; k++) {
        ll_taker *t = c->takers[k], *next = c->takers[k + 1]; /* NULL behind the last */
        if (next && next->fetch) next->fetch(next, g->n);
        if (!t->take(t, g)) return 0;
    }
    ll_taker *t = c->takers[c->first[reader]];
    t->pieces++, t->anchor_ns = g->anchor_ns, t->end = g->index + (int64_t)g->n, t->flags = g->flags;
    t->rate_num = g->rate_num, t->rate_den = g->rate_den;
    return 1;
}

/* Gives a block from sample 0 on; whether every reader has had all of it. */
static int give(ll_crowd *c, const ll_join *j, const ll_ring *rings, const ll_piece *piece) {
    ll_given g = {.x = c->x, .rows = (uint32_t)j->n, .rate_num = piece->rate_num, .rate_den = piece->rate_den,
                  .clock_sd_us = piece->clock_sd_us, .flags = piece->flags, .anchor_ns = piece->anchor_ns};
    size_t most = ll_piece_most((size_t)j->n);
    int32_t taking = c->n;
    for (uint64_t done = 0; done < piece->n && taking; done += g.n) {
        g.n = piece->n - done < most ? piece->n - done : most, g.index = piece->index + (int64_t)done;
        for (int32_t i = 0; i < j->n; i++) {
            const ll_ring *r = &rings[j->cursors[i].ring];
            uint64_t at = (j->cursors[i].pos + done) & (r->cap - 1);
            if (r->cap - at < g.n) g.n = r->cap - at;
            c->x[i] = r->data + at;
        }
        taking = 0;
        for (int32_t r = 0; r < c->n; r++)
            if (c->from[r] == (int64_t)done && c->first[r] < c->first[r + 1] && takes(c, r, &g))
                c->from[r] += (int64_t)g.n, taking++;
    }
    for (int32_t r = 0; r < c->n; r++)
        if (c->from[r] < (int64_t)piece->n) return 0;
    return 1;
}

/* Rows of NaN and samples with times of their own are nothing for takers. */
static int may_give(const ll_join *j, const ll_ring *rings) {
    for (int32_t i = 0; i < j->n; i++)
        if (j->cursors[i].masked || rings[j->cursors[i].ring].timed) return 0;
    return 1;
}

void ll_hand_passed(ll_assembler *a, int32_t join, const ll_piece *piece) {
    ll_join *j = &a->joins[2 * join];
    const ll_ring *r = &a->rings[j->cursors[0].ring];
    j->last = (ll_last){.turn = ++a->turn, .anchor_ns = piece->anchor_ns, .index = piece->index + (int64_t)piece->n - 1,
                        .rate_num = r->timed ? 0 : piece->rate_num, .rate_den = piece->rate_den};
    if (r->timed) j->last.t_ns = r->times[(j->cursors[0].pos - 1) & (r->cap - 1)];
}

static int leave(ll_crowd *c, const ll_join *j) {
    c->left = 1, c->left_at = j->cursors[0].pos;
    return 1;
}

int ll_hand_out(ll_assembler *a, int32_t join, int all) {
    ll_join *j = &a->joins[2 * join];
    ll_crowd *c = j->crowd;
    if (!j->n) return 0;
    if (c->held) return 1;
    if (c->left && c->left_at == j->cursors[0].pos) return 1;
    for (;;) {
        memset(c->from, 0, (size_t)c->n * sizeof *c->from);
        c->left = 0;
        int kind = ll_join_next(j, a->rings, &c->piece, c->skew_s);
        if (kind == LL_NOTHING) return 0;
        if (kind == LL_BLOCK && !all && !(c->piece.n &= ~(uint64_t)(LL_EVEN - 1))) return 0;
        if (kind == LL_BREAK || !may_give(j, a->rings) || !give(c, j, a->rings, &c->piece)) return leave(c, j);
        ll_join_pass(j, a->rings, a->joins, &c->piece);
        ll_hand_passed(a, join, &c->piece);
    }
}

int ll_hand_next(ll_assembler *a, int32_t join, int lane, ll_piece *out, double *skew_s, const int64_t **from) {
    ll_join *j = &a->joins[2 * join + lane];
    *from = NULL;
    if (lane || !j->crowd || j->crowd->held) return ll_join_next(j, a->rings, out, skew_s);
    if (!ll_hand_out(a, join, 1)) return LL_NOTHING;
    *out = j->crowd->piece, *from = j->crowd->from;
    memcpy(skew_s, j->crowd->skew_s, (size_t)j->n * sizeof *skew_s);
    j->crowd->left = 0;
    return out->kind;
}
