"""A forked child has its parent's memory, not its board, stream or devices: it is refused them and harms nothing."""

from __future__ import annotations

import gc
import json
import multiprocessing
import os
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from device_checks import Pair
from engine import assert_exact, assert_law, counting
from support import wait_until

import fastcap as fc

pytest_plugins = ["attenuators"]
WORDS = 15_000_000

SCRIPT = """
    import gc, json, multiprocessing, os, sys, threading, time
    import fastcap as fc

    def refused(uses):
        told = []
        for use in uses:
            try:
                use()
                told.append("no error")
            except fc.FastcapError as error:
                told.append("forked" if "forked from it" in str(error) else str(error))
        return told

    def child(board, uses):
        with open("child.json", "w") as out:
            json.dump(refused(uses), out)

    if __name__ == "__main__":
        {body}
        with open("parent.json", "w") as out:
            json.dump(report, out)
"""
RECORD = """
with fc.open({source!r}, ring="192MiB") as board:
    got = []
    thread = threading.Thread(target=lambda: got.append(board.record(None, os.getcwd())))
    thread.start()
    while not (board.session and 1 in board.session.recordings and board.session.recordings[1].progress.get("bytes")):
        time.sleep(0.001)
    capture = board._captures[0]
    uses = [
        lambda: board.record("1s", "none"), lambda: board.stream().__enter__(), board.stop, board.ring_bytes,
        capture.stop, capture.wait, lambda: capture.report, board.session.close, board.session.stop,
    ]
    {fork}
    thread.join()
    report = dict(got[0].report)
"""
FORK = """
pid = os.fork()
if pid == 0:
    child(board, uses)
    {leave}
assert os.waitpid(pid, 0)[1] >= 0
"""
LEAVES = {
    "sys.exit": "sys.exit()",
    "exception": "raise RuntimeError",
    "os._exit": "os._exit(0)",
    "closing": "board.close(); os._exit(0)",
    "collected": "del board, capture, uses; got.clear(); gc.collect(); os._exit(0)",
}
MULTIPROCESSING = """
process = multiprocessing.get_context("fork").Process(target=child, args=(board, uses))
process.start()
process.join()
"""


def _run(folder: Path, body: str) -> tuple[Any, Any]:
    """Run a script; return what its child was told, and the parent's report."""
    text = textwrap.dedent(SCRIPT).replace("{body}", textwrap.indent(textwrap.dedent(body), "    ").strip())
    (folder / "script.py").write_text(text)
    ended = subprocess.run(
        [sys.executable, "script.py"], cwd=folder, capture_output=True, text=True, timeout=100
    )
    assert ended.returncode == 0, ended.stderr
    return tuple(json.loads((folder / f"{who}.json").read_text()) for who in ("child", "parent"))  # type: ignore[return-value]


def _recording(fork: str) -> str:
    body = textwrap.dedent(RECORD).format(source=counting(WORDS), fork="{fork}")
    return body.replace("{fork}", textwrap.indent(textwrap.dedent(fork), "    ").strip())


@pytest.mark.parametrize("leave", [*LEAVES, "multiprocessing"])
def test_forked_child_is_refused_and_its_parents_recording_goes_on(tmp_path: Path, leave: str) -> None:
    fork = MULTIPROCESSING if leave == "multiprocessing" else FORK.format(leave=LEAVES[leave])
    told, report = _run(tmp_path, _recording(fork))

    assert told == ["forked"] * 9
    assert (report["complete"], report["words"], report["words_lost"]) == (True, WORDS, 0)
    assert assert_exact(report) == WORDS
    assert_law(report)


STREAM = f"""
taken = 0
with fc.open({counting(WORDS // 5)!r}, ring="64MiB") as board, board.stream() as stream:
    for k, block in enumerate(stream.blocks()):
        taken += len(block)
        if k == 3:
            pid = os.fork()
            if pid == 0:
                child(board, [lambda: next(stream.blocks()), lambda: stream.read(10)])
                sys.exit()
            os.waitpid(pid, 0)
report = taken
"""


def test_child_of_a_stream_leaves_it_to_its_parent(tmp_path: Path) -> None:
    told, taken = _run(tmp_path, STREAM)

    assert told == ["forked", "forked"]
    assert taken == WORDS // 5


def test_child_may_open_a_board_of_its_own(tmp_path: Path) -> None:
    body = f"""
        board = fc.open({counting(100_000)!r}, ring="64MiB")
        board.record(None, os.getcwd())
        pid = os.fork()
        if pid == 0:
            with fc.open({counting(100_000)!r}, ring="64MiB") as own:
                words = own.record(None, os.getcwd()).report["words"]
            with open("child.json", "w") as out:
                json.dump(words, out)
            sys.exit()
        os.waitpid(pid, 0)
        report = board.record(None, os.getcwd()).report["words"]
    """
    assert _run(tmp_path, body) == (100_000, 100_000)


# -- devices -------------------------------------------------------------------------------------------


def _in_child(what: Callable[[], object]) -> str:
    """Return what a forked child says of something it does."""
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        try:
            said = str(what())
        except BaseException as error:
            said = f"{type(error).__name__}: {error}"
        os.write(theirs, said.encode())
        os._exit(0)
    os.close(theirs)
    with os.fdopen(ours) as answer:
        said = answer.read()
    os.waitpid(pid, 0)
    return said


def test_forked_child_neither_uses_nor_leaves_an_attenuator(attenuator: Callable[..., Pair]) -> None:
    emulated, voa = attenuator(at_exit="zero")
    with voa:
        voa.channel(1).volt = 2.5
        for use in (lambda: voa.channel(1).volt.set(1.0), voa.channel(1).volt.get, voa.help):
            assert "forked from it" in _in_child(use)
        assert _in_child(lambda: voa.__exit__(None, None, None)) == "None"
        assert _in_child(voa.close) == "None"
        assert emulated.device.output_v(1) == pytest.approx(2.5)
        assert voa.channel(1).volt.get() == pytest.approx(2.5)
    wait_until(lambda: emulated.device.output_v(1) == 0, 10, "its parent to leave it as chosen")


def test_board_cannot_be_sent_to_a_spawned_process() -> None:
    board = fc.open(counting())
    process = multiprocessing.get_context("spawn").Process(target=print, args=(board,))
    with pytest.raises(fc.FastcapError, match="open it there"):
        process.start()
    gc.collect()
