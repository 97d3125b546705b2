"""What ends a capture from outside: signals, a lost terminal, a death; and what others see meanwhile."""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import subprocess
import termios
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import COUNTER, DEADLINE_S, CommandLine, Ended, counted
from support.needs import requires_fuse
from support.waiting import wait_until

pytest_plugins = ["command_line"]


# -- terminals -----------------------------------------------------------------------------------------


class Terminal:
    """A pseudo-terminal on which a command runs: its controlling terminal, and where its stderr goes."""

    def __init__(self) -> None:
        self._master, self.fd = os.openpty()
        termios.tcsetwinsize(self.fd, (24, 160))

    def start(self, cli: CommandLine, *args: str | Path) -> subprocess.Popen[str]:
        """Start a capture on it."""
        process = cli.start("capture", COUNTER, *args, stderr=self.fd, preexec_fn=self._become_controlling)
        os.close(self.fd)
        return process

    def _become_controlling(self) -> None:
        os.setsid()
        fcntl.ioctl(self.fd, termios.TIOCSCTTY, 0)

    def shown(self) -> bytes:
        """Return what stands on it."""
        data = b""
        with contextlib.suppress(OSError):  # that is how its end is told
            while more := os.read(self._master, 4096):
                data += more
        return data

    def hang_up(self) -> None:
        """Drop the line, as a lost ssh does."""
        os.close(self._master)


def test_terminal_shows_a_bar(clean_cli: CommandLine, tmp_path: Path) -> None:
    terminal = Terminal()
    process = terminal.start(clean_cli, "--to", tmp_path / "run.bin", "--seconds", "1", "--ring", "64MiB")
    shown = terminal.shown()
    terminal.hang_up()

    assert clean_cli.finish(process).status == 0
    assert b"backlog" in shown
    assert b"B/s" in shown


def test_lost_terminal_completes_the_file(clean_cli: CommandLine, tmp_path: Path) -> None:
    terminal = Terminal()
    process = terminal.start(clean_cli, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--json")
    part = tmp_path / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 20, "the capture to run")
    terminal.hang_up()
    ended = clean_cli.finish(process)

    assert ended.status == 130
    assert (counted(tmp_path / "run.bin") == np.arange(ended.json["words"], dtype=np.uint64)).all()


# -- signals -------------------------------------------------------------------------------------------


def _running(cli: CommandLine, place: Path, *args: str) -> subprocess.Popen[str]:
    """Start an endless capture and wait until its file grows."""
    process = cli.start("capture", COUNTER, "--to", place / "run.bin", "--ring", "64MiB", "--json", *args)
    part = place / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 20, "the capture to run")
    return process


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_first_signal_completes_the_file(
    clean_cli: CommandLine, tmp_path: Path, number: signal.Signals
) -> None:
    process = _running(clean_cli, tmp_path)
    process.send_signal(number)
    ended = clean_cli.finish(process)

    report = ended.json
    assert ended.status == 130
    assert number.name in ended.err
    assert (report["interrupted"], report["complete"], report["words_lost"]) == (True, False, 0)
    words = counted(tmp_path / "run.bin")
    assert (words == np.arange(report["words"], dtype=np.uint64)).all()
    assert not (tmp_path / "run.bin.part").exists()


def test_hangup_is_ignored_under_nohup(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = clean_cli.start(
        "capture", COUNTER, "--to", tmp_path / "run.bin", "--ring", "64MiB", "--seconds", "1", "--json",
        preexec_fn=lambda: signal.signal(signal.SIGHUP, signal.SIG_IGN),
    )  # fmt: skip
    part = tmp_path / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 0, 20, "the capture to run")
    process.send_signal(signal.SIGHUP)
    ended = clean_cli.finish(process)

    assert ended.status == 0
    assert ended.json["words"] == 2_000_000


def test_interrupt_between_repeats_keeps_what_is_there(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = clean_cli.start(
        "capture", COUNTER, "--to", tmp_path, "--ring", "64MiB", "--seconds", "0.3", "--repeat", "1000",
        "--json",
    )  # fmt: skip
    wait_until(lambda: len(list(tmp_path.glob("*.bin"))) >= 2, 30, "two files")
    process.send_signal(signal.SIGINT)
    ended = clean_cli.finish(process)

    reports = ended.json["captures"]
    assert ended.status == 130
    assert len(reports) >= 2
    assert all(report["complete"] for report in reports[:-1])
    assert not list(tmp_path.glob("*.part"))


def test_second_signal_leaves_the_session_behind(cli: CommandLine, tmp_path: Path) -> None:
    process = _running(cli, tmp_path)
    (writer,) = _writers_of(cli, tmp_path)
    os.kill(writer, signal.SIGSTOP)  # a destination that stalls: the drain cannot end
    ended = _left_at_once(cli, process)

    assert ended.status == 130
    folder = Path(ended.json["session_folder"])
    assert folder.is_dir()
    assert (tmp_path / "run.bin.part").exists()
    wait_until(lambda: not cli.processes(), 10, lambda: f"processes {cli.processes()} to end")
    status = cli("status", "--json").json
    assert str(folder) in [left["folder"] for left in status["left_behind"]]
    assert str(folder) not in [session["folder"] for session in status["sessions"]]
    assert folder.is_dir(), "status must leave it alone"
    _forget(cli)


@requires_fuse
def test_second_signal_waits_neither_for_a_writer_in_the_kernel_nor_for_its_pipes(
    cli: CommandLine, faultfs: Callable[..., Any]
) -> None:
    fs = faultfs()
    process = _running(cli, fs.mount)
    rule = fs.stall("write", count=None)
    fs.wait_fired(rule)
    ended = _left_at_once(cli, process)  # returns when its pipes are closed, too

    assert ended.status == 130
    assert Path(ended.json["session_folder"]).is_dir()
    assert cli.processes("fastcap.workers.nas_writer"), "it cannot have ended"
    assert not cli.processes("fastcap.workers.supervisor")
    fs.clear()
    wait_until(lambda: not cli.processes(), 10, lambda: f"processes {cli.processes()} to end")
    _forget(cli)


def _left_at_once(cli: CommandLine, process: subprocess.Popen[str]) -> Ended:
    """Send SIGINT, and once more when that is answered; return how the command ended."""
    process.send_signal(signal.SIGINT)
    assert process.stderr is not None
    lines = []
    while "SIGINT" not in (line := process.stderr.readline()):
        lines.append(line)
        assert line, lines
    process.send_signal(signal.SIGINT)
    return cli.finish(process)


def _forget(cli: CommandLine) -> None:
    """Remove what was left behind."""
    for path in cli.left_behind():
        shutil.rmtree(path) if path.is_dir() else path.unlink()


def _writers_of(cli: CommandLine, place: Path) -> list[int]:
    """Return the NAS writers that have a file of this directory open: warm ones have none."""
    found = []
    for pid in cli.processes("fastcap.workers.nas_writer"):
        links = [os.readlink(link) for link in Path(f"/proc/{pid}/fd").iterdir()]
        if any(link.endswith(".part") and link.startswith(str(place)) for link in links):
            found.append(pid)
    return found


def test_death_of_the_command_drains_and_finishes(cli: CommandLine, tmp_path: Path) -> None:
    process = _running(cli, tmp_path)
    process.kill()
    process.wait(DEADLINE_S)
    wait_until(lambda: (tmp_path / "run.bin").exists(), 20, "the file to be completed")

    cli.check_clean()
    words = counted(tmp_path / "run.bin")
    assert (words == np.arange(words.size, dtype=np.uint64)).all()


def test_status_shows_a_running_capture(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = _running(clean_cli, tmp_path)

    def mine() -> list[dict[str, object]]:
        sessions = clean_cli("status", "--json").json["sessions"]
        return [
            r
            for s in sessions
            for r in s["recordings"]
            if r["destination"] == f"{tmp_path}/run.bin" and r["bytes"]
        ]

    (recording,) = wait_until(mine, 20, "status to show it")
    assert recording["state"] == "running"
    assert recording["words_lost"] == 0
    assert str(tmp_path) in clean_cli("status").out
    process.send_signal(signal.SIGTERM)
    assert clean_cli.finish(process).status == 130
