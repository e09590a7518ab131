/* See moc.h. One time step walks the links twice: once to gather at the nodes what arrives, once to send what leaves; both times
 * the 8 lanes of a ring's cell lie side by side. The scheme keeps energy (no wave is ever amplified), so rounding errors of single
 * precision add up like a random walk: 1e-5 of the head after 10,000 steps. */
#include "moc.h"

#include <math.h>

enum { W = LL_MOC_LANES };

static size_t cells(const ll_moc_net *net) {
    size_t n = 0;
    for (size_t l = 0; l < net->n_links; l++) n += (size_t)net->steps[l];
    return n;
}

/* Rings of both directions, heads, then two index arrays (a float each) and the offsets of the rings. */
static size_t room(const ll_moc_net *net) { return 2 * cells(net) * W + net->n_nodes * W + 2 * net->n_links + W; }

static int places(const ll_moc_net *net, const ll_moc_place *p, size_t n) {
    for (size_t i = 0; i < n; i++) {
        if (p[i].link >= (int32_t)net->n_links || p[i].at < 0) return 0;
        if (p[i].link < 0 ? p[i].at >= (int32_t)net->n_nodes : p[i].at < 1 || p[i].at >= net->steps[p[i].link]) return 0;
    }
    return 1;
}

static int valid(const ll_moc_net *net) {
    int32_t nodes = (int32_t)net->n_nodes;
    for (size_t l = 0; l < net->n_links; l++)
        if (net->a[l] < 0 || net->a[l] >= nodes || net->b[l] < 0 || net->b[l] >= nodes || net->steps[l] < 1) return 0;
    for (size_t p = 0; p < net->n_pumps; p++)
        if (net->pump_a[p] < 0 || net->pump_a[p] >= nodes || net->pump_b[p] < 0 || net->pump_b[p] >= nodes) return 0;
    return 1;
}

static inline void pumps(const ll_moc_net *net, float *restrict head) {
    for (size_t p = 0; p < net->n_pumps; p++) {
        float *a = head + (size_t)net->pump_a[p] * W, *b = head + (size_t)net->pump_b[p] * W;
        float g = net->through[p], ya = net->inverse[net->pump_a[p]], yb = net->inverse[net->pump_b[p]];
        for (int w = 0; w < W; w++) {
            float i = g * (a[w] - b[w]);
            a[w] -= i * ya;
            b[w] += i * yb;
        }
    }
}

/* One step: head from what arrives, then what leaves. */
static inline void step(const ll_moc_net *net, const ll_moc_place *source, size_t n_sources, float *restrict ring, int32_t *restrict now,
                        const uint32_t *restrict from, float *restrict head) {
    size_t n_links = net->n_links, n_nodes = net->n_nodes;
    memset(head, 0, n_nodes * W * sizeof *head);
    for (size_t l = 0; l < n_links; l++) {
        const float *cell = ring + ((size_t)from[l] + (size_t)now[l]) * 2 * W;
        float *a = head + (size_t)net->a[l] * W, *b = head + (size_t)net->b[l] * W, y = 2 * net->admittance[l];
        for (int w = 0; w < W; w++) b[w] += y * cell[w];
        for (int w = 0; w < W; w++) a[w] += y * cell[W + w];
    }
    for (size_t w = 0; w < n_sources; w++)
        if (source[w].link < 0) head[(size_t)source[w].at * W + w] += 1.0f;
    for (size_t i = 0; i < n_nodes; i++)
        for (int w = 0; w < W; w++) head[i * W + w] *= net->inverse[i];
    pumps(net, head);
    for (size_t l = 0; l < n_links; l++) {
        float *cell = ring + ((size_t)from[l] + (size_t)now[l]) * 2 * W;
        const float *a = head + (size_t)net->a[l] * W, *b = head + (size_t)net->b[l] * W;
        float there[W], back[W];
        for (int w = 0; w < W; w++) there[w] = a[w] - cell[W + w], back[w] = b[w] - cell[w];
        /* The rings of a large network do not fit a cache: fetch what the next step reads. */
        __builtin_prefetch(cell + 2 * W, 1);
        memcpy(cell, there, sizeof there);
        memcpy(cell + W, back, sizeof back);
    }
}

typedef struct {
    float *f, *g; /* what left node a `at` steps ago and what left b `steps - at` steps ago */
} meeting;

static inline meeting meet(const ll_moc_net *net, const ll_moc_place *p, float *ring, const int32_t *now, const uint32_t *from) {
    int32_t s = net->steps[p->link], t = now[p->link], i = t - p->at, j = t - (s - p->at);
    size_t first = from[p->link];
    return (meeting){ring + (first + (size_t)(i < 0 ? i + s : i)) * 2 * W, ring + (first + (size_t)(j < 0 ? j + s : j)) * 2 * W + W};
}

/* Flow that enters inside links; it is heard from the next step on, and at its own place by what `hear` adds. */
static void feed(const ll_moc_net *net, const ll_moc_place *source, size_t n_sources, float *ring, const int32_t *now,
                 const uint32_t *from) {
    for (size_t w = 0; w < n_sources; w++) {
        if (source[w].link < 0) continue;
        meeting m = meet(net, source + w, ring, now, from);
        float half = 0.5f / net->admittance[source[w].link];
        m.f[w] += half, m.g[w] += half;
    }
}

static inline void hear(const ll_moc_net *net, const ll_moc_place *probe, size_t n_probes, float part, float *ring, const int32_t *now,
                        const uint32_t *from, const float *head, float *restrict out, size_t stride) {
    for (size_t p = 0; p < n_probes; p++, out += stride) {
        if (probe[p].link < 0) {
            const float *h = head + (size_t)probe[p].at * W;
            for (int w = 0; w < W; w++) out[w] += part * h[w];
        } else {
            meeting m = meet(net, probe + p, ring, now, from);
            for (int w = 0; w < W; w++) out[w] += part * (m.f[w] + m.g[w]);
        }
    }
}

/* A source's own place inside a link was counted with both of the waves that leave it. */
static void own(const ll_moc_net *net, const ll_moc_place *source, size_t n_sources, const ll_moc_place *probe, size_t n_probes,
                size_t n, float *out) {
    for (size_t p = 0; p < n_probes; p++)
        for (size_t w = 0; w < n_sources; w++) {
            if (probe[p].link < 0 || probe[p].link != source[w].link || probe[p].at != source[w].at) continue;
            float half = 0.5f / net->admittance[probe[p].link];
            for (size_t k = 0; k < n; k++) out[(p * n + k) * W + w] -= half;
        }
}

static int run(const ll_moc_net *net, const ll_moc_place *source, size_t n_sources, const ll_moc_place *probe, size_t n_probes,
               size_t n, size_t every, float *work, float *out) {
    if (!net->n_nodes || !n || !every) return LL_EMPTY;
    size_t total = cells(net);
    if (n_sources > W || total > UINT32_MAX || !valid(net) || !places(net, source, n_sources) || !places(net, probe, n_probes))
        return LL_RANGE;
    float *ring = work, *head = ring + 2 * total * W;
    int32_t *now = (int32_t *)(head + net->n_nodes * W);
    uint32_t *from = (uint32_t *)(now + net->n_links);
    memset(work, 0, room(net) * sizeof *work);
    for (size_t l = 1; l < net->n_links; l++) from[l] = from[l - 1] + (uint32_t)net->steps[l - 1];
    memset(out, 0, n_probes * n * W * sizeof *out);
    float part = 1.0f / (float)every;
    for (size_t k = 0; k < n; k++)
        for (size_t e = 0; e < every; e++) {
            step(net, source, n_sources, ring, now, from, head);
            feed(net, source, n_sources, ring, now, from);
            hear(net, probe, n_probes, part, ring, now, from, head, out + k * W, n * W);
            for (size_t l = 0; l < net->n_links; l++) now[l] = now[l] + 1 == net->steps[l] ? 0 : now[l] + 1;
        }
    own(net, source, n_sources, probe, n_probes, n, out);
    return LL_OK;
}

static void outflow(const float *self, const float *open, size_t n, double amount, double level, double *work, float *flow) {
    double before = 0, stiff = amount * (double)self[0] / level;
    for (size_t k = 0; k < n; k++) {
        double fallen = 0;
        for (size_t i = 0; i < k; i++) fallen += (double)self[k - i] * work[i];
        /* q = c sqrt(free - stiff q), the root of a quadratic */
        double c = open[k], b = c * c * stiff, free = 1 - amount / level * fallen + stiff * before;
        double q = 0.5 * (sqrt(b * b + 4 * c * c * (free > 0 ? free : 0)) - b);
        work[k] = q - before;
        flow[k] = (float)(before = q);
    }
}

const ll_moc_api LL_FN(ll_moc_api) = {.room = room, .run = run, .outflow = outflow};
