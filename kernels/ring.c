/* Rings, seams and joins: see ring.h.
 *
 * Cases the loops walk: a cursor stands on a seam (cross it first); a join not yet aligned (skip the earlier rings to the latest
 * start, crossing further seams on the way, until nothing moves); a masked row (neither waits nor counts). */
#include "ring.h"

#include <math.h>

static uint64_t pow2_at_least(uint64_t n) {
    uint64_t c = 256;
    while (c < n) c <<= 1;
    return c;
}

static int grow(ll_ring *r, uint64_t cap) {
    float *data = malloc(cap * sizeof *data);
    int64_t *times = r->timed ? malloc(cap * sizeof *times) : NULL;
    if (!data || (r->timed && !times)) {
        free(data);
        free(times);
        return LL_NOMEM;
    }
    for (uint64_t p = r->tail; p < r->head; p++) {
        data[p & (cap - 1)] = r->data[p & (r->cap - 1)];
        if (times) times[p & (cap - 1)] = r->times[p & (r->cap - 1)];
    }
    free(r->data);
    free(r->times);
    r->data = data, r->times = times, r->cap = cap;
    return LL_OK;
}

/* What may lie unread once n more samples are there: a frame longer than half a ring may find one like it, and no more. */
static uint64_t most_with(const ll_ring *r, uint64_t n) { return n > r->max_cap / 2 ? 2 * n : r->max_cap; }

int ll_ring_room(ll_ring *r, uint64_t n) {
    if (!r->n_readers) ll_ring_trim(r, NULL);
    uint64_t need = r->head - r->tail + n;
    if (need > r->most) r->most = need;
    if (need <= r->cap) return LL_OK;
    if (need > most_with(r, n)) return LL_FULL;
    return grow(r, pow2_at_least(need));
}

void ll_ring_shrink(ll_ring *r) {
    int loose = !r->timed && r->head == r->tail && r->most && 4 * pow2_at_least(r->most) <= r->cap;
    r->most = 0;
    if (!loose) return;
    free(r->data);
    r->data = NULL, r->cap = 0;
}

int ll_ring_seam(ll_ring *r, const ll_seam *s) {
    if (r->n_seams == r->cap_seams) {
        uint32_t cap = r->cap_seams ? 2 * r->cap_seams : 4;
        ll_seam *more = realloc(r->seams, cap * sizeof *more);
        if (!more) return LL_NOMEM;
        r->seams = more, r->cap_seams = cap;
    }
    r->seams[r->n_seams++] = *s;
    return LL_OK;
}

const ll_seam *ll_ring_last(const ll_ring *r) { return r->n_seams ? &r->seams[r->n_seams - 1] : NULL; }

int64_t ll_ring_time(const ll_ring *r, const ll_seam *s, uint64_t pos) {
    if (r->timed) return r->times[pos & (r->cap - 1)];
    /* History may go back to before its anchor: the distance has a sign, and is rounded down on that side too. */
    __int128 ticks = (__int128)(int64_t)(pos - s->anchor_pos) * s->rate_den * 1000000000, ns = ticks / s->rate_num;
    return (int64_t)(s->anchor_ns + ns - (ns * s->rate_num > ticks));
}

void ll_ring_trim(ll_ring *r, const ll_join *joins) {
    uint64_t tail = r->head, next = r->first_seam + r->n_seams;
    for (uint32_t i = 0; i < r->n_readers; i++) {
        const ll_cursor *c = &joins[r->readers[i].join].cursors[r->readers[i].cursor];
        if (c->pos < tail) tail = c->pos;
        if (c->next < next) next = c->next;
    }
    r->tail = tail;
    if (next > r->first_seam + 1) { /* the seam before `next` still holds */
        uint32_t gone = (uint32_t)(next - 1 - r->first_seam);
        memmove(r->seams, r->seams + gone, (r->n_seams - gone) * sizeof *r->seams);
        r->n_seams -= gone, r->first_seam += gone;
    }
}

static const ll_seam *seam_at(const ll_ring *r, uint64_t number) {
    return number >= r->first_seam && number < r->first_seam + r->n_seams ? &r->seams[number - r->first_seam] : NULL;
}

/* The seam that holds where the cursor stands. There is one wherever there are samples, unless a saved state was damaged. */
static const ll_seam *holds(const ll_ring *r, const ll_cursor *c) {
    static const ll_seam none = {.rate_num = 1, .rate_den = 1};
    const ll_seam *s = c->next ? seam_at(r, c->next - 1) : NULL;
    return s ? s : &none;
}

/* First position the cursor may not read in one piece. */
static uint64_t limit(const ll_ring *r, const ll_cursor *c) {
    const ll_seam *s = seam_at(r, c->next);
    return s ? s->pos : r->head;
}

/* Crosses the seams the cursor stands on; the first reason met is the join's break. */
static void cross(ll_join *j, const ll_ring *r, ll_cursor *c) {
    for (const ll_seam *s; (s = seam_at(r, c->next)) && s->pos <= c->pos; c->next++) {
        if (!s->reason) continue;
        if (!j->broken) j->broken = s->reason, j->lost = s->lost;
    }
}

uint64_t ll_ring_drop(ll_ring *r, ll_join *joins, uint64_t n) {
    uint64_t lost = 0, most = most_with(r, n), tail = r->head + n > most ? r->head + n - most : 0;
    if (tail > r->head) tail = r->head;
    for (uint32_t i = 0; i < r->n_readers; i++) {
        ll_join *j = &joins[r->readers[i].join];
        ll_cursor *c = &j->cursors[r->readers[i].cursor];
        if (c->pos >= tail) continue;
        lost += tail - c->pos;
        if (!j->broken) j->broken = LL_OVERFLOW, j->lost = (int64_t)(tail - c->pos);
        c->pos = tail;
        cross(j, r, c);
    }
    ll_ring_trim(r, joins);
    return lost;
}

void ll_ring_free(ll_ring *r) {
    free(r->data);
    free(r->times);
    free(r->seams);
    free(r->readers);
    memset(r, 0, sizeof *r);
}

/* 0 where samples come when they like: there the earlier one is skipped. */
static int64_t half_sample_ns(const ll_seam *s) {
    return s->rate_num ? (int64_t)(500000000.0 * s->rate_den / s->rate_num) + 1 : 0;
}

/* Skips every ring to the latest start among them; 0 when some ring has nothing there yet. `t_ns` gets the common start. */
static int align(ll_join *j, ll_ring *rings, int64_t *t_ns) {
    for (int moved = 1; moved;) {
        moved = 0;
        int64_t latest = INT64_MIN;
        for (int32_t i = 0; i < j->n; i++) {
            ll_cursor *c = &j->cursors[i];
            const ll_ring *r = &rings[c->ring];
            if (c->masked) continue;
            cross(j, r, c);
            if (c->pos >= r->head) return 0;
            int64_t t = ll_ring_time(r, holds(r, c), c->pos);
            if (t > latest) latest = t;
        }
        *t_ns = latest;
        for (int32_t i = 0; i < j->n && j->n > 1; i++) {
            ll_cursor *c = &j->cursors[i];
            const ll_ring *r = &rings[c->ring];
            if (c->masked) continue;
            const ll_seam *s = holds(r, c);
            __int128 behind = (__int128)latest - ll_ring_time(r, s, c->pos) - half_sample_ns(s);
            if (behind <= 0) continue;
            uint64_t skip = (uint64_t)(behind * s->rate_num / ((__int128)s->rate_den * 1000000000)) + 1;
            uint64_t end = limit(r, c);
            c->pos = skip > end - c->pos ? end : c->pos + skip;
            moved = 1;
        }
    }
    return *t_ns != INT64_MIN;
}

/* Both positions have one time without a division: rows of one device have one time base. */
static int same_time(const ll_seam *s, uint64_t pos, const ll_seam *other, uint64_t other_pos) {
    return s->anchor_ns == other->anchor_ns && pos - s->anchor_pos == other_pos - other->anchor_pos &&
           s->rate_num == other->rate_num && s->rate_den == other->rate_den;
}

/* Skews against the first live row; 0 when a row is more than half a sample off (a clock was put right: align again). Half a sample of
 * the earlier one, as `align` has it: rates differ a little, and what align leaves as it is must pass here, or the two never end. */
static int skews(const ll_join *j, const ll_ring *rings, double *skew_s) {
    const ll_seam *first = NULL;
    uint64_t first_pos = 0;
    for (int32_t i = 0; i < j->n; i++) {
        const ll_cursor *c = &j->cursors[i];
        const ll_ring *r = &rings[c->ring];
        skew_s[i] = 0.0;
        if (c->masked || r->timed) continue;
        const ll_seam *s = holds(r, c);
        if (!first) first = s, first_pos = c->pos;
        if (same_time(s, c->pos, first, first_pos)) continue;
        __int128 off = (__int128)ll_ring_time(r, s, c->pos) - ll_ring_time(r, first, first_pos);
        if (off > half_sample_ns(first) || -off > half_sample_ns(s)) return 0;
        skew_s[i] = (double)off * 1e-9;
    }
    return 1;
}

static int tell_break(ll_join *j, ll_piece *out, int64_t t_ns) {
    *out = (ll_piece){.kind = LL_BREAK, .t_ns = t_ns, .reason = j->broken, .lost = j->lost};
    j->broken = 0, j->lost = -1;
    return LL_BREAK;
}

int ll_join_next(ll_join *j, ll_ring *rings, ll_piece *out, double *skew_s) {
    out->kind = LL_NOTHING;
    for (;;) {
        uint64_t n = UINT64_MAX;
        for (int32_t i = 0; i < j->n; i++) {
            ll_cursor *c = &j->cursors[i];
            if (!c->masked) cross(j, &rings[c->ring], c);
        }
        if (j->broken || !j->started) {
            int64_t t_ns = INT64_MIN;
            if (!align(j, rings, &t_ns)) return LL_NOTHING;
            if (j->started) return tell_break(j, out, t_ns);
            j->started = 1, j->broken = 0;
        }
        for (int32_t i = 0; i < j->n; i++) {
            const ll_cursor *c = &j->cursors[i];
            if (c->masked) continue;
            uint64_t has = limit(&rings[c->ring], c) - c->pos;
            if (has < n) n = has;
        }
        if (n == 0 || n == UINT64_MAX) return LL_NOTHING;
        if (skews(j, rings, skew_s)) {
            out->n = n;
            break;
        }
        j->broken = LL_CLOCK_STEP, j->lost = -1;
    }
    out->kind = LL_BLOCK, out->flags = 0xff, out->clock_sd_us = 0;
    uint8_t any = 0;
    int32_t first = -1;
    for (int32_t i = 0; i < j->n; i++) {
        const ll_cursor *c = &j->cursors[i];
        if (c->masked) continue;
        const ll_seam *s = holds(&rings[c->ring], c);
        if (first < 0) {
            first = i;
            out->anchor_ns = s->anchor_ns, out->index = (int64_t)(c->pos - s->anchor_pos);
            out->rate_num = s->rate_num, out->rate_den = s->rate_den;
        }
        out->flags &= s->flags, any |= s->flags;
        if (s->clock_sd_us > out->clock_sd_us) out->clock_sd_us = s->clock_sd_us;
    }
    out->flags = (uint8_t)((out->flags & 1) | (any & 0x1e)); /* locked when all are; the rest when any is */
    return LL_BLOCK;
}

void ll_join_pass(ll_join *j, ll_ring *rings, const ll_join *joins, const ll_piece *piece) {
    for (int32_t i = 0; i < j->n; i++) {
        ll_cursor *c = &j->cursors[i];
        if (c->masked) continue;
        c->pos += piece->n;
        ll_ring_trim(&rings[c->ring], joins);
    }
}

void ll_join_copy(ll_join *j, ll_ring *rings, const ll_join *joins, const ll_piece *piece, float *x, int64_t *t_ns) {
    for (int32_t i = 0; i < j->n; i++) {
        ll_cursor *c = &j->cursors[i];
        ll_ring *r = &rings[c->ring];
        float *row = x + (uint64_t)i * piece->n;
        if (c->masked) {
            for (uint64_t k = 0; k < piece->n; k++) row[k] = NAN;
            continue;
        }
        uint64_t at = c->pos & (r->cap - 1), head = r->cap - at < piece->n ? r->cap - at : piece->n;
        memcpy(row, r->data + at, head * sizeof *row);
        memcpy(row + head, r->data, (piece->n - head) * sizeof *row);
        if (r->timed && t_ns) {
            memcpy(t_ns, r->times + at, head * sizeof *t_ns);
            memcpy(t_ns + head, r->times, (piece->n - head) * sizeof *t_ns);
        }
    }
    ll_join_pass(j, rings, joins, piece);
}

void ll_join_tick(ll_join *j, ll_ring *rings, uint32_t patience) {
    int waiting = 0;
    if (!j->maskable || j->n < 2) return;
    for (int32_t i = 0; i < j->n; i++) {
        const ll_cursor *c = &j->cursors[i];
        if (!c->masked && c->pos < rings[c->ring].head) waiting = 1;
    }
    for (int32_t i = 0; i < j->n; i++) {
        ll_cursor *c = &j->cursors[i];
        ll_ring *r = &rings[c->ring];
        int has = c->pos < r->head;
        if (!c->masked && !has && waiting && r->quiet >= patience) c->masked = 1, j->dirty = 1;
        else if (c->masked && has) {
            c->masked = 0, j->dirty = 1;
            if (!j->broken) j->broken = LL_GAP, j->lost = -1;
        }
    }
}
