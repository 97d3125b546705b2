/* Explore what threads may see of each other on a machine with weak memory orders.
 *
 * The code under test is compiled with -fsanitize=thread, but linked with weak_memory.c in place of the sanitiser's
 * library: gcc itself turns every atomic operation, fence and access to memory into a call. No line of it is altered.
 *
 * Threads are coroutines. Each atomic word keeps all values in modification order, each with the view that its store
 * released; a load takes any value that is not older than its thread's view of that word; fences and release or
 * acquire orders pass views on. That is RC11 without load buffering: nothing is read before it is stored. What would
 * need it (memory stored to while somebody still reads it) shows as a data race of plain accesses instead, by vector
 * clocks. A futex is an atomic word with a total order of its calls, which order nothing else; it has no time-outs:
 * threads that sleep for ever are a lost wake-up.
 */
#ifndef WEAK_MEMORY_H
#define WEAK_MEMORY_H

#include <stddef.h>
#include <stdint.h>

enum { WEAK_THREADS = 4 };

typedef struct {
    const char *name;
    void (*setup)(void);                    /* writes the words' first values */
    void (*threads[WEAK_THREADS])(void);
    void (*check)(void);                    /* when all have ended; sees the last value of every word */
    int preemptions;                        /* for the exhaustive search: at most so many */
} weak_scenario;

/* The memory that threads share; the rest belongs to one thread each. */
void weak_shared(void *base, size_t bytes);
/* What a word is called where an execution is printed. */
void weak_name(const void *word, const char *name);
/* A system call that passes from one process to another what was stored before it. */
void weak_system_call(void);
/* A property does not hold: print the execution, and end with status 1. */
void weak_fail(const char *what, uint64_t a, uint64_t b);

/* usage: PROGRAM [-n SCHEDULES] [-s SEED] [-x EXECUTIONS] [SCENARIO...]
 * Of each scenario at most EXECUTIONS systematically, then SCHEDULES at random. */
int weak_main(int argc, char **argv, const weak_scenario *scenarios);

#endif
