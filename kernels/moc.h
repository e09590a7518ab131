/* Water hammer without friction on a pipe network: every pipe is a delay line in each direction (method of characteristics).
 *
 * A pipe between nodes a and b carries a wave f from a to b and a wave g from b to a; head = f + g, flow = Y (f - g) with the
 * admittance Y = g A / a_wave. Without friction a wave arrives as it left, `steps` time steps later. At a node, with r_k the wave
 * that arrives by pipe k and q the flow that is let in:
 *
 *     h = (2 sum Y_k r_k + q) / sum Y_k          wave that leaves by pipe k: h - r_k
 *
 * A tank or reservoir has inverse 0: h = 0, waves come back with the other sign. A dead end is a node with one pipe: h = 2 r.
 * A pump couples two nodes by the flow i = (h_a - h_b) / resistance' (resistance' includes the nodes' own 1 / sum Y): h_a falls
 * by i / sum Y_a and h_b rises by i / sum Y_b.
 *
 *     ring of the wave a -> b, n = steps:   [ . . x . . ]   at `now`: read what left n steps ago, write what leaves
 *
 * Inside a pipe waves pass each other without notice, and a flow q that is let in adds q / 2 Y to both.
 *
 * Lanes are sources: one run answers for up to LL_MOC_LANES places at which a unit step of flow begins at time 0. */
#ifndef LL_MOC_H
#define LL_MOC_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_MOC_LANES = 8 };

typedef struct {
    size_t n_nodes, n_links, n_pumps;
    const int32_t *a, *b, *steps; /* of each link; steps >= 1 */
    const float *admittance;      /* of each link, m2/s */
    const float *inverse;         /* of each node: 1 / sum of admittances; 0: the head is fixed */
    const int32_t *pump_a, *pump_b;
    const float *through; /* of each pump: 1 / resistance', m2/s */
} ll_moc_net;

/* link >= 0: inside it, `at` steps (0 < at < steps) from its node a; link < 0: the node `at`. */
typedef struct {
    int32_t link, at;
} ll_moc_place;

typedef struct {
    /* Floats of work memory that `run` needs. */
    size_t (*room)(const ll_moc_net *net);
    /* Heads at the probes after unit steps of inflow at the sources (fewer than lanes: the others stay 0), as means over `every`
     * steps: out[p][k][lane], k < n. */
    int (*run)(const ll_moc_net *net, const ll_moc_place *source, size_t n_sources, const ll_moc_place *probe, size_t n_probes,
               size_t n, size_t every, float *work, float *out);
    /* What runs out of an opening, 1 where it is wide open and no head has fallen: flow[k] = open[k] sqrt(1 + h[k] / level) with
     * h = -amount (self * d flow): self[k] is the head at the place after a unit step of flow there. */
    void (*outflow)(const float *self, const float *open, size_t n, double amount, double level, double *work, float *flow);
} ll_moc_api;

LL_API(moc)

#endif
