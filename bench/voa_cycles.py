"""The attenuator's driver against an emulator that is hard to please: are wrong values ever accepted?"""

from __future__ import annotations

import random
import time
from collections.abc import Iterator

import msgspec
from setting import Figure, figure, quantile

import fastcap as fc
from fastcap.sim.hostility import HOSTILE, Hostility
from fastcap.sim.voa import Attenuator

STEP_V = 0.001 + 1e-6  # what the driver takes for equal: one step of the DAC
READ_V = 0.0005 + 1e-6  # what two readings may differ by
LATE_S = (0.02, 0.1)
TIMEOUT_S, LATEST_S, QUIET_S = 0.05, 0.12, 0.01


def cycles(count: int, seed: int) -> Iterator[Figure]:
    """Set one channel and read another, compare both with what the emulator really has."""
    for name, hostility in (
        ("a device that behaves", Hostility()),
        ("hostile", msgspec.structs.replace(HOSTILE, late_s=LATE_S, seed=seed)),
    ):
        wrong, refused, times_ms, took_s = _run(hostility, count, random.Random(seed))
        what = f"voa, {name}: {count} set/read cycles"
        detail = f"{hostility}" if hostility.drop else ""
        yield figure(f"{what}: wrong values accepted", wrong, "", most=0, detail=detail)
        yield figure(f"{what}: given up with an error", refused, "")
        spread = f"median {quantile(times_ms, 0.5):.1f}, p99 {quantile(times_ms, 0.99):.0f}, max {max(times_ms):.0f} ms"
        yield figure(f"{what}: time", round(took_s, 1), "s", detail=spread)


def _run(hostility: Hostility, count: int, chance: random.Random) -> tuple[int, int, list[float], float]:
    wrong = refused = 0
    times_ms = []
    begin_s = time.monotonic()
    with (
        Attenuator(hostility=hostility) as emulator,
        fc.VOA(emulator.path, timeout_s=TIMEOUT_S, latest_s=LATEST_S, quiet_s=QUIET_S) as voa,
    ):
        for _ in range(count):
            channel, other = chance.randrange(4), chance.randrange(4)
            volts = chance.choice((chance.uniform(0, 4.095), 1.0, 2.0, 3.0))
            start_s = time.monotonic()
            try:
                voa.channel(channel).volt.set(volts)
                wrong += abs(emulator.device.output_v(channel) - volts) > STEP_V
                got = voa.channel(other).volt.get()
                wrong += abs(emulator.device.output_v(other) - got) > READ_V
            except fc.DeviceError:
                refused += 1
            times_ms.append((time.monotonic() - start_s) * 1e3)
    return wrong, refused, times_ms, time.monotonic() - begin_s
