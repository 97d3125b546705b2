"""Finding processes: by descent and by command line, never by name alone."""

from __future__ import annotations

from pathlib import Path


def command_line(pid: int) -> str:
    """Return a process's arguments, joined by spaces; empty for a zombie or one that is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode(errors="replace").strip()
    except (FileNotFoundError, ProcessLookupError):
        return ""


def _parents() -> dict[int, int]:
    """Return the parent of every process that is no zombie."""
    found = {}
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit():
            continue
        try:
            stat = (entry / "stat").read_bytes()
        except (FileNotFoundError, ProcessLookupError):
            continue  # ended meanwhile
        state, parent = stat[stat.rindex(b")") + 2 :].split()[:2]
        if state not in (b"Z", b"X"):
            found[int(entry.name)] = int(parent)
    return found


def children_of(pid: int, having: str = "", *, deep: bool = True) -> list[int]:
    """Return the living children of a process whose command line contains ``having``.

    Parameters
    ----------
    having : str
        For a worker, say ``fastcap.workers.reader``.
    deep : bool
        Grandchildren and their children, too.
    """
    parents = _parents()
    found, generation = [], [pid]
    while generation:
        generation = sorted(child for child, parent in parents.items() if parent in generation)
        found += generation
        if not deep:
            break
    return [child for child in found if having in command_line(child)]


def is_running(pid: int) -> bool:
    """Tell whether a process exists and is no zombie."""
    return pid in _parents()
