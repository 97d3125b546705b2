"""Wrong input: one clear line, the right exit status, nothing left behind."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest
from cli_runs import COMMAND, CommandLine, board_program
from support.needs import requires_root
from support.waiting import wait_until

pytest_plugins = ["command_line"]

UNPRIVILEGED = ("setpriv", "--bounding-set=-dac_override,-dac_read_search")
AT_ONCE = "sim://?rate=2MHz&pattern=counter&speed=max"

WRONG_USAGE = {
    "unknown option": (["capture", "--sekonds", "1"], "--sekonds"),
    "unknown command": (["capcher"], "capcher"),
    "unknown choice": (["capture", AT_ONCE, "--on-full", "panic"], "panic"),
    "no source": (["capture"], "no source"),
    "two sources": (["capture", AT_ONCE, "--", "cat"], "SOURCE"),
    "no command after --": (["capture", "--to", "none", "--"], "--"),
    "no destination": (["capture", AT_ONCE], "--to"),
    "seconds and samples": (["capture", AT_ONCE, "--seconds", "1", "--samples", "2"], "--samples 2"),
    "two names": (["capture", AT_ONCE, "--to", "x.bin", "--name", "y"], "--name y"),
    "bench of no directory": (["bench", "nas", ""], "no directory"),
    "rehearsal in no directory": (["bench", "rehearse", ""], "no directory"),
    "seconds that are none": (["capture", AT_ONCE, "--to", "none", "--seconds", "soon"], "soon"),
    "no seconds": (["capture", AT_ONCE, "--to", "none", "--seconds", "0"], "0"),
    "samples that are none": (["capture", AT_ONCE, "--to", "none", "--samples", "many"], "many"),
    "negative samples": (["capture", AT_ONCE, "--to", "none", "--samples", "-5"], "-5"),
    "size that is none": (["capture", AT_ONCE, "--to", "none", "--ring", "64M"], "64M"),
    "meta without value": (["capture", AT_ONCE, "--to", "none", "--meta", "laser"], "laser"),
    "analysis that is none": (["capture", AT_ONCE, "--to", "none", "--analyse", "nothing"], "nothing"),
    "override without a configuration": (["capture", AT_ONCE, "--to", "none", "--set", "a=1"], "a=1"),
    "repeat without a number": (["capture", AT_ONCE, "--to", "none", "--repeat"], "--repeat"),
    "repeat zero": (["capture", AT_ONCE, "--to", "none", "--repeat", "0"], "--repeat"),
    "unknown scheme": (["capture", "http://board", "--to", "none"], "http"),
    "unknown key of the emulator": (["capture", "sim://?ratte=1", "--to", "none"], "ratte"),
    "hexadecimal": (["capture", "--to", "none", "--", "teststream", "-U", "/dev/x", "-l", "-x"], "-x"),
    "ASCII": (["capture", "--to", "none", "--", "teststream", "-U", "/dev/x", "-l", "-A"], "-A"),
    "an output file": (["capture", "--to", "none", "--", "teststream", "-b", "-l", "-o", "f"], "-o"),
    "a demo of no length": (["demo", "--seconds", "0"], "0"),
    "verify nothing": (["verify"], "FILE"),
    "a split of nothing": (["capture", AT_ONCE, "--to", "none", "--split", "1"], "--split"),
}  # fmt: skip


@pytest.mark.parametrize("case", WRONG_USAGE)
def test_wrong_usage_is_one_line_and_status_2(clean_cli: CommandLine, tmp_path: Path, case: str) -> None:
    args, named = WRONG_USAGE[case]
    ended = clean_cli(*args, cwd=tmp_path)

    assert ended.status == 2
    assert named in ended.error
    assert ended.out == ""
    assert not list(tmp_path.iterdir())


CANNOT = {
    "missing program": (["--", "/nonexistent/program"], "/nonexistent/program"),
    "missing program on PATH": (["--", "no-such-program-here"], "no-such-program-here"),
    "missing device": (["--", "./teststream", "-U", "/dev/no-such-board", "-l", "-b"], "/dev/no-such-board"),
    "not executable": (["--", "./plain"], "./plain"),
    "missing file": (["file:///no/such/file?rate=2MHz"], "/no/such/file"),
    "ring too large": ([AT_ONCE, "--ring", "500TiB"], "bytes free"),
    "ring too small": ([AT_ONCE, "--ring", "4096"], "4096"),
    "ring smaller than four fsyncs": ([AT_ONCE, "--ring", "4MiB", "--fsync-every", "2MiB"], "--fsync-every"),
    "no destination there": ([AT_ONCE, "--to", "nowhere"], "nowhere"),
    "destination checked first": ([AT_ONCE, "--to", "nowhere", "--check-first"], "nowhere"),
    "destination is a file": ([AT_ONCE, "--to", "plain"], "plain"),
    "file exists": ([AT_ONCE, "--to", "taken.bin"], "taken.bin"),
    "sidecar exists": ([AT_ONCE, "--to", "half.bin"], "half.sigmf-meta"),
    "a command without output": (["--", "true"], "true"),
    "an empty file": (["file://empty"], "empty"),
}  # fmt: skip


@pytest.fixture
def place(tmp_path: Path) -> Path:
    """A directory with a few things in the way."""
    board_program(tmp_path / "teststream")
    for name in ("plain", "taken.bin", "half.sigmf-meta", "empty"):
        (tmp_path / name).write_text("" if name == "empty" else "precious")
    return tmp_path


@pytest.mark.parametrize("case", CANNOT)
def test_what_cannot_be_done_is_one_line_and_status_1(clean_cli: CommandLine, place: Path, case: str) -> None:
    args, named = CANNOT[case]
    before = {p: p.read_bytes() for p in place.iterdir()}
    to = [] if "--to" in args else ["--to", "."]
    ended = clean_cli(
        "capture", *to, *(a.replace("file://empty", f"file://{place}/empty") for a in args), cwd=place
    )

    assert ended.status == 1
    assert named in ended.error
    assert {p: p.read_bytes() for p in place.iterdir()} == before


@pytest.mark.parametrize(
    "args", [["capture", "-", "--to", "x.bin"], ["capture", "-", "--to", "x.bin", "--json"]]
)
def test_closed_standard_input_is_no_stream(clean_cli: CommandLine, tmp_path: Path, args: list[str]) -> None:
    ended = clean_cli(*args, cwd=tmp_path, prefix=("sh", "-c", 'exec "$@" <&-', "sh"))

    assert ended.status == 1
    assert "standard input" in ended.error
    assert not list(tmp_path.iterdir())


def test_ring_too_small_is_told_what_to_do(clean_cli: CommandLine) -> None:
    assert "larger --ring" in clean_cli("capture", AT_ONCE, "--to", "none", "--ring", "4KiB").error


def test_group_without_a_command_shows_its_help(clean_cli: CommandLine) -> None:
    ended = clean_cli("board")

    assert ended.status == 2
    assert ended.err.startswith("Usage: fastcap board")


def test_json_that_cannot_be_written_is_one_line(clean_cli: CommandLine, tmp_path: Path) -> None:
    args = ["capture", AT_ONCE, "--to", str(tmp_path), "--samples", "1000", "--json"]
    ended = clean_cli(*args, prefix=("sh", "-c", 'exec "$@" >/dev/full', "sh"))

    assert ended.status == 1
    assert "No space left" in ended.error


def test_error_with_json_is_one_object_too(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli("capture", AT_ONCE, "--to", tmp_path / "nowhere", "--samples", "1000", "--json")

    assert ended.status == 1
    assert "nowhere" in ended.json["error"]


def test_debug_shows_where(clean_cli: CommandLine) -> None:
    ended = clean_cli("capture", "--debug", AT_ONCE, "--to", "none", "--seconds", "soon")

    assert ended.status == 2
    assert "Traceback" in ended.err


INI = """
[Board]
num_samples = 1000
skip_num = 4
speed: low
encode: binary
[Paths]
save_dir: {place}
board: {place}/device
stream_exec: {place}/teststream
[Phasemeter Details]
laser_num = 2
[Extended Sampling]
num_runs = 3
"""


@pytest.mark.parametrize(
    ("old", "new", "named"),
    [
        ("num_samples = 1000", "num_samples = __import__('os').system('touch boo')", "num_samples"),
        ("speed: low", "speed: medium", "medium"),
        ("encode: binary", "encode: hexadecimal", "hexadecimal"),
        ("[Paths]", "[Paths", "[Paths"),
    ],
)
def test_wrong_ini_is_refused(clean_cli: CommandLine, place: Path, old: str, new: str, named: str) -> None:
    (place / "device").touch()
    (place / "board.ini").write_text(INI.format(place=place).replace(old, new))
    ended = clean_cli("capture", "--config", "board.ini", cwd=place)

    assert ended.status == 2
    assert named in ended.error
    assert not (place / "boo").exists()


def test_unknown_key_of_toml_is_refused(clean_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text('[board]\nsource = "sim://"\n[capture]\nsecconds = 3\n')
    ended = clean_cli("capture", "--config", tmp_path / "board.toml", "--to", "none")

    assert ended.status == 2
    assert "secconds" in ended.error


@requires_root
@pytest.mark.root
def test_destination_without_permission_is_named(clean_cli: CommandLine, tmp_path: Path) -> None:
    place = tmp_path / "locked"
    place.mkdir(mode=0o755)
    os.chown(place, 65534, 65534)  # and root, without his privilege, is anybody
    ended = clean_cli("capture", AT_ONCE, "--to", place, "--samples", "1000", prefix=UNPRIVILEGED)

    assert ended.status == 1
    assert str(place) in ended.error
    assert "Permission denied" in ended.error
    assert not list(place.iterdir())


@requires_root
@pytest.mark.root
def test_device_without_permission_is_named(clean_cli: CommandLine, place: Path) -> None:
    (place / "device").touch(mode=0o600)
    os.chown(place / "device", 65534, 65534)
    command = ("./teststream", "-U", "device", "-s", "4", "-l", "-b")
    ended = clean_cli("capture", "--to", "none", "--", *command, prefix=UNPRIVILEGED, cwd=place)

    assert ended.status == 1
    assert "udev rule" in ended.error


# -- data that are not as they should be: captured all the same, and told -----------------------------

BAD_DATA = {
    "torn header": ("sim://?rate=2MHz&header=torn&fault=die@0%2B0", "header"),
    "garbage header": (f"{AT_ONCE}&header=garbage", None),
    "missing magic word": (f"{AT_ONCE}&header=missing", "magic word"),
    "died in a word": (f"{AT_ONCE}&fault=die@5000%2B3", "middle of a word"),
    "bad exit status": (f"{AT_ONCE}&fault=exit@5000:7", "status 7"),
    "ended early": (f"{AT_ONCE}&fault=exit@5000:0", "early"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD_DATA)
def test_bad_data_is_kept_and_told(clean_cli: CommandLine, tmp_path: Path, case: str) -> None:
    source, named = BAD_DATA[case]
    ended = clean_cli("capture", source, "--to", tmp_path / "run.bin", "--samples", "10000", "--json")

    report = ended.json
    assert (tmp_path / "run.bin").stat().st_size == report["bytes"] > 0
    if named is not None:
        assert ended.status == 3
        assert report["complete"] is False
        assert named in ended.error


def test_words_dropped_are_told(clean_cli: CommandLine, tmp_path: Path) -> None:
    """A ring of 1 MiB, and a source that is far too fast and is not made to wait."""
    words = 4_000_000
    script = f"import os\nb = bytes(8 * 50000)\nfor _ in range({words} // 50000):\n    os.write(1, b)\n"
    (tmp_path / "source.py").write_text(script)
    command = ["--", sys.executable, tmp_path / "source.py"]
    ended = clean_cli("capture", "--to", tmp_path / "run.bin", "--ring", "1MiB", "--json", *command)

    report = ended.json
    lost = sum(entry["words"] for entry in report["ledger"] if entry["certainty"] == "exact")
    assert report["words_lost"] == lost > 0
    assert report["words"] + lost == words
    assert ended.status == 3


def test_device_in_use_names_who_has_it(cli: CommandLine, place: Path) -> None:
    device = place / "device"
    device.touch()
    command = ["--", place / "teststream", "-U", device, "-s", "4", "-l", "-b"]
    first = cli.start("capture", "--to", place / "first.bin", *command)
    part = place / "first.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 20, "the first capture to run")
    second = cli("capture", "--to", place / "second.bin", *command)

    assert second.status == 1
    assert "is in use by" in second.error
    assert "first.bin" in second.error
    assert not list(place.glob("second*"))
    first.terminate()
    assert cli.finish(first).status == 130
    cli.check_clean()


def test_emulator_says_what_it_does_not_know() -> None:
    import subprocess

    done = subprocess.run(
        [*COMMAND, "sim", "--patern", "counter"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 2
    assert "--patern" in done.stderr
    assert len(done.stderr.splitlines()) == 1
