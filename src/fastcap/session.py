"""The controller's side of a session: start a supervisor, say what to record, hear how it goes.

Flow: the supervisor is started in a session of its own (a Ctrl-C at the terminal does not reach it) and given
one end of a socket pair. A thread here hears its messages and keeps what they say; calls wait on that. The same thread
sends: a signal handler, a finaliser or a Ctrl-C in the middle of a call can neither block nor tear a message.

The supervisor holds a pidfd of this process. When this process ends, however it ends and whoever else has its
descriptors by then, the supervisor stops the source, drains and finishes. A forked child has a session's memory, but
not the session: what it asks of one is refused, and what it leaves or closes concerns nobody.
"""

from __future__ import annotations

import _socket as socket
import contextlib
import os
import select
import threading
import time
import weakref
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from datetime import datetime

from fastcap import errors
from fastcap._launch import new_folder, start_supervisor, user_name
from fastcap._ring import Ring
from fastcap.errors import FastcapError, WorkerError, foreign_text
from fastcap.wire import Closed, Message

START_S = 30.0
LEAVE_S = 10.0


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
        self._owner = os.getpid()
        self.begun_s = time.monotonic()
        self._count = 0
        self._abandoned = False
        self._posted: deque[tuple[Message, list[int]]] = deque()
        self._wakes, self._waker = socket.socketpair()
        self._wakes.setblocking(False)
        self._waker.setblocking(False)
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
        self._listener = threading.Thread(target=self._listen, name="fastcap-session", daemon=True)
        _sessions.add(self)
        try:
            self._introduce(opening)
            self._listener.start()
            self.wait_for(lambda: self._opened, START_S)
            if not self._opened:
                raise self._failure or WorkerError(f"the supervisor did not start within {START_S:.0f} s")
        except BaseException:
            self.abandon()
            raise

    def _introduce(self, opening: Message) -> None:
        """Send the first message, with a descriptor that tells of this process's end."""
        try:
            fds = [os.pidfd_open(self._owner)]
        except OSError:
            fds = []  # not on this kernel: then the socket's end must do
        try:
            self._channel.send(opening, fds, quick=True)
        except Closed as e:
            raise WorkerError("the supervisor ended before it began") from e
        finally:
            for fd in fds:
                os.close(fd)

    @property
    def over(self) -> bool:
        """The session has ended: closed, or lost."""
        return self._closed

    @property
    def idle(self) -> bool:
        """Nothing runs or drains."""
        return all(r.over for r in list(self.recordings.values()))

    @property
    def foreign(self) -> bool:
        """Whether this process is a forked child of the one whose session this is."""
        return os.getpid() != self._owner

    def check_owner(self) -> None:
        """Refuse what a forked child asks.

        Raises
        ------
        FastcapError
            This is such a child.
        """
        if self.foreign:
            raise FastcapError(foreign_text("board", self._owner))

    # -- talking ---------------------------------------------------------------------------------

    def _send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Have a message sent; descriptors are duplicated. Never blocks, wherever this is called.

        Raises
        ------
        FastcapError
            The session has ended, or is another process's.
        """
        self.check_owner()
        if self._closed:
            raise self._failure or WorkerError("the supervisor of this session is gone")
        self._posted.append((message, [os.dup(fd) for fd in fds]))
        self._wake()

    def _wake(self) -> None:
        with contextlib.suppress(OSError):  # full: it is awake; closed: it has ended
            self._waker.send(b"w")

    def _send_posted(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._wakes.recv(1 << 12)
        self._channel.flush()
        while self._posted:
            message, fds = self._posted.popleft()
            try:
                self._channel.send(message, fds)
            finally:
                for fd in fds:
                    os.close(fd)

    def _listen(self) -> None:
        try:
            self._talk()
        finally:
            self._wakes.close()
            self._waker.close()
            if self._abandoned:  # nobody waits for it
                self._process.wait(LEAVE_S)
                self._channel.close()

    def _talk(self) -> None:
        poller = select.poll()
        poller.register(self._wakes.fileno(), select.POLLIN)
        try:
            while not self._closed:
                sending = select.POLLOUT if self._channel.pending else 0
                poller.register(self._channel.fileno(), select.POLLIN | sending)
                poller.poll()
                with contextlib.suppress(Closed):  # what it said before it went is heard first
                    self._send_posted()
                while (got := self._channel.poll()) is not None:
                    with self._changed:
                        self._take(*got)
                        self._changed.notify_all()
        except Closed:
            self._lost()

    def _lost(self) -> None:
        with self._changed:
            if not self._closed:
                kept = os.path.isdir(self.folder)
                where = (
                    f"what arrived is in {self.folder}" if kept else f"its folder {self.folder} is gone, too"
                )
                self._fail(WorkerError(f"the supervisor of this session ended unexpectedly; {where}"))
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
                self.check_owner()
                left = 0.5 if until is None else min(0.5, until - time.monotonic())
                if left <= 0:
                    return False
                self._changed.wait(left)
        return what()

    # -- asking ----------------------------------------------------------------------------------

    def record(
        self, spec: Message, fds: Sequence[int] = (), begun: list[Recording] | None = None
    ) -> Recording:
        """Begin a recording; ``fds``: the source's descriptor, if it is one, then the outputs'.

        ``begun``: where it is noted before anybody else can know of it, for whoever is interrupted meanwhile.
        """
        self.check_owner()
        self._count += 1
        r = Recording(self, self._count)
        if begun is not None:
            begun.append(r)
        with self._changed:
            for number in [n for n, earlier in self.recordings.items() if earlier.over]:
                del self.recordings[number]  # whoever made it has it
            self.recordings[r.number] = r
        self._send({"op": "record", **spec, "recording": r.number}, fds)
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

    def stop(self, recording: int | None = None, *, why: str = "interrupted") -> None:
        """End a recording, or all that runs or waits: its source is stopped, what was captured is drained.

        Returns at once; may be called from another thread and from a signal handler. ``why``: "interrupted", or
        "stopped" where its end here is what was wished for: then it is complete.
        """
        self.check_owner()
        with contextlib.suppress(FastcapError):  # it has ended
            self._send({"op": "stop", "recording": recording, "why": why})

    def abandon(self) -> None:
        """Stop what runs, drain, end; wait for none of it. From wherever: nothing refers to this session any more."""
        if self.foreign:
            return
        self._abandoned = True
        self.stop(why="stopped")
        with contextlib.suppress(FastcapError):
            self._send({"op": "close"})
        if not self._listener.is_alive():  # it was never begun, or has ended
            self._channel.close()
            self._process.wait(LEAVE_S)

    def leave(self) -> None:
        """End everything at once; the folder stays for recovery."""
        self._send({"op": "leave"})
        if not self._process.wait(LEAVE_S):  # it was stopped, or is stuck: its workers end with it
            self._process.kill()
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
        self.check_owner()
        if not self._closed:
            with contextlib.suppress(FastcapError):  # it has ended in this moment
                self._send({"op": "close"})
            self.wait_for(lambda: False, timeout_s)
        if not self._process.wait(10):
            raise WorkerError(f"the supervisor (pid {self._process.pid}) does not end")
        self._listener.join()  # the other end is closed: it has nothing more to hear
        self._channel.close()


_sessions: weakref.WeakSet[Session] = weakref.WeakSet()


def _let_go_in_child() -> None:
    """In a forked child: close its copies of the descriptors, and have no lock that another thread held."""
    for session in list(_sessions):
        session._changed = threading.Condition()
        session._channel.close()
        session._wakes.close()
        session._waker.close()


os.register_at_fork(after_in_child=_let_go_in_child)
