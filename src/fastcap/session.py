"""The controller's side of a session: start a supervisor, say what to record, hear how it goes.

Flow: the supervisor is started in a session of its own (a Ctrl-C at the terminal does not reach it) and given
one end of a socket pair. A thread here hears its messages and keeps what they say; calls wait on that. When
this process ends, however it ends, the socket closes and the supervisor stops the source, drains and finishes.
"""

from __future__ import annotations

import contextlib
import os
import select
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from fastcap import errors
from fastcap._launch import new_folder, start_supervisor, user_name
from fastcap._ring import Ring
from fastcap.errors import FastcapError, WorkerError
from fastcap.wire import Closed, Message

START_S = 30.0


class Recording:
    """What is known here of one recording. Changes under the session's condition."""

    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        self.running = self.sampled = self.done = False
        self.error: FastcapError | None = None
        self.progress: Message = {}
        self.header: Message | None = None
        self.destination: Message | None = None
        self.files: list[Message] = []
        self.reports: list[Message] = []
        self.outputs: list[Message] = []
        self.live: Message | None = None
        self.warnings: list[str] = []
        self.silent: str | None = None  # the source was ended for its silence: in words
        self.windows_begun: dict[str, int] = {}  # first word of each, by name
        self.windows_ended: set[str] = set()

    @property
    def over(self) -> bool:
        """Done, or failed."""
        return self.done or self.error is not None

    def wait_for(self, what: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Block until ``what()`` or the end of the recording; False when the time is over first.

        Raises
        ------
        FastcapError
            The recording, or the session, failed.
        """
        met = self.session.wait_for(lambda: what() or self.over, timeout_s)
        if self.error is not None:
            raise self.error
        return met


class Session:
    """A supervisor, its ring and its workers.

    Parameters
    ----------
    ring_bytes : int
        The ring's size: see `fastcap.ringsize.checked_ring_bytes`.
    label : str
        What is captured, for ``status``.
    realtime : bool
        Ask for SCHED_FIFO and locked memory in the reader.
    writes, analyses : bool
        Workers to have ready from the start.
    outputs : int
        Of ``tee``: as many of their workers.
    """

    def __init__(
        self,
        ring_bytes: int,
        *,
        label: str,
        realtime: bool = False,
        writes: bool = True,
        analyses: bool = False,
        outputs: int = 0,
    ) -> None:
        self.ring_bytes = ring_bytes
        self.folder = new_folder()
        self.recordings: dict[int, Recording] = {}
        self.on_message: Callable[[Message], None] | None = None
        self.notices: list[str] = []
        self.kept_folder: str | None = None
        self._changed = threading.Condition()
        self._sending = threading.Lock()
        self._attached: list[int] | None = None
        self._opened = self._closed = False
        self._failure: FastcapError | None = None
        self._process = start_supervisor()
        self._channel = self._process.channel
        opening = {
            "op": "open", "folder": self.folder, "ring_bytes": int(ring_bytes), "label": str(label),
            "pid": os.getpid(), "user": user_name(), "started": datetime.now().astimezone().isoformat(),
            "realtime": bool(realtime), "writes": writes, "analyses": analyses, "outputs": outputs,
        }  # fmt: skip
        self._send(opening, quick=True)
        self._listener = threading.Thread(target=self._listen, name="fastcap-session", daemon=True)
        self._listener.start()
        self.wait_for(lambda: self._opened, START_S)
        if not self._opened:
            raise self._failure or WorkerError(f"the supervisor did not start within {START_S:.0f} s")

    @property
    def over(self) -> bool:
        """The session has ended: closed, or lost."""
        return self._closed

    # -- talking ---------------------------------------------------------------------------------

    def _send(self, message: Message, fds: Sequence[int] = (), *, quick: bool = False) -> None:
        try:
            with self._sending:
                self._channel.send(message, fds, quick=quick)
                self._channel.drain()
        except Closed as e:
            raise self._failure or WorkerError("the supervisor of this session is gone") from e

    def _listen(self) -> None:
        poller = select.poll()
        poller.register(self._channel.fileno(), select.POLLIN)
        try:
            while not self._closed:
                poller.poll()
                while (got := self._channel.poll()) is not None:
                    with self._changed:
                        self._take(*got)
                        self._changed.notify_all()
        except Closed:
            self._lost()

    def _lost(self) -> None:
        with self._changed:
            if not self._closed:
                text = f"the supervisor of this session ended unexpectedly; what arrived is in {self.folder}"
                self._fail(WorkerError(text))
            self._closed = True
            self._changed.notify_all()

    def _fail(self, failure: FastcapError) -> None:
        """Note that the session ended, and every recording of it that is not over. Called with the condition held."""
        self._failure = self._failure or failure
        for r in self.recordings.values():
            if not r.over:
                r.error = self._failure
        self._closed = True

    def _take(self, message: Message, fds: list[int]) -> None:
        """Note what a message says. Called with the condition held."""
        op = message["op"]
        if op == "open":
            self._opened = True
        elif op == "attached":
            self._attached = fds
        elif op == "closed":
            self.kept_folder = message["folder"]
            self._closed = True
        elif op == "failed" and "recording" not in message:
            self._fail(getattr(errors, message["error"])(message["text"]))
        else:
            r = self.recordings.get(message.get("recording", -1))
            if r is not None:
                self._note(r, op, message)
        if self.on_message is not None:
            self.on_message(message)

    def _note(self, r: Recording, op: str, message: Message) -> None:
        if op == "running":
            r.running = True
            self.notices = message["notices"]
        elif op == "sampled":
            r.sampled = True
        elif op == "marked":
            if "name" in message:
                r.windows_begun[message["name"]] = message["first_word"]
            if "ended" in message:
                r.windows_ended.add(message["ended"])
        elif op == "file":
            r.files.append(message)
        elif op == "warning":
            r.warnings.append(message["text"])
            import logging  # costs a start more than most sessions need

            logging.getLogger(__name__).warning("%s", message["text"])
        elif op == "done":
            r.reports, r.outputs, r.sampled, r.done = message["reports"], message["outputs"], True, True
        elif op == "silent":
            r.silent = message["text"]
            r.warnings.append(message["text"])
        elif op == "failed":
            r.error = getattr(errors, message["error"])(message["text"])
        elif op == "output":
            r.outputs.append(message)
        elif op in ("progress", "header", "destination", "live"):
            setattr(r, op, message)

    def wait_for(self, what: Callable[[], bool], timeout_s: float | None = None) -> bool:
        """Block until ``what()``, or the session's end; False when the time is over first. Ctrl-C gets through."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        with self._changed:
            while not what() and not self._closed:
                left = 0.5 if until is None else min(0.5, until - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
        return what()

    # -- asking ----------------------------------------------------------------------------------

    def record(self, spec: Message, fds: Sequence[int] = ()) -> Recording:
        """Begin a recording; ``fds``: the source's descriptor, if it is one, then the outputs'."""
        number = len(self.recordings) + 1
        r = self.recordings[number] = Recording(self, number)
        self._send({"op": "record", **spec, "recording": number}, fds)
        return r

    def window(
        self, recording: int, name: str, words: int, *, fifo_s: float, follows: bool, meta: Mapping[str, str]
    ) -> None:
        """Have a file ``name`` of so many words begin with what the board writes from now on.

        ``follows``: where the window before it ends, if that is still to come. ``fifo_s``: how old a word may be
        when it leaves the board.
        """
        window = {"name": name, "words": words, "fifo_s": fifo_s, "follows": follows, "meta": dict(meta)}
        self._send({"op": "window", "recording": recording, **window})

    def finish(self, recording: int) -> None:
        """End a recording with the words that have come so far: it is complete."""
        self._send({"op": "finish", "recording": recording})

    def attach(self) -> Ring:
        """Map the ring in this process, its data read-only.

        Raises
        ------
        RingError, WorkerError
        """
        with self._changed:
            self._attached = None
        self._send({"op": "attach"})
        self.wait_for(lambda: self._attached is not None, START_S)
        if self._attached is None:
            raise self._failure or WorkerError("the supervisor did not hand out the ring")
        return Ring.attach(*self._attached)

    def stop(self) -> None:
        """End the recording under way: its source is stopped, what was captured is drained."""
        self._send({"op": "stop"})

    def leave(self) -> None:
        """End everything at once; the folder stays for recovery."""
        self._send({"op": "leave"})
        self._process.wait()

    def discard(self) -> None:
        """End everything at once and remove the folder: for a recording of which nothing could be recovered."""
        import shutil

        from fastcap.workers.statusfile import PREFIX, directory

        self.leave()
        shutil.rmtree(self.folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            os.unlink(
                os.path.join(directory(), f"{PREFIX}{os.getuid()}-{os.path.basename(self.folder)}.json")
            )

    def close(self, timeout_s: float | None = None) -> None:
        """Drain, end the workers, remove the folder. Blocks for as long as the destination takes."""
        if not self._closed:
            self._send({"op": "close"})
            self.wait_for(lambda: False, timeout_s)
        if not self._process.wait(10):
            raise WorkerError(f"the supervisor (pid {self._process.pid}) does not end")
        self._listener.join()  # the other end is closed: it has nothing more to hear
        self._channel.close()
