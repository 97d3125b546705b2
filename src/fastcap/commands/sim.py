"""``fastcap sim``: the board's emulator, under the name of its own program."""

from __future__ import annotations

from collections.abc import Sequence


def run(args: Sequence[str]) -> int:
    """Run the emulator with teststream's flags and its own; return its exit status."""
    from fastcap.sim.board import main

    return main(args)
