"""Messages between the processes of a session: dicts of JSON's types over a stream socket, descriptors beside them.

Data flow: controller <-> supervisor <-> workers, one socket pair each. Samples never pass here. A frame is
a 4-byte little-endian length and that many bytes; its descriptors travel with its first byte. The bytes are JSON,
or with the length's top bit `marshal`'s: to supervisors and workers that start quickly because they import neither json
nor what it needs.
"""

from __future__ import annotations

import _socket as socket  # what the module of that name adds would be a tenth of a worker's start
import marshal
import os
import select
import struct
import sys
import time
from _thread import allocate_lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any, TypeAlias

Message: TypeAlias = "dict[str, Any]"
_LENGTH = struct.Struct("<I")
_MARSHALLED = 1 << 31
_MAX_FDS = 16
_FD_BYTES = struct.calcsize("i")


class Closed(Exception):  # noqa: N818 - the ordinary end of a conversation, not an error
    """The other side has closed the socket, or is gone."""


class Channel:
    """One end of a socket pair.

    Parameters
    ----------
    sock : socket.socket
        A connected stream socket; owned by the channel from now on.
    quick : bool
        Send by `marshal`: to a process of this very interpreter. Tuples stay tuples.

    Notes
    -----
    `send` never blocks: what the socket does not take is kept, so that a stopped peer holds nobody up. Whoever has
    something `pending` watches for the socket to take more, and calls `poll`, `receive` or `flush`: each sends what it
    can. `drain` and `receive` wait for that themselves. Any thread may send.
    """

    def __init__(self, sock: socket.socket, *, quick: bool = False) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._quick = quick
        self._received = bytearray()
        self._fds: list[int] = []
        self._outgoing: list[tuple[bytearray, list[int]]] = []
        self._sending = allocate_lock()

    @classmethod
    def from_fd(cls, fd: int, *, quick: bool = False) -> Channel:
        """Take over an inherited descriptor."""
        return cls(socket.socket(fileno=fd), quick=quick)

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    @property
    def pending(self) -> int:
        """Messages that could not be sent yet."""
        return len(self._outgoing)

    def send(self, message: Message, fds: Sequence[int] = (), *, quick: bool = False) -> None:
        """Send a message; descriptors are duplicated, the caller's stay open.

        Parameters
        ----------
        quick : bool
            By `marshal`, whatever the channel does: a message of nothing but Python's own types.

        Raises
        ------
        Closed
            The other side is gone.
        """
        self._outgoing.append((self._frame({**message, "fds": len(fds)}, quick), [os.dup(fd) for fd in fds]))
        self.flush()

    def _frame(self, message: Message, quick: bool) -> bytearray:
        if quick or (self._quick and "numpy" not in sys.modules):  # whose numbers marshal takes for bytes
            body, mark = marshal.dumps(message), _MARSHALLED
        else:
            import json

            body, mark = json.dumps(message, separators=(",", ":")).encode(), 0
        if len(body) >= _MARSHALLED:
            raise ValueError(
                f"a message of {len(body)} bytes is longer than {_MARSHALLED - 1}: leave some of it out"
            )
        return bytearray(_LENGTH.pack(len(body) | mark) + body)

    def flush(self) -> None:
        """Send what is kept, as far as the socket takes it.

        While another thread is at it, or this one before a signal came, that one goes on with what was added.
        """
        while self._outgoing and self._sending.acquire(blocking=False):
            try:
                if not self._send_kept():
                    return
            finally:
                self._sending.release()

    def _send_kept(self) -> bool:
        """Send until nothing is kept; False: the socket takes no more."""
        while self._outgoing:
            frame, fds = self._outgoing[0]
            rights = (
                [(socket.SOL_SOCKET, socket.SCM_RIGHTS, struct.pack(f"{len(fds)}i", *fds))] if fds else []
            )
            try:
                sent = self._sock.sendmsg([frame], rights)
            except BlockingIOError:
                return False
            except OSError as e:
                raise Closed(str(e)) from e
            for fd in fds:
                let_go(fd)
            fds.clear()
            del frame[:sent]
            if not frame:
                del self._outgoing[0]
        return True

    def drain(self, timeout_s: float | None = None) -> bool:
        """Block until nothing is kept any more; False when nothing was taken for ``timeout_s``.

        Raises
        ------
        Closed
            The other side is gone.
        """
        poller = select.poll()
        poller.register(self._sock, select.POLLOUT)
        while self._outgoing:
            if not poller.poll(None if timeout_s is None else timeout_s * 1000):
                return False
            self.flush()
        return True

    def _fill(self) -> bool:
        """Take what has come; False when nothing is there."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                1 << 16, socket.CMSG_SPACE(_MAX_FDS * _FD_BYTES), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError as e:
            raise Closed(str(e)) from e
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                self._fds.extend(struct.unpack_from(f"{len(payload) // _FD_BYTES}i", payload))
        if not data:
            raise Closed("end of conversation")
        self._received += data
        return True

    def poll(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors (close-on-exec, the caller's), or None. Sends what is kept.

        Raises
        ------
        Closed
            The other side is gone and every message it sent was returned.
        """
        try:  # noqa: SIM105 - as in let_go
            self.flush()
        except Closed:
            pass  # what it said before it went is heard first
        while True:
            if len(self._received) >= _LENGTH.size:
                (length,) = _LENGTH.unpack_from(self._received)
                end = _LENGTH.size + (length & ~_MARSHALLED)
                if len(self._received) >= end:
                    message = _decoded(self._received[_LENGTH.size : end], length & _MARSHALLED)
                    del self._received[:end]
                    return message, [self._fds.pop(0) for _ in range(message.pop("fds"))]
            if not self._fill():
                return None

    def receive(self, timeout_s: float | None = None) -> tuple[Message, list[int]] | None:
        """Block until a message is there; None when ``timeout_s`` is over first."""
        until = None if timeout_s is None else time.monotonic() + timeout_s
        poller = select.poll()
        while True:
            got = self.poll()
            if got is not None:
                return got
            wants = select.POLLIN | (select.POLLOUT if self._outgoing else 0)
            poller.register(self._sock, wants)
            left = None if until is None else max(0.0, until - time.monotonic())
            if not poller.poll(None if left is None else left * 1000) and left == 0:
                return None
            try:
                self.flush()
            except Closed:
                got = self.poll()  # what it said before it went
                if got is None:
                    raise
                return got

    def close(self) -> None:
        """Close the socket and every descriptor that nobody took."""
        for fds in [*[f for _, f in self._outgoing], self._fds]:
            for fd in fds:
                let_go(fd)
        self._outgoing.clear()
        self._fds.clear()
        self._sock.close()


def let_go(fd: int) -> None:
    """Close a descriptor that others have, too, or whose file is durable or given up: an error of that is nothing."""
    try:  # noqa: SIM105 - importing contextlib takes a tenth of a start
        os.close(fd)
    except OSError:
        pass


def _decoded(body: bytearray, marshalled: int) -> Message:
    message: Message
    if marshalled:
        message = marshal.loads(body)
    else:
        import json

        message = json.loads(body)
    return message


def pair(*, quick: bool = False) -> tuple[Channel, socket.socket]:
    """Make a channel and the socket for the process at its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours, quick=quick), theirs
