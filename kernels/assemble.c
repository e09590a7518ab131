/* Sequencing, placing and the tables behind them: see assemble.h.
 *
 * Cases of a data frame, in this order:
 *   unknown device or channel, wrong encoding or rate, overlapping stream, too large, or sound bytes that break another rule
 *                 refused; its number counts as taken (it is held without bytes) unless a good frame of that number comes first
 *   seq <  next   in a given-up hole: late, to lane 1; else duplicate
 *   seq >  next   held, sorted; the hole is given up past 64 held frames or 2 s of samples
 *   seq == next   placed, then whatever was held behind it
 * Cases of placing (index against the lane's next_index): equal goes on; ahead is a gap; behind is trimmed, or lane 1 when flagged
 * historical; time off by half a sample (or 3 sigma of the clock) is put right, by more than a second is a step. */
#include "assemble.h"

#include <math.h>

#include "counts.h"
#include "handout.h"
#include "packed.h"

/* ---- tables ---- */

static uint64_t key_hash(uint32_t device, uint32_t epoch, uint16_t channel, uint16_t n) {
    uint64_t h = ((uint64_t)device << 32 | epoch) * 0x9e3779b97f4a7c15u;
    h ^= ((uint64_t)channel << 16 | n) * 0xc2b2ae3d27d4eb4fu;
    return h ^ h >> 29;
}

static void table_put(ll_assembler *a, int32_t number) {
    const ll_stream *s = a->streams[number];
    uint64_t i = key_hash(s->device, s->epoch, s->channel, s->n_channels);
    for (;; i++)
        if (a->table[i & (uint64_t)(a->table_size - 1)] < 0) break;
    a->table[i & (uint64_t)(a->table_size - 1)] = number;
}

static int table_rebuild(ll_assembler *a) {
    int32_t size = 64;
    while (size < 4 * (a->n_streams + 1)) size *= 2;
    int32_t *table = malloc((size_t)size * sizeof *table);
    if (!table) return LL_NOMEM;
    free(a->table);
    a->table = table, a->table_size = size;
    memset(table, 0xff, (size_t)size * sizeof *table);
    for (int32_t k = 0; k < a->n_streams; k++) table_put(a, k);
    return LL_OK;
}

static ll_stream *table_find(const ll_assembler *a, const ll_frame *f) {
    for (uint64_t i = key_hash(f->device, f->epoch, f->channel, f->n_channels);; i++) {
        int32_t k = a->table[i & (uint64_t)(a->table_size - 1)];
        if (k < 0) return NULL;
        ll_stream *s = a->streams[k];
        if (s->device == f->device && s->epoch == f->epoch && s->channel == f->channel && s->n_channels == f->n_channels) return s;
    }
}

static uint64_t wire_number(uint32_t device, uint16_t number) { return (uint64_t)device << 16 | number; }

static int32_t find_channel(const ll_assembler *a, uint32_t device, uint16_t number, int *device_known) {
    uint64_t want = wire_number(device, number);
    int32_t lo = 0, hi = a->n_channels;
    while (lo < hi) {
        int32_t mid = (lo + hi) / 2;
        const ll_channel *c = &a->channels[a->by_number[mid]];
        if (wire_number(c->device, c->number) < want) lo = mid + 1;
        else hi = mid;
    }
    for (int32_t k = lo - 1; k <= lo && device_known; k++)
        if (k >= 0 && k < a->n_channels && a->channels[a->by_number[k]].device == device) *device_known = 1;
    if (lo == a->n_channels) return -1;
    const ll_channel *c = &a->channels[a->by_number[lo]];
    return wire_number(c->device, c->number) == want ? a->by_number[lo] : -1;
}

int32_t ll_assemble_channel(const ll_assembler *a, uint32_t device, uint16_t number) { return find_channel(a, device, number, NULL); }

static void stream_free(ll_stream *s) {
    for (uint32_t k = 0; k < s->n_held; k++) free(s->held[k].bytes);
    free(s->rows);
    free(s);
}

int ll_assemble_adopt(ll_assembler *a, ll_stream *s) {
    if (a->n_streams == a->cap_streams) {
        int32_t cap = a->cap_streams ? 2 * a->cap_streams : 16;
        ll_stream **more = realloc(a->streams, (size_t)cap * sizeof *more);
        if (!more) return LL_NOMEM;
        a->streams = more;
        uint32_t *devices = realloc(a->devices, (size_t)cap * sizeof *devices);
        if (!devices) return LL_NOMEM;
        a->devices = devices, a->cap_streams = cap;
    }
    if (a->n_fresh == a->cap_fresh) {
        int32_t cap = a->cap_fresh ? 2 * a->cap_fresh : 16;
        int32_t *more = realloc(a->fresh_streams, (size_t)cap * sizeof *more);
        if (!more) return LL_NOMEM;
        a->fresh_streams = more, a->cap_fresh = cap;
    }
    a->fresh_streams[a->n_fresh++] = a->n_streams;
    a->devices[a->n_streams] = s->device;
    a->streams[a->n_streams++] = s;
    if (2 * a->n_streams > a->table_size) return table_rebuild(a);
    table_put(a, a->n_streams - 1);
    return LL_OK;
}

/* ---- placing samples ---- */

static const uint8_t WIDTH[] = {0, 2, 3, 4, 4, 8, 16};

/* Row `row` of a frame from sample `skip` on, n of them, as what wire's row functions can read as row 0; `part` is a copy of the
 * frame. Of a packed frame that row has been unpacked. */
static void see_row(const ll_assembler *a, const ll_frame *f, uint32_t row, uint64_t skip, uint64_t n, ll_frame *part) {
    if (f->encoding == LL_PACKED) part->encoding = LL_INT32, part->payload = (const uint8_t *)(a->unpacked + skip);
    else part->payload = f->payload + ((size_t)row * f->n_samples + skip) * WIDTH[f->encoding];
    part->payload_len = n * WIDTH[part->encoding];
    part->n_samples = (uint32_t)n, part->n_channels = 1;
}

static void write_row(ll_assembler *a, ll_ring *r, const ll_channel *c, const ll_frame *f, uint32_t row, uint64_t skip,
                      ll_frame *part) {
    uint64_t n = f->n_samples - skip, at = r->head & (r->cap - 1), room = r->cap - at, first = n < room ? n : room;
    for (uint64_t done = 0, len = first; done < n; done += len, len = n - done, at = 0) {
        see_row(a, f, row, skip + done, len, part);
        if (r->timed) LL_FN(ll_wire_api).timed_row(part, 0, c->scale, c->offset, r->times + at, r->data + at);
        else LL_FN(ll_wire_api).row(part, 0, c->scale, c->offset, r->data + at);
    }
    r->head += n, r->fresh = 1, r->quiet = 0;
    a->count.samples += n;
}

static void mark(ll_assembler *a, int32_t join) {
    ll_join *j = &a->joins[join];
    j->dirty = 1;
    if (!j->listed) j->listed = 1, a->dirty[a->n_dirty++] = join;
}

static void mark_dirty(ll_assembler *a, const ll_ring *r) {
    for (uint32_t k = 0; k < r->n_readers; k++) {
        const ll_join *j = &a->joins[r->readers[k].join];
        mark(a, r->readers[k].join);
        if (j->crowd && r->head - j->cursors[r->readers[k].cursor].pos >= LL_RIPE) a->ripe = r->readers[k].join / 2;
    }
}

/* Much has come to a join whose readers all have takers: they have it now, while it is in the caches. 1: what they leave should be
 * read before the ring has to grow; but only once in a feed, for who leaves everything is read in long blocks more cheaply. */
static int hand_out_ripe(ll_assembler *a) {
    ll_crowd *c = a->joins[2 * a->ripe].crowd;
    a->wanted = a->n_fresh ? -1 : a->ripe, a->ripe = -1;
    if (!c || !c->all || c->left || c->held) return 0;
    if (!a->n_fresh && (!ll_hand_out(a, a->wanted, 0) || c->asked == a->feeds)) return 0;
    c->asked = a->feeds;
    return 1;
}

/* Wide, because a device may say any index. */
static __int128 time_at(int64_t anchor_ns, uint64_t anchor_index, uint64_t index, uint32_t num, uint32_t den) {
    return anchor_ns + (__int128)((int64_t)(index - anchor_index)) * den * 1000000000 / num;
}

/* How far a time stamp may be off before the time base follows it: half a sample, or 3 sigma of a clock that tells its own; an
 * unknown clock is given 1 ms, or every network-timed device would be put right at every frame. */
static int64_t tolerance_ns(const ll_frame *f) {
    int64_t half = (int64_t)(500000000.0 * f->rate_den / f->rate_num), clock = f->clock_sd_us ? 3000ll * f->clock_sd_us : 1000000;
    return half > clock ? half : clock;
}

static int64_t read_i64(const uint8_t *p) {
    int64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

/* First sample of a timed row that is later than everything in the ring. */
static uint64_t timed_skip(const ll_ring *r, const ll_frame *f, uint32_t row) {
    if (r->head == 0) return 0;
    int64_t last = r->times[(r->head - 1) & (r->cap - 1)];
    uint64_t lo = 0, hi = f->n_samples;
    while (lo < hi) {
        uint64_t mid = (lo + hi) / 2;
        if (read_i64(f->payload + ((size_t)row * f->n_samples + mid) * 16) <= last) lo = mid + 1;
        else hi = mid;
    }
    return lo;
}

/* The seam in front of this frame's samples, or none: 1 when there is one. `skip` samples of the frame are already there. */
static int seam_for(ll_assembler *a, ll_lane *l, const ll_frame *f, uint64_t skip, int lane, int epoch, ll_seam *s) {
    uint64_t index = f->sample_index + skip;
    int regular = f->encoding != 6;
    int64_t t = regular && skip ? (int64_t)time_at(f->t0_ns, f->sample_index, index, f->rate_num, f->rate_den) : f->t0_ns;
    *s = (ll_seam){.lost = -1, .rate_num = f->rate_num, .rate_den = f->rate_den, .clock_sd_us = f->clock_sd_us, .flags = f->flags & 15};
    int same = l->begun && l->flags == s->flags && l->clock_sd_us == f->clock_sd_us;
    if (!l->begun) s->reason = epoch ? LL_EPOCH : LL_START;
    else if (index != l->next_index) {
        s->reason = LL_GAP;
        if (index > l->next_index) s->lost = (int64_t)(index - l->next_index);
        if (!lane) a->count.gaps++, a->count.lost_samples += s->lost > 0 ? (uint64_t)s->lost : 0;
    }
    if (regular && l->begun) {
        __int128 off = t - time_at(l->anchor_ns, l->anchor_index, index, l->rate_num, l->rate_den);
        if (off < 0) off = -off;
        if (off > 1000000000) {
            if (!s->reason) a->count.clock_steps++, s->reason = LL_CLOCK_STEP;
            l->begun = 0;
        } else if (off > tolerance_ns(f)) a->count.clock_drifts++, l->begun = 0;
        if (f->rate_num != l->rate_num || f->rate_den != l->rate_den) l->begun = 0;
    }
    same = same && l->begun && !s->reason;
    if (!l->begun) l->anchor_ns = t, l->anchor_index = index, l->begun = 1;
    l->rate_num = f->rate_num, l->rate_den = f->rate_den, l->flags = s->flags, l->clock_sd_us = f->clock_sd_us;
    return !same;
}

/* Room for one row of a packed frame, before anything is written. */
static int room_unpacked(ll_assembler *a, const ll_frame *f) {
    if (f->encoding != LL_PACKED || f->n_samples <= a->cap_unpacked) return LL_OK;
    int32_t *more = realloc(a->unpacked, f->n_samples * sizeof *more);
    if (!more) return LL_NOMEM;
    a->unpacked = more, a->cap_unpacked = f->n_samples;
    return LL_OK;
}

/* Writes the samples of one frame from `skip` on into a lane; LL_FULL (nothing written) when a reader must read first. */
static int write_frame(ll_assembler *a, ll_stream *st, const ll_frame *f, int lane, uint64_t skip, int force) {
    ll_lane *l = &st->lane[lane];
    uint64_t n = f->n_samples - skip;
    int no_room = room_unpacked(a, f);
    if (no_room) return no_room;
    for (uint32_t row = 0; row < f->n_channels; row++) {
        if (st->rows[row] < 0) continue;
        ll_ring *r = &a->rings[2 * st->rows[row] + lane];
        int status = ll_ring_room(r, n);
        if (status == LL_FULL && force) {
            a->count.overflow_samples += ll_ring_drop(r, a->joins, n);
            status = ll_ring_room(r, n);
        }
        if (status) return status;
    }
    int epoch = 0;
    for (uint32_t row = 0; row < f->n_channels; row++)
        if (st->rows[row] >= 0 && a->rings[2 * st->rows[row] + lane].head) epoch = 1;
    ll_seam seam;
    int has_seam = seam_for(a, l, f, skip, lane, epoch, &seam);
    const uint8_t *at = f->payload;
    ll_frame part = *f;
    for (uint32_t row = 0; row < f->n_channels; row++) {
        if (f->encoding == LL_PACKED) at = ll_wire()->unpack(f, at, st->rows[row] < 0 ? NULL : a->unpacked);
        if (st->rows[row] < 0) {
            a->count.unconfigured += n;
            continue;
        }
        ll_ring *r = &a->rings[2 * st->rows[row] + lane];
        uint64_t from = skip;
        if (f->encoding == 6) {
            uint64_t seen = lane == 0 ? timed_skip(r, f, row) : 0;
            if (seen > from) a->count.overlap_samples += seen - from, from = seen;
        }
        if (has_seam) {
            seam.pos = r->head;
            seam.anchor_ns = l->anchor_ns;
            seam.anchor_pos = r->head - (f->sample_index + skip - l->anchor_index);
            int status = ll_ring_seam(r, &seam);
            if (status) return status;
        }
        if (from < f->n_samples) write_row(a, r, &a->channels[st->rows[row]], f, row, from, &part);
        else ll_ring_trim(r, a->joins); /* a seam without samples: no copy of a block will forget it */
        mark_dirty(a, r);
    }
    l->next_index = f->sample_index + f->n_samples;
    return LL_OK;
}

static int all_behind_timed(const ll_assembler *a, const ll_stream *st, const ll_frame *f) {
    for (uint32_t row = 0; row < f->n_channels; row++)
        if (st->rows[row] >= 0 && timed_skip(&a->rings[2 * st->rows[row]], f, row) < f->n_samples) return 0;
    return 1;
}

/* A frame whose turn it is: which lane, how much of it is new. */
static int place(ll_assembler *a, ll_stream *st, const ll_frame *f, int late, int force) {
    ll_lane *l = &st->lane[0];
    uint64_t skip = 0;
    int lane = late || st->over, behind = 0;
    if (!lane && f->encoding == 6) behind = all_behind_timed(a, st, f);
    else if (!lane && l->begun && f->sample_index < l->next_index) {
        skip = l->next_index - f->sample_index;
        if (skip > f->n_samples) skip = f->n_samples;
        behind = skip == f->n_samples;
    }
    if (behind && (f->flags & 8)) lane = 1, skip = 0, behind = 0;
    if (behind) {
        a->count.overlaps++, a->count.overlap_samples += f->n_samples;
        return LL_OK;
    }
    int status = write_frame(a, st, f, lane, skip, force);
    if (status) return status;
    if (skip) a->count.overlaps++, a->count.overlap_samples += skip;
    if (lane) a->count.backfilled++;
    return LL_OK;
}

/* ---- sequencing ---- */

/* The given-up hole that seq lies in, or n_holes. */
static uint32_t find_hole(const ll_stream *s, uint64_t seq) {
    uint32_t k = 0;
    while (k < s->n_holes && (seq < s->holes[k].first || seq > s->holes[k].last)) k++;
    return k;
}

static void take_from_hole(ll_stream *s, uint32_t k, uint64_t seq) {
    ll_hole h = s->holes[k];
    s->holes[k] = s->holes[--s->n_holes];
    if (h.first < seq && s->n_holes < LL_HOLES) s->holes[s->n_holes++] = (ll_hole){h.first, seq - 1};
    if (seq < h.last && s->n_holes < LL_HOLES) s->holes[s->n_holes++] = (ll_hole){seq + 1, h.last};
}

/* Places what was held and is now next; stops at LL_FULL without losing anything. */
static int release_held(ll_assembler *a, ll_stream *s, int give_up, int force) {
    uint32_t k = 0, end = s->n_held;
    int status = LL_OK;
    while (end > 0 && !s->held[end - 1].bytes && !give_up) end--; /* refused numbers at the end: good frames of them may still come */
    for (; k < end && s->held[k].seq == s->next_seq; k++) {
        if (s->held[k].bytes) {
            ll_frame f;
            status = ll_wire()->parse(s->held[k].bytes, s->held[k].len, &f);
            if (!status) status = place(a, s, &f, 0, force);
            if (status == LL_FULL) break;
            free(s->held[k].bytes);
        }
        s->next_seq++;
    }
    s->n_held -= k;
    memmove(s->held, s->held + k, s->n_held * sizeof *s->held);
    return status;
}

static void give_up_hole(ll_assembler *a, ll_stream *s) {
    uint64_t until = s->held[0].seq;
    a->count.lost_frames += until - s->next_seq;
    if (s->n_holes == LL_HOLES) memmove(s->holes, s->holes + 1, --s->n_holes * sizeof *s->holes);
    s->holes[s->n_holes++] = (ll_hole){s->next_seq, until - 1};
    s->next_seq = until;
}

static uint32_t spent_numbers(const ll_stream *s) {
    uint32_t n = 0;
    for (uint32_t k = 0; k < s->n_held; k++) n += s->held[k].bytes == NULL;
    return n;
}

static int beyond_window(const ll_stream *s) {
    if (s->n_held > LL_HOLD_FRAMES && s->n_held - spent_numbers(s) > LL_HOLD_FRAMES) return 1;
    for (uint32_t k = s->n_held; k-- > 0;) {
        ll_frame f;
        if (!s->held[k].bytes || ll_wire()->parse(s->held[k].bytes, s->held[k].len, &f)) continue;
        if (f.encoding == 6) return 1; /* slow sensors: their frames are further apart than the window */
        double ahead = (double)(f.sample_index + f.n_samples) - (double)s->lane[0].next_index;
        return s->lane[0].begun && ahead * f.rate_den / f.rate_num > 2.0;
    }
    return 0;
}

static int hold(ll_assembler *a, ll_stream *s, uint64_t seq, const uint8_t *bytes, size_t len) {
    uint32_t k = s->n_held;
    while (k > 0 && s->held[k - 1].seq >= seq) k--;
    int there = k < s->n_held && s->held[k].seq == seq;
    if (there && (s->held[k].bytes || !bytes)) {
        a->count.duplicates += bytes != NULL;
        return LL_OK;
    }
    uint8_t *copy = NULL;
    if (bytes) {
        copy = malloc(len);
        if (!copy) return LL_NOMEM;
        memcpy(copy, bytes, len);
        a->count.reordered++;
    }
    if (there) { /* the good one of a refused number */
        s->held[k].bytes = copy, s->held[k].len = len;
        return LL_OK;
    }
    memmove(s->held + k + 1, s->held + k, (s->n_held - k) * sizeof *s->held);
    s->held[k] = (ll_held){seq, copy, len};
    s->n_held++;
    return LL_OK;
}

/* Settles what can be settled in a stream; `give_up`: no hole is waited for. */
static int settle(ll_assembler *a, ll_stream *s, int give_up, int force) {
    int status = release_held(a, s, give_up, force);
    while (!status && s->n_held && (give_up || beyond_window(s))) {
        give_up_hole(a, s);
        status = release_held(a, s, give_up, force);
    }
    return status;
}

/* Settles and remembers a stream whose held frames found no room; feed asks for room before it goes on. */
static int settle_later(ll_assembler *a, ll_stream *s, int force) {
    int status = s->n_held ? settle(a, s, 0, force) : LL_OK;
    if (status != LL_FULL) return status;
    a->unsettled = s;
    return LL_OK;
}

/* A sound frame (bytes NULL: refused, only its number counts). */
static int sequence(ll_assembler *a, ll_stream *s, const ll_frame *f, const uint8_t *bytes, size_t len, int force) {
    int status;
    if (!s->begun && !bytes) return LL_OK;
    if (!s->begun) s->begun = 1, s->next_seq = f->seq;
    /* what is refused may lie about its number too: only one that could be next soon is believed, and few of them */
    if (!bytes && (f->seq - s->next_seq > LL_HOLD_FRAMES || spent_numbers(s) >= LL_SPENT)) return LL_OK;
    if (f->seq < s->next_seq) {
        uint32_t hole = find_hole(s, f->seq);
        if (hole == s->n_holes || !bytes) {
            a->count.duplicates += bytes != NULL;
            return LL_OK;
        }
        if ((status = place(a, s, f, 1, force))) return status;
        take_from_hole(s, hole, f->seq);
        a->count.late++, a->count.frames++;
        return LL_OK;
    }
    if (f->seq > s->next_seq || !bytes) {
        uint64_t before = a->count.reordered;
        if ((status = hold(a, s, f->seq, bytes, len))) return status;
        if (bytes) a->count.frames += a->count.reordered - before;
        return settle_later(a, s, force);
    }
    if ((status = place(a, s, f, 0, force))) return status;
    a->count.frames++;
    if (s->n_held && s->held[0].seq == f->seq) { /* a refused number, or the same frame that found no room before */
        free(s->held[0].bytes);
        memmove(s->held, s->held + 1, --s->n_held * sizeof *s->held);
    }
    s->next_seq++;
    return settle_later(a, s, force);
}

/* ---- streams ---- */

static int overlaps(const ll_stream *s, const ll_frame *f) {
    return s->channel < f->channel + f->n_channels && f->channel < s->channel + s->n_channels;
}

/* Channels somebody configured of a device. In one epoch each of its streams has at least one that no other has. */
static int32_t channels_of(const ll_assembler *a, uint32_t device) {
    int32_t lo = 0, hi = a->n_channels, n = 0;
    while (lo < hi) {
        int32_t mid = (lo + hi) / 2;
        if (a->channels[a->by_number[mid]].device < device) lo = mid + 1;
        else hi = mid;
    }
    while (lo + n < a->n_channels && a->channels[a->by_number[lo + n]].device == device) n++;
    return n;
}

static void evict(ll_assembler *a, int32_t k) {
    if (a->unsettled == a->streams[k]) a->unsettled = NULL;
    stream_free(a->streams[k]);
    a->streams[k] = a->streams[--a->n_streams];
    a->devices[k] = a->devices[a->n_streams];
    for (int32_t i = 0; i < a->n_fresh; i++) {
        if (a->fresh_streams[i] == k) a->fresh_streams[i--] = a->fresh_streams[--a->n_fresh];
        else if (a->fresh_streams[i] == a->n_streams) a->fresh_streams[i] = k;
    }
    table_rebuild(a);
}

/* Room for a stream: LL_EPOCHS of one shape, and as many of all shapes as so many epochs of all its channels could have. */
static void evict_oldest(ll_assembler *a, const ll_frame *f) {
    int32_t oldest = -1, oldest_alike = -1, n = 0, alike = 0;
    for (int32_t k = 0; k < a->n_streams; k++) {
        if (a->devices[k] != f->device) continue;
        const ll_stream *s = a->streams[k];
        n++;
        if (oldest < 0 || s->born < a->streams[oldest]->born) oldest = k;
        if (s->channel != f->channel || s->n_channels != f->n_channels) continue;
        alike++;
        if (oldest_alike < 0 || s->born < a->streams[oldest_alike]->born) oldest_alike = k;
    }
    if (alike >= LL_EPOCHS) evict(a, oldest_alike);
    else if (n >= LL_EPOCHS * channels_of(a, f->device)) evict(a, oldest);
}

/* Why this frame may not begin a stream, or 0. */
static int refuses_stream(const ll_assembler *a, const ll_frame *f) {
    int device_known = 0, any = 0;
    for (uint32_t row = 0; row < f->n_channels; row++)
        any |= find_channel(a, f->device, (uint16_t)(f->channel + row), &device_known) >= 0;
    if (!device_known) return LL_REFUSED_UNKNOWN_DEVICE;
    if (!any) return LL_REFUSED_UNKNOWN_CHANNEL;
    for (int32_t k = 0; k < a->n_streams; k++)
        if (a->devices[k] == f->device && overlaps(a->streams[k], f) && a->streams[k]->epoch == f->epoch) return LL_REFUSED_STREAM_OVERLAP;
    return 0;
}

/* A newer epoch ends the older ones of the same channels. One that begins with history beside another is not newer: it is a
 * boot before this one that nobody here met, and goes to lane 1 from the start. */
static int new_stream(ll_assembler *a, const ll_frame *f, int force, ll_stream **out) {
    int newer = 0, behind = 0;
    for (int32_t k = 0; k < a->n_streams; k++) {
        ll_stream *old = a->streams[k];
        if (a->devices[k] != f->device || !overlaps(old, f)) continue;
        if (f->flags & 8) {
            behind = 1;
            continue;
        }
        newer = 1;
        if (old->over) continue;
        int status = settle(a, old, 1, force);
        if (status) return status;
        old->over = 1;
    }
    evict_oldest(a, f);
    ll_stream *s = calloc(1, sizeof *s);
    int32_t *rows = malloc(f->n_channels * sizeof *rows);
    if (!s || !rows) {
        free(s);
        free(rows);
        return LL_NOMEM;
    }
    for (uint32_t row = 0; row < f->n_channels; row++) rows[row] = find_channel(a, f->device, (uint16_t)(f->channel + row), NULL);
    s->device = f->device, s->epoch = f->epoch, s->channel = f->channel, s->n_channels = f->n_channels;
    s->rows = rows, s->born = a->born++, s->over = (uint8_t)behind;
    if (newer) a->count.epochs++;
    *out = s;
    return ll_assemble_adopt(a, s);
}

static int wrong_for(const ll_assembler *a, const ll_stream *s, const ll_frame *f) {
    const double rate = (double)f->rate_num / f->rate_den;
    for (uint32_t row = 0; row < f->n_channels; row++) {
        if (s->rows[row] < 0) continue;
        const ll_channel *c = &a->channels[s->rows[row]];
        if ((c->rate_hz == 0.0) != (f->encoding == 6)) return LL_REFUSED_WRONG_ENCODING;
        if (c->rate_hz != 0.0 && fabs(rate - c->rate_hz) > 1e-4 * c->rate_hz) return LL_REFUSED_WRONG_RATE;
    }
    return f->n_samples > LL_MAX_SAMPLES ? LL_REFUSED_TOO_LARGE : 0;
}

int ll_assemble_fits(const ll_assembler *a, const ll_stream *s, uint64_t seq, const uint8_t *bytes, size_t len) {
    ll_frame f;
    return !ll_wire()->parse(bytes, len, &f) && !f.type && f.seq == seq && f.device == s->device && f.epoch == s->epoch &&
           f.channel == s->channel && f.n_channels == s->n_channels && !wrong_for(a, s, &f);
}

static void refuse(ll_assembler *a, ll_outcome *out, int64_t record, int reason) {
    a->count.refused[reason]++;
    out->refused_record[out->n_refused] = record;
    out->refused_reason[out->n_refused++] = reason;
}

static int feed_frame(ll_assembler *a, const ll_frame *f, const uint8_t *bytes, size_t len, int64_t record, int force, ll_outcome *out) {
    if (f->type) {
        if (f->type == 1) a->count.hellos++, out->greeting_record[out->n_greetings++] = record;
        if (f->type == 2) a->count.byes++;
        if (f->type == 3) a->count.reports++;
        return LL_OK;
    }
    ll_stream *s = table_find(a, f);
    if (!s) {
        int reason = refuses_stream(a, f);
        if (reason) {
            refuse(a, out, record, reason);
            return LL_OK;
        }
        int status = new_stream(a, f, force, &s);
        if (status) return status;
    }
    int reason = wrong_for(a, s, f);
    int status = sequence(a, s, f, reason ? NULL : bytes, len, force);
    if (status) return status;
    if (reason) refuse(a, out, record, reason);
    else s->touched = 1, s->record = record, s->quiet = 0;
    return LL_OK;
}

/* A frame whose CRC was right but which breaks another rule: if its stream is known, its number is taken. */
static void spend(ll_assembler *a, const ll_frame *f, int reason) {
    if (reason <= LL_REFUSED_CRC || f->type) return;
    ll_stream *s = table_find(a, f);
    if (s) sequence(a, s, f, NULL, 0, 0); /* the refusal is its answer; acknowledgements go to who sends sound frames */
}

static int is_map(uint8_t b) { return (b & 0xf0) == 0x80 || b == 0xde || b == 0xdf; }

static void spend_record(ll_assembler *a, const uint8_t *bytes, size_t len) {
    ll_frame f;
    if (!ll_wire()->parse(bytes, len, &f)) spend(a, &f, LL_REFUSED_EXTENSION);
}

static uint64_t acknowledged(const ll_stream *s) {
    uint64_t next = s->next_seq;
    for (uint32_t k = 0; k < s->n_held && s->held[k].seq == next && !s->held[k].bytes; k++) next++;
    return next;
}

/* A record that is read soon: frames come from another thread, or from far away. */
enum { AHEAD = 2, FETCHED = 8192 };
static void fetch(const uint8_t *bytes, size_t len) {
    if (len > FETCHED) len = FETCHED;
    for (size_t i = 0; i < len; i += 64) __builtin_prefetch(bytes + i, 0, 2);
}

static int feed(ll_assembler *a, const uint8_t *buf, const int64_t *offsets, const int64_t *lengths, int64_t n, int64_t *next,
                int force, int checked, ll_outcome *out) {
    a->feeds += *next == 0;
    for (;; ++*next, force = 0, checked = 0) {
        if (a->unsettled) {
            if (settle(a, a->unsettled, 0, force) == LL_FULL) return LL_NEEDS_ROOM;
            a->unsettled = NULL;
        }
        if (*next >= n) return LL_FED;
        const uint8_t *bytes = buf + offsets[*next];
        size_t len = (size_t)lengths[*next];
        ll_frame f;
        if (*next + AHEAD < n) fetch(buf + offsets[*next + AHEAD], (size_t)lengths[*next + AHEAD]);
        if (len && is_map(bytes[0]) && !checked) return LL_NEEDS_PYTHON;
        int status = ll_wire()->parse(bytes, len, &f);
        if (status) {
            refuse(a, out, *next, -status);
            spend(a, &f, -status);
            continue;
        }
        if (f.header_len > 64 && !checked) return LL_NEEDS_PYTHON;
        status = feed_frame(a, &f, bytes, len, *next, force, out);
        if (status == LL_FULL) return LL_NEEDS_ROOM;
        if (status) return status;
        if (a->ripe >= 0 && hand_out_ripe(a) && *next + 1 < n) return ++*next, LL_NEEDS_READERS;
    }
}

/* Samples without a wire: an array that says when it begins. It goes on where the last one ended, within half a sample. */
static int put(ll_assembler *a, int32_t channel, int64_t t0_ns, uint32_t num, uint32_t den, const float *x, uint64_t n, int force) {
    ll_ring *r = &a->rings[2 * channel];
    int status = ll_ring_room(r, n);
    if (status == LL_FULL && force) {
        a->count.overflow_samples += ll_ring_drop(r, a->joins, n);
        status = ll_ring_room(r, n);
    }
    if (status) return status;
    const ll_seam *s = ll_ring_last(r);
    ll_seam seam = {.pos = r->head, .anchor_pos = r->head, .anchor_ns = t0_ns, .lost = -1, .rate_num = num, .rate_den = den,
                    .flags = 1, .reason = s ? LL_GAP : LL_START};
    double period = 1e9 * den / num, off = s ? (double)((__int128)t0_ns - ll_ring_time(r, s, r->head)) : 0.0;
    if (!s || fabs(off) > 0.5 * period || s->rate_num != num || s->rate_den != den) {
        if (s && off > 0) seam.lost = (int64_t)fmin(off / period + 0.5, 9e18);
        if (s && off < -0.5 * period) seam.reason = LL_CLOCK_STEP, a->count.clock_steps++;
        else if (s) a->count.gaps++, a->count.lost_samples += (uint64_t)(seam.lost > 0 ? seam.lost : 0);
        status = ll_ring_seam(r, &seam);
        if (status) return status;
    }
    for (uint64_t k = 0; k < n; k++) r->data[(r->head + k) & (r->cap - 1)] = x[k];
    r->head += n, r->fresh = 1, r->quiet = 0;
    a->count.samples += n, a->count.frames++;
    mark_dirty(a, r);
    return LL_OK;
}

static int settle_all(ll_assembler *a, uint32_t patience, int all, int force) {
    for (int32_t k = 0; k < a->n_streams; k++) {
        ll_stream *s = a->streams[k];
        int status = s->n_held ? settle(a, s, all || s->quiet + 1 >= patience, force) : LL_OK;
        if (status) return status;
    }
    return LL_OK;
}

static int tick(ll_assembler *a, uint32_t patience) {
    for (int32_t k = 0; k < a->n_streams; k++) a->streams[k]->quiet += a->streams[k]->quiet < UINT32_MAX;
    for (int32_t c = 0; c < 2 * a->n_channels; c++) {
        ll_ring *r = &a->rings[c];
        if (!r->fresh && r->quiet < UINT32_MAX) r->quiet++;
        r->fresh = 0;
        ll_ring_shrink(r);
    }
    for (int32_t j = 0; j < 2 * a->n_joins; j += 2) {
        ll_join_tick(&a->joins[j], a->rings, patience);
        if (a->joins[j].dirty) mark(a, j);
    }
    return LL_OK;
}

/* ---- making and reading ---- */

static int set_channel(ll_assembler *a, int32_t i, const ll_channel *c, uint64_t max_cap) {
    a->channels[i] = *c;
    for (int lane = 0; lane < 2; lane++) {
        a->rings[2 * i + lane].max_cap = max_cap;
        a->rings[2 * i + lane].timed = c->rate_hz == 0.0;
    }
    return LL_OK;
}

static int set_join(ll_assembler *a, int32_t j, const int32_t *channels, int32_t n, int maskable) {
    for (int lane = 0; lane < 2; lane++) {
        ll_join *join = &a->joins[2 * j + lane];
        *join = (ll_join){.n = n, .maskable = (uint8_t)(maskable && !lane), .lost = -1};
        join->cursors = calloc((size_t)n, sizeof *join->cursors);
        if (!join->cursors) return LL_NOMEM;
        for (int32_t k = 0; k < n; k++) {
            ll_ring *r = &a->rings[2 * channels[k] + lane];
            ll_reader *more = realloc(r->readers, (r->n_readers + 1) * sizeof *more);
            if (!more) return LL_NOMEM;
            r->readers = more;
            r->readers[r->n_readers++] = (ll_reader){2 * j + lane, k};
            join->cursors[k].ring = 2 * channels[k] + lane;
        }
    }
    return LL_OK;
}

int ll_assemble_reserve(ll_assembler *a, int32_t j) {
    ll_join *more = realloc(a->joins, 2 * (size_t)(j + 1) * sizeof *more);
    if (!more) return LL_NOMEM;
    memset(more + 2 * j, 0, 2 * sizeof *more);
    a->joins = more;
    int32_t *dirty = realloc(a->dirty, 2 * (size_t)(j + 1) * sizeof *dirty);
    if (!dirty) return LL_NOMEM;
    a->dirty = dirty, a->n_joins = j + 1;
    return LL_OK;
}

/* Some channels of a join turn out to arrive by themselves: they go on in a join of their own, from where they stood. */
static int split(ll_assembler *a, int32_t join, const int32_t *channels, int32_t n) {
    int32_t fresh = a->n_joins;
    int status = ll_assemble_reserve(a, fresh);
    if (!status) status = set_join(a, fresh, channels, n, 0);
    if (status) return status;
    ll_crowd_free(&a->joins[2 * join]); /* its readers begin anew */
    for (int lane = 0; lane < 2; lane++) {
        ll_join *from = &a->joins[2 * join + lane], *to = &a->joins[2 * fresh + lane];
        to->started = from->started, to->broken = from->broken, to->lost = from->lost, mark(a, 2 * fresh + lane);
        for (int32_t k = 0; k < n; k++) {
            ll_ring *r = &a->rings[2 * channels[k] + lane];
            int32_t old = 0;
            while (from->cursors[old].ring != 2 * channels[k] + lane) old++;
            to->cursors[k] = from->cursors[old];
            from->n--;
            memmove(from->cursors + old, from->cursors + old + 1, (size_t)(from->n - old) * sizeof *from->cursors);
            for (uint32_t q = 0; q < r->n_readers; q++)
                if (r->readers[q].join == 2 * join + lane) r->readers[q--] = r->readers[--r->n_readers];
            for (int32_t c = old; c < from->n; c++) {
                ll_ring *other = &a->rings[from->cursors[c].ring];
                for (uint32_t q = 0; q < other->n_readers; q++)
                    if (other->readers[q].join == 2 * join + lane) other->readers[q].cursor = c;
            }
        }
        mark(a, 2 * join + lane);
    }
    return fresh;
}

static uint64_t waiting(const ll_assembler *a) {
    uint64_t sum = 0;
    for (int32_t k = 0; k < a->n_dirty; k++) {
        const ll_join *j = &a->joins[a->dirty[k]];
        if (j->crowd && j->n) sum += (a->rings[j->cursors[0].ring].head - j->cursors[0].pos) * (uint64_t)j->n;
    }
    return sum;
}

static int in_order(const void *a, const void *b) { return *(const int32_t *)a - *(const int32_t *)b; }

static void give_all(ll_assembler *a) {
    qsort(a->dirty, (size_t)a->n_dirty, sizeof *a->dirty, in_order);
    for (int32_t k = 0; k < a->n_dirty; k++) {
        ll_join *j = &a->joins[a->dirty[k]];
        if (j->dirty && j->crowd) j->dirty = (uint8_t)ll_hand_out(a, a->dirty[k] / 2, 1);
    }
}

static void join_copy(ll_assembler *a, int32_t join, int lane, const ll_piece *piece, float *x, int64_t *t_ns) {
    ll_join_copy(&a->joins[2 * join + lane], a->rings, a->joins, piece, x, t_ns);
    if (!lane) ll_hand_passed(a, join, piece);
}

static void destroy(ll_assembler *a) {
    for (int32_t c = 0; a->rings && c < 2 * a->n_channels; c++) ll_ring_free(&a->rings[c]);
    for (int32_t j = 0; a->joins && j < 2 * a->n_joins; j++) free(a->joins[j].cursors), ll_crowd_free(&a->joins[j]);
    for (int32_t k = 0; k < a->n_streams; k++) stream_free(a->streams[k]);
    free(a->channels), free(a->rings), free(a->joins), free(a->streams), free(a->devices), free(a->table), free(a->by_number);
    free(a->dirty), free(a->fresh_streams), free(a->unpacked), free(a);
}

static ll_assembler *make(int32_t n_channels, int32_t n_joins) {
    ll_assembler *a = calloc(1, sizeof *a);
    if (!a) return NULL;
    a->n_channels = n_channels, a->n_joins = n_joins, a->ripe = -1;
    a->channels = calloc((size_t)n_channels + 1, sizeof *a->channels);
    a->rings = calloc(2 * (size_t)n_channels + 1, sizeof *a->rings);
    a->joins = calloc(2 * (size_t)n_joins + 1, sizeof *a->joins);
    a->by_number = calloc((size_t)n_channels + 1, sizeof *a->by_number);
    a->dirty = calloc(2 * (size_t)n_joins + 1, sizeof *a->dirty);
    if (a->channels && a->dirty && a->rings && a->joins && a->by_number && !table_rebuild(a)) return a;
    destroy(a);
    return NULL;
}

/* Readers come to what is loaded as to what is made: with an offer. */
static int load(ll_assembler *a, const uint8_t *bytes, size_t len) {
    for (int32_t j = 0; j < 2 * a->n_joins; j++) ll_crowd_free(&a->joins[j]);
    int status = ll_assemble_load(a, bytes, len);
    for (int32_t j = 0; !status && j < 2 * a->n_joins; j++)
        if (a->joins[j].dirty) mark(a, j);
    return status;
}

static int seal(ll_assembler *a) { /* heap sort would be more code than the channels deserve: insertion on shell gaps */
    for (int32_t i = 0; i < a->n_channels; i++) a->by_number[i] = i;
    for (int32_t gap = a->n_channels / 2; gap > 0; gap /= 2)
        for (int32_t i = gap; i < a->n_channels; i++)
            for (int32_t k = i; k >= gap; k -= gap) {
                const ll_channel *x = &a->channels[a->by_number[k - gap]], *y = &a->channels[a->by_number[k]];
                if (wire_number(x->device, x->number) <= wire_number(y->device, y->number)) break;
                int32_t swap = a->by_number[k];
                a->by_number[k] = a->by_number[k - gap], a->by_number[k - gap] = swap;
            }
    return LL_OK;
}

const ll_assemble_api LL_FN(ll_assemble_api) = {
    .make = make, .destroy = destroy, .set_channel = set_channel, .set_join = set_join, .seal = seal, .feed = feed,
    .ack = acknowledged, .spend = spend_record, .put = put,
    .settle = settle_all, .tick = tick, .offer = ll_crowd_set, .waiting = waiting, .give = give_all, .next = ll_hand_next,
    .copy = join_copy, .split = split, .save = ll_assemble_save, .load = load};
