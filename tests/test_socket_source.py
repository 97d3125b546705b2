"""A source on a socket: read as one on a pipe is."""

from __future__ import annotations

import os
import socket
import threading
import time

import pytest
from harness import counter

import fastcap as fc

PIECE = counter(0, 1 << 13)
PIECES = 1 << 10


def _pipe() -> tuple[int, int]:
    return os.pipe()


def _socket() -> tuple[int, int]:
    ours, theirs = socket.socketpair()
    return ours.detach(), theirs.detach()


def _feed(fd: int, took: list[float]) -> None:
    began = time.monotonic()
    for _ in range(PIECES):
        rest = memoryview(PIECE)
        while rest:
            rest = rest[os.write(fd, rest) :]
    took.append(time.monotonic() - began)
    os.close(fd)


def _capture(ends: tuple[int, int]) -> tuple[fc.Capture, float]:
    fd, feeding = ends
    took: list[float] = []
    with fc.open(fd) as board:
        thread = threading.Thread(target=_feed, args=(feeding, took))
        thread.start()
        cap = board.record(None, "none")
        thread.join()
    os.close(fd)
    return cap, took[0]


def test_socket_is_read_as_fast_as_a_pipe() -> None:
    _, of_pipe = _capture(_pipe())
    cap, of_socket = _capture(_socket())

    assert cap.report["words"] == PIECES << 13
    assert cap.report["pipe_full_s"] is None, "nobody can tell how long a socket stood full"
    assert of_socket < 8 * of_pipe, "it naps while the socket is full"


@pytest.mark.parametrize("size", [1, 7, 512])
def test_small_writes_to_a_socket_all_arrive(size: int) -> None:
    fd, feeding = _socket()
    data = counter(0, 5000)
    with fc.open(fd) as board:
        for at in range(0, 100 * size, size):
            os.write(feeding, data[at : at + size])
        rest = data[100 * size :]
        thread = threading.Thread(target=lambda: (os.write(feeding, rest), os.close(feeding)))
        thread.start()
        cap = board.record(None, "none")
        thread.join()
    os.close(fd)
    assert (cap.report["words"], cap.report["words_lost"]) == (5000, 0)
