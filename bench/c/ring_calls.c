/* ring_calls: the ring's side of fan_out.py, called through ctypes. The process that opened it forks its consumers. */
#include "ringside.h"

uint64_t ring_capacity(void) { return CAPACITY; }
uint64_t *ring_open(uint32_t consumers) { /* positions 0 to CAPACITY, twice in a row */
    make_ring();
    return give_slots(consumers) ? NULL : (uint64_t *)memory.small.base;
}
void ring_await_room(uint64_t upto, uint32_t consumers) { await_room(upto, consumers); }
void ring_publish(uint64_t pos) { publish(pos); }
uint64_t ring_more_than(uint32_t i, uint64_t pos, uint64_t want) { return more_than(i, pos, want); }
void ring_advance(uint32_t i, uint64_t pos) { fc_advance(c, fc_slot_at(c, i), pos); }
