"""A sweep as a program of its own, to be killed: ``sweep_script.py FOLDER POINTS``."""

from __future__ import annotations

import sys

from sweep_fixtures import SIM, first_words

import fastcap as fc

if __name__ == "__main__":
    with fc.open(SIM, ring="16MiB") as board:
        axis = fc.Axis(lambda value: value, fc.updown(0, 1, int(sys.argv[2]) // 2), name="x")
        fc.sweep(board, axis, analyse=first_words, save=sys.argv[1], resume=True)
