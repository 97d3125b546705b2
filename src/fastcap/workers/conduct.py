"""What each recording needs from the processes: the supervisor's policy.

Order of a recording's beginning: device lock, slots granted (writer, analysis, outputs), the destination
looked at (for a moment only: a stalled one must not keep the board waiting), the splitter told, the reader
told; and when the reader says it reads, the source starts. Its end: the stream's END, the source's exit
status, the writer's commit with the report. The next recording begins as soon as this one is sampled.
"""

from __future__ import annotations

import json
import os

from fastcap import report
from fastcap._ring import LOG_BYTES, SLOTS
from fastcap._signals import signal
from fastcap.errors import FastcapError
from fastcap.wire import Message
from fastcap.workers.children import Source, Worker
from fastcap.workers.dispatch import Dispatcher
from fastcap.workers.finishing import Finishing, patience_s
from fastcap.workers.recording import DONE, FAILED, PREPARING, RUNNING, SAMPLED, Recording
from fastcap.workers.replace import Replacer
from fastcap.workers.timelimits import TimeLimits
from fastcap.workers.turns import Turns
from fastcap.workers.windows import WindowDesk

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.workers.supervisor import Supervisor

ALLOCATING_S = 0.005  # between looks at how much of the ring is ready
CHECK_S = 0.25  # a destination that has not answered by then is stalled: the source starts meanwhile
TERM_S = 2.0  # from SIGTERM to SIGKILL for a source that is to end
WARM_S = 0.3  # other warm workers than the reader's are started when the recording under way has settled
LOOK_S = 5.0
SLOTS_S = 0.05  # between looks for free consumer slots
SLOTS_KEPT = 4  # a recording begins if so many are free: its writer, its analysis, and two for the user


class Conductor:
    """Conducts the recordings of one session.

    Parameters
    ----------
    supervisor : Supervisor
        Whose processes these are.
    opening : dict
        The session's ``open`` message.
    workers : list of Worker
        Those that the first recording needs: reader, splitter, and what else ``opening`` names.
    """

    def __init__(self, supervisor: Supervisor, opening: Message, workers: list[Worker]) -> None:
        self.s = supervisor
        self.opening = opening
        self.recordings: list[Recording] = []
        self.queue: list[tuple[Message, list[int]]] = []
        self.keep_folder = False
        self.reader, self.splitter, *warm = workers
        self.writers = [worker for worker in warm if worker.role == "nas_writer"]
        self.analysts = [worker for worker in warm if worker.role == "analysis"]
        self.outputs = [worker for worker in warm if worker.role == "tee_out"]
        self.replacer = Replacer(self)
        self.dispatcher = Dispatcher(self)
        self.windows = WindowDesk(self)
        self.turns = Turns(self)
        self.limits = TimeLimits(self)
        self.finishing = Finishing(self)
        self.lock: Any = None
        self.refused: list[str] = []
        self._begun = 0  # the latest recording's number
        self._waits_for_slots = False
        if opening.get("realtime"):
            supervisor.tell(self.reader, {"op": "realtime"})

    # -- workers ---------------------------------------------------------------------------------

    def warm_up(self) -> None:
        """Have a successor ready for whatever a recording took or a death would need."""
        if self.s.finished or not any(not r.over for r in self.recordings):
            return
        self.replacer.warm_spare()
        if self.opening.get("writes") and not self.writers:
            self.writers.append(self.s.spawn("nas_writer"))
        if self.opening.get("analyses") and not self.analysts:
            self.analysts.append(self.s.spawn("analysis"))

    def take(self, role: str) -> Worker:
        """Return a warm worker of this role, or a new one."""
        pool = {"nas_writer": self.writers, "analysis": self.analysts, "tee_out": self.outputs}[role]
        return pool.pop() if pool else self.s.spawn(role)

    # -- beginning -------------------------------------------------------------------------------

    @property
    def current(self) -> Recording | None:
        """The recording whose source runs or is about to."""
        return next((r for r in self.recordings if r.state in (PREPARING, RUNNING)), None)

    @property
    def busy(self) -> bool:
        """Something is still to be done."""
        return bool(self.queue) or any(not r.over for r in self.recordings)

    def record(self, spec: Message, fds: list[int]) -> None:
        """Begin a recording, or queue it until the one under way is sampled, and earlier ones have left slots."""
        self.queue.append((spec, fds))
        self._next()

    def _begin(self, spec: Message, fds: list[int]) -> None:
        self._forget_settled()
        r = Recording(spec, self.s.ring)
        self.recordings.append(r)
        self._begun = r.id
        if fds:
            r.source_fd, *output_fds = fds if spec["source"]["kind"] != "command" else [-1, *fds]
        else:
            output_fds = []
        try:
            self._lock_device(r)
        except (FastcapError, OSError) as e:
            self.fail(r, "SourceError", str(e))
            return
        if not spec["can_wait"]:
            self.s.use_whole_ring()
        r.waiting_for = {"announced"}
        self.s.tell(self.splitter, {"op": "announce", **self.framing(spec)})
        self.prepare_sink(r)
        self._prepare_consumers(r, output_fds)

    def _forget_settled(self) -> None:
        """Keep no recording that nobody needs any more, nor for ever the events of such."""
        self._read_events()
        self.recordings = [r for r in self.recordings if not r.settled]
        ring = self.s.ring
        if ring.events - ring.events_from > 2 * LOG_BYTES:
            first = min([r.id for r in self.recordings], default=self._begun + 1)
            self.s.tell(self.splitter, {"op": "give_up_events", "over": first - 1})

    def _lock_device(self, r: Recording) -> None:
        device = r.spec["source"].get("device")
        if device is None:
            return
        from fastcap.devlock import DeviceLock

        self.lock = DeviceLock.acquire(device, r.spec["lock_info"])

    def framing(self, spec: Message) -> Message:
        """Return what the splitter must know of a recording."""
        keys = (
            "recording",
            "word_bytes",
            "header",
            "payload",
            "rate",
            "max_words",
            "max_seconds",
            "split_seconds",
            "split_at",
            "whole_words",
            "windows",
            "can_wait",
        )
        start = {"command": spec.get("command"), "wall": spec["started"], "word": spec["word_bytes"]}
        return {**{k: spec.get(k) for k in keys}, "start": json.dumps(start)}

    def prepare_sink(self, r: Recording) -> None:
        """Give a recording its NAS writer, which claims a slot and looks at the destination."""
        if r.spec.get("sink") is None:
            return
        r.writer = self.take("nas_writer")
        r.writer.recording = r.id
        r.waiting_for |= {"granted", "dest"}
        self.s.tell(r.writer, {"op": "claim", "recording": r.id})
        turn = self.turns.has(r)
        self.s.tell(r.writer, {"op": "record", "recording": r.id, "turn": turn, **r.spec["sink"]})
        if not r.spec["sink"].get("check_first"):
            self.s.loop.later(r.spec["sink"].get("check_s", CHECK_S), lambda: self.arrived(r, "dest"))

    def _prepare_consumers(self, r: Recording, output_fds: list[int]) -> None:
        if r.spec.get("analysis") is not None:
            r.analysis = self.take("analysis")
            r.analysis.recording = r.id
            r.waiting_for.add("analysis")
            self.s.tell(r.analysis, {"op": "record", "recording": r.id, **r.spec["analysis"]})
        for index, fd in enumerate(output_fds):
            worker = self.take("tee_out")
            worker.recording = r.id
            r.outputs.append(worker)
            r.waiting_for.add(f"output{index}")
            self.replacer.output_fds[worker.pid] = (fd, index)
            self.s.tell(worker, {"op": "record", "recording": r.id, "index": index}, (fd,))

    def arrived(self, r: Recording, what: str) -> None:
        """Something the beginning waits for is there; with the last one the reader is told to read."""
        if what not in r.waiting_for or r.state != PREPARING:
            return
        r.waiting_for.remove(what)
        if not r.waiting_for:
            self.start_reader(r)

    def start_reader(self, r: Recording) -> None:
        """Open the source's way in and hand it to the reader; it comes back here if that is not up yet."""
        if r.over or not self.reader.ready:
            return
        if self.s.ring.ready < (1 if r.spec["can_wait"] else self.s.ring.first):
            self.s.loop.later(ALLOCATING_S, lambda: self.start_reader(r))
            return
        if r.source_fd < 0:
            r.source_fd, r.source_stdout = os.pipe2(os.O_CLOEXEC)
        r.baseline = self.reader.io_count("rchar") or 0
        self.s.tell(self.reader, {"op": "record", **self.reading(r)}, (r.source_fd,))

    def reading(self, r: Recording) -> Message:
        """Return what a reader must know of a recording."""
        keys = ("recording", "word_bytes", "can_wait", "replay_bytes_per_s", "pipe_bytes", "gather_s")
        return {k: r.spec[k] for k in keys if k in r.spec}

    def start_source(self, r: Recording, message: Message) -> None:
        """Start the source: the reader reads."""
        r.reading = True
        r.state = RUNNING
        r.pipe_bytes = message["pipe_bytes"]
        source = r.spec["source"]
        if source["kind"] == "command":
            try:
                r.source = Source(source["argv"], source.get("cwd"), r.source_stdout)
            except OSError as e:
                self.fail(
                    r,
                    "SourceError",
                    f"cannot start '{source['argv'][0]}': {e.strerror}; check the path and its rights",
                )
                return
            os.close(r.source_stdout)
            r.source_stdout = -1
            self._watch_source(r, r.source)
        self.limits.watch(r)
        self.s.loop.later(WARM_S, self.warm_up)
        if r.stopped_why:
            self.end_source(r)
        self.s.status.write(self.progress())  # who waits for what a dead program left must see it at once
        self.s.say(
            {
                "op": "running",
                "recording": r.id,
                "pipe_bytes": r.pipe_bytes,
                "notices": self.s.notices + self.refused,
            }
        )
        self.replacer.warm_spare()  # while the source starts: without one a reader's death costs words

    def _watch_source(self, r: Recording, source: Source) -> None:
        def drain() -> None:
            if not source.drain():
                self.s.loop.forget(source.stderr)

        def gone() -> None:
            self.s.loop.forget(source.pidfd)
            self.s.loop.forget(source.stderr)
            source.finish()
            r.source_status = source.status
            r.source_tail = source.tail.decode("utf-8", "replace")
            r.source_gone = True
            self.limits.let_go(source)
            self.check_sampled(r)

        self.s.loop.watch(source.stderr, drain)
        self.s.loop.watch(source.pidfd, gone)

    # -- ending ----------------------------------------------------------------------------------

    def stop(self, why: str, only: int | None = None) -> None:
        """End the recording under way and everything queued, or only one of them."""
        ending = [(spec, fds) for spec, fds in self.queue if only in (None, spec["recording"])]
        self.queue = [entry for entry in self.queue if entry not in ending]
        for spec, fds in ending:
            for fd in fds:
                os.close(fd)
            self.s.say(
                {
                    "op": "failed",
                    "recording": spec["recording"],
                    "error": "SourceError",
                    "text": f"{why} before it began",
                }
            )
        r = self.current
        if r is None or r.stopped_why is not None or only not in (None, r.id):
            return
        if why == "stopped" and r.reading and r.eof is None:
            self.conclude(r, why)
            return
        r.stopped_why = r.source_ended = why
        if r.state == PREPARING and not r.reading:
            self.fail(r, "SourceError", f"{why} before the source had started")
        else:
            self.end_source(r)

    def conclude(self, r: Recording, ended: str) -> None:
        """End a recording here and now, as was asked for: it is complete with the last whole word that has come."""
        r.stopped_why, r.source_ended = "stopped", ended
        r.spec["whole_words"] = True
        self.s.tell(self.splitter, {"op": "whole_words", "recording": r.id})
        self.end_source(r)

    def end_source(self, r: Recording, *, reads_on: bool = False) -> None:
        """Stop reading, and the source: SIGTERM to its group, SIGKILL if it will not.

        ``reads_on``: what it gives until it has ended is read, for as long as it has to end by itself.
        """
        source = r.source
        if source is None or not reads_on:
            self.s.ring.stop_reading(r.id)
        if source is None:
            return
        if not r.source_gone:
            source.signal_group(signal.SIGTERM)
        self.s.loop.later(TERM_S, lambda: self._force_end(r, source))

    def _force_end(self, r: Recording, source: Source) -> None:
        source.signal_group(signal.SIGKILL)
        if r.eof is None:  # what it started, and we cannot reach, may hold the pipe open
            self.s.ring.stop_reading(r.id)
        self.limits.watch_end(r, source)

    def fail(self, r: Recording, error: str, text: str) -> None:
        """End a recording with an error; what never began leaves nothing behind."""
        if r.over:
            return
        r.stopped_why = r.stopped_why or "failed"
        r.error = {"error": error, "text": text}
        if r.state == RUNNING:
            self.end_source(r)
        else:
            self.s.ring.stop_reading(r.id)
        r.bytes_were_seen = r.bytes_seen
        self.keep_folder = self.keep_folder or r.bytes_were_seen
        if r.writer is not None:
            self.s.tell(r.writer, {"op": "abandon" if r.bytes_seen else "discard"})
        if r.analysis is not None:
            self.s.tell(r.analysis, {"op": "cancel", "recording": r.id})
        for fd in (r.source_fd, r.source_stdout):
            if fd >= 0:
                os.close(fd)
        r.source_fd = r.source_stdout = -1
        r.state = FAILED
        self.turns.pass_on()
        self._release()
        self.s.say({"op": "failed", "recording": r.id, **r.error})
        self._next()

    def _release(self) -> None:
        if self.lock is not None:
            self.lock.release()
            self.lock = None

    def _next(self) -> None:
        if not self.queue or self.current is not None:
            return
        if self._slots_free() < SLOTS_KEPT + len(self.queue[0][0].get("outputs") or []):
            if not self._waits_for_slots:
                self._waits_for_slots = True
                self.s.loop.later(SLOTS_S, self._slots_again)
            return
        self._begin(*self.queue.pop(0))

    def _slots_free(self) -> int:
        return sum(self.s.ring.slot_state(i)["state"] == "FREE" for i in range(SLOTS))

    def _slots_again(self) -> None:
        self._waits_for_slots = False
        self._next()

    def check_sampled(self, r: Recording) -> None:
        """Source, reader and splitter are done: the device is free, the next recording may begin."""
        if not r.sampled or r.state != RUNNING:
            return
        if r.source_fd >= 0:
            os.close(r.source_fd)
            r.source_fd = -1
        r.state = SAMPLED
        self._release()
        assert r.ended is not None
        if r.ended["bytes"] == 0 and r.word_bytes > 1 and r.stopped_why not in ("interrupted", "stopped"):
            self.fail(r, "SourceError", r.without_a_byte())
            return
        self.s.say({"op": "sampled", "recording": r.id})
        self.s.loop.later(LOOK_S, lambda: self._look_for_progress(r, -1, 0.0))
        self.commit_if_ready(r)
        self.check_done(r)
        self._next()

    def _look_for_progress(self, r: Recording, cursor: int, waited_s: float) -> None:
        """Give a destination up that has failed (not stalled) for a long time after the source's end."""
        if r.over or r.writer_slot is None or r.files_done:
            return
        now = self.s.ring.slot_state(r.writer_slot)["cursor"]
        look_s = min(LOOK_S, patience_s(r) / 4)
        waited_s = waited_s + look_s if now == cursor and r.sink_trouble else 0.0
        if waited_s >= patience_s(r):
            self.fail(
                r,
                "SinkError",
                f"{r.sink_trouble} (for {waited_s:.0f} s); {r.kept_where(self.s.folder)}",
            )
            return
        self.s.loop.later(look_s, lambda: self._look_for_progress(r, now, waited_s))

    # -- files -----------------------------------------------------------------------------------

    def commit_if_ready(self, r: Recording) -> None:
        """Answer the writer's last measurements with the report, once it can be whole."""
        segment = r.pending_segment
        if segment is None or r.writer is None or (segment["last"] and r.state not in (SAMPLED,)):
            return
        r.pending_segment = None
        self._read_events()
        built = report.build(r, segment)
        index, arrived = segment["index"], r.complete if segment["last"] else True
        r.reports[index:], r.arrived[index:] = [built], [arrived]
        self.s.tell(r.writer, {"op": "commit", "index": index, "report": built, "arrived": arrived})

    def _read_events(self) -> None:
        for event in self.s.log.poll():
            for r in self.recordings:
                if r.id == event.recording:
                    r.take_event(event)

    def check_done(self, r: Recording) -> None:
        """Finish once files, outputs and analysis have."""
        if r.state != SAMPLED or not r.files_done or r.outputs_left or r.analysis_pending:
            return
        if r.spec.get("sink") is None:
            self._read_events()
            r.reports = [report.build(r, self._unwritten(r))]
        elif not self.finishing.is_over(r):
            return
        if r.writer is not None:
            self.s.tell(r.writer, {"op": "final"})
        r.state = DONE
        self.s.say({"op": "done", "recording": r.id, "reports": r.reports, "outputs": r.output_results})

    def _unwritten(self, r: Recording) -> Message:
        """Return the "segment" of a recording that nobody writes."""
        assert r.ended is not None
        start = (r.end_state or {}).get("start", 0)
        return {
            "index": 0, "last": True, "path": None, "position": start, "end": start + r.ended["bytes"],
            "bytes": r.ended["bytes"], "first_word": 0, "header_bytes": r.ended["header_bytes"],
            "checksum": None, "sink": None,
        }  # fmt: skip

    # -- the session -----------------------------------------------------------------------------

    def progress(self) -> list[Message]:
        """Return how the recordings that are not over stand."""
        return [{**r.progress(), **self._told(r)} for r in self.recordings if not r.over]

    def _told(self, r: Recording) -> Message:
        keys = ("destination", "device", "expected_end", "label")
        return {k: r.spec["lock_info"].get(k) for k in keys}

    def sources_can_wait(self) -> bool:
        """Tell whether nothing can be lost for want of memory: every source waits for room."""
        return all(r.spec["can_wait"] for r in self.recordings if not r.over)

    def out_of_memory(self, text: str) -> None:
        """Say that the ring lacks memory: what never began fails; what runs goes on with what there is, and counts."""
        r = self.current
        if r is not None and r.state == PREPARING and self.s.ring.ready < self.s.ring.first:
            self.fail(r, "RingError", text)
        else:
            self.s.say({"op": "warning", "recording": 0 if r is None else r.id, "text": text})

    def kill_all(self) -> None:
        """End source and workers at once."""
        for r in self.recordings:
            if r.source is not None and not r.source_gone:
                r.source.signal_group(signal.SIGKILL)
        for worker in self.s.workers:
            worker.kill()
