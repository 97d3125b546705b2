/* Central moments up to the sixth, of a block in two passes, and their merging; counting into bins.
 *
 * Sums run in eight lanes that are added in one order, whatever the instruction set: the same bits on every
 * machine. Mean and moments are unevaluated sums of two doubles, so that merging a million blocks costs no digit.
 */
#ifndef FASTCAP_MOMENTS_H
#define FASTCAP_MOMENTS_H

#include <math.h>
#include <stddef.h>
#include <stdint.h>

#if defined(__x86_64__) && defined(__GLIBC__) && defined(__GNUC__) && !defined(__SANITIZE_THREAD__)
#define FC_CLONES __attribute__((target_clones("default", "arch=x86-64-v3", "arch=x86-64-v4")))
#else
#define FC_CLONES
#endif

#define FC_ORDER 6     /* highest moment */
#define FC_PIECE 8192  /* doubles that stay in the caches for the second pass */

/* Two quads a step: eight lanes. Wider vectors than the widest of AVX2 are taken apart badly. */
typedef double fc_quad __attribute__((vector_size(32), aligned(8)));
typedef int32_t fc_ints __attribute__((vector_size(16), aligned(4)));
typedef int64_t fc_mask __attribute__((vector_size(32), aligned(8)));
#define FC_LANES 8

typedef struct {
    double high, low;
} fc_pair;

typedef struct {
    double count;
    double least, greatest;
    fc_pair mean;
    fc_pair m[FC_ORDER + 1]; /* m[p]: sum of the p-th powers of deviations from the mean; 0 and 1 unused */
} fc_moments;

/* Knuth's two-sum: a + b rounded, and what the rounding left out. */
static inline fc_pair fc_two_sum(double a, double b) {
    double total = a + b;
    double part = total - a;
    return (fc_pair){total, (a - (total - part)) + (b - part)};
}

static inline fc_pair fc_add(fc_pair a, fc_pair b) {
    fc_pair s = fc_two_sum(a.high, b.high);
    return fc_two_sum(s.high, s.low + (a.low + b.low));
}

static inline void fc_moments_clear(fc_moments *s) {
    *s = (fc_moments){.least = INFINITY, .greatest = -INFINITY};
}

static inline double fc_lane_sum(const fc_quad *a, const fc_quad *b) {
    const double *x = (const double *)a, *y = (const double *)b;
    return ((x[0] + y[0]) + (x[2] + y[2])) + ((x[1] + y[1]) + (x[3] + y[3]));
}

/* First pass: the mean, taken about the first value so that equal values give it exactly; the extremes. */
FC_CLONES static double fc_center(const double *x, size_t n, double *least, double *greatest) {
    const double first = x[0];
    fc_quad sum_a = {0}, sum_b = {0}, low = sum_a + first, high = low;
    size_t k = 0;
    for (; k + FC_LANES <= n; k += FC_LANES) {
        fc_quad a = *(const fc_quad *)(x + k), b = *(const fc_quad *)(x + k + 4);
        sum_a += a - first;
        sum_b += b - first;
        fc_mask swap = a > b;
        fc_quad less = (fc_quad)(((fc_mask)b & swap) | ((fc_mask)a & ~swap));
        fc_quad more = (fc_quad)(((fc_mask)a & swap) | ((fc_mask)b & ~swap));
        fc_mask lower = less < low, higher = more > high;
        low = (fc_quad)(((fc_mask)less & lower) | ((fc_mask)low & ~lower));
        high = (fc_quad)(((fc_mask)more & higher) | ((fc_mask)high & ~higher));
    }
    double total = fc_lane_sum(&sum_a, &sum_b);
    *least = low[0];
    *greatest = high[0];
    for (int lane = 1; lane < 4; lane++) {
        *least = low[lane] < *least ? low[lane] : *least;
        *greatest = high[lane] > *greatest ? high[lane] : *greatest;
    }
    for (; k < n; k++) {
        total += x[k] - first;
        *least = x[k] < *least ? x[k] : *least;
        *greatest = x[k] > *greatest ? x[k] : *greatest;
    }
    return first + total / (double)n;
}

/* Second pass: sums of the powers of deviations from `center`; s[0] is unused. */
FC_CLONES static void fc_power_sums(const double *x, size_t n, double center, double *s) {
    fc_quad a[FC_ORDER + 1] = {{0}}, b[FC_ORDER + 1] = {{0}};
    size_t k = 0;
    for (; k + FC_LANES <= n; k += FC_LANES) {
        fc_quad d = *(const fc_quad *)(x + k) - center, d2 = d * d, d3 = d2 * d;
        a[1] += d;
        a[2] += d2;
        a[3] += d3;
        a[4] += d2 * d2;
        a[5] += d3 * d2;
        a[6] += d3 * d3;
        fc_quad e = *(const fc_quad *)(x + k + 4) - center, e2 = e * e, e3 = e2 * e;
        b[1] += e;
        b[2] += e2;
        b[3] += e3;
        b[4] += e2 * e2;
        b[5] += e3 * e2;
        b[6] += e3 * e3;
    }
    for (int p = 1; p <= FC_ORDER; p++) s[p] = fc_lane_sum(&a[p], &b[p]);
    for (; k < n; k++) {
        double d = x[k] - center, power = 1.0;
        for (int p = 1; p <= FC_ORDER; p++) s[p] += power *= d;
    }
}

static const double FC_BINOMIAL[FC_ORDER + 1][FC_ORDER + 1] = {
    {1}, {1, 1}, {1, 2, 1}, {1, 3, 3, 1}, {1, 4, 6, 4, 1}, {1, 5, 10, 10, 5, 1}, {1, 6, 15, 20, 15, 6, 1},
};

/* The moments of at least one value, at most FC_PIECE. */
static inline void fc_moments_of(const double *x, size_t n, fc_moments *out) {
    double s[FC_ORDER + 1];
    double center = fc_center(x, n, &out->least, &out->greatest);
    fc_power_sums(x, n, center, s);
    s[0] = (double)n;
    double rest = s[1] / (double)n; /* what rounding the center left: moved to the true mean below */
    out->count = (double)n;
    out->mean = fc_two_sum(center, rest);
    for (int p = 2; p <= FC_ORDER; p++) {
        double moved = 0.0, power = 1.0;
        for (int k = 0; k <= p; k++, power *= -rest) moved += FC_BINOMIAL[p][k] * power * s[p - k];
        out->m[p] = (fc_pair){p % 2 == 0 && moved < 0.0 ? 0.0 : moved, 0.0};
    }
}

/* Take `b` into `a`: Pébay, "Formulas for robust, one-pass parallel computation of covariances and arbitrary-order
 * statistical moments" (SAND2008-6212), eq. 2.1. */
static inline void fc_moments_merge(fc_moments *a, const fc_moments *b) {
    if (b->count == 0.0) return;
    if (a->count == 0.0) {
        *a = *b;
        return;
    }
    double n = a->count + b->count;
    fc_pair apart = fc_add(b->mean, (fc_pair){-a->mean.high, -a->mean.low});
    double delta = apart.high + apart.low;
    double to_a = -delta * (b->count / n), to_b = delta * (a->count / n); /* from the common mean */
    for (int p = FC_ORDER; p >= 2; p--) {
        fc_pair sum = fc_add(a->m[p], b->m[p]);
        double power_a = 1.0, power_b = 1.0;
        for (int k = 1; k <= p - 2; k++) {
            power_a *= to_a;
            power_b *= to_b;
            double of_a = power_a * a->m[p - k].high, of_b = power_b * b->m[p - k].high;
            sum = fc_add(sum, (fc_pair){FC_BINOMIAL[p][k] * of_a, FC_BINOMIAL[p][k] * of_b});
        }
        double all_a = a->count, all_b = b->count;
        for (int k = 0; k < p; k++) {
            all_a *= to_a;
            all_b *= to_b;
        }
        a->m[p] = fc_add(sum, (fc_pair){all_a, all_b});
    }
    a->mean = fc_add(a->mean, (fc_pair){-to_a, 0.0});
    a->count = n;
    a->least = b->least < a->least ? b->least : a->least;
    a->greatest = b->greatest > a->greatest ? b->greatest : a->greatest;
}

static inline void fc_moments_update(fc_moments *s, const double *x, size_t n) {
    for (size_t at = 0; at < n; at += FC_PIECE) {
        fc_moments piece;
        fc_moments_of(x + at, n - at < FC_PIECE ? n - at : FC_PIECE, &piece);
        fc_moments_merge(s, &piece);
    }
}

/* I and Q of words as doubles. */
FC_CLONES static void fc_i_doubles(const uint64_t *words, size_t n, double *out) {
    for (size_t k = 0; k < n; k++) out[k] = (double)((int32_t)(uint32_t)(words[k] >> 16) >> 8);
}

FC_CLONES static void fc_q_doubles(const uint64_t *words, size_t n, double *out) {
    for (size_t k = 0; k < n; k++) out[k] = (double)((int32_t)(uint32_t)(words[k] << 8) >> 8);
}

#define FC_BATCH 64

#define FC_ROUND 0x1.8p52 /* added and taken away again it leaves a whole number, of values below 2^51 */

/* The bins of four values, `size` for those that are in none. */
static inline __attribute__((always_inline)) void fc_bins(const double *x, double per_width, double first, double size,
                                                          int32_t *out) {
    const fc_quad zero = {0}, one = zero + 1.0, none = zero + size;
    fc_quad scaled = *(const fc_quad *)x * per_width, whole = (scaled + FC_ROUND) - FC_ROUND;
    whole -= (fc_quad)((fc_mask)(whole > scaled) & (fc_mask)one); /* rounded down: a floor */
    fc_quad bin = whole - first;
    fc_mask in = (bin >= zero) & (bin < none);
    bin = (fc_quad)(((fc_mask)bin & in) | ((fc_mask)none & ~in));
    *(fc_ints *)out = __builtin_convertvector(bin, fc_ints);
}

/* Count values into `size` bins: bin k holds first + k <= x * per_width < first + k + 1. bins[size] counts those
 * that are in none, and what is no number. */
FC_CLONES static void fc_count(const double *x, size_t n, double per_width, double first, int64_t *bins,
                               size_t size) {
    int32_t bin[FC_BATCH];
    size_t at = 0;
    for (; at + FC_BATCH <= n; at += FC_BATCH) {
        for (size_t j = 0; j < FC_BATCH; j += 4) fc_bins(x + at + j, per_width, first, (double)size, bin + j);
        for (size_t j = 0; j < FC_BATCH; j++) bins[bin[j]]++;
    }
    for (; at < n; at += 4) {
        double last[4] = {NAN, NAN, NAN, NAN};
        size_t m = n - at < 4 ? n - at : 4;
        for (size_t j = 0; j < m; j++) last[j] = x[at + j];
        fc_bins(last, per_width, first, (double)size, bin);
        for (size_t j = 0; j < m; j++) bins[bin[j]]++;
    }
}

/* Count I (`down` 24) or Q (`down` 0) of words into `size` bins of 2^shift counts, as fc_count() does. */
FC_CLONES static void fc_count_field(const uint64_t *words, size_t n, int down, int shift, int32_t first,
                                     int64_t *bins, size_t size) {
    const uint32_t none = (uint32_t)size;
    uint32_t bin[FC_BATCH];
    for (size_t at = 0; at < n; at += FC_BATCH) {
        size_t m = n - at < FC_BATCH ? n - at : FC_BATCH;
        for (size_t j = 0; j < m; j++) {
            uint32_t b = (uint32_t)(((int32_t)(uint32_t)((words[at + j] << 8) >> down) >> (8 + shift)) - first);
            bin[j] = b < none ? b : none;
        }
        for (size_t j = 0; j < m; j++) bins[bin[j]]++;
    }
}

#endif
