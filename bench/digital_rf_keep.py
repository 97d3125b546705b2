"""The peer digital_rf: standard input's 8-byte words into HDF5 files in a directory, a MiB at a time."""

from __future__ import annotations

import os
import sys

import digital_rf
import numpy as np

RATE, BEGIN_S = 2_000_000, 1_700_000_000
BLOCK = 1 << 20


def main() -> None:
    """Write until the end of the input; every 8 bytes count as one complex sample of two integers."""
    writer = digital_rf.DigitalRFWriter(
        sys.argv[1], np.dtype("i4"), 3600, 1000, RATE * BEGIN_S, RATE, 1, "bench",
        compression_level=0, checksum=False, is_complex=True, num_subchannels=1, is_continuous=True,
        marching_periods=False,
    )  # fmt: skip
    block = bytearray(BLOCK)
    view, words = memoryview(block), np.frombuffer(block, "<i4").reshape(-1, 2)
    while True:
        got = 0
        while got < BLOCK and (n := os.readv(0, [view[got:]])):
            got += n
        if not got:
            break
        writer.rf_write(words[: got // 8])
    writer.close()


if __name__ == "__main__":
    main()
