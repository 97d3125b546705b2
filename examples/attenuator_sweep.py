"""Step an emulated attenuator up and down, record at every point, draw the radius over volts."""

import sys
from pathlib import Path

import fastcap as fc


def analyse(trace: fc.Trace) -> dict[str, float]:
    """Return the radius and its relative noise, without the board's start-up transient."""
    radius = trace.radius()[12_000:]
    return {"radius": radius.mean(), "noise": radius.std() / radius.mean()}


folder = Path(sys.argv[1] if len(sys.argv) > 1 else "attenuator-sweep")
emulator = f"{folder.absolute()}.tie"  # ties the two: the board sees what the attenuator lets through

with (
    fc.VOA(f"sim://voa?name={emulator}&backlash=0.1", at_exit="zero") as voa,
    fc.open(f"sim://?rate=2MHz&voa={emulator}", ring="32MiB") as board,
):
    volt = fc.Axis(voa.channel(0).volt, fc.updown(0, 4, 7), name="volt", unit="V", settle="20ms")
    res = fc.sweep(board, volt, record="50ms", analyse=analyse, save=folder, resume=True)

print(res)
for volts, radius in zip(res["volt"], res.mean("radius"), strict=True):
    print(f"{volts:5.2f} V {radius:12.0f}")
res.plot(path=folder / "attenuator.png")
