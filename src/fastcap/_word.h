/* The arithmetic of data words, one word at a time and in loops that a compiler turns into vectors.
 *
 *     63        48 47        24 23         0
 *     M, int16    I, int24     Q, int24          little-endian
 *
 * A result depends on its word and the rollovers before it alone, to the last bit: not on where a loop begins,
 * on the width of vectors or on the processor. So every step is an operation that IEEE 754 rounds correctly,
 * none is fused with another (compile with -ffp-contract=off), and no sum is taken in an order of the
 * compiler's. A loop has no branch and calls nothing, or it would not become vectors.
 */
#ifndef FASTCAP_WORD_H
#define FASTCAP_WORD_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are little-endian, and are read as they are"
#endif
#if defined(__FAST_MATH__)
#error "no -ffast-math: results must be the same everywhere"
#endif

#define FC_BODY static inline __attribute__((always_inline))
#define FC_CHUNK 512                  /* words that a loop takes at most: all it touches stays in the first cache */
#define FC_M_RANGE 65536.0            /* turns */
#define FC_LANES 16                   /* independent sums; the order of additions is part of the result */

typedef uint64_t fc_word __attribute__((aligned(1), may_alias)); /* a mapped file's words may lie at odd addresses */

/* ---- fields ---------------------------------------------------------------------------------- */

FC_BODY int32_t fc_i(uint64_t word) { return (int32_t)(uint32_t)(word >> 16) >> 8; }
FC_BODY int32_t fc_q(uint64_t word) { return (int32_t)((uint32_t)word << 8) >> 8; }
FC_BODY int16_t fc_m(uint64_t word) { return (int16_t)(word >> 48); }

/* A field of two's complement as a double, without a conversion, which 64-bit lanes lack before AVX-512:
 * its sign bit flipped, it is an unsigned number, and behind the exponent of 2^52 that number's bits are a
 * double's last. */
FC_BODY double fc_signed(uint64_t field, uint64_t sign_bit)
{
    uint64_t bits = field ^ (0x4330000000000000ULL | sign_bit);
    double value;
    memcpy(&value, &bits, sizeof value);
    return value - (4503599627370496.0 + (double)sign_bit);
}

FC_BODY double fc_i_value(uint64_t word) { return fc_signed(word >> 24 & 0xFFFFFF, 0x800000); }
FC_BODY double fc_q_value(uint64_t word) { return fc_signed(word & 0xFFFFFF, 0x800000); }
FC_BODY double fc_m_value(uint64_t word) { return fc_signed(word >> 48, 0x8000); }

/* ---- angle ----------------------------------------------------------------------------------- */

#define FC_SIGN 0x8000000000000000ULL

FC_BODY uint64_t fc_bits(double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    return bits;
}

FC_BODY double fc_value(uint64_t bits)
{
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

/* All bits where x > y, else none. A choice between doubles: with SSE2, gcc makes no vectors of others. */
FC_BODY uint64_t fc_greater(double x, double y) { return fc_bits(x > y ? fc_value(~0ULL) : 0.0); }

/* The angle of (i, q) taken apart: -atan2(i, q)/2pi = eighths - atan(tangent)/2pi, for whole i and q below 2^52.
 *
 * With a <= b the smaller and the greater of |i| and |q|, the angle of (a, b) is atan(a/b), or beyond a
 * sixteenth of a turn an eighth + atan((a-b)/(a+b)). Sums and differences are exact, so the tangent is rounded
 * once; mirrored by exact eighths, the angle is that of (i, q). That of (0, 0) is 0.
 * Selections are by masks: as branches they would keep gcc from making vectors, or double the division. */
struct fc_angle {
    double tangent, eighths;
};

FC_BODY struct fc_angle fc_angle_of(double i, double q)
{
    double ai = __builtin_fabs(i), aq = __builtin_fabs(q);
    double a = ai < aq ? ai : aq, b = ai < aq ? aq : ai;
    uint64_t mid = fc_greater(a, 0.41421356237309503 * b), steep = fc_bits(aq - ai) & FC_SIGN;
    double over = a - fc_value(fc_bits(b) & mid), under = b + fc_value(fc_bits(a) & mid);
    double tangent = over / (under + 0x1p-1000); /* 0/0 would be NaN; no other sum is changed by so little */
    /* a quarter less the eighths of (a, b) or its mirror image, then mirrored by the signs of q and i */
    double rest = 0.125 + fc_value((fc_bits(0.125) | steep) & ~mid);
    double eighths = 0.25 - fc_value(fc_bits(rest) | (fc_bits(q) & FC_SIGN));
    struct fc_angle angle = {
        fc_value(fc_bits(tangent) ^ steep ^ ((fc_bits(i) ^ fc_bits(q)) & FC_SIGN)),
        fc_value(fc_bits(eighths) ^ (~fc_bits(i) & FC_SIGN)),
    };
    return angle;
}

/* atan(t)/2pi for |t| <= tan(pi/8): t times the polynomial in t^2 whose greatest relative error is least
 * (Remez; 3.4e-17). Taken in pairs of terms, so that few steps wait for each other; the greatest term comes last,
 * so that its rounding is nearly all there is. */
FC_BODY double fc_atan(double t)
{
    double u = t * t, v = u * u, w = v * v;
    double c12 = -0x1.b2995e7b7b1cap-5 + u * 0x1.04c26be3723a8p-5;
    double c34 = -0x1.74837561b3d3cp-6 + u * 0x1.21bb8c0f26992p-6;
    double c56 = -0x1.da19e31c79f1ep-7 + u * 0x1.910c0bb778fbcp-7;
    double c78 = -0x1.5a4ffe072b41ep-7 + u * 0x1.28b75006391a7p-7;
    double c9a = -0x1.c5d5d6bd4fe61p-8 + u * 0x1.b9a34619dd80ap-9;
    double rest = (c12 + v * c34) + w * ((c56 + v * c78) + w * c9a);
    return t * (0x1.45f306dc9c882p-3 + u * rest);
}

FC_BODY double fc_radius(double i, double q) { return __builtin_sqrt(i * i + q * q); }

/* ---- loops over words ------------------------------------------------------------------------ */

FC_BODY void fc_radius_loop(const fc_word *words, size_t n, double *restrict radius)
{
    for (size_t k = 0; k < n; k++)
        radius[k] = fc_radius(fc_i_value(words[k]), fc_q_value(words[k]));
}

/* Phase in turns; `rolled`: 65536 for each rollover before these words. At most FC_CHUNK words.
 *
 * In two loops: in one, the steps that wait for each other are more than a processor looks ahead. What is
 * left when the tangents are done is exact, so the result is rounded once more, in the last addition. */
FC_BODY void fc_phase_loop(const fc_word *words, size_t n, double rolled, double *restrict phase)
{
    double tangents[FC_CHUNK];
    for (size_t k = 0; k < n; k++) {
        struct fc_angle angle = fc_angle_of(fc_i_value(words[k]), fc_q_value(words[k]));
        tangents[k] = angle.tangent;
        phase[k] = angle.eighths - (fc_m_value(words[k]) - rolled);
    }
    for (size_t k = 0; k < n; k++)
        phase[k] -= fc_atan(tangents[k]);
}

FC_BODY void fc_both_loop(const fc_word *words, size_t n, double rolled, double *restrict phase,
                          double *restrict radius)
{
    double tangents[FC_CHUNK];
    for (size_t k = 0; k < n; k++) {
        double i = fc_i_value(words[k]), q = fc_q_value(words[k]);
        struct fc_angle angle = fc_angle_of(i, q);
        radius[k] = fc_radius(i, q);
        tangents[k] = angle.tangent;
        phase[k] = angle.eighths - (fc_m_value(words[k]) - rolled);
    }
    for (size_t k = 0; k < n; k++)
        phase[k] -= fc_atan(tangents[k]);
}

/* Whether M may roll over within `words` or just before, where it was that of `before`. It cannot where all
 * signs agree, or where M stays within +-2^14 (its top bits are equal): no step is then beyond 2^15. */
FC_BODY int fc_calm_loop(const fc_word *words, size_t n, uint64_t before)
{
    uint64_t any = before, all = before, far = before ^ before << 1;
    for (size_t k = 0; k < n; k++) {
        uint64_t word = words[k];
        any |= word;
        all &= word;
        far |= word ^ word << 1;
    }
    return !((any & ~all & far) >> 63);
}

FC_BODY void fc_i_loop(const fc_word *words, size_t n, int32_t *restrict i)
{
    for (size_t k = 0; k < n; k++)
        i[k] = fc_i(words[k]);
}

FC_BODY void fc_q_loop(const fc_word *words, size_t n, int32_t *restrict q)
{
    for (size_t k = 0; k < n; k++)
        q[k] = fc_q(words[k]);
}

FC_BODY void fc_m_loop(const fc_word *words, size_t n, int16_t *restrict m)
{
    for (size_t k = 0; k < n; k++)
        m[k] = fc_m(words[k]);
}

/* ---- loops over values ----------------------------------------------------------------------- */

/* Of values about a center. `min` and `max` are infinite of no values. */
struct fc_sums {
    double sum, squares, min, max;
};

struct fc_lanes {
    double sum[FC_LANES], squares[FC_LANES], min[FC_LANES], max[FC_LANES];
};

FC_BODY void fc_lanes_add(struct fc_lanes *lanes, const double *values, double center, int n)
{
    for (int j = 0; j < n; j++) {
        double x = values[j], off = x - center;
        lanes->sum[j] += off;
        lanes->squares[j] += off * off;
        lanes->min[j] = x < lanes->min[j] ? x : lanes->min[j];
        lanes->max[j] = x > lanes->max[j] ? x : lanes->max[j];
    }
}

FC_BODY double fc_add_lanes(double *lanes)
{
    for (int half = FC_LANES / 2; half; half /= 2)
        for (int j = 0; j < half; j++)
            lanes[j] += lanes[j + half];
    return lanes[0];
}

/* Value k goes to lane k modulo FC_LANES, and the lanes are added in pairs. */
FC_BODY void fc_sums_loop(const double *values, size_t n, double center, struct fc_sums *sums)
{
    struct fc_lanes lanes;
    memset(&lanes, 0, sizeof lanes);
    for (int j = 0; j < FC_LANES; j++) {
        lanes.min[j] = __builtin_inf();
        lanes.max[j] = -__builtin_inf();
    }
    size_t whole = n - n % FC_LANES;
    for (size_t k = 0; k < whole; k += FC_LANES)
        fc_lanes_add(&lanes, values + k, center, FC_LANES);
    fc_lanes_add(&lanes, values + whole, center, (int)(n - whole));
    sums->sum = fc_add_lanes(lanes.sum);
    sums->squares = fc_add_lanes(lanes.squares);
    sums->min = lanes.min[0];
    sums->max = lanes.max[0];
    for (int j = 1; j < FC_LANES; j++) {
        sums->min = lanes.min[j] < sums->min ? lanes.min[j] : sums->min;
        sums->max = lanes.max[j] > sums->max ? lanes.max[j] : sums->max;
    }
}

#endif
