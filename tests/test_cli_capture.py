"""``fastcap capture`` from outside: files, reports, exit statuses, signals."""

from __future__ import annotations

import hashlib
import json
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import COUNTER, DEADLINE_S, CommandLine, board_program, counted

pytest_plugins = ["command_line"]

AT_ONCE = f"{COUNTER}&speed=max"
WORDS = 300_000
LAB_NAME = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}[+-]\d{4}_laser_chip_ULN00238\.bin"


def test_file_and_report_are_complete(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(
        "capture", AT_ONCE, "--to", tmp_path, "--samples", WORDS, "--meta", "laser=3 mA", "--json"
    )

    assert ended.status == 0, ended.err
    report = ended.json
    path = Path(report["path"])
    assert path.parent == tmp_path
    assert path.name.endswith("_laser_3-mA.bin")
    assert (counted(path) == np.arange(WORDS, dtype=np.uint64)).all()
    assert report["checksum"]["value"] == hashlib.sha256(path.read_bytes()).hexdigest()
    sidecar = json.loads(path.with_suffix(".sigmf-meta").read_text())
    assert sidecar["global"]["fastcap:report"] == report
    assert report["complete"] is True
    assert report["words"] == WORDS
    assert report["meta"] == {"laser": "3 mA"}
    assert sorted(p.name for p in tmp_path.iterdir()) == sorted(
        path.stem + s for s in (".bin", ".index", ".sigmf-meta")
    )


def test_seconds_cut_at_the_exact_word(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli("capture", COUNTER, "--to", tmp_path / "run.bin", "--seconds", "100ms", "--json")

    assert ended.status == 0
    assert ended.json["words"] == 200_000
    assert ended.json["duration_s"] == 0.1


def test_what_it_does_is_said_first(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(
        "capture", AT_ONCE, "--to", tmp_path / "run.bin", "--samples", "1000", "--ring", "16MiB"
    )

    assert "survives a stall" in ended.err
    assert "16 MiB" in ended.err
    assert "run.bin" in ended.out


def test_dry_run_starts_nothing(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(
        "capture", COUNTER, "--to", tmp_path, "--seconds", "1min", "--ring", "64MiB", "--dry-run", "--json"
    )

    plan = ended.json
    assert ended.status == 0
    assert plan["words"] == 120_000_000
    assert plan["sample_rate_hz"] == 2e6
    assert plan["ring_bytes"] == 64 << 20
    assert plan["survives_stall_s"] == pytest.approx((64 << 20) * 7 / 8 / 16e6)
    assert plan["free_bytes"] > 0
    assert plan["problems"] == []
    assert "-q" in plan["argv"]
    assert not list(tmp_path.iterdir())


def test_dry_run_tells_what_stands_in_the_way(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(
        "capture", "--to", tmp_path / "nowhere", "--dry-run", "--json", "--", "/no/such/program"
    )

    assert ended.status == 1
    assert len(ended.json["problems"]) == 2


def test_standard_input_waits(clean_cli: CommandLine, tmp_path: Path) -> None:
    source = subprocess.Popen(
        [*_sim(), "-s4", "-lb", "-v3", "-q", str(WORDS), "--pattern", "counter", "--speed", "max"],
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    ended = clean_cli(
        "capture", "-", "--to", tmp_path / "run.bin", "--ring", "1MiB", "--json", stdin=source.stdout
    )
    assert source.stdout is not None
    source.stdout.close()
    assert source.wait(DEADLINE_S) == 0

    assert ended.status == 0
    assert (counted(tmp_path / "run.bin") == np.arange(WORDS, dtype=np.uint64)).all()


def _sim() -> list[str]:
    return [sys.executable, "-P", "-m", "fastcap.sim.board"]


def test_file_is_replayed(clean_cli: CommandLine, tmp_path: Path) -> None:
    clean_cli("capture", AT_ONCE, "--to", tmp_path / "one.bin", "--samples", WORDS)
    ended = clean_cli("capture", f"file://{tmp_path}/one.bin", "--to", tmp_path / "two.bin", "--json")

    assert ended.status == 0
    assert (tmp_path / "one.bin").read_bytes() == (tmp_path / "two.bin").read_bytes()


def test_lab_configuration_names_everything(clean_cli: CommandLine, tmp_path: Path) -> None:
    board_program(tmp_path / "teststream")
    (tmp_path / "device").touch()
    (tmp_path / "board.ini").write_text(
        "[Board]\nnum_samples = 10 * 1000\nskip_num = 5 - 1\nspeed: low\nencode: binary\n"
        "[Phasemeter Details]\nlaser_num = 2\n"
        f"[Paths]\nbase_dir: {tmp_path}\nsave_dir: {tmp_path}\nboard: ${{base_dir}}/device\n"
        "stream_exec: ${base_dir}/teststream\n[Extended Sampling]\nnum_runs = 2\n"
    )
    ended = clean_cli(
        "capture", "--config", tmp_path / "board.ini", "--repeat", "--set", "num_samples=20000", "--json"
    )

    assert ended.status == 0, ended.err
    reports = ended.json["captures"]
    assert [report["words"] for report in reports] == [20_000, 20_000]
    assert all(report["path"].endswith("_laser_num_2.bin") for report in reports)
    assert len({report["path"] for report in reports}) == 2


def test_capture_section_of_toml_gives_defaults(clean_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "board.toml").write_text(
        f'[board]\nsource = "{AT_ONCE}"\n[capture]\nto = "{tmp_path}/a.bin"\nsamples = 1000\n'
        'checksum = "none"\n'
        "[meta]\nlaser = 2\n"
    )
    first = clean_cli("capture", "--config", tmp_path / "board.toml", "--json")
    second = clean_cli(
        "capture", "--config", tmp_path / "board.toml", "--to", tmp_path / "b.bin", "--samples", "500",
        "--json",
    )  # fmt: skip

    assert (first.json["words"], first.json["checksum"]["algorithm"]) == (1000, "none")
    assert first.json["meta"] == {"laser": "2"}
    assert (second.json["words"], Path(second.json["path"]).name) == (500, "b.bin")


def test_fixed_names_are_numbered_when_repeated(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli(
        "capture", AT_ONCE, "--to", tmp_path / "run.bin", "--samples", "1000", "--repeat", "3", "--json"
    )

    assert ended.status == 0
    assert sorted(p.name for p in tmp_path.glob("*.bin")) == ["run_0001.bin", "run_0002.bin", "run_0003.bin"]
    assert len(ended.json["captures"]) == 3


def test_split_files_follow_one_another(clean_cli: CommandLine, tmp_path: Path) -> None:
    ended = clean_cli("capture", COUNTER, "--to", tmp_path, "--seconds", "0.5", "--split", "0.2", "--json")

    reports = ended.json["captures"]
    assert ended.status == 0
    assert [report["words"] for report in reports] == [400_000, 400_000, 200_000]
    words = np.concatenate([counted(Path(report["path"])) for report in reports])
    assert (words == np.arange(1_000_000, dtype=np.uint64)).all()


def test_nothing_is_kept_if_asked(clean_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text("def count(trace):\n    return {'words': len(trace)}\n")
    ended = clean_cli(
        "capture", AT_ONCE, "--to", "none", "--samples", "5000", "--analyse", "mine:count", "--json",
        cwd=tmp_path,
    )  # fmt: skip

    assert ended.status == 0
    assert ended.json["path"] is None
    assert ended.json["analysis"]["function"]["result"] == {"words": 5000}
    assert [p.name for p in tmp_path.iterdir() if p.name != "__pycache__"] == ["mine.py"]


def test_wrong_analysis_costs_nothing(clean_cli: CommandLine, tmp_path: Path) -> None:
    (tmp_path / "mine.py").write_text(
        "def fail(trace):\n    raise RuntimeError('not today\\nnor tomorrow')\n"
    )
    ended = clean_cli(
        "capture", AT_ONCE, "--to", "run.bin", "--samples", "5000", "--analyse", "mine:fail", cwd=tmp_path
    )  # fmt: skip

    assert ended.status == 0
    assert "not today nor tomorrow; the capture is unharmed" in ended.out
    assert (tmp_path / "run.bin").exists()


@pytest.mark.parametrize(("plot", "to", "name"), [
    ([], "run.bin", "run.png"), (["other.png"], "run.bin", "other.png"), (["live.png"], "none", "live.png"),
])  # fmt: skip
def test_picture_is_drawn(
    clean_cli: CommandLine, tmp_path: Path, plot: list[str], to: str, name: str
) -> None:
    pytest.importorskip("matplotlib")
    ended = clean_cli("capture", AT_ONCE, "--to", to, "--samples", "50000", "--plot", *plot, cwd=tmp_path)

    assert ended.status == 0, ended.err
    assert (tmp_path / name).read_bytes().startswith(b"\x89PNG")


def test_stalls_are_remembered(clean_cli: CommandLine, tmp_path: Path) -> None:
    clean_cli("capture", AT_ONCE, "--to", tmp_path, "--samples", "1000", "--repeat", "2")

    history = Path(clean_cli.environment["XDG_STATE_HOME"]) / "fastcap" / "history.jsonl"
    entries = [json.loads(line) for line in history.read_text().splitlines()]
    assert [entry["destination"] for entry in entries] == [str(tmp_path)] * 2
    assert all(entry["stalls"] == [] for entry in entries)


def test_module_runs_as_the_command(clean_cli: CommandLine) -> None:
    ended = clean_cli("--version")
    assert ended.status == 0
    assert ended.out.startswith("fastcap 0.")


def test_help_names_every_command_and_none_that_is_not_there(clean_cli: CommandLine) -> None:
    ended = clean_cli("--help")
    commands = [
        "demo",
        "capture",
        "tee",
        "sim",
        "info",
        "verify",
        "plot",
        "spectrogram",
        "index",
        "export",
        "sweep",
        "voa",
        "board",
        "bench",
        "status",
    ]
    listed = ended.out.split("Commands:")[1].split("Example")[0]
    assert [line.split()[0] for line in listed.splitlines() if line[2:3].strip()] == commands
    for command in commands:
        shown = clean_cli(command, "--help")
        assert shown.status == 0
        assert "xample" in shown.out


@pytest.mark.parametrize("runs", [1, 3])
def test_runs_of_a_configuration_are_files_of_one_run(
    clean_cli: CommandLine, tmp_path: Path, runs: int
) -> None:
    board_program(tmp_path / "teststream")
    (tmp_path / "device").touch()
    (tmp_path / "board.ini").write_text(
        "[Board]\nnum_samples = int(3e4)\nskip_num = 2\nspeed: High\nencode: bin\npattern = counter\n"
        "[Phasemeter Details]\nlaser_chip = ULN00238\n"
        f"[Paths]\nsave_dir: {tmp_path}/nas\nboard: {tmp_path}/device\nstream_exec: {tmp_path}/teststream\n"
        f"[Extended Sampling]\nnum_runs = {runs}\n"
    )
    (tmp_path / "teststream").write_text(
        (tmp_path / "teststream").read_text().replace('"$@"', '$(echo "$@" | sed "s/-pattern/--pattern/")')
    )
    (tmp_path / "nas").mkdir()
    ended = clean_cli("capture", "--config", tmp_path / "board.ini", "--split", "num_runs", "--json")

    assert ended.status == 0, ended.err
    paths = [Path(report["path"]) for report in ended.json["captures"]]
    words = [counted(path) for path in paths]
    assert [len(each) for each in words] == [30_000] * runs
    assert (np.concatenate(words) == np.arange(30_000 * runs, dtype=np.uint64)).all()
    assert paths == sorted(paths)
    assert all(re.fullmatch(LAB_NAME, path.name) for path in paths)


@pytest.mark.parametrize("given", [("--seconds", "1"), ("--samples", "5")])
def test_runs_that_are_files_have_no_other_length(clean_cli: CommandLine, tmp_path: Path, given) -> None:
    (tmp_path / "board.toml").write_text(f'[board]\nsource = "{AT_ONCE}&q=100"\n[capture]\nrepeat = 2\n')
    args = ("capture", "--config", tmp_path / "board.toml", "--to", tmp_path, "--split", "num_runs")
    assert "num_samples" in clean_cli(*args, *given).error

    ended = clean_cli(*args, "--json")
    assert [report["words"] for report in ended.json["captures"]] == [100, 100]
