/* The assembler as bytes and back: tag, version, then every stream, ring (unread samples only) and join, field by field. Pointers and
 * capacities are not state. Bytes of one build and configuration only: counts that do not fit are LL_STATE.
 *
 * Nothing that is read is believed where an address, a loop or a division hangs on it: `*_is_sound` say what must hold. After
 * LL_STATE the assembler is good for nothing but destroy. */
#include "assemble.h"

enum { TAG = 0x41534d31 /* ASM1 */ };

typedef struct {
    uint8_t *out;       /* writing; NULL only counts */
    const uint8_t *in;  /* reading */
    size_t at, cap;
    int bad;
} tape;

static void put_bytes(tape *t, const void *p, size_t n) {
    if (t->out && t->at + n <= t->cap) memcpy(t->out + t->at, p, n);
    t->at += n;
}

static void get_bytes(tape *t, void *p, size_t n) {
    if (t->bad || n > t->cap - t->at) {
        t->bad = 1;
        memset(p, 0, n);
        return;
    }
    memcpy(p, t->in + t->at, n);
    t->at += n;
}

#define PUT(t, v) put_bytes(t, &(v), sizeof(v))
#define GET(t, v) get_bytes(t, &(v), sizeof(v))

/* Plain fields of a stream, in one place for both ways. */
#define STREAM_FIELDS(X)                                                                                                \
    X(device) X(epoch) X(channel) X(n_channels) X(begun) X(over) X(next_seq) X(born) X(n_held) X(n_holes) X(quiet) X(holes) X(lane)
#define RING_FIELDS(X) X(head) X(tail) X(first_seam) X(n_seams) X(quiet) X(fresh)
#define JOIN_FIELDS(X) X(n) X(maskable) X(started) X(broken) X(dirty) X(lost)

static void save_stream(tape *t, const ll_stream *s) {
#define X(f) PUT(t, s->f);
    STREAM_FIELDS(X)
#undef X
    put_bytes(t, s->rows, s->n_channels * sizeof *s->rows);
    for (uint32_t k = 0; k < s->n_held; k++) {
        uint64_t len = s->held[k].bytes ? s->held[k].len : 0;
        PUT(t, s->held[k].seq);
        PUT(t, len);
        if (len) put_bytes(t, s->held[k].bytes, len);
    }
}

/* Frames wait in order for at most LL_HOLD_FRAMES others (one more while readers have no room), holes lie behind, and the rows are those
 * of the configuration. */
static int stream_is_sound(const ll_assembler *a, const ll_stream *s) {
    const uint64_t most = UINT64_MAX / 4 * 3; /* numbers of sound frames end at 2^63 - 1, refused ones lead a little beyond */
    uint32_t spent = 0, regular = 0;
    if (!s->n_channels || (uint32_t)s->channel + s->n_channels > 65536) return 0;
    for (uint32_t row = 0; row < s->n_channels; row++) {
        if (s->rows[row] != ll_assemble_channel(a, s->device, (uint16_t)(s->channel + row))) return 0;
        regular |= s->rows[row] >= 0 && a->channels[s->rows[row]].rate_hz != 0.0;
    }
    for (int lane = 0; lane < 2; lane++)
        if (s->lane[lane].begun && regular && (!s->lane[lane].rate_num || !s->lane[lane].rate_den)) return 0;
    if (s->next_seq > most || (!s->begun && (s->n_held || s->n_holes))) return 0;
    for (uint32_t k = 0; k < s->n_holes; k++)
        if (s->holes[k].first > s->holes[k].last || s->holes[k].last >= s->next_seq) return 0;
    for (uint32_t k = 0; k < s->n_held; k++) {
        const ll_held *h = &s->held[k];
        spent += !h->bytes;
        if (h->seq > most || (k ? h->seq <= h[-1].seq : h->seq < s->next_seq)) return 0;
        if (h->bytes && !ll_assemble_fits(a, s, h->seq, h->bytes, h->len)) return 0;
    }
    return spent <= LL_SPENT && s->n_held - spent <= LL_HOLD_FRAMES + 1;
}

static ll_stream *load_stream(tape *t, const ll_assembler *a) {
    ll_stream *s = calloc(1, sizeof *s);
    if (!s) return NULL;
#define X(f) GET(t, s->f);
    STREAM_FIELDS(X)
#undef X
    uint32_t held = s->n_held;
    s->n_held = 0;
    s->rows = calloc((size_t)s->n_channels + 1, sizeof *s->rows);
    if (!s->rows || held > LL_HOLD_FRAMES + 1 + LL_SPENT || s->n_holes > LL_HOLES) t->bad = 1;
    else get_bytes(t, s->rows, s->n_channels * sizeof *s->rows);
    for (; !t->bad && s->n_held < held; s->n_held++) {
        ll_held *h = &s->held[s->n_held];
        uint64_t len = 0;
        GET(t, h->seq);
        GET(t, len);
        if (len > t->cap - t->at) t->bad = 1;
        h->len = t->bad ? 0 : len;
        h->bytes = h->len ? malloc(h->len) : NULL;
        if (h->bytes) get_bytes(t, h->bytes, h->len);
        else if (h->len) t->bad = 1;
    }
    if (!t->bad && !stream_is_sound(a, s)) t->bad = 1;
    return s;
}

static void save_ring(tape *t, const ll_ring *r) {
#define X(f) PUT(t, r->f);
    RING_FIELDS(X)
#undef X
    if (r->n_seams) put_bytes(t, r->seams, r->n_seams * sizeof *r->seams);
    for (uint64_t p = r->tail; p < r->head; p++) PUT(t, r->data[p & (r->cap - 1)]);
    for (uint64_t p = r->tail; p < r->head && r->timed; p++) PUT(t, r->times[p & (r->cap - 1)]);
    /* what is behind the tail is gone, but a timed ring must know its last time to tell what is new */
    int64_t last = r->timed && r->head ? r->times[(r->head - 1) & (r->cap - 1)] : 0;
    PUT(t, last);
}

/* Seams lie in order, the first no later than the samples, the last no later than what was written. */
static int ring_is_sound(const ll_ring *r, uint64_t head) {
    if (head > INT64_MAX || r->first_seam > INT64_MAX || (head > r->tail && !r->n_seams)) return 0;
    for (uint32_t k = 0; k < r->n_seams; k++) {
        const ll_seam *s = &r->seams[k];
        if (s->pos > head || (k ? s->pos < s[-1].pos : s->pos > r->tail)) return 0;
        if (s->reason > LL_START || s->lost < -1 || !s->rate_den || (!r->timed && !s->rate_num)) return 0;
    }
    return 1;
}

static void load_ring(tape *t, ll_ring *r) {
    uint32_t seams = 0;
    uint64_t head = 0;
    int64_t last = 0;
#define X(f) GET(t, r->f);
    RING_FIELDS(X)
#undef X
    seams = r->n_seams, head = r->head;
    r->n_seams = 0, r->head = r->tail;
    if (head < r->tail || head - r->tail > (t->cap - t->at) / sizeof(float)) t->bad = 1;
    for (uint32_t k = 0; k < seams && !t->bad; k++) {
        ll_seam s;
        GET(t, s);
        if (!t->bad && ll_ring_seam(r, &s)) t->bad = 1;
    }
    if (!t->bad && !ring_is_sound(r, head)) t->bad = 1;
    r->n_readers = 1; /* its readers come with the joins; until then nothing may be forgotten */
    if (t->bad || ll_ring_room(r, head - r->tail + 1)) t->bad = 1; /* one more: the last time lies behind the tail */
    r->n_readers = 0;
    if (t->bad) return;
    for (uint64_t p = r->tail; p < head; p++) GET(t, r->data[p & (r->cap - 1)]);
    for (uint64_t p = r->tail; p < head && r->timed; p++) GET(t, r->times[p & (r->cap - 1)]);
    GET(t, last);
    r->head = head;
    if (r->timed && head) r->times[(head - 1) & (r->cap - 1)] = last;
}

static void save_join(tape *t, const ll_join *j) {
#define X(f) PUT(t, j->f);
    JOIN_FIELDS(X)
#undef X
    if (j->n) put_bytes(t, j->cursors, (size_t)j->n * sizeof *j->cursors);
}

static void load_join(tape *t, ll_assembler *a, int32_t number) {
    ll_join *j = &a->joins[number];
#define X(f) GET(t, j->f);
    JOIN_FIELDS(X)
#undef X
    if (t->bad || j->n < 0 || j->broken > LL_START || j->lost < -1 || (size_t)j->n > (t->cap - t->at) / sizeof *j->cursors) {
        t->bad = 1, j->n = 0;
        return;
    }
    ll_cursor *cursors = realloc(j->cursors, ((size_t)j->n + 1) * sizeof *cursors);
    if (!cursors) {
        t->bad = 1, j->n = 0;
        return;
    }
    j->cursors = cursors;
    get_bytes(t, cursors, (size_t)j->n * sizeof *cursors);
    for (int32_t k = 0; k < j->n && !t->bad; k++) {
        if (cursors[k].ring < 0 || cursors[k].ring >= 2 * a->n_channels) {
            t->bad = 1, j->n = 0;
            return;
        }
        ll_ring *r = &a->rings[cursors[k].ring];
        if (cursors[k].pos < r->tail || cursors[k].pos > r->head || cursors[k].next > r->first_seam + r->n_seams) t->bad = 1;
        ll_reader *more = realloc(r->readers, (r->n_readers + 1) * sizeof *more);
        if (!more) {
            t->bad = 1;
            return;
        }
        r->readers = more;
        r->readers[r->n_readers++] = (ll_reader){number, k};
    }
}

/* Lane 1 of a join reads the same channels as lane 0. */
static int lanes_agree(const ll_assembler *a) {
    for (int32_t j = 0; j < 2 * a->n_joins; j++) {
        const ll_join *one = &a->joins[j], *live = &a->joins[j & ~1];
        if (one->n != live->n) return 0;
        for (int32_t k = 0; k < one->n; k++)
            if (one->cursors[k].ring != (live->cursors[k].ring & ~1) + (j & 1)) return 0;
    }
    return 1;
}

long ll_assemble_save(const ll_assembler *a, uint8_t *out, size_t cap) {
    tape t = {.out = out, .cap = cap};
    uint32_t tag = TAG, size = sizeof(ll_stream);
    PUT(&t, tag);
    PUT(&t, size);
    PUT(&t, a->n_channels);
    PUT(&t, a->n_joins);
    PUT(&t, a->n_streams);
    PUT(&t, a->born);
    PUT(&t, a->count);
    int32_t unsettled = -1;
    for (int32_t k = 0; k < a->n_streams; k++) {
        save_stream(&t, a->streams[k]);
        if (a->streams[k] == a->unsettled) unsettled = k;
    }
    PUT(&t, unsettled);
    for (int32_t c = 0; c < 2 * a->n_channels; c++) save_ring(&t, &a->rings[c]);
    for (int32_t j = 0; j < 2 * a->n_joins; j++) save_join(&t, &a->joins[j]);
    return (long)t.at;
}

int ll_assemble_load(ll_assembler *a, const uint8_t *bytes, size_t len) {
    tape t = {.in = bytes, .cap = len};
    uint32_t tag = 0, size = 0;
    int32_t channels = 0, joins = 0, streams = 0, unsettled = -1;
    GET(&t, tag);
    GET(&t, size);
    GET(&t, channels);
    GET(&t, joins);
    GET(&t, streams);
    GET(&t, a->born);
    GET(&t, a->count);
    if (t.bad || tag != TAG || size != sizeof(ll_stream) || channels != a->n_channels || joins < a->n_joins || a->n_streams) return LL_STATE;
    if (joins - a->n_joins > a->n_channels) return LL_STATE; /* each split gives a channel a join of its own */
    for (int32_t k = 0; k < streams && !t.bad; k++) {
        ll_stream *s = load_stream(&t, a);
        if (!s) return LL_NOMEM;
        if (ll_assemble_adopt(a, s)) return LL_NOMEM;
    }
    a->n_fresh = 0;
    GET(&t, unsettled);
    if (unsettled >= 0 && unsettled < a->n_streams) a->unsettled = a->streams[unsettled];
    for (int32_t c = 0; c < 2 * a->n_channels && !t.bad; c++) {
        a->rings[c].n_readers = 0;
        load_ring(&t, &a->rings[c]);
    }
    for (int32_t j = a->n_joins; j < joins && !t.bad; j++)
        if (ll_assemble_reserve(a, j)) return LL_NOMEM;
    for (int32_t j = 0; j < 2 * joins && !t.bad; j++) load_join(&t, a, j);
    return t.bad || t.at != len || !lanes_agree(a) ? LL_STATE : LL_OK;
}
