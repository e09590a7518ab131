/* The assembler behind the decoder: streams, order, epochs, rings and joins, asked after every frame what they promise. */
#include <math.h>

#include "fuzz.h"

enum { REGULAR = 16, TIMED_ONES = 3, CHANNELS = REGULAR + TIMED_ONES, SHORT_RING = 1 << 15 };

/* A city of so many channels: what it may hold once devices have sent the longest rows there are. A ring keeps room for two of
 * LL_MAX_SAMPLES (a timed one also for their times); frames are held 64 a stream, of so many streams as evict_oldest lets be. */
static const int64_t HELD_MOST = 2 * (int64_t)LL_MAX_SAMPLES * (4 * 2 * REGULAR + 12 * 2 * TIMED_ONES) + (64ll << 20);
static const int64_t LARGEST_MOST = 2 * (int64_t)LL_MAX_SAMPLES * 8;

/* ---- made ---- */

ll_assembler *assembler(int kind) {
    static const struct {
        int32_t n, channels[4], maskable;
    } joins[] = {{4, {0, 1, 8, 9}, 1}, {2, {2, 3}, 0}, {3, {4, 5, 6}, 0}, {1, {10}, 0},
                 {1, {16}, 0},         {1, {17}, 0},   {1, {18}, 0},      {2, {11, 0}, 0}};
    int32_t n_joins = kind % 2 ? 8 : 7;
    ll_assembler *a = ll_assemble()->make(CHANNELS, n_joins);
    if (!a) abort();
    for (int32_t i = 0; i < CHANNELS; i++) {
        ll_channel channel = {1u + (uint32_t)i / 8, (uint16_t)(i % 8), 1e-3 * (i + 1), i % 3 - 1.0, i < REGULAR ? 20.0 : 0.0};
        PROMISE(ll_assemble()->set_channel(a, i, &channel, kind & 2 ? 1 << 10 : SHORT_RING) == LL_OK);
    }
    for (int32_t j = 0; j < n_joins; j++)
        PROMISE(ll_assemble()->set_join(a, j, joins[j].channels, joins[j].n, joins[j].maskable && kind & 4) == LL_OK);
    PROMISE(ll_assemble()->seal(a) == LL_OK);
    count.assemblers++;
    return a;
}

void city_begin(chance *c, city *t) {
    stage = "make";
    t->kind = (int)below(c, 8);
    t->a = assembler(t->kind);
}

void city_end(chance *c, city *t) {
    stage = "destroy";
    for (int k = LL_REFUSED_UNKNOWN_DEVICE; k < LL_REFUSED_COUNT; k++) count.refused[k] += t->a->count.refused[k];
    ll_assemble()->destroy(t->a);
    PROMISE(allocated.held == 0); /* nothing is left behind */
}

/* ---- what must hold at any time ---- */

static void sound_ring(const ll_ring *r) {
    uint64_t unread = r->head - r->tail;
    PROMISE(r->tail <= r->head && unread <= r->cap && !(r->cap & (r->cap - 1)) && r->cap <= 2 * LL_MAX_SAMPLES);
    PROMISE(r->n_seams <= r->cap_seams && r->n_seams <= unread + 100); /* seams do not pile up where nothing is unread */
    for (uint32_t k = 0; k < r->n_seams; k++) PROMISE(r->seams[k].pos <= r->head && (!k || r->seams[k].pos >= r->seams[k - 1].pos));
}

void sound_stream(const ll_stream *s) {
    uint32_t spent = 0;
    PROMISE(s->n_held <= LL_HOLD_FRAMES + 1 + LL_SPENT && s->n_holes <= LL_HOLES);
    for (uint32_t k = 0; k < s->n_held; k++) {
        spent += !s->held[k].bytes;
        PROMISE(s->held[k].seq >= s->next_seq && (!k || s->held[k].seq > s->held[k - 1].seq));
    }
    PROMISE(spent <= LL_SPENT);
    for (uint32_t k = 0; k < s->n_holes; k++) PROMISE(s->holes[k].first <= s->holes[k].last && s->holes[k].last < s->next_seq);
}

static void sound(const ll_assembler *a) {
    PROMISE(a->n_streams <= a->cap_streams && a->n_streams <= LL_EPOCHS * CHANNELS);
    for (int32_t k = 0; k < 2 * a->n_channels; k++) sound_ring(&a->rings[k]);
    for (int32_t k = 0; k < a->n_streams; k++) sound_stream(a->streams[k]);
    PROMISE(allocated.held <= HELD_MOST && allocated.largest <= LARGEST_MOST);
}

/* ---- blocks ---- */

static int64_t time_of(const ll_piece *p) {
    __int128 ticks = (__int128)p->index * p->rate_den * 1000000000, ns = ticks / p->rate_num;
    return (int64_t)(p->anchor_ns + ns - (ns * p->rate_num > ticks));
}

/* Nobody here takes samples on the way (handout.h, where the assembler has it). */
static int next_piece(ll_assembler *a, int32_t join, int lane, ll_piece *p, double *skew) {
    stage = "next";
#if __has_include("handout.h")
    const int64_t *had = NULL;
    int kind = ll_assemble()->next(a, join, lane, p, skew, &had);
    PROMISE(!had);
    return kind;
#else
    return ll_assemble()->next(a, join, lane, p, skew);
#endif
}

/* All that one join has in one lane, into memory of its own size. */
static void take(city *t, int32_t join, int lane) {
    const ll_join *j = &t->a->joins[2 * join + lane];
    if (!j->n) return;
    const ll_ring *first = &t->a->rings[j->cursors[0].ring];
    uint64_t most = 16; /* pieces */
    for (int32_t k = 0; k < j->n; k++) {
        const ll_ring *r = &t->a->rings[j->cursors[k].ring];
        most += 2 * (r->n_seams + r->head - r->tail);
    }
    double *skew = malloc((size_t)j->n * sizeof *skew);
    if (!skew) abort();
    ll_piece p;
    int kind, after_break = 0;
    int64_t begins = 0;
    for (uint64_t n = 0; (kind = next_piece(t->a, join, lane, &p, skew)) != LL_NOTHING; n++) {
        PROMISE(n < most); /* it ends */
        count.pieces++;
        PROMISE(kind == p.kind && (kind == LL_BLOCK || kind == LL_BREAK));
        if (kind == LL_BREAK) {
            PROMISE(p.reason >= LL_GAP && p.reason <= LL_START && p.lost >= -1);
            count.breaks++, after_break = 1, begins = p.t_ns;
            continue;
        }
        PROMISE(p.n > 0 && p.rate_den && (first->timed || p.rate_num));
        for (int32_t k = 0; k < j->n; k++) PROMISE(fabs(skew[k]) <= 0.5 / 20 * 1.001);
        if (after_break && j->n == 1 && !first->timed) PROMISE(time_of(&p) == begins);
        after_break = 0;
        float *x = malloc((size_t)j->n * p.n * sizeof *x);
        int64_t *times = first->timed ? malloc(p.n * sizeof *times) : NULL;
        if (!x) abort();
        stage = "copy";
        ll_assemble()->copy(t->a, join, lane, &p, x, times);
        count.rows += (uint64_t)j->n;
        free(x), free(times);
    }
    free(skew);
}

void take_all(city *t) {
    for (int32_t k = 0; k < 2 * t->a->n_joins; k++)
        if (t->a->joins[k].dirty) t->a->joins[k].dirty = 0, take(t, k / 2, k % 2);
    t->a->n_fresh = 0; /* as whoever reads the streams that are new */
}

/* ---- frames ---- */

static uint64_t refusals(const ll_assembler *a) {
    uint64_t n = 0;
    for (int k = 0; k < LL_REFUSED_COUNT; k++) n += a->count.refused[k];
    return n;
}

/* Every record is one of these, and only one. */
static uint64_t answered(const ll_assembler *a) {
    return a->count.frames + a->count.duplicates + a->count.hellos + a->count.byes + a->count.reports + refusals(a);
}

/* One row of the frame as it lies in its ring, where the frame was the next one of its stream: sample after sample by hand. */
static void same_in_ring(const city *t, const uint8_t *bytes, size_t len, const uint64_t *heads) {
    told f;
    if (naive_judgement(bytes, len, &f) || f.type || f.encoding == LLF1_TIMED || f.n_channels * f.n > 1 << 14) return;
    int32_t *packed = f.encoding == LLF1_PACKED ? malloc(f.n_channels * f.n * sizeof *packed) : NULL;
    if (packed) naive_unpack(&f, packed);
    for (int32_t i = 0; i < REGULAR; i++) {
        const ll_ring *r = &t->a->rings[2 * i];
        const ll_channel *channel = &t->a->channels[i];
        uint64_t n = r->head - heads[i], row = (uint64_t)channel->number - f.channel;
        if (!n) continue;
        PROMISE(channel->device == f.device && row < f.n_channels && n <= f.n);
        for (uint64_t k = 0; k < n; k++) {
            double v = packed ? packed[row * f.n + f.n - n + k] : naive_value(&f, row, f.n - n + k);
            float got = r->data[(heads[i] + k) & (r->cap - 1)], want = (float)(channel->scale * v + channel->offset);
            PROMISE(got == want || (isnan(got) && isnan(want)));
        }
        count.samples += n;
    }
    free(packed);
}

static uint64_t held_by_all(const ll_assembler *a) {
    uint64_t n = 0;
    for (int32_t k = 0; k < a->n_streams; k++) n += a->streams[k]->n_held;
    return n;
}

/* A header with extensions, or what looks like a gateway's map, is Python's first; here it is refused or let pass. */
static int by_hand(chance *c, city *t, const uint8_t *bytes, size_t len) {
    if (one_in(c, 2)) return 1;
    stage = "spend";
    if (len) ll_assemble()->spend(t->a, bytes, len);
    return 0;
}

void city_feed(chance *c, city *t, const uint8_t *bytes, size_t len) {
    ll_assembler *a = t->a;
    int64_t offset = 0, length = (int64_t)len, next = 0, refused_record, greeting;
    int32_t reason = 0;
    uint64_t before = answered(a), heads[REGULAR], waiting = held_by_all(a), refused = refusals(a);
    int force = 0, checked = 0, told_python = 0, asked = 0, status;
    for (int32_t i = 0; i < REGULAR; i++) heads[i] = a->rings[2 * i].head;
    allocated.largest = 0;
    for (;; asked++) {
        ll_outcome out = {.refused_record = &refused_record, .refused_reason = &reason, .greeting_record = &greeting};
        stage = "feed";
        status = ll_assemble()->feed(a, bytes, &offset, &length, 1, &next, force, checked, &out);
        PROMISE(status >= 0 && asked < 8 && out.n_refused <= 1 && out.n_greetings <= 1);
        if (status == LL_FED) break;
        if (status == LL_NEEDS_ROOM) {
            PROMISE(allocated.held <= HELD_MOST);
            count.room++;
            take_all(t);
            force = 1;
            continue;
        }
        PROMISE(status == LL_NEEDS_PYTHON && next == 0);
        force = 0, told_python = 1;
        checked = checked || by_hand(c, t, bytes, len);
        if (!checked) break;
    }
    count.records++;
    if (status != LL_FED) {
        PROMISE(answered(a) == before);
        count.turned_away++;
        return;
    }
    PROMISE(next == 1 && answered(a) == before + 1);
    if (refusals(a) > refused) PROMISE(reason > LL_REFUSED_NONE && reason < LL_REFUSED_GATEWAY && reason != LL_REFUSED_EXTENSION);
    if (!asked && !told_python && !waiting && !held_by_all(a)) same_in_ring(t, bytes, len, heads);
    PROMISE(allocated.held <= HELD_MOST && allocated.largest <= LARGEST_MOST);
}

/* Samples that come without a wire. */
static void put(chance *c, city *t) {
    uint64_t n = 1 + below(c, 50);
    float *x = calloc(n, sizeof *x);
    if (!x) abort();
    stage = "put";
    int64_t t0_ns = 1790000000000000000 + (int64_t)below(c, 1000) * 1000000000;
    PROMISE(ll_assemble()->put(t->a, (int32_t)below(c, REGULAR), t0_ns, 20, 1, x, n, 1) == LL_OK);
    free(x);
}

/* Holes are given up; where a ring is full that must come to an end with force, and may also be left for later. */
static void settle(chance *c, city *t) {
    uint32_t patience = (uint32_t)below(c, 4);
    int all = one_in(c, 4), force = one_in(c, 2);
    stage = "settle";
    int status = ll_assemble()->settle(t->a, patience, all, force);
    PROMISE(status == LL_OK || (status == LL_FULL && !force));
    if (status == LL_OK || one_in(c, 2)) return;
    take_all(t);
    stage = "settle by force";
    PROMISE(ll_assemble()->settle(t->a, patience, all, 1) == LL_OK);
}

/* Frames of few bytes and very many samples, one after the other, and nobody reads until the assembler asks for it. */
void city_flood(chance *c, city *t) {
    static sender senders[SETS];
    static input in;
    senders_begin(c, senders);
    sender *s = &senders[below(c, 4)];
    s->epoch = 9;
    for (int k = 0; k < 12; k++) {
        still_frame(s, LL_MAX_SAMPLES - (uint32_t)below(c, 2), &in);
        city_feed(c, t, in.bytes, in.len);
        stage = "flood";
        sound(t->a);
    }
}

void city_turn(chance *c, city *t) {
    ll_assembler *a = t->a;
    if (one_in(c, 12)) take_all(t);
    if (one_in(c, 40)) stage = "tick", ll_assemble()->tick(a, (uint32_t)below(c, 4));
    if (one_in(c, 60)) settle(c, t);
    if (one_in(c, 100)) put(c, t);
    if (one_in(c, 16)) stage = "what must hold", sound(a);
    if (one_in(c, 1500) && a->n_joins < 12 && a->joins[4].n == 3) {
        stage = "split";
        PROMISE(ll_assemble()->split(a, 2, (int32_t[]){5}, 1) == a->n_joins - 1);
    }
    if (one_in(c, 700)) change_over(t);
    if (one_in(c, 500)) damaged(c, t);
}
