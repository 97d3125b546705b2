"""Streams that begin with a V2 header: recognised at any cut, captured byte for byte, cut at the exact word."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_runs import CommandLine
from harness import announcement
from v2_files import ORDERS, START, board_words, unwrapped, v2_file, v2_header

import fastcap as fc
from fastcap.errors import StreamFormatError
from fastcap.payload import LOOK_BYTES, Layout, TornHeaderError, find_layout, layout_of_size
from fastcap.stream import parse_header, parse_whole_header
from fastcap.v2header import MAX_TEXT_BYTES, V2Header, later_v2_header, parse_v2_header
from fastcap.workers.filenames import header_text, shifted_header, words_before
from fastcap.workers.framing import FOREVER, Framing

pytest_plugins = ["command_line", "emulated_board"]

WORDS = board_words(70_000 * np.sin(np.arange(150_000) / 9_000) + 32_700.3)


@pytest.mark.parametrize("order", ORDERS)
@pytest.mark.parametrize("total", [0, 1, 40])
def test_a_header_is_recognised_wherever_it_is_cut(order: str, total: int) -> None:
    header = v2_header(order, total=total)
    layout = Layout("v2", "magic", 0, len(header))
    table = len(header) - 8 * total
    for size in range(table):
        found = find_layout(header[:size])
        assert isinstance(found, int)
        assert size < found <= table
        if size >= 8:
            with pytest.raises(TornHeaderError):
                find_layout(header[:size], final=True)
    assert find_layout(header[:table]) == find_layout(header + b"data" * 9) == layout
    assert layout_of_size(header, len(header)) == layout
    assert layout_of_size(header + bytes(8), len(header) + 8) is None
    for parse in (parse_header, parse_whole_header):
        parsed = parse(header)
        assert isinstance(parsed, V2Header)
        assert (parsed.header_bytes, parsed.sample_rate_hz, parsed.start) == (len(header), 2_000_000, START)
    assert MAX_TEXT_BYTES + 64 < LOOK_BYTES


@pytest.mark.parametrize("payload", ["8n", "8n+8"])
def test_another_reading_that_was_asked_for_is_none_of_a_v2_stream(payload: str) -> None:
    with pytest.raises(StreamFormatError, match=r"is a V2 file.*leave out payload"):
        find_layout(v2_header(), payload, final=True)


def test_framing_waits_for_the_table_and_cuts_behind_it() -> None:
    header = v2_header(total=100_000)
    framing = Framing(announcement(header="yes", max_seconds=[1, 2]), 4096)

    assert not framing.look_for_header(header[:5000], final=False, have=5000)
    assert framing.limit == 4096 + len(header)
    assert framing.look_for_header(header[:5000], final=False, have=len(header) + 1)
    framing.parse(header)

    assert framing.header_report()["payload"] == {"layout": "v2", "known_by": "magic"}
    assert framing.cut == 4096 + len(header) + 8 * 1_000_000
    successor = Framing(announcement(header="yes", max_seconds=[1, 2]), 4096)
    successor._restore_header(header)
    assert (successor.cut, successor.payload) == (framing.cut, framing.payload)


@pytest.mark.parametrize(("order", "told"), [("little", 0), ("big", 1)])
def test_that_live_values_are_of_swapped_words_is_warned_of(order: str, told: int) -> None:
    framing = Framing(announcement(header="yes"), 4096)

    framing.parse(v2_header(order))

    assert [("big-endian" in warning) for warning in framing.warnings] == [True] * told


@pytest.mark.parametrize(
    ("given", "known_by", "said"),
    [
        ({"final": True, "have": 6000}, "torn", "header is torn: 6000 of"),
        ({"final": False, "have": 9000, "most": 8192}, "too large", "give a larger one"),
    ],
)
def test_a_header_that_cannot_be_had_is_said_and_its_bytes_are_kept(
    given: dict[str, Any], known_by: str, said: str
) -> None:
    framing = Framing(announcement(header="yes"), 4096)

    assert framing.look_for_header(v2_header(total=1200)[:5000], **given)

    assert framing.payload == {"layout": "none", "known_by": known_by}
    assert said in (framing.header_error or "")
    assert (framing.data_start, framing.cut) == (4096, FOREVER)


@pytest.mark.parametrize("order", ORDERS)
def test_a_later_file_has_a_header_of_its_own_time_and_of_the_same_length(order: str) -> None:
    header = v2_header(order, total=7, table=[5], m_offset=12)

    later = shifted_header(header, 30_000_001)
    parsed = parse_v2_header(later)

    assert len(later) == len(header)
    assert parsed.start_ns == parse_v2_header(header).start_ns + 15_000_000_500  # type: ignore[operator]
    assert parsed.details["file_start"].endswith("[Asia/Singapore]")
    assert parsed.problems == ()
    assert "no m_offset" in parsed.warnings[0]
    assert not any(later[parsed.table_offset :])
    assert (words_before(header)[0], words_before(later)[0]) == (-12, 0)
    assert json.loads(header_text(header) or "")["m_offset"] == 12


def test_a_header_that_gives_no_start_stays_as_it_is() -> None:
    header = v2_header(file_start="absent", seconds=2**62)

    assert later_v2_header(header, 5) == shifted_header(header, 5) == header


@pytest.mark.parametrize("order", ORDERS)
def test_a_capture_keeps_every_byte_and_counts_from_the_table_on(
    clean_cli: CommandLine, tmp_path: Path, order: str
) -> None:
    source = v2_file(tmp_path / "source.vhf.bin", WORDS, order, m_offset=3, table=[], spare=5000)

    ended = clean_cli(
        "capture", "--to", tmp_path / "out.bin", "--samples", 140_000, "--json", "--", "cat", source
    )

    report = ended.json
    assert report["payload"] == {"layout": "v2", "known_by": "magic"}
    assert (report["words"], report["sample_rate_hz"], report["complete"]) == (140_000, 2e6, True), ended.err
    kept = (tmp_path / "out.bin").read_bytes()
    assert kept == source.read_bytes()[: len(kept)]
    trace = fc.load(tmp_path / "out.bin")
    assert ["begins at" in problem for problem in trace.problems] == [
        True
    ]  # of last year's file: it is cat's
    np.testing.assert_array_equal(trace.words, WORDS[:140_000])
    assert trace._origin.index.count == (3 if order == "little" else 0)  # the other is made when it is wanted
    np.testing.assert_allclose(trace[70_000:].phase(), unwrapped(WORDS, 3)[70_000:140_000], atol=1e-9)


def test_files_of_a_split_continue_each_other(clean_cli: CommandLine, tmp_path: Path) -> None:
    source = v2_file(tmp_path / "source.vhf.bin", WORDS, m_offset=3)
    folder = tmp_path / "run"
    folder.mkdir()

    ended = clean_cli("capture", "--to", folder, "--split", "30ms", "--json", "--", "cat", source)

    assert ended.status in (0, 3), ended.err
    traces = fc.load_many(sorted(folder.glob("*.bin")))
    assert [len(trace) for trace in traces] == [60_000, 60_000, 30_000]
    (whole,) = traces.stretches()
    np.testing.assert_array_equal(np.concatenate([part.words for part in whole.parts]), WORDS)
    phase = np.concatenate([piece.copy() for piece in whole.phases()])
    np.testing.assert_allclose(phase, unwrapped(WORDS, 3), atol=1e-9)


@pytest.mark.parametrize("bits", [4, 7])
def test_the_emulated_board_writes_v2(emulate: Any, bits: int) -> None:
    run = emulate(
        "-q", "100", "-s", "9", "-h", "-v", str(bits), "-G", "3", "--pattern", "counter", "--speed", "max"
    )
    header = parse_header(run.raw)

    assert isinstance(header, V2Header)
    assert (header.sample_rate_hz, header.num_words, header.gain, header.filter_const) == (
        2_000_000,
        100,
        3,
        None,
    )
    assert (header.problems, header.warnings) == ((), ())
    words = np.frombuffer(run.raw, "<u8", offset=header.header_bytes)
    np.testing.assert_array_equal(words, np.arange(100))


@pytest.mark.parametrize("bits", [8, 12, 15])
def test_rollover_indices_are_refused_on_a_stream(emulate: Any, bits: int) -> None:
    run = emulate("-q", "100", "-v", str(bits))

    assert run.status == 2
    assert f"give -v {bits & 7}" in run.stderr
    assert os.linesep not in run.stderr.strip()
