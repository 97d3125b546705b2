/* A ring between processes of one family, without a session: its memory, its producer's waiting for room, its consumers'
 * for bytes. The producer is reader and splitter at once: it publishes `head` and `framed`, and moves `tail` itself.
 */
#ifndef BENCH_RINGSIDE_H
#define BENCH_RINGSIDE_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "_map.h"

/* More than a cache holds: processes that are not synchronised would read there what they had read before. */
enum { CAPACITY = 1 << 26, LOOKS = 30, LOOK_NS = 100000000 };

static fc_control *c;
static fc_memory memory;

static inline void die(const char *what) {
    perror(what);
    exit(2);
}
static inline void *common(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) die("mmap");
    return at;
}
static inline void make_ring(void) {
    int fd = memfd_create("ring", MFD_CLOEXEC);
    c = common(fc_control_bytes() + FC_SLOTS * FC_PAGE);
    c->capacity = c->first = c->ready = CAPACITY;
    c->grown = FC_NEVER;
    for (uint32_t i = 0; i < FC_SLOTS; i++) fc_slot_at(c, i)->want = FC_NEVER;
    if (fd < 0 || ftruncate(fd, CAPACITY) || fc_map_open(&memory, c, fd, PROT_READ | PROT_WRITE)) die("ring");
    memset(memory.small.base, 1, 2 * CAPACITY);
}
/* Claim and grant as many slots from the ring's beginning on, before the consumers fork. */
static inline int give_slots(uint32_t consumers) {
    if (!consumers || consumers > FC_SLOTS) return -1;
    for (uint32_t i = 0; i < consumers; i++)
        if (!fc_slot_claim(fc_slot_at(c, i), FC_LOSSLESS, 1) || !fc_slot_grant(fc_slot_at(c, i), 0, FC_LOSSLESS))
            return -1;
    return 0;
}

/* ---- producer ---- */

static inline void give_up_memory(uint32_t consumers) {
    uint64_t framed = fc_peek(&c->framed), tail = fc_peek(&c->tail), floor = framed;
    for (uint32_t i = 0; i < consumers; i++) {
        uint64_t done = fc_slot_done(fc_slot_at(c, i), framed, tail);
        if (done < floor) floor = done;
    }
    fc_publish_tail(c, floor);
}
/* Wait for a block's room, and for an eighth of the ring more: whoever waits for each block wakes for each. */
static inline void await_room(uint64_t upto, uint32_t consumers) {
    if (fc_store_limit(c) >= upto) return;
    give_up_memory(consumers);
    for (int look = 0; fc_store_limit(c) < upto && look < LOOKS; look++) {
        sched_yield();
        give_up_memory(consumers);
    }
    if (fc_store_limit(c) >= upto) return;
    for (upto += CAPACITY / 8; fc_store_limit(c) < upto; give_up_memory(consumers)) {
        uint32_t seen = fc_load32(&c->seq);
        __atomic_fetch_add(&c->sleepers_reader, 1, __ATOMIC_RELAXED); /* as a reader: consumers tell the splitter */
        fc_fence_full(&c->seq);
        give_up_memory(consumers);
        if (fc_store_limit(c) < upto) fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, LOOK_NS);
        __atomic_fetch_sub(&c->sleepers_reader, 1, __ATOMIC_RELAXED);
    }
}
static inline void publish(uint64_t pos) {
    fc_publish_head(c, pos);
    fc_publish_framed(c, pos);
}

/* ---- consumers ---- */

/* Wait until there is more than `pos`; a sleeper asks for `want`. */
static inline uint64_t more_than(uint32_t i, uint64_t pos, uint64_t want) {
    for (int look = 0; fc_readable(c) < want && look < LOOKS; look++) sched_yield();
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t framed = fc_readable(c);
        if (framed > pos) return framed;
        fc_sleep_slot(c, i, want, seen, LOOK_NS);
    }
}

#endif
