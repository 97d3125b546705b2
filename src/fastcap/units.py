"""Sizes, rates and times as people write them: ``64MiB``, ``16MB/s``, ``2MHz``, ``5min``.

Parsing is exact (rationals, never floats) and refuses what is not clearly meant: ``64M`` and ``5m`` could be
two things each. Negative and infinite values are always errors; rates are never zero.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from fastcap._messages import shown

if TYPE_CHECKING:
    from datetime import timedelta
    from fractions import Fraction

    Duration = str | float | Fraction | timedelta

__all__ = [
    "format_duration",
    "format_rate",
    "format_rate_hz",
    "format_size",
    "parse_byte_rate",
    "parse_duration_s",
    "parse_rate_hz",
    "parse_size",
    "whole_number",
]

_DECIMAL = {"kB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
_BINARY = {"KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "TiB": 2**40}
_BYTES = {"B": 1, "KB": 10**3, **_DECIMAL, **_BINARY}
_HERTZ = {"Hz": 1, "kHz": 10**3, "MHz": 10**6, "GHz": 10**9}
_PER_SECOND = {"us": 10**6, "ms": 10**3}  # as divisors
_SECONDS = {"s": 1, "sec": 1, "min": 60, "h": 3600, "d": 86400}
_MOST_BYTES = 2**63 - 1
_MOST_HZ = 10**12
_MOST_S = 10**9
_NUMBER = r"\+?((?:[0-9]{1,30}(?:\.[0-9]{0,30})?|\.[0-9]{1,30})(?:[eE][+-]?[0-9]{1,2})?) ?([A-Za-z]*(?:/s)?)"

_SIZE_FORMS = "a size such as 64MiB, 1GB or 4096 (bytes; units: B, kB, MB, GB, TB, KiB, MiB, GiB, TiB)"
_BYTE_RATE_FORMS = "a rate above 0 such as 16MB/s, 12MiB/s or 16000000 (bytes/s)"
_HZ_FORMS = "a rate above 0 such as 2MHz, 400Hz or 2e6 (Hz; units: Hz, kHz, MHz, GHz)"
_DURATION_FORMS = "a time such as 30s, 500ms, 5min, 24h or 1.5 (seconds; units: us, ms, s, min, h, d)"


def parse_size(value: str | float) -> int:
    """Return a size in bytes; a part of a byte that a unit leaves (``1.1GiB``) is cut off.

    Raises
    ------
    ValueError
        ``value`` is no size, negative, not a whole number of bytes, or above 2**63 - 1.
    """
    number, unit = _split(value, _SIZE_FORMS)
    # 64mib is clear; 64Mb is not (it may mean megabits)
    factor = (_BYTES | {name.lower(): n for name, n in _BYTES.items()}).get(unit or "B")
    if factor is None or (factor == 1 and number.denominator != 1) or number * factor > _MOST_BYTES:
        raise _refused(value, _SIZE_FORMS)
    return int(number * factor)


def parse_byte_rate(value: str | float) -> float:
    """Return a rate in bytes per second.

    Raises
    ------
    ValueError
        ``value`` is no such rate, or not above zero.
    """
    number, unit = _split(value, _BYTE_RATE_FORMS)
    factor = {f"{name}/s": n for name, n in _BYTES.items()}.get(unit, None if unit else 1)
    if factor is None or not 0 < number * factor <= _MOST_BYTES:
        raise _refused(value, _BYTE_RATE_FORMS)
    return float(number * factor)


def parse_rate_hz(value: str | float | Fraction) -> Fraction:
    """Return a rate in hertz, exactly.

    Raises
    ------
    ValueError
        ``value`` is no rate, or not above zero.
    """
    number, unit = _split(value, _HZ_FORMS)
    factor = _HERTZ.get(unit or "Hz")
    if factor is None or not 0 < number * factor <= _MOST_HZ:
        raise _refused(value, _HZ_FORMS)
    return number * factor


def parse_duration_s(value: Duration) -> Fraction:
    """Return a time in seconds, exactly; a bare number is seconds.

    Raises
    ------
    ValueError
        ``value`` is no time, negative, or above 10**9 s.
    """
    from datetime import timedelta

    if isinstance(value, timedelta):
        if value < timedelta():
            raise _refused(value, _DURATION_FORMS)
        number, unit = _split(value // timedelta(microseconds=1), _DURATION_FORMS)[0], "us"
    else:
        number, unit = _split(value, _DURATION_FORMS)
    if unit in _PER_SECOND:
        number /= _PER_SECOND[unit]
    elif unit and unit not in _SECONDS:
        raise _refused(value, _DURATION_FORMS)
    else:
        number *= _SECONDS[unit or "s"]
    if number > _MOST_S:
        raise _refused(value, _DURATION_FORMS)
    return number


def whole_number(value: Any, name: str, least: int = 0) -> int:
    """Return a count given as an argument ``name``; 12e3, a float, is 12,000.

    Raises
    ------
    ValueError
        ``value`` is no whole number, or below ``least``.
    """
    from numbers import Real

    known = isinstance(value, Real) and not isinstance(value, bool)
    if not known or not value >= least or value % 1 != 0:
        raise ValueError(f"{name} {shown(value)} is not a whole number of at least {least}")
    return int(value)


def _split(value: Any, forms: str) -> tuple[Fraction, str]:
    """Return number and unit, or refuse."""
    import re
    from fractions import Fraction
    from numbers import Number, Rational

    if isinstance(value, str):
        match = re.fullmatch(_NUMBER, value.strip())
        if match is None:
            raise _refused(value, forms)
        return Fraction(match[1]), match[2]
    try:
        if isinstance(value, bool) or not isinstance(value, Number):
            raise TypeError
        # a float, numpy's too, means the decimal number that it prints as: 0.1 is a tenth
        number = Fraction(value if isinstance(value, Rational) else str(value))
    except (TypeError, ValueError) as error:
        raise _refused(value, forms) from error
    if number < 0:
        raise _refused(value, forms)
    return number, ""


def _refused(value: object, forms: str) -> ValueError:
    return ValueError(f"{shown(value)} is not {forms}")


def format_size(size_bytes: float) -> str:
    """Return a size for people: ``64 MiB``, ``1.5 GiB``, ``512 B``."""
    for unit, factor in reversed(_BINARY.items()):
        if size_bytes >= factor:
            return f"{_rounded(size_bytes / factor)} {unit}"
    return f"{_rounded(size_bytes)} B"


def format_rate(bytes_per_s: float) -> str:
    """Return a rate of bytes for people: ``16 MB/s``, ``1.25 GB/s``."""
    for unit, factor in reversed(_DECIMAL.items()):
        if bytes_per_s >= factor:
            return f"{_rounded(bytes_per_s / factor)} {unit}/s"
    return f"{_rounded(bytes_per_s)} B/s"


def format_rate_hz(rate_hz: float | Fraction) -> str:
    """Return a rate in hertz for people: ``2 MHz``, ``400 Hz``."""
    for unit, factor in reversed(_HERTZ.items()):
        if rate_hz >= factor:
            return f"{_rounded(float(rate_hz / factor))} {unit}"
    return f"{_rounded(float(rate_hz))} Hz"


def format_duration(duration_s: float | Fraction) -> str:
    """Return a time for people: ``3 ms``, ``16.8 s``, ``5 min 3 s``, ``2 h 5 min``, ``1 d 4 h``."""
    seconds = float(duration_s)
    if seconds < 59.95:
        if seconds == 0 or seconds >= 0.9995:
            return f"{_rounded(seconds)} s"
        return f"{_rounded(seconds * 1e3)} ms" if seconds >= 0.9995e-3 else f"{_rounded(seconds * 1e6)} us"
    steps = (("d", 86400), ("h", 3600), ("min", 60), ("s", 1))
    step = next(k for k in range(3) if seconds >= steps[k][1] - steps[k + 1][1] / 2)
    (large, large_s), (small, small_s) = steps[step], steps[step + 1]
    whole, rest = divmod(round(seconds / small_s), large_s // small_s)
    return f"{whole} {large} {rest} {small}" if rest else f"{whole} {large}"


def _rounded(number: float) -> str:
    """Return three significant digits, more where the whole part has more, without trailing zeros."""
    text = f"{number:.{0 if number >= 100 else 1 if number >= 10 else 2}f}"
    return text.rstrip("0").rstrip(".") if "." in text else text
