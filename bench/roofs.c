/* What this machine can do at most, one thread: bytes a second out of each cache and memory, multiplications and additions a
 * second. bench/machine.py compiles it once for each width of vectors (BYTES); each answer is the best of repeated runs. */
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static double now(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + 1e-9 * (double)t.tv_nsec;
}

static volatile float sink;

typedef float lanes __attribute__((vector_size(BYTES)));
enum { LANES = BYTES / 4 };

/* Sums of a buffer, again and again: read bandwidth of whatever holds `bytes`. GB/s. */
double read_rate(size_t bytes, double seconds) {
    float *x = aligned_alloc(64, bytes);
    if (!x) return 0.0;
    memset(x, 0, bytes);
    double best = 0.0, until = now() + seconds;
    size_t n = bytes / (4 * sizeof(lanes)), repeat = (64u << 20) / bytes + 1;
    while (now() < until) {
        lanes a = {0}, b = {0}, c = {0}, d = {0};
        double begin = now();
        for (size_t r = 0; r < repeat; r++) {
            const lanes *p = (const lanes *)(const void *)x;
            for (size_t i = 0; i < n; i++, p += 4) a += p[0], b += p[1], c += p[2], d += p[3];
            __asm__ volatile("" : "+x"(a), "+x"(b), "+x"(c), "+x"(d) : : "memory");
        }
        double rate = (double)repeat * (double)(n * 4 * sizeof(lanes)) / (now() - begin);
        if (rate > best) best = rate;
        sink = a[0] + b[0] + c[0] + d[0];
    }
    free(x);
    return best * 1e-9;
}

/* memcpy between two buffers of `bytes`; bytes read plus bytes written. GB/s. */
double copy_rate(size_t bytes, double seconds) {
    char *x = aligned_alloc(64, bytes), *y = aligned_alloc(64, bytes);
    double best = 0.0, until = now() + seconds;
    if (!x || !y) return 0.0;
    memset(x, 1, bytes), memset(y, 2, bytes);
    while (now() < until) {
        double begin = now();
        memcpy(y, x, bytes);
        double rate = 2.0 * (double)bytes / (now() - begin);
        if (rate > best) best = rate;
        __asm__ volatile("" : : "r"(y) : "memory");
    }
    free(x), free(y);
    return best * 1e-9;
}

/* The first write to memory fresh from the system. GB/s. */
double first_touch_rate(size_t bytes, double seconds) {
    double best = 0.0, until = now() + seconds;
    while (now() < until) {
        double begin = now();
        char *x = malloc(bytes);
        if (!x) return 0.0;
        memset(x, 1, bytes);
        __asm__ volatile("" : : "r"(x) : "memory");
        double rate = (double)bytes / (now() - begin);
        if (rate > best) best = rate;
        free(x);
    }
    return best * 1e-9;
}

/* x = x a + b in twelve independent chains of registers: with FMA one instruction, without it two. GFLOP/s. The empty asm keeps the
 * compiler from folding the steps. */
#define EACH(X) X(0) X(1) X(2) X(3) X(4) X(5) X(6) X(7) X(8) X(9) X(10) X(11)
#define BEGIN(k) lanes x##k = b * (float)k;
#define STEP(k)             \
    x##k = x##k * a + b;    \
    __asm__ volatile("" : "+x"(x##k));
#define TOTAL(k) +x##k
double flop_rate(double seconds) {
    lanes a, b;
    for (int l = 0; l < LANES; l++) a[l] = 0.999f, b[l] = 1e-3f;
    EACH(BEGIN)
    double best = 0.0, until = now() + seconds;
    enum { STEPS = 1 << 20, CHAINS = 12 };
    while (now() < until) {
        double begin = now();
        for (int i = 0; i < STEPS; i++) { EACH(STEP) }
        double rate = 2.0 * STEPS * CHAINS * LANES / (now() - begin);
        if (rate > best) best = rate;
    }
    lanes all = EACH(TOTAL);
    sink = all[0];
    return best * 1e-9;
}
