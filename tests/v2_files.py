"""V2 files as the lab's program writes them, made from the specification with struct alone."""

from __future__ import annotations

import json
import struct
from datetime import datetime
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

START_TEXT = "2025-02-18T17:03:08.123456789+08:00[Asia/Singapore]"
START = datetime.fromisoformat("2025-02-18T17:03:08.123456+08:00")
START_S = 1_739_869_388
ORDERS = {"little": "<", "big": ">"}


def board_words(phase_turns: NDArray[np.float64], radius: float = 30_000.0) -> NDArray[np.uint64]:
    """Return words of this phase: fields computed and packed one by one."""
    angle = -2 * np.pi * (phase_turns - np.floor(phase_turns + 0.5))
    i = np.rint(radius * np.sin(angle)).astype(int)
    q = np.rint(radius * np.cos(angle)).astype(int)
    m = np.rint(-np.arctan2(i, q) / (2 * np.pi) - phase_turns).astype(int)
    fields = ((m & 0xFFFF) << 48) | ((i & 0xFFFFFF) << 24) | (q & 0xFFFFFF)
    return fields.astype(np.int64).view(np.uint64)


def rollovers_of(words: NDArray[np.uint64]) -> list[tuple[int, int]]:
    """Return word and sign, as the table has it, of each rollover: +1 where M falls from 32,767 to -32,768."""
    m = words.view(np.int64) >> 48
    return [(k + 1, 1 if m[k + 1] < m[k] else -1) for k in np.flatnonzero(abs(np.diff(m)) > 0x8000).tolist()]


def unwrapped(words: NDArray[np.uint64], m_offset: int = 0) -> NDArray[np.float64]:
    """Return the phase, by brute force: M~ begins at M[0] + 65536 * m_offset and takes no large step."""
    w = words.view(np.int64)
    i, q, m = w << 16 >> 40, w << 40 >> 40, w >> 48
    whole = np.unwrap(m.astype(float), period=65536) + 65536.0 * m_offset
    return np.asarray(-np.arctan2(i, q) / (2 * np.pi) - whole)


def v2_header(
    order: str = "little",
    *,
    table: list[tuple[int, int]] | list[int] = (),  # type: ignore[assignment]
    total: int = 0,
    seconds: int = START_S,
    mark: int = 0xFEFF,
    text: bytes | None = None,
    length: int | None = None,
    **changed: Any,
) -> bytes:
    """Return a header and its table of ``total`` entries; ``changed`` keys of None are left out.

    ``text`` stands for the whole JSON, ``length`` is written for its length.
    """
    details: dict[str, Any] = {
        "file_start": START_TEXT,
        "num_samples": 1000,
        "num_files": 3,
        "skip_num": 4,
        "speed": "Low",
        "gain": None,
        "filter_const": 2,
        "stream_fold": {"fold": []},
        "m_overflow_total": total,
        "m_offset": 0,
    } | changed
    details = {key: value for key, value in details.items() if value != "absent"}
    body = json.dumps(details).encode() if text is None else text
    end = ORDERS[order]
    head = (
        b"VHFV2BIN" + struct.pack(f"{end}Hqq", mark, seconds, len(body) if length is None else length) + body
    )
    head += bytes(-len(head) % 8)
    entries = [e if isinstance(e, int) else e[0] | (2**63 if e[1] < 0 else 0) for e in table]
    entries += [0] * (total - len(entries))
    return head + struct.pack(f"{end}{total}Q", *entries[:total])


def v2_file(
    path: Path,
    words: NDArray[np.uint64],
    order: str = "little",
    *,
    table: list[tuple[int, int]] | list[int] | None = None,
    spare: int = 4,
    tail: bytes = b"",
    **changed: Any,
) -> Path:
    """Write a file; its table holds the words' rollovers and has ``spare`` unused entries, unless told otherwise."""
    found: Any = rollovers_of(words) if table is None else table
    total = changed.pop("total", len(found) + spare)
    changed.setdefault("num_samples", words.size)
    data = struct.pack(f"{ORDERS[order]}{words.size}Q", *words.tolist())
    path.write_bytes(v2_header(order, table=found, total=total, **changed) + data + tail)
    return path
