"""The supervisor process: parent of the source and of every worker, and the only one the controller talks to.

Flow: one poll loop over the controller's socket, the workers' sockets, pidfds, the source's stderr, and a few
timers. Messages move recordings through their states (`fastcap.workers.recording`); what a recording needs
from processes is in `fastcap.workers.conduct`. It never touches samples and never runs the user's code.
The controller's socket closing, or its process ending, means: stop the source, drain, finish.
"""

from __future__ import annotations

import heapq
import os
import select
import sys
import time
from _thread import allocate_lock, start_new_thread  # threading would be a fifth of a start

from fastcap._ring import Ring, now_ns
from fastcap._signals import signal
from fastcap.errors import FastcapError, RingError
from fastcap.events import EventReader
from fastcap.wire import Channel, Closed, Message
from fastcap.workers.children import Worker, allow_files, reap
from fastcap.workers.relay import Relay

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable

    from fastcap.workers.conduct import Conductor
    from fastcap.workers.statusfile import StatusFile

FIRST_BYTES = 32 << 20  # ready before the first byte, and all that is used while consumers keep up
PASSED_FIRST_BYTES = 8 << 20  # the same where nothing waits for an fsync: what stays in the cache
STEP_BYTES = 16 << 20
FIRST_STEP_BYTES = 4 << 20
STATUS_S = 1.0
ENDING_S, USERS_S = (
    0.5,
    8.0,
)  # how long workers are waited for that were told to end, and those with a user's code
TOLD_S = 0.5
MEMORY_S = 0.25  # until memory that could not be had is asked for again
UNHEARD_S = 30.0  # a controller that takes nothing of what is said to it for so long hears no more
_MOST_FDS = 1 << 20


def first_room(capacity: int, first_bytes: int = FIRST_BYTES) -> int:
    """Return how much of a ring is used until it grows; one that is not much larger is used whole."""
    return first_bytes if capacity >= 2 * first_bytes else capacity


class Loop:
    """A poll loop with callbacks by descriptor and timers."""

    def __init__(self) -> None:
        self._poll = select.poll()
        self._ready: dict[int, Callable[[], None]] = {}
        self._channels: dict[int, Channel] = {}
        self._waiting: set[int] = set()  # channels that hold what their sockets did not take
        self._timers: list[tuple[float, int, Callable[[], None]]] = []
        self._count = 0

    def watch(self, fd: int, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever ``fd`` is readable."""
        self._ready[fd] = callback
        self._poll.register(fd, select.POLLIN)

    def converse(self, channel: Channel, callback: Callable[[], None]) -> None:
        """Call ``callback`` whenever there is something to hear from ``channel``, or it takes more of what it holds."""
        self._channels[channel.fileno()] = channel
        self.watch(channel.fileno(), callback)

    def forget(self, fd: int) -> None:
        """Stop watching ``fd``."""
        self._channels.pop(fd, None)
        self._waiting.discard(fd)
        if self._ready.pop(fd, None) is not None:
            self._poll.unregister(fd)

    def later(self, seconds: float, callback: Callable[[], None]) -> None:
        """Call ``callback`` once, after ``seconds``."""
        self._count += 1
        heapq.heappush(self._timers, (time.monotonic() + seconds, self._count, callback))

    def turn(self) -> None:
        """Wait for something to do, and do it."""
        self._watch_pending()
        left = max(0.0, self._timers[0][0] - time.monotonic()) if self._timers else 1.0
        ready = [(fd, self._ready.get(fd)) for fd, _ in self._poll.poll(left * 1000)]
        for fd, callback in ready:
            if (
                callback is not None and self._ready.get(fd) is callback
            ):  # not forgotten, nor reused, meanwhile
                callback()
        while self._timers and self._timers[0][0] <= time.monotonic():
            heapq.heappop(self._timers)[2]()

    def _watch_pending(self) -> None:
        for fd, channel in self._channels.items():
            if (channel.pending > 0) == (fd in self._waiting):
                continue
            self._waiting ^= {fd}
            self._poll.modify(fd, select.POLLIN | (select.POLLOUT if fd in self._waiting else 0))


class Supervisor:
    """The session: its folder, its ring, its workers, and the controller's wishes.

    Parameters
    ----------
    controller : Channel
        To the user's process.
    """

    def __init__(self, controller: Channel) -> None:
        self.controller: Channel | None = controller
        self.loop = Loop()
        self.workers: list[Worker] = []
        self.closing = False
        self.finished = self.left = False
        self._allocating = False
        self._lacking: list[str] = []  # what the allocator could not have, in words
        self._unwished = allocate_lock()  # held until the whole ring is wished for
        self._unwished.acquire()
        self.folder = ""
        self.notices: list[str] = []
        self.relay = Relay()

    # -- the session ---------------------------------------------------------------------------------

    def open(self, message: Message) -> None:
        """Make folder and ring, start the workers that every recording needs.

        Raises
        ------
        RingError
            No room, too few descriptors, or the folder cannot be opened.
        """
        allow_files()
        self.folder = message["folder"]
        self.capacity: int = message["ring_bytes"]
        self.dir_fd = os.open(self.folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        first_bytes = PASSED_FIRST_BYTES if message.get("outputs") else FIRST_BYTES
        room = first_room(self.capacity, first_bytes)
        self.ring = Ring.create(self.dir_fd, self.capacity, first=None if room == self.capacity else room)
        readonly = os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW
        self.data_ro = os.open("data", readonly, dir_fd=self.dir_fd)
        self.events_ro = os.open("events", readonly, dir_fd=self.dir_fd)
        self.log = EventReader(self.ring)
        first = [self.spawn(role) for role in _roles(message)]
        self._start_allocator()

        from fastcap.workers.conduct import Conductor  # while the workers come up: they need not wait for it
        from fastcap.workers.statusfile import StatusFile

        self.conductor: Conductor = Conductor(self, message, first)
        self.status: StatusFile = StatusFile(
            message, self.folder
        )  # last: what fails before leaves none behind

    def use_whole_ring(self) -> None:
        """Have all of the ring's memory made ready: a source that cannot wait may need it at any moment."""
        if self._unwished.locked():
            self._unwished.release()
        if not self._allocating:  # done; or it failed once, and there may be room now
            self._start_allocator()

    def _start_allocator(self) -> None:
        self._allocating = True
        start_new_thread(self._allocate, ())

    def _allocate(self) -> None:
        """Allocate in the background. What cannot be had is asked for again, as long as the session lasts.

        What only a ring that grows would use is made ready when that is wished for. Without a source that needs
        it, a failure there costs nothing but the growth.
        """
        lacking = -1
        while self.ring.ready < self.capacity and not self.finished:
            upto = self.ring.ready + STEP_BYTES
            if self.ring.ready < self.ring.first:
                upto = min(upto if self.ring.ready else FIRST_STEP_BYTES, self.ring.first)
            else:
                with self._unwished:
                    pass
            try:
                self.ring.allocate(upto)
            except RingError as e:
                if lacking != self.ring.ready:
                    lacking = self.ring.ready
                    text = f"{e}; until then {lacking} bytes of it are used, and what they cannot hold is counted"
                    self._lacking.append(text)
                    self.loop.later(0.0, self._lacks_memory)
                time.sleep(MEMORY_S)
        self._allocating = False

    def _lacks_memory(self) -> None:
        text = self._lacking.pop(0)
        if self.ring.ready < self.ring.first or not self.conductor.sources_can_wait():
            self.conductor.out_of_memory(text)

    def spawn(self, role: str) -> Worker:
        """Start a worker with the descriptors that its role may have, and watch it."""
        writable = role == "reader"
        data = self.ring.data_fd if writable else self.data_ro
        log = self.ring.events_fd if role == "splitter" else self.events_ro
        worker = Worker(role, [self.ring.control_fd, data, log], self.relay.fd)
        self.workers.append(worker)
        self.loop.converse(worker.channel, lambda: self._hear(worker))
        self.loop.watch(worker.pidfd, lambda: self._gone(worker))
        return worker

    def tell(self, worker: Worker, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Send a worker a message and wake it, wherever it sleeps. A dead one is dealt with by its pidfd."""
        try:
            worker.channel.send(message, fds)
        except Closed:
            return
        self.ring.command()

    def ring_lost(self) -> bool:
        """Tell whether somebody truncated the ring's files; then everything ends at once, with an error."""
        if self.finished:
            return True
        name = self.ring.truncated()
        if name is None:
            return False
        text = (
            f"somebody truncated the ring's file {os.path.join(self.folder, name)}: the capture cannot go on; "
            "what was written of it stays, as .part, incomplete"
        )
        self.say({"op": "failed", "error": "RingError", "text": text})
        self._leave()
        return True

    def _hear(self, worker: Worker) -> None:
        if worker.channel.pending:  # it may sleep on the ring, with part of a message there
            self.ring.command()
        try:
            while (got := worker.channel.poll()) is not None:
                self.conductor.dispatcher.dispatch(worker, got[0])
        except Closed:
            self.loop.forget(worker.channel.fileno())

    def _gone(self, worker: Worker) -> None:
        """Hear the last words of a worker that is really gone, then have it replaced."""
        if self.ring_lost():
            return
        self._hear(worker)
        self.loop.forget(worker.pidfd)
        self.loop.forget(worker.channel.fileno())
        self.workers.remove(worker)
        self.conductor.replacer.died(worker)
        worker.reap()
        worker.channel.close()

    # -- the controller --------------------------------------------------------------------------------

    def say(self, message: Message, fds: tuple[int, ...] = ()) -> None:
        """Tell the controller; one that is gone or stopped is not waited for. `status` tells of trouble before."""
        if message["op"] in ("warning", "silent"):
            self.status.write(self.conductor.progress())
        if self.controller is None:
            return
        try:
            if message["op"] != "progress" or not self.controller.pending:
                self.controller.send(message, fds)
        except Closed:
            self._controller_gone()

    def _from_controller(self) -> None:
        assert self.controller is not None
        try:
            while self.controller is not None and (got := self.controller.poll()) is not None:
                self._obey(*got)
        except Closed:
            self._controller_gone()

    def _obey(self, message: Message, fds: list[int]) -> None:
        op = message["op"]
        if op == "record":
            self.conductor.record(message, fds)
        elif op == "attach":
            self.say({"op": "attached"}, (self.ring.control_fd, self.data_ro, self.events_ro))
        elif op == "window":
            self.conductor.windows.ask(message)
        elif op == "finish":
            self.conductor.windows.finish(message)
        elif op == "stop":
            self.conductor.stop(message["why"], message["recording"])
        elif op == "close":
            self.closing = True
            self._finish_if_idle()
        elif op == "leave":
            self._leave()

    def watch_user(self, pidfd: int) -> None:
        """Serve the process behind ``pidfd`` alone, not whoever inherited its end of the socket."""

        def gone() -> None:
            self.loop.forget(pidfd)
            os.close(pidfd)
            if self.controller is not None:
                self._from_controller()  # what it said before
            self._controller_gone()

        self.loop.watch(pidfd, gone)

    def _controller_gone(self) -> None:
        """Stop the source, drain, finish: the user's process ended."""
        if self.controller is None:
            return
        self.loop.forget(self.controller.fileno())
        self.controller.close()
        self.controller = None
        self.closing = True
        self.conductor.stop("interrupted")
        self.conductor.replacer.free_slots_of(self.conductor.opening["pid"])
        self._finish_if_idle()

    def _leave(self) -> None:
        """End at once, as after a second Ctrl-C; the folder stays for recovery."""
        self.left = True
        self.conductor.kill_all()
        self.status.close(left_behind=True)
        self.finished = True

    def _finish_if_idle(self) -> None:
        """Once everything is drained: end the workers, remove the folder (unless something still needs it)."""
        if not self.closing or self.conductor.busy or self.finished:
            return
        self.finished = True
        kept = self.conductor.keep_folder
        self.status.close(left_behind=kept)
        if not kept:
            _remove(self.folder)
        self.say({"op": "closed", "folder": self.folder if kept else None})

    # -- running -----------------------------------------------------------------------------------------

    def _tick(self) -> None:
        if self.ring_lost():
            return
        self.status.write(self.conductor.progress())
        for progress in self.conductor.progress():
            self.say({"op": "progress", **progress})
        self.loop.later(STATUS_S / 4, self._tick)

    def run(self) -> None:
        """Serve until closed and drained."""
        if self.controller is not None:  # else it was gone before it could hear that the session is open
            self.loop.converse(self.controller, self._from_controller)
            self._from_controller()
        self.loop.later(STATUS_S / 4, self._tick)
        while not self.finished:
            self.loop.turn()
            self._finish_if_idle()

    def tell_the_rest(self) -> None:
        """Wait until the controller has all that was said to it; not for one that takes nothing of it for long."""
        try:
            if self.controller is not None:
                self.controller.drain(UNHEARD_S)
        except Closed:
            return

    def end_workers(self) -> None:
        """Close the workers' sockets, which ends them, and wait for that; a killed one that stays is left behind.

        A writer in a call to a destination that does not answer cannot end, and must hold nobody.
        """
        for worker in self.workers:
            worker.channel.close()
        if self.ring.truncated() is None:
            self.ring.command()
        if not self.left:
            reap([w for w in self.workers if w.role == "analysis"], USERS_S)
        if stuck := reap(self.workers, ENDING_S):
            for child in stuck:
                child.kill()
            reap(stuck, ENDING_S)
        self.relay.end(TOLD_S)


def _roles(message: Message) -> list[str]:
    """Return what the first recording of a session needs, and no more: the rest comes when it runs."""
    asked = [role for role, key in (("nas_writer", "writes"), ("analysis", "analyses")) if message.get(key)]
    return ["reader", "splitter", *asked, *["tee_out"] * message.get("outputs", 0)]


def _remove(folder: str) -> None:
    """Remove a session's folder. What shutil would import first takes longer."""
    try:
        for name in os.listdir(folder):
            os.unlink(os.path.join(folder, name))
        os.rmdir(folder)
    except OSError:
        import shutil

        shutil.rmtree(folder, ignore_errors=True)


def main() -> None:
    """Run the session of the controller whose socket was inherited."""
    for number in (signal.SIGINT, signal.SIGHUP, signal.SIGTERM):
        signal.signal(number, signal.SIG_IGN)  # the controller decides; see its process's end below
    os.closerange(4, _MOST_FDS)  # what the controller's process left inheritable: others wait for its end
    controller = Channel.from_fd(int(sys.argv[1]))
    supervisor = Supervisor(controller)
    try:
        got = controller.receive(30.0)
    except Closed:
        return
    if got is None:
        return
    for pidfd in got[1]:
        supervisor.watch_user(pidfd)
    try:
        supervisor.open(got[0])
    except (FastcapError, OSError) as e:
        _remove(got[0]["folder"])
        controller.send({"op": "failed", "error": "RingError", "text": str(e)})
        return
    supervisor.say({"op": "open", "pid": os.getpid(), "capacity": supervisor.capacity, "at_ns": now_ns()})
    try:
        supervisor.run()
    finally:
        supervisor.end_workers()
        supervisor.tell_the_rest()


def run() -> None:
    """Be the supervisor's process."""
    main()
    os._exit(0)  # the interpreter's own end is nothing to whoever waits for this one


if __name__ == "__main__":
    run()
