"""Writing past the page cache (O_DIRECT) beside writing through it: ext4, FUSE and sshfs, the writer's way.

Blocks of 4 MiB, an fsync every 64 MiB, from memory aligned to pages, as ring memory is.
"""

from __future__ import annotations

import contextlib
import errno
import mmap
import os
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from setting import MIB, Figure, figure

BLOCK, EVERY = 4 * MIB, 64 * MIB


def direct(mib: int, rounds: int) -> Iterator[Figure]:
    """Yield rate and CPU time of this process for each file system, through the cache and past it, in turn."""
    for name, disk in _disks(mib):
        with disk as mount:
            taken: dict[str, list[tuple[float, float]]] = {"cached": [], "direct": []}
            for _ in range(rounds):
                for how, found in taken.items():
                    with contextlib.suppress(_Refused):
                        found.append(_write(Path(mount) / "file", mib * MIB, past_cache=how == "direct"))
        for how, found in taken.items():
            if not found:
                yield figure(f"direct: {name}, {how}", "refused", "")
                continue
            rate = mib * MIB / statistics.median(wall for wall, _ in found) / 1e6
            cpu = statistics.median(cpu for _, cpu in found) / (mib * MIB / 1e9)
            yield figure(f"direct: {name}, {how}", round(rate), "MB/s", detail=f"CPU {cpu:.2f} s a GB")


class _Refused(Exception):  # noqa: N818 - an answer, not an error
    """The file system does not do O_DIRECT."""


def _write(path: Path, total: int, *, past_cache: bool) -> tuple[float, float]:
    """Return the wall and CPU seconds of writing ``total`` bytes durably."""
    block = mmap.mmap(-1, BLOCK)
    block.write(os.urandom(BLOCK))
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | (os.O_DIRECT if past_cache else 0))
    except OSError as e:
        if e.errno == errno.EINVAL:
            raise _Refused from e
        raise
    start_s, cpu_s = time.monotonic(), time.process_time()
    with memoryview(block) as view:
        for at in range(0, total, BLOCK):
            done = 0
            while done < BLOCK:
                done += os.pwrite(fd, view[done:], at + done)
            if (at + BLOCK) % EVERY == 0:
                os.fsync(fd)
    os.fsync(fd)
    took = time.monotonic() - start_s, time.process_time() - cpu_s
    os.close(fd)
    path.unlink()
    return took


def _disks(mib: int) -> Iterator[tuple[str, AbstractContextManager[Any]]]:
    """Yield file systems to try, each ready to be mounted; needs root, FUSE and sshfs."""
    sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
    from tools.faultfs import faultfs
    from tools.loopdisk import loopdisk
    from tools.netdisk import netdisk

    @contextlib.contextmanager
    def mounted(make: Any) -> Iterator[Path]:
        with tempfile.TemporaryDirectory(prefix="fastcap-bench-") as folder, make(Path(folder)) as disk:
            yield disk.mount

    def fuse(folder: Path) -> Any:
        for name in ("backing", "mount"):
            (folder / name).mkdir()
        return faultfs(folder / "backing", folder / "mount")

    yield "ext4", mounted(lambda folder: loopdisk(folder, f"{2 * mib}MiB"))
    yield "FUSE", mounted(fuse)
    yield "sshfs", mounted(netdisk)
