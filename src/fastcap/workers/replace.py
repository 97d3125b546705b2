"""Deaths: who is replaced, by whom, from which point on.

Nobody is replaced before its pidfd is readable. The reader's successor waits warm and is told how many bytes
the dead one had read, by the kernel's count; the splitter's goes on from the ring; the NAS writer's from the
slot's cursor; an output's from what the kernel says was written; the analysis begins anew and says what it missed.
"""

from __future__ import annotations

import errno
import os
import time

from fastcap._ring import SLOTS
from fastcap.wire import let_go
from fastcap.workers.children import Worker
from fastcap.workers.recording import PREPARING, RUNNING, Recording

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.wire import Message
    from fastcap.workers.conduct import Conductor

MANY = 8  # deaths at one position: it is not chance, and not mended by another start
AGAIN_S = 0.5  # until another start, once that many have failed


class Replacer:
    """Replaces what dies in a session."""

    def __init__(self, conductor: Conductor) -> None:
        self.c = conductor
        self.spare: Worker | None = None
        self._counts_exact: bool | None = None
        self.output_fds: dict[int, tuple[int, int]] = {}
        self.slots: dict[int, int] = {}
        self._waits_for_spare: Recording | None = None
        self._outputs_begin: dict[int, Message] = {}  # by pid: what a successor is told once it is ready
        self._written: dict[int, int | None] = {}  # by pid: its counter before it wrote anything
        self._written_before: dict[int, int] = {}  # by output: bytes, of those that died
        self._slots_freed_of: set[int] = set()
        self._deaths_at: dict[str, tuple[int, int]] = {}  # by role: where the last one died, how many there

    def _too_many(self, role: str, position: int) -> bool:
        """Note a death at ``position``; tell whether that has happened too often."""
        at, deaths = self._deaths_at.get(role, (-1, 0))
        deaths = deaths + 1 if at == position else 1
        self._deaths_at[role] = (position, deaths)
        return deaths > MANY

    def _give_up(self, role: str) -> None:
        """Fail every recording that needs a worker whose successors die, too."""
        for r in self.c.recordings:
            if not r.over:
                where = r.kept_where(self.c.s.folder)
                self.c.fail(
                    r, "WorkerError", f"the {role} died again and again: see the errors above; {where}"
                )

    # -- the reader ------------------------------------------------------------------------------

    @property
    def counts_exact(self) -> bool:
        """Whether this kernel counts a child's reads so that a zombie's count is exact: tried out, once."""
        if self._counts_exact is None:
            self._counts_exact = self._self_test()
        return self._counts_exact

    def _self_test(self) -> bool:
        try:
            ours, theirs = os.pipe()
            pid = os.fork()
        except OSError:
            return False  # then nothing is known
        if pid == 0:
            os.read(ours, 3)
            os._exit(0)
        try:
            path = f"/proc/{pid}/io"
            before = _rchar(path)
            os.write(theirs, b"abc")
            os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
            after = _rchar(path)
            return before is not None and after is not None and after - before == 3
        finally:
            os.waitpid(pid, 0)
            os.close(ours)
            os.close(theirs)

    def warm_spare(self) -> None:
        """Start the reader's successor."""
        if self.spare is None:
            self.spare = self.c.s.spawn("reader")
            if self.c.opening.get("realtime"):
                self.c.s.tell(self.spare, {"op": "realtime"})

    def ready(self, worker: Worker) -> None:
        """Note that a worker has come up: perhaps somebody waits for it."""
        if worker is self.spare and self._waits_for_spare is not None:
            r, self._waits_for_spare = self._waits_for_spare, None
            self._hand_over(r)
        elif worker is self.c.reader:
            now = self.c.current
            if now is not None and now.state == PREPARING and not now.waiting_for:
                self.c.start_reader(now)
        elif worker.pid in self._outputs_begin:
            self._begin_output(worker)
        elif worker is self.c.splitter:
            self.free_slots_again()
            for r in self.c.recordings:
                if r.ended is None and not r.over:
                    self.c.s.tell(worker, {"op": "announce", **self.c.framing(r.spec)})
                    self.c.windows.retell(r)

    def _reader_died(self, dead: Worker) -> None:
        r = self.c.current
        if r is None or r.eof is not None:
            self._promote()
            return
        if self._readers_given_up():
            return
        r.replaced["reader"] += 1
        state = self.c.s.ring.reader_state()
        if r.state == RUNNING and state["recording"] == r.id and state["state"] == 2:
            self._promote()  # it had ended the stream, and died before it could say so
            self.c.dispatcher.on_eof(r, dead, {"op": "eof", "recording": r.id, "why": "eof", "error": None})
            return
        if r.state == RUNNING:
            self._count(r, dead)
        if self.spare is None or not self.spare.ready:
            self.warm_spare()
            self._waits_for_spare = r
            return
        self._hand_over(r)

    def _readers_given_up(self) -> bool:
        if not self._too_many("reader", self.c.s.ring.head):
            return False
        self._waits_for_spare = None
        self._give_up("reader")
        self.c.s.loop.later(AGAIN_S, self._promote)
        return True

    def _count(self, r: Recording, dead: Worker) -> None:
        count = dead.io_count("rchar") if self.counts_exact else None
        if count is not None:
            r.taken_before += count - r.baseline
            return
        state = self.c.s.ring.reader_state()
        r.taken_before = self.c.s.ring.head - state["start"] + state["dropped_bytes"]
        r.taken_known = False
        after = max(0, r.taken_before - r.header.get("header_bytes", 0)) // r.word_bytes
        entry = {
            "stage": "pipe",
            "after_word": after,
            "words": None,
            "certainty": "unknown",
            "at_s": r.elapsed_s,
        }
        r.unknown_losses.append(entry)

    def _promote(self) -> None:
        if self.spare is None:
            self.warm_spare()
        assert self.spare is not None
        self.c.reader, self.spare = self.spare, None

    def _hand_over(self, r: Recording) -> None:
        """Let the spare go on. Its own count is taken while it sleeps."""
        self._promote()
        reader = self.c.reader
        if r.state == RUNNING:
            r.baseline = reader.io_count("rchar") or 0
            message = {"op": "resume", "taken": r.taken_before, **self.c.reading(r)}
            self.c.s.tell(reader, message, (r.source_fd,))
        elif not r.waiting_for:
            r.baseline = reader.io_count("rchar") or 0
            self.c.s.tell(reader, {"op": "record", **self.c.reading(r)}, (r.source_fd,))
        self.c.s.loop.later(0.05, self.c.warm_up)

    # -- the others ------------------------------------------------------------------------------

    def died(self, worker: Worker) -> None:
        """Act on a worker's end."""
        if self.c.s.finished:
            return
        if worker is self.c.reader:
            self._reader_died(worker)
        elif worker is self.spare:
            self.spare = None
            if self._waits_for_spare is None or not self._readers_given_up():
                self.c.s.loop.later(AGAIN_S, self.c.warm_up)
        elif worker is self.c.splitter:
            self._splitter_died()
        elif worker.role == "nas_writer":
            self._writer_died(worker)
        elif worker.role == "analysis":
            self._analysis_died(worker)
        elif worker.role == "tee_out" and worker.pid in self.output_fds:
            self._output_died(worker)
        elif worker.role == "tee_out":
            if worker in self.c.outputs:
                self.c.outputs.remove(worker)
            self.free_slots_of(worker.pid)  # it may have died before it left

    def free_slots_of(self, pid: int) -> None:
        """Free the slots that a process which is gone had, or was claiming; the splitter frees what it was leaving."""
        self._slots_freed_of.add(pid)
        for i in range(SLOTS):
            state = self.c.s.ring.slot_state(i)
            if state["state"] in ("WANT", "ACTIVE") and state["owner_pid"] == pid:
                self.c.s.tell(self.c.splitter, {"op": "free_slot", "slot": i})

    def free_slots_again(self) -> None:
        """Say it to a new splitter, too: the one before may have died before it read that."""
        self._slots_freed_of -= {worker.pid for worker in self.c.s.workers}  # a pid comes round
        for pid in list(self._slots_freed_of):
            self.free_slots_of(pid)

    def _splitter_died(self) -> None:
        for r in self.c.recordings:
            if not r.over:
                r.replaced["splitter"] += 1
        if self._too_many("splitter", self.c.s.ring.framed):
            self._give_up("splitter")
            self.c.s.loop.later(AGAIN_S, self._start_splitter)
        else:
            self._start_splitter()

    def _start_splitter(self) -> None:
        self.c.splitter = self.c.s.spawn("splitter")

    def _writer_died(self, dead: Worker) -> None:
        if dead in self.c.writers:
            self.c.writers.remove(dead)
            return
        r = next((r for r in self.c.recordings if r.writer is dead), None)
        if r is None or r.files_done or r.writer_slot is None:  # it may have died before it left
            self.free_slots_of(dead.pid)
        if r is None or r.over:
            return
        if r.files_done:
            r.writer = None
            if r.closing and self._too_many(f"end of recording {r.id}", 0):
                self.c.finishing.give_up(r, "the process that does it died again and again")
            else:
                self.c.finishing.again(r)
            return
        r.replaced["nas_writer"] += 1
        slot = r.writer_slot
        cursor = self.c.s.ring.slot_state(slot)["cursor"] if slot is not None else 0
        if self._too_many(f"NAS writer of recording {r.id}", cursor):
            r.writer = None
            deaths, where = r.replaced["nas_writer"], r.kept_where(self.c.s.folder)
            self.c.fail(r, "WorkerError", f"the NAS writer died {deaths} times; {where}")
            return
        r.pending_segment = r.path_trouble = None
        if slot is None:
            self.c.prepare_sink(r)
        else:
            r.died_in_call(self.c.s.ring.slot_state(slot)["busy_since_ns"])
            r.writer = self.c.take("nas_writer")
            r.writer.recording = r.id
            known: dict[str, Any] = {"checked": r.destination_checked, "device": r.destination_device}
            known |= {"turn": self.c.turns.has(r), "so_far": r.sink_so_far, "losses": r.sink_losses}
            known["trouble"] = r.sink_trouble is not None
            known["finished"] = r.files_named[-1] if r.files_named else None
            message = {"recording": r.id, "slot": slot, **known, **r.spec["sink"]}
            self.c.s.tell(r.writer, {"op": "resume", **message})
        self.c.s.loop.later(0.5, self.c.warm_up)

    def _analysis_died(self, dead: Worker) -> None:
        if dead in self.c.analysts:
            self.c.analysts.remove(dead)
            return
        r = next((r for r in self.c.recordings if r.analysis is dead), None)
        self.slots.pop(dead.pid, None)
        self.free_slots_of(dead.pid)
        if r is None or r.over:
            return
        r.replaced["analysis"] += 1
        if r.ended is not None or r.replaced["analysis"] > 1 or r.analysis_so_far is not None:
            r.analysis = None
            r.analysis_pending = False
            r.analysis_result = {**_left_of_analysis(r, dead), "restarts": r.replaced["analysis"]}
            self.c.check_done(r)
            return
        r.analysis = self.c.take("analysis")
        r.analysis.recording = r.id
        self.c.s.tell(r.analysis, {"op": "record", "recording": r.id, **r.spec["analysis"]})

    def granted(self, worker: Worker, slot: int) -> None:
        """Note the slot of an output or an analysis. Nothing was written yet: from here on an output's writes count."""
        self.slots[worker.pid] = slot
        if worker.pid in self.output_fds:
            self._written[worker.pid] = worker.io_count("wchar")

    def _output_died(self, dead: Worker) -> None:
        """Put a successor in an output's place. It keeps the slot, which holds what is still to be written.

        Without one nothing was granted yet, and nothing is read before it is.
        """
        fd, index = self.output_fds.pop(dead.pid)
        slot, before = self.slots.pop(dead.pid, None), self._written.pop(dead.pid, None)
        begun = self._outputs_begin.pop(dead.pid, None) is None
        r = next(r for r in self.c.recordings if dead in r.outputs)
        message: Message = {"op": "record", "recording": r.id, "index": index}
        if slot is None:
            self.free_slots_of(dead.pid)
        else:
            if begun:
                after = dead.io_count("wchar") if self.counts_exact else None
                if after is None or before is None:
                    self._output_is_lost(r, index, fd, dead.pid)
                    return
                self._written_before[index] = self._written_before.get(index, 0) + after - before
            message |= {"op": "resume", "slot": slot, "written": self._written_before.get(index, 0)}
        worker = self.c.s.spawn("tee_out")
        r.outputs[index] = worker
        self.output_fds[worker.pid] = (fd, index)
        if slot is not None:
            self.slots[worker.pid] = slot
        self._outputs_begin[worker.pid] = message

    def _begin_output(self, worker: Worker) -> None:
        """Let a successor write. Its own count is taken while it sleeps."""
        message = self._outputs_begin.pop(worker.pid)
        self._written[worker.pid] = worker.io_count("wchar")
        self.c.s.tell(worker, message, (self.output_fds[worker.pid][0],))

    def _output_is_lost(self, r: Recording, index: int, fd: int, pid: int) -> None:
        """End an output of which this kernel does not tell how much a killed process had written."""
        text = "its process was killed, and this kernel does not tell how much of it was written"
        self.free_slots_of(pid)
        let_go(fd)
        self.c.dispatcher.output_ended(r, {"index": index, "errno": errno.EIO, "error": text})

    def output_over(self, worker: Worker) -> None:
        """Let the descriptor of a finished output go, so that its reader sees the end."""
        fd, _ = self.output_fds.pop(worker.pid)
        self.slots.pop(worker.pid, None)
        self._written.pop(worker.pid, None)
        let_go(fd)


def _left_of_analysis(r: Recording, dead: Worker) -> dict[str, Any]:
    """Return what is known of an analysis whose process died: the statistics, if the user's function did it."""
    how = f"the analysis process died {r.replaced['analysis']} times, last by {_how(dead.reap())}"
    known = r.analysis_so_far
    if known is None:
        return {"error": how}
    seconds, most = time.monotonic() - known["at_s"], known["timeout_s"]
    error = {"type": "WorkerError", "message": f"it ended its process: {how}", "traceback": ""}
    if most is not None and seconds >= most:
        text = f"it did not return within its time limit of {most:g} s, and could not be interrupted"
        error |= {"type": "FunctionTimeout", "message": f"{text}: its process was ended"}
    return {
        **known["result"],
        "function": {"name": known["function"], "error": error, "seconds": round(seconds, 6)},
    }


def _how(status: int) -> str:
    import signal

    return f"signal {signal.Signals(-status).name}" if status < 0 else f"exit status {status}"


def _rchar(path: str) -> int | None:
    try:
        with open(path) as f:
            return next(int(line.split()[1]) for line in f if line.startswith("rchar"))
    except OSError:
        return None
