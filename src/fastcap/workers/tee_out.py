"""An output of ``fastcap tee``: ring -> descriptor, in order, as fast as the descriptor takes it.

Control: ``record`` brings the descriptor; the slot is granted before the source is read; ``output`` goes back
when it is through. A killed one's successor keeps its slot (``resume``), and goes on behind what was ``written``, by
the kernel's count (``wchar``): so between `ready` and its last write this process writes nothing else.
"""

from __future__ import annotations

import errno
import os

from fastcap import events
from fastcap._pump import OVERRUN, set_pipe_size, write_stream
from fastcap._ring import ESSENTIAL, LOSSLESS, Ring, Slot
from fastcap.events import EventReader
from fastcap.wire import Channel
from fastcap.workers._start import attach, give_way, serve

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

PIPE_BYTES = 1 << 20


def _start_of(slot: Slot, log: EventReader, recording: int, channel: Channel) -> int:
    """Wait for the recording to begin; return its position."""
    while True:
        slot.wait(1 << 63, log.offset, 0.1)
        for event in log.poll():
            if event.kind == events.START and event.recording == recording:
                return event.position
        channel.poll()


def _serve(channel: Channel, ring: Ring, message: dict[str, Any], fd: int) -> None:
    recording: int = message["recording"]
    give_way(True)
    set_pipe_size(fd, PIPE_BYTES)
    if message["op"] == "resume":
        slot = Slot.adopt(ring, message["slot"])
    else:
        slot = Slot.claim(ring, LOSSLESS | ESSENTIAL)
        channel.send({"op": "granted", "recording": recording, "slot": slot.index})
    position = _start_of(slot, EventReader(ring), recording, channel) + message.get("written", 0)
    slot.advance(position)
    while True:
        position, error = write_stream(slot, fd, recording, position)
        if error or (ring.ended_recording >= recording and position >= ring.framed):
            break
        channel.poll()
    text = None
    if error == OVERRUN:
        text, error = "bytes that were still to be written are no longer in the ring's memory", errno.EIO
    try:
        os.close(fd)
    except OSError as e:  # a disk may say only now that it could not write
        error = error or e.errno or errno.EIO
    text = text or (os.strerror(error) if error else None)
    channel.send(
        {"op": "output", "recording": recording, "index": message["index"], "errno": error, "error": text}
    )
    channel.drain()
    slot.leave()  # not before it is known that no successor needs it


def main() -> None:
    """Serve one output, then end."""
    channel, ring = attach()
    channel.send({"op": "ready"})
    while True:
        got = channel.receive()
        if got is not None and got[0]["op"] in ("record", "resume"):
            _serve(channel, ring, got[0], got[1][0])
            return


def run() -> None:
    """Be this worker's process."""
    serve(main)


if __name__ == "__main__":
    run()
