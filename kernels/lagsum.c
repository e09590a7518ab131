/* lagsum.h says what is summed.
 *
 * Samples of a turn are laid side by side by time: work[t n_ch + c]. Then y[t + k][c] for all k and c is one unbroken row that
 * begins at t n_ch, and the sum is a product of matrices that needs no copy of the lags:
 *
 *     out[d][q] += sum over t of work[t n_ch + q] work[t n_ch + d]        q = k n_ch + c
 *
 * A tile of 3 vectors of q by HIGH channels d stays in registers over the turn; work (24 KB for 16 channels and 59 lags) stays
 * in L1. Columns beyond (lags + 1) n_ch are sums of zeros and of what is there, and mean nothing. */
#include "lagsum.h"

#include "lanes.h"

enum { WIDE = LL_LAGSUM_TILE / LL_D > 3 ? 3 : LL_LAGSUM_TILE / LL_D, STEP = WIDE * LL_D };
#if defined(__AVX512VL__)
enum { HIGH = 8 }; /* 24 of 32 registers */
#else
enum { HIGH = 4 }; /* 12 of 16 */
#endif

/* One tile over m samples; high is a constant where this is inlined. */
LL_INLINE void tile(const double *work, size_t n_ch, size_t m, size_t q, size_t d, size_t high, double *out, size_t columns) {
    ll_vd sum[HIGH][WIDE];
    for (size_t i = 0; i < high; i++)
        for (int v = 0; v < WIDE; v++) sum[i][v] = ll_load(out, (d + i) * columns + q + v * LL_D, 1);
    for (size_t t = 0; t < m; t++) {
        const double *row = work + t * n_ch;
        ll_vd a[WIDE];
        for (int v = 0; v < WIDE; v++) a[v] = ll_load(row, q + v * LL_D, 1);
        for (size_t i = 0; i < high; i++) {
            ll_vd b = ll_all(row[d + i]);
            for (int v = 0; v < WIDE; v++) sum[i][v] = ll_fma(a[v], b, sum[i][v]);
        }
    }
    for (size_t i = 0; i < high; i++)
        for (int v = 0; v < WIDE; v++) ll_store(out, (d + i) * columns + q + v * LL_D, sum[i][v], 1);
}

static void band(const double *work, size_t n_ch, size_t m, size_t d, size_t high, double *out, size_t columns) {
    for (size_t q = 0; q < columns; q += STEP) switch (high) {
        case 1: tile(work, n_ch, m, q, d, 1, out, columns); break;
        case 2: tile(work, n_ch, m, q, d, 2, out, columns); break;
        case 3: tile(work, n_ch, m, q, d, 3, out, columns); break;
        case 4: tile(work, n_ch, m, q, d, 4, out, columns); break;
#if defined(__AVX512VL__)
        case 5: tile(work, n_ch, m, q, d, 5, out, columns); break;
        case 6: tile(work, n_ch, m, q, d, 6, out, columns); break;
        case 7: tile(work, n_ch, m, q, d, 7, out, columns); break;
        default: tile(work, n_ch, m, q, d, 8, out, columns); break;
#endif
        }
}

static int add(const double *x, size_t n_ch, size_t stride, const double *offset, size_t lags, size_t n, double *work, double *out) {
    if (n_ch == 0 || n == 0) return LL_EMPTY;
    const size_t columns = ll_lagsum_columns(n_ch, lags);
    memset(work + (LL_LAGSUM_TURN + lags) * n_ch, 0, LL_LAGSUM_TILE * sizeof(double));
    for (size_t begin = 0; begin < n; begin += LL_LAGSUM_TURN) {
        const size_t m = n - begin < LL_LAGSUM_TURN ? n - begin : LL_LAGSUM_TURN;
        for (size_t c = 0; c < n_ch; c++) {
            const double *row = x + c * stride + begin, off = offset[c];
            for (size_t t = 0; t < m + lags; t++) work[t * n_ch + c] = row[t] - off;
        }
        for (size_t t = (m + lags) * n_ch; t < (m + lags) * n_ch + LL_LAGSUM_TILE; t++) work[t] = 0.0;
        for (size_t d = 0; d < n_ch; d += HIGH) band(work, n_ch, m, d, n_ch - d < HIGH ? n_ch - d : HIGH, out, columns);
    }
    return LL_OK;
}

const ll_lagsum_api LL_FN(ll_lagsum_api) = {add};
