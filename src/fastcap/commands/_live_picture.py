"""A picture of a recording that nobody writes: gathered from the live words, in fixed memory.

A thread of its own is one more consumer of the ring; it is never allowed to cost the others a word.
"""

from __future__ import annotations

import threading
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from fastcap._ring import LOSSLESS, Slot
from fastcap.errors import FastcapError
from fastcap.session import Recording, Session

BLOCK_WORDS = 1 << 15


class LivePicture:
    """Gathers one recording.

    Parameters
    ----------
    session : Session
        The slot is claimed here: before the recording is begun.
    """

    def __init__(self, session: Session) -> None:
        self._ring = session.attach()
        self._slot = Slot.claim(self._ring, LOSSLESS)
        self._thread: threading.Thread | None = None
        self._overview: Any = None
        self._error: FastcapError | None = None

    def follow(self, recording: Recording) -> None:
        """Take in the recording's words until its end, in the background."""
        self._thread = threading.Thread(target=self._gather, args=(recording,), daemon=True)
        self._thread.start()

    def _gather(self, recording: Recording) -> None:
        from fastcap.live import Stream
        from fastcap.overview import Overview

        gathered = Overview()
        try:
            with Stream(self._ring, self._slot, recording, BLOCK_WORDS, "mark") as stream:
                for block in stream.blocks(timeout_s=None):
                    gathered.add(block.index, block.words)
        except FastcapError as error:
            self._error = error
        self._overview = gathered

    def save(self, report: Mapping[str, Any], target: Path) -> Path:
        """Draw what was gathered, once all of it is.

        Raises
        ------
        FastcapError
            The recording failed, or there is nothing to draw.
        """
        from fastcap.plot import save_overview
        from fastcap.sidecar import exact_gaps

        if self._thread is not None:
            self._thread.join()
        if self._error is not None:
            raise self._error
        keys = ("sample_rate_hz", "words", "words_lost", "board", "started", "meta")
        facts = {**{key: report[key] for key in keys}, "path": target.stem, "stalls": None}
        facts["command"] = report["source"]["command"]
        return save_overview(facts, self._overview, exact_gaps(dict(report)), target)
