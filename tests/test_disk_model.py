"""A disk described by numbers: when its calls return, by the model and behind FUSE."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import pytest
from support import requires_fuse

from tools.diskmodel import DiskClock, DiskModel

MB, MIB = 10**6, 1 << 20


def clock(**numbers: Any) -> DiskClock:
    return DiskClock(DiskModel(**{"write_s": 0.0, "fsync_s": 0.0, **numbers}))


def test_write_takes_its_bytes_time_and_its_own() -> None:
    disk = clock(bytes_per_s=10 * MB, write_s=0.5)
    assert disk.done_s(0.0, "write", 10 * MB) == pytest.approx(1.5)
    assert disk.done_s(1.0, "write", 10 * MB) == pytest.approx(3.0), "one call after the other"


def test_cache_takes_at_once_what_it_has_room_for_and_empties_meanwhile() -> None:
    disk = clock(bytes_per_s=10 * MB, cache_bytes=30 * MB)
    assert disk.done_s(0.0, "write", 30 * MB) == 0.0
    assert disk.done_s(0.0, "write", 10 * MB) == pytest.approx(1.0)
    assert disk.done_s(2.0, "write", 10 * MB) == pytest.approx(2.0)


@pytest.mark.parametrize(("honest", "done_s"), [(True, 4.0), (False, 1.0)])
def test_fsync_waits_for_an_honest_cache(honest: bool, done_s: float) -> None:
    disk = clock(bytes_per_s=10 * MB, cache_bytes=100 * MB, honest=honest)
    disk.done_s(0.0, "write", 40 * MB)
    assert disk.done_s(1.0, "fsync", 0) == pytest.approx(done_s)


def test_nothing_is_done_in_a_stall_nor_does_the_cache_empty() -> None:
    disk = clock(bytes_per_s=10 * MB, cache_bytes=20 * MB, stalls=[(1.0, 5.0)])
    disk.done_s(0.0, "write", 20 * MB)
    assert disk.done_s(2.0, "write", 10 * MB) == pytest.approx(6.0)
    assert disk.done_s(6.0, "fsync", 0) == pytest.approx(8.0)


@requires_fuse
def test_disk_behind_fuse_takes_the_time_of_its_model(faultfs: Callable[..., Any]) -> None:
    model = DiskModel(
        bytes_per_s=40 * MB, fsync_s=0.2, create_s=0.3, stalls=[(0.3, 0.5)], free_bytes=40 * MIB
    )
    fs = faultfs(disk=model)
    times = [time.monotonic()]
    with open(fs.mount / "file", "wb", buffering=0) as file:
        times.append(time.monotonic())
        for _ in range(16):
            file.write(bytes(MIB))
        times.append(time.monotonic())
        os.fsync(file)
        times.append(time.monotonic())
        created_s, written_s, synced_s = (b - a for a, b in pairwise(times))
        assert created_s >= 0.3
        assert written_s >= 16 * MIB / (40 * MB) + 0.5 - 1e-3, "the stall is among it"
        assert synced_s >= 0.2
        assert os.statvfs(fs.mount).f_bavail * os.statvfs(fs.mount).f_frsize == 24 * MIB
        for _ in range(24):
            file.write(bytes(MIB))
        with pytest.raises(OSError, match=os.strerror(errno.ENOSPC)):
            file.write(b"x")
    assert (fs.backing / "file").stat().st_size == 40 * MIB
