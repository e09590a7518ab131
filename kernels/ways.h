/* Where on a network of pipes a wave began that came to n sensors at times t_i: one place after the other is fitted by
 *
 *     t_i = t0 + slow tau_i + e_i       tau_i: least time from the place to sensor i at the nominal speeds
 *
 * A place is a node, or a point inside a link: then tau_i leads over the end that is nearer for i. Ways to a sensor are a
 * forest: `toward[i][v]` is the next node from v, negative at the sensor; times fall along it.
 *
 *     sensor i  o---o---o---+ v            K_ik: squared pipe times on what the ways to i and k have in common,
 *     sensor k  o---o------/    \            counted from the place: once parted, two shortest ways never meet again
 *                 parted ^      place
 *
 *     fit    all places, fast: e_i alone, Student's t with 3 degrees of freedom, weights worked out again ROUNDS times
 *     weigh  few places, fully: e is Gaussian with covariance diag(sd^2) + scatter^2 K, t0 unknown, scales of the speeds of
 *            groups of pipes with priors; an arrival leaves when to be a stray (a constant density) explains it better
 *
 * weigh holds P, the inverse of the covariance with everything unknown taken in. A known vector u with prior variance s^2
 * comes in by P -= w w' / (1/s^2 + u'w), w = P u; sensor i goes out by P -= P_i P_i' / P_ii, and its residual against all
 * the others is (P y)_i / P_ii with variance 1 / P_ii: leave-one-out for nothing. */
#ifndef LL_WAYS_H
#define LL_WAYS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_WAYS_LANES = 8, LL_WAYS_GROUPS = 16 };

typedef struct {
    size_t n_nodes, n_sensors;
    const double *const *time;        /* [sensor][node] seconds, inf: no way */
    const double *const *square;      /* [sensor][node] sum of squared times of the pipes on the way */
    const int32_t *const *toward;     /* [sensor][node] */
    const int32_t *at;                /* [sensor] its node */
    const uint8_t *barrier;           /* [node] nothing comes through */
    const double *common_s, *common2; /* [node] what the ways to all sensors share: seconds, squares; for fit only */
} ll_ways_net;

/* A node a (b < 0), or a point inside the link a b, `to_a` and `to_b` seconds from its ends; `group` of that link or -1. The
 * point stands for its neighbours too: `blur` is their standard deviation in seconds along the link. */
typedef struct {
    int32_t a, b, group, pad;
    double to_a, to_b, blur;
} ll_ways_place;

typedef struct {
    const double *t, *sd2, *late2; /* [sensor] arrival; variance where it is early; the same where it is late, >= sd2 */
    double scatter2;               /* relative variance of single pipes' speeds */
} ll_ways_heard;

typedef struct {
    double sd, least, most; /* of slow, about 1; sd 0: slow is 1 */
    double lean2;           /* relative variance of a way's time beyond the pipes' own scatter */
} ll_ways_scale;

/* What weigh takes for granted. */
typedef struct {
    size_t n_groups;            /* 0: speeds are as told; 1: one scale for all (`times` may be null) */
    const double *const *times; /* [group * n_sensors + sensor][node]: seconds on pipes of the group; null: the whole time */
    const double *sd;           /* [group] prior of its scale about 1 */
    double wide, share;         /* with probability `share` every sd is `wide` times as large */
    double least, most;         /* bounds of slow */
    double stray;               /* log density of an arrival that does not belong */
    size_t fewest;              /* so many arrivals stay */
} ll_ways_model;

/* What is known of a place; score is a log likelihood. */
typedef struct {
    double score, t0, slow, rms, misfit, shared, chi2, kept;
} ll_ways_found;

typedef struct {
    /* Sums of `cost` from every node to the end of its way (that has none), and which node that is; work: n. */
    int (*gather)(size_t n, const int32_t *toward, const double *cost, int32_t *work, double *total, int32_t *last);
    /* Doubles of work memory. */
    size_t (*fit_room)(size_t n_sensors);
    int (*fit)(const ll_ways_net *net, const ll_ways_heard *heard, const ll_ways_scale *scale, const ll_ways_place *place,
               size_t n, double *work, ll_ways_found *out);
    size_t (*weigh_room)(size_t n_sensors);
    /* guess: [place] (t0, slow), read only where some late2 > sd2. slow, slow_sd: [place][group]; out_of: [place][sensor] 1 where
     * the arrival was left out. Places that share their ends are best given one after the other. */
    int (*weigh)(const ll_ways_net *net, const ll_ways_heard *heard, const ll_ways_model *model, const ll_ways_place *place,
                 const double *guess, size_t n, double *work, ll_ways_found *out, double *slow, double *slow_sd, uint8_t *out_of);
} ll_ways_api;

LL_API(ways)

#endif
