/* See weak_memory.h. An execution is a list of choices (which thread goes on, which value a load takes, where in the
 * modification order a store comes); all lists are gone through, depth first, each by running the threads again. */
#define _GNU_SOURCE
#include <errno.h>
#include <inttypes.h>
#include <linux/futex.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <ucontext.h>

#include "weak_memory.h"

enum { WORDS = 64, VALUES = 64, CHOICES = 8192, STEPS = 4000, STACK = 1 << 16, SPACING = 64, NAMES = 64, NOBODY = -1 };
enum { READY, ASLEEP, ENDED };
enum { BY_THREAD, BY_VALUE };

/* The place in modification order that each word must not be seen before, and each thread's clock, for data races. */
typedef struct {
    int16_t place[WORDS];
    int16_t clock[WEAK_THREADS];
} view;

typedef struct {
    uint64_t value;
    int16_t place;
    int followed; /* a read-modify-write read it: nothing comes in between */
    view released;
} stored;

typedef struct {
    uintptr_t address;
    uint64_t initial;
    int size, nvalues, is_atomic, is_plain, writer;
    int16_t written, read[WEAK_THREADS];
    stored values[VALUES];
} word;

typedef struct {
    jmp_buf context;
    char *stack;
    int state;
    uint32_t bits;       /* asleep: who may wake it */
    view now, acquired, fenced;
} thread;

static word words[WORDS];
static int nwords;
static uint8_t *word_at;    /* 1 + its index in `words`, by address */
static uintptr_t base;
static size_t shared_bytes;
static thread threads[WEAK_THREADS];
static int nthreads, running = NOBODY;
static view total;          /* what the latest full fence has seen */
static int16_t futex_place; /* the futex word's value that the latest wake has seen */
static jmp_buf finished, failed;
static struct { const char *what; uint64_t a, b; } failure;

static struct { int taken, of; } choices[CHOICES];
static int nchoices, depth, preemptions, steps, tracing, at_random;
static uint64_t rng;
static unsigned stay;       /* at random: in so many of eight cases a thread goes on */
static const weak_scenario *scenario;
static struct { uintptr_t address; const char *name; } names[NAMES];
static int nnames;

/* ---- choices ---------------------------------------------------------------------------------- */

static uint64_t random_below(uint64_t n) {
    rng ^= rng << 13, rng ^= rng >> 7, rng ^= rng << 17;
    return (rng >> 11) % n;
}
/* One of n; 0 is the ordinary: the thread goes on, the latest value. */
static int choose(int n, int kind) {
    if (n == 1) return 0;
    if (depth == CHOICES) weak_fail("more choices than there is room for", CHOICES, 0);
    if (depth == nchoices) {
        int taken = 0;
        if (at_random && (kind == BY_VALUE || random_below(8) >= stay)) taken = (int)random_below((uint64_t)n);
        choices[nchoices].taken = taken;
        choices[nchoices++].of = n;
    }
    if (choices[depth].of != n) weak_fail("not the same execution again: choices", (uint64_t)n, (uint64_t)choices[depth].of);
    return choices[depth++].taken;
}
/* The next list of choices, depth first. 0: there is none. */
static int next_choices(void) {
    while (nchoices && choices[nchoices - 1].taken + 1 == choices[nchoices - 1].of) nchoices--;
    if (nchoices) choices[nchoices - 1].taken++;
    return nchoices;
}

/* ---- threads ---------------------------------------------------------------------------------- */

static void switch_to(int next) {
    int self = running;
    if (self != NOBODY && _setjmp(threads[self].context)) return;
    running = next;
    _longjmp(threads[next].context, 1);
}
/* Let another thread go on: this one sleeps or has ended. */
static void leave(void) {
    int ready[WEAK_THREADS], n = 0, asleep = 0;
    for (int i = 0; i < nthreads; i++) {
        if (threads[i].state == READY) ready[n++] = i;
        asleep += threads[i].state == ASLEEP;
    }
    if (n) {
        switch_to(ready[choose(n, BY_THREAD)]);
    } else {
        if (asleep) weak_fail("lost wake-up: asleep for ever, threads", (uint64_t)asleep, 0);
        _longjmp(finished, 1);
    }
}
/* Any thread may go on before an operation that others can see. */
static void before_operation(void) {
    int others[WEAK_THREADS], n = 1, limit = at_random ? STEPS : scenario->preemptions;
    if (++steps > STEPS) weak_fail("no end after steps", STEPS, 0);
    if (preemptions >= limit) return;
    for (int i = 0; i < nthreads; i++)
        if (i != running && threads[i].state == READY) others[n++] = i;
    int taken = choose(n, BY_THREAD);
    if (!taken) return;
    preemptions++;
    switch_to(others[taken]);
}
static void body(void) {
    if (!_setjmp(threads[running].context)) _longjmp(finished, 1); /* it begins with the execution */
    for (;;) {
        scenario->threads[running]();
        threads[running].state = ENDED;
        if (!_setjmp(threads[running].context)) leave();
    }
}
static void make_thread(int i) {
    static ucontext_t context, unused;
    if (!threads[i].stack) threads[i].stack = malloc(STACK);
    getcontext(&context);
    context.uc_stack.ss_sp = threads[i].stack, context.uc_stack.ss_size = STACK, context.uc_link = NULL;
    makecontext(&context, body, 0);
    running = i;
    if (!_setjmp(finished)) swapcontext(&unused, &context);
    running = NOBODY;
}

/* ---- words and views -------------------------------------------------------------------------- */

static void join(view *into, const view *from) {
    int n = (nwords + 7) & ~7;
    for (int i = 0; i < n; i++) into->place[i] = into->place[i] > from->place[i] ? into->place[i] : from->place[i];
    for (int i = 0; i < WEAK_THREADS; i++)
        into->clock[i] = into->clock[i] > from->clock[i] ? into->clock[i] : from->clock[i];
}
static int is_shared(const volatile void *p) { return running != NOBODY && (uintptr_t)p - base < shared_bytes; }

static word *find(const volatile void *p, int size) {
    uint8_t *index = &word_at[((uintptr_t)p - base) / 4];
    if (!*index) {
        if (nwords == WORDS) weak_fail("more words than there is room for", WORDS, 0);
        word *w = &words[nwords++];
        *index = (uint8_t)nwords;
        memset(w, 0, offsetof(word, values));
        w->address = (uintptr_t)p, w->size = size, w->nvalues = 1, w->writer = NOBODY;
        memcpy(&w->initial, (const void *)p, (size_t)size);
        memset(&w->values[0], 0, sizeof w->values[0]);
        w->values[0].value = w->initial;
    }
    word *w = &words[*index - 1];
    if (w->address != (uintptr_t)p || w->size != size) weak_fail("a word's size differs: bytes", (uint64_t)size, 0);
    return w;
}
static const char *name_of(const word *w) {
    static char text[32];
    for (int i = 0; i < nnames; i++)
        if (names[i].address == w->address) return names[i].name;
    snprintf(text, sizeof text, "+%" PRIuPTR, w->address - base);
    return text;
}
static void trace(const char *what, const word *w, uint64_t value, int order) {
    static const char *orders[] = {"relaxed", "consume", "acquire", "release", "acq_rel", "seq_cst"};
    if (tracing) printf("  %d  %-14s %-18s %" PRId64 " %s\n", running, what, w ? name_of(w) : "", (int64_t)value, orders[order]);
}
static int acquires(int order) { return order == __ATOMIC_ACQUIRE || order >= __ATOMIC_ACQ_REL; }
static int releases(int order) { return order >= __ATOMIC_RELEASE; }

static void take(word *w, const stored *s, int order) {
    thread *t = &threads[running];
    int16_t *seen = &t->now.place[w - words];
    if (s->place > *seen) *seen = s->place;
    join(acquires(order) ? &t->now : &t->acquired, &s->released);
}
static word *atomic_word(const volatile void *p, int size) {
    if (!is_shared(p)) weak_fail("an atomic operation on memory that is not shared", (uintptr_t)p, 0);
    before_operation();
    word *w = find(p, size);
    w->is_atomic = 1;
    if (w->is_plain) weak_fail("a word is written both as data and by atomic operations", (uintptr_t)p - base, 0);
    return w;
}
/* Put a value behind values[after] of the modification order. */
static stored *insert(word *w, int after, uint64_t value, int order) {
    thread *t = &threads[running];
    stored *s = &w->values[after];
    int place = s->place + SPACING;
    if (w->nvalues == VALUES) weak_fail("more values of a word than there is room for", VALUES, 0);
    if (after + 1 < w->nvalues) place = (s[0].place + s[1].place) / 2;
    memmove(s + 2, s + 1, (size_t)(w->nvalues++ - after - 1) * sizeof *s);
    t->now.place[w - words] = (int16_t)place;
    t->now.clock[running]++;
    s[1] = (stored){value, (int16_t)place, 0, releases(order) ? t->now : t->fenced};
    s[1].released.place[w - words] = (int16_t)place;
    memcpy((void *)w->address, &w->values[w->nvalues - 1].value, (size_t)w->size);
    return s + 1;
}
static int has_place_behind(const word *w, int i) {
    if (i + 1 == w->nvalues) return 1;
    return !w->values[i].followed && w->values[i + 1].place - w->values[i].place > 1;
}
static int oldest_visible(const word *w, int16_t place) {
    int i = w->nvalues - 1;
    while (w->values[i].place > place) i--;
    return i;
}

/* ---- atomic operations ------------------------------------------------------------------------ */

static uint64_t load(const volatile void *p, int size, int order) {
    word *w = atomic_word(p, size);
    int last = w->nvalues - 1, i = last - choose(last - oldest_visible(w, threads[running].now.place[w - words]) + 1, BY_VALUE);
    take(w, &w->values[i], order);
    trace(i == last ? "load" : "load, old", w, w->values[i].value, order);
    return w->values[i].value;
}
static void store(volatile void *p, int size, uint64_t value, int order) {
    word *w = atomic_word(p, size);
    int behind[VALUES], n = 0, first = oldest_visible(w, threads[running].now.place[w - words]);
    for (int i = w->nvalues - 1; i >= first; i--)
        if (has_place_behind(w, i)) behind[n++] = i;
    int i = behind[choose(n, BY_VALUE)];
    trace(i == w->nvalues - 1 ? "store" : "store, earlier", w, value, order);
    insert(w, i, value, order);
}
typedef uint64_t (*change)(uint64_t old, uint64_t operand);
static uint64_t add(uint64_t old, uint64_t n) { return old + n; }
static uint64_t sub(uint64_t old, uint64_t n) { return old - n; }
static uint64_t bits_and(uint64_t old, uint64_t n) { return old & n; }
static uint64_t bits_or(uint64_t old, uint64_t n) { return old | n; }
static uint64_t replace(uint64_t old, uint64_t n) { return (void)old, n; }

/* A read-modify-write comes right behind the value it read. With `expected`, one that is not equal is only read. */
static uint64_t modify(volatile void *p, int size, change f, uint64_t operand, const uint64_t *expected, int order, int failed) {
    word *w = atomic_word(p, size);
    int which[VALUES], n = 0, first = oldest_visible(w, threads[running].now.place[w - words]);
    for (int i = w->nvalues - 1; i >= first; i--)
        if (has_place_behind(w, i) || (expected && w->values[i].value != *expected)) which[n++] = i;
    int i = which[choose(n, BY_VALUE)];
    stored *old = &w->values[i];
    uint64_t value = old->value, made = size == 4 ? (uint32_t)f(value, operand) : f(value, operand);
    if (expected && value != *expected) {
        trace("compare: differs", w, value, failed);
        take(w, old, failed);
        return value;
    }
    take(w, old, order);
    trace("modify", w, made, order);
    old->followed = 1;
    stored *s = insert(w, i, made, order);
    join(&s->released, &w->values[i].released);
    return value;
}

#define OPERATIONS(bits) \
    uint##bits##_t __tsan_atomic##bits##_load(const volatile uint##bits##_t *p, int order) { \
        return running == NOBODY ? *p : (uint##bits##_t)load(p, bits / 8, order); \
    } \
    void __tsan_atomic##bits##_store(volatile uint##bits##_t *p, uint##bits##_t v, int order) { \
        if (running == NOBODY) *p = v; else store(p, bits / 8, v, order); \
    } \
    uint##bits##_t __tsan_atomic##bits##_fetch_add(volatile uint##bits##_t *p, uint##bits##_t v, int order) { \
        return (uint##bits##_t)modify(p, bits / 8, add, v, NULL, order, 0); \
    } \
    uint##bits##_t __tsan_atomic##bits##_fetch_sub(volatile uint##bits##_t *p, uint##bits##_t v, int order) { \
        return (uint##bits##_t)modify(p, bits / 8, sub, v, NULL, order, 0); \
    } \
    uint##bits##_t __tsan_atomic##bits##_fetch_and(volatile uint##bits##_t *p, uint##bits##_t v, int order) { \
        return (uint##bits##_t)modify(p, bits / 8, bits_and, v, NULL, order, 0); \
    } \
    uint##bits##_t __tsan_atomic##bits##_fetch_or(volatile uint##bits##_t *p, uint##bits##_t v, int order) { \
        return (uint##bits##_t)modify(p, bits / 8, bits_or, v, NULL, order, 0); \
    } \
    int __tsan_atomic##bits##_compare_exchange_strong(volatile uint##bits##_t *p, uint##bits##_t *expected, uint##bits##_t v, int order, int failed) { \
        uint64_t wanted = *expected; \
        *expected = (uint##bits##_t)modify(p, bits / 8, replace, v, &wanted, order, failed); \
        return *expected == wanted; \
    }
OPERATIONS(32)
OPERATIONS(64)

void __tsan_atomic_thread_fence(int order) {
    thread *t = &threads[running];
    if (order == __ATOMIC_SEQ_CST) before_operation();
    trace("fence", NULL, 0, order);
    if (acquires(order)) join(&t->now, &t->acquired);
    if (order == __ATOMIC_SEQ_CST) { /* fences do not make one access happen before another: clocks stay */
        view seen = total;
        memset(seen.clock, 0, sizeof seen.clock);
        join(&t->now, &seen);
        total = t->now;
    }
    if (releases(order)) {
        t->now.clock[running]++;
        t->fenced = t->now;
    }
}
void weak_system_call(void) { __tsan_atomic_thread_fence(__ATOMIC_SEQ_CST); }

/* ---- plain memory: no two accesses race ------------------------------------------------------- */

static void access_plain(void *p, int size, int writes) {
    if (!is_shared(p)) return;
    word *w = find(p, size);
    view *now = &threads[running].now;
    if (writes && w->is_atomic) weak_fail("a word is written both as data and by atomic operations", (uintptr_t)p - base, 0);
    trace(writes ? "write" : "read", w, 0, 0);
    if (w->writer != NOBODY && now->clock[w->writer] < w->written && w->writer != running)
        weak_fail(writes ? "data race: a write and a write, at" : "data race: a write and then a read, at", (uintptr_t)p - base, 0);
    if (writes) {
        for (int i = 0; i < nthreads; i++)
            if (i != running && now->clock[i] < w->read[i]) weak_fail("data race: a read and then a write, at", (uintptr_t)p - base, 0);
        w->is_plain = 1, w->writer = running, w->written = (int16_t)(now->clock[running] + 1);
    } else {
        w->read[running] = (int16_t)(now->clock[running] + 1);
    }
}
void __tsan_read4(void *p) { access_plain(p, 4, 0); }
void __tsan_read8(void *p) { access_plain(p, 8, 0); }
void __tsan_write4(void *p) { access_plain(p, 4, 1); }
void __tsan_write8(void *p) { access_plain(p, 8, 1); }
void __tsan_init(void) {}
void __tsan_func_entry(void *caller) { (void)caller; }
void __tsan_func_exit(void) {}

/* ---- the kernel ------------------------------------------------------------------------------- */

int clock_gettime(clockid_t clock, struct timespec *t) { return (void)clock, *t = (struct timespec){0, 0}, 0; }

static long futex_wait(uint32_t *p, uint32_t expected, uint32_t bits) {
    word *w = atomic_word(p, 4);
    thread *t = &threads[running];
    int16_t *seen = &t->now.place[w - words];
    if (*seen < futex_place) *seen = futex_place;
    int last = w->nvalues - 1, i = last - choose(last - oldest_visible(w, *seen) + 1, BY_VALUE);
    take(w, &w->values[i], __ATOMIC_RELAXED);
    trace("futex wait", w, w->values[i].value, __ATOMIC_RELAXED);
    if (w->values[i].value != expected) return errno = EAGAIN, -1;
    t->state = ASLEEP, t->bits = bits;
    leave();
    return 0;
}
static long futex_wake(uint32_t *p, uint32_t bits) {
    word *w = atomic_word(p, 4);
    int16_t place = threads[running].now.place[w - words];
    if (place > futex_place) futex_place = place;
    trace("futex wake", w, bits, __ATOMIC_RELAXED);
    for (int i = 0; i < nthreads; i++)
        if (threads[i].state == ASLEEP && threads[i].bits & bits) threads[i].state = READY;
    return 0;
}
long syscall(long number, ...) {
    va_list arguments;
    va_start(arguments, number);
    uint32_t *p = va_arg(arguments, uint32_t *);
    int operation = va_arg(arguments, int);
    uint32_t expected = va_arg(arguments, uint32_t);
    (void)va_arg(arguments, void *), (void)va_arg(arguments, void *);
    uint32_t bits = va_arg(arguments, uint32_t);
    va_end(arguments);
    return operation == FUTEX_WAIT_BITSET ? futex_wait(p, expected, bits) : futex_wake(p, bits);
}

/* ---- executions ------------------------------------------------------------------------------- */

static void reset(void) {
    for (int i = 0; i < nwords; i++) {
        memcpy((void *)words[i].address, &words[i].initial, (size_t)words[i].size);
        word_at[(words[i].address - base) / 4] = 0;
    }
    for (int i = 0; i < nthreads; i++) {
        thread *t = &threads[i];
        t->state = READY;
        memset(&t->now, 0, sizeof t->now), memset(&t->acquired, 0, sizeof t->acquired), memset(&t->fenced, 0, sizeof t->fenced);
    }
    memset(&total, 0, sizeof total);
    nwords = depth = preemptions = steps = 0;
    futex_place = 0;
}
static void execute(void) {
    reset();
    if (!_setjmp(finished)) leave();
    running = NOBODY;
    scenario->check();
}
static void begin(const weak_scenario *s) {
    scenario = s;
    for (nthreads = 0; nthreads < WEAK_THREADS && s->threads[nthreads]; nthreads++) make_thread(nthreads);
    memset((void *)base, 0, shared_bytes);
    s->setup();
    nwords = nchoices = 0;
}
void weak_fail(const char *what, uint64_t a, uint64_t b) {
    if (!tracing) {
        failure.what = what, failure.a = a, failure.b = b;
        _longjmp(failed, 1);
    }
    fflush(stdout);
    fprintf(stderr, "%s: %s %" PRIu64 " %" PRIu64 "\n", scenario->name, what, a, b);
    _Exit(1);
}
/* Go through the execution once more, with every step printed. */
static void show_failure(void) {
    int n = nchoices;
    printf("%s: this execution is wrong (thread, operation, word, value, order)\n", scenario->name);
    tracing = 1, running = NOBODY;
    reset();
    begin(scenario);
    nchoices = n;
    execute();
    weak_fail(failure.what, failure.a, failure.b);
}
void weak_shared(void *p, size_t bytes) {
    base = (uintptr_t)p, shared_bytes = bytes;
    word_at = calloc(bytes / 4 + 1, 1);
}
void weak_name(const void *p, const char *name) {
    if (nnames < NAMES) names[nnames].address = (uintptr_t)p, names[nnames++].name = name;
}
static void explore(const weak_scenario *s, uint64_t limit, uint64_t schedules, uint64_t seed) {
    uint64_t n = 0, more = 1;
    if (_setjmp(failed)) show_failure();
    at_random = 0;
    begin(s);
    for (; more && n < limit; n++) {
        execute();
        more = (uint64_t)next_choices();
    }
    at_random = 1, rng = seed * 0x9e3779b97f4a7c15u | 1;
    for (uint64_t k = 0; k < schedules; k++) {
        nchoices = 0;
        stay = 1 + (unsigned)random_below(7);
        execute();
    }
    reset();
    printf("%s executions %" PRIu64 " all %d random %" PRIu64 "\n", s->name, n, !more, schedules);
    fflush(stdout);
}
int weak_main(int argc, char **argv, const weak_scenario *scenarios) {
    uint64_t schedules = 0, seed = 1, limit = UINT64_MAX;
    int i = 1, tried = 0;
    for (; i + 1 < argc && argv[i][0] == '-'; i += 2) {
        uint64_t value = strtoull(argv[i + 1], NULL, 10);
        *(argv[i][1] == 'n' ? &schedules : argv[i][1] == 's' ? &seed : &limit) = value;
    }
    for (const weak_scenario *s = scenarios; s->name; s++) {
        int named = i == argc;
        for (int k = i; k < argc; k++) named |= !strcmp(argv[k], s->name);
        if (named) explore(s, limit, schedules, seed), tried++;
    }
    return tried ? 0 : 2;
}
