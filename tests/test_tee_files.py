"""Files of ``fastcap tee`` that take long to open: a network disk that stalls, a FIFO that nobody reads yet."""

from __future__ import annotations

import errno
import os
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cli_runs import DEADLINE_S, CommandLine
from support.waiting import wait_until

pytest_plugins = ["command_line"]

Mount = Callable[..., Any]
DATA = bytes(range(256)) * (3 << 12)  # 3 MiB: more than both pipes hold


def _start(cli: CommandLine, *args: str | Path) -> subprocess.Popen[bytes]:
    return cli.start("tee", *args, stdin=subprocess.PIPE, text=False)


def _children(process: subprocess.Popen[bytes]) -> list[int]:
    return [int(pid) for pid in Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()]


def _openers(process: subprocess.Popen[bytes]) -> list[int]:
    """Return the processes that the command made of itself."""
    own = Path(f"/proc/{process.pid}/cmdline").read_bytes()
    return [pid for pid in _children(process) if Path(f"/proc/{pid}/cmdline").read_bytes() == own]


def _open_files(pid: int) -> list[str]:
    return [os.readlink(fd) for fd in Path(f"/proc/{pid}/fd").iterdir()]


def _pass_on(process: subprocess.Popen[bytes], data: bytes = DATA) -> None:
    """Write, and get the same from standard output, a pipe's worth at a time."""
    assert process.stdin is not None
    assert process.stdout is not None
    for at in range(0, len(data), 1 << 15):
        piece = data[at : at + (1 << 15)]
        process.stdin.write(piece)
        process.stdin.flush()
        assert process.stdout.read(len(piece)) == piece


def _end_input(process: subprocess.Popen[bytes]) -> None:
    assert process.stdin is not None
    process.stdin.close()
    process.stdin = None


@pytest.mark.root
@pytest.mark.fuse
def test_nothing_waits_for_a_file_on_a_disk_that_stalls(
    clean_cli: CommandLine, faultfs: Mount, tmp_path: Path
) -> None:
    fs = faultfs()
    stall = fs.stall("create", seconds=600)
    process = _start(clean_cli, fs.mount / "slow", tmp_path / "quick")

    _pass_on(process)
    _end_input(process)
    wait_until(lambda: (tmp_path / "quick").read_bytes() == DATA, 20, "the other file to be whole")
    assert not (fs.backing / "slow").exists()
    assert process.poll() is None
    fs.clear(stall)
    out, err = process.communicate(timeout=DEADLINE_S)

    assert (process.returncode, out, err) == (0, b"", b"")
    assert (fs.backing / "slow").read_bytes() == DATA


@pytest.mark.root
@pytest.mark.fuse
def test_file_on_a_network_disk_is_held_by_no_process_that_others_wait_for(
    clean_cli: CommandLine, faultfs: Mount
) -> None:
    fs = faultfs()
    process = _start(clean_cli, fs.mount / "file")
    _pass_on(process)
    name = str(fs.mount / "file")

    def holders() -> list[int]:
        return [pid for pid in clean_cli.processes() if name in _open_files(pid)]

    assert holders() == _openers(process)
    _end_input(process)
    assert process.wait(DEADLINE_S) == 0
    assert (fs.backing / "file").read_bytes() == DATA


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.parametrize("op", ["write", "flush"])
def test_error_of_a_network_disk_is_diagnosed(clean_cli: CommandLine, faultfs: Mount, op: str) -> None:
    fs = faultfs()
    fs.error(op, errno.EDQUOT, count=None)
    process = _start(clean_cli, fs.mount / "file")
    _pass_on(process, b"some")
    out, err = process.communicate(timeout=DEADLINE_S)

    assert (process.returncode, out) == (1, b"")
    assert err.decode() == f"fastcap tee: {fs.mount}/file: {os.strerror(errno.EDQUOT)}\n"


@pytest.mark.root
@pytest.mark.fuse
@pytest.mark.parametrize(
    ("op", "mode"), [("create", None), ("write", None), ("flush", None), ("create", "exit")]
)
def test_late_file_that_fails_is_diagnosed_as_any(
    clean_cli: CommandLine, faultfs: Mount, op: str, mode: str | None
) -> None:
    fs = faultfs()
    stall = fs.stall("create", seconds=600)
    fs.error(op, errno.EDQUOT)
    process = _start(clean_cli, *([f"--output-error={mode}"] if mode else []), fs.mount / "slow")
    _pass_on(process, b"some")
    fs.clear(stall)
    if mode is None:
        _end_input(process)
    process.wait(DEADLINE_S)  # with "exit" the input goes on, and it ends all the same

    assert process.returncode == 1
    assert process.stderr is not None
    assert process.stderr.read().decode() == f"fastcap tee: {fs.mount}/slow: {os.strerror(errno.EDQUOT)}\n"


def test_fifo_that_nobody_reads_yet_holds_nobody_up(clean_cli: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, "--ring", "32MiB", tmp_path / "fifo")
    _pass_on(process)
    _end_input(process)

    assert (tmp_path / "fifo").read_bytes() == DATA
    assert process.wait(DEADLINE_S) == 0


def test_reader_of_a_late_fifo_that_goes_is_a_broken_pipe(clean_cli: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, tmp_path / "fifo")
    _pass_on(process, b"some")
    with (tmp_path / "fifo").open("rb") as reader:
        assert reader.read(4) == b"some"
    _, err = process.communicate(DATA, timeout=DEADLINE_S)

    assert (process.returncode, err) == (-signal.SIGPIPE, b"")


def test_second_signal_leaves_a_file_that_is_not_open_yet(clean_cli: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, tmp_path / "fifo")
    _pass_on(process, b"some")
    (opener,) = _openers(process)
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # what was read is to be written
    process.send_signal(signal.SIGINT)

    assert process.wait(DEADLINE_S) == -signal.SIGINT
    assert not Path(f"/proc/{opener}").exists()


@pytest.mark.root
@pytest.mark.fuse
def test_second_signal_ends_it_though_the_opening_is_stuck_in_the_kernel(
    clean_cli: CommandLine, faultfs: Mount
) -> None:
    fs = faultfs()
    fs.stall("create", seconds=600)
    process = _start(clean_cli, fs.mount / "slow")
    _pass_on(process, b"some")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)
    process.send_signal(signal.SIGINT)

    out, err = process.communicate(timeout=DEADLINE_S)  # nobody holds its pipes either
    assert (process.returncode, out, err) == (-signal.SIGINT, b"", b"")


def test_killed_copier_of_a_late_file_is_told_of(clean_cli: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, tmp_path / "fifo")
    _pass_on(process, b"some")
    (opener,) = _openers(process)
    os.kill(opener, signal.SIGKILL)
    out, err = process.communicate(b"more", timeout=DEADLINE_S)

    assert (process.returncode, out) == (1, b"more")
    assert err.decode() == f"fastcap tee: {tmp_path}/fifo: {os.strerror(errno.EIO)}\n"


def test_late_file_gets_all_though_the_command_is_killed(clean_cli: CommandLine, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, "--ring", "32MiB", tmp_path / "fifo")
    _pass_on(process, DATA[: 1 << 15])
    process.kill()
    process.wait(DEADLINE_S)

    assert (tmp_path / "fifo").read_bytes() == DATA[: 1 << 15]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_interrupted_before_anything_was_read_it_leaves_files_that_are_not_open(
    clean_cli: CommandLine, tmp_path: Path, number: signal.Signals
) -> None:
    os.mkfifo(tmp_path / "fifo")
    process = _start(clean_cli, tmp_path / "fifo")
    wait_until(lambda: _openers(process), 20, "the opening to begin")
    process.send_signal(number)

    assert process.wait(DEADLINE_S) == -number
    wait_until(lambda: not clean_cli.processes(str(tmp_path / "fifo")), 20, "nobody to be left")
