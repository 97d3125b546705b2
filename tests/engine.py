"""A capture of the emulated board, and the law that every one of them must keep."""

from __future__ import annotations

import os
import signal
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support import assert_counter_file, children_of, sha256_file, wait_until

import fastcap as fc
from fastcap import events
from fastcap.capture import Capture
from fastcap.events import EventReader

WAIT_S = 60.0


def counting(words: int | None = None, **options: Any) -> str:
    """Return the URL of a board whose data word k is k; it ends after ``words``, or never.

    Its FIFO is so large that a busy machine cannot overflow it: what is missing in a file fastcap has lost.
    """
    given = {"rate": "10MHz", "pattern": "counter", "fifo": "512MiB", **options}
    if words is not None:
        given["q"] = words
    return "sim://?" + "&".join(f"{key}={value}" for key, value in given.items())


def assert_law(*reports: Mapping[str, Any], cut: bool = False) -> None:
    """Assert: bytes read, as the kernel counts them, = kept + lost + discarded after the cut; nothing in flight.

    Parameters
    ----------
    *reports : dict
        Those of all files of one recording, in order. Each term is held against what these and the files themselves
        tell: what was kept against the files' sizes, what was lost against the gaps.
    cut : bool
        It was ended by its length: what the source sent behind it is discarded. Of no other may anything be, but
        for a piece of a word at the end of one that somebody stopped.
    """
    a = reports[-1]["accounting"]
    gaps = [e for report in reports for e in report["ledger"] if e["certainty"] == "exact"]
    assert a["in_flight_bytes"] == 0
    repeated = sum(report["header"]["bytes"] for report in reports[1:])  # each file has one
    assert a["kept_bytes"] == sum(report["bytes"] for report in reports) - repeated
    for report in reports:
        assert report["path"] is None or os.path.getsize(report["path"]) == report["bytes"]
    assert a["lost_bytes"] == sum(8 * e["words"] + e.get("odd_bytes", 0) for e in gaps)
    assert a["discarded_after_cut_bytes"] >= 0
    if not cut:
        assert a["discarded_after_cut_bytes"] < (8 if reports[-1]["source"]["ended"] else 1)
    assert a["bytes_read"] == a["kept_bytes"] + a["lost_bytes"] + a["discarded_after_cut_bytes"]


def assert_exact(report: Mapping[str, Any], *, first_word: int = 0) -> int:
    """Assert that a file's gaps are the ledger's, to the word; return the source's word after its last one."""
    jumps = assert_counter_file(report["path"], report["words"], start=first_word)
    exact = [(e["after_word"], e["words"]) for e in report["ledger"]]
    lost, expected = 0, []
    for after, words in exact:
        expected.append((after - lost, words))
        lost += words
    at_end = [
        (at, words) for at, words in expected if at == report["words"]
    ]  # seen in the next file, if at all
    assert jumps == [entry for entry in expected if entry not in at_end]
    assert report["words_lost"] == lost
    assert sha256_file(report["path"]) == report["checksum"]["value"]
    return int(first_word + report["words"] + lost)


def assert_whole(cap: Capture, words: int, *, cut: bool = False) -> None:
    """Assert that a capture of the counter pattern is complete, in order, verified, and lost nothing."""
    report = cap.report
    assert_law(report, cut=cut)
    assert report["complete"]
    assert report["words_lost"] == 0
    assert report["ledger"] == []
    assert assert_counter_file(str(cap.path), words) == []
    assert sha256_file(str(cap.path)) == report["checksum"]["value"]


def assert_only_the_file(folder: Path) -> None:
    """Assert that a folder holds one complete capture and nothing unfinished."""
    assert sorted(p.suffix for p in folder.iterdir()) == [".bin", ".index", ".sigmf-meta"]


def workers(role: str) -> list[int]:
    """Return the pids of this process's workers of one role, oldest first."""
    return sorted(children_of(os.getpid(), f"fastcap.workers.{role}"))


def kill(role: str, *, standing: int = 1) -> int:
    """SIGKILL the oldest worker of a role, once ``standing`` of them are there that this did not kill before."""
    dying = _dying.setdefault(role, set())

    def there() -> list[int]:
        pids = workers(role)
        dying.intersection_update(pids)  # one that is gone by now; its number may come again
        alive = [pid for pid in pids if pid not in dying]
        return alive if len(alive) >= standing else []

    pid = wait_until(there, WAIT_S, role)[0]
    os.kill(pid, signal.SIGKILL)
    dying.add(pid)
    return pid


_dying: dict[str, set[int]] = {}


@contextmanager
def stopped(role: str) -> Iterator[None]:
    """SIGSTOP the oldest worker of a role; at the end of the block it goes on."""
    pid = workers(role)[0]
    os.kill(pid, signal.SIGSTOP)
    try:
        yield
    finally:
        os.kill(pid, signal.SIGCONT)


def hold_writer_until_words_are_dropped(board: fc.Board) -> None:
    """Stop the NAS writer until the ring is full, anew, and words are dropped; then let it go on."""
    assert board.session is not None
    ring = board.session.attach()  # progress lags behind by a quarter of a second
    wait_until(lambda: not ring.reader_state()["dropping"], WAIT_S, "words that are kept")
    before = ring.reader_state()["dropped_bytes"]
    with stopped("nas_writer"):
        wait_until(lambda: ring.reader_state()["dropped_bytes"] > before, WAIT_S, "dropped words")
    ring.close()


def disturbed_before_its_name(fs: Any, disturb: Callable[[], object]) -> Capture:
    """Record 300,000 words to ``run.bin`` on a `faultfs`; ``disturb`` between the file's last fsync and its name."""
    rule = fs.stall("fsync", path="run.sigmf-meta.part")
    with recording(counting(300_000, rate="1MHz"), fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        disturb()
        fs.clear(rule)
        return finish()


def begun_ns(board: fc.Board, recording: int = 1) -> int:
    """Return the CLOCK_MONOTONIC of a recording's start, from which ``at_s`` counts in its report."""
    assert board.session is not None
    ring = board.session.attach()
    try:
        log = list(EventReader(ring).poll())
    finally:
        ring.close()
    return next(e.at_ns for e in log if e.kind == events.START and e.recording == recording)


@contextmanager
def recording(
    source: str, to: Path | str, *, ring: str = "192MiB", **options: Any
) -> Iterator[tuple[Callable[[], Capture], fc.Board]]:
    """Record in a thread; yields a function that waits for the capture, once bytes arrive.

    The ring by default holds more than these tests record: however busy the machine, none of it need be dropped.
    """
    box: list[Capture | BaseException] = []
    with fc.open(source, ring=ring) as board:

        def record() -> None:
            try:
                box.append(board.record(None, to, **options))
            except BaseException as e:
                box.append(e)

        thread = threading.Thread(target=record)
        thread.start()
        wait_until(lambda: box or arrived_bytes(board) > 0, WAIT_S, "first bytes")

        def finish() -> Capture:
            thread.join(WAIT_S)
            assert not thread.is_alive(), "the capture does not end"
            if isinstance(box[0], BaseException):
                raise box[0]
            return box[0]

        yield finish, board
        thread.join(WAIT_S)


def progress(board: fc.Board) -> Mapping[str, Any]:
    """Return the latest of what is known of a board's first recording; empty before it begins."""
    if board.session is None or 1 not in board.session.recordings:
        return {}
    return board.session.recordings[1].progress


def arrived_bytes(board: fc.Board) -> int:
    """Return the bytes of the first recording that are known to be in the ring."""
    return int(progress(board).get("bytes") or 0)
