/* _ring.h and _map.h under SIGKILL: a process is stopped at an operation on a ring, goes on instruction by
 * instruction, and is killed after the k-th, for every k. What it leaves behind must be consistent; a successor takes
 * over as the engine's does, and brings the stream to its end.
 *
 * usage: ring_instructions OPERATION... For each a line "operation kills"; exit status 1 and what was wrong.
 */
#define _GNU_SOURCE
#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/ptrace.h>
#include <sys/wait.h>

#include "ring_operations.h"

enum { MOST_STEPS = 20000, DEADLINE_S = 100 };

static const operation *op;

/* ---- what must hold ---- */

/* `got` are the bytes from position `from` up to `to`; gaps are where the drop log says. */
static uint64_t lost_before(uint64_t pos, uint64_t *next) {
    uint64_t lost = 0;
    *next = FC_NEVER;
    for (uint64_t n = 0; n < c->ndrops; n++) {
        fc_drop *d = fc_drop_at(c, n);
        if (d->position > pos) {
            *next = d->position;
            break;
        }
        lost += d->bytes;
    }
    return lost;
}
static void same_as_source(const char *what, const uint8_t *got, uint64_t from, uint64_t to) {
    for (uint64_t pos = from, next; pos < to; pos = next) {
        uint64_t lost = lost_before(pos, &next);
        if (next > to) next = to;
        if (memcmp(got + (pos - from), source + pos + lost, next - pos))
            fail(what, "is not the source's between %" PRIu64 " and %" PRIu64, pos, next);
    }
}
static uint64_t checked_drops(void) {
    uint64_t lost = 0, position = 0, n;
    for (n = 0; n < c->ndrops; n++) {
        fc_drop *d = fc_drop_at(c, n);
        need(n == 0 || d->position > position, "drop %" PRIu64, n);
        position = d->position;
        need(d->recording == 1 && d->position <= c->head);
        need(d->before == lost, "drop %" PRIu64 " of %" PRIu64, n, c->ndrops);
        need(d->bytes % WORD == 0 || d->position == c->head);
        lost += d->bytes;
    }
    if (c->mode == FC_DROP) need(n && position == c->head);
    return lost;
}
static void check_events(void) {
    uint64_t next = 0;
    need(c->drops_done <= c->ndrops);
    for (uint64_t i = 0; i < c->events; i++) {
        gap *g = &out->gaps[i];
        fc_drop *d = fc_drop_at(c, g->drop);
        need(g->drop < c->ndrops && g->drop >= next);
        need(g->position == d->position && g->bytes == d->bytes && g->bytes);
        need(g->position <= c->framed);
        next = g->drop + 1;
    }
    for (; next < c->ndrops; next++) /* no drop below `framed` without its event */
        need(fc_drop_at(c, next)->position >= c->framed || !fc_drop_at(c, next)->bytes,
             "drop %" PRIu64, next);
}
static void check_slots(void) {
    for (uint32_t i = 0; i < SLOTS; i++) {
        fc_slot *s = fc_slot_at(c, i);
        uint32_t state = s->state & 3, owner = fc_slot_owner(s->state);
        if (state == FC_WANT || state == FC_ACTIVE)
            need(owner == LIVING || owner == dead_pid, "slot %u, state %u, owner %u", i, state, owner);
        if (state != FC_ACTIVE) continue;
        need(s->cursor <= c->framed && s->spilled <= c->framed && s->granted <= s->cursor, "slot %u", i);
        need(!s->lossless || s->cursor >= c->tail, "slot %u", i);
        need(s->lossless == (s->state >> 8 & FC_LOSSLESS), "slot %u", i);
    }
}
static void check_growth(const fc_control *was) {
    if (c->grown == FC_NEVER) return;
    need(was->grown == FC_NEVER || was->grown == c->grown);
    need(c->grown % FC_PAGE == 0 && c->grown >= FIRST);
    need(was->grown != FC_NEVER || (c->grown >= was->head && c->grown - FIRST <= was->tail));
}
/* The ring right after a death; `was`: before the operation. */
static void check(const fc_control *was) {
    uint64_t lost = checked_drops();
    need(c->tail <= c->framed && c->framed <= c->head && c->head <= c->tail + fc_room(c));
    need(c->tail >= was->tail && c->framed >= was->framed && c->head >= was->head);
    need(c->ndrops >= was->ndrops && c->events >= was->events && c->drops_done >= was->drops_done);
    need(c->framed % WORD == 0);
    need(c->head + lost <= taken && taken - c->head - lost <= PIECE,
         "head %" PRIu64 ", lost %" PRIu64, c->head, lost);
    need((int32_t)(c->seq - was->seq) >= 0);
    need(c->sleepers_reader - was->sleepers_reader <= 1 && c->sleepers_splitter - was->sleepers_splitter <= 1);
    need((was->sleepers_slots & ~c->sleepers_slots) == 0); /* who is alive sleeps on */
    need(fc_slot_at(c, SLEEPING)->want == fc_slot_at((fc_control *)was, SLEEPING)->want);
    check_growth(was);
    check_events();
    check_slots();
    same_as_source("ring", at(c->tail), c->tail, c->head);
    same_as_source("file", out->file, 0, fc_slot_at(c, WRITER)->cursor);
}

/* ---- whoever goes on ---- */

static void succeed(enum role role) {
    if (role == READER) recover();
    if (role == SPLITTER && c->events) {
        uint64_t told = out->gaps[c->events - 1].drop + 1;
        if (told > c->drops_done) fc_store(&c->drops_done, told);
    }
    if (role == CONSUMER) fc_slot_adopt(fc_slot_at(c, WRITER), LIVING);
    for (uint32_t i = 0; i < SLOTS; i++) { /* the supervisor: slots of a process that is no more */
        uint32_t state = fc_load32(&fc_slot_at(c, i)->state);
        if ((state & 3) != FC_LEAVING && state != FC_FREE && fc_slot_owner(state) == dead_pid)
            fc_store32(&fc_slot_at(c, i)->state, FC_FREE);
    }
}
/* Whoever has left a slot behind is gone, and so is another who waited for his grant: the writer alone goes on. */
static void finish(void) {
    uint64_t dropped = checked_drops(), most = 10 * SOURCE / PIECE;
    uint32_t state = fc_load32(&fc_slot_at(c, CLAIMED)->state);
    splitter_turn();
    if ((state & 3) == FC_WANT || (state & 3) == FC_ACTIVE) leave(CLAIMED);
    for (; pipe_holds() || fc_load32(&c->mode) == FC_DROP; most--) {
        need(most > 0, "the stream does not end");
        splitter_turn();
        writer_turn();
        free_tail();
        reader_turn();
    }
    fc_store32(&c->rec_state, FC_ENDED);
    splitter_turn();
    frame(1);
    writer_turn();
    free_tail();
    uint64_t lost = checked_drops();
    check_events();
    need(lost - dropped <= 2 * PIECE, "dropped without need: %" PRIu64 ", %" PRIu64, dropped, lost);
    need(c->head + lost == SOURCE && c->framed == c->head && c->drops_done == c->ndrops);
    need(fc_slot_at(c, WRITER)->cursor == c->head);
    same_as_source("file", out->file, 0, c->head);
    for (uint32_t i = 0; i < SLOTS; i++)
        need(i == WRITER || fc_slot_at(c, i)->state == FC_FREE, "slot %u for ever", i);
    need(c->tail == (c->head + fc_guard(c)) - fc_room(c) || c->tail == c->framed);
}

/* ---- stepping and killing ---- */

static char state_of(pid_t pid) {
    char path[64], text[512], *end;
    snprintf(path, sizeof path, "/proc/%d/stat", pid);
    int fd = open(path, O_RDONLY);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (n <= 0) abort();
    close(fd);
    text[n] = 0;
    end = strrchr(text, ')');
    return end[2];
}
/* Wait for a process to stop; 0: it sleeps. */
static int stopped(pid_t pid, int may_sleep) {
    int status;
    while (may_sleep) {
        if (waitpid(pid, &status, WNOHANG) == pid) break;
        if (state_of(pid) == 'S') return 0;
        sched_yield();
    }
    if (!may_sleep && waitpid(pid, &status, 0) != pid) abort();
    if (!WIFSTOPPED(status)) fail("the operation ended by itself", "status %x", status);
    if (WSTOPSIG(status) != SIGTRAP && WSTOPSIG(status) != SIGSTOP)
        fail("the operation got a signal", "%d", WSTOPSIG(status));
    return 1;
}
static int step(pid_t pid, int may_sleep) {
    if (ptrace(PTRACE_SINGLESTEP, pid, NULL, NULL)) abort();
    return stopped(pid, may_sleep);
}
static pid_t stopped_child(void) {
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        if (ptrace(PTRACE_TRACEME, 0, NULL, NULL)) _exit(2);
        syscall(SYS_kill, getpid(), SIGSTOP);
        __atomic_store_n(&out->inside, 1, __ATOMIC_SEQ_CST);
        op->run();
        __atomic_store_n(&out->inside, 0, __ATOMIC_SEQ_CST);
        _exit(0);
    }
    stopped(pid, 0);
    if (ptrace(PTRACE_SETOPTIONS, pid, NULL, (void *)PTRACE_O_EXITKILL)) abort();
    for (int n = 0; !out->inside; n++) {
        if (n == MOST_STEPS) fail("the operation does not begin", "");
        step(pid, 0);
    }
    return pid;
}
static void kill_it(pid_t pid) {
    int status;
    kill(pid, SIGKILL);
    if (waitpid(pid, &status, 0) != pid || !WIFSIGNALED(status) || WTERMSIG(status) != SIGKILL) abort();
}
/* Kill an operation after `kill_at` steps, of which falling asleep is one; 1: it was over before. */
static int killed(void) {
    pid_t pid = stopped_child();
    uint64_t steps;
    dead_pid = (uint32_t)pid;
    for (steps = 0; steps < kill_at && out->inside; steps++) {
        if (step(pid, op->wake != NULL)) continue;
        if (++steps == kill_at) break;
        op->wake();
        stopped(pid, 0);
    }
    int over = !out->inside;
    if (steps > MOST_STEPS) fail("the operation does not end", "");
    kill_it(pid);
    return over;
}
/* The same operation by a successor, to its end: what the dead one left must not keep it asleep. */
static void wake_successor(void) {
    int status, called = 0;
    pid_t pid = fork();
    if (pid < 0) abort();
    if (pid == 0) {
        op->run();
        _exit(0);
    }
    while (waitpid(pid, &status, WNOHANG) == 0) {
        if (!called && state_of(pid) == 'S') {
            op->wake();
            called = 1;
        }
        sched_yield();
    }
    need(status == 0);
}

/* Two processes take turns: on one processor that is faster. */
static void stay_here(void) {
    cpu_set_t here;
    CPU_ZERO(&here);
    CPU_SET(sched_getcpu(), &here);
    if (sched_setaffinity(0, sizeof here, &here)) abort();
}
static void *shared(size_t bytes, int fd) {
    void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | (fd < 0 ? MAP_ANONYMOUS : 0), fd, 0);
    if (p == MAP_FAILED) abort();
    return p;
}
static void run(const operation *this) {
    static uint8_t data_was[CAPACITY];
    static outside out_was;
    fc_control *was = malloc(control_bytes);
    int over = 0;
    op = this;
    under_way = op->name;
    op->prepare();
    memcpy(was, c, control_bytes);
    memcpy(data_was, data, CAPACITY);
    out_was = *out;
    taken = SOURCE - pipe_holds();
    uint64_t taken_before = taken;
    for (kill_at = 0; !over; kill_at++) {
        memcpy(c, was, control_bytes);
        memcpy(data, data_was, CAPACITY);
        *out = out_was;
        map_small();
        fc_mapped(&memory, c);
        taken = taken_before;
        refill();
        over = killed();
        taken = SOURCE - pipe_holds();
        check(was);
        if (over) need(op->done(was));
        succeed(op->role);
        check(was);
        if (op->wake && !over) wake_successor();
        finish();
    }
    printf("%s %" PRIu64 "\n", op->name, kill_at);
    free(was);
}

int main(int argc, char **argv) {
    alarm(DEADLINE_S);
    stay_here();
    control_bytes = fc_control_bytes() + FC_SLOTS * FC_PAGE;
    int fd = memfd_create("ring", 0);
    if (fd < 0 || ftruncate(fd, CAPACITY) || pipe2(pipe_ends, O_NONBLOCK)) return 2;
    if (fcntl(pipe_ends[0], F_SETPIPE_SZ, 2 * SOURCE) < SOURCE) return 2;
    c = shared(control_bytes, -1);
    data = shared(CAPACITY, fd);
    out = shared(sizeof *out, -1);
    c->first = FIRST, c->capacity = CAPACITY;
    if (fc_map_open(&memory, c, fd, PROT_READ | PROT_WRITE)) return 2;
    for (uint64_t i = 0; i <= SOURCE / WORD; i++) memcpy(source + i * WORD, &(uint64_t){i + 1}, WORD);
    for (size_t i = 0; i < sizeof operations / sizeof *operations; i++)
        for (int wanted_one = 1; wanted_one < argc; wanted_one++)
            if (!strcmp(argv[wanted_one], operations[i].name)) run(&operations[i]);
    return 0;
}
