"""Which file system a directory is on, and which of its mount options hurt a capture."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from fastcap.nasbench.model import Mount

_NFS = ("nfs", "nfs4")
_CIFS = ("cifs", "smb3", "smbfs")
_BLOCK = 1 << 20
_LEAST_WSIZE = 1 << 16
_LEAST_TIMEO_DS = 100


def mount_of(fd: int) -> tuple[Mount | None, Mount | None]:
    """Return the mount that an open directory is on, and the automounter's above it, if there is one.

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
            automounts.append(mount)
    if found is None:
        return None, None
    path = os.path.join(os.readlink(f"/proc/self/fd/{fd}"), "")
    above = [mount for mount in automounts if path.startswith(os.path.join(mount.point, ""))]
    return found, max(above, key=lambda mount: len(mount.point), default=None)


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


def warnings_of(mount: Mount | None, automount: Mount | None) -> list[str]:
    """Return in words what about a mount hurts a capture, and what to do."""
    if mount is None:
        return []
    options = _options(mount)
    found: list[str] = []
    if mount.file_system in _NFS:
        found += _nfs(options)
    if mount.file_system in _CIFS:
        found += _cifs(options)
    if "sync" in options:
        found.append(
            "mounted with 'sync': every write waits for the disk; mount it with 'async', fastcap fsyncs"
        )
    wsize = _number(options, "wsize")
    if wsize is not None and wsize < _LEAST_WSIZE:
        found.append(
            f"wsize={wsize}: a block is sent in {_BLOCK // wsize} pieces; leave it out, or set 1048576"
        )
    if automount is not None:
        idle_s = _number(_options(automount), "timeout")
        after = f" after {idle_s} s" if idle_s else ""
        found.append(
            f"automounted below {automount.point}: unmounted when idle{after}, and the first access then waits for the "
            "mount; use --check-first"
        )
    if mount.file_system in ("tmpfs", "ramfs"):
        found.append(f"{mount.file_system} is memory, not a disk: this tells nothing about a network disk")
    return found


def _options(mount: Mount) -> dict[str, str]:
    pairs = (option.partition("=") for option in mount.options)
    return {name: value for name, _, value in pairs}


def _number(options: dict[str, str], name: str) -> int | None:
    value = options.get(name, "")
    return int(value) if value.isascii() and value.isdigit() else None


def _nfs(options: dict[str, str]) -> Iterator[str]:
    timeo_ds, retrans = _number(options, "timeo"), _number(options, "retrans")
    if options.keys() & {"soft", "softerr"}:
        after = "its time-out"
        if (
            timeo_ds is not None and retrans is not None
        ):  # nfs(5): tenths of a second, and so many times again
            after = f"{timeo_ds * (retrans + 1) / 10:g} s (timeo={timeo_ds}, retrans={retrans})"
        yield (
            f"soft NFS mount: after {after} a write fails instead of waiting, and what the client held may be lost; "
            "mount it with 'hard'"
        )
    elif timeo_ds is not None and timeo_ds < _LEAST_TIMEO_DS:
        yield (
            f"timeo={timeo_ds}: a server that is slow for {timeo_ds / 10:g} s gets every request again; leave it out "
            "(600 over TCP)"
        )
    if "noac" in options:
        yield "mounted with 'noac': NFS then writes synchronously; mount it without"
    if "udp" in options or options.get("proto", "").startswith("udp"):
        yield "NFS over UDP: lost packets stall it for seconds; mount it with 'proto=tcp'"


def _cifs(options: dict[str, str]) -> Iterator[str]:
    if "hard" not in options:
        yield "soft CIFS mount: a server that is away fails writes; mount it with 'hard'"
    if options.get("cache") == "none" or "forcedirectio" in options:
        yield "mounted with 'cache=none': every write waits for the server; mount it with 'cache=strict'"
