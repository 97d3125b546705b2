"""A program as the target of an axis: run once per value."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence

from fastcap._messages import shown
from fastcap.devices.setting import within
from fastcap.errors import ConfigError, DeviceError

__all__ = ["Command"]


class Command:
    r"""Run a program for every value; its exit status 0 says that the value is set. Nothing is read back.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments. Without ``stdin``, ``{}`` in them stands for the value.
    stdin : str, optional
        What the program reads, with ``{}`` for the value: ``"FREQUENCY 0 {} MHz\n."``.
    timeout_s : float
        How long it may run; then it is killed.

    Raises
    ------
    ConfigError
        ``argv`` is no list, or there is no place for the value.
    """

    def __init__(
        self,
        argv: Sequence[str | os.PathLike[str]],
        stdin: str | None = None,
        *,
        name: str | None = None,
        unit: str = "",
        limits: tuple[float, float] | None = None,
        timeout_s: float = 30.0,
    ) -> None:
        if isinstance(argv, str) or not argv:
            raise ConfigError(
                f"command {shown(argv)} is no list; give the program and its arguments one by one"
            )
        self._argv = [os.fspath(arg) for arg in argv]
        self._stdin = stdin
        self.name, self.unit, self.limits = name or os.path.basename(self._argv[0]), unit, limits
        self._timeout_s = timeout_s
        try:
            varies = self._made(1.5) != self._made(2.5)
        except (ValueError, IndexError, KeyError, AttributeError) as error:
            raise ConfigError(
                f"command {self.name}: its text cannot be filled in ({error}); write {{}} for the value"
            ) from error
        if not varies:
            raise ConfigError(
                f"command {self.name} has no place for the value; write {{}} in stdin or an argument"
            )

    def check(self, value: object) -> float:
        """Return ``value`` as a float if it could be set; nothing is run.

        Raises
        ------
        ValueError
            It is no finite number, or beyond the limits.
        """
        return within(value, self.name, self.unit, self.limits)

    def set(self, value: float) -> None:
        """Run the program for ``value``; blocks until it has ended.

        Raises
        ------
        ValueError
            The value cannot be set. Nothing was run.
        DeviceError
            The program cannot be run, failed or ran too long; the end of what it said.
        """
        self.check(value)
        argv, text = self._made(value)
        try:
            done = subprocess.run(
                argv,
                input=text.encode() if text is not None else None,
                stdin=subprocess.DEVNULL if text is None else None,
                capture_output=True,
                timeout=self._timeout_s,
                check=False,
            )
        except subprocess.TimeoutExpired as error:
            raise DeviceError(
                f"command {self.name} for {value:g} ran longer than {self._timeout_s:g} s and was killed; "
                "see why, or give a longer timeout_s"
            ) from error
        except OSError as error:
            raise DeviceError(f"command {shown(argv[0])} cannot be run: {error.strerror}") from error
        if done.returncode:
            said = (done.stderr or done.stdout).decode(errors="replace").strip()[-300:]
            raise DeviceError(
                f"command {self.name} for {value:g} ended with status {done.returncode}: {said or 'it said nothing'}"
            )

    def _made(self, value: float) -> tuple[list[str], str | None]:
        if self._stdin is not None:
            return self._argv, self._stdin.format(value)
        return [self._argv[0], *(arg.format(value) for arg in self._argv[1:])], None
