"""Checks of a configuration's values: each returns the value to use, or says what is wrong with it."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

from fastcap._messages import shown
from fastcap.arith import evaluate_integer
from fastcap.config import absolute_path

Check = Callable[[Any], Any]  # returns the value to use; ValueError or ConfigError says what is wrong


def text(value: Any) -> str:
    """Check a text in quotes."""
    if not isinstance(value, str) or not value or "\0" in value:
        raise ValueError(f"{shown(value)} is not a text in quotes")
    return value


def label(value: Any) -> str:
    """Check a text that may be empty."""
    if not isinstance(value, str):
        raise ValueError(f"{shown(value)} is not a text in quotes")
    return value


def path(value: Any) -> str:
    """Check a path; a relative one is taken from the current directory."""
    return absolute_path(os.path.expanduser(text(value)))


def texts(value: Any) -> tuple[str, ...]:
    """Check a list of texts."""
    if not isinstance(value, list) or not all(isinstance(arg, str) and "\0" not in arg for arg in value):
        raise ValueError(f"{shown(value)} is not a list of texts such as ['teststream', '-b']")
    return tuple(value)


def command(value: Any) -> tuple[str, ...]:
    """Check a program and its arguments."""
    argv = texts(value)
    if not argv or not argv[0]:
        raise ValueError(f"{shown(value)} names no program; the first text is the program")
    return argv


def whole(least: int) -> Check:
    """Return a check of a whole number of at least ``least``; an expression such as "2**20", too."""

    def check(value: Any) -> int:
        number = evaluate_integer(value) if isinstance(value, str) else value
        if not isinstance(number, int) or isinstance(number, bool) or not least <= number < 2**63:
            raise ValueError(f"{shown(value)} is not a whole number of at least {least}")
        return number

    return check


def positive(parse: Callable[[Any], Any]) -> Check:
    """Return a check of what ``parse`` reads: above 0. The value is left as it was written."""

    def check(value: Any) -> Any:
        if parse(value) <= 0:
            raise ValueError(f"{shown(value)} is not above 0")
        return value

    return check


def at_least_0(parse: Callable[[Any], Any]) -> Check:
    """Return a check of what ``parse`` reads: not below 0. The value is left as it was written."""

    def check(value: Any) -> Any:
        if parse(value) < 0:
            raise ValueError(f"{shown(value)} is below 0")
        return value

    return check


def one_of(*words: str) -> Check:
    """Return a check of one of these words."""

    def check(value: Any) -> str:
        if value not in words:
            raise ValueError(f"{shown(value)} is not one of {', '.join(words)}")
        return str(value)

    return check


def one_or(word: str, other: Check) -> Check:
    """Return a check of this very word, or of what another check takes."""

    def check(value: Any) -> Any:
        return value if value == word else other(value)

    return check


def switch(value: Any) -> bool:
    """Check true or false."""
    if not isinstance(value, bool):
        raise ValueError(f"{shown(value)} is neither true nor false")
    return value


def function(value: Any) -> str:
    """Check ``MODULE:FUNCTION``."""
    module, _, name = text(value).partition(":")
    if not module or not name or ":" in name:
        raise ValueError(f"{shown(value)} is not MODULE:FUNCTION")
    return str(value)


def number(value: Any) -> float:
    """Check a finite number."""
    if isinstance(value, bool) or not isinstance(value, int | float) or not math.isfinite(value):
        raise ValueError(f"{shown(value)} is not a number")
    return value


def numbers(least: int = 1, most: int | None = None) -> Check:
    """Return a check of a list of so many finite numbers."""
    count = f"{least}" if most == least else f"{least} or more"

    def check(value: Any) -> list[float]:
        if not isinstance(value, list) or len(value) < least or (most is not None and len(value) > most):
            raise ValueError(f"{shown(value)} is not a list of {count} numbers")
        return [number(one) for one in value]

    return check


def table(check_each: Check) -> Check:
    """Return a check of a section of its own, with any keys."""

    def check(value: Any) -> dict[str, Any]:
        if not isinstance(value, dict):
            raise ValueError(f"{shown(value)} is no section, such as {{ key = value }}")
        return {key: check_each(one) for key, one in value.items()}

    return check


def anything(value: Any) -> Any:
    """Leave it to whom it is for."""
    return value
