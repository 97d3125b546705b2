"""What a sweep's files are called: short numbers, no two alike, and templates that are checked beforehand."""

from __future__ import annotations

import re
from datetime import datetime, timedelta, timezone
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st
from sweep_fixtures import SIM, Device, failing_board, plan

import fastcap as fc
from fastcap.errors import ConfigError
from fastcap.sweeping.names import Names
from fastcap.sweeping.order import Order, short_numbers
from fastcap.sweeping.plan import differences

NOW = datetime(2025, 2, 18, 17, 3, 8, 123456, tzinfo=timezone(timedelta(hours=8)))
DETAILS = {"laser_chip": "ULN00238", "note": "20 °C/µ"}


def names(template, *values, details=DETAILS, repeats=1, **options):
    return Names(Order(plan(*values, repeats=repeats, name=template, **options)), details)


def stems(made, attempt=1, now=NOW):
    return [made.stem(shot, attempt, now) for shot in made._order]


# -- numbers -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (fc.linspace(0, 4, 10), ["0", "0.444", "0.889", "1.33", "1.78", "2.22", "2.67", "3.11", "3.56", "4"]),
        ([392.8, 392.9], ["392.8", "392.9"]),
        ([392.8444444], ["393"]),
        ([392.84444, 392.8555555], ["392.8", "392.9"]),
        ([0.1234567, 0.1234568], ["0.1234567", "0.1234568"]),
        ([12345.678901], ["12346"]),
        ([1234567, 7654321], ["1234567", "7654321"]),
        ([-0.0, 0.0], ["0", "0"]),
        ([1e-9, 1.0000001e-9], ["1e-09", "1.0000001e-09"]),
        ([-1 / 3, 1 / 3], ["-0.333", "0.333"]),
        ([0.1 + 0.2], ["0.3"]),
        ([1e300, 2e300], ["1e+300", "2e+300"]),
        ([0.44444, 0.444], ["0.44444", "0.444"]),
    ],
)
def test_numbers_are_as_short_as_tells_them_apart(values, texts):
    assert short_numbers(values) == texts


@given(st.lists(st.floats(allow_nan=False, allow_infinity=False, width=64), min_size=1, max_size=20))
def test_different_values_never_have_the_same_text(values):
    full = [f"{value + 0.0:.12g}" for value in values]
    texts = short_numbers(values)

    assert len(set(texts)) == len(set(full))
    assert all((a == b) == (x == y) for (a, x), (b, y) in pairwise(zip(texts, full, strict=True)))


def test_files_are_named_by_short_numbers_and_the_journal_by_long_ones():
    order = Order(plan(fc.linspace(0, 4, 10)))
    shot = list(order)[1]

    assert order.stem(shot, 1) == "x_0.444_up_r1_a1"
    assert order.key(shot) == "x=0.444444444444_up repeat=0"


# -- templates -----------------------------------------------------------------------------------------


def test_lab_s_names():
    made = names("{time}_laser_chip_{laser_chip}_volt_{x}V", [4 / 9])

    assert stems(made) == ["2025-02-18T17:03:08.123456+0800_laser_chip_ULN00238_volt_0.444V"]


@pytest.mark.parametrize(
    ("template", "values", "repeats", "first_and_last"),
    [
        ("v{x}", [[0, 1]], 1, ("v0", "v1")),
        ("v{x}", [[0, 1]], 2, ("v0_r1", "v1_r2")),
        ("v{x}", [[0, 1, 1, 0]], 1, ("v0_x_0_up_r1", "v0_x_0_down_r1")),
        ("v{x}", [[0, 1], [5, 6]], 1, ("v0_x_0_up_y_5_up_r1", "v1_x_1_up_y_6_up_r1")),
        ("v{x}-{y}_{repeat}", [[0, 1], [5, 6]], 2, ("v0-5_1", "v1-6_2")),
        ("run_{point}", [[0, 1, 1, 0]], 2, ("run_x_0_up_r1", "run_x_0_down_r2")),
        ("{note}{x}", [[1]], 1, ("20--C-µ1", "20--C-µ1")),
        ("fixed", [[1]], 1, ("fixed", "fixed")),
        ("fixed", [[1, 2]], 1, ("fixed_x_1_up_r1", "fixed_x_2_up_r1")),
    ],
)
def test_names_are_all_different(template, values, repeats, first_and_last):
    made = stems(names(template, *values, repeats=repeats))

    assert len(set(made)) == len(made)
    assert (made[0], made[-1]) == first_and_last


def test_later_attempts_have_names_of_their_own():
    made = names("v{x}", [0, 1])

    assert stems(made, 2) == ["v0_a2", "v1_a2"]
    assert stems(names("{time}", [0]), 2) == [f"{NOW:%Y-%m-%dT%H:%M:%S.%f%z}"]


def test_plan_s_metadata_goes_before_the_board_s_details():
    made = names("{laser_chip}_{fibre}", [0], meta={"laser_chip": "new", "fibre": "F12"})

    assert stems(made) == ["new_F12"]


@pytest.mark.parametrize(
    ("template", "message"),
    [
        ("{volt}", "unknown key 'volt'"),
        ("{laser_chpi}", "did you mean 'laser_chip'"),
        ("{x:.2f}", "with a format"),
        ("{x!r}", "with a format"),
        ("{}", "without a key"),
        ("{x", "expected '}'"),
        ("x}", "Single '}'"),
        ("a/b{x}", "'a/b'"),
        ("../{x}", "'../'"),
        ("a b{x}", "'a b'"),
        ("a\0{x}", "use letters"),
        ("a\n{x}", "use letters"),
        ("", "name is empty"),
        (".{x}", "no file can be called"),
        ("-{x}", "no file can be called"),
        ("{x}.bin", "no file can be called"),
        ("x" * 300, "keep it short"),
        ("{x.real}", "unknown key"),
        ("{x[0]}", "unknown key"),
        ("{{x}}", "'{'"),
    ],
)
def test_wrong_templates_are_refused(template, message):
    with pytest.raises(ConfigError, match="name") as caught:
        names(template, [0, 1])
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_windows_have_no_time_in_their_names():
    with pytest.raises(ConfigError, match="gapless"):
        names("{time}", [0], gapless=True)


def test_another_name_is_another_plan():
    assert differences(plan([0]), plan([0], name="v{x}")) == ["name: None -> 'v{x}'"]


# -- sweeps --------------------------------------------------------------------------------------------


def run(source, values, folder, **options):
    with fc.open(source, ring="16MiB") as board:
        return fc.sweep(board, fc.Axis(Device(), values, name="x"), save=folder, progress=False, **options)


def test_sweep_s_files_have_their_names(tmp_path):
    res = run(SIM, [0, 4 / 9], tmp_path, name="{time}_fibre_{fibre}_x_{x}V", meta={"fibre": "F12"})

    found = [path.name for path in res.files()]
    assert [name[len("2025-02-18T17:03:08.123456+0800") :] for name in found] == [
        "_fibre_F12_x_0V.bin",
        "_fibre_F12_x_0.444V.bin",
    ]
    times = [datetime.fromisoformat(re.match(r"[^_]+", name)[0]) for name in found]
    starts = [fc.load(path).start for path in res.files()]
    assert all(abs((a - b).total_seconds()) < 5 for a, b in zip(times, starts, strict=True))
    assert len(fc.load_many(str(tmp_path / "*.bin"))) == 2


def test_attempt_that_failed_keeps_its_file_and_the_next_has_another(tmp_path):
    res = run(failing_board(tmp_path, 1), [0, 1], tmp_path / "s", name="v{x}")

    assert [path.name for path in res.files()] == ["v0_a2.bin", "v1.bin"]
    assert (tmp_path / "s" / "v0.bin").exists()


def test_file_that_nobody_knows_of_is_stepped_aside_from(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    (folder / "v0.bin").write_text("precious")
    res = run(SIM, [0, 1], folder, name="v{x}")

    assert [path.name for path in res.files()] == ["v0_a2.bin", "v1.bin"]
    assert (folder / "v0.bin").read_text() == "precious"


@pytest.mark.parametrize("dry_run", [True, False])
def test_wrong_name_is_refused_before_anything_is_set(tmp_path, dry_run):
    with pytest.raises(ConfigError, match="unknown key 'volt'"):
        run(SIM, [0, 1], tmp_path / "s", name="{volt}", dry_run=dry_run)
    assert not (tmp_path / "s").exists()


def test_sweep_goes_on_with_the_names_that_it_had(tmp_path):
    run(SIM, [0, 1], tmp_path, name="v{x}", stop_when=lambda row: True)
    res = run(SIM, [0, 1], tmp_path, name="v{x}", resume=True)

    assert [path.name for path in res.files()] == ["v0.bin", "v1.bin"]


def test_gapless_sweep_has_its_names(tmp_path):
    res = run(
        "sim://?rate=2MHz&pattern=counter&fifo=512MiB", [0, 1], tmp_path, name="v{x}", record="20ms", repeats=2,
        gapless=True, fifo="5ms",
    )  # fmt: skip

    assert [path.name for path in res.files()] == ["v0_r1.bin", "v0_r2.bin", "v1_r1.bin", "v1_r2.bin"]


def test_window_whose_name_is_taken_in_mid_run_counts_under_its_other_name(tmp_path):
    def device(value):
        if value == 1:
            (tmp_path / "v1.bin").write_text("precious")

    with fc.open("sim://?rate=2MHz&pattern=counter&fifo=512MiB", ring="32MiB") as board:
        res = fc.sweep(
            board, fc.Axis(device, [0, 1], name="x"), save=tmp_path, progress=False, name="v{x}", record="20ms",
            gapless=True, fifo="5ms",
        )  # fmt: skip

    assert [path.name for path in res.files()] == ["v0.bin", "v1-2.bin"]
    assert fc.load(res.files()[1]).meta["x"] == "1"
    assert (tmp_path / "v1.bin").read_text() == "precious"
