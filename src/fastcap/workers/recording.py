"""One recording as the supervisor sees it: a small state machine fed by messages and deaths.

    PREPARING  slots are granted, the destination looked at, the lock taken
    RUNNING    the reader reads, the source runs
    SAMPLED    source and reader are done; the next recording may start
    DONE       every file is committed (or there is none to write); FAILED: with an error

What happens in each state is in `fastcap.workers.supervisor`; this module keeps the facts and answers
questions about them.
"""

from __future__ import annotations

import os
import time

from fastcap._ring import Ring, now_ns
from fastcap.events import GAP, MARK, SLIP, Event
from fastcap.workers.children import Source, Worker

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.clock import ClockRecorder

_MOST_ERRORS = 1000  # in a report; a destination that fails more often is as bad
PREPARING, RUNNING, SAMPLED, DONE, FAILED = "preparing", "running", "sampled", "done", "failed"


class Recording:
    """Facts about one recording.

    Parameters
    ----------
    spec : dict
        The controller's message: see `fastcap.session`.
    ring : Ring
        For its counters.
    """

    def __init__(self, spec: dict[str, Any], ring: Ring) -> None:
        self.spec = spec
        self.id: int = spec["recording"]
        self.ring = ring
        self.capacity: int = ring.capacity
        self.word_bytes: int = spec["word_bytes"]
        self.state = PREPARING
        self.error: dict[str, str] | None = None
        self.begun_ns, self._begun_at = now_ns(), time.time()
        # who works for it
        self.source: Source | None = None
        self.source_status: int | None = None
        self.source_tail = ""
        self.source_gone = spec["source"]["kind"] != "command"
        self.source_fd = -1  # the supervisor's own duplicate of the read end
        self.source_stdout = -1  # the write end, until the source has it
        self.writer: Worker | None = None
        self.writer_slot: int | None = None
        self.analysis: Worker | None = None
        self.outputs: list[Worker] = []
        self.waiting_for: set[str] = set()  # before the reader may begin
        # what is known
        self.baseline = 0  # the present reader's counter when it took over
        self.taken_before = 0  # bytes read by readers that died
        self.taken_known = True
        self.bytes_read: int | None = None  # by the kernel's count, at the end
        self.reading = False
        self.eof: dict[str, Any] | None = None
        self.end_state: dict[str, int] | None = None
        # why we ended it ourselves: "interrupted", "stopped" (as asked for), "cut", "silent", "failed"
        self.stopped_why: str | None = None
        self.source_ended: str | None = None  # the same in words, for the report
        self.source_trouble: str | None = None
        self.header: dict[str, Any] = {}
        self.ended: dict[str, Any] | None = None
        self.gaps: list[Event] = []
        self.slips: list[Event] = []
        self.marks: dict[int, int] = {}  # when files began (ns), by first word, where words have no rate
        self.clock: ClockRecorder | None = None  # arrivals, from the splitter
        self.started_ns = self.begun_ns
        self.first_at: float | None = None  # when the first bytes came, by the wall clock of that moment
        self.pipe_bytes = 0
        self.destination_checked = False  # by the writer: what existed there was not this recording's
        self.destination_device = 0  # the file system that it is on, from then
        self.unknown_losses: list[dict[str, Any]] = []
        self.replaced = {"reader": 0, "splitter": 0, "nas_writer": 0, "analysis": 0}
        self.analysis_result: dict[str, Any] | None = None
        self.analysis_so_far: dict[str, Any] | None = None  # before the user's function was called
        self.analysis_pending = spec.get("analysis") is not None
        self.pending_segment: dict[str, Any] | None = None
        self.reports: list[dict[str, Any]] = []
        self.files_told = 0  # that many files' completion is known to the controller
        self.files_done = spec.get("sink") is None
        self.has_turn = False  # to write: see `fastcap.workers.turns`
        self.written = spec.get("sink") is None  # every byte is durable
        self.finishing = False  # the controller wants an end here
        self.window_meta: dict[str, dict[str, str]] = {}  # by file name, without ending
        self.outputs_left = len(spec.get("outputs") or [])
        self.output_results: list[dict[str, Any]] = []
        self.sink_trouble: str | None = None
        self.file_seen = True  # where it was written, when the destination last failed
        self.sink_errors: list[
            dict[str, Any]
        ] = []  # of all files; what the destination has not got over has no end
        self._errors_said: set[str] = set()  # since the destination last worked
        self.sink_losses: list[dict[str, Any]] = []  # what the destination had, and lost: see workers/intact
        self.incidents: list[dict[str, Any]] = []  # what others did to files
        self.arrived: list[bool] = []  # by file: the source gave all of it
        self.bytes_were_seen = False  # when it failed: then the session's folder is kept
        self.files_named: list[dict[str, Any]] = []  # by what each complete file is known again
        self.closing = self.closed = False  # the last check of the files has begun; it is done
        self.grown = False  # the last report holds more than its sidecar
        self.path_trouble: str | None = None  # the destination was unmounted, which stops nobody
        self.slip_trouble: str | None = None  # words are out of step
        self.name_trouble: str | None = None  # a file has not the name that it was to have
        self.sink_so_far: dict[str, Any] | None = None  # what the writer has measured of its present file
        self._stalled_since_ns = 0  # the last call that a writer died in
        self.needs_file = False  # the analysis waits for the complete file

    # -- questions ---------------------------------------------------------------------------------

    @property
    def over(self) -> bool:
        """Nothing is left to do."""
        return self.state in (DONE, FAILED)

    @property
    def settled(self) -> bool:
        """It is over, no process is left of it, and nothing of it is to be recovered."""
        if not self.over or not self.source_gone or self.analysis is not None or self.outputs_left:
            return False
        return self.state == DONE or not self.bytes_were_seen

    @property
    def bytes_seen(self) -> bool:
        """Something of this recording has arrived in the ring."""
        state = self.end_state or self.ring.reader_state()
        return self.reading and state["recording"] == self.id and self.ring.head > state["start"]

    @property
    def first_ns(self) -> int:
        """CLOCK_MONOTONIC of the first bytes' arrival; 0 before."""
        state = self.ring.reader_state()
        return int(state["first_ns"]) if state["recording"] == self.id else 0

    @property
    def silent_s(self) -> float:
        """For how long the reader has waited for the source in vain since the latest bytes, or since the start."""
        state = self.ring.reader_state()
        return float(state["quiet_ns"] * 1e-9) if state["recording"] == self.id and self.eof is None else 0.0

    @property
    def source_timeout_s(self) -> float | None:
        """How long the source may be silent; None: for ever. Its standard output may be buffered: `fastcap.spec`."""
        timeout = self.spec.get("source_timeout")
        if timeout is None:
            return None
        buffer_s = (
            timeout["buffer_bytes"] / self.word_bytes * self.rate[1] / self.rate[0] if self.rate else 0.0
        )
        return float(max(timeout["seconds"], buffer_s))

    @property
    def sampled(self) -> bool:
        """Source and reader are done, and the splitter has ended the stream."""
        return self.source_gone and self.eof is not None and self.ended is not None

    @property
    def rate(self) -> list[int] | None:
        """Words per second, [numerator, denominator]."""
        rate: list[int] | None = self.header.get("rate") or self.spec.get("rate")
        return rate

    @property
    def header_error(self) -> str | None:
        """What was wrong with the stream's header."""
        error: str | None = self.header.get("header_error")
        return error

    @property
    def payload(self) -> dict[str, str] | None:
        """Where data begin in the stream, and how that is known; None before it is."""
        payload: dict[str, str] | None = self.header.get("payload")
        return payload

    @property
    def preamble(self) -> dict[str, Any] | None:
        """What the source wrote before the magic word."""
        text = self.header.get("preamble")
        return {"bytes": len(text.encode()), "text": text} if text else None

    @property
    def interrupted(self) -> bool:
        """The user, or the user's death, ended it."""
        return self.stopped_why == "interrupted"

    @property
    def wanted_words(self) -> int | None:
        """The length asked for, in source words."""
        wanted: int | None = self.header.get("max_words") or self.spec.get("max_words")
        return wanted

    @property
    def complete(self) -> bool:
        """All that was asked for arrived, from a source that ended well."""
        if self.stopped_why in ("interrupted", "silent", "failed") or self.header_error or self.ended is None:
            return False
        if self.ended["why"] == "cut" or self.stopped_why == "stopped":
            return True
        expected = self.wanted_words or self.spec.get("expect_words")
        slipped = sum(event.data["bytes"] for event in self.slips)  # with them the source gave whole words
        data = self.ended["words"] * self.word_bytes + self.ended["odd_bytes"] + slipped
        if expected and data // self.word_bytes + self.ended["words_lost"] < expected:
            return False
        failed_read = self.eof is not None and self.eof["error"] is not None
        return not failed_read and self.source_status in (0, None) and not data % self.word_bytes

    @property
    def elapsed_s(self) -> float | None:
        """Seconds between the first and the last bytes' arrival."""
        first_ns = self._counted("first_ns")
        return round((self._counted("last_ns") - first_ns) * 1e-9, 6) if first_ns else None

    def _counted(self, name: str) -> int:
        """Return one of the reader's counters, at the end or now."""
        return int((self.end_state or self.ring.reader_state())[name])

    def file_s(self, first_word: int) -> float | None:
        """Return for how long the words of the file that begins with ``first_word`` came, where they have no rate."""
        if not self.marks:
            return self.elapsed_s
        times = [self._counted("first_ns"), *self.marks.values(), self._counted("last_ns")]
        k = [0, *self.marks].index(first_word)
        return round((times[k + 1] - times[k]) * 1e-9, 6)

    @property
    def pipe_full_s(self) -> float | None:
        """Time the pipe stood full; null where the source is no pipe."""
        state = self.end_state or self.ring.reader_state()
        return round(state["pipe_full_ns"] * 1e-9, 6) if self.pipe_bytes else None

    def high_water(self) -> int:
        """Peak of bytes held for the writer, or for whoever holds memory."""
        if self.writer_slot is None:
            return self.ring.high_water
        return int(self.ring.slot_state(self.writer_slot)["high_water"])

    def started_at(self, first_word: int) -> str:
        """Return the local time, ISO 8601, at which source word ``first_word`` came; where none did: when asked for."""
        from datetime import datetime, timedelta

        started = datetime.fromisoformat(self.spec["started"])
        first_at, first_ns = self.first_at, self._counted("first_ns")
        if first_at is None and first_ns:  # there is no header that could have been taken then
            first_at = self._begun_at + (first_ns - self.begun_ns) * 1e-9
        if first_at is not None:
            started = datetime.fromtimestamp(first_at, started.tzinfo)
        if first_word and self.rate:
            started += timedelta(microseconds=first_word * self.rate[1] * 1_000_000 // self.rate[0])
        elif first_word in self.marks:
            started += timedelta(microseconds=(self.marks[first_word] - first_ns) // 1000)
        return started.isoformat()

    def take_header(self, message: dict[str, Any]) -> None:
        """Note what the header says, and when the first bytes came: a program may take its time to start."""
        self.header = message
        first_ns = self.ring.reader_state()["first_ns"]
        if self.first_at is None and first_ns:
            self.first_at = time.time() - (now_ns() - first_ns) * 1e-9

    def meta_of(self, path: str | None) -> dict[str, str]:
        """Return what was said of one file alone."""
        return self.window_meta.get(os.path.basename(path).removesuffix(".bin"), {}) if path else {}

    def without_a_byte(self) -> str:
        """Return in words how the source ended that gave nothing."""
        tail = self.source_tail.strip().splitlines()
        said = f"; it said: {tail[-1]}" if tail else ""
        if self.source_trouble is not None:
            return f"{self.source_trouble}{said}"
        status = "" if self.source_status is None else f" (exit status {self.source_status})"
        if self.eof is not None and self.eof["error"]:
            return f"{self.spec['label']} cannot be read: {self.eof['error']}{status}{said}"
        return f"{self.spec['label']} ended{status} without a byte{said}"

    def take_so_far(self, so_far: dict[str, Any]) -> None:
        """Note what the writer has measured of its present file; of the stalls it tells those from ``since`` on."""
        known = self.sink_so_far
        stalls = known["stalls"] if known is not None and known["index"] == so_far["index"] else []
        stalls[so_far["since"] :] = so_far["stalls"]
        self.sink_so_far = {**so_far, "stalls": stalls}

    def died_in_call(self, since_ns: int) -> None:
        """Note that the writer died in a call that began at ``since_ns`` (0: in none): so long it stalled at least."""
        if not since_ns or since_ns == self._stalled_since_ns:
            return
        from fastcap.workers.calls import STALL_NS

        self._stalled_since_ns = since_ns
        if self.sink_so_far is None:
            nothing: dict[str, Any] = {"max_ns": None, "buckets": {}}
            self.sink_so_far = {"index": 0, "write_s": nothing, "fsync_s": nothing, "stalls": []}
        if (for_ns := now_ns() - since_ns) >= STALL_NS:
            at_s = max(0, since_ns - self.started_ns) * 1e-9
            stall = {"at_s": round(at_s, 6), "for_s": round(for_ns * 1e-9, 6)}
            self.sink_so_far["stalls"].append(stall)

    def sink_fails(self, text: str, index: int) -> bool:
        """Note an error of the destination at file ``index``; tell whether it is news."""
        self.sink_trouble = text
        if text in self._errors_said:
            return False
        if not self._errors_said and len(self.sink_errors) < _MOST_ERRORS:
            entry = {"index": index, "at_s": self.since_start_s(), "for_s": None, "text": text}
            self.sink_errors.append(entry)
        self._errors_said.add(text)
        return True

    def sink_works(self) -> float | None:
        """Note that the destination works; return how long it had not, None: it had."""
        self.sink_trouble = None
        self._errors_said.clear()
        if not self.sink_errors or self.sink_errors[-1]["for_s"] is not None:
            return None
        for_s: float = round(self.since_start_s() - self.sink_errors[-1]["at_s"], 6)
        self.sink_errors[-1]["for_s"] = for_s
        return for_s

    def errors_of(self, index: int) -> list[dict[str, Any]]:
        """Return the report's ``errors``: what went wrong on the destination at file ``index``."""
        keys = ("at_s", "for_s", "text")
        found = [{key: e[key] for key in keys} for e in self.sink_errors if e["index"] == index]
        if found and found[-1]["for_s"] is None:
            found[-1]["for_s"] = round(self.since_start_s() - found[-1]["at_s"], 6)  # so far
        return found

    def take_incident(self, index: int, text: str) -> None:
        """Note what others did to file ``index``."""
        if len(self.incidents) < _MOST_ERRORS:
            self.incidents.append({"index": index, "at_s": self.since_start_s(), "text": text})

    def incidents_of(self, index: int) -> list[dict[str, Any]]:
        """Return the report's ``incidents``: what others did to file ``index``."""
        return [{key: i[key] for key in ("at_s", "text")} for i in self.incidents if i["index"] == index]

    def kept_where(self, folder: str) -> str:
        """Return in words where the bytes of a recording are that is given up: what is known of it, nothing else."""
        slot = self.ring.slot_state(self.writer_slot) if self.writer_slot is not None else None
        begin = self.ring.reader_state()["start"] if self.end_state is None else self.end_state["start"]
        if slot is None or not self.destination_checked:
            return f"what arrived is in {folder}" if os.path.isdir(folder) else "nothing of it is kept"
        lost = sum(loss["bytes"] for loss in self.sink_losses)
        written, left = max(0, slot["cursor"] - begin - lost), max(0, self.ring.framed - slot["cursor"])
        directory = ((self.sink_so_far or {}).get("directory") or [self.spec["sink"]["directory"]])[0]
        if (self.sink_so_far or {}).get("nameless"):
            parts = [f"its first {written} bytes are lost with the file that was removed"]
        else:
            parts = [f"its first {written} bytes were written to {directory}, the last file as .part"]
            if not self.file_seen:
                parts[0] += ", which cannot be found now"
        if left and os.path.isdir(folder):
            parts.append(f"the other {left} bytes are in the ring in {folder}")
        elif left:
            parts.append(f"the other {left} bytes are lost: the session's folder {folder} is gone")
        return "; ".join(parts)

    def since_start_s(self) -> float:
        """Return the seconds since the recording began."""
        return round(max(0, now_ns() - self.started_ns) * 1e-9, 6)

    def source_report(self) -> dict[str, Any]:
        """Return the report's ``source``."""
        return {
            "command": self.spec.get("command"),
            "exit_status": self.source_status,
            "ended": self.source_ended,
            "stderr_tail": self.source_tail,
            "read_error": self.eof["error"] if self.eof else None,
        }

    def accounting(self) -> dict[str, Any] | None:
        """Return the conservation law's terms: what the kernel says was read against what became of it.

        Each is measured on its own, none is what the others leave: the reader's count by the kernel; what was kept
        and lost by the splitter's account at the end; what was discarded by where that end is, what stands in the
        ring behind it, and what was dropped there.
        """
        state, ended = self.end_state, self.ended
        if ended is None or state is None:
            return None
        on_disk = sum(loss["bytes"] for loss in self.sink_losses)  # was kept, and is lost
        arrived = state["end"] - state["start"]
        discarded = arrived - ended["bytes"]  # behind the cut; at a stop, the piece of a word that was last
        if ended["why"] == "cut":
            in_gaps = sum(g.data["words"] * self.word_bytes + g.data["odd_bytes"] for g in self.gaps)
            discarded += state["dropped_bytes"] - in_gaps
        handled = arrived + state["dropped_bytes"]
        return {
            "bytes_read": self.bytes_read,
            "kept_bytes": ended["bytes"] - on_disk,
            "lost_bytes": ended["words_lost"] * self.word_bytes + ended["odd_lost"] + on_disk,
            "discarded_after_cut_bytes": discarded,
            "in_flight_bytes": None if self.bytes_read is None else self.bytes_read - handled,
        }

    def clock_sample(self, at_ns: int, words: int) -> None:
        """Note how many source words had come by when: the splitter's sample, kept over its death."""
        if self.word_bytes == 1:
            return  # any bytes: there is no rate to compare with
        if self.clock is None:
            from fastcap.clock import ClockRecorder

            self.clock = ClockRecorder()
        self.clock.add(at_ns, words)

    def clock_report(self) -> dict[str, Any]:
        """Return measured rate, drift and the board's estimated loss; None where too short to tell."""
        e = None
        if self.clock is not None and self.rate:
            from fractions import Fraction

            e = self.clock.estimate(Fraction(*self.rate))
        clock, board = ("rate_hz", "drift_ppm"), ("estimated_words_lost", "detectable_words")
        return {
            "clock": {key: getattr(e, key, None) for key in clock},
            "board": {key: getattr(e, key, None) for key in board},
        }

    def take_event(self, event: Event) -> None:
        """Note an event of this recording."""
        if event.kind == GAP:
            self.gaps.append(event)
        if event.kind == SLIP:
            self.slips.append(event)
        if event.kind == MARK and not self.rate:
            self.marks[event.data["first_word"]] = event.at_ns
        if event.kind == 1:
            self.started_ns = event.at_ns

    def progress(self) -> dict[str, Any]:
        """Return what people want to see while it runs or drains."""
        state = self.ring.reader_state()
        live = state["recording"] == self.id
        tail = self.ring.tail  # before `head`, which it never passes
        head, start = self.ring.head, state["start"] if live else 0
        slot = self.ring.slot_state(self.writer_slot) if self.writer_slot is not None else None
        busy = slot["busy_since_ns"] if slot else 0
        incident = self.incidents[-1]["text"] if self.incidents else None
        troubles = [
            self.source_trouble, self.sink_trouble, self.path_trouble, incident, self.slip_trouble, self.name_trouble
        ]  # fmt: skip
        return {
            "recording": self.id,
            "state": self.state,
            "bytes": (head if self.end_state is None else self.end_state["end"]) - start if live else None,
            "dropped_bytes": state["dropped_bytes"] if live else 0,
            "backlog_bytes": max(0, self.ring.framed - slot["cursor"]) if slot else 0,
            "capacity_bytes": self.capacity,
            "held_bytes": head - tail,
            "stalled_s": round((now_ns() - busy) * 1e-9, 3) if busy else 0.0,
            "silent_s": round(self.silent_s, 3),
            "trouble": "; ".join(text for text in troubles if text) or None,
            "elapsed_s": round((now_ns() - self.begun_ns) * 1e-9, 3),
            "at": time.time(),
        }
