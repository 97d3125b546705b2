"""The arguments of ``fastcap tee``: tee(1)'s own, understood as GNU's getopt does, and ``--ring``."""

from __future__ import annotations

import getopt
from collections.abc import Sequence

MODES = ("warn", "warn-nopipe", "exit", "exit-nopipe")
_LONG = ["append", "ignore-interrupts", "output-error=", "ring=", "help", "version", "debug"]

HELP = """\
Usage: SOURCE | fastcap tee [OPTION]... [FILE]... | NEXT
Copy standard input to standard output and to each FILE; no output waits for another until the ring is full.

  -a, --append              append to the FILEs, do not overwrite
  -i, --ignore-interrupts   ignore interrupt signals
  -p                        go on when a pipe breaks: as --output-error=warn-nopipe
      --output-error[=MODE] what to do when an output fails: warn, warn-nopipe (without MODE), exit,
                            exit-nopipe; default: a broken pipe ends the program, the rest is diagnosed
      --ring SIZE           memory between input and outputs; default: 256MiB, less where less is free
      --help                show this and exit
      --version             show the version and exit

Exit status: 0, or 1 if anything failed; FILEs that could be written are whole.
Example:  teststream -U /dev/usbhybrid0 -s 4 -l -b | fastcap tee /mnt/nas/run.bin | ./monitor"""


class UsageError(Exception):
    """The arguments make no sense."""


class TeeOptions:
    """What was asked for. ``mode`` is None by default: a broken pipe ends the program."""

    def __init__(self, args: Sequence[str]) -> None:
        self.append = self.ignore_interrupts = self.show_help = self.show_version = False
        self.mode: str | None = None
        self.ring: str | None = None
        try:
            pairs, self.files = getopt.gnu_getopt(_with_optional_mode(args), "aip", _LONG)
        except getopt.GetoptError as error:
            raise UsageError(str(error)) from error
        for name, value in pairs:
            self._take(name, value)

    def _take(self, name: str, value: str) -> None:
        if name in ("-a", "--append"):
            self.append = True
        elif name in ("-i", "--ignore-interrupts"):
            self.ignore_interrupts = True
        elif name == "-p":
            self.mode = "warn-nopipe"
        elif name == "--output-error":
            self.mode = _mode(value)
        elif name == "--ring":
            self.ring = value
        elif name == "--help":
            self.show_help = True
        elif name == "--version":
            self.show_version = True


def _with_optional_mode(args: Sequence[str]) -> list[str]:
    """Complete ``--output-error`` without a mode, however abbreviated: the next argument is none."""
    out = list(args)
    for i, arg in enumerate(args):
        if arg == "--":
            break
        if len(arg) > 2 and "--output-error".startswith(arg):
            out[i] = "--output-error=warn-nopipe"
    return out


def _mode(value: str) -> str:
    abbreviated = [mode for mode in MODES if value and mode.startswith(value)]
    found = [value] if value in MODES else abbreviated
    if len(found) != 1:
        problem = "ambiguous" if found else "invalid"
        raise UsageError(f"{problem} argument '{value}' for '--output-error'; valid are {', '.join(MODES)}")
    return found[0]
