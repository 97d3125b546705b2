"""What live statistics cost: CPU time of the analysis process beside a capture."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator

from cost import SETTLE_S, cpu_s
from setting import Figure, figure, folder, holds, workers

import fastcap as fc

MOST_PERCENT = 15.0  # of a core, at 10 MHz


def live(seconds: float, to: str | None) -> Iterator[Figure]:
    """Record at 2 and 10 MHz with statistics; the share of a core that the analysis process takes."""
    for rate in ("2MHz", "10MHz"):
        share, report = _recording(rate, seconds, to)
        found = report["analysis"]
        detail = f"{found['words']:,} words, {found['psd']['segments']} segments of the spectrum"
        most = MOST_PERCENT if rate == "10MHz" else None
        yield figure(f"live: statistics at {rate}", round(share, 2), "% of a core", most=most, detail=detail)
        missed = found["missed_words"] + report["words_lost"]
        yield holds(f"live: every word counted at {rate}", missed == 0, f"{missed} missed or lost")


def _recording(rate: str, seconds: float, to: str | None) -> tuple[float, fc.Report]:
    """Return the analysis process's share of a core in percent while it records, and the report."""
    captures = []
    with folder(to) as place, fc.open(f"sim://?rate={rate}", ring="256MiB") as board:
        length_s = seconds + 2 * SETTLE_S + 1
        recorder = threading.Thread(
            target=lambda: captures.append(board.record(length_s, place, statistics=True, checksum="none"))
        )
        recorder.start()
        while board.session is None or not any(r.running for r in list(board.session.recordings.values())):
            time.sleep(0.05)
        time.sleep(SETTLE_S)  # past the start-up of spares
        pids = workers("analysis")
        before, start_s = cpu_s(pids), time.monotonic()
        time.sleep(seconds)
        share = (cpu_s(pids) - before) / (time.monotonic() - start_s) * 100
        recorder.join()
    return share, captures[0].report
