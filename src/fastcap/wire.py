"""Messages between the processes of a session: JSON objects over a stream socket, descriptors beside them.

Data flow: controller <-> supervisor <-> workers, one socket pair each. Samples never pass here. A frame is
a 4-byte little-endian length and that many bytes of JSON; its descriptors travel with its first byte.
"""

from __future__ import annotations

import array
import json
import os
import select
import socket
import struct
import time
from collections import deque
from collections.abc import Sequence
from typing import Any

Message = dict[str, Any]
_LENGTH = struct.Struct("<I")
_MAX_FDS = 16


class Closed(Exception):  # noqa: N818 - the ordinary end of a conversation, not an error
    """The other side has closed the socket, or is gone."""


class Channel:
    """One end of a socket pair.

    Parameters
    ----------
    sock : socket.socket
        A connected stream socket; owned by the channel from now on.

    Notes
    -----
    `send` never blocks: what the socket does not take is kept and sent by `flush`, so that a stopped
    peer holds nobody up. `receive` blocks only when asked to.
    """

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._sock = sock
        self._received = bytearray()
        self._fds: deque[int] = deque()
        self._messages: deque[tuple[Message, list[int]]] = deque()
        self._outgoing: deque[tuple[bytearray, list[int]]] = deque()

    @classmethod
    def from_fd(cls, fd: int) -> Channel:
        """Take over an inherited descriptor."""
        return cls(socket.socket(fileno=fd))

    def fileno(self) -> int:
        """Return the descriptor, for a selector."""
        return self._sock.fileno()

    @property
    def pending(self) -> int:
        """Messages that could not be sent yet."""
        return len(self._outgoing)

    def send(self, message: Message, fds: Sequence[int] = ()) -> None:
        """Send a message; descriptors are duplicated, the caller's stay open.

        Raises
        ------
        Closed
            The other side is gone.
        """
        body = json.dumps({**message, "fds": len(fds)}, separators=(",", ":")).encode()
        self._outgoing.append((bytearray(_LENGTH.pack(len(body)) + body), [os.dup(fd) for fd in fds]))
        self.flush()

    def flush(self) -> None:
        """Send what is kept, as far as the socket takes it."""
        while self._outgoing:
            frame, fds = self._outgoing[0]
            rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds))] if fds else []
            try:
                sent = self._sock.sendmsg([frame], rights)
            except BlockingIOError:
                return
            except OSError as e:
                raise Closed(str(e)) from e
            for fd in fds:
                os.close(fd)
            fds.clear()
            del frame[:sent]
            if not frame:
                self._outgoing.popleft()

    def _fill(self) -> bool:
        """Take what has come; False when nothing is there."""
        try:
            data, ancillary, _, _ = self._sock.recvmsg(
                1 << 16, socket.CMSG_SPACE(_MAX_FDS * 4), socket.MSG_CMSG_CLOEXEC
            )
        except BlockingIOError:
            return False
        except OSError as e:
            raise Closed(str(e)) from e
        for level, kind, payload in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fds = array.array("i")
                fds.frombytes(payload[: len(payload) // fds.itemsize * fds.itemsize])
                self._fds.extend(fds)
        if not data:
            raise Closed("end of conversation")
        self._received += data
        return True

    def poll(self) -> tuple[Message, list[int]] | None:
        """Return the next message and its descriptors (close-on-exec, the caller's), or None.

        Raises
        ------
        Closed
            The other side is gone and every message it sent was returned.
        """
        while True:
            if len(self._received) >= _LENGTH.size:
                (size,) = _LENGTH.unpack_from(self._received)
                if len(self._received) >= _LENGTH.size + size:
                    body = bytes(self._received[_LENGTH.size : _LENGTH.size + size])
                    del self._received[: _LENGTH.size + size]
                    message = json.loads(body)
                    return message, [self._fds.popleft() for _ in range(message.pop("fds"))]
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
        for fds in [*[f for _, f in self._outgoing], list(self._fds)]:
            for fd in fds:
                os.close(fd)
        self._outgoing.clear()
        self._fds.clear()
        self._sock.close()


def pair() -> tuple[Channel, socket.socket]:
    """Make a channel and the socket for the process at its other end."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    return Channel(ours), theirs
