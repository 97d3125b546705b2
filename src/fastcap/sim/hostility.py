"""What an emulated device does to make its driver's life hard; every probability is per command."""

from __future__ import annotations

from random import Random

import msgspec

__all__ = ["HOSTILE", "Hostility", "Piece"]

Piece = tuple[float, bytes]  # seconds after what goes before, and what is sent then


class Hostility(msgspec.Struct, frozen=True, kw_only=True):
    """How hard to please an emulated device is.

    Attributes
    ----------
    seed : int
        Of all that is random.
    drop : float
        A command is neither obeyed nor answered.
    late : float
        An answer, and so all after it, is late by a time between the two of ``late_s``.
    junk : float
        Random bytes, line ends among them, before an answer.
    unasked : float
        A line nobody asked for, text or a believable number, before or after an answer.
    corrupt : float
        A digit of the answer is another.
    fragment : float
        An answer comes in pieces with pauses of up to ``pause_s``.
    """

    seed: int = 1
    drop: float = 0.0
    late: float = 0.0
    late_s: tuple[float, float] = (0.2, 1.5)
    junk: float = 0.0
    unasked: float = 0.0
    corrupt: float = 0.0
    fragment: float = 0.0
    pause_s: float = 0.003


HOSTILE = Hostility(drop=0.02, late=0.01, junk=0.01, unasked=0.02, corrupt=0.005, fragment=0.05)


class Mischief:
    """Decides, command by command, what goes wrong."""

    def __init__(self, hostility: Hostility) -> None:
        self._h = hostility
        self._random = Random(hostility.seed)

    def drops(self) -> bool:
        """Tell whether a command gets lost."""
        return self._random.random() < self._h.drop

    def treat(self, lines: list[bytes], end: bytes) -> list[Piece]:
        """Return what is sent in place of an answer, and when."""
        h, random = self._h, self._random
        delay_s = random.uniform(*h.late_s) if random.random() < h.late else 0.0
        if lines and random.random() < h.corrupt:
            lines = [_with_another_digit(lines[0], random), *lines[1:]]
        before = [random.randbytes(random.randrange(1, 20))] if random.random() < h.junk else []
        if random.random() < h.unasked:
            line = random.choice([b"temperature 31.5 C", b"%.3f" % random.uniform(0, 4.095), b"", b"!"])
            lines = [line, *lines] if random.random() < 0.5 else [*lines, line]
        data = b"".join([*before, *(line + end for line in lines)])
        if not data:
            return []
        if random.random() >= h.fragment:
            return [(delay_s, data)]
        cut = random.randrange(len(data))
        return [(delay_s, data[:cut]), (random.uniform(0, h.pause_s), data[cut:])]


def _with_another_digit(line: bytes, random: Random) -> bytes:
    places = [k for k, c in enumerate(line) if chr(c).isdigit()]
    if not places:
        return line
    at = random.choice(places)
    return line[:at] + str(random.randrange(10)).encode() + line[at + 1 :]
