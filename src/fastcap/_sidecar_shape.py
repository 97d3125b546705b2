"""The shape of a sidecar that the rest of the package relies on; keys not named here pass unchecked."""

from __future__ import annotations

import math
from typing import Any

import msgspec


class _Entry(msgspec.Struct):
    stage: str
    after_word: int | None
    words: int | None
    certainty: str
    at_s: float | None = None

    def __post_init__(self) -> None:
        if self.certainty == "exact" and (self.words is None or (self.after_word or 0) < 0 or self.words < 0):
            raise ValueError("an exact ledger entry needs its count of words, and no negative one")


class _Stall(msgspec.Struct):
    at_s: float
    for_s: float


class _Sink(msgspec.Struct):
    stalls: list[_Stall] = []
    file_error: str | None = None


class _Source(msgspec.Struct):
    command: list[str] | None = None
    exit_status: int | None = None
    ended: str | None = None
    stderr_tail: str | None = None
    read_error: str | None = None


class _Header(msgspec.Struct):
    error: str | None = None


class _Checksum(msgspec.Struct):
    algorithm: str
    value: str | None


class _Report(msgspec.Struct):
    bytes: int
    words: int
    sample_rate_hz: float | None
    started: str | None
    duration_s: float | None
    complete: bool
    interrupted: bool
    words_lost: int
    ledger: list[_Entry]
    checksum: _Checksum | None
    sink: _Sink | None = None
    source: _Source | None = None
    header: _Header | None = None
    odd_bytes: int | None = None
    board: dict[str, int | None] | None = None
    meta: dict[str, Any] | None = None

    def __post_init__(self) -> None:
        if min(self.bytes, self.words, self.words_lost) < 0:
            raise ValueError("bytes, words and words_lost cannot be negative")
        if self.sample_rate_hz is not None and not 0 < self.sample_rate_hz < math.inf:
            raise ValueError(f"sample_rate_hz is {self.sample_rate_hz}, which is no rate")


class _Payload(msgspec.Struct):
    layout: str
    known_by: str


class _Blocks(msgspec.Struct):
    bytes: int
    algorithm: str
    values: list[str]

    def __post_init__(self) -> None:
        if self.bytes <= 0:
            raise ValueError("a block needs a size")


class _Global(msgspec.Struct, rename=lambda name: name.replace("_", ":", 1)):
    core_datatype: str
    core_version: str
    fastcap_report: _Report
    fastcap_first_word: int = 0
    fastcap_header: str | None = None
    fastcap_payload: _Payload | None = None
    fastcap_blocks: _Blocks | None = None
    core_trailing_bytes: int = 0

    def __post_init__(self) -> None:
        if self.fastcap_first_word < 0:
            raise ValueError("fastcap:first_word cannot be negative")


class _Capture(msgspec.Struct, rename=lambda name: name.replace("_", ":", 1)):
    core_sample_start: int
    core_header_bytes: int = 0

    def __post_init__(self) -> None:
        if self.core_header_bytes < 0:
            raise ValueError("core:header_bytes cannot be negative")


class SidecarShape(msgspec.Struct, rename={"global_": "global"}):
    global_: _Global
    captures: list[_Capture]
    annotations: list[dict[str, Any]]

    def __post_init__(self) -> None:
        if not self.captures:
            raise ValueError("captures is empty")
