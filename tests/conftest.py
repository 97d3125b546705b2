"""Fixtures of the fault injectors, and the check that they leave nothing behind."""

from __future__ import annotations

import os
import shutil
import signal
import sys
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import hypothesis
import pytest

sys.path.insert(0, str(Path(__file__).parents[1]))  # for tools

from support.needs import need

from fastcap.workers.statusfile import PREFIX, directory
from tools import cgroup as _cgroup
from tools import faultfs as _faultfs
from tools import loopdisk as _loopdisk
from tools import netdisk as _netdisk
from tools.isolation import can_isolate, isolate
from tools.lifetime import leftovers

# A busy machine is slow at making inputs, too.
hypothesis.settings.register_profile(
    "busy machines", deadline=None, suppress_health_check=[hypothesis.HealthCheck.too_slow]
)
hypothesis.settings.load_profile("busy machines")

WORKERS_PER_CORE = 3  # many tests wait: for a stall, a process, a disk

# Ignored under nohup and in a shell's background: what the tests start would inherit that.
signal.signal(signal.SIGHUP, signal.SIG_DFL)
signal.signal(signal.SIGINT, signal.default_int_handler)


def pytest_xdist_auto_num_workers() -> int:
    """One process where workers cannot be kept apart."""
    return WORKERS_PER_CORE * len(os.sched_getaffinity(0)) if can_isolate() else 0


def pytest_configure(config: pytest.Config) -> None:
    if hasattr(config, "workerinput"):
        isolate()


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_setup(item: pytest.Item) -> None:
    for name in ("root", "fuse", "netns"):
        if item.get_closest_marker(name):
            need(name)


@pytest.fixture(scope="session", autouse=True)
def nothing_left_behind() -> Iterator[None]:
    yield
    assert not leftovers(), "mounts, namespaces, loop devices or control groups are left"


@pytest.fixture(scope="session", autouse=True)
def sessions_given_up_removed() -> Iterator[None]:
    """Remove what is kept for recovery of sessions of this very process: their tests have looked at it."""
    yield
    for folder in Path(f"/dev/shm/fastcap-{os.getuid()}").glob(f"*-{os.getpid()}-*"):
        shutil.rmtree(folder)
    for note in Path(directory()).glob(f"{PREFIX}{os.getuid()}-*-{os.getpid()}-*.json"):
        note.unlink()


@pytest.fixture
def faultfs(tmp_path: Path) -> Iterator[Callable[..., _faultfs.faultfs]]:
    """Make fault-injecting mounts: ``faultfs()`` of its own directory, or ``faultfs(backing, mount)``."""
    need("fuse")
    with ExitStack() as stack:

        def make(backing: Path | None = None, mount: Path | None = None, **options: Any) -> _faultfs.faultfs:
            backing, mount = backing or tmp_path / "backing", mount or tmp_path / "mnt"
            backing.mkdir(exist_ok=True)
            mount.mkdir(exist_ok=True)
            return stack.enter_context(_faultfs.faultfs(backing, mount, **options))

        yield make


@pytest.fixture
def netdisk(tmp_path: Path) -> Iterator[Callable[..., _netdisk.netdisk]]:
    """Make network disks: ``netdisk()``."""
    need("netns")
    with ExitStack() as stack:

        def make(**options: Any) -> _netdisk.netdisk:
            return stack.enter_context(_netdisk.netdisk(tmp_path, **options))

        yield make


@pytest.fixture
def loopdisk(tmp_path: Path) -> Iterator[Callable[..., _loopdisk.loopdisk]]:
    """Make ext4 disks on loop devices: ``loopdisk("32MiB")``."""
    need("loop")
    with ExitStack() as stack:

        def make(size: str = "32MiB", **options: Any) -> _loopdisk.loopdisk:
            return stack.enter_context(_loopdisk.loopdisk(tmp_path, size, **options))

        yield make


@pytest.fixture
def cgroup() -> Iterator[Callable[[str], _cgroup.cgroup]]:
    """Make control groups: ``cgroup("memory")``, ``cgroup("freezer")``."""
    need("cgroup")
    with ExitStack() as stack:
        yield lambda controller: stack.enter_context(_cgroup.cgroup(controller))
