"""``fastcap plot`` and ``fastcap export`` from outside, and what ends a command that reads."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
from cli_runs import CommandLine
from support.waiting import wait_until

pytest_plugins = ["command_line"]


@pytest.fixture(scope="module")
def captured(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished capture of 100,000 words."""
    folder = tmp_path_factory.mktemp("captured")
    cli = CommandLine(folder)
    ended = cli("capture", "sim://?rate=2MHz&speed=max", "--to", folder / "run.bin", "--samples", "100000")
    assert ended.status == 0, ended.err
    return folder / "run.bin"


def test_plot_writes_where_it_is_told(cli: CommandLine, captured: Path, tmp_path: Path) -> None:
    target = tmp_path / "part.png"

    ended = cli("plot", captured, "-o", target, "--start", "10ms", "--duration", "5ms", "--json")

    assert (ended.status, ended.json) == (0, {"file": str(captured), "picture": str(target)})
    assert target.read_bytes().startswith(b"\x89PNG")


def test_plot_without_a_display_writes_beside_the_file(cli: CommandLine, captured: Path) -> None:
    for name in ("DISPLAY", "WAYLAND_DISPLAY"):
        cli.environment.pop(name, None)

    ended = cli("plot", captured)

    assert (ended.status, ended.out) == (0, f"{captured.with_suffix('.png')}\n")


@pytest.mark.parametrize("ending", ["npz", "csv", "nc"])
def test_export_writes_a_new_file(cli: CommandLine, captured: Path, tmp_path: Path, ending: str) -> None:
    target = tmp_path / f"out.{ending}"
    args = [
        "export",
        captured,
        "--to",
        target,
        "--start",
        "10ms",
        "--duration",
        "500us",
        "--what",
        "phase, q",
    ]

    first, second = cli(*args, "--json"), cli(*args)

    assert first.status == 0, first.err
    assert first.json == {
        "file": str(captured),
        "path": str(target),
        "bytes": target.stat().st_size,
        "words_lost": 0,
    }
    assert second.status == 2
    assert f"{target}: exists" in second.error
    if ending == "npz":
        with np.load(target) as found:
            assert found["time_s"][0] == 0.01
            assert found["phase_turns"].size == found["q_counts"].size == 1000


@pytest.mark.parametrize(
    ("args", "status", "said"),
    [
        (["plot", "{nothing}"], 1, "nothing.bin"),
        (["plot", "{folder}"], 1, "not a regular file"),
        (["plot", "{file}", "--start", "1h"], 2, "not within this trace"),
        (["plot", "{file}", "--start", "soon"], 2, "soon"),
        (["plot", "{file}", "-o", "{folder}/p.bmpx"], 2, "p.bmpx"),
        (["plot", "{file}", "-o", "{nothing}/p.png"], 2, "p.png"),
        (["plot"], 2, "--help"),
        (["export", "{nothing}", "--to", "{folder}/o.csv"], 1, "nothing.bin"),
        (["export", "{folder}", "--to", "{folder}/o.csv"], 1, "not a regular file"),
        (["export", "{file}", "--to", "{folder}/o.mat"], 2, ".npz, .csv, .nc"),
        (["export", "{file}", "--to", "{nothing}/o.csv"], 2, "no folder"),
        (["export", "{file}", "--to", "{folder}/o.csv", "--duration", "1h"], 2, "not within this trace"),
        (["export", "{file}", "--to", "{folder}/o.csv", "--what", "volts"], 2, "volts"),
        (["export", "{file}", "--to", "{folder}/o.csv", "--rate", "fast"], 2, "fast"),
        (["export", "{file}"], 2, "--to"),
    ],
)
def test_what_makes_no_sense_is_one_line(
    cli: CommandLine, captured: Path, tmp_path: Path, args: list[str], status: int, said: str
) -> None:
    places = {"file": captured, "folder": tmp_path, "nothing": tmp_path / "nothing.bin"}

    ended = cli(*(arg.format(**places) for arg in args))

    assert (ended.status, ended.out) == (status, "")
    assert said in ended.error
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("command", ["plot", "export"])
def test_help_has_an_example(cli: CommandLine, command: str) -> None:
    ended = cli(command, "--help")

    assert ended.status == 0
    assert f"Example:  fastcap {command} " in ended.out


# -- signals -------------------------------------------------------------------------------------------


def _reads(pid: int, path: Path) -> bool:
    """Tell whether a process has a file open, or mapped."""
    try:
        opened = [os.path.realpath(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]
        return str(path) in opened or str(path) in Path(f"/proc/{pid}/maps").read_text()
    except OSError:
        return False


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize(
    "args",
    [
        ["index"],
        ["export", "--to", "out.csv"],
        ["plot", "-o", "out.png"],
        ["spectrogram", "--every", "15min"],
    ],
    ids=lambda args: args[0],
)
def test_command_that_is_ended_says_so_and_leaves_nothing_half_done(
    cli: CommandLine, captured: Path, tmp_path: Path, args: list[str], number: signal.Signals
) -> None:
    long = tmp_path / "long.bin"
    long.write_bytes(captured.read_bytes())
    os.truncate(long, 1 << 38)  # sparse: minutes of reading
    process = cli.start(args[0], long, *args[1:], "--json", cwd=tmp_path)
    wait_until(lambda: _reads(process.pid, long) or process.poll(), 30, "the file to be read")
    process.send_signal(number)
    ended = cli.finish(process)

    assert (ended.status, ended.json) == (130, {"error": "interrupted", "exit_status": 130})
    assert ended.error == "fastcap: interrupted"
    assert [path.name for path in tmp_path.iterdir()] == ["long.bin"]


# -- where the words begin -------------------------------------------------------------------------------


@pytest.mark.parametrize("payload", [None, "auto", "8n+8", "8n", "none"])
def test_payload_says_where_the_words_begin(
    cli: CommandLine, captured: Path, tmp_path: Path, payload: str | None
) -> None:
    path = tmp_path / "run.bin"
    raw = captured.read_bytes()
    words = len(raw) // 8 if payload == "none" else 100_000
    counted = int.from_bytes(raw[:2], "little") - (payload == "8n+8")  # the magic word is not counted
    path.write_bytes(counted.to_bytes(2, "little") + raw[2:])
    how = () if payload is None else ("--payload", payload)

    assert cli("info", path, "--json", *how).json["words"] == words
    assert cli("index", path, "--json", *how).json["files"][0]["words"] == words
    assert cli("export", path, "--to", tmp_path / "all.npz", "--what", "q", *how).status == 0
    with np.load(tmp_path / "all.npz") as values:
        assert len(values["q_counts"]) == words
    drawn = cli("plot", path, "-o", tmp_path / "all.png", *how)
    rate_is_known = payload != "none"
    assert (drawn.status == 0, (tmp_path / "all.png").exists()) == (rate_is_known, rate_is_known)


def test_words_without_a_header_are_read_when_that_is_said(cli: CommandLine, tmp_path: Path) -> None:
    path = tmp_path / "bare.bin"
    np.arange(1000, dtype="<u8").tofile(path)

    for command in (("info", path), ("export", path, "--to", tmp_path / "no.npz"), ("index", path)):
        refused = cli(*command)
        assert refused.status == 1
        assert "magic word" in refused.error
        assert "--payload none" in refused.error
    assert cli("info", path, "--payload", "none", "--json").json["words"] == 1000
    assert "header     none: not asked for" in cli("info", path, "--payload", "none").out
    wrong = cli("info", path, "--payload", "8n+9")
    assert wrong.status == 2
    assert "8n+9" in wrong.error
