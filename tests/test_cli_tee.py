"""``fastcap tee`` against tee(1): the same bytes, the same exit status, the same complaints."""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
from pathlib import Path
from typing import IO

import pytest
from cli_runs import COMMAND, DEADLINE_S, CommandLine
from harness import counter
from support.waiting import wait_until

pytest_plugins = ["command_line"]

CASES = {
    "two files": "seq 1000000 | TEE a b | cksum",
    "no file": "seq 1000 | TEE | cksum",
    "binary": "seq 1000000 | gzip -n | TEE a | cksum",
    "empty input": ": | TEE a b",
    "no newline at the end": "printf abc | TEE a",
    "input from a file": "seq 100000 > in; TEE a < in | cksum",
    "append": "echo one > a; echo two | TEE -a a b",
    "overwrite": "echo one is longer > a; echo two | TEE a",
    "append and ignore in one": "echo one > a; echo two | TEE -ai a",
    "long options abbreviated": "echo one > a; echo two | TEE --app --ignore a",
    "options after files": "echo one > a; echo two | TEE a -a",
    "end of options": "echo two | TEE -- -a",
    "a file called -": "echo two | TEE -",
    "files that are no files": "seq 100000 | TEE /dev/null /dev/null | cksum",
    "the same file twice": "echo a | TEE -a f f",
    "a directory in the way": "echo two | TEE . a",
    "a file that cannot be made": "echo two | TEE nodir/x a",
    "that, and exit": "echo two | TEE --output-error=exit nodir/x a",
    "that, and exit-nopipe": "echo two | TEE --output-error=exit-nopipe nodir/x a",
    "full file": "seq 100000 | TEE /dev/full a | cksum",
    "full stdout": "seq 100000 | TEE a > /dev/full",
    "full stdout, warn": "seq 100000 | TEE -p a > /dev/full",
    "closed stdout": "echo two | TEE a >&-",
    "closed stdout, nothing to write": ": | TEE a >&-",
    "closed stdin": "TEE a <&-",
    "a pipe nobody reads any more, -p": "seq 100000 | TEE -p a | head -1",
    "the same, warn": "seq 1000000 | TEE --output-error=warn a | head -1",
    "the same, warn-nopipe": "seq 1000000 | TEE --output-error a | head -1",
    "wrong mode": "echo two | TEE --output-error=never a",
    "ambiguous mode": "echo two | TEE --output-error=ex a",
    "unknown option": "echo two | TEE --foo a",
    "unknown short option": "echo two | TEE -x a",
    "an argument where none belongs": "echo two | TEE --append=1 a",
    "a name with spaces": "echo two | TEE 'a b'",
    "descriptors by name": "exec 3> three; seq 1000 | TEE /dev/fd/3 /dev/stdout | cksum",
    "a process": "seq 100000 | TEE >(cksum > sum) > a; until [ -s sum ]; do :; done",
    "a fifo": "mkfifo f; cat f > copy & seq 100000 | TEE f | cksum; wait",
}  # fmt: skip
OWN_WORDS = {  # one line each, where tee has several
    "wrong mode", "ambiguous mode", "unknown option", "unknown short option",
    "an argument where none belongs", "closed stdin",
}  # fmt: skip


def _run(script: str, tee: str, place: Path) -> tuple[list[str], str, list[str], dict[str, bytes]]:
    """Return exit statuses of the pipeline, stdout, stderr, and the files that it left."""
    place.mkdir()
    script = script.replace("TEE", tee) + '\necho "${PIPESTATUS[@]}" >&9'
    with (place.parent / f"{place.name}.status").open("w+") as statuses:
        done = subprocess.run(
            ["bash", "-c", f"exec 9>&{statuses.fileno()}\n{script}"], cwd=place, capture_output=True,
            check=False, timeout=DEADLINE_S, pass_fds=[statuses.fileno()],
        )  # fmt: skip
        statuses.seek(0)
        told = statuses.read().split()
    files = {p.name: p.read_bytes() for p in place.iterdir() if p.is_file()}
    lines = done.stderr.decode().replace("fastcap tee: ", "tee: ").splitlines()
    return told, done.stdout.decode(), lines, files


@pytest.mark.parametrize("case", CASES)
def test_does_as_tee_does(tmp_path: Path, case: str) -> None:
    theirs = _run(CASES[case], "tee", tmp_path / "theirs")
    ours = _run(CASES[case], shlex.join([*COMMAND, "tee"]), tmp_path / "ours")

    first = CASES[case].split("TEE")[0].count("|")  # a source that ends early or not is a matter of chance
    assert ours[0][first:] == theirs[0][first:], ours[2]
    assert ours[1] == theirs[1]
    assert len(ours[2]) == 1 if case in OWN_WORDS else sorted(ours[2]) == sorted(theirs[2])
    assert ours[3].keys() == theirs[3].keys()
    assert ours[3] == theirs[3]


def _start(cli: CommandLine, *args: str | Path, **options: object) -> subprocess.Popen[str]:
    return cli.start("tee", *args, **{"stdin": subprocess.PIPE, "text": False, **options})  # type: ignore[arg-type]


def test_broken_pipe_ends_it_as_it_ends_tee(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = _start(clean_cli, tmp_path / "a")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    try:
        for _ in range(1000):
            process.stdin.write(b"y\n" * 5000)
    except BrokenPipeError:
        pass
    process.stdin = None

    assert process.wait(DEADLINE_S) == -signal.SIGPIPE
    assert process.stderr is not None
    assert process.stderr.read() == b""


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_signal_ends_it_with_all_that_was_read_written(
    clean_cli: CommandLine, tmp_path: Path, number: signal.Signals
) -> None:
    process = _start(clean_cli, tmp_path / "a")
    assert process.stdin is not None
    process.stdin.write(b"some\n")
    process.stdin.flush()
    wait_until(
        lambda: (tmp_path / "a").exists() and (tmp_path / "a").stat().st_size == 5, 20, "bytes to arrive"
    )
    process.send_signal(number)

    assert process.wait(DEADLINE_S) == -number
    assert (tmp_path / "a").read_bytes() == b"some\n"


def test_interrupts_are_ignored_if_asked(clean_cli: CommandLine, tmp_path: Path) -> None:
    process = _start(clean_cli, "-i", tmp_path / "a")
    assert process.stdin is not None
    process.stdin.write(b"some\n")
    process.stdin.flush()
    wait_until(
        lambda: (tmp_path / "a").exists() and (tmp_path / "a").stat().st_size == 5, 20, "bytes to arrive"
    )
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(b"more\n", timeout=DEADLINE_S)

    assert process.returncode == 0
    assert out == b"some\nmore\n"


def test_second_signal_leaves_an_output_that_nobody_reads(clean_cli: CommandLine) -> None:
    read, write = os.pipe()
    process = _start(clean_cli, stdout=write)
    os.close(write)
    assert process.stdin is not None
    process.stdin.write(bytes(4 << 20))  # more than the pipe holds
    process.stdin.flush()
    wait_until(lambda: clean_cli.processes("fastcap.workers.tee_out"), 20, "the output to start")
    process.send_signal(signal.SIGINT)
    with pytest.raises(subprocess.TimeoutExpired):
        process.wait(0.5)  # it drains
    process.send_signal(signal.SIGINT)

    assert process.wait(DEADLINE_S) == -signal.SIGINT
    os.close(read)


def test_no_output_waits_for_another(clean_cli: CommandLine, tmp_path: Path) -> None:
    """Standard output is not read at all, and yet the file gets everything that the ring can hold for it."""
    size = 8 << 20
    process = _start(clean_cli, "--ring", "32MiB", tmp_path / "a")
    assert process.stdin is not None
    process.stdin.write(bytes(size))
    process.stdin.close()
    process.stdin = None
    wait_until(
        lambda: (tmp_path / "a").exists() and (tmp_path / "a").stat().st_size == size,
        30,
        "the file to be whole",
    )
    out, _ = process.communicate(timeout=DEADLINE_S)

    assert len(out) == size
    assert process.returncode == 0


def test_outputs_that_are_all_gone_end_the_reading(clean_cli: CommandLine) -> None:
    process = _start(clean_cli, "-p")
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdout.close()
    with pytest.raises(BrokenPipeError):  # it stops reading, though the input goes on and on
        _write_on_and_on(process.stdin)
    process.stdin = None

    assert process.wait(DEADLINE_S) == 0


@pytest.mark.parametrize("sent", [0, 1 << 20, 12 << 20])
@pytest.mark.parametrize("role", ["reader", "splitter", "tee_out"])
def test_killed_worker_costs_no_byte(clean_cli: CommandLine, tmp_path: Path, role: str, sent: int) -> None:
    words = counter(0, 2 << 20)
    with (tmp_path / "out").open("wb") as out:
        process = _start(
            clean_cli, tmp_path / "a", tmp_path / "b", stdin=subprocess.PIPE, stdout=out, text=False
        )
        pids = wait_until(lambda: clean_cli.processes(f"fastcap.workers.{role}"), DEADLINE_S, role)
        assert process.stdin is not None
        process.stdin.write(words[:sent])
        process.stdin.flush()
        os.kill(min(pids), signal.SIGKILL)
        process.communicate(words[sent:], timeout=DEADLINE_S)  # type: ignore[arg-type]

    assert process.returncode == 0
    assert [(tmp_path / name).read_bytes() == words for name in ("out", "a", "b")] == [True] * 3


def _write_on_and_on(stdin: IO[bytes]) -> None:
    end = time.monotonic() + DEADLINE_S
    while time.monotonic() < end:
        stdin.write(b"y\n" * 5000)


def test_help_shows_an_example(cli: CommandLine) -> None:
    ended = cli("tee", "--help")
    assert ended.status == 0
    assert "Example" in ended.out


@pytest.mark.parametrize(("size", "named"), [("64M", "64M"), ("500TiB", "bytes free"), ("4096", "4096")])
def test_wrong_ring_is_named(clean_cli: CommandLine, size: str, named: str) -> None:
    ended = clean_cli("tee", "--ring", size)
    assert ended.status == 1
    assert named in ended.err
    assert len(ended.err.splitlines()) == 1
