"""A NAS writer in a thread of this process, on a ring that a test moves."""

from __future__ import annotations

import threading
from pathlib import Path

import pytest
from harness import Engine

from fastcap._ring import Slot
from fastcap.wire import Channel, Message, pair
from fastcap.workers.writing import Abandoned, NasWriter

MIB = 1 << 20


class Writer:
    """A NAS writer in a thread of this process."""

    def __init__(self, engine: Engine, slot: Slot, folder: Path) -> None:
        self.ours, theirs = pair()
        self.writer = NasWriter(engine.ring, Channel(theirs), slot, _wanted(folder))
        assert self.writer.look()
        self.thread = threading.Thread(target=self._run, daemon=True)
        self.thread.start()

    def _run(self) -> None:
        with pytest.raises(Abandoned):
            self.writer.run()

    def abandon(self) -> None:
        """End it."""
        self.ours.send({"op": "abandon"})
        self.thread.join()


def _wanted(folder: Path) -> Message:
    return {
        "op": "record", "recording": 1, "directory": str(folder), "names": {"base": "run"}, "checksum": "sha256",
        "fsync_every": MIB, "bytes_per_s": None,
    }  # fmt: skip
