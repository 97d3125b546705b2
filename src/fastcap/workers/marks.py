"""Where the files of one recording begin: every so many words, or around windows that are asked for meanwhile.

    between | window | between | window | window that follows | between

A window begins at a ring position, and ends after so many of the source's words, those lost within it counted. What
lies between windows is in files, too: no word of the recording is in none.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import Any

    from fastcap.events import Event


class Regular:
    """A new file every ``words`` words of the source; None: where it is asked for, by the clock.

    Parameters
    ----------
    words : callable
        Returns that number.
    asked : int, optional
        The position that was asked for last.
    """

    def __init__(self, words: Callable[[], int | None], asked: int | None = None) -> None:
        self._words = words
        self._taken = 0
        self._asked = asked

    def ask(self, position: int) -> None:
        """Begin a file with the first whole word at or behind ``position``."""
        self._asked = position

    def next(self, position_of: Callable[[int], int], aligned: Callable[[int], int]) -> int | None:
        """Return the position of the next file; None: there will be none."""
        words = self._words()
        if words is None:
            return None if self._asked is None else aligned(self._asked)
        return position_of((self._taken + 1) * words)

    def take(self, position: int, first_word: int) -> dict[str, Any]:
        """Begin the next file; return the MARK's payload."""
        self._begun(position, first_word)
        return {"first_word": first_word}

    def _begun(self, position: int, first_word: int) -> None:
        words = self._words()
        if words is not None:
            self._taken = first_word // words
        elif self._asked is not None and self._asked <= position:
            self._asked = None

    def restore(self, mark: Event) -> None:
        """Take over a file that a predecessor began."""
        self._begun(mark.position, mark.data["first_word"])


class Windows:
    """Files that begin and end with windows.

    Parameters
    ----------
    asked : list of dict
        ``name`` (of the file, without ending), ``position``, ``words``: see `ask`.
    """

    def __init__(self, asked: list[dict[str, Any]]) -> None:
        self._asked = list(asked)
        self._name: str | None = None
        self._until: int | None = None

    def ask(self, window: dict[str, Any], framed: int) -> None:
        """Take a window that is to begin at ``position``, or as soon as possible after that."""
        self._asked.append({**window, "position": max(window["position"], framed)})

    def next(self, position_of: Callable[[int], int], aligned: Callable[[int], int]) -> int | None:
        """Return the position of the next file; None: not known yet."""
        if self._until is not None:
            return position_of(self._until)
        return aligned(self._asked[0]["position"]) if self._asked else None

    def take(self, position: int, first_word: int) -> dict[str, Any]:
        """Begin the next file: a window, or what follows one; return the MARK's payload."""
        payload: dict[str, Any] = {"first_word": first_word}
        if self._name is not None:
            payload["ended"] = self._name
        self._name = self._until = None
        if self._asked and self._asked[0]["position"] <= position:
            window = self._asked.pop(0)
            self._name, self._until = window["name"], first_word + window["words"]
            payload |= {"name": self._name, "until": self._until}
        return payload

    def restore(self, mark: Event) -> None:
        """Take over a file that a predecessor began."""
        self._name, self._until = mark.data.get("name"), mark.data.get("until")
        if self._name is not None:
            self._asked = [w for w in self._asked if w["name"] != self._name]
