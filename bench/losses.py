"""Nothing is lost: a destination that stalls, and readers that are killed."""

from __future__ import annotations

import hashlib
import os
import random
import re
import select
import signal
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from setting import MIB, Figure, figure, folder, holds, quantile, workers

import fastcap as fc

CASES = {"2MHz": (60.0, 20.0, "512MiB"), "10MHz": (20.0, 5.0, "1GiB")}  # seconds, stall, ring
DEADLINE_S = 30.0


# ---- a stalled destination -------------------------------------------------------------------------


def stall(rate: str, scale: float, to: str | None) -> Iterator[Figure]:
    """Record the counter pattern to a destination that stalls; check the file to the word."""
    seconds, stall_s, ring = CASES[rate]
    seconds, stall_s = seconds * scale, stall_s * scale
    url = f"sim://?rate={rate}&pattern=counter&header=none"
    name = f"stall: {rate}, {seconds:g} s, ring {ring}"
    with folder(to) as place, fc.open(url, ring=ring) as board:
        report = board.record(seconds, place, stalls=[(seconds / 6, stall_s)]).report.to_dict()
        words = int(float(rate.removesuffix("MHz")) * 1e6 * seconds)
        wrong, digest = _check(report["path"])
        longest = max((s["for_s"] for s in report["sink"]["stalls"]), default=0.0)
        size = os.path.getsize(report["path"])
    high = report["ring"]["high_water_bytes"]
    yield figure(f"{name}: words lost", report["words_lost"], "words", most=0)
    estimate = (report["board"] or {}).get("estimated_words_lost")
    yield figure(
        f"{name}: estimated lost by the source", "unknown" if estimate is None else estimate, "words"
    )
    yield figure(f"{name}: longest stall", round(longest, 3), "s", least=stall_s * 0.95)
    yield figure(f"{name}: ring used", round(high / MIB), "MiB")
    yield holds(f"{name}: words as sent", wrong is None and size == words * 8,
                f"{size // 8} of {words} words" + ("" if wrong is None else f", wrong from word {wrong}"))  # fmt: skip
    yield holds(f"{name}: sha256", digest == report["checksum"]["value"], digest[:16])


def _check(path: str) -> tuple[int | None, str]:
    """Return the first word that is not its own number, and the file's sha256."""
    digest, word, wrong = hashlib.sha256(), 0, None
    with Path(path).open("rb") as f:
        while piece := f.read(8 * MIB):
            digest.update(piece)
            words = np.frombuffer(piece[: len(piece) // 8 * 8], "<u8")
            if wrong is None and not np.array_equal(words, np.arange(word, word + words.size, dtype="<u8")):
                wrong = word + int(
                    np.flatnonzero(words != np.arange(word, word + words.size, dtype="<u8"))[0]
                )
            word += words.size
    return wrong, digest.hexdigest()


# ---- killed readers --------------------------------------------------------------------------------


class Killer(threading.Thread):
    """Kills the reader again and again; notes how long its successor took to publish.

    Attributes
    ----------
    delays_s : list of float
        From the kill to the first progress of ``head`` that is not the dead reader's.
    """

    def __init__(self, ring: Any, kills: int, seed: int) -> None:
        super().__init__(name="killer", daemon=True)
        self.delays_s: list[float] = []
        self.failure: BaseException | None = None
        self._ring, self._kills, self._random = ring, kills, random.Random(seed)
        self._reader = 0

    def run(self) -> None:
        try:
            for _ in range(self._kills):
                reader, _ = self._both()
                time.sleep(self._random.uniform(0, 0.02))  # at any moment of the reader's loop
                self.delays_s.append(self._kill(reader))
        except BaseException as e:
            self.failure = e

    def _both(self) -> tuple[int, int]:
        """Wait until there are a reader that reads and a spare that sleeps, attached; return their pids."""
        until_s, asleep = time.monotonic() + DEADLINE_S, 0
        while time.monotonic() < until_s:
            pids = workers("reader")
            reading = [pid for pid in pids if _holds_pipe(pid)]
            spares = [pid for pid in pids if pid not in reading]
            asleep = asleep + 1 if len(reading) == len(spares) == 1 and _waits(spares[0]) else 0
            if asleep == 3:
                return reading[0], spares[0]
            time.sleep(0.005)
        raise TimeoutError(f"no reader with a warm spare within {DEADLINE_S:g} s")

    def _kill(self, pid: int) -> float:
        pidfd = os.pidfd_open(pid)
        try:
            start_s = time.monotonic()
            signal.pidfd_send_signal(pidfd, signal.SIGKILL)
            select.select([pidfd], [], [])
            head = self._ring.head
            while self._ring.head == head:
                if time.monotonic() - start_s > DEADLINE_S:
                    raise TimeoutError(f"no successor of reader {pid} within {DEADLINE_S:g} s")
                time.sleep(50e-6)
            return time.monotonic() - start_s
        finally:
            os.close(pidfd)


def _holds_pipe(pid: int) -> bool:
    try:
        names = [os.readlink(e) for e in Path(f"/proc/{pid}/fd").iterdir() if int(e.name) > 2]
    except (FileNotFoundError, ProcessLookupError):
        return False
    return any(name.startswith("pipe:") for name in names)


def _waits(pid: int) -> bool:
    """Tell whether a worker has attached the ring and sleeps."""
    try:
        maps = Path(f"/proc/{pid}/maps").read_text()
        stat = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return "/fastcap-" in maps and stat[stat.rindex(")") + 2] == "S"


def replace(rate: str, kills: int, seed: int) -> Iterator[Figure]:
    """Kill the reader; a consumer checks every word meanwhile."""
    url = f"sim://?rate={rate}&pattern=counter&header=none"
    words, expected, jumped, disorder = 0, 0, 0, 0
    with fc.open(url, ring="256MiB") as board:
        with board.stream(on_overrun="mark") as s:
            killer = Killer(s.ring, kills, seed)
            killer.start()
            for block in s.blocks(timeout_s=DEADLINE_S):
                steps = np.diff(block.words.view(np.int64), prepend=expected - 1)
                disorder += int(np.count_nonzero(steps < 1))
                jumped += int(steps.sum()) - len(block)
                expected = int(block.words[-1]) + 1
                words += len(block)
                if not killer.is_alive():
                    break
            recording = s.recording
        report = recording.reports[-1]
    if killer.failure is not None:
        raise killer.failure
    name = f"replace: {rate}, {kills} kills"
    ms = [1e3 * s for s in killer.delays_s]
    by_source = int(re.findall(r"lost_overflow=(\d+)", report["source"]["stderr_tail"])[-1])
    yield figure(f"{name}: p50", round(quantile(ms, 0.5), 2), "ms")
    yield figure(f"{name}: p99", round(quantile(ms, 0.99), 2), "ms", most=10, detail=f"max {max(ms):.2f}")
    yield figure(f"{name}: words lost, as reported", report["words_lost"], "words", most=0)
    yield figure(f"{name}: lost by the source's FIFO", by_source, "words", most=0)
    yield figure(f"{name}: missing beyond those", max(0, jumped - by_source), "words", most=0,
                 detail=f"{words} words compared, {jumped} missing")  # fmt: skip
    yield holds(f"{name}: none repeated or swapped", disorder == 0, f"{disorder} out of order")
