"""A capture leaves an index beside its file: that of its words, whatever happened on the way."""

from __future__ import annotations

import errno
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import assert_whole, counting, kill, recording

import fastcap as fc
from fastcap._indexfile import HEADER_BYTES, index_path, unpack_head
from fastcap._indexrows import ROW, rows_of, same_rows
from fastcap.verify import verify_file
from fastcap.words import Carry

WORDS = 300_000


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path.parent / "cache"))


def assert_index(path: Path) -> None:
    """Assert that a file's index is that of its words, and is used."""
    raw = Path(index_path(path)).read_bytes()
    head = unpack_head(raw[:HEADER_BYTES], len(raw))
    trace = fc.load(path)
    rows = np.frombuffer(raw, ROW, head.rows, HEADER_BYTES)

    assert (head.words, head.file_bytes) == (len(trace), path.stat().st_size)
    assert head.mtime_ns == path.stat().st_mtime_ns
    assert same_rows(rows, rows_of(np.array(trace.words), Carry()))
    assert trace._origin.index.file == index_path(path)
    assert trace._origin.index.count == head.rows


def files(folder: Path) -> list[str]:
    return sorted(p.name for p in folder.iterdir())


def test_a_capture_leaves_an_index(tmp_path: Path) -> None:
    with fc.open(counting(WORDS, speed="max")) as board:
        cap = board.record(None, tmp_path / "run.bin")

    assert files(tmp_path) == ["run.bin", "run.index", "run.sigmf-meta"]
    assert cap.path is not None
    assert_index(cap.path)


def test_every_file_of_a_split_has_its_own(tmp_path: Path) -> None:
    with fc.open(counting(WORDS * 5, speed="max")) as board:
        cap = board.record(None, tmp_path / "run.bin", split="50ms")

    assert len(cap.reports) == 3
    for report in cap.reports:
        assert_index(Path(report["path"]))


def test_without_a_checksum_there_is_one_too(tmp_path: Path) -> None:
    with fc.open(counting(WORDS, speed="max")) as board:
        cap = board.record(None, tmp_path / "run.bin", checksum="none")

    assert cap.path is not None
    assert_index(cap.path)


def test_words_without_a_header_and_odd_bytes_have_one(tmp_path: Path) -> None:
    source = tmp_path / "in"
    source.write_bytes(np.arange(WORDS, dtype="<u8").tobytes() + b"\x01\x02\x03")
    with fc.open(["cat", str(source)]) as board:
        cap = board.record(None, tmp_path / "run.bin")

    assert cap.path is not None
    assert_index(cap.path)


def test_a_dead_writers_successor_leaves_one(tmp_path: Path) -> None:
    with recording(counting(2_000_000, rate="2MHz"), tmp_path / "run.bin") as (finish, _):
        kill("nas_writer", standing=2)
        cap = finish()

    assert cap.path is not None
    assert_index(cap.path)
    assert files(tmp_path) == ["run.bin", "run.index", "run.sigmf-meta"]


@pytest.mark.fuse
def test_a_writer_that_has_fallen_behind_leaves_one_though_its_writes_fail(
    tmp_path: Path, faultfs: Any
) -> None:
    fs = faultfs()
    fs.short_writes(900_001)
    rule = fs.error("write", errno.EIO, after=20, count=2)
    with fc.open(counting(4_000_000, speed="max"), ring="64MiB") as board:
        cap = board.record(None, fs.mount, stalls=[(0.0, 0.5)])

    fs.wait_fired(rule)
    assert_whole(cap, 4_000_000)
    assert cap.path is not None
    assert_index(cap.path)
    assert verify_file(cap.path).ok


def test_where_nothing_is_written_there_is_none(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with fc.open(counting(WORDS, speed="max")) as board:
        board.record(None, "none")

    assert files(tmp_path) == []


@pytest.mark.parametrize("in_the_way", ["directory", "file"])
def test_what_is_no_index_is_left_alone_and_costs_the_capture_nothing(
    tmp_path: Path, in_the_way: str
) -> None:
    other = tmp_path / "run.index"
    if in_the_way == "file":
        other.write_text("keywords")
    else:
        other.mkdir()
    with fc.open(counting(WORDS, speed="max")) as board:
        cap = board.record(None, tmp_path / "run.bin")

    assert cap.report["complete"]
    assert other.is_dir() or other.read_text() == "keywords"
    assert files(tmp_path) == ["run.bin", "run.index", "run.sigmf-meta"]
    assert cap.path is not None
    assert fc.load(cap.path)[-9:].i().size == 9
