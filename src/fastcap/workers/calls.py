"""How long the calls on a destination took: histograms, and the stalls among them, by file."""

from __future__ import annotations

from fastcap._pump import busy
from fastcap._ring import Slot, now_ns
from fastcap.histogram import LatencyHistogram

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

STALL_NS = 250_000_000  # a call that takes longer is a stall: logged with start and length


class Calls:
    """The calls of one recording's writer, those of its present file apart.

    Parameters
    ----------
    injected : list of [at_s, for_s]
        Stalls to be made, for rehearsals.
    so_far : dict or None
        What a dead predecessor had measured of its last file: see `so_far`.
    """

    def __init__(self, injected: list[list[float]], so_far: dict[str, Any] | None) -> None:
        self.started_ns = 0
        self._injected = injected
        self._so_far = so_far
        self._opening: tuple[int, int] | None = None
        self.new_file()

    def new_file(self) -> None:
        """Begin anew."""
        self.write_s, self.fsync_s = LatencyHistogram(), LatencyHistogram()
        self.stalls: list[dict[str, float]] = []

    def begin(self, started_ns: int) -> None:
        """Say when the recording began; an opening that has ended by now may have stalled it."""
        self.started_ns = started_ns
        if self._opening is not None:
            start_ns, end_ns = self._opening
            self._opening = None
            start_ns = max(start_ns, started_ns)
            self.note(start_ns, end_ns - start_ns)

    def opened(self, start_ns: int, end_ns: int) -> None:
        """Note how long the destination took to be looked at and the first file to be made."""
        self._opening = (start_ns, end_ns)

    def note(self, start_ns: int, took_ns: int, histogram: LatencyHistogram | None = None) -> None:
        """Note a call that has returned."""
        if histogram is not None:
            histogram.record(took_ns)
        if took_ns >= STALL_NS:
            at_s = max(0, start_ns - self.started_ns) * 1e-9
            self.stalls.append({"at_s": round(at_s, 6), "for_s": round(took_ns * 1e-9, 6)})

    def timed(self, slot: Slot) -> _Timed:
        """Return a context in which the destination is waited for: a stall there shows while it lasts."""
        return _Timed(self, slot)

    def held_until_ns(self) -> int:
        """Return until when an injected stall holds the next call, 0: none."""
        now = now_ns()
        for at_s, for_s in self._injected:
            begin = self.started_ns + int(at_s * 1e9)
            if begin <= now < begin + int(for_s * 1e9):
                return begin + int(for_s * 1e9)
        return 0

    def so_far(self, index: int, since: int) -> dict[str, Any]:
        """Return what was measured of the present file, for a successor; of its stalls those from ``since`` on."""
        measured = {"write_s": self.write_s.to_json(), "fsync_s": self.fsync_s.to_json()}
        return {"index": index, **measured, "since": since, "stalls": self.stalls[since:]}

    def take_over(self, index: int) -> None:
        """Go on with what a predecessor had measured of this file."""
        if self._so_far is not None and self._so_far["index"] == index:
            self.write_s = LatencyHistogram.from_json(self._so_far["write_s"])
            self.fsync_s = LatencyHistogram.from_json(self._so_far["fsync_s"])
            self.stalls = list(self._so_far["stalls"])

    def report(self) -> dict[str, Any]:
        """Return the report's part."""
        return {"write_s": self.write_s.to_dict(), "fsync_s": self.fsync_s.to_dict(), "stalls": self.stalls}


class _Timed:
    def __init__(self, calls: Calls, slot: Slot) -> None:
        self._calls, self._slot = calls, slot

    def __enter__(self) -> None:
        self._begun_ns = busy(self._slot, begins=True)

    def __exit__(self, *exc: object) -> None:
        self._calls.note(self._begun_ns, busy(self._slot, begins=False) - self._begun_ns)
