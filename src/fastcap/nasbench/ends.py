"""Both ends of a pipe, at full speed: ``python ends.py source BYTES``, ``python ends.py sink``.

Run by its path and without fastcap: what is between the ends is what is measured.
"""

import os
import sys
import time

WRITE_BYTES = 1 << 18
READ_BYTES = 1 << 20


def source(total: int) -> None:
    """Write so many bytes of 7 to standard output."""
    block = memoryview(bytes([7]) * WRITE_BYTES)
    while total > 0:
        total -= os.write(1, block[: min(total, WRITE_BYTES)])


def sink() -> None:
    """Read standard input to its end; print the bytes, and the seconds from the first to the end."""
    buffer, total, first_s = [memoryview(bytearray(READ_BYTES))], 0, 0.0
    while got := os.readv(0, buffer):
        first_s = first_s or time.monotonic()
        total += got
    print(total, time.monotonic() - first_s if first_s else 0.0)


if __name__ == "__main__":
    if sys.argv[1] == "source":
        source(int(sys.argv[2]))
    else:
        sink()
