/* Which instruction set runs: one question, answered once per process.
 *
 * A kernel X declares a struct of function pointers `ll_X_api` and `LL_API(X)` in X.h; X.c fills
 * `const ll_X_api LL_FN(ll_X_api)` and is compiled once per instruction set. `ll_X()` gives the one to use. */
#ifndef LL_ISA_H
#define LL_ISA_H

#include <stdlib.h>
#include <string.h>

#ifndef LL_ISA
#define LL_ISA baseline
#endif

#define LL_CAT_(a, b) a##__##b
#define LL_CAT(a, b) LL_CAT_(a, b)
#define LL_FN(name) LL_CAT(name, LL_ISA)

enum { LL_BASELINE = 0, LL_AVX2 = 1, LL_AVX512 = 2 };

/* The best this processor has. */
static inline int ll_isa_best(void) {
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (__builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512dq") &&
        __builtin_cpu_supports("avx512vl") && __builtin_cpu_supports("avx512cd") && __builtin_cpu_supports("avx2"))
        return LL_AVX512;
    if (__builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && __builtin_cpu_supports("bmi2")) return LL_AVX2;
#endif
    return LL_BASELINE;
}

/* The one in use: LIFELINE_ISA forces it, never beyond what the processor has (lifeline_core/__init__ refuses that aloud). */
static inline int ll_isa(void) {
    static int chosen = -1;
    if (chosen < 0) {
        const char *want = getenv("LIFELINE_ISA");
        int best = ll_isa_best(), pick = best;
        if (want && !strcmp(want, "baseline")) pick = LL_BASELINE;
        if (want && !strcmp(want, "avx2")) pick = LL_AVX2;
        if (want && !strcmp(want, "avx512")) pick = LL_AVX512;
        chosen = pick < best ? pick : best;
    }
    return chosen;
}

#if defined(__x86_64__)
#define LL_API(stem)                                                                                                    \
    extern const ll_##stem##_api ll_##stem##_api__baseline, ll_##stem##_api__avx2, ll_##stem##_api__avx512;              \
    static inline const ll_##stem##_api *ll_##stem(void) {                                                              \
        int isa = ll_isa();                                                                                             \
        return isa == LL_AVX512 ? &ll_##stem##_api__avx512 : isa == LL_AVX2 ? &ll_##stem##_api__avx2 : &ll_##stem##_api__baseline; \
    }
#else
#define LL_API(stem)                                                                                                    \
    extern const ll_##stem##_api ll_##stem##_api__baseline;                                                             \
    static inline const ll_##stem##_api *ll_##stem(void) { return &ll_##stem##_api__baseline; }
#endif

#endif
