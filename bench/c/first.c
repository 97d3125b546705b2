/* first FILE: write a board's header and 1024 words to the pipe on standard output; note in FILE, in nanoseconds of
 * CLOCK_MONOTONIC, when this program began and when the pipe was found empty: its reader had the first bytes. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#define TEXT "# command line: teststream -q 1024 -s 4 -l -b\n# recording start: 2024-01-01 00:00:00 +0000\n"

static uint64_t now_ns(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (uint64_t)t.tv_sec * 1000000000u + t.tv_nsec;
}

int main(int argc, char **argv)
{
    uint64_t began = now_ns(), words[1 + (sizeof TEXT + 7) / 8 + 1024] = {0};
    struct timespec nap = {0, 50000};
    int queued = 1;
    if (argc != 2)
        return 2;
    words[0] = 0x123456ABCDEFull << 16 | ((sizeof TEXT + 7) / 8 + 1);
    memcpy(words + 1, TEXT, sizeof TEXT);
    if (write(1, words, sizeof words) != sizeof words)
        return 1;
    while (ioctl(1, FIONREAD, &queued) == 0 && queued > 0)
        nanosleep(&nap, NULL);
    uint64_t taken = now_ns();
    FILE *f = fopen(argv[1], "w");
    if (f == NULL)
        return 1;
    fprintf(f, "%llu %llu\n", (unsigned long long)began, (unsigned long long)taken);
    return fclose(f) != 0;
}
