/* Numbers too small to be normal (below 2.2e-308 as double, 1.2e-38 as float) take a slow path in many processors, and a
 * recursion that decays in silence stays among them for ever. Between ll_flush and ll_restore they count as 0, in this
 * thread only; the answer does not depend on where samples are cut. Do the arithmetic in a function that is not inlined,
 * so that the compiler cannot move it out of the bracket. */
#ifndef LL_DENORMALS_H
#define LL_DENORMALS_H

#include <stdint.h>

#if defined(__x86_64__)
#include <immintrin.h>
typedef unsigned ll_float_mode;
static inline ll_float_mode ll_flush(void) {
    ll_float_mode before = _mm_getcsr();
    _mm_setcsr(before | 0x8040u); /* results to 0, operands as 0 */
    return before;
}
static inline void ll_restore(ll_float_mode before) { _mm_setcsr(before); }
#elif defined(__aarch64__)
typedef uint64_t ll_float_mode;
static inline ll_float_mode ll_flush(void) {
    ll_float_mode before;
    __asm__ volatile("mrs %0, fpcr" : "=r"(before));
    __asm__ volatile("msr fpcr, %0" : : "r"(before | (UINT64_C(1) << 24)));
    return before;
}
static inline void ll_restore(ll_float_mode before) { __asm__ volatile("msr fpcr, %0" : : "r"(before)); }
#else
typedef int ll_float_mode;
static inline ll_float_mode ll_flush(void) { return 0; }
static inline void ll_restore(ll_float_mode before) { (void)before; }
#endif

#define LL_APART __attribute__((noinline))

#endif
