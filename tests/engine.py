"""A capture of the emulated board, and the law that every one of them must keep."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import assert_counter_file, children_of, sha256_file, wait_until

import fastcap as fc
from fastcap.capture import Capture

WAIT_S = 60.0


def assert_law(report: Any) -> None:
    """Assert: bytes read, as the kernel counts them, = kept + lost + discarded after the cut; nothing in flight."""
    a = report["accounting"]
    assert a["in_flight_bytes"] == 0
    assert a["bytes_read"] == a["kept_bytes"] + a["lost_bytes"] + a["discarded_after_cut_bytes"]
    assert report["words_lost"] == sum(e["words"] for e in report["ledger"] if e["certainty"] == "exact")


def assert_whole(cap: Capture, words: int) -> None:
    """Assert that a capture of the counter pattern is complete, in order, verified, and lost nothing."""
    report = cap.report
    assert_law(report)
    assert report["complete"]
    assert report["words_lost"] == 0
    assert assert_counter_file(str(cap.path), words) == []
    assert sha256_file(str(cap.path)) == report["checksum"]["value"]


def workers(role: str) -> list[int]:
    """Return the pids of this process's workers of one role, oldest first."""
    return sorted(children_of(os.getpid(), f"fastcap.workers.{role}"))


def kill(role: str, *, standing: int = 1) -> int:
    """SIGKILL the oldest worker of a role, once ``standing`` of them are there."""
    pid = wait_until(lambda: workers(role)[:1] if len(workers(role)) >= standing else [], WAIT_S, role)[0]
    os.kill(pid, signal.SIGKILL)
    return pid


@contextmanager
def recording(
    source: str, to: Path | str, *, ring: str = "64MiB", **options: Any
) -> Iterator[tuple[Callable[[], Capture], fc.Board]]:
    """Record in a thread; yields a function that waits for the capture, once bytes arrive."""
    box: list[Capture | BaseException] = []
    with fc.open(source, ring=ring) as board:

        def record() -> None:
            try:
                box.append(board.record(None, to, **options))
            except fc.FastcapError as e:
                box.append(e)

        thread = threading.Thread(target=record)
        thread.start()
        wait_until(
            lambda: box or (board.session is not None and (board.session.recordings and _bytes(board) > 0)),
            WAIT_S,
            "first bytes",
        )

        def finish() -> Capture:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the capture does not end"
            if isinstance(box[0], BaseException):
                raise box[0]
            return box[0]

        yield finish, board
        thread.join(WAIT_S)


def _bytes(board: fc.Board) -> int:
    assert board.session is not None
    return int(board.session.recordings[1].progress.get("bytes") or 0)
