"""Sources written as URLs: ``sim://?rate=2MHz&pattern=counter`` and ``file:///path?rate=2MHz``."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Mapping
from fractions import Fraction

from fastcap._messages import did_you_mean, shown
from fastcap.arith import evaluate_integer
from fastcap.errors import ConfigError
from fastcap.start_time import FORMS
from fastcap.teststream import FAST_HZ, SLOW_HZ
from fastcap.units import parse_duration_s, parse_rate_hz, parse_size

EMULATOR_ARGV = ("-P", "-m", "fastcap.sim.board")
_DEFAULT_HZ = 2_000_000
_FAULT = r"(stall|lose|slip|exit)@[0-9]+:\S+|die@[0-9]+\+[0-7]"


def _whole(text: str) -> str:
    number = evaluate_integer(text)
    if not 0 <= number < 10**18:
        raise ValueError(f"{shown(text)} is not from 0 to 10**18 - 1")
    return str(number)


def _number(text: str) -> str:
    try:
        finite = abs(float(text)) < float("inf")
    except ValueError:
        finite = False
    if not finite:
        raise ValueError(f"{shown(text)} is not a number")
    return text.strip()


def _size(text: str) -> str:
    return str(parse_size(text))


def _rate(text: str) -> str:
    return str(parse_rate_hz(text))


def _seconds(text: str) -> str:
    seconds = parse_duration_s(text)
    if seconds == 0:
        raise ValueError(f"{shown(text)} is not above 0")
    return str(seconds)


def _flag(text: str) -> str:
    if text:
        raise ValueError(f"{shown(text)}: it takes no value")
    return text


def _matching(pattern: str, forms: str) -> Callable[[str], str]:
    def check(text: str) -> str:
        import re

        if re.fullmatch(pattern, text, re.ASCII) is None:
            raise ValueError(f"{shown(text)} is not {forms}")
        return text

    return check


_SIM: dict[str, Callable[[str], str]] = {
    "rate": _rate,
    "l": _flag,
    "h": _flag,
    "b": _flag,
    "s": _whole,
    "q": _whole,
    "seconds": _seconds,
    "v": _whole,
    "pattern": _matching("signal|counter", "signal or counter"),
    "speed": _matching("realtime|max", "realtime or max"),
    "fault": _matching(
        _FAULT, "stall@WORD:TIME, lose@WORD:COUNT, slip@WORD:BYTES, die@WORD+BYTES or exit@WORD:STATUS"
    ),
    "fifo": _size,
    "chunk": _matching(r"[0-9]+|random(:[0-9]+)?", "a number of bytes or random[:SEED]"),
    "seed": _whole,
    "header": _matching("ok|torn|missing|garbage|none", "ok, torn, missing, garbage or none"),
    "payload": _matching(r"8n(\+8)?", "8n or 8n+8"),
    "start-form": _matching("|".join(FORMS), f"one of {', '.join(FORMS)}"),
    "stale": _flag,
    "preamble": str,
    "chatter": _flag,
    "transient": _whole,
    "radius": _number,
    "freq": _number,
    "noise": _number,
    "voa": _matching(r".+", "the name of an emulated attenuator"),
    "laser": _matching(r".+", "the name of an emulated laser"),
}
_FILE = {"rate": _rate}
_LONG = (
    "pattern",
    "speed",
    "fault",
    "fifo",
    "chunk",
    "seed",
    "header",
    "payload",
    "start-form",
    "preamble",
    "transient",
    "radius",
    "freq",
    "noise",
    "voa",
    "laser",
)


def sim_command(url: str) -> tuple[tuple[str, ...], str]:
    """Return the emulated board's command for a ``sim://`` URL, and its kind of header (``ok``, ``none``, …).

    Raises
    ------
    ConfigError
        A parameter is unknown, makes no sense, or contradicts another.
    """
    place, parameters = _split(url, "sim", _SIM, repeatable="fault")
    if place:
        raise ConfigError(f"source {shown(url)}: an emulated board has no address; write sim://?rate=2MHz")
    once = {key: values[-1] for key, values in parameters.items()}
    base_hz, skip = _clock(url, once)
    words = once.get("q")
    if "seconds" in once:
        if words is not None:
            raise ConfigError(f"source {shown(url)}: q and seconds exclude each other; give one of them")
        words = str(max(1, int(Fraction(once["seconds"]) * base_hz / (skip + 1))))
    flags = ["-s", str(skip), "-l" if base_hz == SLOW_HZ else "-h", "-b"]
    flags += ["-q", words] if words is not None else []
    flags += ["-v", once.get("v", "3")]
    flags += [arg for key in _LONG for value in parameters.get(key, ()) for arg in (f"--{key}", value)]
    flags += [f"--{key}" for key in ("stale", "chatter") if key in once]
    return (sys.executable, *EMULATOR_ARGV, *flags), once.get("header", "ok")


def _clock(url: str, once: dict[str, str]) -> tuple[int, int]:
    """Return base clock and skip that make the rate asked for; 2 MHz if none is."""
    given = [key for key in ("l", "h", "s") if key in once]
    if "l" in given and "h" in given:
        raise ConfigError(f"source {shown(url)}: l (10 MHz) and h (20 MHz) exclude each other")
    if given and "rate" in once:
        raise ConfigError(f"source {shown(url)}: rate and {given[0]} exclude each other; give one of them")
    if given:
        return (SLOW_HZ if "l" in given else FAST_HZ), int(once.get("s", "0"))
    rate_hz = Fraction(once.get("rate", _DEFAULT_HZ))
    for base_hz in (SLOW_HZ, FAST_HZ):
        period = base_hz / rate_hz
        if period.denominator == 1:
            return base_hz, int(period) - 1
    raise ConfigError(
        f"source {shown(url)}: rate {float(rate_hz):.12g} Hz is no whole fraction of the board's clocks, "
        "10 and 20 MHz; give one such as 2MHz"
    )


def file_source(url: str) -> tuple[str, Fraction | None]:
    """Return path and rate of a ``file://`` URL.

    Raises
    ------
    ConfigError
        It names no path, another machine, or an unknown parameter.
    """
    from urllib.parse import unquote_to_bytes

    place, parameters = _split(url, "file", _FILE)
    path = os.fsdecode(unquote_to_bytes(os.fsencode(place)))
    if url.startswith("file://") and not path.startswith("/"):
        raise ConfigError(
            f"source {shown(url)} must have an absolute path; write file:///PATH, with three slashes"
        )
    if not path or "\0" in path:
        raise ConfigError(f"source {shown(url)} names no file; write file:///PATH")
    rates = parameters.get("rate")
    return path, Fraction(rates[-1]) if rates else None


def _split(
    url: str, scheme: str, known: Mapping[str, Callable[[str], str]], repeatable: str = ""
) -> tuple[str, dict[str, list[str]]]:
    """Return what stands before ``?``, still quoted, and the parameters after it, checked."""
    from urllib.parse import unquote

    body = url[len(scheme) + 1 :].removeprefix("//")
    place, _, query = body.partition("?")
    parameters: dict[str, list[str]] = {}
    for part in filter(None, query.split("&")):
        key, _, text = part.partition("=")
        key, text = unquote(key), unquote(text)  # not unquote_plus: die@5000000+3
        if key not in known:
            raise ConfigError(
                f"source {shown(url)} has an unknown parameter {shown(key)}{did_you_mean(key, known)}"
            )
        if key in parameters and key != repeatable:
            raise ConfigError(f"source {shown(url)} has the parameter {key} twice; give it once")
        try:
            parameters.setdefault(key, []).append(known[key](text))
        except (ValueError, ConfigError) as error:
            raise ConfigError(f"source {shown(url)}: {key}: {error}") from error
    return place, parameters
