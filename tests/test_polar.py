"""Phase and radius in one pass, of files read by threads: those of the words alone, to the last bit."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from made_files import ARGV, START, write_capture

import fastcap as fc
from fastcap import Trace, _decode, load, load_many
from fastcap._stored import FileWords
from fastcap.stream import build_header
from fastcap.words import Carry, encode, phase, phase_radius, radius

WORDS = 700_000


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Words whose M rolls over now and then, and for a while from word to word."""
    rng = np.random.default_rng(4)
    steps = rng.normal(0, 3, WORDS)
    steps[200_000:240_000] = 9000.0
    steps[500_000:] -= 2.0
    return encode(np.cumsum(steps), 1e5 + rng.uniform(0, 1e4, WORDS))


def stored(path: Path, words: np.ndarray, offset: int, *, swapped: bool) -> FileWords:
    path.write_bytes(bytes(offset) + (words.byteswap() if swapped else words).tobytes() + b"odd")
    with path.open("rb") as file:
        return FileWords(str(path), file.fileno(), offset, swapped=swapped)


@pytest.mark.parametrize("swapped", [False, True])
@pytest.mark.parametrize("offset", [0, 3, 8, 4097])
def test_a_files_values_are_its_words_from_any_byte_in_either_order(
    tmp_path: Path, words: np.ndarray, offset: int, swapped: bool
) -> None:
    file = stored(tmp_path / "a", words, offset, swapped=swapped)
    for begin, end in ((0, WORDS), (1, 2), (5, 5), (16_383, 33_000), (190_001, 600_000)):
        carry, expected = Carry(3, 7), Carry(3, 7)
        found = np.empty(end - begin), np.empty(end - begin)
        file.decode(begin, end, *found, carry)
        wanted = phase_radius(words[begin:end], carry=expected)
        np.testing.assert_array_equal(found, wanted)
        assert carry == expected
        np.testing.assert_array_equal(file.read(begin, end), words[begin:end])
        pieces = [piece.copy() for piece in file.pieces(begin, end)]
        np.testing.assert_array_equal(np.concatenate([words[:0], *pieces]), words[begin:end])


@settings(max_examples=40, deadline=None)
@given(st.integers(1, 5), st.integers(0, WORDS), st.integers(0, WORDS), st.sampled_from(_decode.levels()))
def test_any_number_of_threads_gives_the_same(
    tmp_path_factory: pytest.TempPathFactory, words: np.ndarray, threads: int, a: int, b: int, level: str
) -> None:
    path = tmp_path_factory.getbasetemp() / "threads.bin"
    if not path.exists():
        words.tofile(path)
    begin, end = min(a, b), max(a, b)
    out = np.empty((2, end - begin))
    _decode.use_level(level)
    try:
        with path.open("rb") as file:
            at, state = 0, (0, _decode.NO_M)
            while at < end - begin:
                done, *after = _decode.decode_file(
                    file.fileno(),
                    8 * (begin + at),
                    False,
                    end - begin - at,
                    out[0, at:],
                    out[1, at:],
                    *state,
                    threads,
                )
                at, state = at + done, (after[0], after[1])
    finally:
        _decode.use_level(_decode.levels()[-1])
    np.testing.assert_array_equal(out, phase_radius(words[begin:end]))


def test_the_kernel_says_what_it_cannot_read(tmp_path: Path) -> None:
    (path := tmp_path / "a").write_bytes(bytes(8 * 1000))
    out = np.empty(1001)
    with path.open("rb") as file:
        for threads in (1, 3):
            with pytest.raises(EOFError):
                _decode.decode_file(file.fileno(), 0, False, 1001, out, None, 0, _decode.NO_M, threads)
        for wrong in ({"n": 1000}, {"threads": 0}, {"last_m": 70_000}):
            given = {"n": 1001, "wraps": 0, "last_m": _decode.NO_M, "threads": 1} | wrong
            with pytest.raises(ValueError, match="give"):
                _decode.decode_file(file.fileno(), 0, False, phase=out, radius=None, **given)
    with path.open("ab") as file, pytest.raises(OSError, match="Bad file descriptor"):
        _decode.decode_file(file.fileno(), 0, False, 1001, out, None, 0, _decode.NO_M)


def test_polar_of_traces_and_windows_is_phase_and_radius(tmp_path: Path, words: np.ndarray) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, words.tobytes())
    for tr in (load(path), Trace.from_words(words), Trace.from_words(words[::2])):
        for part in (tr, tr[123:], tr[300_000:300_001], tr[70_000:280_001], tr[5:5]):
            found = part.polar()
            np.testing.assert_array_equal(found, (part.phase(), part.radius()))
            outs = np.empty((len(part), 2))[:, 0], np.empty(len(part) * 3)[::3]
            given = part.polar(*outs)
            assert given[0] is outs[0]
            assert given[1] is outs[1]
            np.testing.assert_array_equal(outs, found)
    same = np.empty(WORDS)
    with pytest.raises(ValueError, match="phase_out and radius_out overlap"):
        load(path).polar(same, same)
    with pytest.raises(ValueError, match="out is float32"):
        load(path).polar(np.empty(WORDS, np.float32))


def test_polar_goes_on_over_the_files_of_a_recording(tmp_path: Path, words: np.ndarray) -> None:
    whole = tmp_path / "whole.bin"
    whole.write_bytes(build_header(ARGV, START) + words.tobytes())
    window = load_many(whole).windows("100ms")[1]

    np.testing.assert_array_equal(window.polar(), (window.phase(), window.radius()))
    np.testing.assert_array_equal(window.phase(), phase(words)[200_000:400_000])
    np.testing.assert_array_equal(window.radius(), radius(words)[200_000:400_000])


def test_blocks_have_it_as_well() -> None:
    with fc.open("sim://?rate=2MHz") as board, board.stream(block_words=1 << 14, length="0.1s") as stream:
        for k, block in enumerate(stream.blocks(timeout_s=30)):
            carry = Carry(stream.carry.wraps, stream.carry.last_m)
            np.testing.assert_array_equal(block.polar(), phase_radius(block.words, carry=carry))
            if k == 3:
                break
