"""A session's policy on a real ring, without its processes: tests say what workers said, who died, how time passes."""

from __future__ import annotations

import heapq
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from harness import Engine

from fastcap._ring import ESSENTIAL, LOSSLESS, Slot
from fastcap.events import EventReader
from fastcap.wire import Message
from fastcap.workers.conduct import Conductor
from fastcap.workers.recording import RUNNING, Recording

STARTED = "2026-11-22T10:00:00+08:00"


class ScriptedLoop:
    """Timers that go off when a test lets time pass; descriptors are watched by nobody."""

    def __init__(self) -> None:
        self.watched: dict[int, Callable[[], None]] = {}
        self._now_s, self._count = 0.0, 0
        self._timers: list[tuple[float, int, Callable[[], None]]] = []

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        self._count += 1
        heapq.heappush(self._timers, (self._now_s + seconds, self._count, callback))

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        self.watched[fd] = callback

    def forget(self, fd: int) -> None:
        self.watched.pop(fd, None)

    def let_pass(self, seconds: float) -> None:
        """Let so much time pass, and do what is due by then."""
        until_s = self._now_s + seconds
        while self._timers and self._timers[0][0] <= until_s:
            self._now_s, _, callback = heapq.heappop(self._timers)
            callback()
        self._now_s = until_s


class ScriptedSession:
    """A supervisor whose workers are names. `told` is what they were told, `said` what the controller was told.

    Parameters
    ----------
    folder : Path
        Stands for the session's folder, and is where recordings are to go.
    """

    def __init__(self, folder: Path) -> None:
        self.engine = Engine()
        self.ring = self.engine.ring
        self.folder = str(folder)
        self.loop = ScriptedLoop()
        self.log = EventReader(self.ring)
        self.workers: list[Any] = []
        self.notices: list[str] = []
        self.finished = False
        self.told: list[tuple[Any, Message]] = []
        self.said: list[Message] = []
        self.status = SimpleNamespace(write=lambda progress: None)
        first: list[Any] = [self.spawn(role) for role in ("reader", "splitter")]
        supervisor: Any = self
        self.conductor = Conductor(supervisor, {"pid": 0, "writes": True}, first)
        self.died = self.conductor.replacer.died

    def spawn(self, role: str) -> Any:
        worker = SimpleNamespace(role=role, pid=1000 + len(self.workers), ready=True, recording=0, count=0)
        worker.io_count = lambda key: worker.count
        worker.reap = lambda: -9
        self.workers.append(worker)
        return worker

    def tell(self, worker: Any, message: Message, fds: tuple[int, ...] = ()) -> None:
        self.told.append((worker, message))

    def say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        self.said.append(message)

    def use_whole_ring(self) -> None:
        """Do nothing: all of it is ready."""

    def ring_lost(self) -> bool:
        return False

    # -- what tests do -------------------------------------------------------------------------------

    def ops(self, role: str) -> list[str]:
        """Return the ``op`` of each message to workers of a role."""
        return [message["op"] for worker, message in self.told if worker.role == role]

    def heard(self, op: str) -> list[Message]:
        """Return what the controller was told of one kind."""
        return [message for message in self.said if message["op"] == op]

    def dispatch(self, worker: Any, op: str, r: Recording, **fields: Any) -> None:
        """Let a worker say something of a recording."""
        self.conductor.dispatcher.dispatch(worker, {"op": op, "recording": r.id, **fields})

    def spec(self, number: int = 1, **changed: Any) -> Message:
        """Return the controller's message for a recording of words from a descriptor into a file."""
        sink = {"directory": self.folder, "names": {"base": f"run{number}"}, "checksum": "none"}
        return {
            "op": "record", "recording": number, "word_bytes": 8, "header": "no", "rate": None, "can_wait": False,
            "source": {"kind": "fd"}, "sink": sink, "label": "the board", "started": STARTED, "lock_info": {},
            "max_words": None, "max_seconds": None, "split_seconds": None, "pipe_bytes": 65536, **changed,
        }  # fmt: skip

    def record(self, number: int = 1, **changed: Any) -> Recording:
        """Ask for a recording."""
        self.conductor.record(self.spec(number, **changed), [])
        return next((r for r in self.conductor.recordings if r.id == number), None)  # type: ignore[return-value]

    def running(self, number: int = 1, **changed: Any) -> tuple[Recording, Slot]:
        """Bring a recording as far as its first words; return it and its writer's slot."""
        r = self.record(number, **changed)
        slot = self.engine.claim(LOSSLESS | ESSENTIAL)
        start = self.engine.begin(number)
        self.engine.feed(bytes(8000))
        self.engine.split()
        self.dispatch(self.conductor.splitter, "announced", r)
        self.dispatch(r.writer, "granted", r, slot=slot.index)
        self.dispatch(r.writer, "dest_ok", r, device=1, path=self.folder, free_bytes=1)
        self.dispatch(self.conductor.reader, "reading", r, start=start, pipe_bytes=65536)
        assert r.state == RUNNING
        return r, slot

    def sample(self, r: Recording) -> None:
        """Let a running recording's source end."""
        self.engine.end()
        ended = next(m for m in self.engine.told() if m["op"] == "ended" and m["recording"] == r.id)
        self.dispatch(self.conductor.reader, "eof", r, why="eof", error=None)
        r.source_gone = True
        self.conductor.dispatcher.dispatch(self.conductor.splitter, ended)

    def segment(self, r: Recording, index: int = 0, *, last: bool = True) -> None:
        """Let the writer ask for a file's report."""
        name = f"{self.folder}/run{r.id}.bin"
        sink: dict[str, Any] = {"wanted_path": None, "file_error": None, "path_lost_at_s": None, "stalls": []}
        self.dispatch(
            r.writer, "segment", r, index=index, last=last, path=name, position=0, end=8000, bytes=8000,
            first_word=0, header_bytes=0, checksum=None, sink=sink,
        )  # fmt: skip

    def committed(self, r: Recording, index: int = 0) -> None:
        """Let the writer say that a file has its name."""
        place = {"path": f"{self.folder}/run{r.id}.bin", "wanted_path": None, "file_error": None}
        self.dispatch(r.writer, "committed", r, index=index, file={"name": "run.bin"}, place=place)

    def close(self) -> None:
        """Let go of the ring."""
        self.engine.close()
