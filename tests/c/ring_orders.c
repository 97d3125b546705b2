/* _ring.h on a machine with weak memory orders: see weak_memory.h. Small rings, a few positions, every role reduced to
 * its operations on the shared words. What lies at a position is its number, so that anything else read there shows.
 */
#define _GNU_SOURCE
#include <string.h>

#undef __SANITIZE_THREAD__ /* the fences themselves, not what the sanitiser is told in their place */
#include "_ring.h"
#include "weak_memory.h"

enum { CONSUMER = 0, SPILLED = 1, CELLS = 8, LOG = 4, WAIT_NS = 1, NEVER_SEEN = 99 };

static struct {
    _Alignas(FC_PAGE) uint8_t control[(sizeof(fc_control) + FC_PAGE - 1) / FC_PAGE * FC_PAGE + FC_SLOTS * FC_PAGE];
    uint64_t cells[CELLS];   /* the ring's memory: one word a position */
    uint64_t log[LOG];       /* the event log */
    uint64_t file[CELLS];    /* the spill file */
    uint64_t released;       /* counters of the test itself */
} shared;
static fc_control *const c = (fc_control *)shared.control;
static uint64_t unit = 1, source; /* bytes of a position; how many arrive */

static fc_slot *slot(void) { return fc_slot_at(c, CONSUMER); }
static uint64_t relaxed(const uint64_t *p) { return __atomic_load_n(p, __ATOMIC_RELAXED); }
static void put_relaxed(uint64_t *p, uint64_t v) { __atomic_store_n(p, v, __ATOMIC_RELAXED); }
static void expect(const char *what, uint64_t seen, uint64_t expected) {
    if (seen != expected) weak_fail(what, seen, expected);
}

static void ring_of(uint64_t first, uint64_t capacity, uint64_t positions) {
    unit = capacity >= FC_PAGE ? FC_PAGE : 1, source = positions * unit;
    c->first = first, c->capacity = capacity, c->ready = capacity;
    c->grown = first < capacity ? FC_NEVER : 0;
    if (first == capacity) c->grown = FC_NEVER;
    for (uint32_t i = 0; i < 2; i++) fc_slot_at(c, i)->want = FC_NEVER;
    slot()->state = FC_ACTIVE, slot()->lossless = 1;
}
/* Where a position lies in the file, as _map.h has it. */
static uint64_t *cell(uint64_t pos) {
    uint64_t first = c->first / unit, grown = fc_load(&c->grown), p = pos / unit, q;
    if (grown == FC_NEVER) return &shared.cells[p % first];
    q = (p - (grown / unit - first)) % (c->capacity / unit);
    return &shared.cells[q < first ? (grown / unit % first + q) % first : q];
}
static void nothing(void) {}

/* ---- a reader, a splitter, a lossless consumer ---------------------------------------------- */

static void reader(void) {
    for (uint64_t head = 0; head < source;) {
        uint64_t limit = fc_store_limit(c) & ~(unit - 1);
        if (limit > head) {
            *cell(head) = head / unit + 1;
            fc_publish_head(c, head += unit);
        } else if (fc_may_grow(c) && fc_load(&c->ready) >= c->first && fc_peek(&c->tail) >= unit) {
            fc_grow(c);
        } else {
            fc_wait_for_room(c, head, unit, WAIT_NS);
        }
    }
    fc_store32(&c->rec_state, FC_ENDED);
    fc_notify(c, FC_SPLITTER);
}
static void split(uint64_t head) {
    uint64_t guard = fc_guard(c) > unit ? fc_guard(c) : unit; /* a quarter of so few positions is none */
    uint64_t framed = fc_peek(&c->framed), keep = head + guard, room = fc_room(c), floor;
    if (head > framed) {
        expect("splitter: what has arrived", *cell(head - unit), head / unit);
        fc_publish_framed(c, framed = head);
    }
    uint64_t tail = fc_peek(&c->tail);
    floor = fc_slot_done(slot(), framed, tail);
    keep = keep > room ? keep - room : 0;
    fc_publish_tail(c, floor < keep ? floor : keep);
    if (fc_peek(&c->tail) < tail) weak_fail("tail fell", tail, fc_peek(&c->tail));
}
static void splitter(void) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        int last = fc_load32(&c->rec_state) == FC_ENDED;
        uint64_t head = fc_arrived(c);
        split(head);
        if (last) {
            expect("splitter: bytes of the whole recording", head, source);
            fc_store(&c->ended_rec, 1);
            fc_notify_slots(c, FC_NEVER - 1);
            return;
        }
        fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, WAIT_NS);
    }
}
/* Wait for more than `pos`; 0: the stream is over. */
static uint64_t more_than(uint64_t pos) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t ended = fc_load(&c->ended_rec), framed = fc_readable(c);
        if (framed > pos) return framed;
        if (ended) return 0;
        fc_sleep_slot(c, CONSUMER, pos + 1, seen, WAIT_NS);
    }
}
static void lossless(void) {
    uint64_t pos = 0, framed;
    while ((framed = more_than(pos))) {
        for (; pos < framed; pos += unit) expect("lossless: what was read", *cell(pos), pos / unit + 1);
        fc_advance(c, slot(), pos);
    }
    expect("lossless: bytes of the whole recording", pos, source);
}
static void stream_checks(void) {
    expect("head", c->head, source);
    expect("framed", c->framed, source);
}
static void stream(void) { ring_of(2, 2, 3); }
static void one_position(void) { ring_of(1, 1, 2); }
static void growing(void) { ring_of(2 * FC_PAGE, 3 * FC_PAGE, 4); c->ready = FC_PAGE; }
/* The memory comes bit by bit; it is touched first. */
static void allocator(void) {
    for (uint64_t ready = c->first; ready <= c->capacity; ready += unit) {
        shared.cells[ready / unit - 1] = 0;
        fc_store(&c->ready, ready);
        fc_notify(c, FC_READER);
    }
}

/* ---- arrival and framing without a full ring ------------------------------------------------ */

static void wide(void) { ring_of(CELLS, CELLS, 2); }
/* A reader that took over: its predecessor had stored bytes which no word told of. */
static void successor(void) {
    *cell(0) = 1, *cell(1) = 2;
    fc_recover_head(c, source);
    fc_store32(&c->rec_state, FC_ENDED);
    fc_notify(c, FC_SPLITTER);
}
/* An event below `framed` for every position, and one, the end, that stands at it. */
static void framer(void) {
    for (uint64_t pos = 1; pos <= source; pos++) {
        *cell(pos - 1) = pos;
        shared.log[pos - 1] = pos;
        fc_commit_events(c, pos);
        fc_publish_framed(c, pos);
    }
    shared.log[source] = NEVER_SEEN;
    fc_commit_events(c, source + 1);
    fc_notify_slots(c, FC_NEVER - 1);
}
static void event_reader(void) {
    for (uint64_t pos = 0, events = 0; events <= source;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t framed = fc_readable(c), committed = fc_load(&c->events);
        if (committed < framed) weak_fail("events, framed", committed, framed);
        for (; events < committed; events++) expect("event", shared.log[events], events < source ? events + 1 : NEVER_SEEN);
        for (; pos < framed; pos++) expect("what was read", *cell(pos), pos + 1);
        if (events <= source) fc_sleep_slot(c, CONSUMER, pos + 1, seen, WAIT_NS);
    }
}

/* ---- who looks whether it was still there ---------------------------------------------------- */

static void full_ring(void) {
    ring_of(2, 2, 4);
    slot()->lossless = 0;
    c->head = c->framed = 2;
    shared.cells[0] = 1, shared.cells[1] = 2;
}
static void overwriter(void) {
    for (uint64_t head = 2; head < 4;) {
        if (fc_store_limit(c) <= head) {
            fc_wait_for_room(c, head, 1, WAIT_NS);
            continue;
        }
        put_relaxed(cell(head), head + 1);
        fc_publish_head(c, ++head);
    }
}
static void tail_mover(void) {
    fc_publish_tail(c, 1);
    fc_publish_tail(c, 2);
}
static void lossy(void) {
    for (uint64_t pos = 0; pos < 2; pos++) {
        uint64_t copy = relaxed(cell(pos));
        if (fc_still_valid(c, pos)) expect("lossy: a copy that was believed", copy, pos + 1);
    }
}
/* The log's memory is given up by a system call: it reads as zeros from then on. */
static void log_begins(void) {
    fc_publish_events_from(c, 1);
    weak_system_call();
    put_relaxed(&shared.log[0], 0);
}
static void log_reader(void) {
    uint64_t event = relaxed(&shared.log[0]);
    if (fc_events_from(c) == 0) expect("an event that was believed", event, 7);
}
static void an_event(void) { ring_of(2, 2, 0); shared.log[0] = 7; }

/* ---- spilling --------------------------------------------------------------------------------- */

static void nearly_full(void) {
    ring_of(2, 2, 3);
    c->head = c->framed = 2;
    shared.cells[0] = 1, shared.cells[1] = 2;
}
static void spiller(void) {
    uint64_t copy = *cell(0);
    put_relaxed(&shared.file[0], copy);
    fc_store(&slot()->spilled, 1);
    fc_notify(c, FC_SPLITTER);
}
static void spill_splitter(void) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t done = fc_slot_done(slot(), 2, 0);
        if (done) {
            fc_publish_tail(c, done);
            return;
        }
        fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, WAIT_NS);
    }
}
static void one_more(void) {
    while (fc_store_limit(c) <= 2) fc_wait_for_room(c, 2, 1, WAIT_NS);
    *cell(2) = 3;
    fc_publish_head(c, 3);
}
/* By `tail` a writer decides where it takes a block from; what is not in the ring is in the file. */
static void spill_writer(void) {
    if (fc_still_valid(c, 0)) return;
    expect("writer: spilled below tail", fc_peek(&slot()->spilled), 1);
    expect("writer: what was spilled", relaxed(&shared.file[0]), 1);
}

/* ---- drops ------------------------------------------------------------------------------------ */

/* The drop log is full but for an entry that becomes free. */
static void full_drop_log(void) {
    ring_of(1, 1, 2);
    c->ndrops = FC_DROPS, c->drops_done = 0, c->rec_id = 1;
    c->drops[0].position = 50, c->drops[0].bytes = 5;
}
static void dropper(void) {
    uint64_t head = 0;
    *cell(head++) = 1;
    fc_publish_head(c, head);
    while (fc_drop_begin(c, 1, 0)) fc_wait_for_room(c, head, 1, WAIT_NS);
    fc_drop_add(c, 2);
    fc_drop_add(c, 3);
    while (fc_store_limit(c) <= head) fc_wait_for_room(c, head, 1, WAIT_NS);
    fc_store32(&c->mode, FC_STORE);
    *cell(head++) = 2;
    fc_publish_head(c, head);
    fc_store32(&c->rec_state, FC_ENDED);
    fc_notify(c, FC_SPLITTER);
}
static uint64_t closed_drops(uint64_t done, uint64_t top, int final) {
    while (fc_load(&c->ndrops) != done) {
        fc_drop *d = fc_drop_at(c, done);
        if (done == FC_DROPS && d->position >= top && !final) break;
        expect("a drop's position", d->position, done == FC_DROPS ? 1 : done ? 0 : 50);
        expect("a drop's bytes", fc_load(&d->bytes), done && done < FC_DROPS ? 0 : 5);
        if (done != 0 && done < FC_DROPS) done = FC_DROPS - 1; /* the others are zeros */
        done++;
    }
    return done;
}
static void drop_splitter(void) {
    uint64_t done = 0;
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        int last = fc_load32(&c->rec_state) == FC_ENDED;
        uint64_t head = fc_arrived(c), before = done;
        done = closed_drops(done, head, last);
        if (done != before) {
            fc_store(&c->drops_done, done);
            fc_notify(c, FC_READER);
        }
        if (head > fc_peek(&c->framed)) fc_publish_framed(c, head);
        fc_publish_tail(c, head);
        if (last) break;
        fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, WAIT_NS);
    }
    expect("drops", done, FC_DROPS + 1);
}

/* A consumer that is done when the reader begins to drop: it wakes the splitter, or the splitter sees its cursor. */
static void begins_to_drop(void) {
    *cell(0) = 1;
    fc_publish_head(c, 1);
    fc_drop_begin(c, 1, 0);
}
static void reads_one(void) {
    expect("lossless: what may be read", more_than(0), 1);
    expect("lossless: what was read", *cell(0), 1);
    fc_advance(c, slot(), 1);
}
static void frees_one(void) {
    while (fc_peek(&c->tail) < 1) {
        uint32_t seen = fc_load32(&c->seq);
        split(fc_arrived(c));
        if (fc_peek(&c->tail) < 1) fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, WAIT_NS);
    }
}

/* ---- slots ------------------------------------------------------------------------------------ */

static void a_wanted_slot(void) {
    ring_of(4, 4, 0);
    slot()->state = FC_WANT | FC_LOSSLESS << 8 | 1 << 10, slot()->lossless = 0;
    c->framed = 3;
}
static void await_state(uint32_t state) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        if ((fc_load32(&slot()->state) & 3) == state) return;
        fc_sleep_slot(c, CONSUMER, FC_NEVER - 1, seen, WAIT_NS);
    }
}
static void leave_slot(void) {
    fc_store32(&slot()->state, FC_LEAVING);
    fc_notify(c, FC_SPLITTER);
}
static void owner(void) {
    fc_notify(c, FC_SPLITTER);
    await_state(FC_ACTIVE);
    uint64_t pos = fc_load(&slot()->cursor);
    expect("a new owner's cursor", pos, 3);
    expect("a new owner's spilled", fc_load(&slot()->spilled), 3);
    expect("a new owner's overrun", fc_peek(&slot()->overrun_bytes), 0);
    expect("a new owner's place", slot()->granted, 3);
    fc_store(&slot()->overrun_bytes, 5);
    fc_advance(c, slot(), 4);
    leave_slot();
}
/* The next one begins when the slot is seen free, and withdraws at once. */
static void withdrawing_owner(void) {
    while (!fc_slot_claim(slot(), 0, 2)) {
        uint32_t seen = fc_load32(&c->seq);
        if ((fc_load32(&slot()->state) & 3) != FC_FREE) fc_sleep_slot(c, SPILLED, FC_NEVER - 1, seen, WAIT_NS);
    }
    expect("overrun of a slot that was claimed", fc_peek(&slot()->overrun_bytes), 0);
    leave_slot();
}
static void granting_splitter(void) {
    for (int freed = 0; freed < 2;) {
        uint32_t seen = fc_load32(&c->seq), state = fc_load32(&slot()->state) & 3;
        if (state == FC_WANT) {
            fc_slot_grant(slot(), 3, 1);
            fc_notify_slots(c, FC_NEVER - 1);
        } else if (state == FC_LEAVING) {
            freed++;
            fc_store32(&slot()->state, FC_FREE);
            fc_notify_slots(c, FC_NEVER - 1);
        } else {
            fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, WAIT_NS);
        }
    }
}
static void slot_is_free(void) { expect("state", slot()->state, FC_FREE); }

static const weak_scenario scenarios[] = {
    {"arrival", wide, {reader, splitter}, stream_checks, 3},
    {"recovery", wide, {successor, splitter}, stream_checks, 4},
    {"events", wide, {framer, event_reader}, nothing, 3},
    {"overrun", full_ring, {overwriter, tail_mover, lossy}, nothing, 4},
    {"log", an_event, {log_begins, log_reader}, nothing, 9},
    {"wrap", one_position, {reader, splitter, lossless}, stream_checks, 2},
    {"stream", stream, {reader, splitter, lossless}, stream_checks, 1},
    {"growth", growing, {reader, splitter, lossless, allocator}, stream_checks, 1},
    {"spill", nearly_full, {spiller, spill_splitter, one_more, spill_writer}, nothing, 2},
    {"drops", full_drop_log, {dropper, drop_splitter}, nothing, 3},
    {"dropping", one_position, {begins_to_drop, frees_one, reads_one}, nothing, 3},
    {"slots", a_wanted_slot, {owner, granting_splitter, withdrawing_owner}, slot_is_free, 2},
    {0},
};

int main(int argc, char **argv) {
    static const struct { const void *word; const char *name; } named[] = {
        {&c->seq, "seq"}, {&c->head, "head"}, {&c->framed, "framed"}, {&c->tail, "tail"}, {&c->events, "events"},
        {&c->events_from, "events_from"}, {&c->ready, "ready"}, {&c->grown, "grown"}, {&c->mode, "mode"},
        {&c->ndrops, "ndrops"}, {&c->drops_done, "drops_done"}, {&c->rec_state, "rec_state"}, {&c->ended_rec, "ended_rec"},
        {&c->sleepers_reader, "sleepers_reader"}, {&c->sleepers_splitter, "sleepers_splitter"}, {&c->sleepers_slots, "sleepers_slots"},
        {&shared.cells[0], "cell 0"}, {&shared.cells[1], "cell 1"}, {&shared.cells[2], "cell 2"}, {&shared.log[0], "log 0"},
    };
    weak_shared(&shared, sizeof shared);
    for (size_t i = 0; i < sizeof named / sizeof *named; i++) weak_name(named[i].word, named[i].name);
    weak_name(&slot()->state, "state"), weak_name(&slot()->cursor, "cursor"), weak_name(&slot()->want, "want");
    weak_name(&slot()->spilled, "spilled"), weak_name(&slot()->overrun_bytes, "overrun_bytes");
    return weak_main(argc, argv, scenarios);
}
