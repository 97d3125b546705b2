"""The NAS writer process: ring -> file on the destination. No other process touches that file system.

Flow of one recording: the slot is claimed before the source starts (``claim``); then the destination is
checked and ``NAME.bin.part`` made (``record``) while the source may already run; then it is written
(`fastcap.workers.writing`). What the report gains later goes into the sidecar, and the files are looked at once more
(``close``: `fastcap.workers.closing`); a successor can do that, too.
"""

from __future__ import annotations

import os

from fastcap._ring import ESSENTIAL, LOSSLESS, Ring, Slot
from fastcap.wire import Channel
from fastcap.workers._start import attach, serve
from fastcap.workers.closing import close_files
from fastcap.workers.writing import Abandoned, Discarded, NasWriter


def _serve(channel: Channel, ring: Ring) -> None:
    """Wait for one recording and write it."""
    slot: Slot | None = None
    while True:
        got = channel.receive()
        if got is None:
            continue
        message = got[0]
        if message["op"] == "claim":
            slot = Slot.claim(ring, LOSSLESS | ESSENTIAL)
            channel.send({"op": "granted", "recording": message["recording"], "slot": slot.index})
        elif message["op"] == "resume":
            slot = Slot.adopt(ring, message["slot"])
            break
        elif message["op"] == "record":
            break
        elif message["op"] == "close":  # a predecessor died when all files had their names
            close_files(channel, message)
            return
    assert slot is not None
    writer = NasWriter(ring, channel, slot, message)
    if not writer.resumed and not writer.look():
        slot.leave()
        return
    import fastcap.sidecar
    import fastcap.workers.file_index  # noqa: F401 - the source starts meanwhile: only the file needs these

    try:
        writer.run()
    except Abandoned:
        channel.send({"op": "abandoned", "recording": writer.recording, "path": writer.sink.part_path})
        channel.drain()
        os._exit(0)  # the slot stays as it is, for recovery
    except Discarded:
        slot.leave()
        channel.send({"op": "discarded", "recording": writer.recording})
        return
    slot.leave()
    _close(channel, writer)


def _close(channel: Channel, writer: NasWriter) -> None:
    """Wait until the report is final; put it into the sidecar if it has grown (a late analysis)."""
    channel.send({"op": "finished", "recording": writer.recording})
    while (got := channel.receive()) is None or got[0]["op"] not in ("close", "final"):
        continue
    if got[0]["op"] == "close":
        close_files(channel, got[0], writer)


def main() -> None:
    """Write one recording, then end: a warm successor is waiting already."""
    channel, ring = attach()
    channel.send({"op": "ready"})
    _serve(channel, ring)
    channel.drain()


def run() -> None:
    """Be this worker's process."""
    serve(main)


if __name__ == "__main__":
    run()
