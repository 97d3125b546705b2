"""The analysis process: running statistics of the live words, then the user's function.

Flow of one recording: ``record`` comes, a slot is claimed (lossless unless the user wants otherwise, and never
essential: where it would cost others it is made lossy) and ``granted`` goes back, so that the source can start
while this process imports numpy and the user's module; from then on see `fastcap.workers.analysis_run`.
``analysis`` with the result is the last word, whatever went wrong: an exception of the user's function is part
of it. ``cancel`` ends a recording's analysis early, but not a function that runs.

Nothing here can cost the capture a word: the splitter decides who may hold memory back.
"""

from __future__ import annotations

import os
import sys
from typing import Any

from fastcap._ring import LOSSLESS, Ring, Slot
from fastcap.errors import RingError
from fastcap.wire import Channel, Message
from fastcap.workers._start import attach, serve
from fastcap.workers.limits import yield_to_the_capture


def _record(channel: Channel, ring: Ring, message: Message) -> dict[str, Any]:
    """Claim a slot, say so, analyse one recording; return its result."""
    recording = message["recording"]
    try:
        slot = Slot.claim(ring, LOSSLESS if message.get("lossless", True) else 0)
    except RingError as e:
        channel.send({"op": "granted", "recording": recording, "slot": None})
        return {"error": str(e)}
    channel.send({"op": "granted", "recording": recording, "slot": slot.index})
    from fastcap.workers.analysis_run import Analysis  # numpy comes with it: after the grant

    return Analysis(ring, channel, slot, message).run()


def _serve(channel: Channel, ring: Ring) -> None:
    while True:
        got = channel.receive()
        if got is None or got[0]["op"] != "record":
            continue  # a cancel, or a file, for a recording that is through already
        result = _record(channel, ring, got[0])
        channel.send({"op": "analysis", "recording": got[0]["recording"], "result": result})


def main() -> None:
    """Analyse recordings until the supervisor closes the socket."""
    channel, ring = attach()
    channel.send({"op": "ready"})
    os.dup2(2, 1)  # what the user's function prints is for people
    sys.stdout = sys.stderr
    os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # its threads would take memory and processors
    yield_to_the_capture()
    _serve(channel, ring)


def run() -> None:
    """Be this worker's process."""
    serve(main, quick=False)  # what the user's function imported may have an end of its own


if __name__ == "__main__":
    run()
