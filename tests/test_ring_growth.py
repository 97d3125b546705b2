"""A ring uses little of its memory while consumers keep up, and all of it, without a word moved, when they do not."""

from __future__ import annotations

import os
import subprocess
import sys
from contextlib import contextmanager

import pytest
from engine import assert_whole, counting, kill, recording, stopped, workers
from harness import Engine, counter
from support import wait_until

import fastcap as fc
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES
from fastcap.workers.supervisor import FIRST_BYTES

C = MIN_RING_BYTES
FIRST = C // 8
WORDS = 30_000_000
SOURCE = counter(0, 3 * C // 8)


@contextmanager
def attached(board):
    ring = board.session.attach()
    try:
        yield ring
    finally:
        ring.close()


def allocated_bytes(ring):
    return os.fstat(ring.data_fd).st_blocks * 512


def test_board_s_ring_grows_in_a_stall_and_keeps_every_word(tmp_path):
    with recording(counting(WORDS), tmp_path, ring="256MiB", stalls=[(0.5, 1.5)]) as (finish, board):
        with attached(board) as ring:
            wait_until(lambda: ring.room == ring.capacity, 20, "growth")
        cap = finish()

    assert_whole(cap, WORDS)
    assert cap.report["ring"]["high_water_bytes"] > FIRST_BYTES


@pytest.mark.parametrize("role", ["reader", "splitter", "nas_writer"])
def test_whoever_dies_while_the_ring_grows_has_a_successor_that_finds_every_word(tmp_path, role):
    with recording(counting(WORDS), tmp_path, ring="256MiB", stalls=[(0.5, 1.5)]) as (finish, board):
        with attached(board) as ring:
            wait_until(lambda: len(workers("reader")) == 2, 20, "a warm reader")
            for _ in range(2):
                kill(role)
                wait_until(lambda: ring.room == ring.capacity, 20, "growth")
        cap = finish()

    assert cap.report["replaced"][role] == 2
    assert_whole(cap, WORDS)


def test_source_that_waits_makes_the_ring_grow_only_when_it_has_waited_for_long(tmp_path):
    with recording(counting(), tmp_path, ring="256MiB", on_full="wait") as (finish, board):
        with attached(board) as ring:
            wait_until(lambda: ring.head >= FIRST_BYTES * 3 // 4, 20, "bytes")
            assert ring.room == FIRST_BYTES
            assert allocated_bytes(ring) <= FIRST_BYTES
            with stopped("nas_writer"):
                wait_until(lambda: ring.room == ring.capacity, 20, "growth")
        board.session.finish(1)
        cap = finish()

    assert_whole(cap, cap.report["words"], cut=True)


def test_source_that_waits_for_a_consumer_that_moves_on_leaves_the_ring_small(tmp_path):
    """The destination is away four fifths of the time, but never for long."""
    away = {"stalls": [(0.025 * k, 0.02) for k in range(400)], "on_full": "wait"}
    source = counting(2 * WORDS, speed="max")
    with recording(source, tmp_path, ring="256MiB", **away) as (finish, board), attached(board) as ring:
        cap = finish()
        assert ring.room == FIRST_BYTES

    assert_whole(cap, 2 * WORDS)


def test_memory_is_not_touched_while_the_consumer_keeps_up(tmp_path):
    read, write = os.pipe()
    with fc.open(read, ring="96MiB") as board, board.stream(block_words=8192) as stream:
        with attached(board) as ring:
            piece, blocks = counter(0, 8192), stream.blocks(timeout_s=20)
            for _ in range(2 * ring.capacity // len(piece) + 1):
                os.write(write, piece)
                assert next(blocks).words[-1] == 8191
            assert ring.head > 2 * ring.capacity
            assert ring.room == FIRST_BYTES
            assert allocated_bytes(ring) <= FIRST_BYTES
        os.close(write)


def test_what_lies_in_the_small_part_is_read_on_after_growth():
    engine = Engine(first=FIRST)
    writer, other = engine.claim(LOSSLESS | ESSENTIAL), engine.claim(LOSSLESS)
    engine.begin()
    at = 0
    for n in (FIRST - 8000, 12_344, FIRST // 2):
        engine.feed(SOURCE[at : at + n])
        at += n
        engine.split()
        if engine.ring.room == FIRST:
            writer.advance(engine.ring.framed // 3)
            other.advance(engine.ring.framed // 3)
            engine.split()
    assert engine.ring.room == C
    first = writer.cursor

    view = other.view(first, engine.ring.framed - first)

    assert bytes(view) == SOURCE[first : engine.ring.framed]
    engine.close()


def test_view_of_the_small_part_stays_what_it_was_when_the_ring_grows():
    engine = Engine(first=FIRST)
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(SOURCE[:FIRST])
    engine.split()
    kept = memoryview(writer.view(0, FIRST // 8 * 8))

    engine.feed(SOURCE[FIRST : C - 8])
    engine.split()

    assert engine.ring.room == C
    assert writer.still_valid(0)
    assert kept == SOURCE[: len(kept)]
    engine.close()


def test_lossy_consumer_makes_the_ring_grow_before_it_is_passed():
    engine = Engine(first=FIRST)
    lossy = engine.claim(0)
    engine.begin()
    for at in range(0, C // 2, FIRST // 4):
        engine.feed(SOURCE[at : at + FIRST // 4])
        engine.split()

    assert engine.ring.room == C
    assert lossy.still_valid(0)
    assert engine.ring.bytes_at(0, C // 2) == SOURCE[: C // 2]
    engine.close()


def test_part_that_is_too_small_is_refused():
    with pytest.raises(fc.RingError, match="64 KiB"):
        Engine(first=4096)


SMALL_SHM = """
import os, sys
sys.path.insert(0, sys.argv[1])
from engine import assert_whole, counting, recording
from support import wait_until

stalled = {"stalls": [(0.0, 1.5)], "on_full": "wait"}
with recording(counting(10_000_000), sys.argv[2], ring="96MiB", **stalled) as (finish, board):
    fs = os.statvfs("/dev/shm")
    ballast = os.open("/dev/shm/ballast", os.O_WRONLY | os.O_CREAT)
    os.posix_fallocate(ballast, 0, (fs.f_bavail - 256) * fs.f_frsize)
    ring = board.session.attach()
    cap = finish()
    assert ring.room == ring.first, "it has grown: this shows nothing"
    assert ring.ready < ring.capacity
assert_whole(cap, 10_000_000)
"""


@pytest.mark.root
def test_growth_that_is_refused_costs_a_waiting_source_nothing(tmp_path):
    tests = os.path.dirname(__file__)
    inside = 'mount -t tmpfs -o size=112M tmpfs /dev/shm && exec "$@"'
    script = [sys.executable, "-c", SMALL_SHM, tests, str(tmp_path)]
    argv = ["unshare", "--mount", "sh", "-c", inside, "sh", *script]

    done = subprocess.run(argv, capture_output=True, text=True, check=False, timeout=100)

    assert done.returncode == 0, done.stderr
