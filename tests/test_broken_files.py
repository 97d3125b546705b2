"""Files that become shorter, or whose disk fails, while they are read: an exception, from every value."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import ARGV, START

from fastcap import load
from fastcap._lazywords import LazyWords
from fastcap.errors import StreamFormatError
from fastcap.index import build_index
from fastcap.stream import build_header
from fastcap.words import encode, phase_radius

HEADER = build_header(ARGV, START)
WORDS = 400_000
SCRIPT = Path(__file__).with_name("read_every_value.py")


def write(path: Path) -> np.ndarray:
    """Write 0.2 s of a wandering phase; return its words."""
    words = encode(np.cumsum(np.random.default_rng(2).normal(1, 3, WORDS)), 1e5)
    path.write_bytes(HEADER + words.tobytes())
    return words


def every_value(path: Path, breaking: Callable[[], Any]) -> dict[str, str | None]:
    """Return what each value did after the file was broken; the process must live."""
    command = [sys.executable, "-W", "error", str(SCRIPT), str(path)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        assert process.stdout.readline() == "opened\n"
        breaking()
        out, _ = process.communicate("\n", timeout=120)
    assert process.returncode == 0
    found: dict[str, str | None] = json.loads(out)
    return found


def check(found: dict[str, str | None], message: str) -> None:
    assert {"Trace.words", "Trace.psd", "VHFparser.data", "Window.phase", "TraceSet.map", "notebook"} <= set(
        found
    )
    silent = [name for name, error in found.items() if error is None]
    assert silent == []
    wrong = {n: e for n, e in found.items() if "StreamFormatError" not in str(e) or message not in str(e)}
    assert wrong == {}


def test_every_value_of_a_realigned_file_that_became_shorter_raises(tmp_path: Path) -> None:
    write(path := tmp_path / "a.bin")
    raw, cut = path.read_bytes(), len(HEADER) + 8 * 200_000
    path.write_bytes(raw[:cut] + raw[cut + 3 :])

    found = every_value(path, lambda: os.truncate(path, len(HEADER) + 8 * 20_000))
    realigned = {name: error for name, error in found.items() if name.endswith("realigned")}
    assert len(realigned) > 10
    assert [name for name, error in realigned.items() if "became shorter" not in str(error)] == []


@pytest.mark.parametrize("left", [0, len(HEADER) + 8 * 20_000 + 3])
def test_every_value_of_a_file_that_became_shorter_raises(tmp_path: Path, left: int) -> None:
    write(path := tmp_path / "a.bin")

    check(every_value(path, lambda: os.truncate(path, left)), "a.bin: became shorter while it was open")


@pytest.mark.fuse
def test_a_disk_that_has_gone_is_an_error_and_nothing_at_the_end(faultfs: Callable[..., Any]) -> None:
    fs = faultfs(direct_io=True)
    write(fs.backing / "a.bin")
    code = "import sys, fastcap as fc\ntr = fc.load(sys.argv[1])\nprint(flush=True)\nsys.stdin.readline()\ntr.phase()"
    command = [sys.executable, "-c", code, str(fs.mount / "a.bin")]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None
        process.stdout.readline()
        fs.kill_server()
        _, err = process.communicate("\n", timeout=60)

    assert process.returncode == 1
    assert err.splitlines()[-1].endswith("a.bin: cannot be read: Transport endpoint is not connected")


@pytest.mark.fuse
def test_every_value_of_a_file_whose_disk_fails_raises(faultfs: Callable[..., Any]) -> None:
    fs = faultfs(direct_io=True)
    write(fs.backing / "a.bin")

    found = every_value(fs.mount / "a.bin", lambda: fs.error("read", errno.EIO, count=None))

    check(found, "a.bin: cannot be read: Input/output error")


def test_with_an_index_a_file_that_became_shorter_is_noticed_as_well(tmp_path: Path) -> None:
    words = encode(np.zeros(40 * 65_536), 1e5)
    (path := tmp_path / "a.bin").write_bytes(HEADER + words.tobytes())
    assert build_index(path).index is not None
    tr = load(path)
    assert tr._origin.index.count == 40
    os.truncate(path, len(HEADER) + 8 * 39 * 65_536)

    for value in (lambda: tr.envelope(10), tr.plot, tr[-5:].phase, tr._repr_html_):
        with pytest.raises(StreamFormatError, match="became shorter"):
            value()
    assert tr[:100].words.size == 100


def test_a_file_that_is_cut_while_it_is_decoded_does_not_end_the_process(tmp_path: Path) -> None:
    """Cut and restored at random by another process; values are those of the file, or an error."""
    words = write(path := tmp_path / "a.bin")
    raw = path.read_bytes()
    expected = phase_radius(words)
    cutter = subprocess.Popen(
        [sys.executable, "-c", "import os, sys\n"
         "raw = open(sys.argv[1], 'rb').read()\n"
         "print(flush=True)\n"
         "while True:\n"
         "    os.truncate(sys.argv[1], len(raw) // 3)\n"
         "    fd = os.open(sys.argv[1], os.O_WRONLY)\n"
         "    os.pwrite(fd, raw[len(raw) // 3:], len(raw) // 3)\n"
         "    os.close(fd)\n", str(path)],
        stdout=subprocess.PIPE,
    )  # fmt: skip
    try:
        assert cutter.stdout is not None
        cutter.stdout.readline()
        outcomes = set()
        tr = None
        for _ in range(10_000):
            try:
                tr = tr if tr is not None and len(tr) == WORDS else load(path)
                if len(tr) == WORDS:
                    phase, radius = tr.polar()
                    np.testing.assert_array_equal(radius, expected[1])
                    np.testing.assert_array_equal(phase, expected[0])
                    outcomes.add("right")
            except StreamFormatError:
                outcomes.add("error")
            if len(outcomes) == 2:
                break
    finally:
        cutter.kill()
        cutter.wait()
        cutter.stdout.close()
    assert "error" in outcomes
    assert len(raw) == len(HEADER) + 8 * WORDS


# -- words of large files -----------------------------------------------------------------------------------


@pytest.fixture
def large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> tuple[Any, np.ndarray]:
    """Words that are more than are copied unasked, and the same as an array."""
    words = write(path := tmp_path / "a.bin")
    monkeypatch.setattr("fastcap._lazywords.COPIED_WORDS", 1000)
    return load(path).words, words


def test_words_of_a_large_file_are_read_where_they_are_indexed(large: tuple[Any, np.ndarray]) -> None:
    lazy, words = large
    rng = np.random.default_rng(1)
    places = rng.integers(-WORDS, WORDS, 3000)

    assert isinstance(lazy, LazyWords)
    assert (lazy.size, lazy.shape, lazy.dtype, len(lazy)) == (WORDS, (WORDS,), words.dtype, WORDS)
    for index in (0, -1, 77, np.int64(5)):
        assert lazy[index] == words[index]
    for index in (slice(5, 100), slice(-50, None), slice(None, None, 997), slice(None, None, -1001), places,
                  words > 1 << 63, slice(9, 3), places.tolist(), np.array([], int)):  # fmt: skip
        np.testing.assert_array_equal(lazy[index], words[index])
    assert type(lazy[5:100]) is np.ndarray
    assert isinstance(lazy[5:5000], LazyWords)
    for wrong in (WORDS, -WORDS - 1, [0, WORDS]):
        with pytest.raises(IndexError):
            lazy[wrong]


def test_words_of_a_large_file_are_an_array_where_one_is_wanted(large: tuple[Any, np.ndarray]) -> None:
    lazy, words = large

    np.testing.assert_array_equal(np.asarray(lazy), words)
    np.testing.assert_array_equal(lazy >> 48, words >> np.uint64(48))
    np.testing.assert_array_equal(lazy == words, np.ones(WORDS, bool))
    assert (lazy.sum(), lazy.tobytes(), np.bitwise_xor.reduce(lazy)) == (
        words.sum(), words.tobytes(), np.bitwise_xor.reduce(words),
    )  # fmt: skip
    assert next(iter(lazy)) == words[0]
    with pytest.raises(AttributeError):
        lazy.no_such_thing  # noqa: B018


def test_words_that_fit_no_memory_are_refused_with_a_remedy(tmp_path: Path) -> None:
    (path := tmp_path / "a.bin").write_bytes(HEADER)
    os.truncate(path, 1 << 43)
    words = load(path).words

    assert words[-1] == 0
    assert words[1 << 39 : (1 << 39) + 10].tolist() == [0] * 10
    with pytest.raises(
        StreamFormatError, match=r"8 TiB of words do not fit .*take parts of them: tr.words\[a:b\]"
    ):
        np.asarray(words)
