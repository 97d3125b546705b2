"""The reader process: one descriptor into the ring, nothing else.

Control: ``record`` and ``resume`` bring the source's descriptor; ``run`` is inside `fastcap._pump` without
the GIL; ``crowded`` (the whole ring is wished for) and ``eof`` go back. Between the baseline that the supervisor
takes of this process's byte counter and the end of a recording, this process makes no counted read but the
source's: no import, no file is opened.
"""

from __future__ import annotations

import os

from fastcap._pump import COMMAND, CROWDED, FAILED, Reader, set_pipe_size
from fastcap.wire import Channel
from fastcap.workers._start import attach, give_way, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any


def realtime() -> list[str]:
    """Ask for SCHED_FIFO and locked memory; return what was refused, in words."""
    import ctypes

    refused = []
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(10))
    except PermissionError:
        refused.append("SCHED_FIFO refused: needs CAP_SYS_NICE or an rtprio limit")
    locked = ctypes.CDLL(None, use_errno=True).mlockall(1 | 4)  # MCL_CURRENT, MCL_ONFAULT
    if locked != 0:
        refused.append(f"mlockall refused: {os.strerror(ctypes.get_errno())}; raise the memlock limit")
    return refused


def _accept(reader: Reader, message: dict[str, Any], fd: int) -> dict[str, Any]:
    """Begin or resume a recording; return the answer that lets the source start."""
    give_way(message["can_wait"])
    options = {
        "word_bytes": message["word_bytes"],
        "can_wait": message["can_wait"],
        "replay_bytes_per_s": message.get("replay_bytes_per_s", 0.0),
        "gather_s": message.get("gather_s", 0.001),
    }
    if message["op"] == "resume":
        reader.resume(fd, message["recording"], message["taken"], **options)
        return {"op": "resumed", "recording": message["recording"]}
    pipe_bytes = set_pipe_size(fd, message["pipe_bytes"])
    start = reader.begin(fd, message["recording"], pipe_bytes=pipe_bytes, **options)
    return {"op": "reading", "recording": message["recording"], "start": start, "pipe_bytes": pipe_bytes}


def _read(channel: Channel, reader: Reader, message: dict[str, Any], fd: int) -> None:
    """Read one recording to its end and say how it ended."""
    channel.send(_accept(reader, message, fd))
    why, error = reader.run()
    while why in (COMMAND, CROWDED):
        if why == CROWDED:
            channel.send({"op": "crowded", "recording": message["recording"]})
        else:
            channel.poll()  # nothing is said during a recording but that there is something to look at
        why, error = reader.run()
    os.close(fd)
    reader.end()
    if why == FAILED:
        channel.send(
            {"op": "eof", "recording": message["recording"], "why": why, "error": os.strerror(error)}
        )
    else:
        channel.send({"op": "eof", "recording": message["recording"], "why": why, "error": None})


def main() -> None:
    """Serve recordings until the supervisor closes the socket."""
    channel, ring = attach(writable=True)
    reader = Reader(ring, channel.fileno())
    channel.send({"op": "ready"})
    while True:
        got = channel.receive()
        if got is None:
            continue
        message, fds = got
        if message["op"] == "realtime":
            channel.send({"op": "realtime", "refused": realtime()})
        elif message["op"] in ("record", "resume"):
            _read(channel, reader, message, fds[0])


def run() -> None:
    """Be this worker's process."""
    serve(main)


if __name__ == "__main__":
    run()
