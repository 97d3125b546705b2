"""What a test needs of the machine: it is skipped without, or fails where FASTCAP_NO_SKIP=1 forbids skips."""

from __future__ import annotations

import functools
import importlib.util
import os
import shutil
import subprocess

import pytest

from tools.netdisk import sftp_server
from tools.undo import CGROUPS

requires_root = pytest.mark.root
requires_fuse = pytest.mark.fuse
requires_netns = pytest.mark.netns


@functools.cache
def unmet(name: str) -> str | None:
    """Return why the machine lacks it: ``root``, ``fuse``, ``netns``, ``loop``, ``blkio``, ``cgroup``; or None."""
    if name == "fuse":
        return _no_fuse()
    if os.geteuid():
        return "needs root; run as root"
    if name == "netns":
        return (
            _no_device()
            or _missing("ip", "tc", "nsenter", "sshfs")
            or _no_sftp()
            or _fails("unshare", "--net", "true")
        )
    if name == "loop":
        return _missing("losetup", "mkfs.ext4") or _fails("losetup", "--find")
    if name == "blkio" and not os.path.isdir("/sys/fs/cgroup/blkio"):
        return "needs a version 1 blkio control group; mount one at /sys/fs/cgroup/blkio"
    if name == "cgroup":
        return _no_cgroup()
    return None


def need(name: str) -> None:
    """Skip the test, or fail it under FASTCAP_NO_SKIP=1, if the machine has not what it needs."""
    reason = unmet(name)
    if reason is not None:
        (pytest.fail if os.environ.get("FASTCAP_NO_SKIP") == "1" else pytest.skip)(reason)


def _no_fuse() -> str | None:
    if importlib.util.find_spec("mfusepy") is None:
        return "needs FUSE: pip install mfusepy"
    return _no_device() or _missing("fusermount3")


def _no_device() -> str | None:
    usable = os.access("/dev/fuse", os.R_OK | os.W_OK)
    return None if usable else "needs FUSE: /dev/fuse is not readable and writable"


def _no_sftp() -> str | None:
    return None if sftp_server() else "needs sftp-server; install openssh-sftp-server"


def _no_cgroup() -> str | None:
    v1 = all((CGROUPS / name).is_dir() for name in ("memory", "freezer"))
    there = v1 or (CGROUPS / "cgroup.subtree_control").exists()
    return (
        None if there and os.access(CGROUPS, os.W_OK) else f"needs control groups: {CGROUPS} is not writable"
    )


def _missing(*programs: str) -> str | None:
    missing = [p for p in programs if shutil.which(p) is None]
    return (
        f"needs {', '.join(missing)}; install fuse3, sshfs, iproute2, util-linux, e2fsprogs"
        if missing
        else None
    )


def _fails(*argv: str) -> str | None:
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    return f"{' '.join(argv)} does not work here: {done.stderr.strip()}" if done.returncode else None
