/* ring: one producer process that fills blocks in place, and processes that read every word of them.
 *
 *     ring flow BLOCK BYTES CONSUMERS       through the ring: bytes a second, and up to the consumers' end alone
 *     ring free BLOCK BYTES CONSUMERS       the same work on the same memory by nobody's leave
 *     ring wake COUNT                       from publication to the consumer running: nanoseconds, one a line
 *
 * The clock runs until producer and consumers are done, in either mode. All ask for SCHED_BATCH, as the engine's
 * processes do where a source can wait.
 */
#include <sys/wait.h>

#include "ringside.h"

enum { GATHER = 1 << 19 };

typedef struct {
    uint64_t sum, ended_ns; /* a consumer's */
    uint64_t go;
} shared;

static shared *told;

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

static void produce(uint64_t block, uint64_t bytes, uint32_t consumers, int free_running) {
    for (uint64_t pos = 0; pos < bytes; pos += block) {
        if (!free_running) await_room(pos + block, consumers);
        fill(pos, block);
        if (!free_running) publish(pos + block);
    }
}

/* ---- consumers ---- */

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
    if (!block || block % 8 || bytes % block || CAPACITY % block || give_slots(consumers)) return 2;
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
    if (give_slots(1)) return 2;
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
