"""Slots from claim to free, waiting, and views of ring memory that cannot be written through."""

from __future__ import annotations

import ctypes
import gc
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from harness import Engine, counter, make_ring
from support.waiting import wait_until

from fastcap._pump import busy
from fastcap._ring import ESSENTIAL, LOSSLESS, SLOTS, Ring, Slot
from fastcap.errors import RingError

LONG_S = 30.0


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def duplicates(ring: Ring) -> tuple[int, int, int]:
    return os.dup(ring.control_fd), os.dup(ring.data_fd), os.dup(ring.events_fd)


# -- a slot's life -------------------------------------------------------------------------------------


def test_slot_goes_from_free_through_want_and_active_to_free(engine: Engine) -> None:
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    got: list[Slot] = []
    thread = threading.Thread(target=lambda: got.append(Slot.claim(engine.ring, LOSSLESS | ESSENTIAL)))
    assert engine.ring.slot_state(0)["state"] == "FREE"

    thread.start()
    wait_until(lambda: engine.ring.slot_state(0)["state"] == "WANT", LONG_S, "the slot is wanted")
    engine.split()
    thread.join(LONG_S)
    active = engine.ring.slot_state(0)
    got[0].leave()
    leaving = engine.ring.slot_state(0)["state"]
    engine.split()

    assert (active["state"], active["flags"], active["lossless"]) == ("ACTIVE", LOSSLESS | ESSENTIAL, True)
    assert active["cursor"] == active["spilled"] == 800, "granted at framed"
    assert active["owner_pid"] == os.getpid()
    assert (leaving, engine.ring.slot_state(0)["state"]) == ("LEAVING", "FREE")


def test_claim_without_a_splitter_gives_up_and_withdraws(engine: Engine) -> None:
    with pytest.raises(RingError, match="no splitter granted"):
        Slot.claim(engine.ring, timeout_s=0.01)
    assert engine.ring.slot_state(0)["state"] == "LEAVING"

    engine.split()
    assert engine.ring.slot_state(0)["state"] == "FREE"


def test_every_slot_can_be_claimed_and_no_more(engine: Engine) -> None:
    slots = [engine.claim() for _ in range(SLOTS)]
    with pytest.raises(RingError, match=f"all {SLOTS} consumer slots"):
        Slot.claim(engine.ring)

    slots[7].leave()
    engine.split()
    assert engine.claim().index == 7


def test_slot_that_was_left_holds_nothing_back(engine: Engine) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, 131072))
    engine.split()
    assert engine.ring.tail == 0

    slot.leave()
    engine.split()

    assert engine.ring.tail == engine.ring.capacity // 4


def test_slot_that_is_claimed_again_has_nothing_of_its_last_owner_s(engine: Engine) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, 1000))
    engine.split()
    slot.missed(80)
    busy(slot, True)
    kept = ("high_water", "overrun_bytes", "busy_since_ns")
    assert all(engine.ring.slot_state(slot.index)[key] for key in kept)
    slot.leave()
    engine.split()

    again = engine.claim(0)

    state = engine.ring.slot_state(again.index)
    assert (again.index, state["flags"], state["lossless"]) == (slot.index, 0, False)
    assert {key: state[key] for key in kept} == dict.fromkeys(kept, 0)


def test_successor_goes_on_at_the_slot_s_cursor(engine: Engine) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin()
    engine.feed(counter(0, 1000))
    engine.split()
    slot.advance(400)

    successor = Slot.adopt(engine.ring, slot.index)

    assert (successor.cursor, successor.lossless) == (400, True)
    assert bytes(successor.view(400, 80)) == counter(50, 10)


def test_slot_that_does_not_exist_is_refused(engine: Engine) -> None:
    with pytest.raises(ValueError, match=f"there are {SLOTS}"):
        Slot.adopt(engine.ring, SLOTS)
    with pytest.raises(ValueError, match=f"there are {SLOTS}"):
        engine.ring.slot_state(SLOTS)


# -- waiting -------------------------------------------------------------------------------------------


def test_wait_returns_at_once_when_the_target_is_there(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    engine.feed(counter(0, 10))
    engine.split()
    assert slot.wait(80, engine.ring.events, LONG_S) == 80


# -- views ---------------------------------------------------------------------------------------------


def _permissions(address: int) -> str:
    """Return how this process has mapped an address, as ``r--s``."""
    for line in Path("/proc/self/maps").read_text().splitlines():
        span, permissions = line.split()[:2]
        low, high = (int(part, 16) for part in span.split("-"))
        if low <= address < high:
            return permissions
    raise AssertionError(f"{address:#x} is not mapped")


def test_attached_data_cannot_be_written(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    attached = Ring.attach(*duplicates(engine.ring))
    view = Slot.adopt(attached, slot.index).view(0, 800)
    words = np.frombuffer(memoryview(view), "<u8")

    assert not attached.writable
    assert memoryview(view).readonly
    assert not words.flags.writeable
    with pytest.raises(ValueError, match="WRITEABLE"):
        words.setflags(write=True)
    with pytest.raises((TypeError, BufferError)):
        (ctypes.c_char * 800).from_buffer(view)
    assert _permissions(words.ctypes.data) == "r--s"
    assert _permissions(words.ctypes.data + attached.capacity) == "r--s"
    attached.close()


def test_view_keeps_memory_mapped_after_the_ring_is_closed(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    attached = Ring.attach(*duplicates(engine.ring))
    words = np.frombuffer(memoryview(Slot.adopt(attached, slot.index).view(0, 800)), "<u8")

    attached.close()
    del attached
    gc.collect()

    assert words.tolist() == list(range(100))


def test_ring_can_be_closed_twice(engine: Engine) -> None:
    other = Ring.attach(*duplicates(engine.ring))
    other.close()
    other.close()
    assert (os.fstat(engine.ring.data_fd).st_size, other.data_fd) == (engine.ring.capacity, -1)


def test_view_counts_who_still_refers_to_it(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    view = slot.view(80, 160)
    assert (view.position, view.nbytes, view.exports) == (80, 160, 0)

    words = np.frombuffer(memoryview(view), "<u8")
    part = words[3:5]
    del words
    assert view.exports == 1
    assert part.tolist() == [13, 14]

    del part
    assert view.exports == 0


def test_view_across_the_seam_is_one_piece(engine: Engine) -> None:
    slot = engine.claim(0)
    engine.begin()
    words = engine.ring.capacity // 8
    for first in (0, words):
        engine.feed(counter(first, words - 100))
        engine.split()
        engine.feed(counter(first + words - 100, 100))
        engine.split()
    seam = engine.ring.capacity
    assert bytes(slot.view(seam - 160, 320)) == counter(words - 20, 40)


@pytest.mark.parametrize(("position", "size"), [(0, 808), (800, 8), (2**64 - 8, 16), (0, 2**40)])
def test_view_of_what_is_not_readable_is_refused(engine: Engine, position: int, size: int) -> None:
    slot = engine.claim()
    engine.begin()
    engine.feed(counter(0, 100))
    engine.split()
    with pytest.raises(ValueError, match="not readable"):
        slot.view(position, size)


def test_ring_made_in_a_folder_is_there_once(tmp_path: Path) -> None:
    folder = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    ring = Ring.create(folder, 1 << 20)
    with pytest.raises(RingError, match="cannot make the ring's files"):
        Ring.create(folder, 1 << 20)
    assert sorted(p.name for p in tmp_path.iterdir()) == ["control", "data", "events"]
    assert {p.stat().st_mode & 0o777 for p in tmp_path.iterdir()} == {0o600}
    os.close(folder)
    ring.close()


@pytest.mark.parametrize("capacity", [4096, (1 << 20) - 4096, (1 << 20) + 8])
def test_ring_of_a_bad_size_is_refused(capacity: int) -> None:
    with pytest.raises(RingError, match="at least 1 MiB"):
        make_ring(capacity)
