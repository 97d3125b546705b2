/* Say why, before a process ends of SIGBUS: memory of a ring's file that somebody truncated is touched. */
#ifndef FASTCAP_BUS_H
#define FASTCAP_BUS_H

#include <signal.h>
#include <stdint.h>
#include <unistd.h>

#define FC_MAPPINGS 64
#define FC_BUS_TEXT \
    "fastcap ring: a file of the ring in /dev/shm was truncated by another program; this process must end\n"

typedef struct {
    uintptr_t at, bytes;
} fc_mapping;
static fc_mapping fc_mappings[FC_MAPPINGS];
static struct sigaction fc_bus_before;

/* Returns to the same instruction: it faults again, and what was there before us acts. */
static void fc_bus_error(int number, siginfo_t *info, void *context) {
    uintptr_t at = (uintptr_t)info->si_addr;
    (void)number, (void)context;
    for (int i = 0; i < FC_MAPPINGS; i++)
        if (at - fc_mappings[i].at < fc_mappings[i].bytes) {
            ssize_t ignored = write(2, FC_BUS_TEXT, sizeof FC_BUS_TEXT - 1);
            (void)ignored;
            break;
        }
    sigaction(SIGBUS, &fc_bus_before, NULL);
}
/* Both are called with the GIL held. More rings than the table holds have no line. */
static inline void fc_bus_watch(void *at, uint64_t bytes) {
    static int watching = 0;
    struct sigaction action = {.sa_sigaction = fc_bus_error, .sa_flags = SA_SIGINFO | SA_ONSTACK};
    for (int i = 0; at != NULL && i < FC_MAPPINGS; i++)
        if (fc_mappings[i].bytes == 0) {
            fc_mappings[i] = (fc_mapping){(uintptr_t)at, bytes};
            break;
        }
    if (!watching) watching = sigaction(SIGBUS, &action, &fc_bus_before) == 0;
}
static inline void fc_bus_forget(void *at) {
    for (int i = 0; at != NULL && i < FC_MAPPINGS; i++)
        if (fc_mappings[i].at == (uintptr_t)at) fc_mappings[i].bytes = 0;
}

#endif
