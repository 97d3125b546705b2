/* Where words begin in a stream of bytes: the test of one run. See `fastcap.slips` for what it rests on.
 *
 * A run is FC_RUN words and the one before and behind them, so that a word may begin at any of eight bytes. For
 * each such beginning the words are counted that break what holds for words of the board:
 *
 *   - a field's byte changes only if the one below it does (else they are not of one field);
 *   - M does not change its pace by more than FC_PACE turns from word to word;
 *   - M does not move by more than FC_STEP turns while I or Q stands still.
 *
 * All in 64-bit integers without a branch, so that compilers make vectors of it.
 */
#ifndef FASTCAP_ALIGN_H
#define FASTCAP_ALIGN_H

#include <stdint.h>
#include <string.h>

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "words are little-endian, and are read as they are"
#endif

#define FC_RUN 256                          /* words judged together */
#define FC_RUN_BYTES ((FC_RUN + 2) * 8)
#define FC_UNKNOWN (-1)
#define FC_PACE 1024                        /* turns per word, per word */
#define FC_STEP 2                           /* turns per word */
#define FC_KEEPS (FC_RUN / 32)              /* most breaches of words that begin here */
#define FC_BREAKS (FC_RUN / 8)              /* least breaches of words that do not */
#define FC_LIVELY (FC_RUN / 2)              /* least changes of the lowest bytes of I and Q */
#define FC_VALUES 32                        /* least different values of each of them */

#define FC_TOPS 0x8080808080808080ULL
#define FC_ABOVE 0x8000808000808000ULL      /* bytes that have one below them in their field */
#define FC_Q_TOPS 0x0000000000808080ULL
#define FC_I_TOPS 0x0000808080000000ULL

static inline uint64_t fc_word_at(const uint8_t *bytes)
{
    uint64_t word;
    memcpy(&word, bytes, 8);
    return word;
}

/* The top bit of each byte of `x` that is not 0. */
static inline uint64_t fc_not_zero(uint64_t x) { return (((x & ~FC_TOPS) + ~FC_TOPS) | x) & FC_TOPS; }

/* 1 if the 16-bit number `step`, of two's complement, is beyond +-`most`, else 0. */
static inline uint64_t fc_beyond(uint64_t step, uint64_t most)
{
    return (2 * most - ((step + most) & 0xFFFF)) >> 63;
}

/* Whether the word `now` breaks with the two before it: 1 or 0. */
static inline uint64_t fc_breach(uint64_t before, uint64_t last, uint64_t now)
{
    uint64_t changed = fc_not_zero(now ^ last);
    uint64_t torn = changed & ~(changed << 8) & FC_ABOVE;
    uint64_t step = (now >> 48) - (last >> 48), step_before = (last >> 48) - (before >> 48);
    uint64_t q_stands = ((changed & FC_Q_TOPS) - 1) >> 63, i_stands = ((changed & FC_I_TOPS) - 1) >> 63;
    uint64_t jumps = fc_beyond(step - step_before, FC_PACE);
    return ((0 - torn) >> 63) | jumps | (fc_beyond(step, FC_STEP) & (q_stands | i_stands));
}

static inline int fc_breaches(const uint8_t *bytes)
{
    uint64_t found = 0;
    for (int k = 2; k <= FC_RUN; k++)
        found += fc_breach(fc_word_at(bytes + 8 * k - 16), fc_word_at(bytes + 8 * k - 8), fc_word_at(bytes + 8 * k));
    return (int)found;
}

/* Whether every eighth byte changes like the lowest of a number that is measured: often, and to many values. */
static inline int fc_lively(const uint8_t *bytes)
{
    uint64_t seen[4] = {0, 0, 0, 0};
    int changes = 0, values = 0;
    for (int k = 1; k <= FC_RUN; k++) {
        uint8_t value = bytes[8 * k];
        changes += value != bytes[8 * k - 8];
        seen[value >> 6] |= 1ULL << (value & 63);
    }
    for (int k = 0; k < 4; k++)
        values += __builtin_popcountll(seen[k]);
    return changes >= FC_LIVELY && values >= FC_VALUES;
}

/* Return at which byte, 0 to 7, words begin; FC_UNKNOWN unless that one alone is possible, and clearly so.
 * `bytes` has FC_RUN_BYTES of them. */
static inline int fc_alignment(const uint8_t *bytes)
{
    int found = FC_UNKNOWN;
    for (int p = 0; p < 8; p++) {
        int breaches = fc_breaches(bytes + p);
        if (breaches >= FC_BREAKS)
            continue;
        if (found != FC_UNKNOWN || breaches > FC_KEEPS)
            return FC_UNKNOWN;
        found = p;
    }
    if (found == FC_UNKNOWN || !fc_lively(bytes + found) || !fc_lively(bytes + found + 3))
        return FC_UNKNOWN;
    return found;
}

/* ---- the place of a change ------------------------------------------------------------------- */

/* Greatest steps of Q, I and M, taken from words that are known to be in their place. */
struct fc_steps {
    uint32_t q, i, m;
};

static inline uint32_t fc_step24(uint32_t now, uint32_t last)
{
    int32_t step = (int32_t)((now - last) << 8) >> 8;
    return (uint32_t)(step < 0 ? -step : step);
}

static inline uint32_t fc_step_m(uint64_t now, uint64_t last)
{
    int16_t step = (int16_t)(uint16_t)((now >> 48) - (last >> 48));
    return (uint32_t)(step < 0 ? -(int32_t)step : step);
}

static inline void fc_steps_add(struct fc_steps *most, const uint8_t *bytes, uint64_t words)
{
    for (uint64_t k = 1; k < words; k++) {
        uint64_t last = fc_word_at(bytes + 8 * k - 8), now = fc_word_at(bytes + 8 * k);
        uint32_t q = fc_step24((uint32_t)now, (uint32_t)last);
        uint32_t i = fc_step24((uint32_t)(now >> 24), (uint32_t)(last >> 24)), m = fc_step_m(now, last);
        most->q = q > most->q ? q : most->q;
        most->i = i > most->i ? i : most->i;
        most->m = m > most->m ? m : most->m;
    }
}

/* Whether the word at `bytes` does not go on from the one before it: 1 or 0. */
static inline int fc_apart(const uint8_t *bytes, const struct fc_steps *most)
{
    uint64_t last = fc_word_at(bytes - 8), now = fc_word_at(bytes);
    uint64_t changed = fc_not_zero(now ^ last);
    if (changed & ~(changed << 8) & FC_ABOVE)
        return 1;
    return fc_step24((uint32_t)now, (uint32_t)last) > 2 * most->q ||
           fc_step24((uint32_t)(now >> 24), (uint32_t)(last >> 24)) > 2 * most->i ||
           fc_step_m(now, last) > 2 * most->m + FC_STEP;
}

struct fc_place {
    uint64_t low, word, high;
};

#define FC_DOUBT 2 /* a place that breaks so many words more than the best may be the right one */

/* A search for the w at which fewest words break: old ones below it, later ones from it on. */
struct fc_search {
    const uint8_t *old, *later; /* word 0 of either alignment */
    int narrow;                 /* by steps, in a stretch so short that they are alike; else by the rules */
    struct fc_steps most;
};

/* How many more words break if the border moves from w to w + 1. */
static inline int fc_more(const struct fc_search *s, uint64_t w)
{
    const uint8_t *old = s->old + 8 * w, *later = s->later + 8 * (w + 1);
    if (s->narrow)
        return fc_apart(old, &s->most) - fc_apart(later, &s->most);
    return (int)fc_breach(fc_word_at(old - 16), fc_word_at(old - 8), fc_word_at(old)) -
           (int)fc_breach(fc_word_at(later - 8), fc_word_at(later), fc_word_at(later + 8));
}

/* Search from w = `begin` to `end`. Of equal places the last is best: M, which tells most, is a word's end. */
static inline struct fc_place fc_search_in(const struct fc_search *s, uint64_t begin, uint64_t end)
{
    struct fc_place place = {begin, begin, begin};
    int64_t cost = 0, least = 0; /* of w, less that of `begin` */
    for (uint64_t w = begin; w < end; w++) {
        cost += fc_more(s, w);
        if (cost <= least) {
            least = cost;
            place.word = w + 1;
        }
    }
    cost = 0;
    place.low = cost <= least + FC_DOUBT ? begin : end;
    place.high = begin;
    for (uint64_t w = begin; w < end; w++) {
        cost += fc_more(s, w);
        if (cost <= least + FC_DOUBT) {
            place.low = w + 1 < place.low ? w + 1 : place.low;
            place.high = w + 1;
        }
    }
    return place;
}

/* Find how many whole words stand before a slip: those that begin at byte `old` of each eight before it, at byte
 * `later` (old < later < old + 8, counted on) behind, one word being lost between them.
 *
 * At `bytes` are `words` plain words and 16 bytes more; the first FC_RUN of them are of the old alignment, the last
 * FC_RUN of the new one. First by the rules, then, if that leaves few places, by what steps are usual there. */
static inline struct fc_place fc_place_of(const uint8_t *bytes, uint64_t words, int old, int later)
{
    struct fc_search search = {bytes + old, bytes + later, 0, {0, 0, 0}};
    struct fc_place place = fc_search_in(&search, 2, words - 2);
    uint64_t low = place.low, high = place.high;
    if (high - low > FC_RUN || low < FC_RUN || high + FC_RUN > words)
        return place;
    search.narrow = 1;
    fc_steps_add(&search.most, search.old + 8 * (low - FC_RUN), FC_RUN - 2);
    fc_steps_add(&search.most, search.later + 8 * (high + 2), words - high - 2 < FC_RUN ? words - high - 2 : FC_RUN);
    return fc_search_in(&search, low, high);
}

#endif
