"""Values for other programs: the same numbers, with times and units, and nothing is ever overwritten."""

from __future__ import annotations

import csv
import errno
import json
import os
import subprocess
import sys
import tracemalloc
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray
from made_files import ledger_entry, write_capture

from fastcap import Trace, _newfile, load
from fastcap._table import COLUMNS
from fastcap.errors import ConfigError, SinkError
from fastcap.export import export, to_xarray
from fastcap.words import encode

N = 150_000  # more than a block
ENDINGS = ["npz", "csv", "nc"]
ALL = ("phase", "radius", "i", "q", "m")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A capture with a gap of 500 words after its first 100,000."""
    path = tmp_path / "run.bin"
    words = encode(np.arange(N + 500) * 0.4, 30_000.0)
    kept = np.concatenate([words[:100_000], words[100_500:]])
    write_capture(path, kept.tobytes(), ledger=[ledger_entry(100_000, 500)], words_lost=500)
    return path


def read(path: Path) -> dict[str, Any]:
    """Return the columns of an exported file by the names that they have in npz and CSV."""
    if path.suffix == ".npz":
        with np.load(path) as found:
            return {name: found[name] for name in found.files}
    if path.suffix == ".csv":
        with path.open(newline="") as file:
            names, *rows = csv.reader(file)
        return {name: np.array([float(row[k]) for row in rows]) for k, name in enumerate(names)}
    found = xarray.load_dataset(path)
    return {COLUMNS[name].full_name: found[name].values for name in found.data_vars} | {
        "time_s": found["time"].values
    }


@pytest.mark.parametrize("ending", ENDINGS)
def test_values_are_exactly_those_of_the_trace(path: Path, tmp_path: Path, ending: str) -> None:
    trace = load(path)

    made = export(trace, tmp_path / f"out.{ending}", what=ALL)

    found = read(made)
    assert made == tmp_path / f"out.{ending}"
    for name, column in COLUMNS.items():
        np.testing.assert_array_equal(found[column.full_name], getattr(trace, name)())
    index = np.arange(N)
    np.testing.assert_array_equal(found["time_s"], (index + 500 * (index >= 100_000)) / 2e6)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_window_keeps_the_files_times_and_rollovers(path: Path, tmp_path: Path, ending: str) -> None:
    found = read(export(load(path), tmp_path / f"out.{ending}", start="60ms", duration="10ms"))

    assert {"time_s", "phase_turns", "radius_counts"} <= set(found)
    np.testing.assert_array_equal(found["time_s"], np.arange(120_000, 140_000) / 2e6)
    np.testing.assert_allclose(found["phase_turns"], 0.4 * np.arange(120_000, 140_000), atol=1e-4)


@pytest.mark.parametrize("ending", ["npz", "nc"])
@pytest.mark.parametrize("rate", [None, "20kHz"])
def test_a_windows_times_count_from_the_start_that_goes_with_them(
    path: Path, tmp_path: Path, ending: str, rate: str | None
) -> None:
    trace = load(path)
    assert trace.start is not None

    made = export(trace, tmp_path / f"out.{ending}", start="10ms", duration="5ms", rate=rate)

    start = read(made)["start"] if ending == "npz" else xarray.load_dataset(made).attrs["start"]
    first = datetime.fromisoformat(str(start)) + timedelta(seconds=read(made)["time_s"][0])
    assert first == trace.window("10ms").start == trace.start + timedelta(milliseconds=10)


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_lower_rate_has_the_filtered_phase_at_its_own_times(
    path: Path, tmp_path: Path, ending: str
) -> None:
    trace = load(path)

    found = read(export(trace, tmp_path / f"out.{ending}", start="10ms", duration="20ms", rate="20kHz"))

    assert set(found) >= {"time_s", "phase_turns"}
    assert "radius_counts" not in found
    np.testing.assert_allclose(found["time_s"], 0.01 + np.arange(400) / 20_000, rtol=1e-12)
    np.testing.assert_array_equal(found["phase_turns"], trace.window("10ms", "20ms").phase(rate="20kHz"))
    np.testing.assert_allclose(found["phase_turns"], 0.4 * 2e6 * found["time_s"], atol=1e-3)


@pytest.mark.parametrize("ending", ENDINGS)
def test_an_empty_window_is_an_empty_file(path: Path, tmp_path: Path, ending: str) -> None:
    found = read(export(load(path), tmp_path / f"out.{ending}", start="60ms", duration=0))

    assert found["time_s"].size == found["phase_turns"].size == 0


def test_units_and_facts_go_with_the_values(path: Path, tmp_path: Path) -> None:
    trace = load(path)

    with np.load(export(trace, tmp_path / "out.npz")) as archive:
        assert archive["sample_rate_hz"] == 2e6
        assert archive["start"] == "2026-11-22T10:00:00.123456+08:00"
        assert json.loads(str(archive["meta"])) == {"laser_curr": "392.8mA"}
    dataset = xarray.load_dataset(export(trace, tmp_path / "out.nc", what=ALL))
    assert dataset.attrs["start"] == "2026-11-22T10:00:00.123456+08:00"
    assert dataset.attrs["words_lost"] == 500
    assert "# command line: teststream" in dataset.attrs["header"]
    assert [dataset[name].attrs["units"] for name in ("time", *ALL)] == [
        "s",
        "turn",
        "count",
        "count",
        "count",
        "turn",
    ]
    assert [str(dataset[name].dtype) for name in ALL] == ["float64", "float64", "int32", "int32", "int16"]


def test_dataset_in_memory_is_the_one_in_the_file(path: Path, tmp_path: Path) -> None:
    part: dict[str, Any] = {"what": ALL, "start": "49ms", "duration": "3ms"}
    made = to_xarray(load(path), **part)

    saved = xarray.load_dataset(export(load(path), tmp_path / "out.nc", **part))

    xarray.testing.assert_equal(made, saved)
    assert made.attrs == saved.attrs
    assert (
        made["phase"].attrs
        == saved["phase"].attrs
        == {"units": "turn", "long_name": COLUMNS["phase"].long_name}
    )


def test_without_a_rate_words_are_numbered(tmp_path: Path) -> None:
    trace = Trace.from_words(encode(np.arange(10.0), 5.0))

    with np.load(export(trace, tmp_path / "out.npz")) as found:
        np.testing.assert_array_equal(found["word"], np.arange(10))
        assert "time_s" not in found


@pytest.mark.parametrize("ending", ENDINGS)
def test_a_file_that_exists_is_left_as_it_is(path: Path, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"out.{ending}"
    target.write_text("mine")

    with pytest.raises(ConfigError, match="ever overwritten"):
        export(load(path), target)

    assert target.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_a_file_that_comes_into_being_meanwhile_is_left_as_it_is(path: Path, tmp_path: Path) -> None:
    target = tmp_path / "out.npz"

    with pytest.raises(ConfigError, match="exists"):
        export(load(path), target, progress=lambda done, total: target.write_text("mine"))

    assert target.read_text() == "mine"
    assert not list(tmp_path.glob(".*"))


def test_without_links_a_file_is_renamed_and_still_never_replaces(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def no_links(*_args: Any, **_options: Any) -> None:
        raise OSError(errno.EPERM, "no links here")  # as FAT and some network file systems say

    monkeypatch.setattr(os, "link", no_links)
    with _newfile.new_file(tmp_path / "a") as part:
        part.write_text("new")
    assert (tmp_path / "a").read_text() == "new"
    with pytest.raises(ConfigError, match="exists"), _newfile.new_file(tmp_path / "b") as part:
        (tmp_path / "b").write_text("mine")
    assert (tmp_path / "b").read_text() == "mine"


@pytest.mark.parametrize("ending", ENDINGS)
def test_what_is_not_finished_leaves_nothing(path: Path, tmp_path: Path, ending: str) -> None:
    def stop(done: int, total: int) -> None:
        assert not (tmp_path / f"out.{ending}").exists()
        raise KeyboardInterrupt

    before = set(tmp_path.iterdir())
    with pytest.raises(KeyboardInterrupt):
        export(load(path), tmp_path / f"out.{ending}", progress=stop)

    assert set(tmp_path.iterdir()) == before


def test_a_full_disk_is_told_and_leaves_nothing(path: Path, loopdisk: Any) -> None:
    target = loopdisk("4MiB").mount / "out.npz"

    with pytest.raises(SinkError, match="No space left"):
        export(load(path), target, what=ALL)

    assert not [file for file in target.parent.iterdir() if "out" in file.name]


def test_progress_ends_at_the_total(path: Path, tmp_path: Path) -> None:
    for ending in ENDINGS:
        seen: list[tuple[int, int]] = []
        export(
            load(path),
            tmp_path / f"out.{ending}",
            progress=lambda done, total, seen=seen: seen.append((done, total)),
        )
        assert seen[-1] == (3 * N, 3 * N)
        assert sorted(seen) == seen


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"path": "out.mat"}, r"\.npz, \.csv, \.nc"),
        ({"path": "out"}, r"\.npz, \.csv, \.nc"),
        ({"path": "missing/out.csv"}, "no folder"),
        ({"what": ("phase", "volts")}, "volts"),
        ({"what": ()}, "nothing"),
        ({"what": ("i", "i")}, "at most once"),
        ({"what": ("radius",), "rate": "400Hz"}, "only the phase"),
    ],
)
def test_what_makes_no_sense_is_refused(
    path: Path, tmp_path: Path, options: dict[str, Any], said: str
) -> None:
    with pytest.raises(ConfigError, match=said):
        export(load(path), **{"path": tmp_path / options.pop("path", "out.csv"), **options})

    assert [p.name for p in tmp_path.iterdir() if p.name.startswith((".", "out"))] == []


def test_a_window_outside_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="not within this trace"):
        export(load(path), tmp_path / "out.csv", start="1h")


@pytest.mark.parametrize(("package", "ending"), [("h5netcdf", "nc"), ("h5py", "nc"), ("xarray", "")])
def test_a_missing_package_is_named(path: Path, tmp_path: Path, package: str, ending: str) -> None:
    call = (
        f"export(load({str(path)!r}), {str(tmp_path / 'out.nc')!r})"
        if ending
        else f"to_xarray(load({str(path)!r}))"
    )
    code = (
        f"import sys; sys.modules[{package!r}] = None\n"
        "from fastcap import load\nfrom fastcap.errors import ConfigError\n"
        "from fastcap.export import export, to_xarray\n"
        f"try:\n    {call}\nexcept ConfigError as error:\n    print(error)"
    )

    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout

    assert f"{package}, which is not installed: pip install 'fastcap[xarray]'" in said


@pytest.mark.parametrize(
    ("ending", "words", "most_mib"), [("npz", 4 << 20, 24), ("nc", 4 << 20, 24), ("csv", 1 << 18, 12)]
)
def test_memory_does_not_grow_with_the_window(tmp_path: Path, ending: str, words: int, most_mib: int) -> None:
    path = tmp_path / "large.bin"
    write_capture(path, b"", sidecar=False)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size + 8 * words)
    export(load(path)[:100_000], tmp_path / f"small.{ending}")  # imports are not counted

    tracemalloc.start()
    try:
        made = export(load(path), tmp_path / f"large.{ending}")
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()

    assert peak_bytes < most_mib << 20
    assert made.stat().st_size > 8 * words
