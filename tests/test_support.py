import subprocess
import sys

import numpy as np
import pytest
from support import assert_counter_file, children_of, command_line, error_of, sha256_file, wait_until

BLOCK_WORDS = 1 << 20
HEADER_WORDS = 3


def capture(path, words, odd=b""):
    magic = (0x123456ABCDEF << 16) | HEADER_WORDS + 1
    header = magic.to_bytes(8, "little") + b"# header".ljust(8 * HEADER_WORDS, b"\0")
    path.write_bytes(header + np.asarray(words, "<u8").tobytes() + odd)
    return path


def test_whole_capture_has_no_gaps(tmp_path):
    path = capture(tmp_path / "a.bin", np.arange(BLOCK_WORDS + 5))

    assert assert_counter_file(path, BLOCK_WORDS + 5) == []


@pytest.mark.parametrize("at", [1, BLOCK_WORDS - 1, BLOCK_WORDS, BLOCK_WORDS + 1])
def test_missing_words_have_an_address(tmp_path, at):
    words = np.delete(np.arange(BLOCK_WORDS + 9), slice(at, at + 4))

    assert assert_counter_file(capture(tmp_path / "a.bin", words)) == [(at, 4)]


def test_missing_words_before_the_first_are_a_gap(tmp_path):
    path = capture(tmp_path / "a.bin", np.arange(12_000, 12_010))

    assert assert_counter_file(path) == [(0, 12_000)]
    assert assert_counter_file(path, start=12_000) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ([0, 1, 1, 2], r"data word 2 \(data byte 16\) is 1 and follows 1: a repeat"),
        ([0, 2, 1, 3], r"data word 2 \(data byte 16\) is 1 and follows 2: out of order"),
        ([*range(BLOCK_WORDS), 7], rf"data word {BLOCK_WORDS} .* out of order"),
    ],
)
def test_repeat_and_swap_raise_with_their_address(tmp_path, words, message):
    with pytest.raises(AssertionError, match=message):
        assert_counter_file(capture(tmp_path / "a.bin", words))


def test_wrong_size_torn_word_and_missing_header_raise(tmp_path):
    path = capture(tmp_path / "a.bin", range(5), odd=b"abc")
    assert assert_counter_file(path, 5, odd_bytes=3) == []
    with pytest.raises(AssertionError, match="3 bytes of a torn word"):
        assert_counter_file(path)
    with pytest.raises(AssertionError, match="5 data words, expected 6"):
        assert_counter_file(path, 6, odd_bytes=3)
    path.write_bytes(bytes(64))
    with pytest.raises(AssertionError, match="not with the magic word"):
        assert_counter_file(path)


def test_wait_until_returns_the_value_or_says_what_it_waited_for():
    answers = iter([0, "", "value"])
    assert wait_until(lambda: next(answers), 5, "a value") == "value"
    with pytest.raises(AssertionError, match=r"not within 0\.02 s: a miracle"):
        wait_until(lambda: False, 0.02, lambda: "a miracle")


def test_children_are_found_by_descent_and_command_line():
    inner = "import sys; sys.stdin.read(); 'inner-mark'"
    outer = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {inner!r}])"
    with subprocess.Popen([sys.executable, "-c", outer], stdin=subprocess.PIPE) as process:
        (child,) = wait_until(lambda: children_of(process.pid, "inner-mark"), 10, "the inner process runs")
        assert "inner-mark" in command_line(child)
        assert children_of(process.pid, "no such words") == []
        assert children_of(process.pid, deep=False) == [child]
        process.stdin.close()
    assert children_of(process.pid) == []


def test_sha256_of_a_file(tmp_path):
    (tmp_path / "f").write_bytes(b"abc")
    assert sha256_file(tmp_path / "f").startswith("ba7816bf8f01cfea")


def test_error_of_returns_the_errno(tmp_path):
    assert error_of((tmp_path / "none").stat) == 2
    assert error_of(tmp_path.stat) == 0
