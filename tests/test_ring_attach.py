"""Attaching to a ring that somebody else made: what does not fit is refused, and nothing leaks."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from pathlib import Path

import pytest
from support.needs import need

from fastcap._ring import MIN_RING_BYTES, Ring
from fastcap.errors import RingError

NAMES = ("control", "data", "events")
MAGIC_AT, LAYOUT_AT, CAPACITY_AT = 0, 8, 16


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder that holds a ring's files."""
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    Ring.create(fd, MIN_RING_BYTES).close()
    os.close(fd)
    return tmp_path


def attach(folder: Path) -> Ring:
    return Ring.attach(*(os.open(folder / name, os.O_RDWR | os.O_CLOEXEC) for name in NAMES))


def open_fds() -> set[str]:
    """Return this process's descriptors, without the one that lists them."""
    return {name for name in os.listdir("/proc/self/fd") if os.path.exists(f"/proc/self/fd/{name}")}


def overwrite(path: Path, at: int, value: bytes) -> None:
    with path.open("r+b") as f:
        f.seek(at)
        f.write(value)


SPOILERS: dict[str, tuple[Callable[[Path], object], str]] = {
    "mode": (lambda d: (d / "control").chmod(0o660), "not private"),
    "readable by others": (lambda d: (d / "data").chmod(0o604), "not private"),
    "links": (lambda d: os.link(d / "data", d / "other"), "2 links"),
    "data too small": (lambda d: os.truncate(d / "data", 4096), "not a ring of this version"),
    "data of no whole page": (
        lambda d: os.truncate(d / "data", MIN_RING_BYTES + 8),
        "not a ring of this version",
    ),
    "data of another size": (lambda d: os.truncate(d / "data", 2 * MIN_RING_BYTES), "capacity"),
    "control too small": (lambda d: os.truncate(d / "control", 4096), "not a ring of this version"),
    "magic": (lambda d: overwrite(d / "control", MAGIC_AT, b"fcpring0"), "magic"),
    "layout": (lambda d: overwrite(d / "control", LAYOUT_AT, struct.pack("<I", 77)), "layout 77"),
    "capacity": (lambda d: overwrite(d / "control", CAPACITY_AT, struct.pack("<Q", 1 << 30)), "capacity"),
}


def test_ring_can_be_attached_as_it_was_made(folder: Path) -> None:
    ring = attach(folder)
    assert (ring.capacity, ring.writable, ring.head) == (MIN_RING_BYTES, False, 0)
    ring.close()


@pytest.mark.parametrize("what", SPOILERS)
def test_ring_that_does_not_fit_is_refused_and_its_descriptors_closed(folder: Path, what: str) -> None:
    spoil, message = SPOILERS[what]
    spoil(folder)
    before = open_fds()

    with pytest.raises(RingError, match=message):
        attach(folder)

    assert open_fds() == before


def test_ring_of_another_user_is_refused(folder: Path) -> None:
    need("root")
    os.chown(folder / "events", 12345, -1)
    with pytest.raises(RingError, match="owner 12345"):
        attach(folder)


def test_file_that_is_none_is_refused(folder: Path) -> None:
    control, data = (os.open(folder / name, os.O_RDWR) for name in NAMES[:2])
    ours, theirs = os.pipe()
    with pytest.raises(RingError, match="'events' is not private"):
        Ring.attach(control, data, ours)
    os.close(theirs)


def test_ring_whose_files_have_no_name_any_more_is_attached(folder: Path) -> None:
    control, data, log = (os.open(folder / name, os.O_RDWR) for name in NAMES)
    for name in NAMES:
        (folder / name).unlink()
    ring = Ring.attach(control, data, log)
    assert ring.capacity == MIN_RING_BYTES
    ring.close()
