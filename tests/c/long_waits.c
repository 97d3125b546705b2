/* Put before the C library (LD_PRELOAD): a wait on the ring's futex lasts an hour unless somebody wakes it.
 *
 * The ring's waits all have a time-out of a fraction of a second, so that a wake-up that never comes is hardly seen.
 * Here it is: who is not woken stays asleep. fc_waits() tells whether a thread is in such a wait, fc_woken() how
 * many were ended by a wake-up so far. Other futex calls are passed on as they are.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <linux/futex.h>
#include <stdarg.h>
#include <stdint.h>
#include <sys/syscall.h>
#include <time.h>

#define THREADS 4096

static int waits[THREADS]; /* by the thread's number, of which a test's few threads share the low bits hardly ever */
static int woken;

int fc_waits(int tid) { return __atomic_load_n(&waits[tid % THREADS], __ATOMIC_SEQ_CST); }
int fc_woken(void) { return __atomic_load_n(&woken, __ATOMIC_SEQ_CST); }

long syscall(long number, ...)
{
    long (*next)(long, ...) = (long (*)(long, ...))dlsym(RTLD_NEXT, "syscall");
    int *mine;
    struct timespec later;
    long a[6], result;
    va_list given;
    int k;

    va_start(given, number);
    for (k = 0; k < 6; k++)
        a[k] = va_arg(given, long);
    va_end(given);
    if (number != SYS_futex || (a[1] & FUTEX_CMD_MASK) != FUTEX_WAIT_BITSET || (uint32_t)a[5] == FUTEX_BITSET_MATCH_ANY)
        return next(number, a[0], a[1], a[2], a[3], a[4], a[5]);
    clock_gettime(CLOCK_MONOTONIC, &later);
    later.tv_sec += 3600;
    mine = &waits[next(SYS_gettid) % THREADS];
    __atomic_store_n(mine, 1, __ATOMIC_SEQ_CST);
    result = next(number, a[0], a[1], a[2], &later, a[4], a[5]);
    if (result == 0)
        __atomic_fetch_add(&woken, 1, __ATOMIC_SEQ_CST);
    __atomic_store_n(mine, 0, __ATOMIC_SEQ_CST);
    return result;
}
