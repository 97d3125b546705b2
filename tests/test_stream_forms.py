"""What boards really send, captured: both layouts, text before the header, no header, a header and nothing more."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from engine import assert_law, counting, hold_writer_until_words_are_dropped, recording

import fastcap as fc
from fastcap.export import export
from fastcap.info import file_info
from fastcap.stream import parse_header
from fastcap.sweeping.planfile import load_plan_file
from fastcap.verify import verify_file

TEXT = (
    b"# command line: teststream -U /dev/x%s -s 4 -l -b -v 3\n# recording start: 2023-11-23 17:03:08 +0800\n"
)
FULL = TEXT % (b"d" * (-(len(TEXT) - 2) % 8))  # fills its last word
PREAMBLE = b"gain: 7\nfilter: 3\n"
WORDS = np.frombuffer(b"0\n\0\0\0\0\0\0" + np.arange(1, 30, dtype="<u8").tobytes(), "<u8")  # looks like text
LAB = (
    b"# command line: -U /dev/usbhybrid0 -q 100000 -s 9 -low -bin -v 3 -o 'laser # chip -h 1'\n"
    b"# recording start: 2025-02-18T17:03:08.123456789+08:00[Asia/Singapore]\n"
)


def framed(text: bytes, extra: int = 1) -> bytes:
    """Return magic word and text; ``extra``: 1 where n counts the magic word."""
    words = -(-len(text) // 8)
    magic = (0x123456ABCDEF << 16 | words + extra).to_bytes(8, "little")
    return magic + text.ljust(8 * words, b"\0")


def captured(tmp_path: Path, stream: bytes, *, piece: int = 1, **options: Any) -> fc.Capture:
    """Record what a program writes in pieces."""
    (tmp_path / "stream").write_bytes(stream)
    argv = ["dd", f"if={tmp_path}/stream", f"bs={piece}", "status=none"]
    with fc.open(argv, ring="8MiB") as board:
        return board.record(None, tmp_path / "run.bin", **options)


@pytest.mark.parametrize(
    ("before", "text", "extra", "layout", "rate"),
    [
        (b"", FULL, 1, "8n", 2_000_000),
        (b"", FULL, 0, "8n+8", 2_000_000),
        (PREAMBLE, TEXT % b"", 1, "8n", 2_000_000),
        (PREAMBLE[1:], FULL, 0, "8n+8", 2_000_000),
        (b"", LAB, 1, "8n", 1_000_000),
    ],
)
def test_where_data_begin_is_told_live_and_in_the_file(
    tmp_path: Path, before: bytes, text: bytes, extra: int, layout: str, rate: int
) -> None:
    header = before + framed(text, extra)
    report = captured(tmp_path, header + WORDS.tobytes()).report

    assert report["complete"], report["header"]
    assert report["payload"] == {"layout": layout, "known_by": "text"}
    assert report["preamble"] == ({"bytes": len(before), "text": before.decode()} if before else None)
    assert (report["words"], report["header"]["bytes"]) == (WORDS.size, len(header))
    assert report["sample_rate_hz"] == rate
    assert_law(report)
    path = Path(report["path"])
    assert path.read_bytes() == header + WORDS.tobytes()
    trace = fc.load(path)
    np.testing.assert_array_equal(trace.words, WORDS)
    assert trace.payload == report["payload"]
    info = file_info(path)
    assert (info["payload"], info["words"], info["index_problem"]) == (report["payload"], WORDS.size, None)
    assert info["index_words"] == WORDS.size
    assert info["preamble"] == before.decode()
    assert verify_file(path).ok
    path.with_suffix(".sigmf-meta").unlink()
    np.testing.assert_array_equal(fc.load(path).words, WORDS)
    assert fc.load(path).payload == {"layout": layout, "known_by": "text"}


def test_the_lab_s_header_of_2025_keeps_its_nanoseconds(tmp_path: Path) -> None:
    path = tmp_path / "lab.bin"
    path.write_bytes(framed(LAB) + WORDS.tobytes())
    trace = fc.load(path)

    assert trace.header is not None
    assert trace.header.argv is not None
    assert trace.header.argv[-1] == "laser # chip -h 1"
    assert (trace.header.device, trace.header.num_words, trace.sample_rate) == (
        "/dev/usbhybrid0",
        100_000,
        10**6,
    )
    assert trace.start_ns == 1739869388123456789
    assert trace[3:].start_ns == 1739869388123456789 + 3000
    assert trace.start is not None
    assert trace.start.isoformat() == "2025-02-18T17:03:08.123456+08:00"
    with np.load(export(trace, tmp_path / "lab.npz")) as exported:
        assert int(exported["start_ns"]) == trace.start_ns


def test_files_lie_on_the_axis_to_the_nanosecond(tmp_path: Path) -> None:
    text = LAB.replace(b"-s 9 -low", b"-s 1 -high")  # 10 MHz: a word is 100 ns
    for number, ns in enumerate((b"123456100", b"123466899")):
        (tmp_path / f"{number}.bin").write_bytes(framed(text.replace(b"123456789", ns)) + WORDS.tobytes())
    files = fc.load_many(tmp_path)

    assert [placed.at for placed in files._layout.placed] == [0, 108]


def test_a_header_and_nothing_more_is_no_error(tmp_path: Path) -> None:
    report = captured(tmp_path, framed(FULL), piece=7).report

    assert (report["words"], report["header"]["error"]) == (0, None)
    assert report["payload"] == {"layout": "8n", "known_by": "text"}
    assert len(fc.load(report["path"])) == 0


@pytest.mark.parametrize(
    ("payload", "words"), [("8n+8", WORDS.size - 1), ("none", WORDS.size + len(framed(FULL)) // 8)]
)
def test_an_option_overrules_what_the_stream_says(tmp_path: Path, payload: str, words: int) -> None:
    report = captured(tmp_path, framed(FULL) + WORDS.tobytes(), piece=64, payload=payload).report

    assert report["payload"] == {"layout": payload, "known_by": "option"}
    assert report["words"] == words
    assert len(fc.load(report["path"])) == words
    assert fc.load(report["path"]).payload == report["payload"]


def test_a_board_without_v_has_no_header_and_its_rate_is_the_command_s(tmp_path: Path) -> None:
    program = tmp_path / "teststream"
    program.write_text(
        f'#!/bin/sh\nexec {sys.executable} -P -m fastcap.sim.board --pattern counter --speed max "$@"\n'
    )
    program.chmod(0o755)
    with fc.open([str(program), "-l", "-s", "4", "-b", "-v", "0"], ring="8MiB") as board:
        for number, (length, samples) in enumerate([("1ms", None), (None, 777)]):
            report = board.record(length, tmp_path / f"{number}.bin", samples=samples).report
            words = samples or 2000
            assert report["payload"] == {"layout": "none", "known_by": "no magic"}
            assert (report["words"], report["sample_rate_hz"], report["complete"]) == (words, 2e6, True)
            trace = fc.load(report["path"])
            np.testing.assert_array_equal(trace.words, np.arange(words))
            assert (trace.sample_rate, trace.payload) == (2_000_000, report["payload"])
    assert not report["header"]["error"]


def test_files_of_a_split_begin_alike_and_keep_the_form_of_their_start(tmp_path: Path) -> None:
    stream = PREAMBLE + framed(LAB) + np.arange(50, dtype="<u8").tobytes()
    captured(tmp_path, stream, piece=333, split="20us")
    files = sorted(tmp_path.glob("run*.bin"))

    assert [len(fc.load(path)) for path in files] == [20, 20, 10]
    for number, path in enumerate(files):
        raw = path.read_bytes()
        header = parse_header(raw)
        assert header.raw[: len(PREAMBLE)] == PREAMBLE
        assert len(header.raw) == len(PREAMBLE + framed(LAB))
        assert header.start_ns == 1739869388123456789 + number * 20_000
        assert b"+08:00[Asia/Singapore]\n" in header.raw
        np.testing.assert_array_equal(fc.load(path).words, np.arange(20 * number, min(50, 20 * number + 20)))
        assert verify_file(path).ok


def test_live_blocks_begin_where_the_words_do(tmp_path: Path) -> None:
    stream = PREAMBLE[3:] + framed(TEXT % b"", 0) + np.arange(5000, dtype="<u8").tobytes()
    (tmp_path / "stream").write_bytes(stream)
    with fc.open(f"file://{tmp_path}/stream", ring="8MiB") as board, board.stream(block_words=512) as live:
        blocks = [(block.index, block.copy(), block.radius()) for block in live.blocks()]

    assert [index for index, _, _ in blocks] == list(range(0, 5000, 512))
    words = np.concatenate([copied for _, copied, _ in blocks])
    np.testing.assert_array_equal(words, np.arange(5000))
    np.testing.assert_array_equal(np.concatenate([radius for _, _, radius in blocks]), np.arange(5000))
    assert live.header is not None
    assert live.header.preamble == PREAMBLE[3:]


def test_whole_words_are_dropped_though_they_begin_at_odd_bytes(tmp_path: Path) -> None:
    words = 6_000_000
    source = counting(words, rate="2MHz", preamble="odd", chunk="random:7")
    with recording(source, tmp_path, ring="8MiB") as (finish, board):
        hold_writer_until_words_are_dropped(board)
        report = finish().report

    assert_law(report)
    assert report["preamble"] == {"bytes": 4, "text": "odd\n"}
    assert report["words_lost"] > 0
    assert report["words"] + report["words_lost"] == words
    trace = fc.load(report["path"])
    index = np.arange(report["words"])
    for gap in trace.gaps:
        index[gap.file_word :] += gap.words_lost
    np.testing.assert_array_equal(trace.words, index)


def test_a_plan_says_where_data_begin(tmp_path: Path) -> None:
    plan = tmp_path / "plan.toml"
    text = f"folder = '{tmp_path}/out'\n[board]\nsource = 'sim://'\npayload = '8n+8'\n"
    plan.write_text(
        text + "[[axes]]\ntarget = 'm:f'\nvalues = [1]\n[record]\nlength = '1s'\npayload = 'none'\n"
    )

    found = load_plan_file(plan)
    assert found.board().payload == "8n+8"
    assert found.options({})["record"]["payload"] == "none"
    plan.write_text(text.replace("8n+8", "16n") + "[[axes]]\ntarget = 'm:f'\nvalues = [1]\n")
    with pytest.raises(fc.ConfigError, match="payload: '16n' is not one of auto, 8n"):
        load_plan_file(plan)
