"""Emulated devices that answer lines: on a pseudo-terminal or a TCP socket, in a thread of their own."""

from __future__ import annotations

import contextlib
import os
import selectors
import socket
import tempfile
import threading
import time
import tty
from collections import deque
from collections.abc import Callable
from typing import Any, Protocol

from fastcap.sim.hostility import Hostility, Mischief

__all__ = ["Device", "LineServer", "PtyEnd", "TcpEnd"]

_MOST_LINE_BYTES = 256  # a device's input buffer
_REPLY_S = 10.0


class Device(Protocol):
    """What answers."""

    def handle(self, line: str) -> list[str]:
        """Obey a line and return the lines of the answer."""


class PtyEnd:
    """The device's end of a pseudo-terminal; ``path`` is a link that stays the same when plugged in again."""

    def __init__(self, name: str) -> None:
        self._folder = tempfile.mkdtemp(prefix="fastcap-sim-")
        self.path = os.path.join(self._folder, name)
        self._slave = -1

    def open(self) -> Any:
        """Make the terminal and return the descriptor to serve."""
        master, self._slave = os.openpty()  # the other end is held, so that a client may come and go
        tty.setraw(self._slave)
        os.set_blocking(master, False)
        os.symlink(os.ttyname(self._slave), self.path)
        return master

    def accept(self, fileobj: Any) -> Any:
        """Return the descriptor that bytes come from."""
        return fileobj

    def read(self, fileobj: Any) -> bytes:
        """Return what has come."""
        return os.read(fileobj, 4096)

    def close(self, fileobj: Any) -> None:
        """Take the terminal away, as if it were unplugged."""
        with contextlib.suppress(FileNotFoundError):
            os.unlink(self.path)
        os.close(fileobj)
        os.close(self._slave)

    def remove(self) -> None:
        """Remove what is left."""
        with contextlib.suppress(OSError):
            os.rmdir(self._folder)


class TcpEnd:
    """A listening socket on the loopback interface; one client at a time."""

    def __init__(self) -> None:
        self._listener: Any = None
        self.port = 0

    def open(self) -> Any:
        """Listen and return the socket to serve."""
        listener = socket.create_server(("127.0.0.1", self.port))
        listener.setblocking(False)
        self.port = listener.getsockname()[1]
        self._listener = listener
        return listener

    def accept(self, fileobj: Any) -> Any:
        """Return the client that has come, if ``fileobj`` is the listener; else the client itself."""
        if fileobj is not self._listener:
            return fileobj
        client, _ = fileobj.accept()
        client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        client.setblocking(False)
        return client

    def read(self, fileobj: Any) -> bytes:
        """Return what has come, and acknowledge it at once: clients wait for that before they send more."""
        data: bytes = fileobj.recv(4096)
        fileobj.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)
        return data

    def close(self, fileobj: Any) -> None:
        """Close a client or the listener."""
        fileobj.close()

    def remove(self) -> None:
        """Nothing is left."""


class LineServer:
    """Serves a device at one end until `close`.

    Parameters
    ----------
    end : PtyEnd or TcpEnd
        Where bytes come from and go to.
    line_end : bytes
        What answers end with. Commands may end with either.
    greeting : list of str
        Lines the device prints when it is first spoken to after it was plugged in.
    """

    def __init__(
        self,
        device: Device,
        end: PtyEnd | TcpEnd,
        *,
        hostility: Hostility,
        line_end: bytes = b"\n",
        greeting: list[str] | None = None,
    ) -> None:
        self._device, self._end, self._line_end = device, end, line_end
        self._mischief = Mischief(hostility)
        self._greeting = [line.encode() for line in greeting or []]
        self._greeted = False
        self._out: deque[tuple[float, bytes]] = deque()
        self._input = b""
        self._selector = selectors.DefaultSelector()
        self._wake_r, self._wake_w = os.pipe()
        self._selector.register(self._wake_r, selectors.EVENT_READ)
        self._requests: deque[tuple[Callable[[], None], threading.Event]] = deque()
        self._ended = False
        self._peer: Any = None
        self._root: Any = None
        self._plug()
        self._thread = threading.Thread(target=self._serve, name="emulated device", daemon=True)
        self._thread.start()

    def unplug(self) -> None:
        """Take the connection away; who has it open gets an error."""
        self._do(self._unplug)

    def plug(self) -> None:
        """Give the connection back, at the same place; the device has been without power."""
        self._do(self._plug)

    def say(self, data: bytes) -> None:
        """Send bytes nobody asked for."""
        self._do(lambda: self._put(0.0, data))

    def close(self) -> None:
        """Take the connection away and end the thread. A second call does nothing."""
        if self._ended:
            return
        self._do(self._stop)
        self._thread.join()
        self._selector.close()
        os.close(self._wake_r)
        os.close(self._wake_w)
        self._end.remove()

    def _do(self, what: Callable[[], None]) -> None:
        """Have the server's thread do something, and wait until it has."""
        done = threading.Event()
        self._requests.append((what, done))
        os.write(self._wake_w, b"\0")
        if not done.wait(_REPLY_S):
            raise RuntimeError("the emulated device's thread has ended; make another emulator")

    def _serve(self) -> None:
        while not self._ended:
            for key, _ in self._selector.select(self._wait_s()):
                if key.fileobj == self._wake_r:
                    os.read(self._wake_r, 4096)
                else:
                    self._readable(key.fileobj)
            while self._requests:
                what, done = self._requests.popleft()
                what()
                done.set()
            self._send_due()

    def _wait_s(self) -> float | None:
        return max(0.0, self._out[0][0] - time.monotonic()) if self._out else None

    def _readable(self, fileobj: Any) -> None:
        """Take a client, or what a client says."""
        peer = self._end.accept(fileobj)
        if peer is not fileobj:
            self._drop_peer()
            self._peer = peer
            self._selector.register(peer, selectors.EVENT_READ)
            return
        try:
            data = self._end.read(fileobj)
        except BlockingIOError:
            return
        except OSError:
            data = b""
        if not data:
            self._drop_peer()
            return
        *lines, self._input = (self._input + data).replace(b"\r\n", b"\n").split(b"\n")
        self._input = self._input[-_MOST_LINE_BYTES:]
        for raw in lines:
            self._obey(raw)

    def _obey(self, raw: bytes) -> None:
        if not self._greeted:
            self._greeted = True
            for line in self._greeting:
                self._put(0.0, line + self._line_end)
        if self._mischief.drops():
            return
        answer = [line.encode() for line in self._device.handle(raw.decode("ascii", errors="replace"))]
        for delay_s, data in self._mischief.treat(answer, self._line_end):
            self._put(delay_s, data)

    def _put(self, delay_s: float, data: bytes) -> None:
        """Queue bytes; a device says one thing after the other."""
        earliest = self._out[-1][0] if self._out else time.monotonic()
        self._out.append((max(earliest, time.monotonic()) + delay_s, data))

    def _send_due(self) -> None:
        while self._out and self._out[0][0] <= time.monotonic():
            _, data = self._out.popleft()
            with contextlib.suppress(OSError):  # nobody takes it: it is lost
                if isinstance(self._peer, socket.socket):
                    self._peer.sendall(data)
                elif self._peer is not None:
                    os.write(self._peer, data)

    def _plug(self) -> None:
        if self._root is None:
            self._root = self._end.open()
            self._peer = None if isinstance(self._root, socket.socket) else self._root
            self._selector.register(self._root, selectors.EVENT_READ)
            self._greeted = False

    def _unplug(self) -> None:
        if self._root is None:
            return
        if self._peer is not self._root:
            self._drop_peer()
        self._selector.unregister(self._root)
        self._end.close(self._root)
        self._root = self._peer = None
        self._out.clear()
        self._input = b""

    def _drop_peer(self) -> None:
        """Forget the client; a terminal has none to forget."""
        if isinstance(self._peer, socket.socket):
            self._selector.unregister(self._peer)
            self._peer.close()
            self._peer = None
            self._input = b""

    def _stop(self) -> None:
        self._unplug()
        self._ended = True
