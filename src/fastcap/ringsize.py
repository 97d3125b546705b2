"""How large a ring may be on this machine, and what it bears.

Default: the least of 1 GiB, a quarter of free /dev/shm, a quarter of available memory; the memory limit of a
control group counts, for beyond it an allocation is not refused but ends in a kill.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fastcap.errors import RingError

SHM = "/dev/shm"
MOST_BYTES = 1 << 30
LEAST_BYTES = 1 << 20
SYNCS = 4  # a ring holds at least this many fsync distances
PROCESSES_BYTES = 128 << 20  # of a capture, besides the ring
_PAGE = 4096


def free_shm_bytes(shm: str = SHM) -> int:
    """Return the bytes free on the shared-memory file system."""
    fs = os.statvfs(shm)
    return fs.f_bavail * fs.f_frsize


def _meminfo_available() -> int:
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return MOST_BYTES


def _own_groups(root: str, own: str) -> Iterator[tuple[Path, tuple[str, str, str]]]:
    """Yield the folders of this process's control groups, and where each keeps limit, use and page cache."""
    for line in Path(own).read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        if not controllers:
            yield Path(root, path.lstrip("/")), ("memory.max", "memory.current", "inactive_file")
        elif "memory" in controllers.split(","):
            names = ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file")
            yield Path(root, "memory", path.lstrip("/")), names


def _left_of(folder: Path, limit_file: str, used_file: str, cache_key: str) -> int | None:
    """Return what one control group may still use; its cache of files is given up for that. None: no limit."""
    try:
        limit = (folder / limit_file).read_text().strip()
        used = int((folder / used_file).read_text())
        stat = dict(line.split() for line in (folder / "memory.stat").read_text().splitlines())
    except (OSError, ValueError):
        return None
    return None if limit == "max" else max(0, int(limit) - used + int(stat.get(cache_key, 0)))


def _cgroup_left(root: str = "/sys/fs/cgroup", own: str = "/proc/self/cgroup") -> int | None:
    """Return what this process's control groups may still use, the tightest of all ancestors; None: no limit."""
    found: list[int] = []
    try:
        for folder, names in _own_groups(root, own):
            lineage = [at for at in (folder, *folder.parents) if at.is_relative_to(root)]
            found += [left for at in lineage if (left := _left_of(at, *names)) is not None]
    except (OSError, ValueError):
        return None
    return min(found, default=None)


def available_bytes() -> int:
    """Return the memory that may be used: the machine's, or the control group's if that is less."""
    left = _cgroup_left()
    machine = _meminfo_available()
    return machine if left is None else min(machine, left)


def _for_ring() -> int:
    """Return the memory that a ring may take: in a control group, what its processes leave."""
    left = _cgroup_left()
    machine = _meminfo_available()
    return machine if left is None else min(machine, max(0, left - PROCESSES_BYTES))


def default_ring_bytes(shm: str = SHM) -> int:
    """Return the ring's size when nobody names one; a multiple of 4096."""
    size = min(MOST_BYTES, free_shm_bytes(shm) // 4, available_bytes() // 4, _for_ring())
    return size // _PAGE * _PAGE


def checked_ring_bytes(wanted: int | None, *, fsync_every: int | None = None, shm: str = SHM) -> int:
    """Return the ring's size, or say why it cannot be had.

    Raises
    ------
    RingError
        Too small to be of use, or larger than what is free; the message says what is free.
    """
    size = default_ring_bytes(shm) if wanted is None else wanted // _PAGE * _PAGE
    free, memory = free_shm_bytes(shm), _for_ring()
    if size < LEAST_BYTES:
        raise RingError(
            f"ring of {wanted} bytes is below {LEAST_BYTES}; use a larger --ring"
            if wanted is not None
            else f"ring of {size} bytes is below {LEAST_BYTES}: {shm} has {free} bytes free, memory {memory}; "
            f"free some, or mount a larger {shm}"
        )
    if size > min(free, memory):
        raise RingError(
            f"ring of {size} bytes does not fit: {shm} has {free} bytes free, memory {memory} that a ring may take; "
            "use a smaller --ring"
        )
    if fsync_every is not None and size < SYNCS * fsync_every:
        raise RingError(
            f"ring of {size} bytes is smaller than {SYNCS} times the fsync distance of {fsync_every} bytes; "
            f"use --ring {SYNCS * fsync_every} or a smaller --fsync-every"
        )
    return size


def default_fsync_bytes(capacity: int, bytes_per_s: float | None) -> int:
    """Return the distance between fsyncs: a second of the stream, within 1 MiB and an eighth of the ring."""
    second = int(bytes_per_s) if bytes_per_s else 16 << 20
    return max(LEAST_BYTES // 8, min(capacity // 8, max(1 << 20, second)))


def survives_s(capacity: int, fsync_every: int, bytes_per_s: float) -> float:
    """Return how long a stall of the destination the ring bears, seconds.

    From ``C >= R*S + D + R*T + G`` (docs/ring.md) with an fsync that itself takes the stall (T counted in S)
    and G, the guard, given up when memory is needed: what remains is ``(C - D) / R``.
    """
    return max(0.0, (capacity - fsync_every) / bytes_per_s)
