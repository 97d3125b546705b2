"""Headers as large as their magic word can announce: they cost a capture nothing."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from support import assert_counter_file

import fastcap as fc
from fastcap.stream import MAX_HEADER_BYTES, build_header, parse_header

WRITER = """
import sys
with open(sys.argv[1], "rb") as header:
    sys.stdout.buffer.write(header.read())
sys.stdout.buffer.write(b"".join(k.to_bytes(8, "little") for k in range(100_000)))
"""
BOARD = ["teststream", "-U", "/dev/vhf", "-l", "-b", "-s", "0"]
TEXTS = {
    "one argument": ["x" * 524_000],
    "one argument of quotes": ['"' * 500 + "'x\\" * 40_000],
    "many arguments": ["y" * 60] * 8_500,
}


@pytest.mark.parametrize("arguments", TEXTS.values(), ids=list(TEXTS))
def test_capture_with_a_header_of_half_a_megabyte_is_complete(tmp_path: Path, arguments: list[str]) -> None:
    header = build_header([*BOARD, *arguments], None)
    assert MAX_HEADER_BYTES // 2 < len(header) <= MAX_HEADER_BYTES
    (tmp_path / "header").write_bytes(header)
    (tmp_path / "writer.py").write_text(WRITER)
    command = [sys.executable, str(tmp_path / "writer.py"), str(tmp_path / "header")]

    with fc.open(command) as board:
        cap = board.record(None, tmp_path / "long.bin")

    assert cap.report["complete"]
    assert cap.report["header"]["bytes"] == len(header)
    assert not any(cap.report["replaced"].values())
    assert assert_counter_file(tmp_path / "long.bin", 100_000) == []
    assert parse_header(header).argv == (*BOARD, *arguments)
