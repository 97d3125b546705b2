"""``fastcap spectrogram`` from outside."""

from __future__ import annotations

from datetime import timedelta
from pathlib import Path

import pytest
from cli_runs import CommandLine
from fibre_files import NIGHT, fibre_words, write_file

pytest_plugins = ["command_line"]

PNG = b"\x89PNG\r\n\x1a\n"


@pytest.fixture
def night(tmp_path: Path) -> Path:
    """Three files of 10 s, one missing between them."""
    folder = tmp_path / "night"
    folder.mkdir()
    for k in (0, 1, 3):
        write_file(
            folder / f"f{k}.bin",
            fibre_words(100_000 * k, 100_000 * (k + 1)),
            NIGHT + k * timedelta(seconds=10),
        )
    return folder


@pytest.fixture(autouse=True)
def no_display(cli: CommandLine) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        cli.environment.pop(name, None)


def test_spectrogram_draws_all_files_on_one_axis(cli: CommandLine, night: Path, tmp_path: Path) -> None:
    target = tmp_path / "night.png"
    ended = cli(
        "spectrogram", night, "--every", "5s", "--band", "30:50", "--window", "1s", "-o", target, "--json"
    )

    assert ended.status == 0, ended.err
    assert target.read_bytes().startswith(PNG)
    told = ended.json
    assert told["files"] == [str(night / f"f{k}.bin") for k in (0, 1, 3)]
    assert (told["picture"], told["columns"], told["every_s"], told["window_s"]) == (str(target), 8, 5.0, 1.0)
    assert told["band_hz"] == [30.0, 50.0]


def test_without_options_the_picture_stands_beside_the_first_file(cli: CommandLine, night: Path) -> None:
    ended = cli("spectrogram", str(night / "*.bin"))

    assert ended.status == 0, ended.err
    picture = night / "f0.spectrogram.png"
    assert ended.out == f"{picture}\n"
    assert picture.read_bytes().startswith(PNG)


def test_results_are_kept_and_used_again(cli: CommandLine, night: Path, tmp_path: Path) -> None:
    common = ("spectrogram", night, "--every", "5s", "--results", tmp_path / "kept", "-o", tmp_path / "a.png")
    assert cli(*common).status == 0
    written = {path: path.stat().st_mtime_ns for path in (tmp_path / "kept").glob("*.npz")}
    assert len(written) == 6
    assert cli(*common).status == 0
    assert {path: path.stat().st_mtime_ns for path in written} == written

    other = cli(*common, "--band", "2:50")
    assert other.status == 2
    assert "band_hz=(1.5, 50.0)" in other.error
    assert "band_hz=(2.0, 50.0)" in other.error


@pytest.mark.parametrize(
    ("args", "status", "told"),
    [
        (("none.bin",), 1, "none.bin"),
        (("no*.bin",), 1, "no*.bin: no file matches"),
        (("{night}", "--band", "50"), 2, "--band '50' is not two frequencies such as 1.5:50"),
        (("{night}", "--band", "50:1.5"), 2, "needs 0 <= lower < upper"),
        (("{night}", "--band", "1:9000"), 2, "reaches beyond the 5000 Hz"),
        (("{night}", "--every", "0"), 2, "--every 0 is no time above 0"),
        (("{night}", "--every", "soon"), 2, "'soon' is not a time"),
        (("{night}", "--every", "1h"), 2, "no window of 1 h is filled to 0.5 or more"),
        (("{night}", "--every", "1s", "--window", "2s"), 2, "window of 2 s is longer than"),
        (("{night}", "--min-fill", "2"), 2, "min_fill 2.0 is not a share"),
        (("{night}", "-o", "none/a.png"), 2, "none/a.png cannot be written"),
        ((), 2, "FILE..."),
    ],
)
def test_what_makes_no_sense_is_one_line(cli: CommandLine, night: Path, args, status: int, told: str) -> None:
    ended = cli("spectrogram", *(arg.format(night=night) for arg in args))

    assert (ended.status, ended.out) == (status, "")
    assert told in ended.error


def test_help_has_an_example(cli: CommandLine) -> None:
    assert "Example:  fastcap spectrogram" in cli("spectrogram", "--help").out
