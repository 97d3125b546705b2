"""Emulated devices tied to the emulated board: the recorded radius follows, at the very word."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
from board_checks import COMMAND, DEADLINE_S, TWO_MHZ
from support import wait_until

import fastcap as fc
from fastcap.sim._optics import gain, shift, transmission
from fastcap.sim.laser import LaserDriver
from fastcap.sim.tie import LOG_AT, SLOTS, Tie
from fastcap.sim.voa import Attenuator
from fastcap.stream import header_bytes
from fastcap.words import phase, radius

RADIUS = 2e6
QUIET = ["--noise", "0", "--transient", "0"]


class Recording:
    """An emulated board whose words are read up to a point, and then to the end."""

    def __init__(self, folder: Path, *flags: str) -> None:
        self.report_path = folder / "report.json"
        argv = [*COMMAND, *TWO_MHZ, *QUIET, *flags, "--report", str(self.report_path)]
        self.process = subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL)
        assert self.process.stdout is not None
        self.fd = self.process.stdout.fileno()
        self.raw = b""

    def read(self, words: int) -> None:
        """Read until so many more data words are here."""
        end = len(self.raw) + 8 * words
        while len(self.raw) < end and (data := os.read(self.fd, 1 << 16)):
            self.raw += data

    def finish(self) -> np.ndarray:
        while data := os.read(self.fd, 1 << 20):
            self.raw += data
        assert self.process.wait(DEADLINE_S) == 0
        data_at = header_bytes(self.raw)
        return np.frombuffer(self.raw[data_at : data_at + (len(self.raw) - data_at) // 8 * 8], "<u8")


def started_ns(path: Path) -> int:
    import json

    return int(json.loads(path.read_text())["started_monotonic_ns"])


def test_radius_steps_at_the_word_made_when_the_volts_were_set(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    with Attenuator(name) as emulator:
        board = Recording(tmp_path, "-q", "600000", "--voa", name)
        set_ns, told_ns = [], []
        for volts in (1.0, 2.0, 0.5):
            board.read(100_000)
            emulator.device.handle(f"VOLT 0 {volts}")
            told_ns.append(time.monotonic_ns())  # later than set_ns by much if the machine is busy
            set_ns.append(newest_ns(name))
        r = radius(board.finish())
    steps = np.flatnonzero(np.abs(np.diff(r)) > 1000) + 1
    first, last = ([(t - started_ns(board.report_path)) * 2e6 / 1e9 for t in ns] for ns in (set_ns, told_ns))

    assert len(steps) == 3
    assert (steps > np.array(first) - 1.01).all()
    assert (steps < np.array(last) + 1.01).all()
    levels = [r[a:b].mean() / RADIUS for a, b in zip([0, *steps], [*steps, None], strict=True)]
    assert levels == pytest.approx([transmission(v) for v in (0, 1, 2, 0.5)], rel=1e-5)


def newest_ns(name: str) -> int:
    """Return the time of the newest entry of a tie's log."""
    raw = Path(name).read_bytes()[LOG_AT:]
    entries = np.frombuffer(raw, [("number", "<u8"), ("at_ns", "<i8"), ("value", "<f8"), ("check", "<u8")])
    return int(entries[np.argmax(entries["number"])]["at_ns"])


def test_words_that_wait_in_the_fifo_keep_the_light_they_were_made_in(tmp_path: Path) -> None:
    """The reader stops; the volts change; what the board had made before is unchanged by it."""
    name = str(tmp_path / "x.tie")
    with Attenuator(name) as emulator:
        board = Recording(tmp_path, "-q", "800000", "--voa", name)
        board.read(1000)
        time.sleep(0.1)  # not a wait for anything: what is made in this time piles up in the FIFO
        emulator.device.handle("VOLT 0 3")
        at_ns = newest_ns(name)
        r = radius(board.finish())
    (step,) = np.flatnonzero(np.abs(np.diff(r)) > 1000) + 1

    assert step == pytest.approx((at_ns - started_ns(board.report_path)) * 2e6 / 1e9, abs=1.01)
    assert step > 100_000


def test_more_changes_than_the_log_holds_end_at_the_last(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    with Attenuator(name) as emulator:
        board = Recording(tmp_path, "-q", "2000000", "--voa", name)
        board.read(1000)
        for k in range(4 * SLOTS):
            emulator.device.handle(f"VOLT 0 {k % 7 / 10}")
        emulator.device.handle("VOLT 0 1.5")
        r = radius(board.finish())

    assert r[-1] / RADIUS == pytest.approx(transmission(1.5), rel=1e-5)


def test_laser_makes_light_above_threshold_and_shifts_the_beat(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    with LaserDriver(name) as driver:
        levels, slopes = [], []
        for amps, state in ((0.4, "OFF"), (0.02, "ON"), (0.2, "ON"), (0.4, "ON")):
            driver.device.handle(f"SOUR:CURR {amps}")
            driver.device.handle(f"OUTP {state}")
            board = Recording(tmp_path, "-q", "100000", "--laser", name, "--speed", "max", "--freq", "1000")
            words = board.finish()
            levels.append(radius(words).mean() / RADIUS)
            slopes.append(np.diff(phase(words)).mean())

    assert levels == pytest.approx([0, 0, gain(0.2), 1.0], abs=1e-5)
    assert slopes[3] - slopes[2] == pytest.approx(shift(0.4) - shift(0.2), rel=0.01)


def test_sweep_by_hand_draws_maluss_curve(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    volts = np.linspace(0, 4, 5)
    with fc.VOA(f"sim://voa?name={name}") as voa, fc.open(f"sim://?rate=2MHz&noise=2000&voa={name}") as board:
        means = []
        for v in volts:
            voa.channel(0).volt = float(v)
            trace = board.record("50ms", str(tmp_path)).trace()
            means.append(trace.radius()[20_000:].mean())

    assert np.array(means) / RADIUS == pytest.approx([transmission(v) for v in volts], rel=0.01)
    assert (np.diff(means) < 0).all()


def test_named_device_keeps_its_state(tmp_path: Path) -> None:
    url = f"sim://voa?name={tmp_path}/x.tie"
    with fc.VOA(url) as voa:
        voa.channel(2).volt = 3.0
        voa.channel(1).factor = 0.5
    with fc.VOA(url) as voa:
        assert voa.channel(2).volt.get() == 3.0
        assert voa.channel(1).factor.get() == 0.5


def test_named_device_is_one_programs_at_a_time(tmp_path: Path) -> None:
    url = f"sim://voa?name={tmp_path}/x.tie"
    with fc.VOA(url), pytest.raises(fc.DeviceError, match="in use by another program"):
        fc.VOA(url)


def test_backlash_makes_up_and_down_differ(tmp_path: Path) -> None:
    name = str(tmp_path / "x.tie")
    with Attenuator(name, backlash_v=0.1) as emulator:
        light = []
        for volts in (1.0, 2.0, 1.0):
            emulator.device.handle(f"VOLT 0 {volts}")
            light.append(emulator.device._light_v)

    assert light == pytest.approx([0.9, 1.9, 1.1])


@pytest.mark.parametrize("content", [b"not a tie", b"x" * (LOG_AT + SLOTS * 32)])
def test_other_files_are_not_touched(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "precious"
    path.write_bytes(content)
    with pytest.raises(fc.ConfigError, match="another kind of file"):
        Tie(str(path))
    assert path.read_bytes() == content


@pytest.mark.parametrize(
    ("url", "why"),
    [
        ("sim://voa?nme=x", "did you mean 'name'"),
        ("sim://voa?channel=4", "give 0 to 3"),
        ("sim://voa?backlash=much", "makes no sense"),
        ("sim://voa?hostile=yes", "give 0 or 1"),
        ("sim://voa?name=a b", "letters, digits"),
        ("sim://laser", "write sim://voa"),
        ("sim://voa?name=/no/such/folder/x", "cannot be opened"),
    ],
)
def test_url_that_makes_no_sense_is_refused(url: str, why: str) -> None:
    with pytest.raises(fc.ConfigError, match=why):
        fc.VOA(url)


def test_counter_pattern_cannot_be_tied() -> None:
    ended = subprocess.run(
        [*COMMAND, "-l", "--pattern", "counter", "--voa", "x"], capture_output=True, check=False
    )
    assert ended.returncode == 2
    assert b"--voa" in ended.stderr


def test_emulator_of_its_own_process_serves_until_it_is_ended(tmp_path: Path) -> None:
    argv = [sys.executable, "-m", "fastcap.sim.voa", f"sim://voa?name={tmp_path}/x.tie"]
    with subprocess.Popen(argv, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        port = process.stdout.readline().strip()
        with fc.VOA(port) as voa:
            assert voa.channel(0).volt.set(1.0) == 1.0
        process.terminate()
    wait_until(lambda: not Path(port).is_symlink(), 10, "the port to be gone")
    assert process.returncode == 0
