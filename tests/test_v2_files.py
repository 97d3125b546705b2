"""V2 files: read as the specification says, whoever wrote them in which byte order, and refused where they lie."""

from __future__ import annotations

import json
import logging
import pickle
import re
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from v2_files import (
    ORDERS,
    START,
    START_S,
    START_TEXT,
    board_words,
    rollovers_of,
    unwrapped,
    v2_file,
    v2_header,
)

import fastcap as fc
from fastcap.errors import StreamFormatError
from fastcap.index import build_index, index_path
from fastcap.info import file_info, format_info
from fastcap.v2header import V2Header
from fastcap.verify import verify_file

BLOCK = 65_536
TURNS = 70_000 * np.sin(np.arange(4 * BLOCK + 17) / 9_000) + 32_700.3
WORDS = board_words(TURNS)
ROLLOVERS = rollovers_of(WORDS)
FEW = board_words(np.arange(1000) * 0.1)

pytestmark = pytest.mark.filterwarnings("error")


def test_the_golden_words_roll_over_both_ways_and_near_blocks_edges() -> None:
    assert {sign for _, sign in ROLLOVERS} == {1, -1}
    assert len(ROLLOVERS) > 10
    np.testing.assert_allclose(unwrapped(WORDS), TURNS, atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("total", "m_offset"),
    [(len(ROLLOVERS) + 4, 0), (len(ROLLOVERS) + 4, -3), (len(ROLLOVERS), 2), (5, 7), (1, 0), (0, -1)],
)
def test_every_window_has_its_phase(tmp_path: Path, order: str, total: int, m_offset: int) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, order, total=total, m_offset=m_offset)
    expected = unwrapped(WORDS, m_offset)

    trace = fc.load(path)

    assert trace.problems == ()
    np.testing.assert_array_equal(trace.words, WORDS)
    assert trace.words.dtype.isnative
    marks = [0, 1, BLOCK, 2 * BLOCK, 4 * BLOCK, *(k + d for k, _ in ROLLOVERS[::5] for d in (-1, 0, 1))]
    for begin in (*reversed(marks), *marks):  # as they come, and with what an earlier one has left
        np.testing.assert_allclose(trace[begin : begin + 5].phase(), expected[begin : begin + 5], atol=1e-9)
    np.testing.assert_allclose(trace.phase(), expected, atol=1e-9)
    np.testing.assert_allclose(trace.stats(skip_words=0).phase.mean, expected.mean(), rtol=1e-12)
    assert trace.envelope(7).phase_max.max() == pytest.approx(expected.max(), abs=1e-9)


def test_a_table_with_room_left_gives_a_window_its_phase_without_what_is_before_it(tmp_path: Path) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS)
    trace = fc.load(path)

    trace[3 * BLOCK :].phase()

    assert trace._origin.index.count == 0


def test_a_table_that_was_never_filled_is_not_taken_for_no_rollovers(tmp_path: Path) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, table=[], spare=50)

    np.testing.assert_allclose(fc.load(path)[3 * BLOCK :].phase(), TURNS[3 * BLOCK :], atol=1e-4)


def test_an_index_and_the_table_agree(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, "big", m_offset=5)

    made = build_index(path)
    trace = fc.load(path)

    assert made.made_blocks == 5
    assert trace._origin.index.count == 5
    np.testing.assert_allclose(trace[3 * BLOCK :].phase(), unwrapped(WORDS, 5)[3 * BLOCK :], atol=1e-9)
    assert not caplog.records


def test_an_index_of_another_m_offset_is_not_used(tmp_path: Path) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, m_offset=5)
    build_index(path)
    v2_file(path, WORDS, m_offset=6)
    index = Path(index_path(path))
    index.touch()  # no older than its file, as that of a copy

    np.testing.assert_allclose(fc.load(path)[BLOCK:].phase(), unwrapped(WORDS, 6)[BLOCK:], atol=1e-9)


def test_a_table_that_leaves_rollovers_out_is_found_out_by_the_words(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, table=ROLLOVERS[:3] + ROLLOVERS[4:])
    trace = fc.load(path)

    build_index(path)
    trace._origin.index.extend(5)

    assert "rollover table is wrong before word" in caplog.text
    np.testing.assert_allclose(trace[3 * BLOCK :].phase(), TURNS[3 * BLOCK :], atol=1e-4)


@pytest.mark.parametrize(
    ("cut", "said"),
    [(8 * BLOCK, f"holds {3 * BLOCK + 17} words"), (8 * BLOCK + 3, f"holds {3 * BLOCK + 16} words")],
)
def test_a_file_cut_off_keeps_its_words_and_their_phase(tmp_path: Path, cut: int, said: str) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS)
    path.write_bytes(path.read_bytes()[:-cut])

    trace = fc.load(path)

    assert len(trace.problems) == 1
    assert f"truncated: {said}" in trace.problems[0]
    np.testing.assert_allclose(trace[2 * BLOCK :].phase(), TURNS[2 * BLOCK : len(trace)], atol=1e-4)
    assert said in "".join(file_info(path)["problems"])


def test_a_table_not_filled_before_the_program_died_is_completed_from_the_words(tmp_path: Path) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, table=ROLLOVERS[:4], spare=20, num_samples=WORDS.size + 5)

    np.testing.assert_allclose(fc.load(path)[4 * BLOCK :].phase(), TURNS[4 * BLOCK :], atol=1e-4)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("table", "said"),
    [
        ([(900, 1), (3, -1)], "do not rise"),
        ([(5, 1), (5, -1)], "do not rise"),
        ([2**63], "word 0, before which there is none"),
        ([(7, 1)], "word 7, but there it goes from -1 to -1"),
        ([(1000, 1)], "word 1000 of 1000"),
        ([2**63 + 2**62], "of 1000"),
    ],
)
def test_a_table_that_cannot_be_true_is_told_of_and_not_used(
    tmp_path: Path, order: str, table: list[Any], said: str
) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", FEW, order, table=table)

    trace = fc.load(path)

    assert [said in problem for problem in trace.problems] == [True]
    np.testing.assert_allclose(trace[900:].phase(), unwrapped(FEW)[900:], atol=1e-9)
    assert said in "".join(file_info(path)["problems"])


def test_a_rollover_the_other_way_round_is_told_of(tmp_path: Path) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", WORDS, table=[(k, -sign) for k, sign in ROLLOVERS])

    assert "but there it goes from" in fc.load(path).problems[0]


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("changed", "said"),
    [
        ({"mark": 0xFEFE}, "byte-order mark fe fe"),
        ({"length": 0}, "announces 0 bytes of JSON"),
        ({"length": -1}, "announces 18446744073709551615 bytes"),
        ({"length": 1 << 19}, "torn"),
        ({"length": 50}, "not JSON"),
        ({"text": b"[1, 2]"}, "a list, not an object"),
        ({"text": b"{" * 2000}, "not JSON"),
        ({"text": b"[" * 200_000}, "not JSON"),
        ({"text": b'{"m_overflow_total": NaN}'}, "not JSON"),
        ({"text": b"\xff\xfe"}, "not JSON"),
        ({"m_overflow_total": "absent"}, "says nothing for m_overflow_total"),
        ({"m_overflow_total": -1}, "says -1 for m_overflow_total"),
        ({"m_overflow_total": True}, "says true for m_overflow_total"),
        ({"m_overflow_total": 1 << 40}, "says 1099511627776 for m_overflow_total"),
        ({"m_overflow_total": 1 << 20}, "truncated or damaged"),
    ],
)
def test_a_header_that_does_not_say_where_data_begin_is_refused(
    tmp_path: Path, order: str, changed: dict[str, Any], said: str
) -> None:
    path = v2_file(tmp_path / "a.vhf.bin", FEW, order, **changed)

    for read in (fc.load, file_info):
        with pytest.raises(StreamFormatError, match=said) as caught:
            read(path)
        assert str(caught.value).startswith(f"{path}: ")
        assert "\n" not in str(caught.value)


def test_every_torn_header_is_refused(tmp_path: Path) -> None:
    path, header = tmp_path / "a.vhf.bin", v2_header(total=3)
    for size in range(8, len(header)):
        path.write_bytes(header[:size])
        with pytest.raises(StreamFormatError, match=r"torn|truncated"):
            fc.load(path)


@pytest.mark.parametrize(
    "changed", [{"skip_num": -1}, {"skip_num": "4"}, {"speed": "middle"}, {"speed": 5}, {"m_offset": 2.5}]
)
@pytest.mark.parametrize("order", ORDERS)
def test_words_can_be_read_of_a_header_that_is_wrong_in_what_they_do_not_need(
    tmp_path: Path, order: str, changed: dict[str, Any]
) -> None:
    trace = fc.load(v2_file(tmp_path / "a.vhf.bin", FEW, order, **changed))

    (key,) = changed
    assert key in (trace.header_problem or "")
    assert key in trace.problems[0]
    assert (trace.header, trace.sample_rate) == (None, None)
    np.testing.assert_array_equal(trace.words, FEW)


@pytest.mark.parametrize(
    ("changed", "start", "told"),
    [
        ({}, START, ""),
        ({"file_start": "2025-02-18T09:03:08.5Z"}, datetime(2025, 2, 18, 9, 3, 8, 500_000, UTC), ""),
        ({"file_start": "yesterday"}, datetime.fromtimestamp(START_S, UTC), "file_start"),
        ({"file_start": "absent"}, datetime.fromtimestamp(START_S, UTC), "no file_start"),
        ({"file_start": 5}, datetime.fromtimestamp(START_S, UTC), "says 5 for file_start"),
        ({"seconds": START_S + 60}, START, "which is used, and at 2025-02-18 09:04:08"),
        ({"seconds": 2**62}, START, "and at second 4611686018427387904"),
        ({"seconds": 2**62, "file_start": "absent"}, None, "no file_start"),
        (
            {"seconds": -5, "file_start": "absent"},
            datetime(1969, 12, 31, 23, 59, 55, tzinfo=UTC),
            "no file_start",
        ),
    ],
)
def test_starts_and_what_contradicts_them(
    tmp_path: Path, changed: dict[str, Any], start: datetime | None, told: str
) -> None:
    trace = fc.load(v2_file(tmp_path / "a.vhf.bin", FEW, **changed))

    assert trace.start == start
    assert trace.header is not None
    said = [*trace.problems, *trace.header.warnings]
    assert said == [] if not told else told in " ".join(said)


def test_all_that_the_header_says_is_there(tmp_path: Path) -> None:
    fold = {"fold": [{"FIRFiltFilt": {"skip_num": 1, "filter_name": "Hann", "filter_window": [0.25] * 300}}]}
    path = v2_file(
        tmp_path / "a.vhf.bin", FEW, stream_fold=fold, gain=6, speed="High", skip_num=1, m_offset=-2
    )

    trace = fc.load(path)
    header, info = trace.header, file_info(path)

    assert isinstance(header, V2Header)
    assert (header.num_words, header.num_files, header.gain, header.filter_const) == (1000, 3, 6, 2)
    assert trace.sample_rate == 10_000_000
    assert trace.window("10us", "1us").start == START + timedelta(microseconds=10)
    assert header.stream_fold == tuple(fold["fold"])
    assert trace.meta == {"num_files": 3, "gain": 6, "filter_const": 2, "stream_fold": fold["fold"]}
    assert "FIRFiltFilt" in " ".join(header.warnings)
    assert info["v2"] == {
        "byte_order": "little",
        "num_samples": 1000,
        "num_files": 3,
        "gain": 6,
        "filter_const": 2,
        "stream_fold": fold["fold"],
        "m_offset": -2,
        "m_overflow_total": 4,
    }
    assert (info["words"], info["header_bytes"], info["problems"]) == (1000, header.header_bytes, [])
    json.dumps(info)
    text = format_info(info)
    assert START_TEXT in text
    assert "FIRFiltFilt" in text
    assert max(map(len, text.splitlines())) < 250


@pytest.mark.parametrize("fold", [None, "absent", [], {}, {"fold": []}, {"repr": []}, ""])
def test_no_filters_are_no_filters(tmp_path: Path, fold: Any) -> None:
    header = fc.load(v2_file(tmp_path / "a.vhf.bin", FEW, stream_fold=fold)).header

    assert isinstance(header, V2Header)
    assert (header.stream_fold, header.warnings) == ((), ())


@pytest.mark.parametrize("order", ORDERS)
def test_a_trace_goes_to_another_process(tmp_path: Path, order: str) -> None:
    trace = fc.load(v2_file(tmp_path / "a.vhf.bin", WORDS, order, m_offset=1))[BLOCK:]

    back = pickle.loads(pickle.dumps(trace))

    np.testing.assert_array_equal(back.words, WORDS[BLOCK:])
    np.testing.assert_array_equal(back.phase(), trace.phase())


def test_files_of_one_run_have_phases_that_go_on(tmp_path: Path) -> None:
    """Each file says how often M rolled over before it; they and a V1 file share one axis of time."""
    half = 2 * BLOCK
    before = sum(sign for k, sign in ROLLOVERS if k <= half)
    later = (START + timedelta(seconds=half / 2_000_000)).isoformat()
    v2_file(tmp_path / "a.vhf.bin", WORDS[:half])
    v2_file(tmp_path / "b.vhf.bin", WORDS[half:], "big", m_offset=before, file_start=later)

    traces = fc.load_many([tmp_path / "a.vhf.bin", tmp_path / "b.vhf.bin"])

    phase = np.concatenate([trace.phase() for trace in traces])
    np.testing.assert_allclose(phase, TURNS, atol=1e-4)
    stats = traces.stats().phase
    assert (stats.minimum, stats.maximum) == (
        pytest.approx(min(each.stats().phase.minimum for each in traces), abs=1e-9),
        pytest.approx(max(each.stats().phase.maximum for each in traces), abs=1e-9),
    )


def test_a_warning_is_logged_for_each_problem(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        fc.load(v2_file(tmp_path / "a.vhf.bin", FEW, num_samples=2000))

    assert "truncated" in caplog.text


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize(
    ("changed", "problem", "compared"),
    [
        ({}, "", ("size", "rollovers")),
        ({"total": 5}, "", ("size", "rollovers")),
        ({"total": 0}, "", ("size",)),
        ({"num_samples": 9}, "its header says 9", ("size", "rollovers")),
        (
            {"table": ROLLOVERS[:3] + ROLLOVERS[4:]},
            f"after 3 .* word {ROLLOVERS[4][0]}, .* {ROLLOVERS[3][0]}",
            None,
        ),
        (
            {"table": ROLLOVERS[:9], "spare": 1},
            f"it says none, its words show one at word {ROLLOVERS[9][0]}",
            None,
        ),
        ({"table": [(7, 1)]}, "word 7, but there", None),
        ({"mark": 5}, "byte-order mark", None),
    ],
)
def test_verify_compares_with_what_the_file_says_itself(
    tmp_path: Path, order: str, changed: dict[str, Any], problem: str, compared: tuple[str, ...] | None
) -> None:
    verdict = verify_file(v2_file(tmp_path / "a.vhf.bin", WORDS, order, **changed))

    assert verdict.ok == (not problem)
    assert re.search(problem, "; ".join(verdict.problems))
    assert compared is None or verdict.compared == compared
    assert verdict.path not in "".join(verdict.problems)
