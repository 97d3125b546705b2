"""What goes by the clock: the end of a source that is silent; length and files in seconds where no rate is known.

A source is silent while the reader waits for it in vain: the reader counts that time itself (`quiet_ns`, docs/ring.md).
So a full ring, a reader that is being replaced, and a machine or a process that was stopped are no silence. A source
whose output has ended and which does not exit is waited for as long.
"""

from __future__ import annotations

from fastcap._ring import now_ns
from fastcap.workers.recording import RUNNING, Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from fastcap.devlock import DeviceLock
    from fastcap.workers.children import Source
    from fastcap.workers.conduct import Conductor

POLL_INTERVAL_S = 0.25
KILLED_S = 3.0  # from SIGKILL on: a source that is there then is stuck in the kernel


class TimeLimits:
    """Watches the sources of one session."""

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor
        self._locks: dict[
            int, DeviceLock
        ] = {}  # of devices that sources hold which do not end, by their pids

    def watch(self, r: Recording) -> None:
        """Begin to watch a recording whose source has just been started."""
        if r.spec.get("source_timeout") is not None:
            self._check_silence(r, 0.0, now_ns())
        if r.spec.get("max_seconds") is not None:
            self._check_length(r)
        if r.spec.get("split_seconds") is not None:
            self._check_split(r, 1)

    # -- silence -----------------------------------------------------------------------------------

    def _check_silence(self, r: Recording, since_eof_s: float, last_ns: int) -> None:
        """End a source that was silent for its time-out; else look again when that may have happened."""
        if r.state != RUNNING or r.stopped_why is not None or (r.eof is not None and r.source_gone):
            return
        now = now_ns()
        if r.eof is not None:  # a wait that took longer than it was to take: this process was stopped
            since_eof_s += min((now - last_ns) * 1e-9, 2 * POLL_INTERVAL_S)
        timeout_s = r.source_timeout_s
        assert timeout_s is not None
        silent_s = r.silent_s if r.eof is None else since_eof_s
        if silent_s >= timeout_s:
            self._end_silent(r, timeout_s)
            return
        wait_s = min(POLL_INTERVAL_S, timeout_s - silent_s)
        self.c.s.loop.later(wait_s, lambda: self._check_silence(r, since_eof_s, now))

    def _end_silent(self, r: Recording, timeout_s: float) -> None:
        """End the source. What it still gives when it is asked to end (its buffer, perhaps) is read."""
        from fastcap.units import format_duration

        lasted = format_duration(timeout_s)
        if r.eof is not None:
            why = f"did not exit within {lasted} after the end of its output"
        elif r.bytes_seen:
            why = f"silent for {lasted}"
        else:
            why = f"gave no byte for {lasted}"
        r.stopped_why, r.source_ended = "silent", why
        was = why if why[0] in "dg" else f"was {why}"
        r.source_trouble = f"{r.spec['label']} {was}: it is ended"
        self.c.s.say({"op": "silent", "recording": r.id, "text": r.source_trouble})
        self.c.end_source(r, reads_on=True)

    # -- a source that does not end ------------------------------------------------------------------

    def watch_end(self, r: Recording, source: Source) -> None:
        """Finish a recording without its source if not even SIGKILL, just sent, ends that."""
        if not r.source_gone:
            self.c.s.loop.later(KILLED_S, lambda: self._finish_without(r, source))

    def _finish_without(self, r: Recording, source: Source) -> None:
        if r.source_gone:
            return
        stuck = f"process {source.pid} is stuck in the kernel, and SIGKILL does not end it"
        r.source_ended = f"{r.source_ended}; {stuck}" if r.source_ended else stuck
        r.source_tail = source.tail.decode("utf-8", "replace")
        r.source_gone = True
        if self.c.lock is not None:  # its device stays in use
            self._locks[source.pid], self.c.lock = self.c.lock, None
        self.c.s.say({"op": "warning", "recording": r.id, "text": f"{r.spec['label']}: {stuck}"})
        self.c.check_sampled(r)

    def let_go(self, source: Source) -> None:
        """Release the device of a source that has ended after all."""
        if (lock := self._locks.pop(source.pid, None)) is not None:
            lock.release()

    # -- length and files ----------------------------------------------------------------------------

    def _check_length(self, r: Recording) -> None:
        """End a recording that has lasted as long as asked, counted from its first bytes, if its words have no rate."""
        if r.state != RUNNING or r.stopped_why is not None or r.eof is not None:
            return
        if r.header and r.rate is not None:
            return  # the splitter cuts it at the exact word
        seconds = r.spec["max_seconds"][0] / r.spec["max_seconds"][1]
        left_s = seconds - _lasted_s(r)
        if left_s > 0:
            self.c.s.loop.later(min(left_s, POLL_INTERVAL_S), lambda: self._check_length(r))
            return
        self.c.conclude(r, f"after {seconds:g} s by the clock")

    def _check_split(self, r: Recording, number: int) -> None:
        """Begin file ``number`` when its time has come, counted from the first bytes, if the words have no rate."""
        if r.state != RUNNING or r.stopped_why is not None or r.eof is not None:
            return
        if r.header and r.rate is not None:
            return  # the splitter begins it at the exact word
        seconds = r.spec["split_seconds"][0] / r.spec["split_seconds"][1]
        left_s = number * seconds - _lasted_s(r)
        if left_s <= 0 and r.header:  # it may come late: no file begins within it
            r.spec["split_at"] = self.c.s.ring.head  # a replacement splitter needs it, too
            order = {"op": "split", "recording": r.id, "position": r.spec["split_at"]}
            self.c.s.tell(self.c.splitter, order)
            number = 1 + int(_lasted_s(r) / seconds)
            left_s = number * seconds - _lasted_s(r)
        wait_s = min(left_s, POLL_INTERVAL_S) if left_s > 0 else POLL_INTERVAL_S
        self.c.s.loop.later(wait_s, lambda: self._check_split(r, number))


def _lasted_s(r: Recording) -> float:
    """Return for how long a recording has lasted since its first bytes; 0 before."""
    return (now_ns() - r.first_ns) * 1e-9 if r.first_ns else 0.0
