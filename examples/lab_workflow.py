"""The lab's day, on an emulated board: its INI, a capture, a sweep of two axes, its own parser, pictures."""

import sys
from datetime import timedelta
from pathlib import Path

import fastcap as fc
from fastcap.compat import VHFparser

INI = """\
[Board]
num_samples = 2**17
skip_num = 5 - 1
speed: low
encode: binary
vga_num = 0
vga_num_enable = False
filter_const = 0
filter_const_enable = False
v = 3
[Phasemeter Details]
laser_chip = ULN00238
laser_curr = 392.8mA
[Paths]
base_dir: {base}
save_dir: {base}/nas
board: ${{base_dir}}/vhf_board.softlink
stream_exec: ${{base_dir}}/teststream.exec
save_to_file = False
npz_dir: ${{base_dir}}/results
[Extended Sampling]
num_runs = 3
[Software Processing]
filters = [('mean', multiprocessing.cpu_count())]
"""

base = Path(sys.argv[1] if len(sys.argv) > 1 else "lab").absolute()
(base / "nas").mkdir(parents=True)
(base / "vhf_board.softlink").touch()  # stands for the board, which the emulator does not need
light, pump = (
    base / "light.tie",
    base / "pump.tie",
)  # what attenuator and laser do to the emulated board's signal
emulator = Path(sys.executable).with_name("fastcap-teststream")
(base / "teststream.exec").write_text(
    f"#!/bin/sh\nexec '{emulator}' --voa '{light}' --laser '{pump}' --seed 1 \"$@\"\n"
)
(base / "teststream.exec").chmod(0o755)
(base / "VHF_board_params.ini").write_text(INI.format(base=base))


def analyse(trace: fc.Trace) -> dict[str, float]:
    """Return the radius, without the board's start-up transient."""
    return {"radius": trace.radius()[12_000:].mean()}


with (
    fc.VOA(f"sim://voa?name={light}", at_exit="zero") as voa,
    fc.Laser(f"sim://laser?name={pump}", step_a=0.1, at_exit="off") as laser,
    fc.open(base / "VHF_board_params.ini", ring="64MiB") as board,
):
    laser.on()
    laser.current = 0.3928
    one = board.record()  # num_samples words, into save_dir, under the lab's name
    runs = board.record(split="num_runs")  # num_runs files of num_samples words, one run without a gap

    volt = fc.Axis(voa.channel(0).volt, [0, 4 / 3, 4], name="volt", unit="V", settle="10ms")
    current = fc.Axis(laser.current, [0.25, 0.3928], name="curr", unit="A", settle="10ms")
    res = fc.sweep(
        board, current, volt, record="30ms", analyse=analyse, save=base / "nas" / "sweep", progress=False,
        name="{time}_laser_chip_{laser_chip}_laser_curr_{curr}A_volt_{volt}V",
    )  # fmt: skip

print(one.path.name, f"{one.report.words} words, {one.report.words_lost} lost")
print(
    *(f"{path.name}: {len(fc.load(path))} words" for path in (Path(r["path"]) for r in runs.reports)),
    sep="\n",
)
print(res, *(path.name for path in res.files()), sep="\n")

parser = VHFparser(
    one.path, plot_start_time=timedelta(milliseconds=10), plot_duration=timedelta(milliseconds=20)
)
print(
    f"VHFparser: {len(parser.radii)} radii of about {parser.radii.mean():.0f}, {parser.header['Time start']}"
)
if abs(parser.radii.mean() / fc.load(one.path).window("10ms", duration="20ms").radius().mean() - 1) > 1e-9:
    print("WRONG: the parser's radii are others")
if (
    len(fc.load_many(str(base / "nas" / "*.bin"))) != 4
    or not res["radius"][0, 0, 0] > res["radius"][0, -1, 0]
):
    print("WRONG")

res.plot(path=base / "sweep.png")
fc.load(one.path).plot(base / "capture.png")
