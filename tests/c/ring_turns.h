/* A ring, and the turns of the engine on it, for ring_instructions.c: reader, splitter and NAS writer, step by step.
 * Byte b of the source is byte b % 8 of the word 1 + b / 8.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>

#include "_map.h"

enum { CAPACITY = 1 << 16, FIRST = 5 << 12, WORD = 8, SOURCE = 24 << 13, PIECE = 1501, OUT_PIECE = 64 };
enum { WRITER = 0, CLAIMED = 1, SLEEPING = 2, SLOTS = 3, LIVING = 1 }; /* slots, and who owns them */

typedef struct { uint64_t position, bytes, drop; } gap;

/* Shared like the ring: the event log, which `events` publishes, and the file that the writer writes. */
typedef struct {
    uint32_t inside; /* an operation is under way */
    gap gaps[FC_DROPS];
    uint8_t file[SOURCE];
} outside;

static fc_control *c;
static size_t control_bytes;
static fc_memory memory;
static uint8_t *data, source[SOURCE + 8];
static outside *out;
static int pipe_ends[2];
static uint64_t taken; /* what all readers have read */
static const char *under_way; /* the operation's name */
static uint64_t kill_at;
static uint32_t dead_pid;

static void fail(const char *rule, const char *more, ...) {
    va_list given;
    fprintf(stderr, "%s, killed at %" PRIu64 ": %s ", under_way, kill_at, rule);
    va_start(given, more);
    vfprintf(stderr, more, given);
    va_end(given);
    fputc('\n', stderr);
    exit(1);
}
#define need(holds, ...) do { if (!(holds)) fail(#holds, "" __VA_ARGS__); } while (0)

static uint64_t pipe_holds(void) {
    int n;
    if (ioctl(pipe_ends[0], FIONREAD, &n)) abort();
    return (uint64_t)n;
}
static uint8_t *at(uint64_t pos) { return fc_at(&memory, c, pos); }

static void reader_turn(void) {
    uint64_t head = fc_load(&c->head), limit = fc_store_limit(c);
    ssize_t n;
    if (fc_load32(&c->mode) == FC_DROP) {
        static uint8_t scratch[PIECE];
        uint64_t odd = fc_drop_at(c, fc_peek(&c->ndrops) - 1)->bytes % WORD;
        int room = limit > head && limit - head >= fc_room(c) / 8;
        if (room && !odd) {
            fc_store32(&c->mode, FC_STORE);
        } else {
            n = read(pipe_ends[0], scratch, room ? WORD - odd : PIECE);
            if (n > 0) fc_drop_add(c, (uint64_t)n);
        }
        return;
    }
    limit &= ~(uint64_t)(WORD - 1);
    if (limit <= head && fc_may_grow(c)) {
        fc_grow(c);
    } else if (limit <= head) {
        if (fc_drop_begin(c, 1, fc_now_ns())) fail("the drop log is full", "");
    } else {
        uint64_t piece = limit - head < PIECE ? limit - head : PIECE;
        n = read(pipe_ends[0], at(head), piece);
        if (n > 0) fc_publish_head(c, head + (uint64_t)n);
    }
}
static void log_gaps(int final) {
    uint64_t done = fc_peek(&c->drops_done), head = fc_arrived(c), events = fc_peek(&c->events);
    for (; done < fc_load(&c->ndrops); done++) {
        fc_drop *d = fc_drop_at(c, done);
        if (d->position >= head && !final) break; /* open: its count still grows */
        if (d->position > fc_peek(&c->framed)) fc_publish_framed(c, d->position);
        if (fc_load(&d->bytes)) {
            out->gaps[events] = (gap){d->position, fc_load(&d->bytes), done};
            fc_commit_events(c, ++events);
        }
        fc_store(&c->drops_done, done + 1);
    }
}
static void frame(int final) {
    uint64_t top = fc_arrived(c) & ~(uint64_t)(WORD - 1);
    log_gaps(final);
    if (top > fc_peek(&c->framed)) fc_publish_framed(c, top);
}
static void serve(void) {
    for (uint32_t i = 0; i < SLOTS; i++) {
        fc_slot *s = fc_slot_at(c, i);
        uint32_t state = fc_load32(&s->state);
        if ((state & 3) == FC_WANT)
            fc_slot_grant(s, fc_peek(&c->framed), state >> 8 & FC_LOSSLESS);
        else if ((state & 3) == FC_LEAVING)
            fc_store32(&s->state, FC_FREE);
        else
            continue;
        fc_notify_slots(c, FC_NEVER - 1);
    }
}
static void free_tail(void) {
    uint64_t framed = fc_peek(&c->framed), tail = fc_peek(&c->tail), floor = framed, room = fc_room(c);
    uint64_t keep = fc_load(&c->head) + fc_guard(c);
    for (uint32_t i = 0; i < SLOTS; i++) {
        fc_slot *s = fc_slot_at(c, i);
        if ((fc_load32(&s->state) & 3) != FC_ACTIVE || !fc_load32(&s->lossless)) continue;
        uint64_t done = fc_slot_done(s, framed, tail);
        if (done < floor) floor = done;
    }
    keep = keep > room ? keep - room : 0;
    fc_publish_tail(c, floor < keep ? floor : keep);
}
static void splitter_turn(void) {
    frame(0);
    serve();
    free_tail();
}
static void write_piece(void) {
    fc_slot *s = fc_slot_at(c, WRITER);
    uint64_t pos = fc_load(&s->cursor), framed = fc_readable(c), n = framed - pos;
    if (n > OUT_PIECE) n = OUT_PIECE;
    memcpy(out->file + pos, at(pos), n);
    fc_advance(c, s, pos + n);
}
static void writer_turn(void) {
    while (fc_load(&fc_slot_at(c, WRITER)->cursor) < fc_readable(c)) write_piece();
}
static void leave(uint32_t i) {
    fc_store32(&fc_slot_at(c, i)->state, FC_LEAVING);
    fc_notify(c, FC_SPLITTER);
}
