"""A control group of its own: a memory limit that kills, or a machine that stands still.

::

    with cgroup("memory") as group:
        group.limit(256 << 20)
        subprocess.run([*group.prefix, "fastcap", ...])

Version 1 hierarchies where the controller has one, else version 2.
"""

from __future__ import annotations

import time
from types import TracebackType

from tools.lifetime import Cleanup, unique_name
from tools.undo import CGROUPS

_FROZEN_S = 10.0
_ENTER = 'echo $$ > "$0"/cgroup.procs && exec "$@"'


class cgroup:  # noqa: N801 - reads like open()
    """A control group; as a context manager nothing of it is left at the end, its processes neither.

    Parameters
    ----------
    controller : str
        "memory" or "freezer".

    Attributes
    ----------
    folder : Path
        Its files.
    """

    def __init__(self, controller: str) -> None:
        self._v1 = (CGROUPS / controller).is_dir()
        self.folder = (CGROUPS / controller if self._v1 else CGROUPS) / unique_name()
        if not self._v1 and controller != "freezer":
            (CGROUPS / "cgroup.subtree_control").write_text(f"+{controller}")
        self._cleanup = Cleanup()
        self._cleanup.add("cgroup", self.folder)
        self.folder.mkdir()

    @property
    def prefix(self) -> tuple[str, ...]:
        """What stands before a command that is to run in the group."""
        return ("sh", "-c", _ENTER, str(self.folder))

    def enter(self, pid: int) -> None:
        """Move a process into the group; its children of later follow."""
        (self.folder / "cgroup.procs").write_text(str(pid))

    def limit(self, most_bytes: int) -> None:
        """Limit the memory of its processes."""
        name = "memory.limit_in_bytes" if self._v1 else "memory.max"
        (self.folder / name).write_text(str(most_bytes))

    @property
    def oom_kills(self) -> int:
        """How many of its processes were killed for want of memory."""
        text = (self.folder / ("memory.oom_control" if self._v1 else "memory.events")).read_text()
        return next(int(line.split()[1]) for line in text.splitlines() if line.startswith("oom_kill "))

    def freeze(self) -> None:
        """Let its processes stand still; returns when all do."""
        if self._v1:
            self._settle("freezer.state", "FROZEN", "freezer.state", "FROZEN")
        else:
            self._settle("cgroup.freeze", "1", "cgroup.events", "frozen 1")

    def thaw(self) -> None:
        """End `freeze`."""
        if self._v1:
            self._settle("freezer.state", "THAWED", "freezer.state", "THAWED")
        else:
            self._settle("cgroup.freeze", "0", "cgroup.events", "frozen 0")

    def _settle(self, order: str, value: str, state: str, wanted: str) -> None:
        until = time.monotonic() + _FROZEN_S
        while True:
            (self.folder / order).write_text(value)  # again: a fork meanwhile may have got away
            if wanted in (self.folder / state).read_text():
                return
            if time.monotonic() > until:
                raise RuntimeError(f"control group {self.folder} is not '{wanted}' within {_FROZEN_S} s")

    def close(self) -> None:
        """Thaw it, kill its processes, remove it. Calling again does nothing."""
        self._cleanup.close()

    def __enter__(self) -> cgroup:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
