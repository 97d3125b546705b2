"""The command line of ``teststream``, the board's program: what its flags mean for the stream."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap.errors import ConfigError

if TYPE_CHECKING:
    from fractions import Fraction

SLOW_HZ, FAST_HZ = 10_000_000, 20_000_000  # the base clocks of -l and -h

_ENCODINGS = {"b": "binary", "x": "hexadecimal", "t": "text", "A": "ascii"}
FLAG_OF = {encoding: f"-{letter}" for letter, encoding in _ENCODINGS.items()}
WORDS = {
    "-low": "l",
    "-high": "h",
    "-bin": "b",
    "-hex": "x",
    "-asc": "A",
}  # the same, as some versions have them
_BASE_RATES_HZ = {"l": SLOW_HZ, "h": FAST_HZ}
_TEXTS = {"U": "device", "o": "output", "G": "gain", "F": "filter_const", "v": "verbosity"}
_NUMBERS = {"q": "num_words", "s": "skip"}
_MAX_NUMBER = 2**63 - 1
_QUOTED = r"""\\(.)|'([^']*+)'|"((?:[^"\\]|\\.)*+)\""""
_BLANK = " \t\r\n"


def word_rate_hz(base_rate_hz: int, skip: int) -> Fraction:
    """Return the words per second of a base clock of which ``skip`` samples follow each one kept, exactly."""
    from fractions import Fraction

    return Fraction(base_rate_hz, skip + 1)


class BoardFlags(msgspec.Struct, frozen=True):
    """What the flags of ``teststream`` say.

    ``num_words`` is None when endless. ``extra`` holds unknown flags and stray arguments, in their order;
    ``warnings`` tells what was assumed.
    """

    program: str = ""
    device: str | None = None
    num_words: int | None = None
    skip: int = 0
    base_rate_hz: int = FAST_HZ
    encoding: str = "binary"
    output: str | None = None
    gain: str | None = None
    filter_const: str | None = None
    verbosity: str | None = None
    extra: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    @property
    def writes_header(self) -> bool:
        """Whether ``-v`` asks for a header: 1 for the command line in it, 2 for the start time, 4 for a V2 file's."""
        text = self.verbosity or "0"
        return text.isascii() and text.isdigit() and int(text[-18:]) & 7 != 0

    @property
    def sample_rate_hz(self) -> Fraction:
        """Words per second, exactly."""
        return word_rate_hz(self.base_rate_hz, self.skip)


def split_command(text: str) -> tuple[str, ...]:
    """Split a command line as `shlex.split` does, whose time grows with the square of an argument's length.

    Raises
    ------
    ValueError
        A quotation does not end, or nothing follows a backslash.
    """
    if not any(mark in text for mark in "'\"\\"):
        return tuple(word for word in text.translate(dict.fromkeys(map(ord, _BLANK), " ")).split(" ") if word)
    import re

    quoted = re.compile(_QUOTED, re.DOTALL)
    plain_or_quoted = re.compile(rf"""(?:[^{_BLANK}'"\\]|{_QUOTED})++""", re.DOTALL)

    def unquoted(match: re.Match[str]) -> str:
        escaped, single, double = match.groups()
        if double is not None:
            return re.sub(r'\\(["\\])', r"\1", double)
        return str(single if escaped is None else escaped)

    found, at = [], 0
    while at < len(text):
        if text[at] in _BLANK:
            at += 1
            continue
        word = plain_or_quoted.match(text, at)
        at = word.end() if word else at
        if word is None or text[at : at + 1].strip(_BLANK):
            raise ValueError("a quotation has no end, or nothing follows a backslash")
        found.append(quoted.sub(unquoted, word[0]))
    return tuple(found)


def parse_board_argv(argv: Sequence[str]) -> BoardFlags:
    """Read the flags of ``teststream`` from an argv, the way getopt does: ``-q 8``, ``-q8``, ``-lbs4``.

    Parameters
    ----------
    argv : sequence of str
        The program and its arguments; where it begins with a flag, the program is not named. ``-low``, ``-high``,
        ``-bin``, ``-hex`` and ``-asc`` are flags, too. Unknown ones are tolerated; the last of contradicting ones
        counts.

    Raises
    ------
    ConfigError
        A flag lacks its value, or ``-q`` or ``-s`` is no decimal number.
    """
    found: dict[str, Any] = {}
    extra: list[str] = []
    named = bool(argv) and not (len(argv[0]) > 1 and argv[0].startswith("-"))
    rest = iter(argv[1:] if named else argv)
    for arg in rest:
        if arg == "--":
            extra.extend(rest)
        elif arg in WORDS:
            _read_cluster(f"-{WORDS[arg]}", rest, found, extra)
        elif len(arg) > 1 and arg[0] == "-":
            _read_cluster(arg, rest, found, extra)
        else:
            extra.append(arg)
    warnings = []
    if "base_rate_hz" not in found:
        warnings.append("neither -l (10 MHz) nor -h (20 MHz) is given: base clock taken as 20 MHz")
    if "encoding" not in found:
        warnings.append("-b is not given: output taken as binary")
    found["num_words"] = found.get("num_words") or None
    program = argv[0] if named else ""
    return BoardFlags(program=program, extra=tuple(extra), warnings=tuple(warnings), **found)


def _read_cluster(arg: str, rest: Any, found: dict[str, Any], extra: list[str]) -> None:
    """Read one argument that starts with ``-``: flags without a value, then at most one with its value."""
    for at, letter in enumerate(arg[1:], start=1):
        if letter in _BASE_RATES_HZ:
            found["base_rate_hz"] = _BASE_RATES_HZ[letter]
        elif letter in _ENCODINGS:
            found["encoding"] = _ENCODINGS[letter]
        elif letter in _TEXTS or letter in _NUMBERS:
            value = arg[at + 1 :] or next(rest, None)
            if value is None:
                raise ConfigError(f"flag -{letter} has no value; give one after it")
            if letter in _TEXTS:
                found[_TEXTS[letter]] = value
            else:
                found[_NUMBERS[letter]] = _number(letter, value)
            return
        else:
            extra.append(f"-{arg[at:]}")
            return


def _number(letter: str, text: str) -> int:
    """Read a decimal number of at most 63 bits."""
    if not (text.isascii() and text.isdigit() and len(text) < 20 and int(text) <= _MAX_NUMBER):
        raise ConfigError(f"-{letter} {text[:40]!r} is not a whole decimal number from 0 to 2**63 - 1")
    return int(text)
