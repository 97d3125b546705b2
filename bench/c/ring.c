/* ring: one producer process that fills blocks in place, and processes that read every word of them.
 *
 *     ring flow BLOCK BYTES CONSUMERS       through the ring: bytes a second, and up to the consumers' end alone
 *     ring free BLOCK BYTES CONSUMERS       the same work on the same memory by nobody's leave
 *     ring wake COUNT                       from publication to the consumer running: nanoseconds, one a line
 *
 * The producer is reader and splitter at once: it publishes `head` and `framed`, and moves `tail` itself. The clock
 * runs until producer and consumers are done, in either mode. All ask for SCHED_BATCH, as the engine's processes do
 * where a source can wait.
 */
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "_map.h"

enum { CAPACITY = 1 << 25, LOOK_NS = 100000000, GATHER = 1 << 19 };

typedef struct {
    uint64_t sum, ended_ns; /* a consumer's */
    uint64_t go;
} shared;

static fc_control *c;
static fc_memory memory;
static shared *told;

static void die(const char *what) {
    perror(what);
    exit(2);
}
static void *common(size_t bytes) {
    void *at = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    if (at == MAP_FAILED) die("mmap");
    return at;
}
static void make_ring(void) {
    int fd = memfd_create("ring", MFD_CLOEXEC);
    c = common(fc_control_bytes() + FC_SLOTS * FC_PAGE);
    c->capacity = c->first = c->ready = CAPACITY;
    c->grown = FC_NEVER;
    for (uint32_t i = 0; i < FC_SLOTS; i++) fc_slot_at(c, i)->want = FC_NEVER;
    if (fd < 0 || ftruncate(fd, CAPACITY) || fc_map_open(&memory, c, fd, PROT_READ | PROT_WRITE)) die("ring");
    memset(memory.small.base, 1, 2 * CAPACITY);
}

/* ---- the work, with the ring and without ---- */

static void fill(uint64_t pos, uint64_t bytes) {
    uint64_t *block = (uint64_t *)fc_at(&memory, c, pos);
    for (uint64_t i = 0; i < bytes / 8; i++) block[i] = pos / 8 + i;
}
static uint64_t sum(uint64_t pos, uint64_t bytes) {
    const uint64_t *block = (const uint64_t *)fc_at(&memory, c, pos);
    uint64_t total = 0;
    for (uint64_t i = 0; i < bytes / 8; i++) total += block[i];
    return total;
}
static void await_go(void) {
    while (!fc_load(&told[0].go)) sched_yield();
}

/* ---- producer ---- */

static void give_up_memory(uint32_t consumers) {
    uint64_t framed = fc_peek(&c->framed), tail = fc_peek(&c->tail), floor = framed;
    for (uint32_t i = 0; i < consumers; i++) {
        uint64_t done = fc_slot_done(fc_slot_at(c, i), framed, tail);
        if (done < floor) floor = done;
    }
    fc_publish_tail(c, floor);
}
static void await_room(uint64_t upto, uint32_t consumers) {
    while (fc_store_limit(c) < upto) {
        uint32_t seen;
        give_up_memory(consumers);
        if (fc_store_limit(c) >= upto) return;
        seen = fc_load32(&c->seq);
        __atomic_fetch_add(&c->sleepers_reader, 1, __ATOMIC_RELAXED); /* as a reader: consumers tell the splitter */
        fc_fence_full(&c->seq);
        give_up_memory(consumers);
        if (fc_store_limit(c) < upto) fc_sleep(c, &c->sleepers_splitter, FC_SPLITTER, seen, LOOK_NS);
        __atomic_fetch_sub(&c->sleepers_reader, 1, __ATOMIC_RELAXED);
    }
}
static void publish(uint64_t pos) {
    fc_publish_head(c, pos);
    fc_publish_framed(c, pos);
}
static void produce(uint64_t block, uint64_t bytes, uint32_t consumers, int free_running) {
    for (uint64_t pos = 0; pos < bytes; pos += block) {
        if (!free_running) await_room(pos + block, consumers);
        fill(pos, block);
        if (!free_running) publish(pos + block);
    }
}

/* ---- consumers ---- */

static uint64_t more_than(uint32_t i, uint64_t pos, uint64_t want) {
    for (;;) {
        uint32_t seen = fc_load32(&c->seq);
        uint64_t framed = fc_readable(c);
        if (framed > pos) return framed;
        fc_sleep_slot(c, i, want, seen, LOOK_NS);
    }
}
static void consume(uint32_t i, uint64_t block, uint64_t bytes, int free_running) {
    fc_slot *s = fc_slot_at(c, i);
    uint64_t total = 0, framed = free_running ? bytes : 0, gather = block > GATHER ? block : GATHER;
    await_go();
    for (uint64_t pos = 0; pos < bytes;) {
        if (framed < pos + block) framed = more_than(i, pos, pos + gather < bytes ? pos + gather : bytes);
        total += sum(pos, block);
        pos += block;
        if (!free_running) fc_advance(c, s, pos);
    }
    told[i].ended_ns = fc_now_ns();
    told[i].sum = total;
}
static int flow(uint64_t block, uint64_t bytes, uint32_t consumers, int free_running) {
    uint64_t words = bytes / 8, first, last, read = 0;
    if (!consumers || consumers > FC_SLOTS || !block || block % 8 || bytes % block || CAPACITY % block) return 2;
    for (uint32_t i = 0; i < consumers; i++) {
        if (!fc_slot_claim(fc_slot_at(c, i), FC_LOSSLESS, 1)) return 2;
        fc_slot_grant(fc_slot_at(c, i), 0, FC_LOSSLESS);
    }
    fflush(stdout);
    for (uint32_t i = 0; i < consumers; i++)
        if (fork() == 0) {
            consume(i, block, bytes, free_running);
            _exit(0);
        }
    fc_store(&told[0].go, 1);
    first = fc_now_ns();
    produce(block, bytes, consumers, free_running);
    last = fc_now_ns();
    while (wait(NULL) > 0) {}
    for (uint32_t i = 0; i < consumers; i++) {
        if (!free_running && told[i].sum != words * (words - 1) / 2) {
            fprintf(stderr, "ring: consumer %u read something else\n", i);
            return 1;
        }
        if (told[i].ended_ns > read) read = told[i].ended_ns;
    }
    if (read > last) last = read;
    printf("%.0f %.0f\n", bytes / ((last - first) * 1e-9), bytes / ((read - first) * 1e-9));
    return 0;
}

/* ---- waking ---- */

static int wake(uint64_t count) {
    uint64_t *took = common(count * sizeof *took);
    if (!fc_slot_claim(fc_slot_at(c, 0), FC_LOSSLESS, 1) || !fc_slot_grant(fc_slot_at(c, 0), 0, FC_LOSSLESS)) return 2;
    if (fork() == 0) {
        for (uint64_t n = 0; n < count; n++) {
            more_than(0, n * 8, n * 8 + 8);
            took[n] = fc_now_ns() - *(const uint64_t *)fc_at(&memory, c, n * 8);
            fc_advance(c, fc_slot_at(c, 0), n * 8 + 8);
        }
        _exit(0);
    }
    for (uint64_t n = 0; n < count; n++) {
        struct timespec pause = {0, 500000}; /* it sleeps when the word comes */
        while (fc_load(&fc_slot_at(c, 0)->want) != n * 8 + 8) sched_yield();
        nanosleep(&pause, NULL);
        *(uint64_t *)fc_at(&memory, c, n * 8) = fc_now_ns();
        publish(n * 8 + 8);
    }
    wait(NULL);
    for (uint64_t n = 0; n < count; n++) printf("%llu\n", (unsigned long long)took[n]);
    return 0;
}

int main(int argc, char **argv) {
    struct sched_param none = {0};
    if (sched_setscheduler(0, SCHED_BATCH, &none)) die("SCHED_BATCH");
    make_ring();
    told = common(FC_SLOTS * sizeof *told);
    if (argc == 3 && !strcmp(argv[1], "wake")) return wake(strtoull(argv[2], NULL, 10));
    if (argc == 5 && (!strcmp(argv[1], "flow") || !strcmp(argv[1], "free")))
        return flow(strtoull(argv[2], NULL, 10), strtoull(argv[3], NULL, 10), (uint32_t)atoi(argv[4]), argv[1][1] == 'r');
    fputs("usage: ring flow|free BLOCK BYTES CONSUMERS, or ring wake COUNT\n", stderr);
    return 2;
}
