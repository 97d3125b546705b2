/* Where a ring's positions lie in memory.
 *
 * A ring begins small: its first bytes are used again and again, stay in the cache, and no more memory than that
 * is touched. When consumers fall behind, it grows, once, at a position P (a multiple of pages). From P on the
 * whole capacity is used; what lies in the `first` bytes before P is still being read, and stays. So the file's
 * pages are mapped anew, in the order of positions P - first, ..., P - 1, P, ...:
 *
 *     file:   [0, o) [o, first) [first, capacity)         o = P % first
 *     memory: [o, first) [0, o) [first, capacity), twice in a row
 *
 * The first mapping stays, too, as long as the ring is open: views into it hold the same pages.
 */
#ifndef FASTCAP_MAP_H
#define FASTCAP_MAP_H

#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "_ring.h"

/* Byte `pos` lies at base + (pos - origin) % span, and so do span bytes from there on. */
typedef struct {
    uint8_t *base;
    uint64_t origin, span;
    uint64_t grown; /* what the control page says when this one holds */
} fc_map;

typedef struct {
    fc_map small, large;
    fc_map *now;
    uint32_t following; /* 1: a thread makes the large one */
    int fd, prot;
} fc_memory;

static inline uint8_t *fc_reserve(uint64_t bytes) {
    void *at = mmap(NULL, bytes, PROT_NONE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    return at == MAP_FAILED ? NULL : (uint8_t *)at;
}
static inline int fc_map_part(const fc_memory *m, uint8_t *at, uint64_t bytes, uint64_t offset) {
    return bytes && mmap(at, bytes, m->prot, MAP_SHARED | MAP_FIXED, m->fd, (off_t)offset) == MAP_FAILED ? -1 : 0;
}
/* Map the first bytes, and reserve addresses for the rest. 0, or -1 with errno. */
static inline int fc_map_open(fc_memory *m, const fc_control *c, int fd, int prot) {
    uint64_t first = c->first;
    m->fd = fd;
    m->prot = prot;
    m->small = (fc_map){fc_reserve(2 * first), 0, first, FC_NEVER};
    if (m->small.base == NULL) return -1;
    m->now = &m->small;
    for (int i = 0; i < 2; i++)
        if (fc_map_part(m, m->small.base + i * first, first, 0)) return -1;
    if (first == c->capacity) return 0;
    m->large = (fc_map){fc_reserve(2 * c->capacity), 0, c->capacity, 0};
    return m->large.base == NULL ? -1 : 0;
}
static inline void fc_map_close(fc_memory *m) {
    if (m->small.base) munmap(m->small.base, 2 * m->small.span);
    if (m->large.base) munmap(m->large.base, 2 * m->large.span);
}
static inline int fc_map_large(fc_memory *m, uint64_t first, uint64_t grown) {
    uint64_t o = grown % first, span = m->large.span;
    if (m->large.base == NULL || grown % FC_PAGE || grown < first) return -1;
    for (int i = 0; i < 2; i++) {
        uint8_t *base = m->large.base + i * span;
        if (fc_map_part(m, base, first - o, o) || fc_map_part(m, base + first - o, o, 0) ||
            fc_map_part(m, base + first, span - first, first))
            return -1;
    }
    m->large.origin = grown - first;
    m->large.grown = grown;
    return 0;
}
/* Take note that the ring has grown; several threads of a process may come here at once. Going on with the wrong
 * pages would be silent nonsense: better no process than that. */
static inline fc_map *fc_follow(fc_memory *m, uint64_t first, uint64_t grown) {
    uint32_t none = 0;
    if (__atomic_compare_exchange_n(&m->following, &none, 1, 0, __ATOMIC_ACQ_REL, __ATOMIC_ACQUIRE)) {
        if (fc_map_large(m, first, grown)) {
            fputs("fastcap: cannot map the grown ring\n", stderr);
            abort();
        }
        __atomic_store_n(&m->now, &m->large, __ATOMIC_RELEASE);
    }
    while (__atomic_load_n(&m->now, __ATOMIC_ACQUIRE) != &m->large) sched_yield();
    return &m->large;
}
/* The mapping that holds for every position the caller knows of. grow/2: `grown` by acquire, after the position
 * was learned. Pairs with grow/1. */
static inline fc_map *fc_mapped(fc_memory *m, const fc_control *c) {
    fc_map *now = __atomic_load_n(&m->now, __ATOMIC_ACQUIRE);
    uint64_t grown;
    if (now->grown != FC_NEVER || (grown = fc_load(&c->grown)) == FC_NEVER) return now;
    return fc_follow(m, c->first, grown);
}
static inline uint64_t fc_offset(const fc_map *map, uint64_t pos) { return (pos - map->origin) % map->span; }
static inline uint8_t *fc_at(fc_memory *m, const fc_control *c, uint64_t pos) {
    fc_map *map = fc_mapped(m, c);
    return map->base + fc_offset(map, pos);
}

#endif
