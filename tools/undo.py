"""What injectors make, seen in the kernel's tables and undone: mounts, namespaces, loop devices, control groups.

Each step of `STEPS` takes text and may be done twice: what is gone already is no error.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import os
import select
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

FITHAW = 0xC0045878
NETNS = Path("/run/netns")
CGROUPS = Path("/sys/fs/cgroup")
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
_END_S = 10
_KILL_BIT = 1 << 8


def run(*argv: str | Path) -> str:
    """Run a command to its end and return its standard output.

    Raises
    ------
    RuntimeError
        It failed; its standard error is in the message.
    """
    done = subprocess.run([str(a) for a in argv], capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(map(str, argv))}: exit {done.returncode}: {done.stderr.strip()}")
    return done.stdout


def start_ticks(pid: int) -> int:
    """Return when a process began, in clock ticks since boot: with the pid, its identity."""
    stat = Path(f"/proc/{pid}/stat").read_bytes()
    return int(stat[stat.rindex(b")") :].split()[20])


def mounts() -> list[tuple[str, str]]:
    """Return (mount point, source) of every mount."""
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        left, right = line.split(" - ", 1)
        found.append((_unescape(left.split()[4]), _unescape(right.split()[1])))
    return found


def _unescape(text: str) -> str:
    return text.encode().decode("unicode_escape").encode("latin-1").decode(errors="surrogateescape")


def is_dying(pid: int) -> bool:
    """Tell whether a process or thread is gone or being killed, perhaps still asleep in a stall."""
    try:
        status = dict(line.split(":\t", 1) for line in Path(f"/proc/{pid}/status").read_text().splitlines())
    except (FileNotFoundError, ProcessLookupError):
        return True
    pending = int(status["SigPnd"], 16) | int(status["ShdPnd"], 16)
    return status["State"][0] in "ZX" or bool(pending & _KILL_BIT)


def end_process(pid: str, ticks: str) -> None:
    """SIGKILL the process that had this pid at this start time, and wait until it is gone."""
    try:
        pidfd = os.pidfd_open(int(pid))
    except ProcessLookupError:
        return
    try:
        if start_ticks(int(pid)) != int(ticks):
            return  # somebody else's by now
        signal.pidfd_send_signal(pidfd, signal.SIGKILL)
    except (ProcessLookupError, FileNotFoundError):
        return
    else:
        if not select.select([pidfd], [], [], _END_S)[0]:
            raise RuntimeError(f"process {pid} does not end within {_END_S} s of SIGKILL")
    finally:
        os.close(pidfd)


def unmount(point: str) -> None:
    """Unmount, lazily if it is busy, without a look at the (perhaps stalled) file system itself."""
    libc = ctypes.CDLL(None, use_errno=True)
    while any(p == point for p, _ in mounts()):
        if os.geteuid():
            run("fusermount3", "-u", "-z", point)
        elif libc.umount2(os.fsencode(point), _UMOUNT_NOFOLLOW) and libc.umount2(
            os.fsencode(point), _UMOUNT_NOFOLLOW | _MNT_DETACH
        ):
            error = ctypes.get_errno()
            raise OSError(error, os.strerror(error), point)


def namespace_pids(name: str) -> list[int]:
    """Return the processes in a named network namespace."""
    inode = os.stat(NETNS / name).st_ino
    found = []
    for link in Path("/proc").glob("[0-9]*/ns/net"):
        try:
            if link.stat().st_ino == inode:
                found.append(int(link.parts[2]))
        except OSError:
            continue  # ended meanwhile
    return found


def remove_namespace(name: str) -> None:
    """Kill every process in a named network namespace and delete it."""
    if not (NETNS / name).exists():
        return
    for pid in namespace_pids(name):
        try:
            end_process(str(pid), str(start_ticks(pid)))
        except FileNotFoundError:
            continue  # ended meanwhile
    run("ip", "netns", "del", name)


def detach_loop(device: str, file: str) -> None:
    """Detach a loop device, if it is still on this file."""
    backing = Path(f"/sys/block/{Path(device).name}/loop/backing_file")
    if backing.exists() and backing.read_text().strip() == file:
        run("losetup", "-d", device)


def thaw(mount: str) -> None:
    """Thaw a frozen file system; one that is not frozen stays as it is."""
    try:
        fd = os.open(mount, os.O_RDONLY | os.O_DIRECTORY)
    except OSError:
        return  # shut down or gone: not frozen
    try:
        fcntl.ioctl(fd, FITHAW, 0)
    except OSError:
        pass  # not frozen
    finally:
        os.close(fd)


def unthrottle(device_number: str) -> None:
    """Remove a block device's write limit."""
    Path("/sys/fs/cgroup/blkio/blkio.throttle.write_bps_device").write_text(f"{device_number} 0")


def remove_cgroup(folder: str) -> None:
    """Thaw a control group, kill what is in it, remove it."""
    group, until = Path(folder), time.monotonic() + _END_S
    for name, value in (("freezer.state", "THAWED"), ("cgroup.freeze", "0")):
        if (group / name).exists():
            (group / name).write_text(value)
    while group.is_dir():
        for pid in (group / "cgroup.procs").read_text().split():
            with contextlib.suppress(FileNotFoundError):  # ended meanwhile
                end_process(pid, str(start_ticks(int(pid))))
        try:
            group.rmdir()
        except OSError:  # a zombie still counts
            if time.monotonic() > until:
                raise


def remove_folder(path: str) -> None:
    """Delete a folder of the injector's own and what is in it."""
    if os.path.isdir(path):
        shutil.rmtree(path)


STEPS: dict[str, Callable[..., None]] = {
    "end": end_process,
    "unmount": unmount,
    "netns": remove_namespace,
    "loop": detach_loop,
    "thaw": thaw,
    "unthrottle": unthrottle,
    "cgroup": remove_cgroup,
    "remove": remove_folder,
}
