/* Samples that are no measurement, told from events that are: included by ranks.h once for float and once for double.
 *
 * What is judged is the sample `ahead` before the newest, x[j], against the window that ends with the newest:
 *
 *     x  .. [. . . . . . . . . j . . . . . . .]        dev = |x[j] - median|, bound = limit MAD      (run)
 *     r  .. [. . . . . . . . . j . . . . . . .]        r[i] = x[i] - (x[i-1] + x[i+1]) / 2           (needle)
 *
 * run      dev > bound; with it at most `most` samples in a row are; the sample before and the one after these are back within
 *          dev / 2; and not more than COMPANIONS others within `near` are as large.
 * needle   |r[j]| > limit MAD(r); both neighbours lie on the line between theirs to |r[j]| / 3, and to so much they are as far
 *          apart as that line says, and less than 3/4 of |r[j]|; and not more than COMPANIONS others within `near` are as large.
 *
 * "As large": beyond three standard deviations and a quarter of it, or beyond half of it. A blow has such samples behind it.
 *
 * A step has no sample far from the median of its surroundings, a passage has too many in a row, a blow rings on: none of them
 * is touched. The verdict depends on the window alone, so cuts cannot show and a window that is filled again goes on as before.
 * Samples outside the range were made NaN before they got here; NaN is in no window. */

typedef struct {
    N(ranks) x, r;
    const ll_cleaning *how;
} N(judged);

/* Number of the sample judged; those that there are have numbers from first to `last`. */
typedef struct {
    int64_t at, first, last;
} N(span);

LL_INLINE N(span) N(spanned)(const N(judged) * d) {
    const N(head) *h = d->x.head;
    int64_t fed = (int64_t)h->fed, first = fed - (int64_t)h->window;
    return (N(span)){fed - 1 - d->how->ahead, first > 0 ? first : 0, (int64_t)h->seen - 1};
}

/* Place of what came `back` before the one that comes next, 1 to a whole window. */
LL_INLINE uint64_t N(place)(const N(head) * h, uint64_t back) { return h->at >= back ? h->at - back : h->at + h->window - back; }

/* x or r by number; NaN where there is none. */
LL_INLINE double N(sample)(const N(judged) * d, const N(span) * s, int64_t i) {
    const N(head) *h = d->x.head;
    return i < s->first || i > s->last ? (double)NAN : (double)d->x.ring[N(place)(h, h->fed - (uint64_t)i)];
}
LL_INLINE double N(needle)(const N(judged) * d, const N(span) * s, int64_t i) { /* the newest is that of the sample before x's */
    return i < s->first || i >= s->last ? (double)NAN : (double)d->r.ring[N(place)(d->r.head, d->x.head->fed - 1 - (uint64_t)i)];
}

/* A lower bound of the MAD: as many samples lie outside of the two ranks as inside. */
LL_INLINE double N(at_least)(const N(ranks) * k, double median) {
    size_t a = k->head->held / 4, b = a + k->head->held / 2;
    double below = median - (double)N(ranked)(k, a, N(BELOW_IT)), over = (double)N(ranked)(k, b, N(ABOVE_IT)) - median;
    return below < over ? below : over;
}

/* The smallest step between neighbours of the window that is one: of counts, what the last bit is worth. */
static double N(quantum)(const N(judged) * d, const N(span) * s) {
    double least = INFINITY, before = N(sample)(d, s, s->first);
    for (int64_t i = s->first + 1; i <= s->last; i++) {
        double now = N(sample)(d, s, i), step = fabs(now - before);
        if (step > 0 && step < least) least = step;
        before = now;
    }
    return least < (double)INFINITY ? least : 0;
}

/* What is true of most samples, and soon seen: x[j] is no outlier, whatever the MAD. */
LL_INLINE int N(is_near)(const N(judged) * d, const N(ranks) * k, double median, double dev) {
    return !(dev > SIGMA * d->how->threshold * N(at_least)(k, median)) || !(dev > d->how->floor);
}

/* What x[j] must exceed; 0: it does not, whatever that is. */
static double N(bound)(const N(judged) * d, const N(span) * s, const N(ranks) * k, double median, double dev) {
    double bound = SIGMA * d->how->threshold * (double)N(mad)(k, (T)median);
    if (bound < d->how->floor) bound = d->how->floor;
    if (!(dev > bound)) return 0;
    double step = d->how->floor > 0 ? 0 : d->how->threshold * N(quantum)(d, s);
    if (bound < step) bound = step;
    return dev > bound && bound > 0 ? bound : 0;
}

/* From where on another sample speaks for an event. */
LL_INLINE double N(level)(const N(judged) * d, double dev, double bound) {
    double quarter = 0.25 * dev, three = 3 * bound / d->how->threshold, least = quarter > three ? quarter : three;
    return least < 0.5 * dev ? least : 0.5 * dev;
}

/* The first finite sample beyond i in direction `way`, over at most `most` that are missing. */
static double N(flank)(const N(judged) * d, const N(span) * s, int64_t i, int way) {
    for (int64_t k = 0; k <= d->how->most; k++) {
        double v = N(sample)(d, s, i + way * (k + 1));
        if (v == v) return v;
    }
    return NAN;
}

/* Whether x[j] belongs to a short run of outliers; the run's surroundings go to before and after. */
LL_INLINE int N(in_run)(const N(judged) * d, const N(span) * s, double x, double *before, double *after) {
    double median = (double)N(median)(&d->x), dev = fabs(x - median);
    if (N(is_near)(d, &d->x, median, dev)) return 0;
    double bound = N(bound)(d, s, &d->x, median, dev);
    if (bound == 0) return 0;
    int64_t low = s->at, high = s->at, most = d->how->most, others = 0;
    while (fabs(N(sample)(d, s, low - 1) - median) > bound && high - low < most) low--;
    while (fabs(N(sample)(d, s, high + 1) - median) > bound && high - low < most) high++;
    if (high - low >= most) return 0;
    *before = N(flank)(d, s, low, -1), *after = N(flank)(d, s, high, 1);
    if (!(fabs(*before - median) <= 0.5 * dev) || !(fabs(*after - median) <= 0.5 * dev)) return 0;
    double level = N(level)(d, dev, bound);
    for (int64_t i = s->at - d->how->near; i <= s->at + d->how->near; i++)
        others += (i < low || i > high) && fabs(N(sample)(d, s, i) - median) > level;
    return others <= COMPANIONS;
}

/* Whether x[j] alone stands out of a smooth course. */
LL_INLINE int N(is_needle)(const N(judged) * d, const N(span) * s, double *before, double *after) {
    double r = N(needle)(d, s, s->at);
    if (!(r == r) || d->r.head->held < d->how->least) return 0;
    double median = (double)N(median)(&d->r), high = fabs(r), dev = fabs(r - median);
    if (N(is_near)(d, &d->r, median, dev)) return 0;
    double bound = N(bound)(d, s, &d->r, median, dev);
    if (bound == 0) return 0;
    double a = N(sample)(d, s, s->at - 2), e = N(sample)(d, s, s->at + 2);
    *before = N(sample)(d, s, s->at - 1), *after = N(sample)(d, s, s->at + 1);
    double line = (e - a) / 4;
    double slope = *after - *before;
    if (!(fabs(slope) <= 0.75 * high) || !(fabs(2 * line - slope) <= high / 3)) return 0;
    if (!(fabs(*before - a - line) <= high / 3) || !(fabs(e - line - *after) <= high / 3)) return 0;
    int64_t others = 0;
    double level = N(level)(d, high, bound);
    for (int64_t i = s->at - d->how->near; i <= s->at + d->how->near; i++)
        others += (i < s->at - 1 || i > s->at + 1) && fabs(N(needle)(d, s, i)) > level;
    return others <= COMPANIONS;
}

/* One sample goes in; those that go on for too long without a change are marked as far back as they are held. */
LL_INLINE void N(take)(N(judged) * d, T x, int real, const double range[2], uint8_t *reasons, ll_still *still) {
    N(head) *h = d->x.head;
    uint64_t at = h->at;
    uint8_t reason = LL_KEPT;
    T v = x;
    if (real && x == x && !((double)x >= range[0] && (double)x <= range[1])) v = NAN, reason = LL_OUT_OF_RANGE;
    T r = NAN;
    if (real && h->fed >= 2) r = (T)((double)d->x.ring[N(place)(h, 1)] - 0.5 * ((double)d->x.ring[N(place)(h, 2)] + (double)v));
    if (real && d->how->stuck) {
        int same = v == v && (double)v == still->value;
        still->count = same ? still->count + 1 : 1, still->value = (double)v;
        if (v == v && still->count >= d->how->stuck) {
            reason = LL_STUCK;
            if (still->count == d->how->stuck) {
                int64_t back = d->how->stuck - 1 < d->how->ahead ? d->how->stuck - 1 : d->how->ahead;
                for (int64_t i = 1; i <= back; i++) reasons[N(place)(h, (uint64_t)i)] = LL_STUCK;
            }
        }
    }
    if (real) reasons[at] = reason;
    if (!d->how->ahead) { /* nothing is compared: the ring alone turns */
        d->x.ring[at] = v;
        h->at = at + 1 == h->window ? 0 : at + 1, h->fed++, h->seen += (uint64_t)real;
        return;
    }
    if (h->fed) N(step)(&d->r, r, 1); /* of the sample before */
    N(step)(&d->x, v, real);
}

LL_INLINE uint8_t N(verdict)(const N(judged) * d, const uint8_t *reasons, T *out) {
    N(span) s = N(spanned)(d);
    uint64_t place = N(place)(d->x.head, (uint64_t)d->how->ahead + 1);
    uint8_t reason = reasons[place];
    double x = (double)d->x.ring[place], before = NAN, after = NAN;
    if (reason == LL_OUT_OF_RANGE) {
        before = N(flank)(d, &s, s.at, -1), after = N(flank)(d, &s, s.at, 1);
    } else if (reason == LL_KEPT && d->how->ahead && x - x == 0 && d->x.head->held >= d->how->least) {
        if (N(in_run)(d, &s, x, &before, &after) || N(is_needle)(d, &s, &before, &after)) reason = LL_SPIKE;
    }
    if (reason == LL_KEPT) *out = (T)x;
    else *out = d->how->fill && reason != LL_STUCK ? (T)(0.5 * before + 0.5 * after) : (T)NAN;
    return reason;
}

static int64_t N(clean)(void *xs, void *rs, uint8_t *reasons, ll_still *still, const T *x, size_t rows, size_t n,
                        const double *range, const ll_cleaning *how, T *out, uint8_t *marks, size_t stride, int64_t *counts) {
    size_t window = ((N(head) *)xs)->window, size = N(size)(window), done = 0;
    for (size_t row = 0; row < rows; row++) {
        N(judged) d = {N(open)((char *)xs + row * size), N(open)((char *)rs + row * size), how};
        done = 0;
        for (size_t t = 0; t < n; t++) {
            N(take)(&d, x ? x[row * n + t] : 0, x != NULL, range + 2 * row, reasons + row * window, still + row);
            uint64_t fed = d.x.head->fed, ahead = (uint64_t)how->ahead;
            if (fed <= ahead || fed - ahead > d.x.head->seen) continue;
            uint8_t reason = N(verdict)(&d, reasons + row * window, out + row * stride + done);
            marks[row * stride + done++] = reason;
            counts[row * LL_REASONS + reason]++;
        }
    }
    return (int64_t)done;
}
