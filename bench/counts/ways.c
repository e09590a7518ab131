/* Instructions of a location: a comb of streets with six sensors, the same in every run. */
#include "ways.h"

#include <math.h>

#include "count.h"

enum { SIDE = 40, NODES = SIDE * SIDE, SENSORS = 6, PLACES = 400 };

/* The way to a sensor: along the row to its column, then along the column; every street 0.1 s and a little more. */
static void lead(int sensor, double *time, double *square, int32_t *toward) {
    int row = sensor / SIDE, column = sensor % SIDE;
    for (int v = 0; v < NODES; v++) {
        int r = v / SIDE, c = v % SIDE, across = abs(c - column), down = abs(r - row);
        double a = 0.1 + 0.001 * r, d = 0.1;
        time[v] = across * a + down * d, square[v] = across * a * a + down * d * d;
        toward[v] = across ? v + (c < column ? 1 : -1) : down ? v + (r < row ? SIDE : -SIDE) : -1;
    }
}

void count_ways(void) {
    static double time[SENSORS][NODES], square[SENSORS][NODES], common_s[NODES], common2[NODES], total[NODES], cost[NODES];
    static int32_t toward[SENSORS][NODES], work[NODES], last[NODES];
    static uint8_t barrier[NODES], out_of[PLACES * SENSORS];
    static ll_ways_place place[PLACES];
    static ll_ways_found found[PLACES];
    static double guess[2 * PLACES], slow[PLACES], slow_sd[PLACES], room[4096];
    static const int32_t at[SENSORS] = {0, SIDE - 1, NODES - SIDE, NODES - 1, NODES / 2 + 7, 3 * SIDE + 20};
    const double *times[SENSORS], *squares[SENSORS], sd[1] = {0.05};
    const int32_t *nexts[SENSORS];
    double t[SENSORS], sd2[SENSORS], late2[SENSORS];
    for (int i = 0; i < SENSORS; i++) {
        lead(at[i], time[i], square[i], toward[i]);
        times[i] = time[i], squares[i] = square[i], nexts[i] = toward[i];
        t[i] = time[i][NODES / 3] + 0.003 * (i % 3), sd2[i] = 2.5e-5, late2[i] = sd2[i];
    }
    for (int v = 0; v < NODES; v++) cost[v] = 1;
    for (int k = 0; k < PLACES; k++) {
        int v = k * (NODES - SIDE - 1) / PLACES;
        place[k] = k % 2 ? (ll_ways_place){v, v + SIDE, -1, 0, 0.04, 0.06, 0.003} : (ll_ways_place){v, -1, -1, 0, 0, 0, 0};
    }
    ll_ways_net net = {NODES, SENSORS, times, squares, nexts, at, barrier, common_s, common2};
    ll_ways_heard heard = {t, sd2, late2, 0.0016};
    ll_ways_scale scale = {0.05, 0.74, 1.33, 0};
    ll_ways_model model = {1, NULL, sd, 3, 0.15, 0.74, 1.33, -3.7, 3};
    const ll_ways_api *k = ll_ways();
    COUNT_IS(k->fit_room(SENSORS) <= 4096 && k->weigh_room(SENSORS) <= 4096);
    count_begin();
    int status = k->gather(NODES, toward[4], cost, work, total, last);
    count_end("ways.gather");
    COUNT_IS(status == LL_OK && total[0] > 20 && last[0] == at[4]);
    count_begin();
    status = k->fit(&net, &heard, &scale, place, PLACES, room, found);
    count_end("ways.fit");
    COUNT_IS(status == LL_OK && isfinite(found[0].score));
    count_begin();
    status = k->weigh(&net, &heard, &model, place, guess, PLACES, room, found, slow, slow_sd, out_of);
    count_end("ways.weigh");
    COUNT_IS(status == LL_OK && isfinite(found[0].score) && slow[0] > 0.7);
}
