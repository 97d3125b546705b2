/* flood BYTES: write BYTES bytes to standard output as fast as they are taken, 256 KiB a write.
 * Every byte is 7, so that the sum of all words is known. */
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 262144 };

int main(int argc, char **argv)
{
    uint64_t left = argc == 2 ? strtoull(argv[1], NULL, 0) : 0;
    char *block = aligned_alloc(4096, BLOCK);
    if (left == 0 || block == NULL)
        return 2;
    memset(block, 7, BLOCK);
    while (left) {
        size_t want = left < BLOCK ? left : BLOCK;
        for (size_t done = 0; done < want;) {
            ssize_t n = write(1, block + done, want - done);
            if (n < 0)
                return 1;
            done += n;
        }
        left -= want;
    }
    return 0;
}
