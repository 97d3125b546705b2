"""How error messages quote values and suggest what was meant."""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Iterable

_MOST_SHOWN = 60
_MOST_LINE = 200


def shown(value: object) -> str:
    """Return ``value`` quoted for a message: one line, no control characters, not longer than needed."""
    text = repr(value)
    return text if len(text) <= _MOST_SHOWN else f"{text[: _MOST_SHOWN - 1]}…"


def one_line(value: object) -> str:
    """Return what somebody else wrote as text that cannot forge lines, nor tell a terminal anything."""
    text = "".join(c if c.isprintable() else "?" for c in str(value))
    return text if len(text) <= _MOST_LINE else f"{text[: _MOST_LINE - 1]}…"


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """Return ``"; did you mean 'x'?"``, or the list of what is known where nothing is near."""
    from difflib import get_close_matches

    spelled = {name.casefold(): name for name in known}
    near = get_close_matches(word[:_MOST_SHOWN].casefold(), spelled, n=1)
    if near:
        return f"; did you mean '{spelled[near[0]]}'?"
    return f"; known: {', '.join(spelled.values())}"
