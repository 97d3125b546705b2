/* The operations of ring_instructions.c: from which state each begins, what it does, and what it is for. */
#include "ring_turns.h"

enum { DIED_WITH = 13 }; /* bytes that a reader has read and not told of */
#define LONG_NS 1000000000000u /* beyond the deadline: who sleeps so long was not woken */

/* Who dies in an operation; his successor goes on. */
enum role { READER, SPLITTER, CONSUMER, NOBODY };

typedef struct {
    const char *name;
    enum role role;
    void (*prepare)(void), (*run)(void);
    int (*done)(const fc_control *was); /* it has done what it is for */
    void (*wake)(void);                 /* what it waits for */
} operation;

/* ---- from where operations begin ---- */

/* Refill the pipe with what the source has not sent yet. */
static void refill(void) {
    static uint8_t rest[SOURCE];
    while (pipe_holds())
        if (read(pipe_ends[0], rest, sizeof rest) < 0) abort();
    if (write(pipe_ends[1], source + taken, SOURCE - taken) != (ssize_t)(SOURCE - taken)) abort();
}
static void map_small(void) {
    memory.now = &memory.small;
    memory.following = 0;
}
static void begin(void) {
    memset(c, 0, control_bytes);
    memset(data, 0, CAPACITY);
    memset(out, 0, sizeof *out);
    map_small();
    c->capacity = CAPACITY, c->ready = CAPACITY, c->first = FIRST, c->grown = FC_NEVER;
    c->rec_id = 1, c->rec_state = FC_READING;
    for (uint32_t i = 0; i < SLOTS; i++) { /* as former owners left them */
        fc_slot *s = fc_slot_at(c, i);
        s->want = FC_NEVER, s->cursor = WORD, s->spilled = WORD;
    }
    if (!fc_slot_claim(fc_slot_at(c, WRITER), FC_LOSSLESS | FC_ESSENTIAL, LIVING)) abort();
    serve();
    taken = 0;
    refill();
    c->sleepers_splitter = 1;
}
static void begun(void) {
    begin();
    for (int i = 0; i < 4; i++) reader_turn();
    splitter_turn();
    for (int i = 0; i < 3; i++) write_piece();
    for (int i = 0; i < 2; i++) reader_turn();
}
static void full_small(void) {
    begun();
    while ((fc_store_limit(c) & ~(uint64_t)(WORD - 1)) > fc_load(&c->head)) reader_turn();
}
static void full_large(void) {
    full_small();
    reader_turn(); /* grows */
    while ((fc_store_limit(c) & ~(uint64_t)(WORD - 1)) > fc_load(&c->head)) reader_turn();
}
static void dropping(void) {
    full_large();
    for (int i = 0; i < 3; i++) reader_turn();
}
static void dropping_with_room(void) {
    dropping();
    splitter_turn();
    writer_turn();
    splitter_turn();
}
/* The splitter has a drop to tell of that the reader has closed; it is the second of the recording. */
static void dropped_twice(void) {
    dropping_with_room();
    do reader_turn();
    while (fc_load32(&c->mode) == FC_DROP || (fc_store_limit(c) & ~(uint64_t)(WORD - 1)) > fc_load(&c->head));
    for (int i = 0; i < 3; i++) reader_turn();
    splitter_turn();
    writer_turn();
    free_tail();
    for (int i = 0; i < 6; i++) reader_turn();
}
static void died_storing(void) {
    begun();
    if (read(pipe_ends[0], at(fc_load(&c->head)), DIED_WITH) != DIED_WITH) abort();
    taken = SOURCE - pipe_holds();
}
static void died_dropping(void) {
    static uint8_t scratch[DIED_WITH];
    dropping();
    if (read(pipe_ends[0], scratch, DIED_WITH) != DIED_WITH) abort();
    taken = SOURCE - pipe_holds();
}
static void sleeper(void) { /* another consumer, asleep until all that has arrived is framed */
    fc_slot_at(c, SLEEPING)->want = fc_load(&c->head) & ~(uint64_t)(WORD - 1);
    c->sleepers_slots |= fc_slot_bit(SLEEPING);
}
static void begun_with_sleeper(void) {
    begun();
    sleeper();
}
static void freeing(void) {
    full_large();
    splitter_turn();
    writer_turn();
    c->sleepers_reader = 1;
}
static void wanted(void) {
    dropping_with_room();
    if (!fc_slot_claim(fc_slot_at(c, CLAIMED), FC_LOSSLESS, LIVING)) abort();
    sleeper();
}
static void left(void) {
    wanted();
    serve();
    leave(CLAIMED);
}
static void framed_while_dropping(void) {
    dropping();
    splitter_turn();
}
static void full_and_framed(void) {
    full_large();
    splitter_turn();
}

/* ---- operations ---- */

static void publish(void) { reader_turn(); }
static void thrice(void) { for (int i = 0; i < 3; i++) reader_turn(); }
static void recover(void) {
    fc_recover_head(c, taken);
    fc_notify(c, FC_SPLITTER);
}
static void frame_now(void) { frame(0); }
static void claim(void) {
    if (!fc_slot_claim(fc_slot_at(c, CLAIMED), FC_LOSSLESS, (uint32_t)getpid())) abort();
    fc_notify(c, FC_SPLITTER);
}
static void claim_and_leave(void) {
    claim();
    leave(CLAIMED);
}
static void claim_and_adopt(void) {
    claim();
    serve();
    fc_slot_adopt(fc_slot_at(c, CLAIMED), (uint32_t)getpid());
    leave(CLAIMED);
}
static void wait_for_room(void) { fc_wait_for_room(c, fc_load(&c->head), WORD, LONG_NS); }
static void give_room(void) {
    writer_turn();
    splitter_turn();
}
static void wait_for_arrival(void) {
    uint32_t seen = fc_load32(&c->seq);
    fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, LONG_NS);
}
static void arrive(void) {
    fc_publish_head(c, fc_load(&c->head));
}
static void wait_for_framed(void) {
    uint32_t seen = fc_load32(&c->seq);
    uint64_t want = fc_load(&c->head) & ~(uint64_t)(WORD - 1);
    if (fc_readable(c) < want) fc_sleep_slot(c, WRITER, want, seen, LONG_NS);
}

static int stored(const fc_control *was) { return c->head > was->head && c->mode == FC_STORE; }
static int grew(const fc_control *was) {
    return c->head > was->head && was->grown == FC_NEVER && c->grown != FC_NEVER;
}
static int dropped(const fc_control *was) {
    return c->ndrops == was->ndrops + 1 && c->mode == FC_DROP && fc_drop_at(c, was->ndrops)->bytes > PIECE;
}
static int stored_again(const fc_control *was) { return was->mode == FC_DROP && stored(was); }
static int recovered(const fc_control *was) { return c->head == was->head + DIED_WITH; }
static int recovered_drop(const fc_control *was) {
    return c->drops[0].bytes == was->drops[0].bytes + DIED_WITH;
}
static int framed(const fc_control *was) { return c->framed > was->framed; }
static int told(const fc_control *was) { return was->events && c->events > was->events && framed(was); }
static int freed(const fc_control *was) { return c->tail > was->tail && was->sleepers_reader; }
static uint32_t state_now(const fc_control *was) { (void)was; return fc_slot_at(c, CLAIMED)->state & 3; }
static int granted(const fc_control *was) { return state_now(was) == FC_ACTIVE; }
static int is_free(const fc_control *was) { return state_now(was) == FC_FREE; }
static int is_wanted(const fc_control *was) { return state_now(was) == FC_WANT; }
static int is_left(const fc_control *was) { return state_now(was) == FC_LEAVING; }
static int consumed(const fc_control *was) {
    return fc_slot_at(c, WRITER)->cursor == fc_slot_at((fc_control *)was, WRITER)->cursor + OUT_PIECE;
}
static int woken(const fc_control *was) { return c->seq != was->seq; }

static const operation operations[] = {
    {"publish", READER, begun, publish, stored, NULL},
    {"grow", READER, full_small, thrice, grew, NULL},
    {"drop", READER, full_large, thrice, dropped, NULL},
    {"store-again", READER, dropping_with_room, thrice, stored_again, NULL},
    {"recover", READER, died_storing, recover, recovered, NULL},
    {"recover-dropping", READER, died_dropping, recover, recovered_drop, NULL},
    {"frame", SPLITTER, begun_with_sleeper, frame_now, framed, NULL},
    {"gaps", SPLITTER, dropped_twice, frame_now, told, NULL},
    {"free-tail", SPLITTER, freeing, free_tail, freed, NULL},
    {"grant", SPLITTER, wanted, serve, granted, NULL},
    {"free-slot", SPLITTER, left, serve, is_free, NULL},
    {"consume", CONSUMER, framed_while_dropping, write_piece, consumed, NULL},
    {"claim", NOBODY, dropping_with_room, claim, is_wanted, NULL},
    {"withdraw", NOBODY, dropping_with_room, claim_and_leave, is_left, NULL},
    {"adopt-leave", NOBODY, dropping_with_room, claim_and_adopt, is_left, NULL},
    {"wait-room", READER, full_and_framed, wait_for_room, woken, give_room},
    {"wait-arrival", SPLITTER, begun, wait_for_arrival, woken, arrive},
    {"wait-framed", CONSUMER, begun_with_sleeper, wait_for_framed, woken, frame_now},
};
