"""A file that was cut between two writes, or behind the last: how much of it is as it was written."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from fastcap.workers.intact import EDGE_BYTES, Edges

PIECE = 4096


class Written:
    """A file, and what was noted of each write."""

    def __init__(self, path: Path) -> None:
        self.fd = os.open(path, os.O_RDWR | os.O_CREAT)
        self.edges = Edges()
        self._noise = np.random.default_rng(1).bytes(8 * PIECE)

    def write(self, number: int) -> None:
        begin, end = number * PIECE, (number + 1) * PIECE
        assert os.pwrite(self.fd, self._noise[begin:end], begin) == PIECE
        self.edges.wrote(begin, end, self._noise[end - EDGE_BYTES : end])

    def intact(self, pieces: int) -> int | None:
        return self.edges.intact_bytes(self.fd, pieces * PIECE)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[Written]:
    file = Written(tmp_path / "file")
    file.write(0)
    yield file
    os.close(file.fd)


def test_untouched_file_is_intact(file: Written) -> None:
    file.write(1)
    assert file.intact(2) is None
    file.write(2)
    assert file.intact(3) is None


@pytest.mark.parametrize("cut", [0, 1000, PIECE - EDGE_BYTES - 1, PIECE - EDGE_BYTES + 1, PIECE - 1])
def test_file_that_was_cut_between_two_writes_has_its_size_and_a_hole(file: Written, cut: int) -> None:
    os.ftruncate(file.fd, cut)
    file.write(1)
    assert file.intact(2) == cut


@pytest.mark.parametrize("cut", [0, PIECE, PIECE + 1, 2 * PIECE - 1])
def test_file_that_was_cut_behind_its_last_write_has_its_size_no_more(file: Written, cut: int) -> None:
    file.write(1)
    os.ftruncate(file.fd, cut)
    assert file.intact(2) == cut


def test_cut_before_what_was_fsynced_last_is_seen_after_the_next_write(file: Written) -> None:
    file.write(1)
    assert file.intact(2) is None
    os.ftruncate(file.fd, PIECE + 8)
    file.write(2)
    assert file.intact(3) == PIECE + 8


def test_what_is_written_again_after_a_failed_fsync_is_held_against_what_was_durable(file: Written) -> None:
    assert file.intact(1) is None
    file.write(1)
    file.edges.go_back()
    os.ftruncate(file.fd, PIECE - 8)
    file.write(1)
    assert file.intact(2) == PIECE - 8
