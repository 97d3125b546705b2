/* stamps RATE_HZ SECONDS WORDS: write words at RATE_HZ, WORDS of them a write, each holding CLOCK_MONOTONIC
 * in nanoseconds just before the write that carries it. A write that is late is made up for, as a board's is. */
#include <errno.h>
#include <stdint.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

int main(int argc, char **argv)
{
    if (argc != 4)
        return 2;
    double rate_hz = atof(argv[1]);
    uint64_t total = rate_hz * atof(argv[2]), words = strtoull(argv[3], NULL, 0), start = now_ns();
    uint64_t *block = calloc(words, sizeof *block);
    if (block == NULL)
        return 2;
    for (uint64_t sent = words; sent <= total; sent += words) {
        uint64_t due = start + (uint64_t)(sent / rate_hz * 1e9);
        struct timespec t = {due / 1000000000u, due % 1000000000u};
        while (clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL) == EINTR)
            ;
        uint64_t stamp = now_ns();
        for (uint64_t i = 0; i < words; i++)
            block[i] = stamp;
        for (size_t done = 0; done < words * 8;) {
            ssize_t n = write(1, (char *)block + done, words * 8 - done);
            if (n < 0)
                return 1;
            done += n;
        }
    }
    return 0;
}
