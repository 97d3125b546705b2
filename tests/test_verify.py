"""Verify and info: what is wrong with a file is said, to the block; what is right is not doubted."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_files import ARGV, RATE_HZ, START, counter_words, ledger_entry, write_capture

from fastcap import pagecache
from fastcap.errors import StreamFormatError
from fastcap.sidecar import sidecar_path as _sidecar_path
from fastcap.stream import build_header
from fastcap.verify import file_info, format_info, format_verdict, verify_file

HEADER = build_header(ARGV, START)
BLOCK_BYTES = 4096
SHM = Path("/dev/shm")


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "one.bin"


def sidecar_path(path: Path) -> Path:
    return Path(_sidecar_path(path))


def edit_sidecar(path: Path, key: str, value: Any) -> None:
    sidecar = json.loads(sidecar_path(path).read_bytes())
    target = sidecar["global"]
    *parents, last = key.split("/")
    for parent in parents:
        target = target[parent]
    target[last] = value
    sidecar_path(path).write_text(json.dumps(sidecar))


def flip(path: Path, at: int) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        byte = file.read(1)[0]
        file.seek(at)
        file.write(bytes([byte ^ 1]))


def test_an_untouched_file_is_ok_and_says_what_was_compared(path: Path) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=BLOCK_BYTES)

    verdict = verify_file(path)

    assert verdict.ok
    assert verdict.problems == ()
    assert verdict.compared == ("size", "ledger", "sha256", "blocks")
    assert verdict.to_dict() | {"evicted": None, "note": None} == {
        "path": str(path),
        "ok": True,
        "problems": [],
        "compared": ["size", "ledger", "sha256", "blocks"],
        "remarks": [],
        "evicted": None,
        "note": None,
    }


def test_odd_bytes_at_the_end_are_part_of_the_file(path: Path) -> None:
    write_capture(path, counter_words(0, 10) + b"abc")

    assert verify_file(path).ok


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=60, deadline=None)
@given(at=st.integers(0, len(HEADER) + 8 * 3000 + 4))
def test_one_flipped_bit_is_found_with_its_block_and_words(path: Path, at: int) -> None:
    write_capture(path, counter_words(0, 3000) + b"tail!", block_bytes=BLOCK_BYTES)
    flip(path, at)

    (problem,) = verify_file(path, evict=False).problems

    block = at // BLOCK_BYTES
    end = min((block + 1) * BLOCK_BYTES, path.stat().st_size) - 1
    words = [max(0, byte - len(HEADER)) // 8 for byte in (block * BLOCK_BYTES, end)]
    assert problem == (
        f"checksum differs: the first wrong block is block {block}: "
        f"bytes {block * BLOCK_BYTES}..{end}, words {words[0]}..{words[1]}"
    )


def test_the_first_of_several_wrong_blocks_is_named(path: Path) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=BLOCK_BYTES)
    flip(path, 20_000)
    flip(path, 9_000)

    assert "the first wrong block is block 2: bytes 8192..12287" in verify_file(path).problems[0]


def test_without_blocks_only_the_checksum_differs(path: Path) -> None:
    write_capture(path, counter_words(0, 3000))
    flip(path, 9000)

    (problem,) = verify_file(path).problems

    assert problem.startswith("checksum differs: sha256 is ")


def test_blocks_larger_than_one_read_and_smaller_than_it_agree(path: Path) -> None:
    data = os.urandom(5 << 20)
    for block_bytes in (400_000, 1 << 20, (1 << 20) + 1, 3 << 20, 5 << 20):
        write_capture(path, data, block_bytes=block_bytes)
        assert verify_file(path, evict=False).ok
        flip(path, 4_000_000)
        (problem,) = verify_file(path, evict=False).problems
        assert f"the first wrong block is block {4_000_000 // block_bytes}: " in problem


def test_a_truncated_file_says_so_and_nothing_about_the_part_that_is_right(path: Path) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=BLOCK_BYTES)
    os.truncate(path, 9000)

    size = len(HEADER) + 24_000
    assert verify_file(path).problems == (
        f"truncated: 9000 bytes, {size - 9000} fewer than the {size} that were captured",
    )


def test_a_truncated_file_that_is_damaged_too_says_both(path: Path) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=BLOCK_BYTES)
    os.truncate(path, 9000)
    flip(path, 5000)

    problems = verify_file(path).problems

    assert problems[0].startswith("truncated: ")
    assert "the first wrong block is block 1" in problems[1]


@pytest.mark.parametrize("block_bytes", [None, BLOCK_BYTES])
def test_a_grown_file_is_told_from_a_damaged_one(path: Path, block_bytes: int | None) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=block_bytes)
    with path.open("ab") as file:
        file.write(b"more")

    (problem,) = verify_file(path).problems
    assert "4 more than the" in problem
    assert problem.endswith("the bytes before them are as captured")

    flip(path, 5000)
    problems = verify_file(path).problems
    assert problems[0].endswith("those before them are damaged, too")
    assert problems[1].startswith("checksum differs")


def test_a_file_captured_without_a_checksum_is_not_called_compared(path: Path) -> None:
    for checksum in (None, {"algorithm": "none", "value": None}):
        write_capture(path, counter_words(0, 10), checksum=checksum)
        flip(path, 100)

        verdict = verify_file(path)

        assert verdict.ok
        assert verdict.compared == ("size", "ledger")
        assert "the content was not compared" in verdict.remarks[0]


def test_an_unknown_checksum_is_a_problem_not_a_pass(path: Path) -> None:
    write_capture(path, counter_words(0, 10), checksum={"algorithm": "md5", "value": "00"})

    assert "'md5' is unknown" in verify_file(path).problems[0]


def test_stated_losses_are_no_problem_but_are_told(path: Path) -> None:
    gap = [ledger_entry(4, 6), ledger_entry(12, 5, "estimated")]
    write_capture(path, counter_words(0, 4) + counter_words(10, 6), ledger=gap, words_lost=6)

    verdict = verify_file(path)

    assert verdict.ok
    assert verdict.remarks == ("6 words were lost in 1 gap, as the ledger says",)


@pytest.mark.parametrize(
    ("key", "value", "problem"),
    [
        ("fastcap:report/words_lost", 7, "words_lost is 7, but the ledger's exact losses are 0"),
        ("fastcap:report/words", 11, "are 8 bytes more"),
        ("core:trailing_bytes", 8, "8 odd bytes"),
        ("fastcap:report/complete", False, "not complete: the source ended early, after 10 words"),
        ("fastcap:report/ledger", [ledger_entry(50, 0)], "gap at word 50 is not within the 10 words"),
    ],
)
def test_a_sidecar_that_contradicts_itself_is_a_problem(
    path: Path, key: str, value: Any, problem: str
) -> None:
    write_capture(path, counter_words(0, 10))
    edit_sidecar(path, key, value)

    (found,) = verify_file(path).problems

    size = len(HEADER) + 80
    expected = problem.replace("are 8 bytes more", f"are {size + 8} bytes, but the report says {size}")
    assert expected in found


def test_odd_bytes_that_would_be_a_word_are_a_contradiction(path: Path) -> None:
    write_capture(path, counter_words(0, 10))
    edit_sidecar(path, "fastcap:report/words", 9)
    edit_sidecar(path, "core:trailing_bytes", 8)

    assert "9 words + 8 odd bytes" in verify_file(path).problems[0]


def test_an_interrupted_capture_that_is_whole_is_ok_and_said_to_be_interrupted(path: Path) -> None:
    write_capture(path, counter_words(0, 10), complete=False, interrupted=True)

    verdict = verify_file(path)

    assert verdict.ok
    assert "interrupted" in verdict.remarks[0]


@pytest.mark.parametrize(
    ("key", "value", "why"),
    [
        ("sink/file_error", "somebody removed it", "somebody removed it"),
        ("source/exit_status", 4, "the source ended with status 4"),
        ("source/ended", "silent for 7 s", "the source was ended: silent for 7 s"),
        ("source", None, "the source ended early, after 10 words"),
        ("header", {"error": "no magic word"}, "header: no magic word"),
    ],
)
def test_why_a_capture_is_not_complete_is_said_as_its_report_has_it(
    path: Path, key: str, value: Any, why: str
) -> None:
    write_capture(path, counter_words(0, 10), complete=False)
    edit_sidecar(path, f"fastcap:report/{key}", value)

    assert verify_file(path).problems == (f"the capture is not complete: {why}",)


def test_words_that_the_destination_lost_contradict_nothing(path: Path) -> None:
    gap = [ledger_entry(4, 6) | {"stage": "sink"}]
    write_capture(path, counter_words(0, 4) + counter_words(10, 6), ledger=gap, words_lost=6, complete=False)

    (problem,) = verify_file(path).problems
    assert problem.endswith("words that were on the destination are not there any more")


def test_an_interrupted_capture_whose_file_is_gone_is_a_problem(path: Path) -> None:
    write_capture(path, counter_words(0, 10), complete=False, interrupted=True)
    edit_sidecar(path, "fastcap:report/sink/file_error", "somebody removed it")

    assert "somebody removed it" in verify_file(path).problems[0]


def test_a_damaged_block_list_is_not_taken_for_a_damaged_file(path: Path) -> None:
    write_capture(path, counter_words(0, 3000), block_bytes=BLOCK_BYTES)
    edit_sidecar(path, "fastcap:blocks/values", ["1", "1", "", "1", "1"])
    assert "a block checksum is damaged" in verify_file(path).problems[0]

    edit_sidecar(path, "fastcap:blocks/values", ["1"] * 4)
    assert "4 block checksums (sha256-running) where 5" in verify_file(path).problems[0]


def test_what_cannot_be_compared_is_a_statement_not_an_exception(path: Path, tmp_path: Path) -> None:
    assert verify_file(path).problems == ("no such file",)
    part = tmp_path / "one.bin.part"
    part.write_bytes(b"12345")
    assert "one.bin.part (5 bytes) is a capture that was not completed" in verify_file(path).problems[0]
    assert "not completed" in verify_file(part).problems[0]
    assert "not a regular file" in verify_file(tmp_path).problems[0]
    part.unlink()
    assert verify_file(part).problems == ("no such file",)
    path.write_bytes(HEADER)
    assert verify_file(part).problems == (f"no such file; its capture has ended: name {path}",)
    assert "there is nothing to compare with" in verify_file(path).problems[0]
    sidecar_path(path).write_text("{")
    assert "not JSON" in verify_file(path).problems[0]
    assert "this is a sidecar" in verify_file(sidecar_path(path)).problems[0]


def test_pages_are_out_of_memory_before_the_file_is_read(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write_capture(path, counter_words(0, 3000))
    with path.open("rb") as file:
        fd, size, page_bytes = file.fileno(), path.stat().st_size, os.sysconf("SC_PAGE_SIZE")
        os.fsync(fd)
        os.posix_fadvise(fd, 0, 0, os.POSIX_FADV_DONTNEED)
        if pagecache._resident_pages(fd, size, page_bytes):
            pytest.skip("this file system keeps its pages: needs a disk under pytest's --basetemp")
        file.read()
        assert pagecache._resident_pages(fd, size, page_bytes) > 0
        assert pagecache.evict(fd).evicted
        assert pagecache._resident_pages(fd, size, page_bytes) == 0

    path.read_bytes()
    assert verify_file(path).evicted
    path.read_bytes()
    monkeypatch.setattr(os, "posix_fadvise", lambda *args: None)
    verdict = verify_file(path)
    assert not verdict.evicted
    assert "pages are still in memory" in verdict.note
    assert "may not be what is on the disk" in format_verdict(verdict)


@pytest.mark.skipif(not os.access(SHM, os.W_OK), reason="needs a tmpfs at /dev/shm")
def test_a_file_that_cannot_be_evicted_is_verified_and_said_so() -> None:
    path = SHM / f"fastcap-test-{os.getpid()}.bin"
    try:
        write_capture(path, counter_words(0, 3000))
        verdict = verify_file(path)
    finally:
        path.unlink(missing_ok=True)
        sidecar_path(path).unlink(missing_ok=True)

    assert verdict.ok
    assert not verdict.evicted
    assert "tmpfs" in verdict.note


def test_eviction_can_be_left_out_and_is_then_not_claimed(path: Path) -> None:
    write_capture(path, counter_words(0, 10))

    verdict = verify_file(path, evict=False)

    assert (verdict.ok, verdict.evicted, verdict.note) == (True, False, "pages were not evicted")


def test_progress_adds_up_to_the_file(path: Path) -> None:
    write_capture(path, bytes(3 << 20))
    seen: list[int] = []

    verify_file(path, progress=seen.append)

    assert sum(seen) == path.stat().st_size
    assert max(seen) <= 1 << 20


def test_info_without_a_sidecar_is_the_headers(path: Path) -> None:
    write_capture(path, counter_words(0, 2000) + b"abc", sidecar=False)

    info = file_info(path)

    assert info["header_bytes"] == len(HEADER)
    assert (info["words"], info["odd_bytes"], info["bytes"]) == (2000, 3, len(HEADER) + 16_003)
    assert (info["sample_rate_hz"], info["duration_s"]) == (RATE_HZ, 0.001)
    assert info["started"] == "2026-11-22T02:00:00+00:00"
    assert info["command"] == list(ARGV)
    assert (info["complete"], info["words_lost"], info["sidecar"]) == (None, None, None)
    text = format_info(info)
    assert "# command line: teststream -U /dev/usbhybrid0 -s 4 -l -b" in text
    assert "2,000,000 words/s" in text
    assert "3 odd bytes at the end" in text


def test_info_with_a_sidecar_tells_gaps_losses_stalls_and_checksum(path: Path) -> None:
    report = write_capture(
        path,
        counter_words(0, 4) + counter_words(10, 6),
        ledger=[ledger_entry(4, 6)],
        words_lost=6,
        board={"estimated_words_lost": 12_345, "detectable_words": 6000},
        sink={"stalls": [{"at_s": 4.0, "for_s": 5.125}] * 10},
    )

    info = file_info(path)

    assert info["gaps"] == [{"file_word": 4, "words_lost": 6, "stage": "ring"}]
    assert info["duration_s"] == 16 / RATE_HZ
    assert info["started"] == report["started"]
    text = format_info(info)
    assert "6 words before word 4" in text
    assert "6 words, exactly; by the board: about 12,345 (seen from 6,000 on)" in text
    assert text.count("at 4.000 s for 5.125 s") == 8
    assert "and 2 more" in text
    assert f"sha256 {report['checksum']['value']}" in text
    assert "laser_curr = 392.8mA" in text
    assert "complete" in text


def test_info_takes_rate_and_start_of_data_from_the_capture_where_the_header_says_otherwise(
    path: Path,
) -> None:
    write_capture(path, counter_words(0, 10), sample_rate_hz=1000.0)
    sidecar = json.loads(sidecar_path(path).read_bytes())
    sidecar["captures"][0]["core:header_bytes"] = len(HEADER) - 8
    sidecar_path(path).write_text(json.dumps(sidecar))

    info = file_info(path)

    assert (info["sample_rate_hz"], info["duration_s"]) == (1000.0, 0.011)
    assert (info["header_bytes"], info["words"]) == (len(HEADER) - 8, 11)


def test_info_of_a_capture_without_a_header_comes_from_its_sidecar(path: Path) -> None:
    write_capture(path, counter_words(0, 10), header=b"")

    info = file_info(path)

    assert (info["header_bytes"], info["words"], info["header"]) == (0, 10, None)
    assert info["header_problem"] == "recorded without a header"
    assert info["payload"]["layout"] == "none"
    assert "none: recorded without a header" in format_info(info)


def test_info_says_why_a_sidecar_could_not_be_used(path: Path) -> None:
    write_capture(path, counter_words(0, 10))
    sidecar_path(path).write_text("{}")

    info = file_info(path)

    assert info["words"] == 10
    assert "not a sidecar of fastcap" in info["sidecar_problem"]
    assert "move it away from the .bin file" in info["sidecar_problem"]
    assert "not a sidecar of fastcap" in format_info(info)


def test_info_is_plain_json(path: Path) -> None:
    write_capture(path, counter_words(0, 10))

    info = file_info(path)

    assert json.loads(json.dumps(info)) == info


@pytest.mark.parametrize(
    ("raw", "message"),
    [
        (b"", "0 bytes: nothing was recorded"),
        (b"\0" * 100, "magic word"),
        (b"hello world, this is text", "magic word"),
        (HEADER[:40], "torn"),
        (HEADER[:4], "torn"),
    ],
)
def test_files_without_a_header_are_refused_in_one_line(path: Path, raw: bytes, message: str) -> None:
    path.write_bytes(raw)

    with pytest.raises(StreamFormatError, match=message) as caught:
        file_info(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_info_of_what_is_no_file_is_refused(path: Path, tmp_path: Path) -> None:
    with pytest.raises(StreamFormatError, match="No such file"):
        file_info(path)
    with pytest.raises(StreamFormatError, match="not a regular file"):
        file_info(tmp_path)
