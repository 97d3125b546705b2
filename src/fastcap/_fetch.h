/* Words of a file, read into the cache of whoever decodes them, by several threads in turn.
 *
 * A mapping would spare the copy, but whoever touches a page that its file has lost, or that its disk cannot read,
 * is killed. read(2) says so instead, and copying into a buffer that stays in the cache costs about what it costs
 * to bring the words there at all.
 */
#ifndef FASTCAP_FETCH_H
#define FASTCAP_FETCH_H

#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

#include "_unwrap.h"

#define FC_PIECE 16384      /* words read at once */
#define FC_SHORT (-1)       /* in place of an errno: the file ends before them */

/* Words from byte `offset` on; `swapped`: their bytes lie the other way round. */
struct fc_file {
    int fd;
    int64_t offset;
    int swapped;
};

/* Read n words from word `at` on. 0, an errno, or FC_SHORT. */
static int fc_fetch(const struct fc_file *file, size_t at, size_t n, uint64_t *words)
{
    unsigned char *to = (unsigned char *)words;
    size_t left = n * sizeof *words;
    off_t from = file->offset + (off_t)(at * sizeof *words);
    while (left) {
        ssize_t got = pread(file->fd, to, left, from);
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0)
            return got ? errno : FC_SHORT;
        to += got;
        from += got;
        left -= (size_t)got;
    }
    for (size_t k = 0; file->swapped && k < n; k++)
        words[k] = __builtin_bswap64(words[k]);
    return 0;
}

static int64_t fc_now_ns(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return now.tv_sec * 1000000000LL + now.tv_nsec;
}

/* Pieces are given out in order, and each waits for the rollovers before it; whoever holds `lock` writes the rest.
 * After `until_ns` no more are given out, so that the caller can look at signals. */
struct fc_read_job {
    const struct fc_level *level;
    const struct fc_file *file;
    size_t n;
    double *phase, *radius;
    int64_t until_ns;
    pthread_mutex_t lock;
    pthread_cond_t advanced;
    struct fc_carry carry; /* before word `carried` */
    size_t given, carried;
    int failed; /* as fc_fetch returns it */
};

/* Wait until all words before `at` are in the carry, take those of the piece in, and say whether they are calm and
 * what came before. With the lock held. */
static int fc_carry_over(struct fc_read_job *job, const fc_word *words, size_t at, size_t n, struct fc_carry *before)
{
    while (job->carried != at && !job->failed)
        pthread_cond_wait(&job->advanced, &job->lock);
    *before = job->carry;
    int calm = fc_is_calm(job->level, words, n, before);
    if (calm)
        job->carry.last_m = fc_m(words[n - 1]);
    else
        fc_decode(job->level, words, n, &job->carry, NULL, NULL);
    job->carried = at + n;
    pthread_cond_broadcast(&job->advanced);
    return calm;
}

static void *fc_read_work(void *argument)
{
    struct fc_read_job *job = argument;
    uint64_t *words = malloc(FC_PIECE * sizeof *words);
    pthread_mutex_lock(&job->lock);
    if (words == NULL)
        job->failed = ENOMEM;
    while (!job->failed && job->given < job->n && (!job->given || fc_now_ns() < job->until_ns)) {
        size_t at = job->given, n = job->n - at < FC_PIECE ? job->n - at : FC_PIECE;
        struct fc_carry carry = {0, FC_NO_M};
        job->given += n;
        pthread_mutex_unlock(&job->lock);
        int failed = fc_fetch(job->file, at, n, words), calm = 0;
        pthread_mutex_lock(&job->lock);
        if (failed)
            job->failed = failed;
        else if (job->phase)
            calm = fc_carry_over(job, words, at, n, &carry);
        if (job->failed)
            break;
        pthread_mutex_unlock(&job->lock);
        double *phase = job->phase ? job->phase + at : NULL, *radius = job->radius ? job->radius + at : NULL;
        if (calm)
            fc_decode_calm(job->level, words, n, carry.wraps, phase, radius);
        else
            fc_decode(job->level, words, n, &carry, phase, radius);
        pthread_mutex_lock(&job->lock);
    }
    pthread_cond_broadcast(&job->advanced); /* a failure: nobody must wait for what does not come */
    pthread_mutex_unlock(&job->lock);
    free(words);
    return NULL;
}

/* Fill `phase` and `radius`, either of which may be NULL, of the file's first words, at most n of them, for about
 * `for_ns`; `done` says how many. 0, an errno, or FC_SHORT; then nothing of it is of use. */
static int fc_decode_file(const struct fc_level *level, const struct fc_file *file, size_t n, struct fc_carry *carry,
                          double *phase, double *radius, int threads, int64_t for_ns, size_t *done)
{
    struct fc_read_job job = {
        level, file, n, phase, radius, fc_now_ns() + for_ns,
        PTHREAD_MUTEX_INITIALIZER, PTHREAD_COND_INITIALIZER, *carry, 0, 0, 0,
    };
    size_t pieces = (n + FC_PIECE - 1) / FC_PIECE;
    fc_run(fc_read_work, &job, (size_t)threads < pieces ? threads : (int)pieces);
    pthread_cond_destroy(&job.advanced);
    pthread_mutex_destroy(&job.lock);
    *carry = job.carry;
    *done = job.given;
    return job.failed;
}

#endif
