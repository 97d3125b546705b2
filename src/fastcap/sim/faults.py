"""What the emulated board can be told to do wrong, and how its options spell quantities."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

import msgspec

from fastcap.errors import ConfigError

_SECONDS: dict[str, int | Fraction] = {
    "": 1,
    "s": 1,
    "ms": Fraction(1, 1000),
    "us": Fraction(1, 10**6),
    "min": 60,
    "h": 3600,
}
_BYTES = {"": 1, "B": 1, "kB": 10**3, "MB": 10**6, "GB": 10**9, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30}
_HERTZ = {"": 1, "Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_SPELLINGS = (
    "stall@WORD:TIME, lose@WORD:COUNT, slip@WORD:BYTES (1 to 7), die@WORD+BYTES (0 to 7) "
    "or exit@WORD:STATUS (0 to 255)"
)


class Fault(msgspec.Struct, frozen=True):
    """One fault: ``kind`` at the first word not below ``word``, with ``amount`` of what the kind counts.

    ``stall`` counts nanoseconds without a write, ``lose`` words, ``slip`` bytes lost in the word, ``die`` bytes of
    the word that is cut short, and for ``exit`` it is the status.
    """

    kind: str
    word: int
    amount: int
    text: str


def parse_fault(text: str) -> Fault:
    """Parse a fault such as ``stall@2000000:3s``, ``lose@4000000:1000``, ``slip@7:3``, ``die@9+3`` or ``exit@9:4``.

    Raises
    ------
    ConfigError
        It is none of these.
    """
    match = re.fullmatch(
        r"(stall|lose|slip|exit)@([0-9]{1,18}):(.+)|(die)@([0-9]{1,18})\+([0-7])", text, re.ASCII
    )
    if match is None:
        raise ConfigError(f"fault {text!r} is not understood; give {_SPELLINGS}")
    kind, word, amount = (group for group in match.groups() if group is not None)
    if kind == "stall":
        return Fault(kind, int(word), round(parse_time_s(amount) * 10**9), text)
    least, most = {"exit": (0, 255), "slip": (1, 7)}.get(kind, (0, 10**18))
    if not (amount.isascii() and amount.isdigit() and len(amount) < 20 and least <= int(amount) <= most):
        raise ConfigError(f"fault {text!r}: {amount!r} is not a whole number from {least} to {most}")
    return Fault(kind, int(word), int(amount), text)


def parse_time_s(text: str) -> Fraction:
    """Parse a time such as ``3s``, ``200ms``, ``5min`` or ``0.5``, in seconds."""
    return _quantity(text, _SECONDS, "time", "3s")


def parse_size_bytes(text: str) -> int:
    """Parse a size such as ``8MiB`` or ``4096``, in whole bytes."""
    return int(_quantity(text, _BYTES, "size", "8MiB"))


def parse_rate_hz(text: str) -> Fraction:
    """Parse a rate such as ``2MHz`` or ``2e6``, exactly."""
    return _quantity(text, _HERTZ, "rate", "2MHz")


def _quantity(text: str, units: Mapping[str, int | Fraction], what: str, example: str) -> Fraction:
    """Parse a number that is not negative and its unit."""
    match = re.fullmatch(
        r"([0-9]{1,18}(?:\.[0-9]{1,12})?(?:[eE][+]?[0-9]{1,2})?) ?([A-Za-z]*)", text, re.ASCII
    )
    if match is None or match[2] not in units:
        raise ConfigError(
            f"{text!r} is not a {what}; give one like {example} (units: {', '.join(filter(None, units))})"
        )
    return Fraction(match[1]) * units[match[2]]
