/* The loops of _word.h compiled once per instruction level, and the choice among them when the program runs.
 *
 * A level changes how fast a result comes, never a bit of it.
 */
#ifndef FASTCAP_LEVELS_H
#define FASTCAP_LEVELS_H

#include "_word.h"

struct fc_level {
    const char *name;
    void (*radius)(const fc_word *, size_t, double *restrict);
    void (*phase)(const fc_word *, size_t, double, double *restrict);
    void (*both)(const fc_word *, size_t, double, double *restrict, double *restrict);
    int (*calm)(const fc_word *, size_t, uint64_t);
    void (*i)(const fc_word *, size_t, int32_t *restrict);
    void (*q)(const fc_word *, size_t, int32_t *restrict);
    void (*m)(const fc_word *, size_t, int16_t *restrict);
    void (*sums)(const double *, size_t, double, struct fc_sums *);
};

#define FC_LEVEL(LEVEL, TARGET)                                                                               \
    TARGET static void fc_radius_##LEVEL(const fc_word *w, size_t n, double *restrict r)                      \
    { fc_radius_loop(w, n, r); }                                                                              \
    TARGET static void fc_phase_##LEVEL(const fc_word *w, size_t n, double rolled, double *restrict p)        \
    { fc_phase_loop(w, n, rolled, p); }                                                                       \
    TARGET static void fc_both_##LEVEL(const fc_word *w, size_t n, double rolled, double *restrict p,         \
                                       double *restrict r)                                                    \
    { fc_both_loop(w, n, rolled, p, r); }                                                                     \
    TARGET static int fc_calm_##LEVEL(const fc_word *w, size_t n, uint64_t before)                            \
    { return fc_calm_loop(w, n, before); }                                                                    \
    TARGET static void fc_i_##LEVEL(const fc_word *w, size_t n, int32_t *restrict i) { fc_i_loop(w, n, i); }  \
    TARGET static void fc_q_##LEVEL(const fc_word *w, size_t n, int32_t *restrict q) { fc_q_loop(w, n, q); }  \
    TARGET static void fc_m_##LEVEL(const fc_word *w, size_t n, int16_t *restrict m) { fc_m_loop(w, n, m); }  \
    TARGET static void fc_sums_##LEVEL(const double *x, size_t n, double center, struct fc_sums *s)           \
    { fc_sums_loop(x, n, center, s); }

#define FC_ENTRY(LEVEL, NAME)                                                                                 \
    { NAME, fc_radius_##LEVEL, fc_phase_##LEVEL, fc_both_##LEVEL, fc_calm_##LEVEL, fc_i_##LEVEL,              \
      fc_q_##LEVEL, fc_m_##LEVEL, fc_sums_##LEVEL }

#if defined(__x86_64__)
FC_LEVEL(baseline, )
FC_LEVEL(v3, __attribute__((target("avx2"))))
FC_LEVEL(v4, __attribute__((target("avx2,avx512f,avx512bw,avx512dq,avx512vl"))))
static const struct fc_level fc_all_levels[] = {
    FC_ENTRY(baseline, "x86-64"),
    FC_ENTRY(v3, "x86-64-v3"),
    FC_ENTRY(v4, "x86-64-v4"),
};
#elif defined(__aarch64__)
FC_LEVEL(baseline, )
static const struct fc_level fc_all_levels[] = {FC_ENTRY(baseline, "arm64")}; /* NEON is part of it */
#else
FC_LEVEL(baseline, )
static const struct fc_level fc_all_levels[] = {FC_ENTRY(baseline, "baseline")};
#endif

/* How many of fc_all_levels, from the first on, this processor and its kernel have. */
static int fc_count_levels(void)
{
#if defined(__x86_64__)
    __builtin_cpu_init();
    if (!__builtin_cpu_supports("avx2"))
        return 1;
    int v4 = __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
             __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl");
    return v4 ? 3 : 2;
#else
    return 1;
#endif
}

#endif
