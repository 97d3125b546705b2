/* _ring.h and _map.h under threads: a reader, a splitter, two lossless consumers, a lossy one, and one that claims a
 * slot and withdraws, on one ring, which grows when it is full somewhere in its middle. Word k of the source is k, so that every word that is read can be checked.
 *
 * usage: ring_threads WORDS SEED. Exit status 0 and one line of counts, or 1 and what was wrong.
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include <pthread.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "_map.h"

enum { CAPACITY = 1 << 16, FIRST = 5 << 12, WORD = 8, TICK_NS = 5000000, MAX_GAPS = 1 << 20, MAX_PIECE = 512, WITHDRAWALS = 2000 };
enum { LOSSLESS_A = 0, LOSSLESS_B = 5, LOSSY = 23, WITHDRAWN = 11 };

typedef struct { uint64_t position, words; } gap;

static fc_control *c;
static fc_memory memory;
static gap *gaps;                      /* the event log: plain memory, published by `events` */
static uint64_t source_words, seed;
static _Atomic int consumers = 4;      /* that have not left yet */
static _Atomic uint64_t waits, overruns;

static void fail(const char *what, uint64_t a, uint64_t b, uint64_t d) {
    fprintf(stderr, "%s: %" PRIu64 " %" PRIu64 " %" PRIu64 "\n", what, a, b, d);
    exit(1);
}
static uint64_t random_below(uint64_t *state, uint64_t n) {
    *state ^= *state << 13, *state ^= *state >> 7, *state ^= *state << 17;
    return *state % n;
}

/* ---- reader ---- */

static uint64_t *word_at(uint64_t pos) { return (uint64_t *)fc_at(&memory, c, pos); }

static uint64_t store_some(uint64_t head, uint64_t room, uint64_t next, uint64_t *rng) {
    uint64_t n = 1 + random_below(rng, MAX_PIECE);
    if (n > room / WORD) n = room / WORD;
    if (n > source_words - next) n = source_words - next;
    for (uint64_t i = 0; i < n; i++) /* atomic: the lossy consumer may be reading */
        __atomic_store_n(word_at(head + i * WORD), next + i, __ATOMIC_RELAXED);
    fc_publish_head(c, head + n * WORD);
    return n;
}
static void *reader(void *unused) {
    uint64_t next = 0, rng = seed * 2 + 1;
    while (next < source_words) {
        uint64_t head = fc_load(&c->head), limit = fc_store_limit(c) & ~(uint64_t)(WORD - 1);
        if (limit <= head && fc_may_grow(c) && fc_load(&c->tail) % FIRST >= FC_PAGE) {
            fc_grow(c);
            continue;
        }
        if (fc_load32(&c->mode) == FC_DROP) {
            if (limit > head && limit - head >= fc_room(c) / 8) {
                fc_store32(&c->mode, FC_STORE);
            } else {
                uint64_t n = 1 + random_below(&rng, 8);
                if (n > source_words - next) n = source_words - next;
                fc_drop_add(c, n * WORD);
                next += n;
                sched_yield();
            }
        } else if (limit > head) {
            next += store_some(head, limit - head, next, &rng);
        } else if (random_below(&rng, 4) || fc_drop_begin(c, 1, fc_now_ns())) {
            waits++;
            fc_wait_for_room(c, head, WORD, TICK_NS);
        }
    }
    fc_store32(&c->rec_state, FC_ENDED);
    fc_notify(c, FC_SPLITTER);
    return unused;
}

/* ---- splitter ---- */

static void log_gaps(uint64_t top, int final) {
    uint64_t done = fc_peek(&c->drops_done), ngaps = fc_peek(&c->events);
    while (fc_load(&c->ndrops) != done) {
        fc_drop *d = fc_drop_at(c, done);
        if (d->position >= top && !final) break; /* open: its count still grows */
        if (ngaps == MAX_GAPS) fail("too many gaps", ngaps, 0, 0);
        gaps[ngaps++] = (gap){d->position, fc_load(&d->bytes) / WORD};
        fc_store(&c->drops_done, ++done);
    }
    fc_commit_events(c, ngaps);
}
static void serve(uint64_t head) {
    uint64_t framed = fc_peek(&c->framed), tail = fc_peek(&c->tail), floor = framed, keep = head + fc_guard(c);
    for (uint32_t i = 0; i < FC_SLOTS; i++) {
        fc_slot *s = fc_slot_at(c, i);
        uint32_t state = fc_load32(&s->state);
        if ((state & 3) == FC_WANT) {
            fc_slot_grant(s, framed, state >> 8 & FC_LOSSLESS);
            fc_notify_slots(c, FC_NEVER - 1);
        } else if ((state & 3) == FC_LEAVING) {
            fc_store32(&s->state, FC_FREE);
            fc_notify_slots(c, FC_NEVER - 1);
        } else if ((state & 3) == FC_ACTIVE && fc_load32(&s->lossless)) {
            uint64_t done = fc_slot_done(s, framed, tail);
            if (done < floor) floor = done;
        }
    }
    uint64_t room = fc_room(c);
    keep = keep > room ? keep - room : 0;
    fc_publish_tail(c, floor < keep ? floor : keep);
}
static void *splitter(void *unused) {
    int ended = 0;
    while (atomic_load(&consumers)) {
        uint32_t seen = fc_load32(&c->seq);
        int last = fc_load32(&c->rec_state) == FC_ENDED;
        uint64_t head = fc_arrived(c);
        log_gaps(head, last);
        if (head > fc_peek(&c->framed)) fc_publish_framed(c, head);
        if (last && !ended) {
            ended = 1;
            fc_store(&c->ended_rec, 1);
            fc_notify_slots(c, FC_NEVER - 1);
        }
        serve(head);
        fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, TICK_NS);
    }
    return unused;
}

/* ---- consumers ---- */

static fc_slot *claim(uint32_t i, uint32_t flags) {
    fc_slot *s = fc_slot_at(c, i);
    if (!fc_slot_claim(s, flags, 1)) fail("slot is not free: slot, state", i, fc_load32(&s->state), 0);
    fc_notify(c, FC_SPLITTER);
    return s;
}
/* Wait for a state, twenty seconds at most. */
static void await_state(uint32_t i, uint32_t state) {
    uint64_t until = fc_now_ns() + 20000000000u;
    for (;;) {
        uint32_t seen = fc_load32(&c->seq), now = fc_load32(&fc_slot_at(c, i)->state) & 3;
        if (now == state) return;
        if (fc_now_ns() > until) fail("slot is stuck: slot, state, wanted", i, now, state);
        fc_sleep_slot(c, i, FC_NEVER - 1, seen, TICK_NS);
    }
}
static void leave(fc_slot *s) {
    fc_store32(&s->state, FC_LEAVING);
    fc_notify(c, FC_SPLITTER);
}
/* Words lost before `pos`; `ngaps` was loaded after the `framed` that covers `pos`. */
static uint64_t lost_before(uint64_t pos, uint64_t ngaps, uint64_t *next_gap, uint64_t *lost) {
    while (*next_gap < ngaps && gaps[*next_gap].position <= pos) *lost += gaps[(*next_gap)++].words;
    return *lost;
}
/* Wait for more than `pos`; 0: the stream is over. */
static uint64_t more_than(uint32_t i, uint64_t pos) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t ended = fc_load(&c->ended_rec), framed = fc_readable(c);
        if (framed > pos) return framed;
        if (ended) return 0;
        fc_sleep_slot(c, i, pos + 1, seen, TICK_NS);
    }
}
static void *lossless(void *slot) {
    uint32_t i = (uint32_t)(uintptr_t)slot;
    fc_slot *s = claim(i, FC_LOSSLESS | FC_ESSENTIAL);
    uint64_t pos, framed, next_gap = 0, lost = 0, rng = seed + i * 7919 + 1, words = 0;
    await_state(i, FC_ACTIVE);
    pos = fc_load(&s->cursor);
    uint64_t first = pos;
    while ((framed = more_than(i, pos))) {
        uint64_t ngaps = fc_load(&c->events), upto = pos + (1 + random_below(&rng, MAX_PIECE)) * WORD;
        for (upto = upto < framed ? upto : framed; pos < upto; pos += WORD, words++) {
            uint64_t expected = pos / WORD + lost_before(pos, ngaps, &next_gap, &lost);
            if (*word_at(pos) != expected) fail("lossless: position, word, expected", pos, *word_at(pos), expected);
        }
        fc_advance(c, s, pos);
    }
    if (first + words * WORD != fc_readable(c)) fail("lossless: words, framed", words, fc_readable(c), first);
    leave(s);
    consumers--;
    return NULL;
}
static void *lossy(void *slot) {
    static uint64_t copy[MAX_PIECE];
    uint32_t i = (uint32_t)(uintptr_t)slot;
    fc_slot *s = claim(i, 0);
    uint64_t pos, framed, next_gap = 0, lost = 0, rng = seed + 3, words = 0, missed = 0, tail;
    await_state(i, FC_ACTIVE);
    pos = fc_load(&s->cursor);
    uint64_t first = pos;
    while ((framed = more_than(i, pos))) {
        uint64_t ngaps = fc_load(&c->events), n = 1 + random_below(&rng, MAX_PIECE);
        if ((tail = fc_load(&c->tail)) > pos) {
            missed += (tail - pos) / WORD, overruns++;
            pos = tail;
            continue;
        }
        if (n > (framed - pos) / WORD) n = (framed - pos) / WORD;
        for (uint64_t k = 0; k < n; k++) copy[k] = __atomic_load_n(word_at(pos + k * WORD), __ATOMIC_RELAXED);
        if (!fc_still_valid(c, pos)) continue;
        for (uint64_t k = 0; k < n; k++, pos += WORD, words++) {
            uint64_t expected = pos / WORD + lost_before(pos, ngaps, &next_gap, &lost);
            if (copy[k] != expected) fail("lossy: position, word, expected", pos, copy[k], expected);
        }
        fc_advance(c, s, pos);
        for (uint64_t spin = random_below(&rng, 8) ? 0 : random_below(&rng, 200000); spin; spin--)
            __atomic_signal_fence(__ATOMIC_SEQ_CST);
    }
    if (first + (words + missed) * WORD != fc_readable(c)) fail("lossy: words, missed, framed", words, missed, fc_readable(c));
    leave(s);
    consumers--;
    return NULL;
}
/* Claim and give up at once, at any moment of the splitter's grant: the slot must always become free again. */
static void *withdrawing(void *slot) {
    uint32_t i = (uint32_t)(uintptr_t)slot;
    uint64_t rng = seed + 11;
    for (int n = 0; n < WITHDRAWALS && !fc_load(&c->ended_rec); n++) {
        fc_slot *s = claim(i, FC_LOSSLESS);
        for (uint64_t spin = random_below(&rng, 3000); spin; spin--) __atomic_signal_fence(__ATOMIC_SEQ_CST);
        leave(s);
        await_state(i, FC_FREE);
    }
    consumers--;
    return NULL;
}

int main(int argc, char **argv) {
    pthread_t threads[6];
    size_t bytes = fc_control_bytes() + FC_SLOTS * FC_PAGE;
    if (argc != 3) return 2;
    source_words = strtoull(argv[1], NULL, 10), seed = strtoull(argv[2], NULL, 10);
    c = aligned_alloc(FC_PAGE, bytes);
    int fd = memfd_create("ring", 0);
    gaps = malloc(MAX_GAPS * sizeof *gaps);
    if (!c || !gaps || fd < 0 || ftruncate(fd, CAPACITY)) return 2;
    memset(c, 0, bytes);
    c->capacity = CAPACITY, c->ready = CAPACITY, c->first = FIRST, c->grown = FC_NEVER;
    if (fc_map_open(&memory, c, fd, PROT_READ | PROT_WRITE)) return 2;
    for (uint32_t i = 0; i < FC_SLOTS; i++) fc_store(&fc_slot_at(c, i)->want, FC_NEVER);
    pthread_create(&threads[0], NULL, splitter, NULL);
    pthread_create(&threads[1], NULL, lossless, (void *)(uintptr_t)LOSSLESS_A);
    pthread_create(&threads[2], NULL, lossless, (void *)(uintptr_t)LOSSLESS_B);
    pthread_create(&threads[3], NULL, lossy, (void *)(uintptr_t)LOSSY);
    pthread_create(&threads[4], NULL, withdrawing, (void *)(uintptr_t)WITHDRAWN);
    pthread_create(&threads[5], NULL, reader, NULL);
    for (int i = 0; i < 6; i++) pthread_join(threads[i], NULL);
    uint64_t ngaps = fc_load(&c->events), dropped = 0;
    for (uint64_t i = 0; i < ngaps; i++) dropped += gaps[i].words;
    if (fc_load(&c->framed) / WORD + dropped != source_words) fail("kept, dropped, source", fc_load(&c->framed) / WORD, dropped, source_words);
    if (fc_may_grow(c)) fail("never grown: framed", fc_load(&c->framed), 0, 0);
    printf("gaps %" PRIu64 " dropped %" PRIu64 " waits %" PRIu64 " overruns %" PRIu64 "\n", ngaps, dropped,
           (uint64_t)atomic_load(&waits), (uint64_t)atomic_load(&overruns));
    return 0;
}
