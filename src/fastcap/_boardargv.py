"""Commands that run the board's program: how they are told from others, and how their length is set."""

from __future__ import annotations

import os
from collections.abc import Sequence

from fastcap.errors import ConfigError
from fastcap.teststream import FLAG_OF, WORDS, BoardFlags, parse_board_argv

_PROGRAM = "teststream"
_EMULATOR = "fastcap-teststream"
_EMULATOR_MODULE = "fastcap.sim.board"
_PLAIN, _VALUED = "lhbxtA", "UoGFvqs"  # flags without and with a value
_INT64_MAX = 2**63 - 1


def board_part(argv: Sequence[str]) -> tuple[int, BoardFlags] | None:
    """Return where in a command the board's program stands, and its flags; None for other commands.

    It is the board's program if it is called so (``stdbuf -o0 teststream -U …`` counts, but not
    ``cat teststream.bin``), or is given a device (``-U`` and a path).

    Raises
    ------
    ConfigError
        It is called so, and its flags cannot be read.
    """
    if _PROGRAM in os.path.basename(argv[0]):
        return 0, parse_board_argv(argv)
    for at in range(1, len(argv)):
        if argv[at] == _EMULATOR_MODULE or (argv[at] == "sim" and _is_fastcap(argv, at)):
            return at, parse_board_argv(argv[at:])
        if _PROGRAM in os.path.basename(argv[at]) and not _is_value(argv[at - 1]):
            flags = _device_flags(argv[at:])
            if flags is not None:
                return at, flags
    flags = _device_flags(argv)
    return None if flags is None else (0, flags)


def is_emulator(argv: Sequence[str]) -> bool:
    """Tell whether a command runs the emulated board, which has no device that could be missing."""
    named = os.path.basename(os.path.realpath(argv[0])) if os.sep in argv[0] else argv[0]
    if _EMULATOR in (named, os.path.basename(argv[0])) or _EMULATOR_MODULE in argv:
        return True
    return any(arg == "sim" and _is_fastcap(argv, at) for at, arg in enumerate(argv))


def refusal(flags: BoardFlags) -> str | None:
    """Return why the board's program cannot be run with these flags; None if it can."""
    if flags.encoding != "binary":
        return (
            f"{FLAG_OF[flags.encoding]} ({flags.encoding} output) is not supported; give -b for binary output"
        )
    if flags.output is not None:
        return "-o is given, but fastcap stores the stream itself; leave out -o"
    return None


def with_num_words(argv: Sequence[str], words: int) -> tuple[str, ...]:
    """Return the command with ``-q`` of its board's program set, replaced or added.

    Raises
    ------
    ValueError
        ``words`` is not from 0 (endless) to 2**63 - 1.
    """
    if not 0 <= words <= _INT64_MAX:
        raise ValueError(f"length of {words} words is not from 0 (endless) to 2**63 - 1")
    part = board_part(argv)
    if part is None:
        return tuple(argv)
    args = list(argv)
    found = False
    at = part[0] + 1
    while at < len(args) and args[at] != "--":
        letter, where = _valued_flag(args[at])
        if letter and where == len(args[at]):  # its value is the next argument
            at += 1
            where = 0
        if letter == "q":
            args[at] = f"{args[at][:where]}{words}"
            found = True
        at += 1
    return tuple(args if found else [*args[:at], "-q", str(words), *args[at:]])


def _valued_flag(arg: str) -> tuple[str, int]:
    """Return an argument's flag that takes a value, and where in it the value begins; ("", 0): none does."""
    if arg.startswith("-") and arg not in WORDS:
        for at, letter in enumerate(arg[1:], start=1):
            if letter in _VALUED:
                return letter, at + 1
            if letter not in _PLAIN:
                break
    return "", 0


def _device_flags(argv: Sequence[str]) -> BoardFlags | None:
    """Return the flags if they name a device, None if this does not read as a command line of the board's."""
    try:
        flags = parse_board_argv(argv)
    except ConfigError:
        return None
    return flags if flags.device is not None and os.sep in flags.device else None


def _is_value(before: str) -> bool:
    """Tell whether what follows ``before`` is that flag's value."""
    letter, where = _valued_flag(before)
    return bool(letter) and where == len(before)


def _is_fastcap(argv: Sequence[str], at: int) -> bool:
    """Tell whether ``argv[at]`` is a subcommand of fastcap's command line."""
    return at > 0 and os.path.basename(argv[at - 1]) in ("fastcap", "fastcap.cli")
