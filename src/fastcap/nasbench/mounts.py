"""Which file system a directory is on, and which of its mount options hurt a capture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fastcap.nasbench.model import Mount

_NFS = ("nfs", "nfs4")
_CIFS = ("cifs", "smb3", "smbfs")


def mount_of(fd: int) -> tuple[Mount | None, str | None]:
    """Return the mount that an open directory is on, and the automounter's point above it, if there is one.

    Asks the kernel's tables only: it does not block on a server that is away.
    """
    info = Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines()
    number = next((line.split()[1] for line in info if line.startswith("mnt_id:")), None)
    found: Mount | None = None
    automounts = []
    for fields in _table():
        mount = _mount(fields)
        if fields[0] == number:
            found = mount
        if mount.file_system == "autofs":
            automounts.append(mount.point)
    if found is None:
        return None, None
    path = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), "")
    above = [point for point in automounts if path.startswith(os.path.join(point, ""))]
    return found, max(above, key=len, default=None)


def _table() -> Iterator[list[str]]:
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        yield line.decode("utf-8", "surrogateescape").split(" ")


def _mount(fields: list[str]) -> Mount:
    """Read a line of mountinfo: see proc_pid_mountinfo(5)."""
    end = fields.index("-", 6)
    file_system, source, of_super = fields[end + 1], fields[end + 2], fields[end + 3]
    options = dict.fromkeys([*fields[5].split(","), *of_super.split(",")])
    return Mount(file_system, _plain(source), _plain(fields[4]), list(options))


def _plain(text: str) -> str:
    """Return a name with the table's octal escapes undone."""
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def warnings_of(mount: Mount | None, automount: str | None) -> list[str]:
    """Return in words what about a mount hurts a capture, and what to do."""
    if mount is None:
        return []
    options, kind = set(mount.options), mount.file_system
    found = []
    if kind in _NFS and options & {"soft", "softerr"}:
        found.append(
            "soft NFS mount: after its time-out a write fails instead of waiting, and what the client held may be "
            "lost; mount it with 'hard'"
        )
    if kind in _CIFS and "hard" not in options:
        found.append("soft CIFS mount: a server that is away fails writes; mount it with 'hard'")
    if "sync" in options:
        found.append(
            "mounted with 'sync': every write waits for the disk; mount it with 'async', fastcap fsyncs"
        )
    if kind in _NFS and "noac" in options:
        found.append("mounted with 'noac': NFS then writes synchronously; mount it without")
    if kind in _NFS and options & {"proto=udp", "udp"}:
        found.append("NFS over UDP: lost packets stall it for seconds; mount it with 'proto=tcp'")
    if automount is not None:
        found.append(
            f"automounted below {automount}: the first access after idling waits for the mount; use --check-first"
        )
    if kind in ("tmpfs", "ramfs"):
        found.append(f"{kind} is memory, not a disk: this tells nothing about a network disk")
    return found
