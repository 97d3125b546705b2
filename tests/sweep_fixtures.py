"""What tests of sweeps share: a board that fails when told to, a device in memory, plans."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import fastcap as fc
from fastcap.sweeping.axis import Axis
from fastcap.sweeping.order import Order
from fastcap.sweeping.plan import Plan, plan_of

WORDS = 40_000
SECONDS = WORDS / 2_000_000
SIM = f"sim://?rate=2MHz&pattern=counter&q={WORDS}&fifo=512MiB"
FLAGS = ["-q", str(WORDS), "-s", "4", "-l", "-b", "-v", "3"]


class Device:
    """A quantity that remembers what it was set to."""

    def __init__(self, fails: int = 0) -> None:
        self.history: list[float] = []
        self.fails = fails

    def __call__(self, value: float) -> float:
        if self.fails:
            self.fails -= 1
            raise fc.DeviceError("the device does not answer; look at its cable")
        self.history.append(value)
        return value + 0.001


def first_words(tr: fc.Trace) -> dict[str, Any]:
    """Return the number of words, and the first three of them: a counter pattern's are 0, 1, 2."""
    return {"words": len(tr), "first": tr.words[:3]}


def fails(tr: fc.Trace) -> dict[str, Any]:
    """Fail at one setpoint."""
    if tr.meta["x"].startswith("1"):
        raise ZeroDivisionError("nothing to divide by")
    return {"words": len(tr)}


def failing_board(folder: Path, *runs: int, fault: str = "exit@1000:3") -> list[str]:
    """Return the command of an emulated board that fails in some of its runs, counted from 1."""
    count = folder / "runs"
    count.write_text("0")
    script = folder / "teststream"
    sim = f"{sys.executable} -P -m fastcap.sim.board --pattern counter --fifo 512MiB"
    script.write_text(
        f"#!/bin/sh\nn=$(($(cat {count})+1)); echo $n > {count}\n"
        f'case " {" ".join(map(str, runs))} " in *" $n "*) exec {sim} --fault {fault} "$@";; esac\nexec {sim} "$@"\n'
    )
    script.chmod(0o755)
    return [str(script), *FLAGS]


def runs(folder: Path) -> int:
    """Return how often the failing board was started."""
    return int((folder / "runs").read_text())


def plan(*values: list[float], repeats: int = 1, **options: Any) -> Plan:
    """Return a plan with axes x, y, … of these values."""
    axes = [Axis(lambda value: value, v, name=name) for name, v in zip("xyz", values, strict=False)]
    given: dict[str, Any] = {"record": "1s", "source": "s", "analyse": None, "readings": {}, "meta": {}}
    return plan_of(axes, repeats=repeats, **{**given, **options})


def order(*values: list[float], repeats: int = 1) -> Order:
    """Return the order of a plan."""
    return Order(plan(*values, repeats=repeats))


def journal(folder: Path) -> list[dict[str, Any]]:
    """Return the journal's entries, read without fastcap."""
    return [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]


def events(folder: Path, event: str) -> list[dict[str, Any]]:
    """Return the entries of one kind."""
    return [entry for entry in journal(folder) if entry["event"] == event]
