import csv
from datetime import timedelta
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_files import ARGV, START, counter_words, ledger_entry, write_capture

from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap
from fastcap.stats import TraceStats
from fastcap.stream import build_header, parse_header
from fastcap.trace import Trace, load
from fastcap.words import encode, phase, radius, split_iqm

VECTORS = Path(__file__).parent / "vectors"
RATE = 2_000_000


def spiral(n, seed=3):
    """Return words whose M rolls over many times, both ways: thousands of turns from word to word."""
    steps = np.random.default_rng(seed).uniform(-9000, 9000, n) + 500 * np.sin(np.arange(n) / 300)
    return encode(np.cumsum(steps), 5e5 + np.arange(n) % 1000)


def write(path, words, header=True, tail=b""):
    head = build_header(ARGV, START) if header else b""
    path.write_bytes(head + words.astype("<u8").tobytes() + tail)
    return path


@pytest.fixture(scope="module")
def several_blocks():
    """Return words of several of the index's blocks, and their phase."""
    words = spiral(3 * 65_536 + 100)
    return words, phase(words)


def test_a_trace_gives_what_is_in_its_words(tmp_path):
    words = spiral(40_000)
    tr = load(write(tmp_path / "a.bin", words))

    i, q, m = split_iqm(words)
    np.testing.assert_array_equal(tr.words, words)
    np.testing.assert_array_equal(tr.i(), i)
    np.testing.assert_array_equal(tr.q(), q)
    np.testing.assert_array_equal(tr.m(), m)
    np.testing.assert_array_equal(tr.radius(), radius(words))
    np.testing.assert_array_equal(tr.phase(), phase(words))
    assert (tr.i().dtype, tr.m().dtype, len(tr)) == (np.int32, np.int16, 40_000)


def test_phase_of_the_golden_rollovers_is_the_golden_one(tmp_path):
    lines = (VECTORS / "rollover.csv").read_text().splitlines()
    rows = list(csv.DictReader(line for line in lines if not line.startswith("#")))
    words = np.array([int(row["word_hex"], 16) for row in rows], dtype=np.uint64)
    tr = load(write(tmp_path / "a.bin", words))
    expected = np.array([float(row["phase_turns"]) for row in rows])

    for k in range(len(rows)):
        np.testing.assert_allclose(tr[k:].phase(), expected[k:], rtol=0, atol=1e-9)


@given(st.data())
def test_phase_of_any_window_is_that_of_the_whole(several_blocks, data):
    words, whole = several_blocks
    tr = Trace.from_words(words)
    edges = st.integers(-words.size - 5, words.size + 5) | st.sampled_from([65_535, 65_536, 65_537, -65_536])
    for _ in range(4):
        a, b = data.draw(edges), data.draw(edges)
        np.testing.assert_array_equal(tr[a:b].phase(), whole[a:b])
        np.testing.assert_array_equal(tr[100:140_000][a:b].phase(), whole[100:140_000][a:b])


def test_outputs_go_where_they_are_wanted(tmp_path):
    tr = load(write(tmp_path / "a.bin", spiral(100)))
    out = np.empty(50)

    assert tr[10:60].radius(out) is out
    np.testing.assert_array_equal(out, tr.radius()[10:60])
    assert tr[10:60].phase(out) is out
    np.testing.assert_array_equal(out, tr.phase()[10:60])


def test_header_gives_rate_and_start(tmp_path):
    tr = load(write(tmp_path / "a.bin", spiral(10)))

    assert tr.sample_rate == RATE
    assert (tr.sample_rate_hz, tr.start, tr.header.argv) == (2e6, START, ARGV)
    assert (tr.meta, tr.gaps, tr.path) == ({}, (), str(tmp_path / "a.bin"))


def test_sidecar_gives_start_gaps_and_meta(tmp_path):
    path = tmp_path / "a.bin"
    report = write_capture(path, counter_words(0, 1000), ledger=[ledger_entry(10, 5), ledger_entry(30, 7)])
    tr = load(path)

    assert tr.start.isoformat() == report["started"]
    assert tr.meta == {"laser_curr": "392.8mA"}
    assert tr.gaps == (Gap(10, 10, 5, "ring"), Gap(25, 30, 7, "ring"))


def test_a_thirds_rate_from_a_sidecar_alone_is_exact(tmp_path):
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 10), header=b"", sample_rate_hz=20e6 / 3)

    assert load(path).sample_rate == Fraction(20_000_000, 3)


def test_words_without_header_are_all_there_at_no_rate_when_asked_for(tmp_path):
    path = write(tmp_path / "a.bin", np.arange(50, dtype=np.uint64), header=False)
    tr = load(path, payload="none")

    assert (len(tr), tr.header, tr.sample_rate, tr.sample_rate_hz, tr.start) == (50, None, None, None, None)
    assert tr.header_problem
    with pytest.raises(ValueError, match=r"rate of .*a\.bin is unknown"):
        tr.window(0)
    with pytest.raises(StreamFormatError, match=r"a\.bin.*magic word.*payload='none'"):
        load(path)


def test_odd_bytes_at_the_end_are_ignored(tmp_path):
    assert len(load(write(tmp_path / "a.bin", spiral(10), tail=b"\x01\x02\x03"))) == 10


def test_the_other_payload_begins_one_word_later(tmp_path):
    path = write(tmp_path / "a.bin", spiral(10))

    assert len(load(path, payload="8n+8")) == 9
    np.testing.assert_array_equal(load(path, payload="8n+8").words, spiral(10)[1:])
    np.testing.assert_array_equal(load(path, payload="8n").words, spiral(10))


def test_data_begin_where_the_sidecar_says(tmp_path):
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 10), header=b"")
    path.write_bytes(build_header(ARGV, START) + counter_words(0, 10))  # words that look like a header
    tr = load(path)

    assert tr.words[-1] == 9
    assert len(tr) == 10 + len(build_header(ARGV, START)) // 8
    assert (tr.header, tr.header_problem) == (None, "recorded without a header")


def test_an_unreadable_text_is_told_and_its_words_are_there(tmp_path):
    path = tmp_path / "a.bin"
    path.write_bytes(bytes.fromhex("0300efcdab563412") + b"garbage, no line" + counter_words(0, 5))
    tr = load(path)

    assert tr.header is None
    assert "garbage" in tr.header_problem
    np.testing.assert_array_equal(tr.words, np.arange(5))


@pytest.mark.parametrize("content", [b"", b"\x01\x02", build_header(ARGV, START)[:64]])
def test_less_than_a_header_is_refused(tmp_path, content):
    path = tmp_path / "a.bin"
    path.write_bytes(content)

    with pytest.raises(StreamFormatError, match=r"a\.bin"):
        load(path)


def test_a_header_alone_is_a_trace_without_words(tmp_path):
    tr = load(write(tmp_path / "a.bin", spiral(0)))

    assert (len(tr), tr.radius().size, tr.phase().size, tr.stats().words) == (0, 0, 0, 0)


def test_what_is_no_file_is_refused(tmp_path):
    with pytest.raises(StreamFormatError, match="No such file"):
        load(tmp_path / "none.bin")
    with pytest.raises(StreamFormatError, match="not a regular file"):
        load(tmp_path)


def test_a_damaged_sidecar_is_not_passed_over(tmp_path):
    path = write(tmp_path / "a.bin", spiral(10))
    (tmp_path / "a.sigmf-meta").write_text("{")

    with pytest.raises(StreamFormatError, match=r"a\.sigmf-meta.*not JSON"):
        load(path)


def test_words_of_a_trace_are_read_only(tmp_path):
    tr = load(write(tmp_path / "a.bin", spiral(10)))

    with pytest.raises(ValueError, match="read-only"):
        tr.words[0] = 1


@pytest.mark.parametrize("index", [3, slice(0, 10, 2), slice(None, None, -1), "a"])
def test_what_is_no_plain_slice_is_refused(index):
    with pytest.raises(TypeError, match="slices a:b"):
        Trace.from_words(spiral(10))[index]


def test_from_words_takes_rate_and_start_from_the_header():
    header = parse_header(build_header(ARGV, START))
    tr = Trace.from_words(spiral(10), header)

    assert (tr.sample_rate, tr.start, tr.path) == (RATE, START, None)
    assert Trace.from_words(spiral(10), header, 400).sample_rate == 400


def test_from_words_refuses_what_are_no_words():
    with pytest.raises(ValueError, match="int64"):
        Trace.from_words(np.arange(10))


# -- windows in time ---------------------------------------------------------------------------------


@given(
    st.fractions(min_value=1, max_value=10**8, max_denominator=7),
    st.decimals(min_value=0, max_value=1, places=6),
    st.decimals(min_value=0, max_value=1, places=6),
)
def test_a_window_holds_exactly_the_words_of_its_time(rate, start, duration):
    words = np.arange(2000, dtype=np.uint64)
    tr = Trace.from_words(words, sample_rate=rate)
    span = Fraction(len(words)) / rate
    begin, end = Fraction(start) * span, (Fraction(start) + Fraction(duration)) * span
    if end > span:
        return
    inside = [k for k in range(len(words)) if begin <= Fraction(k) / rate < end]

    np.testing.assert_array_equal(tr.window(begin, end - begin).words, inside)


def test_a_float_means_the_number_that_it_prints_as():
    tr = Trace.from_words(np.arange(1000, dtype=np.uint64), sample_rate=1000)

    for k in range(0, 1000, 7):
        assert tr.window(k / 1000, 0.001).words[0] == k  # 0.007 as a binary float is above 7/1000
        assert tr.window(f"{k}ms").words[0] == k


def test_a_window_beyond_the_trace_is_refused():
    tr = Trace.from_words(spiral(100), sample_rate=100)

    assert len(tr.window("1s")) == 0
    for window in [("2s",), (0, "1.01s"), ("0.5s", 0.51)]:
        with pytest.raises(ValueError, match="not within this trace of 1 s"):
            tr.window(*window)
    with pytest.raises(ValueError, match="from 2 s on is not within"):
        tr.window("2s")
    with pytest.raises(ValueError, match="is not a time"):
        tr.window(-1)


def test_a_window_is_given_as_timedelta_or_a_number_of_numpys():
    tr = Trace.from_words(spiral(100), sample_rate=100)

    assert np.array_equal(tr.window(timedelta(milliseconds=300), np.float32(0.2)).words, tr[30:50].words)


GAPS = (Gap(10, 10, 5, "ring"), Gap(25, 30, 7, "ring"), Gap(25, 37, 3, "ring"))


def source_words(n=60):
    """Return source indices of words with GAPS: each word holds its own."""
    lost = {*range(10, 15), *range(30, 40)}
    return np.array([k for k in range(n + len(lost)) if k not in lost], dtype=np.uint64)


@given(st.integers(0, 75), st.integers(0, 75), st.integers(0, 60), st.integers(0, 60))
def test_windows_and_slices_keep_time_across_gaps(first, count, a, b):
    words = source_words()
    tr = Trace.from_words(words, sample_rate=1, start=START, gaps=GAPS)
    count = min(count, 75 - first)

    window = tr.window(first, count)
    np.testing.assert_array_equal(window.words, [k for k in words if first <= k < first + count])
    part = tr[a:b]
    if len(part):
        assert part.start == START + timedelta(seconds=int(part.words[0]))
        for gap in part.gaps:
            assert 0 < gap.file_word < len(part)
            assert gap.word == part.words[gap.file_word - 1] - part.words[0] + 1 or gap.words_lost == 3
        lost = part.words[-1] - part.words[0] + 1 - len(part)
        assert sum(gap.words_lost for gap in part.gaps) == lost
        tail = [k for k in part.words if k >= part.words[0] + 5] if lost + len(part) > 5 else []
        if tail:
            np.testing.assert_array_equal(part.window(5).words, tail)


def test_gaps_at_both_ends_belong_to_the_whole_trace():
    tr = Trace.from_words(spiral(10), sample_rate=1, gaps=(Gap(0, 0, 4, "ring"), Gap(10, 14, 6, "ring")))

    assert (len(tr.gaps), len(tr[1:].gaps), len(tr[:9].gaps), len(tr[1:9].gaps)) == (2, 1, 1, 0)
    assert len(tr.window(4, 10)) == 10
    assert len(tr.window(0, 20)) == 10
    assert len(tr.window(13)) == 1


# -- statistics --------------------------------------------------------------------------------------


def check_stats(stats, words, phases):
    result = stats.to_dict()
    assert result["radius"]["count"] == len(phases)
    assert result["radius"]["mean"] == pytest.approx(radius(words).mean(), rel=1e-12)
    assert result["radius"]["std"] == pytest.approx(radius(words).std(), rel=1e-9)
    assert result["phase_turns"]["mean"] == pytest.approx(phases.mean(), rel=1e-9)
    assert (result["phase_turns"]["min"], result["phase_turns"]["max"]) == (phases.min(), phases.max())


@pytest.mark.parametrize("begin", [0, 5000, 12_000, 20_000])
def test_statistics_leave_out_the_transient_where_the_window_holds_it(begin):
    words = spiral(30_000)
    stats = Trace.from_words(words)[begin:].stats()

    assert isinstance(stats, TraceStats)
    assert stats.skipped_words == max(0, 12_000 - begin)
    check_stats(stats, words[max(begin, 12_000) :], phase(words)[max(begin, 12_000) :])


@pytest.mark.parametrize("skip", [0, 1, 5000, 10**9])
def test_the_transient_is_as_long_as_is_said(skip):
    words = spiral(20_000)
    stats = Trace.from_words(words).stats(skip_words=skip, tolerance_turns=1e12)

    assert stats.skipped_words == min(skip, 20_000)
    assert stats.single_mode is (True if skip < 20_000 else None)
    with pytest.raises(ValueError, match="skip_words -1 is not a whole number"):
        Trace.from_words(words).stats(skip_words=-1)
    assert Trace.from_words(words).stats(skip_words=float(skip)).skipped_words == stats.skipped_words


def test_statistics_of_a_later_file_of_a_split_leave_out_nothing(tmp_path):
    path = tmp_path / "a.bin"
    words = spiral(20_000)
    write_capture(path, words.tobytes())
    sidecar = (tmp_path / "a.sigmf-meta").read_text()
    (tmp_path / "a.sigmf-meta").write_text(sidecar.replace('first_word": 0', 'first_word": 11999'))

    assert load(path).stats().skipped_words == 1


def test_words_lost_in_the_transient_shorten_it():
    words = spiral(20_000)
    stats = Trace.from_words(words, gaps=(Gap(100, 100, 11_000, "ring"),)).stats()

    assert stats.skipped_words == 1000
    check_stats(stats, words[1000:], phase(words)[1000:])
