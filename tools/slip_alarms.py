"""Look for false alarms of the test for byte slips: ``python -m tools.slip_alarms --words 1e9``.

The emulated board sends signals of varied parameters (and once in a while the counter pattern), its start-up
transient included; every run of 256 words is judged, not one in some hundreds as in a capture. A verdict other
than that words begin where they do is an alarm. Prints how many runs were judged, known and wrong, and with
which parameters; the status is 1 if any was wrong.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from collections.abc import Iterator
from random import Random

from fastcap._slips import RUN_BYTES, RUN_WORDS, UNKNOWN, alignments

CHUNK_BYTES = 1 << 22


def signals(seed: int) -> Iterator[list[str]]:
    """Yield options of the emulated board without end, the corners of each among them."""
    random = Random(seed)
    while True:
        rate_hz = random.choice([100_000, 400_000, 2_000_000, 10_000_000])
        # to half the word rate, where the phase turns by half a turn a word, and exact parts of it
        freq = rate_hz * random.choice([0.0, 0.5, -0.5, 0.25, 1 / 3, 0.001, 10 ** random.uniform(-7, -0.31)])
        options = {
            "rate": f"{rate_hz}Hz",
            "freq": f"{freq:.9g}",
            "radius": random.choice(["0", "1", "128", "300", "2e6", "8388607", f"{10 ** random.uniform(0, 6.9):.6g}"]),
            "noise": random.choice(["0", "1", "5", "500", "3e4", "8388607", f"{10 ** random.uniform(0, 6.9):.6g}"]),
            "transient": random.choice(["0", "12000", "100000"]),
            "pattern": random.choice(["signal"] * 19 + ["counter"]),
        }  # fmt: skip
        yield [f"--{key}={value}" for key, value in options.items()] + [f"--seed={random.randrange(10**6)}"]


def judge(options: list[str], words: int) -> tuple[int, int, int]:
    """Return how many runs of so many words were judged, known, and wrong."""
    argv = [
        sys.executable,
        "-m",
        "fastcap.sim.board",
        "-b",
        f"-q{words}",
        "--speed=max",
        "--header=none",
        *options,
    ]
    judged = known = wrong = 0
    with subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as board:
        assert board.stdout is not None
        data = b""
        while more := board.stdout.read(CHUNK_BYTES):
            data += more
            runs = alignments(data)
            judged += len(runs)
            known += len(runs) - runs.count(UNKNOWN & 0xFF)
            wrong += len(runs) - runs.count(UNKNOWN & 0xFF) - runs.count(0)
            data = data[len(runs) * RUN_WORDS * 8 :]
    if board.returncode or judged < (words * 8 - RUN_BYTES) // (RUN_WORDS * 8):
        raise SystemExit(f"the emulated board ended with status {board.returncode}: {argv}")
    return judged, known, wrong


def main() -> int:
    """Judge so many words; return the exit status."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--words", type=float, default=1e9)
    parser.add_argument("--each", type=float, default=4e6, help="words of one signal")
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    total = [0, 0, 0]
    for number, options in enumerate(signals(given.seed)):
        if number * given.each >= given.words:
            break
        counts = judge(options, int(given.each))
        if counts[2]:
            print(f"{counts[2]} of {counts[0]} runs wrong: {' '.join(options)}", flush=True)
        total = [a + b for a, b in zip(total, counts, strict=True)]
    print(f"{total[0] * RUN_WORDS:,} words in {total[0]:,} runs: {total[1]:,} known, {total[2]:,} wrong")
    return int(total[2] > 0)


if __name__ == "__main__":
    raise SystemExit(main())
