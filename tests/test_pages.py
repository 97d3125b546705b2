"""Memory of large results: used again, but never while anybody holds it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from fastcap._pages import KEPT_BYTES, Pages
from fastcap.words import radius


@pytest.fixture(autouse=True)
def _nothing_kept() -> None:
    """Let one region take the place of all that are kept; no test asks for as much."""
    pages = Pages(KEPT_BYTES)
    del pages


def address_of(pages: Pages) -> int:
    return int(np.frombuffer(memoryview(pages), np.uint8).ctypes.data)


def resident_bytes(address: int) -> int:
    """Return how much of the mapping at an address is in memory and in use; -1 if there is no mapping."""
    with open("/proc/self/smaps") as file:
        inside, found = False, -1
        for line in file:
            head = line.split()[0]
            if "-" in head:
                begin, _, end = head.partition("-")
                inside = int(begin, 16) <= address < int(end, 16)
            elif inside and head == "Rss:":
                found = int(line.split()[1]) << 10
            elif inside and head == "LazyFree:":
                return found - (int(line.split()[1]) << 10)
    return found


def test_memory_of_a_large_result_is_used_again_when_nobody_holds_it():
    words = np.arange(1 << 20, dtype=np.uint64)
    first = radius(words)
    address, part = first.ctypes.data, first[5:10]

    del first
    second = radius(words[::-1])
    assert second.ctypes.data != address
    np.testing.assert_array_equal(part, np.arange(5.0, 10.0))

    del part
    assert radius(words).ctypes.data == address


@settings(max_examples=20, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 5), st.integers(1 << 19, 12 << 20)), max_size=20))
def test_results_that_are_held_never_share_memory(actions):
    held: dict[int, tuple[np.ndarray, int]] = {}
    words = np.zeros(12 << 20, np.uint64)
    for value, (key, n) in enumerate(actions):
        held.pop(key, None)
        out = radius(words[:n])
        assert out.size == n
        assert not out[:: 1 << 12].any()
        out[:: 1 << 12] = value
        held[key] = out, value
        assert all((kept[:: 1 << 12] == mark).all() for kept, mark in held.values())


def test_memory_that_is_kept_is_the_kernel_s_to_take():
    pages = Pages(8 << 20)
    np.frombuffer(memoryview(pages), np.uint8)[:] = 1
    address = address_of(pages)
    assert resident_bytes(address) >= 8 << 20

    del pages
    assert resident_bytes(address) < 8 << 20


def test_no_more_is_kept_than_the_limit():
    pages = Pages(KEPT_BYTES + 1)
    np.frombuffer(memoryview(pages), np.uint8)[:: 2 << 20] = 1
    address = address_of(pages)
    del pages
    assert resident_bytes(address) == -1

    many = [Pages(KEPT_BYTES // 4) for _ in range(6)]
    addresses = [address_of(p) for p in many]
    while many:
        del many[0]
    again = [Pages(KEPT_BYTES // 4) for _ in range(4)]
    assert {address_of(p) for p in again} == set(addresses[2:])


def test_small_results_do_not_take_large_memory():
    large = Pages(64 << 20)
    address = address_of(large)
    del large

    assert address_of(Pages(8 << 20)) != address
    assert address_of(Pages(60 << 20)) == address


@pytest.mark.parametrize("nbytes", [0, -1])
def test_no_memory_is_refused(nbytes):
    with pytest.raises(ValueError, match="nbytes is"):
        Pages(nbytes)


def test_more_than_the_kernel_gives_is_a_memory_error():
    with pytest.raises(MemoryError, match="a result of"):
        Pages(1 << 60)
