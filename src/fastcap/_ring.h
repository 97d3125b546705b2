/* The ring's shared words, and every memory order in the project.
 *
 * Positions are unsigned 64-bit byte counts since the ring was made; they never wrap.
 *
 *     tail <= framed <= head <= tail + room, which is `first`, and from `grown` on `capacity`
 *
 * One process writes each word (named beside it). Nothing outside this header touches a shared word
 * except through the functions below, so the extension, the thread sanitiser's test and a reader of
 * this file all see the same protocol. docs/ring.md tells the rules; labels such as publish/1 mark the
 * two sides of a pair.
 */
#ifndef FASTCAP_RING_H
#define FASTCAP_RING_H

#include <errno.h>
#include <limits.h>
#include <linux/futex.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#define FC_MAGIC 0x31676e6972706366ULL /* "fcpring1" */
#define FC_LAYOUT 5u
#define FC_PAGE 4096u
#define FC_SLOTS 24u          /* futex bits 8..31 name them */
#define FC_DROPS 1024u
#define FC_LINE 128           /* two cache lines: the adjacent-line prefetcher pairs them */
#define FC_NEVER UINT64_MAX

enum fc_mode { FC_STORE = 0, FC_DROP = 1 };
enum fc_slot_state { FC_FREE = 0, FC_WANT = 1, FC_ACTIVE = 2, FC_LEAVING = 3 };
enum fc_slot_flag { FC_LOSSLESS = 1, FC_ESSENTIAL = 2 };
enum fc_class { FC_READER = 1, FC_SPLITTER = 2 };       /* bits of the futex; slots follow from bit 8 */
enum fc_rec_state { FC_IDLE = 0, FC_READING = 1, FC_ENDED = 2 };

/* ---- memory orders --------------------------------------------------------------------------- */

#if defined(__SANITIZE_THREAD__)
/* gcc's thread sanitiser does not understand fences: tell it what each one orders. */
#include <sanitizer/tsan_interface.h>
#define fc_fence_acquire(addr) __tsan_acquire((void *)(addr))
#define fc_fence_release(addr) __tsan_release((void *)(addr))
static uint32_t fc_tsan_total_order;
#define fc_fence_full(addr) \
    ((void)(addr), (void)__atomic_fetch_add(&fc_tsan_total_order, 1, __ATOMIC_SEQ_CST))
#else
#define fc_fence_acquire(addr) ((void)(addr), __atomic_thread_fence(__ATOMIC_ACQUIRE))
#define fc_fence_release(addr) ((void)(addr), __atomic_thread_fence(__ATOMIC_RELEASE))
#define fc_fence_full(addr) ((void)(addr), __atomic_thread_fence(__ATOMIC_SEQ_CST))
#endif

static inline uint64_t fc_load(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline uint64_t fc_peek(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline void fc_store(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }
static inline uint32_t fc_peek32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static inline uint32_t fc_load32(const uint32_t *p) { return __atomic_load_n(p, __ATOMIC_ACQUIRE); }
static inline void fc_store32(uint32_t *p, uint32_t v) { __atomic_store_n(p, v, __ATOMIC_RELEASE); }

/* ---- layout ---------------------------------------------------------------------------------- */

#define FC_ALIGNED __attribute__((aligned(FC_LINE)))

/* One run of dropped bytes. Written by the reader; `bytes` grows while `mode` is FC_DROP. */
typedef struct {
    uint64_t position;  /* where they would have stood */
    uint64_t bytes;     /* this run's count, a whole number of words once closed */
    uint64_t before;    /* dropped in this recording before this run: sums need no history */
    uint64_t recording;
    uint64_t at_ns;     /* CLOCK_MONOTONIC when the run began */
} fc_drop;

typedef struct {
    /* creator, before anybody else attaches */
    uint64_t magic;
    uint32_t layout;
    uint32_t slots;
    uint64_t capacity;
    uint64_t first;     /* bytes in use before the ring has grown, a multiple of pages; capacity: it never grows */
    uint64_t created_ns;

    FC_ALIGNED uint64_t ready;      /* allocator: bytes allocated and prefaulted so far */

    FC_ALIGNED uint64_t head;       /* reader */
    uint64_t rec_id;                /* reader: recording under way, or the last one */
    uint64_t rec_start;             /* reader: where that recording begins */
    uint64_t rec_end;               /* reader: where it ended; valid in FC_ENDED */
    uint32_t rec_state;             /* reader: enum fc_rec_state */
    uint32_t mode;                  /* reader: enum fc_mode */
    uint64_t ndrops;                /* reader: drop entries made since the ring was made */
    uint64_t first_ns, last_ns;     /* reader: arrival of the recording's first and latest bytes */
    uint64_t pipe_full_ns;          /* reader: time the pipe stood full, this recording */
    uint64_t pipe_bytes;            /* reader: capacity of the pipe that was got, 0: no pipe */
    uint64_t reads;                 /* reader: read(2) calls that brought bytes */
    uint64_t grown;                 /* reader: positions from here on use the whole capacity; FC_NEVER: none yet */
    uint64_t quiet_ns;              /* reader: time it has waited in vain for the source since the latest bytes */

    FC_ALIGNED uint64_t framed;     /* splitter */
    uint64_t events;                /* splitter: committed bytes of the event log */
    uint64_t events_from;           /* splitter: where the event log begins; below it its memory is given up */
    uint64_t drops_done;            /* splitter: drop entries that are events, or were cut off */
    uint64_t ended_rec;             /* splitter: the last recording whose END event is committed */
    uint64_t high_water;            /* splitter: peak of head - tail as memory still needed */
    uint64_t word_phase;            /* splitter: recording << 3 | where in eight bytes its words begin: see fc_words_at() */
    uint32_t crowded;               /* splitter: a lossy consumer will be passed unless the ring grows */

    FC_ALIGNED uint64_t tail;       /* splitter */

    FC_ALIGNED uint32_t seq;        /* whoever publishes: the only futex word */
    uint32_t sleepers_reader;       /* waiting readers; a killed one leaves a count: a needless wake */
    uint32_t sleepers_splitter;
    uint32_t sleepers_slots;        /* waiting consumers, by the slot's bit: whose `want` is to be looked at */

    FC_ALIGNED uint32_t commands;   /* supervisor: counted up with every message to a worker */
    uint64_t stop_rec;              /* supervisor: the reader ends recordings up to this one */

    FC_ALIGNED fc_drop drops[FC_DROPS];
} fc_control;

/* One page each, so that a consumer's stores disturb nobody. */
typedef struct {
    uint32_t state;                 /* see fc_slot_claim; in bits 8.. the request's flags and its owner */
    uint32_t lossless;              /* splitter: what was granted, taken away when it would cost others */
    uint64_t spilled;               /* spiller; the splitter at the grant */
    uint64_t granted;               /* splitter: position at the grant */
    uint64_t high_water;            /* splitter: peak backlog in bytes */
    uint64_t overrun_bytes;         /* consumer: what it missed */
    FC_ALIGNED uint64_t cursor;     /* consumer */
    uint64_t want;                  /* consumer: asleep until `framed` reaches this; FC_NEVER: awake */
    uint64_t busy_since_ns;         /* consumer: start of the call it is in, 0: in none */
    uint8_t pad[FC_PAGE - 2 * FC_LINE];
} fc_slot;

_Static_assert(sizeof(fc_slot) == FC_PAGE, "a slot is a page");

static inline uint64_t fc_control_bytes(void) {
    return (sizeof(fc_control) + FC_PAGE - 1) / FC_PAGE * FC_PAGE;
}
static inline fc_slot *fc_slot_at(fc_control *c, uint32_t i) {
    return (fc_slot *)((char *)c + fc_control_bytes()) + i;
}

/* ---- sleeping and waking --------------------------------------------------------------------- */

static inline uint64_t fc_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}
static inline uint32_t fc_slot_bit(uint32_t i) { return 1u << (8 + i); }

/* wake/1: wake `bits`. The caller has published; it has looked at who sleeps after fc_bump(). */
static inline void fc_wake(fc_control *c, uint32_t bits) {
    if (bits)
        syscall(SYS_futex, &c->seq, FUTEX_WAKE_BITSET, INT_MAX, NULL, NULL, bits);
}
/* sleep/1: after a publication, before looking at sleepers. Pairs with sleep/2. */
static inline void fc_bump(fc_control *c) {
    __atomic_fetch_add(&c->seq, 1, __ATOMIC_RELEASE);
    fc_fence_full(&c->seq);
}
static inline void fc_notify(fc_control *c, uint32_t classes) {
    uint32_t bits = 0;
    fc_bump(c);
    if ((classes & FC_READER) && fc_load32(&c->sleepers_reader)) bits |= FC_READER;
    if ((classes & FC_SPLITTER) && fc_load32(&c->sleepers_splitter)) bits |= FC_SPLITTER;
    fc_wake(c, bits);
}
/* Wake every consumer that sleeps until a position at or below `reached`. Pages of others are not touched. */
static inline void fc_notify_slots(fc_control *c, uint64_t reached) {
    uint32_t asleep, bits = 0;
    fc_bump(c);
    for (asleep = fc_load32(&c->sleepers_slots) >> 8; asleep; asleep &= asleep - 1) {
        uint32_t i = (uint32_t)__builtin_ctz(asleep);
        if (fc_load(&fc_slot_at(c, i)->want) <= reached) bits |= fc_slot_bit(i);
    }
    fc_wake(c, bits);
}
static inline int fc_futex_wait(fc_control *c, uint32_t seen, uint64_t timeout_ns, uint32_t bits) {
    uint64_t until = fc_now_ns() + timeout_ns; /* the bitset call takes an absolute time */
    struct timespec t = {(time_t)(until / 1000000000u), (long)(until % 1000000000u)};
    return (int)syscall(SYS_futex, &c->seq, FUTEX_WAIT_BITSET, seen, &t, NULL, bits);
}
/* Sleep until `seq` moves on from `seen`, or the time is over. The caller took `seen` before it looked
 * at the condition. sleep/2: flag, full fence, look at seq again. Pairs with sleep/1. */
static inline void fc_sleep(fc_control *c, uint32_t *flag, uint32_t bit, uint32_t seen, uint64_t timeout_ns) {
    __atomic_fetch_add(flag, 1, __ATOMIC_RELAXED);
    fc_fence_full(&c->seq);
    if (fc_load32(&c->seq) == seen) fc_futex_wait(c, seen, timeout_ns, bit);
    __atomic_fetch_sub(flag, 1, __ATOMIC_RELAXED);
}
static inline void fc_sleep_slot(fc_control *c, uint32_t i, uint64_t want, uint32_t seen, uint64_t timeout_ns) {
    fc_slot *s = fc_slot_at(c, i);
    fc_store(&s->want, want);
    __atomic_fetch_or(&c->sleepers_slots, fc_slot_bit(i), __ATOMIC_RELEASE);
    fc_fence_full(&c->seq);
    if (fc_load32(&c->seq) == seen) fc_futex_wait(c, seen, timeout_ns, fc_slot_bit(i));
    __atomic_fetch_and(&c->sleepers_slots, ~fc_slot_bit(i), __ATOMIC_RELAXED);
    fc_store(&s->want, FC_NEVER);
}

/* ---- room ------------------------------------------------------------------------------------ */

/* Bytes of the data in use. */
static inline uint64_t fc_room(const fc_control *c) {
    return fc_load(&c->grown) == FC_NEVER ? c->first : c->capacity;
}
/* Of these, what is kept readable for lossy consumers no longer than until a quarter is left. */
static inline uint64_t fc_guard(const fc_control *c) { return fc_room(c) / 4; }
static inline int fc_may_grow(const fc_control *c) {
    return fc_peek(&c->grown) == FC_NEVER && c->first < c->capacity;
}

/* ---- reader ---------------------------------------------------------------------------------- */

/* Bytes the reader may fill up to. reuse/2: tail by acquire, then a release fence before overwriting,
 * so that no store into the memory can be seen before the tail that freed it. Pairs with reuse/1.
 * A ring that may grow ends at a page, for that is where it will. `ready` counts bytes of the file: the
 * first of them lie at grown - first, once it has grown. */
static inline uint64_t fc_store_limit(const fc_control *c) {
    uint64_t ready = fc_load(&c->ready), grown = fc_peek(&c->grown), there, limit;
    if (grown == FC_NEVER) {
        limit = fc_load(&c->tail) + c->first;
        if (c->first < c->capacity) limit &= ~(uint64_t)(FC_PAGE - 1);
        there = ready < c->first ? ready : limit;
    } else {
        limit = fc_load(&c->tail) + c->capacity;
        there = ready < c->capacity ? grown - c->first + ready : limit;
    }
    fc_fence_release(&c->tail);
    return there < limit ? there : limit;
}
/* Use the whole capacity from here on. What lies below, and may still be needed, stays where it is: see
 * _map.h. grow/1: before anything is stored from there on, and so before `head` tells of it; whoever knows of a
 * position sees `grown` before he asks where it lies. Only with `first` bytes ready. Pairs with grow/2. */
static inline void fc_grow(fc_control *c) {
    uint64_t limit = (fc_load(&c->tail) + c->first) & ~(uint64_t)(FC_PAGE - 1);
    fc_store(&c->grown, limit);
}
/* Where in eight bytes the words of `recording` begin: behind text of any length they need not lie at multiples
 * of eight. 0 until the splitter has found the header, which the ring holds whole before it can be full. */
static inline uint64_t fc_words_at(const fc_control *c, uint64_t recording) {
    uint64_t told = fc_load(&c->word_phase);
    return told >> 3 == recording ? told & 7 : 0;
}
/* The last position up to `pos` at which a word of `word` bytes begins. */
static inline uint64_t fc_whole_below(uint64_t pos, uint64_t word, uint64_t phase) {
    phase &= word - 1;
    return pos < phase ? 0 : ((pos - phase) & ~(word - 1)) + phase;
}
/* done/2: the flag that room is short is up; the splitter is woken to look at cursors. Consumers that see the flag
 * wake it, too. The fence is before the wake, too: by it the splitter sees every cursor whose consumer did not see the
 * flag. Pairs with done/1. */
static inline void fc_ask_for_room(fc_control *c) {
    fc_fence_full(&c->seq);
    fc_notify(c, FC_SPLITTER);
}
/* Sleep until memory above `head` is given up, or the time is over. */
static inline void fc_wait_for_room(fc_control *c, uint64_t head, uint64_t word, uint64_t timeout_ns) {
    uint32_t seen;
    __atomic_fetch_add(&c->sleepers_reader, 1, __ATOMIC_RELAXED);
    fc_ask_for_room(c);
    seen = fc_load32(&c->seq);
    if ((fc_store_limit(c) & ~(word - 1)) <= head) fc_futex_wait(c, seen, timeout_ns, FC_READER);
    __atomic_fetch_sub(&c->sleepers_reader, 1, __ATOMIC_RELAXED);
}
/* publish/1: bytes below `pos` have arrived. Reader only. Pairs with publish/2. */
static inline void fc_publish_head(fc_control *c, uint64_t pos) {
    fc_store(&c->head, pos);
    fc_notify(c, FC_SPLITTER);
}
static inline fc_drop *fc_drop_at(fc_control *c, uint64_t n) { return &c->drops[n % FC_DROPS]; }

static inline void fc_begin_dropping(fc_control *c) {
    fc_store32(&c->mode, FC_DROP);
    fc_ask_for_room(c);
}
/* Open the drop entry at `head`, or go on with the one that is already there. Entry first, then the
 * count, then the mode: whoever sees a later word sees the earlier ones. -1: the log is full. */
static inline int fc_drop_begin(fc_control *c, uint64_t recording, uint64_t now_ns) {
    uint64_t n = fc_peek(&c->ndrops), head = fc_peek(&c->head), before = 0;
    if (n) {
        fc_drop *last = fc_drop_at(c, n - 1);
        if (last->recording == recording) {
            if (last->position == head) {
                fc_begin_dropping(c);
                return 0;
            }
            before = last->before + fc_peek(&last->bytes);
        }
    }
    if (n - fc_load(&c->drops_done) >= FC_DROPS) return -1;
    fc_drop *d = fc_drop_at(c, n);
    d->position = head;
    d->before = before;
    d->recording = recording;
    d->at_ns = now_ns;
    fc_store(&d->bytes, 0);
    fc_store(&c->ndrops, n + 1);
    fc_begin_dropping(c);
    return 0;
}
static inline void fc_drop_add(fc_control *c, uint64_t bytes) {
    fc_drop *d = fc_drop_at(c, fc_peek(&c->ndrops) - 1);
    fc_store(&d->bytes, fc_peek(&d->bytes) + bytes);
}
/* After a reader's death: `taken` bytes were read in this recording by all readers so far. Absolute, so
 * that a second death while recovering changes nothing. Returns the recovered head. */
static inline uint64_t fc_recover_head(fc_control *c, uint64_t taken) {
    uint64_t n = fc_peek(&c->ndrops), start = fc_peek(&c->rec_start), head = fc_peek(&c->head);
    fc_drop *d = n ? fc_drop_at(c, n - 1) : NULL;
    if (d && d->recording != fc_peek(&c->rec_id)) d = NULL;
    if (d && fc_load32(&c->mode) == FC_DROP) {
        fc_store(&d->bytes, taken - (head - start) - d->before);
        return head;
    }
    head = start + taken - (d ? d->before + fc_peek(&d->bytes) : 0);
    fc_store(&c->head, head);
    return head;
}

/* ---- splitter -------------------------------------------------------------------------------- */

/* publish/2: what has arrived. Pairs with publish/1. */
static inline uint64_t fc_arrived(const fc_control *c) { return fc_load(&c->head); }

/* frame/1: consumers may read below `pos`; events that stand below it are committed. Pairs with frame/2. */
static inline void fc_publish_framed(fc_control *c, uint64_t pos) {
    fc_store(&c->framed, pos);
    fc_notify_slots(c, pos);
}
static inline void fc_commit_events(fc_control *c, uint64_t bytes) { fc_store(&c->events, bytes); }
/* log/1: the event log begins at `from` now, a record's begin; only then its memory below is given up. Pairs with log/2. */
static inline void fc_publish_events_from(fc_control *c, uint64_t from) { fc_store(&c->events_from, from); }

/* The position below which a lossless slot needs nothing from the ring any more. The cursor comes from
 * another process: one that lies beyond `framed` counts for nothing. */
static inline uint64_t fc_slot_done(const fc_slot *s, uint64_t framed, uint64_t tail) {
    uint64_t spilled = fc_load(&s->spilled), cursor = fc_load(&s->cursor);
    if (cursor > framed) cursor = tail;
    if (spilled > framed) spilled = tail;
    return cursor > spilled ? cursor : spilled;
}
/* reuse/1: memory below `pos` may be overwritten. Never falls. Pairs with reuse/2 and use/2. */
static inline void fc_publish_tail(fc_control *c, uint64_t pos) {
    if (pos <= fc_peek(&c->tail)) return;
    fc_store(&c->tail, pos);
    fc_notify(c, FC_READER);
}
/* Grant a slot: WANT -> ACTIVE. Position first, then the state that lets the consumer see it. 0: the
 * consumer has withdrawn meanwhile. */
static inline int fc_slot_grant(fc_slot *s, uint64_t position, uint32_t lossless) {
    uint32_t want = fc_load32(&s->state);
    if ((want & 3u) != FC_WANT) return 0;
    fc_store(&s->spilled, position);
    fc_store(&s->cursor, position);
    s->granted = position;
    fc_store(&s->high_water, 0);
    fc_store32(&s->lossless, lossless);
    return __atomic_compare_exchange_n(&s->state, &want, FC_ACTIVE | (want & ~3u), 0, __ATOMIC_ACQ_REL,
                                       __ATOMIC_ACQUIRE);
}

/* ---- consumers ------------------------------------------------------------------------------- */

/* Whose slot it is, in bits 10..31 of its state: a pid is below 2^22. */
static inline uint32_t fc_slot_owner(uint32_t state) { return state >> 10; }

/* FREE -> WANT, with the request's flags and its owner in the same word: no grant can miss them, and no slot is taken
 * by nobody known, whenever its owner dies. */
static inline int fc_slot_claim(fc_slot *s, uint32_t flags, uint32_t pid) {
    uint32_t expect = FC_FREE;
    if (!__atomic_compare_exchange_n(&s->state, &expect, FC_WANT | flags << 8 | pid << 10, 0, __ATOMIC_ACQ_REL,
                                     __ATOMIC_ACQUIRE))
        return 0;
    fc_store(&s->want, FC_NEVER);
    fc_store(&s->busy_since_ns, 0);
    fc_store(&s->overrun_bytes, 0);
    return 1;
}
/* Go on with a slot as it stands: its last owner is known to be gone. */
static inline void fc_slot_adopt(fc_slot *s, uint32_t pid) {
    uint32_t state = fc_load32(&s->state);
    while (((state & 3u) == FC_WANT || (state & 3u) == FC_ACTIVE) &&
           !__atomic_compare_exchange_n(&s->state, &state, (state & 0x3ffu) | pid << 10, 0, __ATOMIC_ACQ_REL,
                                        __ATOMIC_ACQUIRE))
        continue;
    fc_store(&s->want, FC_NEVER);
}
/* frame/2: what may be read; load the event log's length after it. Pairs with frame/1. */
static inline uint64_t fc_readable(const fc_control *c) { return fc_load(&c->framed); }

/* log/2: where the event log begins, after something was read of it: what lies below may have been read as zeros. The
 * fence keeps the read before the look. Pairs with log/1. */
static inline uint64_t fc_events_from(const fc_control *c) {
    fc_fence_acquire(&c->events_from);
    return fc_load(&c->events_from);
}

/* use/2: were the bytes from `pos` on still there after they were used? The fence keeps the use before
 * the look at tail. Pairs with reuse/1. */
static inline int fc_still_valid(const fc_control *c, uint64_t pos) {
    fc_fence_acquire(&c->tail);
    return fc_load(&c->tail) <= pos;
}
/* done/1: this consumer needs nothing below `pos`. The splitter looks at cursors whenever bytes arrive;
 * it is woken only when the reader is short of room. Pairs with done/2. */
static inline void fc_advance(fc_control *c, fc_slot *s, uint64_t pos) {
    fc_store(&s->cursor, pos);
    fc_fence_full(&c->seq);
    if (fc_load32(&c->sleepers_reader) || fc_load32(&c->mode) == FC_DROP) fc_notify(c, FC_SPLITTER);
}

#endif
