/* What fit and weigh share: the time from a place to a sensor over the nearer end, and whether indices can be trusted. */
#ifndef LL_WAYS_ENDS_H
#define LL_WAYS_ENDS_H

#include <math.h>

#include "ways.h"

static inline int ll_ways_sound(const ll_ways_net *net, const ll_ways_place *p, size_t n) {
    int32_t nodes = (int32_t)net->n_nodes;
    for (size_t k = 0; k < n; k++)
        if (p[k].a < 0 || p[k].a >= nodes || p[k].b >= nodes) return 0;
    return 1;
}

static inline double ll_ways_open(const ll_ways_net *net, int32_t node, size_t i) {
    return net->barrier[node] && net->at[i] != node ? HUGE_VAL : net->time[i][node];
}

/* Seconds from a place to sensor i, inf where there is no way; which end it leads over; squares of the pipes' times on it. */
static inline double ll_ways_time(const ll_ways_net *net, const ll_ways_place *p, size_t i, int *by_b, double *square) {
    *by_b = 0;
    if (p->b < 0) {
        *square = net->square[i][p->a];
        return net->time[i][p->a];
    }
    double over_a = net->time[i][p->a] + p->to_a, over_b = net->time[i][p->b] + p->to_b;
    if (net->barrier[p->a] | net->barrier[p->b])
        over_a = ll_ways_open(net, p->a, i) + p->to_a, over_b = ll_ways_open(net, p->b, i) + p->to_b;
    /* Which end it is nobody can guess: both are read and one is chosen without a jump. */
    double square_a = net->square[i][p->a] + p->to_a * p->to_a, square_b = net->square[i][p->b] + p->to_b * p->to_b;
    *by_b = over_b < over_a;
    *square = over_b < over_a ? square_b : square_a;
    return over_b < over_a ? over_b : over_a;
}

#endif
