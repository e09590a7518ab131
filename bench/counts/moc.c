/* Instructions of the waves on a network: a ring of pipes with spokes, the same in every run. */
#include "moc.h"

#include "count.h"

enum { RING = 24, LINKS = 2 * RING, NODES = RING + 1, STEPS = 200, BINS = 200 };

void count_moc(void) {
    static int32_t a[LINKS], b[LINKS], steps[LINKS];
    static float admittance[LINKS], inverse[NODES], work[1 << 17], out[NODES * STEPS * LL_MOC_LANES];
    static float own[BINS], open[BINS], flow[BINS];
    static double changes[BINS];
    static ll_moc_place source[LL_MOC_LANES], probe[NODES];
    float total[NODES] = {0};
    for (int l = 0; l < LINKS; l++) {
        a[l] = l < RING ? l : l - RING, b[l] = l < RING ? (l + 1) % RING : RING;
        steps[l] = 5 + l * 7 % 23, admittance[l] = 1e-4f * (float)(1 + l % 5);
        total[a[l]] += admittance[l], total[b[l]] += admittance[l];
    }
    for (int i = 0; i < NODES; i++) inverse[i] = 1.0f / total[i], probe[i] = (ll_moc_place){-1, i};
    inverse[RING] = 0; /* a tank */
    for (int w = 0; w < LL_MOC_LANES; w++) source[w] = (ll_moc_place){-1, 3 * w};
    ll_moc_net net = {.n_nodes = NODES, .n_links = LINKS, .a = a, .b = b, .steps = steps, .admittance = admittance, .inverse = inverse};
    const ll_moc_api *k = ll_moc();
    count_begin();
    int status = k->run(&net, source, LL_MOC_LANES, probe, NODES, STEPS / 4, 4, work, out);
    count_end("moc.run");
    COUNT_IS(status == LL_OK && k->room(&net) <= sizeof work / sizeof *work && out[0] != 0);
    for (int i = 0; i < BINS; i++) own[i] = 300.0f + (float)(i * 37 % 101), open[i] = 1;
    count_begin();
    k->outflow(own, open, BINS, 0.05, 45.0, changes, flow);
    count_end("moc.outflow");
    COUNT_IS(flow[0] > 0.1f && flow[0] < 1.0f);
}
