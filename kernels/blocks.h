/* The block form of ranks.h, which includes this once for each type and explains the order. A block whose count falls below a
 * quarter of its room joins a neighbour where both fill no more than half of it; a full one splits. */

/* n is a multiple of 16. */
LL_INLINE int32_t N(smaller)(const T *s, size_t n, T v) {
    int32_t count = 0;
    for (size_t i = 0; i < (n & ~(size_t)15); i++) count += s[i] < v;
    return count;
}

/* The block that v belongs in. */
LL_INLINE size_t N(block_of)(const N(ranks) * k, T v) {
    size_t b = (size_t)N(smaller)(k->top, N(padded)(k->head->blocks), v);
    return b < k->head->blocks ? b : k->head->blocks - 1;
}
LL_INLINE T *N(numbers)(const N(ranks) * k, size_t b) { return k->line + (size_t)k->place[b] * k->head->room; }
/* A number has come into block `in` and one has left block `out`; NEVER where there was none. */
LL_INLINE void N(count)(const N(ranks) * k, int32_t in, int32_t out) {
    int32_t *start = k->start, n = (int32_t)(N(padded)(k->head->blocks) & ~(size_t)15);
    for (int32_t i = 0; i < n; i++) start[i] += (i > in) - (i > out);
}

/* Order b .. moves up or down by one; the place that falls out is kept behind the last. */
static void N(shift)(const N(ranks) * k, size_t b, int up) {
    size_t n = k->head->blocks - b;
    int32_t spare = up ? k->place[k->head->blocks] : k->place[b];
#define SHIFT(a) memmove(k->a + b + (up ? 1 : 0), k->a + b + (up ? 0 : 1), (up ? n : n - 1) * sizeof *k->a)
    SHIFT(top), SHIFT(start), SHIFT(count), SHIFT(place);
#undef SHIFT
    if (up) {
        k->place[b] = spare, k->head->blocks++;
    } else {
        size_t last = --k->head->blocks;
        k->place[last] = spare, k->top[last] = INF, k->start[last] = NEVER;
        T *s = N(numbers)(k, last);
        for (size_t i = 0; i < k->head->room; i++) s[i] = INF;
    }
}

/* Block b and the one after it become one. */
static void N(join)(const N(ranks) * k, size_t b) {
    memcpy(N(numbers)(k, b) + k->count[b], N(numbers)(k, b + 1), (size_t)k->count[b + 1] * sizeof(T));
    int32_t count = k->count[b] + k->count[b + 1];
    T top = k->top[b + 1];
    N(shift)(k, b + 1, 0);
    k->count[b] = count, k->top[b] = top;
}

static void N(split)(const N(ranks) * k, size_t b) {
    N(head) *h = k->head;
    if (h->blocks == h->most) /* a quarter full on average at most, so some neighbours fit together */
        for (size_t i = 0; i + 1 < h->blocks; i++)
            while (i + 1 < h->blocks && (size_t)(k->count[i] + k->count[i + 1]) <= h->room / 2) {
                N(join)(k, i);
                if (i < b) b--;
            }
    int32_t low = k->count[b] / 2, high = k->count[b] - low;
    N(shift)(k, b, 1); /* a spare block at b, the full one at b + 1 */
    T *full = N(numbers)(k, b + 1), *fresh = N(numbers)(k, b);
    memcpy(fresh, full, (size_t)low * sizeof(T));
    memmove(full, full + low, (size_t)high * sizeof(T));
    for (size_t i = (size_t)high; i < h->room; i++) full[i] = INF;
    k->count[b] = low, k->top[b] = fresh[low - 1], k->start[b] = k->start[b + 1];
    k->count[b + 1] = high, k->start[b + 1] += low;
}

/* A block that has become small goes, or becomes one with a neighbour. */
static void N(thin)(const N(ranks) * k, size_t b) {
    size_t n = (size_t)k->count[b], half = k->head->room / 2;
    if (n == 0) N(shift)(k, b, 0);
    else if (b + 1 < k->head->blocks && n + (size_t)k->count[b + 1] <= half) N(join)(k, b);
    else if (b > 0 && n + (size_t)k->count[b - 1] <= half) N(join)(k, b - 1);
}

/* top[] is written only where it changes: each reading of it would wait for the writing. */
LL_INLINE void N(replace_in_blocks)(const N(ranks) * k, T o, T v) {
    size_t in = N(block_of)(k, v), vectors = k->head->room / LANES;
    int leaves = o != INF, comes = v != INF;
    if (comes && (size_t)k->count[in] == k->head->room) {
        N(split)(k, in);
        in = N(block_of)(k, v);
    }
    size_t out = N(block_of)(k, o);
    T *from = N(numbers)(k, out), *to = N(numbers)(k, in);
    if (leaves && comes && out == in) {
        N(exchange)(to, vectors, 1, o, 1, v);
        if (o == k->top[in] || v > k->top[in]) k->top[in] = to[k->count[in] - 1];
        return;
    }
    if (comes) {
        N(exchange)(to, vectors, 0, INF, 1, v);
        k->count[in]++;
        if (v > k->top[in]) k->top[in] = v;
    }
    if (leaves) {
        N(exchange)(from, vectors, 1, o, 0, INF);
        k->count[out]--;
        if (o == k->top[out]) k->top[out] = k->count[out] ? from[k->count[out] - 1] : -INF;
    }
    N(count)(k, comes ? (int32_t)in : NEVER, leaves ? (int32_t)out : NEVER);
    if (leaves && (size_t)k->count[out] < k->head->room / 4 && k->head->blocks > 1) N(thin)(k, out);
}
