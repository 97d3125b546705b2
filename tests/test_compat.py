"""The drop-in for the lab's parser: the same names, and right where the old one errs."""

from __future__ import annotations

import copy
import io
import pickle
import tempfile
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import ARGV, START, ledger_entry, write_capture
from v2_files import ORDERS, board_words, rollovers_of, unwrapped, v2_file
from v2_files import START as V2_START

from fastcap.compat import Timings, VHF_v1_parser, VHFparser
from fastcap.errors import StreamFormatError
from fastcap.index import build_index, index_path
from fastcap.stream import build_header
from fastcap.trace import load
from fastcap.words import encode

MS = timedelta(milliseconds=1)
US = timedelta(microseconds=1)


def rolling(n: int, turns_per_word: float = 0.4) -> Any:
    """Words whose M rolls over every 163,840 words (at 0.4 turns a word, first at 81,920)."""
    return encode(np.arange(n) * turns_per_word, 30_000.0)


def write_counting_itself(path: Path, words: Any) -> None:
    """Write a file whose magic word counts itself, too, as the board's program does."""
    path.write_bytes(build_header((*ARGV, "-v", "3"), START) + words.tobytes())


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "2023-11-23T17:03:08.000000_laser_-_# 1.bin"


def test_header_has_the_old_keys(path: Path) -> None:
    argv = (
        "/home/lab/a # dir -s 9/teststream.exec",
        "-U",
        "/dev/usbhybrid0",
        "-q",
        "4096",
        "-s",
        "4",
        "-lb",
        "-v3",
        "-",
    )
    write_capture(path, rolling(100).tobytes(), header=build_header(argv, START), sidecar=False)

    parsed = VHFparser(path, headers_only=True)

    assert parsed.header == {
        "U": "/dev/usbhybrid0",
        "q": 4096,
        "s": 4,
        "l": "",
        "b": "",
        "v": 3,
        "Time start": START,
        "base sampling freq": 10e6,
        "sampling freq": 2e6,
    }
    assert parsed.headerraw.startswith(b"# command line: ")
    assert b"\0" not in parsed.headerraw
    assert parsed.filesize == path.stat().st_size


def test_values_are_those_of_the_words(path: Path) -> None:
    phase = np.arange(-500, 500) * 0.01
    write_capture(path, encode(phase, 30_000.0).tobytes(), sidecar=False)

    parsed = VHFparser(path)

    np.testing.assert_allclose(parsed.reduced_phase, phase, atol=1e-5)
    np.testing.assert_allclose(parsed.radii, 30_000, atol=1)
    np.testing.assert_allclose(parsed.radii, np.hypot(parsed.i_arr, parsed.q_arr), rtol=1e-12)
    expected = -np.arctan2(parsed.i_arr, parsed.q_arr) / (2 * np.pi) - parsed.m_arr
    np.testing.assert_allclose(parsed.reduced_phase, expected, rtol=1e-12, atol=1e-12)
    assert parsed.data.dtype == np.uint64
    assert parsed.data.size == 1000


def test_window_knows_the_rollovers_before_it(path: Path) -> None:
    write_capture(path, rolling(400_000).tobytes(), sidecar=False)

    parsed = VHFparser(path, headers_only=True, plot_start_time=100 * MS, plot_duration=50 * MS)

    np.testing.assert_allclose(parsed.reduced_phase, 0.4 * np.arange(200_000, 300_000), atol=1e-4)
    np.testing.assert_array_equal(parsed.m_arr, np.rint(-0.4 * np.arange(200_000, 300_000)))


def test_rollover_shows_at_its_own_word(path: Path) -> None:
    write_capture(path, rolling(90_000).tobytes(), sidecar=False)

    steps = np.diff(VHFparser(path).reduced_phase)

    np.testing.assert_allclose(steps, 0.4, atol=1e-4)


def test_window_begins_at_the_first_word_that_is_not_too_early(path: Path) -> None:
    argv = ("teststream", "-s", "6", "-l", "-b")  # 10/7 MHz: the interval is no whole number of nanoseconds
    write_capture(path, rolling(10_000).tobytes(), header=build_header(argv, START), sidecar=False)
    parsed = VHFparser(path, headers_only=True)

    for start_us in range(500, 700):
        parsed.update_plot_timing(start=start_us * US, duration=10 * US)
        inside = [k for k in range(10_000) if 10 * start_us <= 7 * k < 10 * (start_us + 10)]
        assert (parsed.timings.start_idx, parsed.timings.end_idx) == (inside[0], inside[-1] + 1)


def test_window_is_cut_off_at_the_trace_and_moves_values_with_it(path: Path) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)  # 2 ms
    parsed = VHFparser(path)
    assert parsed.timings.trace_end == START + 2 * MS
    first = parsed.reduced_phase

    parsed.update_plot_timing(start=START - 15 * MS, duration=16 * MS)

    assert (parsed.timings.plot_start, parsed.timings.plot_end) == (START, START + MS)
    np.testing.assert_array_equal(parsed.reduced_phase, first[:2000])
    parsed.update_plot_timing(end=START + 99 * MS)
    np.testing.assert_array_equal(parsed.reduced_phase, first)
    parsed.update_plot_timing(start=3 * MS)
    assert parsed.timings.duration_idx == parsed.reduced_phase.size == 0


def test_update_tells_whether_the_window_moved(path: Path) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)
    timings = VHFparser(path, headers_only=True).timings

    assert timings.update_plot_timing(start=MS)
    assert not timings.update_plot_timing(start=START + MS)
    assert not timings.update_plot_timing(end=START + 5000 * MS)
    assert timings.update_plot_timing(duration=MS / 2)
    assert timings.plot_end == START + MS * 1.5
    assert not timings.update_plot_timing()


def test_a_start_behind_the_end_makes_the_window_empty(path: Path) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)
    parsed = VHFparser(path, headers_only=True, plot_start_time=0 * MS, plot_end_time=START + MS / 2)

    parsed.update_plot_timing(start=MS)
    assert (parsed.timings.plot_start, parsed.timings.plot_end) == (START + MS, START + MS)
    parsed.update_plot_timing(end=START + MS / 4)
    assert (parsed.timings.plot_start, parsed.timings.plot_end) == (START + MS / 4, START + MS / 4)
    assert parsed.data.size == 0


@pytest.fixture
def east_of_here(monkeypatch: pytest.MonkeyPatch) -> Iterator[timezone]:
    """Let this machine be two hours west of UTC; return the zone of a file that was recorded elsewhere."""
    monkeypatch.setenv("TZ", "XXX+2")
    time.tzset()
    yield timezone(timedelta(hours=8))
    monkeypatch.undo()
    time.tzset()


def test_times_without_a_zone_are_local_as_pythons_own(path: Path, east_of_here: timezone) -> None:
    east = START.astimezone(east_of_here)
    write_capture(path, rolling(4000).tobytes(), header=build_header(ARGV, east), sidecar=False)
    here = START.astimezone().replace(tzinfo=None)
    assert here.hour == 0

    parsed = VHFparser(path, headers_only=True, plot_start_time=here + MS)

    assert parsed.timings.start_idx == 2000
    assert parsed.timings.plot_start == east + MS
    assert parsed.timings.plot_start.utcoffset() == east.utcoffset()


def test_times_with_a_zone_fit_a_start_without_one(path: Path, east_of_here: timezone) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)
    timings = Timings(START.astimezone().replace(tzinfo=None), Fraction(2_000_000), load(path))

    assert timings.update_plot_timing(start=(START + MS).astimezone(east_of_here))

    assert (timings.start_idx, timings.plot_start.tzinfo) == (2000, None)


@pytest.mark.parametrize(
    ("window", "said"),
    [
        ({"plot_duration": -MS}, "negative"),
        ({"plot_duration": MS, "plot_end_time": START}, "both"),
        ({"plot_start_time": START + MS, "plot_end_time": START}, "before start"),
        ({"plot_start_time": 1.5}, "1.5 is neither a datetime nor a timedelta"),
        ({"plot_end_time": "2023-11-23"}, "'2023-11-23' is neither a datetime nor a timedelta"),
        ({"plot_duration": 2}, "duration 2 is no timedelta"),
    ],
)
def test_a_window_that_makes_no_sense_is_refused(path: Path, window: dict[str, Any], said: str) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)

    with pytest.raises(ValueError, match=said):
        VHFparser(path, **window)


def test_gaps_shift_what_follows(path: Path) -> None:
    words = rolling(4000)
    kept = np.concatenate([words[:1000], words[2000:]])
    write_capture(path, kept.tobytes(), ledger=[ledger_entry(1000, 1000)], words_lost=1000)
    parsed = VHFparser(path, headers_only=True, plot_start_time=MS)

    assert parsed.timings.trace_end == datetime(2026, 11, 22, 2, 0, 0, 2000, tzinfo=UTC)
    assert parsed.timings.start_idx == 1000
    np.testing.assert_array_equal(parsed.data, words[2000:])


@pytest.mark.parametrize("kind", ["named", "unnamed", "memory"])
def test_open_files_are_read_from_their_beginning(path: Path, kind: str) -> None:
    raw = build_header(ARGV, START) + rolling(4000).tobytes() + b"odd"
    path.write_bytes(raw)
    opened = {"named": lambda: path.open("rb"), "unnamed": tempfile.TemporaryFile, "memory": io.BytesIO}[kind]
    with opened() as file:
        if kind != "named":
            file.write(raw[:-5])
            file.write(raw[-5:])  # still in Python's buffer
        else:
            file.read(100)
        parsed = VHFparser(file)
        assert parsed.filesize == len(raw)
        other = copy.deepcopy(parsed)
    other.update_plot_timing(start=MS)
    assert other.data.size == 2000
    np.testing.assert_array_equal(parsed.data, rolling(4000))
    if kind == "unnamed":
        with pytest.raises(TypeError, match="cannot be pickled"):
            pickle.dumps(parsed)
    assert parsed.reduced_phase[-1] == pytest.approx(0.4 * 3999, abs=1e-4)


def test_copies_and_pickles_have_windows_of_their_own(path: Path) -> None:
    write_counting_itself(path, rolling(4000))
    parsed = VHFparser(path, headers_only=True, payload="8n")

    assert parsed.reduced_phase.size == 4000
    other = copy.deepcopy(parsed)
    other.update_plot_timing(start=MS)
    assert (parsed.reduced_phase.size, other.reduced_phase.size) == (4000, 2000)
    back = pickle.loads(pickle.dumps(other))

    assert parsed.timings.start_idx == 0
    assert len(pickle.dumps(parsed)) < 2000
    assert back.data.size == other.data.size == 2000
    np.testing.assert_array_equal(back.reduced_phase, parsed.reduced_phase[2000:])


def test_the_other_reading_of_where_data_begin(path: Path) -> None:
    write_counting_itself(path, rolling(10))

    np.testing.assert_array_equal(VHFparser(path, payload="8n+8").data, rolling(10)[1:])
    np.testing.assert_array_equal(VHFparser(path).data, rolling(10))


@pytest.mark.parametrize(
    ("raw", "said"),
    [
        (b"", "0 bytes"),
        (b"no header at all, but some text", "magic"),
        (build_header(ARGV, START)[:40], "header"),
        (build_header(ARGV, START).replace(b"recording start", b"recording stort"), "no recording start"),
    ],
)
def test_what_is_no_file_of_the_board_is_refused(path: Path, raw: bytes, said: str) -> None:
    path.write_bytes(raw)

    with pytest.raises(StreamFormatError, match=said):
        VHFparser(path)
    with pytest.raises(StreamFormatError):
        VHFparser(io.BytesIO(raw))


def test_what_is_no_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(StreamFormatError, match="nothing"):
        VHFparser(tmp_path / "nothing.bin")
    with pytest.raises(StreamFormatError, match="no file"):
        VHFparser(object())  # type: ignore[arg-type]


def test_a_start_without_an_offset_is_naive_as_the_labs(path: Path, east_of_here: timezone) -> None:
    header = build_header(ARGV, START).replace(b" +0000\n", b"\n" + b"\0" * 6)
    write_capture(path, rolling(4000).tobytes(), header=header, sidecar=False)

    parsed = VHFparser(path, plot_start_time=START.replace(tzinfo=None) + MS)

    assert parsed.header["Time start"] == parsed.timings.trace_start == START.replace(tzinfo=None)
    assert parsed.data.size == 2000


# -- what the lab's later scripts touch -----------------------------------------------------------------------


def wandering(n: int) -> Any:
    """Words whose M rolls over both ways, and twice within a block."""
    return board_words(70_000 * np.sin(np.arange(n) / 9_000) + 32_700.3)


def lab_files(folder: Path) -> list[Path]:
    words = wandering(200_000)
    write_capture(folder / "v1.bin", words.tobytes(), sidecar=False)
    return [
        folder / "v1.bin",
        v2_file(folder / "little.vhf.bin", words),
        v2_file(folder / "big.vhf.bin", words, "big", total=3),
        v2_file(folder / "none.vhf.bin", words, total=0),
    ]


def test_rollovers_are_listed_as_in_the_overview_of_all_headers(tmp_path: Path) -> None:
    expected = rollovers_of(wandering(200_000))
    for path in lab_files(tmp_path):
        parsed = VHF_v1_parser(path, headers_only=True)
        parsed.resolve_m_overflow_idxs()

        assert parsed._m_mgr is not None
        assert (parsed._filename, parsed._num_trc_bytes, parsed._bytes_per_word) == (path, 200_000, 8)
        assert parsed._num_head_bytes + 8 * parsed._num_trc_bytes == parsed.filesize
        assert parsed._m_mgr.sparse_m_delta_idx.tolist() == [k for k, _ in expected]
        assert parsed._m_mgr.sparse_m_delta.tolist() == [-sign for _, sign in expected]
        assert (parsed._m_mgr.sparse_m_delta_idx.dtype, parsed._m_mgr.sparse_m_delta.dtype) == (
            np.intp,
            np.int16,
        )


def test_rollovers_undo_themselves(tmp_path: Path) -> None:
    words = wandering(100_000)
    parsed = VHFparser(v2_file(tmp_path / "a.vhf.bin", words))
    found = parsed._m_mgr
    assert found is not None

    steps = np.zeros(words.size, np.int64)
    steps[found.sparse_m_delta_idx] = found.sparse_m_delta
    m = (words.view(np.int64) >> 48) - 65_536 * np.cumsum(steps)

    np.testing.assert_array_equal(parsed.m_arr, m)


@pytest.mark.parametrize(
    "call", ["_pre_trace_parsing", "_obtain_m_deltas", "resolve_m_overflow_idxs", "_m_mgr"]
)
def test_nothing_is_looked_for_before_somebody_asks(path: Path, call: str) -> None:
    write_capture(path, rolling(1000).tobytes(), sidecar=False)
    parsed = VHFparser(path, headers_only=True)
    assert (parsed._m_mgr_obtained, parsed._pre_trace_parsing_called) == (False, False)

    found = getattr(parsed, call)
    found = found() if callable(found) else found

    assert found is None  # and M has not rolled over
    assert (parsed._m_mgr_obtained, parsed._pre_trace_parsing_called) == (True, True)


def test_values_are_kept_until_the_window_moves(path: Path) -> None:
    write_capture(path, rolling(4000).tobytes(), sidecar=False)
    parsed = VHFparser(path)
    names = ("_data", "_i_arr", "_q_arr", "_m_arr", "_phase", "_radii")
    assert [getattr(parsed, name) for name in names] == [None] * 6

    parsed.read_words()
    given = (parsed.data, parsed.i_arr, parsed.q_arr, parsed.m_arr, parsed.reduced_phase, parsed.radii)
    assert all(getattr(parsed, name) is values for name, values in zip(names, given, strict=True))
    parsed.update_plot_timing(True, start=MS)

    assert [getattr(parsed, name) for name in names] == [None] * 6
    np.testing.assert_array_equal(np.concatenate(list(parsed._all_trace(999))), rolling(4000))
    assert parsed.logger.name == "vhfparser"


@pytest.mark.parametrize("order", ORDERS)
def test_a_v2_file_is_read_like_any_other(tmp_path: Path, order: str) -> None:
    words = wandering(200_000)
    path = v2_file(tmp_path / "a.vhf.bin", words, order, m_offset=-2, gain=6)

    parsed = VHFparser(path, plot_start_time=50 * MS, plot_duration=20 * MS)

    expected = {"q": 200_000, "s": 4, "l": "", "G": 6, "F": 2, "Time start": V2_START, "num_files": 3}
    assert parsed.header.items() >= (expected | {"base sampling freq": 10e6, "sampling freq": 2e6}).items()
    assert parsed.headerraw.startswith(b'{"file_start"')
    np.testing.assert_array_equal(parsed.data, words[100_000:140_000])
    np.testing.assert_allclose(parsed.reduced_phase, unwrapped(words, -2)[100_000:140_000], atol=1e-9)
    with path.open("rb") as file:
        memory = VHFparser(io.BytesIO(file.read()))
    np.testing.assert_array_equal(memory.data, words)
    np.testing.assert_allclose(memory.reduced_phase, unwrapped(words, -2), atol=1e-9)


def test_no_file_is_left_beside_or_in_the_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    folder = tmp_path / "run"
    folder.mkdir()
    path = folder / "a.bin"
    write_capture(
        path, np.resize(rolling(65_536), 40 * 65_536).tobytes(), sidecar=False
    )  # an index is worth while

    parsed = VHFparser(path, headers_only=True, plot_start_time=600 * MS, plot_duration=MS)
    assert parsed.reduced_phase.size == 2000
    again = pickle.loads(pickle.dumps(parsed))
    again.update_plot_timing(start=1 * MS)
    again.resolve_m_overflow_idxs()

    assert again.reduced_phase.size > 2000
    assert [each.name for each in folder.iterdir()] == ["a.bin"]
    assert not (tmp_path / "cache").exists()


def test_an_index_that_is_there_is_used(path: Path) -> None:
    write_capture(path, rolling(200_000).tobytes(), sidecar=False)
    build_index(path)

    parsed = VHFparser(path, headers_only=True, plot_start_time=70 * MS)

    assert parsed._trace._origin.index.file == index_path(path)
    np.testing.assert_allclose(parsed.reduced_phase, 0.4 * np.arange(140_000, 200_000), atol=1e-4)


def test_rollovers_travel_with_a_parser(tmp_path: Path) -> None:
    (path, *_) = lab_files(tmp_path)
    parsed = VHFparser(path, headers_only=True)
    parsed.resolve_m_overflow_idxs()
    expected = VHFparser(path).reduced_phase[150_000:]

    other = pickle.loads(pickle.dumps(parsed))

    assert other._m_mgr_obtained
    other.update_plot_timing(start=75 * MS)
    np.testing.assert_array_equal(other.reduced_phase, expected)
    assert other._trace._origin.index.count == 0


def test_a_temporary_file_is_read_and_can_be_gone_afterwards() -> None:
    with tempfile.TemporaryDirectory(prefix="VHF") as folder:
        path = Path(folder) / "a.bin"
        write_capture(path, rolling(4000).tobytes(), sidecar=False)
        parsed = VHFparser(path)
        assert parsed.m_arr.max() == 0
        phase = parsed.reduced_phase
        assert [each.name for each in Path(folder).iterdir()] == ["a.bin"]
    assert phase[-1] == pytest.approx(0.4 * 3999, abs=1e-4)
    parsed.header["sampling freq"] /= 50  # as a script does that has decimated
    assert parsed.header["sampling freq"] == 40e3
