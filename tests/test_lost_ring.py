"""Somebody truncates or removes the ring's files under a running capture."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from cli_runs import COUNTER, NOTES, CommandLine, counted
from harness import make_ring
from support import assert_counter_file, wait_until

from fastcap.workers import argv_of

pytest_plugins = ["command_line"]


def running(cli: CommandLine, place: Path, *args: str) -> tuple[subprocess.Popen[str], Path]:
    """Start a capture, wait until its file grows; return it and its session's folder."""
    process = cli.start("capture", COUNTER, "--to", place / "run.bin", "--ring", "64MiB", "--json", *args)
    part = place / "run.bin.part"
    wait_until(lambda: part.exists() and part.stat().st_size > 1 << 20, 20, "the capture to run")
    (folder,) = [path for path in cli.left_behind() if path.is_dir()]
    return process, folder


@pytest.mark.parametrize("name", ["control", "data", "events"])
def test_truncated_ring_ends_the_capture_with_an_error_and_keeps_the_part(
    cli: CommandLine, tmp_path: Path, name: str
) -> None:
    process, folder = running(cli, tmp_path)
    os.truncate(folder / name, 0)
    ended = cli.finish(process)

    assert ended.status == 1
    assert "truncated" in ended.err
    assert ended.json["complete"] is False
    assert str(folder) in ended.error
    part = tmp_path / "run.bin.part"
    assert assert_counter_file(part, odd_bytes=part.stat().st_size % 8) == []
    assert not (tmp_path / "run.bin").exists()
    wait_until(lambda: not cli.processes(), 10, "the end of all processes")


@pytest.mark.parametrize("role", ["reader", "splitter", "nas_writer", "analysis", "tee_out"])
@pytest.mark.parametrize("truncated", [0, 1])
def test_worker_that_starts_when_the_ring_is_truncated_leaves_the_word_to_the_supervisor(
    role: str, truncated: int
) -> None:
    ring = make_ring()
    ours, theirs = socket.socketpair()
    fds = [theirs.fileno(), ring.control_fd, ring.data_fd, ring.events_fd]
    os.truncate(fds[1 + truncated], 0)
    with ours, theirs:
        ended = subprocess.run(
            argv_of(f"fastcap.workers.{role}", *map(str, fds)),
            pass_fds=fds, capture_output=True, text=True, timeout=60, check=False,
        )  # fmt: skip

    assert (ended.stdout, ended.stderr, ended.returncode) == ("", "", 1)


HOLDER = """
import sys
import fastcap as fc
with fc.open("sim://?rate=2MHz&pattern=counter", ring="64MiB") as board:
    with board.stream() as stream:
        block = next(iter(stream.blocks()))
        print(board.session.folder, int(block.words[0]), flush=True)
        sys.stdin.readline()
        print(int(block.words[0]), flush=True)
"""


def test_user_who_touches_a_truncated_ring_is_told_why_the_process_ends() -> None:
    pipe = subprocess.PIPE
    argv = [sys.executable, "-c", HOLDER]
    with subprocess.Popen(argv, stdin=pipe, stdout=pipe, stderr=pipe, text=True) as process:
        assert process.stdout is not None
        folder, first = process.stdout.readline().split()
        assert first == "0"
        os.truncate(Path(folder) / "data", 0)
        out, err = process.communicate("go\n", timeout=30)
    shutil.rmtree(folder)
    for note in (p for base in NOTES for p in base.glob(f"fastcap-session-*-{Path(folder).name}.json")):
        note.unlink()

    assert process.returncode == -signal.SIGBUS
    assert out == ""
    assert "truncated by another program; this process must end" in err


def test_removed_folder_harms_no_running_capture(cli: CommandLine, tmp_path: Path) -> None:
    process, folder = running(cli, tmp_path, "--seconds", "1.5")
    shutil.rmtree(folder)
    (writer, *_) = cli.processes("fastcap.workers.nas_writer")
    os.kill(writer, signal.SIGKILL)
    ended = cli.finish(process)

    assert ended.status == 0, ended.err
    assert ended.json["complete"]
    assert ended.json["words_lost"] == 0
    assert (counted(tmp_path / "run.bin") == np.arange(3_000_000, dtype=np.uint64)).all()
    cli.check_clean()


USER = """
    mount -t tmpfs fastcap-test /run && mkdir -p /run/systemd/system &&
    mount -t tmpfs fastcap-test /dev/shm && exec unshare --user --map-user=65534 --map-group=65534 "$@"
"""


@pytest.mark.root
def test_user_who_does_not_linger_is_warned_at_the_start(cli: CommandLine) -> None:
    machine = ("unshare", "--mount", "sh", "-c", USER, "sh")  # with systemd; the user is nobody, to himself
    ended = cli("capture", COUNTER, "--to", "none", "--samples", "1000", prefix=machine)

    assert ended.status == 0, ended.err
    assert "warning: logging out everywhere would remove this session's files in /dev/shm" in ended.err
    assert "loginctl enable-linger nobody" in ended.err
