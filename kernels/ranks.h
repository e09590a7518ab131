/* A multiset of numbers kept in order, of one type: included once for float and once for double by hampel.c, which defines
 * T, N(name), VEC, LANES, VMIN, VMAX, BELOW (a < b ? c : d), AFTER (lanes 1 .. of a, then the first of b) and
 * BEFORE (the last lane of a, then lanes 0 .. of b).
 *
 * A window of up to LINE numbers: one sorted line with +inf behind the last. To replace o by v, all lanes do the same,
 * whatever they hold, and no branch depends on the data:
 *
 *     r[i] = s[i] < o ? s[i] : s[i+1]              o is gone, what was above it moved down
 *     s[i] = max(r[i-1], min(r[i], v))             v is in, what is above it moved up again
 *
 * +inf stands for "none": taking it out or putting it in changes nothing but the number of places filled.
 *
 * More numbers: blocks of up to `room`, each such a line, in order among each other; top[] and start[] (rank of the first) lie
 * side by side, so that a block is found by counting. Unused places hold what is never counted, and all loops run over
 * whole vectors: how often they turn does not depend on the data either. room grows as the square root of the window. */

typedef struct {
    uint64_t window, half, fed, seen, bad, held; /* held: finite numbers in the window */
    uint64_t at;                                 /* where in the ring the next sample goes */
    uint64_t hint;                               /* where the search for the MAD began to succeed last time */
    uint64_t blocks, most, room, cursor[3];      /* of the block form; where ranks were found last */
} N(head);

typedef struct {
    N(head) * head;
    T *ring, *line; /* line: sorted; or the blocks' numbers */
    T *top;
    int32_t *start, *count, *place; /* by order: rank of the first, how many, which block of `line` */
} N(ranks);

#define LINE ((size_t)192) /* beyond, blocks are faster */
#define INF ((T)INFINITY)
#define NEVER (1 << 30) /* a rank that no number has, more or less: ranks are below 2^28 */

static size_t N(room)(size_t window) {
    size_t room = 48;
    while (room * room < 2 * window) room += 16;
    return room;
}
static size_t N(most)(size_t window) { return 4 * window / N(room)(window) + 16; }
static size_t N(padded)(size_t n) { return (n + 15) / 16 * 16; }

static size_t N(size)(size_t window) {
    size_t numbers = N(padded)(window);
    if (window <= LINE) numbers += N(padded)(window) + 32; /* looked at, never held */
    else numbers += N(most)(window) * N(room)(window) + N(padded)(N(most)(window));
    size_t size = 128 + numbers * sizeof(T) + (window <= LINE ? 0 : 3 * N(padded)(N(most)(window)) * sizeof(int32_t));
    return (size + 63) / 64 * 64;
}

LL_INLINE N(ranks) N(open)(void *state) {
    N(ranks) k = {.head = state};
    size_t window = k.head->window, most = N(padded)(k.head->most);
    k.ring = (T *)((char *)state + 128);
    k.line = k.ring + N(padded)(window);
    if (window > LINE) {
        k.top = k.line + k.head->most * k.head->room;
        k.start = (int32_t *)(k.top + most), k.count = k.start + most, k.place = k.count + most;
    }
    return k;
}

static void N(begin)(void *state, size_t window) {
    memset(state, 0, N(size)(window));
    N(head) *head = state;
    head->window = window, head->half = window / 2;
    if (window > LINE) {
        head->room = N(room)(window), head->most = N(most)(window), head->blocks = 1;
        N(ranks) k = N(open)(state);
        for (size_t i = 0; i < head->most * head->room; i++) k.line[i] = INF;
        for (size_t b = 0; b < N(padded)(head->most); b++) k.place[b] = (int32_t)b, k.top[b] = INF, k.start[b] = NEVER;
        k.top[0] = -INF, k.start[0] = 0;
    } else {
        N(ranks) k = N(open)(state);
        for (size_t i = 0; i < N(padded)(window) + 32; i++) k.line[i] = INF;
    }
}

/* A line: o out, v in, either or both. `out` and `in` are constants, and so is `vectors` where it is small. */
LL_INLINE void N(exchange)(T *line, size_t vectors, int out, T o, int in, T v) {
    VEC gone = ALL(o), added = ALL(v), r_before = ALL(-INF), here, next;
    memcpy(&here, line, sizeof here);
    for (size_t i = 0; i < vectors; i++, here = next) {
        next = ALL(INF);
        if (i + 1 < vectors) memcpy(&next, line + (i + 1) * LANES, sizeof next);
        VEC r = out ? BELOW(here, gone, here, AFTER(here, next)) : here;
        VEC s = in ? VMAX(BEFORE(r_before, r), VMIN(r, added)) : r;
        memcpy(line + i * LANES, &s, sizeof s);
        r_before = r;
    }
}

LL_INLINE void N(replace_in_line)(T *line, size_t window, T o, T v) {
    size_t vectors = (window + LANES - 1) / LANES;
    switch (vectors) {
        case 1: N(exchange)(line, 1, 1, o, 1, v); break;
        case 2: N(exchange)(line, 2, 1, o, 1, v); break;
        case 3: N(exchange)(line, 3, 1, o, 1, v); break;
        case 4: N(exchange)(line, 4, 1, o, 1, v); break;
        default: N(exchange)(line, vectors, 1, o, 1, v);
    }
}

#include "blocks.h"

/* The number of rank i among those held, sought from where `cursor` found one last; three follow the middle and both ends of
 * what lies nearest to it, which move by little from sample to sample. */
enum { N(MIDDLE) = 0, N(BELOW_IT) = 1, N(ABOVE_IT) = 2 };
LL_INLINE T N(ranked)(const N(ranks) * k, size_t i, int cursor) {
    if (!k->top) return k->line[i];
    uint64_t *at = &k->head->cursor[cursor], b = *at < k->head->blocks ? *at : k->head->blocks - 1;
    int32_t rank = (int32_t)i;
    while (k->start[b] > rank) b--;
    while (b + 1 < k->head->blocks && k->start[b + 1] <= rank) b++;
    *at = b;
    return N(numbers)(k, b)[rank - k->start[b]];
}

LL_INLINE T N(mean_of)(T a, T b) { return a == b ? a : (T)(0.5 * (double)a + 0.5 * (double)b); }

LL_INLINE T N(median)(const N(ranks) * k) {
    size_t m = k->head->held;
    T high = N(ranked)(k, m / 2, N(MIDDLE));
    return m % 2 ? high : N(mean_of)(N(ranked)(k, m / 2 - 1, N(MIDDLE)), high);
}

/* Whether the r + 1 numbers nearest to the median begin above rank a. */
LL_INLINE int N(above)(const N(ranks) * k, size_t a, size_t r, T median) {
    return median - N(ranked)(k, a, N(BELOW_IT)) > N(ranked)(k, a + r + 1, N(ABOVE_IT)) - median;
}

/* Where a search that widens from where it ended last time finds the first of n ranks that is not above; n if all are. */
LL_INLINE size_t N(widening)(const N(ranks) * k, size_t n, size_t r, T median) {
    size_t low = 0, high = n, hint = k->head->hint < n ? k->head->hint : n;
    if (hint < n && N(above)(k, hint, r, median)) {
        low = hint + 1;
        for (size_t step = 1; low + step <= n; step *= 2) {
            if (!N(above)(k, low + step - 1, r, median)) {
                high = low + step - 1;
                break;
            }
            low += step;
        }
    } else {
        high = hint;
        for (size_t step = 1; step <= high; step *= 2) {
            if (N(above)(k, high - step, r, median)) {
                low = high - step + 1;
                break;
            }
            high -= step;
        }
    }
    while (low < high) {
        size_t middle = low + (high - low) / 2;
        if (N(above)(k, middle, r, median)) low = middle + 1;
        else high = middle;
    }
    return low;
}

/* The r-th smallest of |x - median|: the r + 1 nearest are neighbours in rank; in the line, where they begin is counted. */
LL_INLINE T N(distance)(const N(ranks) * k, size_t r, T median) {
    size_t a = 0, n = k->head->held - 1 - r;
    if (k->top) {
        a = k->head->hint = N(widening)(k, n, r, median);
    } else if (n <= 8) { /* one by one: vectors across those just stored would wait for them to reach the cache */
        for (; n > 1; n -= n / 2) a += (size_t)N(above)(k, a + n / 2 - 1, r, median) * (n / 2);
        if (n) a += (size_t)N(above)(k, a, r, median);
    } else {
        const T *s = k->line, *over = s + r + 1;
        int32_t count = 0; /* behind the last there is +inf, above which nothing is */
        for (size_t i = 0; i < (N(padded)(n) & ~(size_t)15); i++) count += median - s[i] > over[i] - median;
        a = (size_t)count;
    }
    T below = median - N(ranked)(k, a, N(BELOW_IT)), over = N(ranked)(k, a + r, N(ABOVE_IT)) - median;
    return below > over ? below : over;
}

LL_INLINE T N(mad)(const N(ranks) * k, T median) {
    size_t m = k->head->held;
    T high = N(distance)(k, m / 2, median);
    return m % 2 ? high : N(mean_of)(N(distance)(k, m / 2 - 1, median), high);
}

/* One sample goes in (real) or the row has ended; what leaves the window, leaves. */
LL_INLINE void N(step)(const N(ranks) * k, T x, int real) {
    N(head) *h = k->head;
    T v = real && x - x == 0 ? x + 0 : INF; /* -0 becomes 0: the order does not tell them apart */
    T gone = h->fed >= h->window ? k->ring[h->at] : INF;
    int bad_gone = h->fed >= h->window && !(gone - gone == 0);
    T o = h->fed >= h->window && !bad_gone ? gone + 0 : INF;
    h->bad += (uint64_t)(real && v == INF) - (uint64_t)bad_gone;
    h->held += (uint64_t)(v != INF) - (uint64_t)(o != INF);
    if (!k->top) N(replace_in_line)(k->line, h->window, o, v);
    else N(replace_in_blocks)(k, o, v);
    if (real) k->ring[h->at] = x, h->seen++;
    h->at = h->at + 1 == h->window ? 0 : h->at + 1;
    h->fed++;
}

LL_INLINE void N(answer)(const N(ranks) * k, int verb, double limit, T *out, uint8_t *mark) {
    const N(head) *h = k->head;
    if (h->bad || !h->held) {
        *out = NAN;
        if (verb >= LL_MARK) *mark = 0;
        return;
    }
    T median = N(median)(k);
    if (verb == LL_MEDIAN) {
        *out = median;
        return;
    }
    T mad = N(mad)(k, median);
    if (verb == LL_MAD) {
        *out = mad;
        return;
    }
    size_t back = h->half + 1; /* the middle of the window */
    T x = k->ring[h->at >= back ? h->at - back : h->at + h->window - back];
    int far = fabs((double)x - (double)median) > limit * (double)mad;
    *mark = (uint8_t)far;
    *out = far && verb == LL_REPLACE ? median : x;
}

LL_INLINE size_t N(run)(void *state, const T *x, size_t n, int verb, double limit, T *out, uint8_t *marks) {
    N(ranks) k = N(open)(state);
    size_t done = 0;
    for (size_t t = 0; t < n; t++) {
        N(step)(&k, x ? x[t] : 0, x != NULL);
        if (k.head->fed <= k.head->half || k.head->fed - k.head->half > k.head->seen) continue;
        N(answer)(&k, verb, limit, out + done, marks + done);
        done++;
    }
    return done;
}

static int64_t N(push)(void *states, const T *x, size_t rows, size_t n, int verb, double limit, T *out, uint8_t *marks,
                       size_t stride) {
    size_t size = N(size)(((N(head) *)states)->window), done = 0;
    for (size_t r = 0; r < rows; r++) {
        void *state = (char *)states + r * size;
        const T *row = x ? x + r * n : NULL;
        T *to = out + r * stride;
        uint8_t *mark = marks ? marks + r * stride : NULL;
        switch (verb) { /* a constant in each */
            case LL_MEDIAN: done = N(run)(state, row, n, LL_MEDIAN, limit, to, mark); break;
            case LL_MAD: done = N(run)(state, row, n, LL_MAD, limit, to, mark); break;
            default: done = N(run)(state, row, n, verb, limit, to, mark);
        }
    }
    return (int64_t)done;
}

/* Each row from its first sample to its last, all with one state. */
static void N(whole)(void *state, size_t window, const T *x, size_t rows, size_t n, int verb, double limit, T *out,
                     uint8_t *marks) {
    for (size_t r = 0; r < rows; r++) {
        uint8_t *mark = marks ? marks + r * n : NULL;
        N(begin)(state, window);
        size_t done = (size_t)N(push)(state, x + r * n, 1, n, verb, limit, out + r * n, mark, 0);
        N(push)(state, NULL, 1, window / 2, verb, limit, out + r * n + done, mark ? mark + done : NULL, 0);
    }
}

/* The samples in the window, oldest first. */
static size_t N(window)(const void *state, double *out) {
    const N(head) *h = state;
    const T *ring = (const T *)((const char *)state + 128);
    size_t n = h->seen < h->window ? h->seen : h->window, at = h->seen < h->window ? 0 : h->at;
    for (size_t i = 0; i < n; i++, at = at + 1 == h->window ? 0 : at + 1) out[i] = ring[at];
    return n;
}

#include "spikes.h"

#undef LINE
#undef INF
#undef NEVER
#undef T
#undef N
#undef VEC
#undef LANES
#undef ALL
#undef VMIN
#undef VMAX
#undef BELOW
#undef AFTER
#undef BEFORE
