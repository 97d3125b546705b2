"""The error tree: everything that fastcap raises on purpose derives from `FastcapError`."""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

    from fastcap.capture import Capture


class FastcapError(Exception):
    """Base of all errors of this package. The message names the thing, the value and the remedy."""


class ConfigError(FastcapError):
    """A configuration, plan, URL or option is wrong; nothing was started."""


class StreamFormatError(FastcapError):
    """Bytes are not in the board's format. Stored raw bytes are unaffected."""


class SourceError(FastcapError):
    """The board, its program or an input could not be used, was silent, or is in use by somebody else.

    Attributes
    ----------
    capture : Capture or None
        What came of the recording that the source failed in; None where none had begun.
    """

    capture: Capture | None = None


class RingError(FastcapError):
    """The ring's memory could not be made, attached or trusted, or is not large enough."""


class SinkError(FastcapError):
    """The destination could not be used, or could not be completed."""


class WorkerError(FastcapError):
    """A worker process of the session failed in a way that could not be mended."""


class DeviceError(FastcapError):
    """An attenuator, a laser or another device did not do what it was asked."""


class SweepError(FastcapError):
    """A sweep cannot start, go on or be resumed."""


class StillWaitingError(FastcapError, TimeoutError):
    """What was waited for is not there yet, and may still come: wait again."""


class OverrunError(FastcapError):
    """A lossy consumer was passed by the stream: words are missing for this consumer alone.

    Attributes
    ----------
    entry : dict
        The ledger entry: ``stage``, ``after_word``, ``words``, ``certainty``, ``at_s``.
    """

    def __init__(self, message: str, entry: dict[str, Any]) -> None:
        super().__init__(message)
        self.entry = entry


def foreign_text(what: str, owner: int) -> str:
    """Return what a forked child is told that uses what its parent has opened."""
    return (
        f"this {what} was opened by process {owner}, this is process {os.getpid()}, forked from it: open the "
        f"{what} here, after the fork"
    )
