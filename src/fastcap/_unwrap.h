/* Whole arrays: M's rollovers carried from chunk to chunk, and the same work shared among threads. */
#ifndef FASTCAP_UNWRAP_H
#define FASTCAP_UNWRAP_H

#include <pthread.h>
#include <signal.h>

#include "_levels.h"

#define FC_ROLLOVER 0x8000 /* a step of M beyond half its range is a rollover: the other way round is shorter */
#define FC_NO_M 65536      /* last_m before a file's first word */

struct fc_carry {
    int64_t wraps;
    int32_t last_m;
};

/* Take the first words that have one number of rollovers; return how many, at least one of n > 0. */
static size_t fc_take_run(const fc_word *words, size_t n, struct fc_carry *carry)
{
    int32_t m = fc_m(words[0]), step = carry->last_m == FC_NO_M ? 0 : m - carry->last_m;
    carry->wraps += (step > FC_ROLLOVER) - (step < -FC_ROLLOVER);
    size_t k = 1;
    for (; k < n; k++) {
        int32_t next = fc_m(words[k]);
        if (next - m > FC_ROLLOVER || next - m < -FC_ROLLOVER)
            break;
        m = next;
    }
    carry->last_m = m;
    return k;
}

static int fc_is_calm(const struct fc_level *level, const fc_word *words, size_t n, const struct fc_carry *carry)
{
    uint64_t before = carry->last_m == FC_NO_M ? words[0] : (uint64_t)(uint16_t)carry->last_m << 48;
    return level->calm(words, n, before);
}

static void fc_decode_run(const struct fc_level *level, const fc_word *words, size_t n, int64_t wraps,
                          double *phase, double *radius)
{
    double rolled = FC_M_RANGE * (double)wraps;
    if (radius)
        level->both(words, n, rolled, phase, radius);
    else if (phase)
        level->phase(words, n, rolled, phase);
}

/* Fill `phase` and `radius` of words with one number of rollovers, chunk by chunk. */
static void fc_decode_calm(const struct fc_level *level, const fc_word *words, size_t n, int64_t wraps,
                           double *phase, double *radius)
{
    for (size_t at = 0; at < n; at += FC_CHUNK)
        fc_decode_run(level, words + at, n - at < FC_CHUNK ? n - at : FC_CHUNK, wraps, phase + at,
                      radius ? radius + at : NULL);
}

/* Fill `phase` and `radius` and advance `carry`. Without either: advance alone. Radius alone leaves it. */
static void fc_decode(const struct fc_level *level, const fc_word *words, size_t n, struct fc_carry *carry,
                      double *phase, double *radius)
{
    if (radius && !phase) {
        level->radius(words, n, radius);
        return;
    }
    for (size_t at = 0; at < n;) {
        size_t end = n - at < FC_CHUNK ? n : at + FC_CHUNK;
        int calm = fc_is_calm(level, words + at, end - at, carry);
        while (at < end) {
            size_t run = end - at;
            if (calm)
                carry->last_m = fc_m(words[end - 1]);
            else
                run = fc_take_run(words + at, end - at, carry);
            fc_decode_run(level, words + at, run, carry->wraps, phase ? phase + at : NULL,
                          radius ? radius + at : NULL);
            at += run;
        }
    }
}

/* Fill `i`, `q` and `m`, each of which may be NULL; words come from memory once. */
static void fc_split(const struct fc_level *level, const fc_word *words, size_t n, int32_t *i, int32_t *q, int16_t *m)
{
    for (size_t at = 0; at < n; at += FC_CHUNK) {
        size_t some = n - at < FC_CHUNK ? n - at : FC_CHUNK;
        if (i)
            level->i(words + at, some, i + at);
        if (q)
            level->q(words + at, some, q + at);
        if (m)
            level->m(words + at, some, m + at);
    }
}

/* ---- threads --------------------------------------------------------------------------------- */

#define FC_SHARE 131072    /* words that a thread takes: with smaller ones they wait for one another at M */
#define FC_MOST_THREADS 64

/* `carry` and `at` are those before the next share; whoever holds `lock` writes them. */
struct fc_job {
    const struct fc_level *level;
    const fc_word *words;
    size_t n;
    double *phase, *radius;
    pthread_mutex_t lock;
    struct fc_carry carry;
    size_t at;
};

static void *fc_work(void *argument)
{
    struct fc_job *job = argument;
    for (;;) {
        pthread_mutex_lock(&job->lock);
        size_t at = job->at, n = job->n - at < FC_SHARE ? job->n - at : FC_SHARE;
        const fc_word *words = job->words + at;
        struct fc_carry carry = job->carry;
        int calm = job->phase && n && fc_is_calm(job->level, words, n, &carry);
        if (calm)
            job->carry.last_m = fc_m(words[n - 1]);
        else if (job->phase)
            fc_decode(job->level, words, n, &job->carry, NULL, NULL);
        job->at += n;
        pthread_mutex_unlock(&job->lock);
        if (!n)
            return NULL;
        double *phase = job->phase ? job->phase + at : NULL, *radius = job->radius ? job->radius + at : NULL;
        if (calm)
            fc_decode_calm(job->level, words, n, carry.wraps, phase, radius);
        else
            fc_decode(job->level, words, n, &carry, phase, radius);
    }
}

/* Let `work` do a job in up to `threads` threads, this one among them; in fewer where no more can be had. */
static void fc_run(void *(*work)(void *), void *job, int threads)
{
    pthread_t others[FC_MOST_THREADS];
    int started = 0;
    sigset_t all, before;
    if (threads > FC_MOST_THREADS)
        threads = FC_MOST_THREADS;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before); /* signals are the caller's threads' to take */
    while (started < threads - 1 && pthread_create(&others[started], NULL, work, job) == 0)
        started++;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    work(job);
    while (started)
        pthread_join(others[--started], NULL);
}

/* As fc_decode, by up to `threads` threads, this one among them. */
static void fc_decode_shared(const struct fc_level *level, const fc_word *words, size_t n, struct fc_carry *carry,
                             double *phase, double *radius, int threads)
{
    size_t shares = n / FC_SHARE;
    if ((size_t)threads > shares)
        threads = (int)shares;
    if (threads < 2) {
        fc_decode(level, words, n, carry, phase, radius);
        return;
    }
    struct fc_job job = {level, words, n, phase, radius, PTHREAD_MUTEX_INITIALIZER, *carry, 0};
    fc_run(fc_work, &job, threads);
    pthread_mutex_destroy(&job.lock);
    *carry = job.carry;
}

#endif
