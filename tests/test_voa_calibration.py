"""Attenuation in dB by the lab's tables."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
from device_checks import Pair
from hypothesis import given
from hypothesis import strategies as st

import fastcap as fc
from fastcap.devices.calibration import Calibration

pytest_plugins = ["attenuators"]

TABLE = "# channel 0\nvolts,dB\n0,0.5\n1.0,2\n2.0,8\n4,35\n"


@pytest.fixture
def table(tmp_path: Path) -> Path:
    path = tmp_path / "table.csv"
    path.write_text(TABLE)
    return path


def test_db_are_set_and_read(attenuator: Callable[..., Pair], table: Path) -> None:
    emulator, voa = attenuator(calibration={0: table})
    db = voa.channel(0).attenuation_db

    assert db.set(5.0) == pytest.approx(5.0, abs=0.01)
    assert emulator.device.output_v(0) == 1.5
    assert (db.unit, db.limits) == ("dB", (0.5, 35.0))
    voa.channel(0).attenuation_db = 35
    assert emulator.device.output_v(0) == 4.0


def test_db_outside_the_table_are_refused_both_ways(attenuator: Callable[..., Pair], table: Path) -> None:
    emulator, voa = attenuator(calibration={0: table})
    for db in (0.4, 35.1, float("nan")):
        with pytest.raises(ValueError, match="attenuation of"):
            voa.channel(0).attenuation_db.set(db)
    voa.channel(0).volt = 4.05
    with pytest.raises(ValueError, match=r"4\.05 V is outside calibration .*table\.csv"):
        voa.channel(0).attenuation_db.get()
    assert emulator.device.output_v(0) == 4.05


def test_channel_without_a_table_says_how_to_give_one(attenuator: Callable[..., Pair]) -> None:
    with pytest.raises(fc.DeviceError, match=r"calibration=\{2: 'table\.csv'\}"):
        _ = attenuator()[1].channel(2).attenuation_db


@pytest.mark.parametrize(
    "text",
    [
        "0;0.5\n1;2\n2;8\n4;35\n",
        "0\t0.5\n1 \t2\n2\t8\n4\t35",
        "dB,V\n0.5,0\n2,1\n8,2\n35,4\n",
        "0 0.5\n 1  2\n2 8\n4 35 # end",
    ],
)
def test_tables_come_in_several_spellings(tmp_path: Path, text: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    read = Calibration.from_csv(path)

    assert read.limits_v == (0, 4)
    assert read.db(3) == pytest.approx(21.5)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "0 points"),
        ("volts,dB\n", "0 points"),
        ("0,1\n", "1 points"),
        ("0,1\n1,x\n", "line 2"),
        ("0,1\n1,2,3\n", "line 2"),
        ("0,1\n0,2\n", "0 V twice"),
        ("0,1\n1,3\n2,2\n3,5\n", "not monotone between 1 V"),
        ("0,1\n1,1\n", "not monotone"),
        ("0,1\n1,nan\n", "finite"),
        ("0,1\n1,inf\n", "finite"),
    ],
)
def test_table_that_makes_no_sense_is_refused(tmp_path: Path, text: str, why: str) -> None:
    path = tmp_path / "t.csv"
    path.write_text(text)
    with pytest.raises(fc.ConfigError, match=why):
        Calibration.from_csv(path)


def test_table_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    (tmp_path / "bytes.csv").write_bytes(b"\xff\xfe\x00")
    for name in ("missing.csv", "bytes.csv", "."):
        with pytest.raises(fc.ConfigError, match="cannot be read"):
            Calibration.from_csv(tmp_path / name)


def test_table_beyond_the_attenuators_volts_is_refused() -> None:
    with pytest.raises(ValueError, match=r"volt of 5 V"):
        fc.VOA("/dev/no-such-port", calibration={0: Calibration([(0, 0), (5, 40)])})


@given(
    steps=st.lists(st.tuples(st.floats(0.001, 1), st.floats(0.001, 10)), min_size=1, max_size=20),
    falls=st.booleans(),
    part=st.floats(0, 1),
)
def test_volts_and_db_are_each_others_inverse(
    steps: list[tuple[float, float]], falls: bool, part: float
) -> None:
    points = [(0.0, 0.0)]
    for dv, db in steps:
        points.append((points[-1][0] + dv, points[-1][1] + (-db if falls else db)))
    table = Calibration(points)
    low, high = table.limits_v
    volts = min(low + (high - low) * part, high)

    db = table.db(volts)

    assert table.limits_db[0] <= db <= table.limits_db[1]
    assert table.volts(db) == pytest.approx(volts, abs=1e-9 * (1 + table.db_per_v))
    assert (table.db(high) > table.db(low)) is not falls
