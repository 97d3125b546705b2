"""Byte slips found in stored data: by how many bytes, where, and nothing where there is none."""

from __future__ import annotations

from random import Random

import numpy as np
import pytest
import slipping
from slipping import without

from fastcap import slips
from fastcap._slips import RUN_WORDS, UNKNOWN, alignments, place
from fastcap.words import encode
from tools import slip_alarms

pytest_plugins = ["emulated_board"]
SIGNALS = {
    "at 2 MHz": ["--rate", "2MHz"],
    "at 10 MHz": ["--rate", "10MHz"],
    "in the dark": ["--rate", "2MHz", "--radius", "0"],
    "almost without noise": ["--rate", "2MHz", "--noise", "3"],
    "noise alone": ["--rate", "2MHz", "--noise", "8e6"],
    "half a turn a word": ["--rate", "2MHz", "--freq", "999999"],
}
WORDS = 200_000


@pytest.fixture
def emulated():
    """Return the words of a signal, as bytes."""
    return lambda name: slipping.emulated(WORDS, *SIGNALS[name])


def found(data: bytes, **options) -> list[slips.Slip]:
    return slips.find_slips(lambda begin, end: data[8 * begin : 8 * end], len(data) // 8, **options)


@pytest.mark.parametrize("signal", SIGNALS)
@pytest.mark.parametrize("count", range(1, 8))
def test_bytes_cut_out_are_counted_and_placed(emulated, signal, count):
    random = Random(count)
    for word in (20_000, random.randrange(20_000, 180_000), 190_000):
        (slip,) = found(without(emulated(signal), word, random.randrange(0, 9 - count), count))

        assert slip.bytes == count
        assert slip.low <= word <= slip.high <= slip.low + 12
        assert abs(slip.word - word) <= 1


@pytest.mark.parametrize("word", [1_200, 3_000, WORDS - 4_000, WORDS - 1_600])
def test_near_the_ends_a_slip_is_placed_once_four_runs_stand_on_either_side(emulated, word):
    (slip,) = found(without(emulated("at 2 MHz"), word, 2, 3))

    assert (slip.word, slip.bytes) == (word, 3)


@pytest.mark.parametrize("word", [0, 1, 200, WORDS - 900, WORDS - 2, WORDS - 1])
def test_too_near_the_ends_nothing_is_told(emulated, word):
    assert found(without(emulated("at 2 MHz"), word, 1, 5)) == []


@pytest.mark.parametrize("apart", [3_000, 10_000, 100_000])
def test_two_slips_are_two(emulated, apart):
    data = without(without(emulated("at 2 MHz"), 60_000 + apart, 0, 4), 60_000, 3, 2)
    first, second = found(data)

    assert (first.word, first.bytes, first.old, first.new) == (60_000, 2, 0, 6)
    assert (second.word, second.bytes, second.old, second.new) == (59_999 + apart, 4, 6, 2)


@pytest.mark.parametrize(
    ("runs", "agreed"),
    [
        ([3, 3, 3, 3], 3),
        ([3, UNKNOWN & 0xFF, 3, 3, UNKNOWN & 0xFF, 3], 3),
        ([3, 3, 3], None),
        ([3, 3, 3, 3, 5], None),
        ([5, 3, 3, 3, 3], None),
        ([], None),
    ],
)
def test_runs_agree_where_there_are_four_and_none_contradicts(runs: list[int], agreed: int | None) -> None:
    assert slips.agreed(bytes(runs)) == agreed


def test_slips_that_undo_each_other_are_seen_with_a_hint(emulated):
    data = without(without(emulated("at 2 MHz"), 110_000, 0, 5), 98_000, 3, 3)

    assert [s.bytes for s in found(data, places=3, hints=[98_000])] == [3, 5]


def test_a_stream_that_begins_within_a_word_is_no_slip(emulated):
    for cut in range(1, 8):
        assert found(emulated("at 2 MHz")[cut:]) == []
    (slip,) = found(without(emulated("at 2 MHz"), 90_000, 0, 3)[5:])
    assert (slip.bytes, slip.old, slip.new) == (3, 3, 0)


def test_words_lost_whole_are_no_slip(emulated):
    data = emulated("at 2 MHz")
    assert found(data[:400_000] + data[480_000:]) == []


def rolling_over() -> bytes:
    """Return words whose M passes the end of its range again and again, and hovers there."""
    phase = 32768 + 3 * np.sin(np.arange(WORDS) / 300) + np.random.default_rng(1).normal(0, 0.01, WORDS)
    return encode(phase, 1e6).tobytes()


def turning_fast() -> bytes:
    """Return words of several turns each: thousands in a second, at a low rate."""
    return encode(np.arange(WORDS) * 7.3, 1e6 + np.random.default_rng(2).normal(0, 300, WORDS)).tobytes()


FOREIGN = {
    "zeros": bytes(8 * WORDS),
    "constant": b"\x12\x34\x56\x78\x9a\xbc\xde\xf0" * WORDS,
    "counter": np.arange(2**33, 2**33 + WORDS, dtype="<u8").tobytes(),
    "random bytes": Random(3).randbytes(8 * WORDS),
    "text": b"# recording start: 2023-11-23 17:03:08\n" * (WORDS // 5),
    "sine of doubles": np.sin(np.arange(WORDS) / 50).tobytes(),
    "pairs of 32 bits": np.random.default_rng(4).normal(0, 1e5, 2 * WORDS).astype("<i4").tobytes(),
    "four of 16 bits": np.random.default_rng(5).normal(0, 1e3, 4 * WORDS).astype("<i2").tobytes(),
    "rolling over": rolling_over(),
    "turning fast": turning_fast(),
}


@pytest.mark.parametrize("kind", FOREIGN)
def test_data_of_any_kind_gives_no_alarm(kind):
    assert found(FOREIGN[kind]) == []
    assert set(alignments(FOREIGN[kind])) <= {0, UNKNOWN & 0xFF}


@pytest.mark.parametrize("kind", ["rolling over", "turning fast"])
@pytest.mark.parametrize("count", range(1, 8))
def test_slips_are_found_whatever_m_does(kind, count):
    (slip,) = found(without(FOREIGN[kind], 77_777, 0, count))

    assert slip.bytes == count
    assert slip.low <= 77_777 <= slip.high


def test_no_signal_of_the_emulated_board_is_judged_wrongly():
    kinds = slip_alarms.signals(seed=7)
    known = 0
    for _ in range(12):
        _, told, wrong = slip_alarms.judge(options := next(kinds), 150_000)
        assert wrong == 0, options
        known += told
    assert known > 1_000


def test_a_slip_between_stretches_that_tell_nothing_has_wide_bounds(emulated):
    data = without(emulated("at 2 MHz"), 100_000, 0, 3)
    quiet = data[: 8 * 90_000] + bytes(8 * 20_000) + data[8 * 110_000 :]
    (slip,) = found(quiet)

    assert slip.bytes == 3
    assert slip.low <= 90_000
    assert slip.high >= 109_990


@pytest.mark.parametrize("arguments", [(bytes(100), 0, 3), (bytes(9_000), 3, 3), (bytes(9_000), 8, 0)])
def test_no_place_is_given_where_there_can_be_none(arguments):
    with pytest.raises(ValueError, match="no slip"):
        place(*arguments)


def test_runs_lie_as_far_apart_as_asked(emulated):
    data = emulated("at 2 MHz")
    assert len(alignments(data, 65536)) == (len(data) - (RUN_WORDS + 2) * 8) // 65536 + 1
    assert alignments(data[: RUN_WORDS * 8]) == b""
    with pytest.raises(ValueError, match="multiple of 8"):
        alignments(data, 12)


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("speed", ["max", "realtime"])
def test_the_emulated_board_loses_bytes_within_a_word(emulate, count, speed):
    at = ["-q", "50000", "--pattern", "counter", "--speed", speed, "--header", "none", "-b", "-l", "-s", "4"]
    run = emulate(*at, "--fault", f"slip@40000:{count}", "--fault", "slip@45000:1")
    whole = np.arange(50_000, dtype="<u8").tobytes()

    assert run.status == 0
    assert run.raw == without(without(whole, 45_000, 7, 1), 40_000, 8 - count, count)
    assert run.report["bytes_slipped"] == count + 1
    assert run.report["words_written"] == 50_000
