"""A ledger of hundreds of gaps is finished, written and verified."""

from __future__ import annotations

import sys
import threading
from pathlib import Path

from engine import assert_law
from support import wait_until

import fastcap as fc
from fastcap.capture import Capture
from fastcap.verify import verify_file

GAPS = 800
BURSTS = """
import os, time
burst = bytes(3 << 19)
while True:
    os.write(1, burst)
    time.sleep(0.001)
"""


def test_ledger_of_hundreds_of_gaps_is_finished_and_verified(tmp_path: Path) -> None:
    """Bursts that the least ring does not hold, until there are so many drops."""
    with fc.open([sys.executable, "-c", BURSTS], ring="1MiB", payload="none") as board:
        box: list[Capture] = []
        path = tmp_path / "run.bin"
        thread = threading.Thread(target=lambda: box.append(board.record(None, path, on_full="drop")))
        thread.start()
        wait_until(lambda: board.session and board.session.recordings, 20, "the recording")
        assert board.session is not None
        ring = board.session.attach()
        wait_until(lambda: ring.reader_state()["drops"] >= GAPS, 120, "gaps")
        ring.close()
        board.stop()
        thread.join()

    report = box[0].report
    assert report["complete"]
    assert len(report["ledger"]) >= GAPS * 9 // 10  # a drop that lost nothing is no gap
    assert sum(entry["words"] for entry in report["ledger"]) == report["words_lost"]
    assert_law(report)
    verdict = verify_file(box[0].path)
    assert verdict.ok, verdict
