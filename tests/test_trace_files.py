"""Opening what is no good trace: a clear error, or the right words and a warning; never a wrong number."""

from __future__ import annotations

import json
import os
import pickle
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_files import ARGV, START, counter_words, ledger_entry, write_capture

from fastcap.errors import StreamFormatError
from fastcap.sidecar import Gap, sidecar_path
from fastcap.stream import build_header
from fastcap.trace import Trace, load
from fastcap.words import encode

HEADER = build_header(ARGV, START)
GIB = 1 << 30


def write(path: Path, words: int = 100, tail: bytes = b"") -> Path:
    path.write_bytes(HEADER + counter_words(0, words) + tail)
    return path


def edit_sidecar(path: Path, **changed: Any) -> None:
    """Change keys of the report, or of the first capture segment (``header_bytes``)."""
    sidecar = json.loads(Path(sidecar_path(path)).read_text())
    if "header_bytes" in changed:
        sidecar["captures"][0]["core:header_bytes"] = changed.pop("header_bytes")
    sidecar["global"]["fastcap:report"].update(changed)
    Path(sidecar_path(path)).write_text(json.dumps(sidecar))


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelname == "WARNING"]


# -- no trace at all -------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "0 bytes: nothing was recorded"),
        (b"\x01\x02", "2 bytes are less than a word"),
        (HEADER[:8], f"8 bytes are less than its header of {len(HEADER)} bytes"),
        (HEADER[:-1], f"less than its header of {len(HEADER)} bytes"),
        (b"\x00\x00" + HEADER[2:], "announces 0 words"),
        (os.urandom(5) + bytes(300), "magic word"),
        (b"123456abcdef0012\n" * 9, "looks like text: only binary"),
        (b"-1234 5678 -9\n" * 9, "looks like text: only binary"),
        (build_header((*ARGV[:-1], "-x"), START) + b"0012ffee0102\n" * 9, "only binary"),
        (build_header((*ARGV[:-1], "-A"), START) + b"1 2 3\n" * 9, "only binary"),
        (HEADER[::-1] + counter_words(0, 5), "magic word"),
    ],
)
def test_what_is_no_trace_is_refused_by_name(tmp_path: Path, content: bytes, said: str) -> None:
    path = tmp_path / "a.bin"
    path.write_bytes(content)

    with pytest.raises(StreamFormatError, match=said) as caught:
        load(path)
    assert str(caught.value).startswith(f"{path}: ")
    assert "\n" not in str(caught.value)


def test_what_stands_beside_a_file_is_not_taken_for_it(tmp_path: Path) -> None:
    write_capture(tmp_path / "a.bin", counter_words(0, 5))
    (tmp_path / "a.index").write_bytes(b"")

    for name in ("a.sigmf-meta", "a.index"):
        with pytest.raises(StreamFormatError, match=f"{name}: .*name the .bin file"):
            load(tmp_path / name)


def test_the_part_file_of_a_running_capture_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.bin.part")

    with pytest.raises(StreamFormatError, match=r"name .*a\.bin\.part"):
        load(tmp_path / "a.bin")


def test_the_file_of_a_capture_that_has_ended_is_named(tmp_path: Path) -> None:
    write(tmp_path / "a.bin")

    with pytest.raises(StreamFormatError, match=r"its capture has ended: name .*a\.bin$"):
        load(tmp_path / "a.bin.part")


def test_no_file_no_permission_no_loop(tmp_path: Path) -> None:
    (tmp_path / "loop.bin").symlink_to(tmp_path / "loop.bin")
    os.mkfifo(tmp_path / "fifo.bin")

    for name, said in [
        ("loop.bin", "symbolic links"),
        ("fifo.bin", "not a regular file"),
        (".", "regular file"),
    ]:
        with pytest.raises(StreamFormatError, match=said):
            load(tmp_path / name)


def test_a_name_may_be_bytes(tmp_path: Path) -> None:
    trace = load(os.fsencode(write(tmp_path / "a.bin")))

    assert (len(trace), trace.path) == (100, str(tmp_path / "a.bin"))


def test_an_unknown_payload_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match="'16n' is not one of auto, 8n"):
        load(write(tmp_path / "a.bin"), payload="16n")


# -- readable all the same -------------------------------------------------------------------------------


@pytest.mark.parametrize("odd", range(8))
def test_a_file_cut_anywhere_gives_its_whole_words(tmp_path: Path, odd: int) -> None:
    path = write(tmp_path / "a.bin", 50)
    os.truncate(path, len(HEADER) + 8 * 20 + odd)

    np.testing.assert_array_equal(load(path).words, np.arange(20))


def test_payloads_begin_where_they_say(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", 50)

    assert [len(load(path, payload=p)) for p in ("8n+8", "8n", "none")] == [49, 50, 50 + len(HEADER) // 8]
    np.testing.assert_array_equal(load(path, payload="8n").words, np.arange(50))


def test_a_file_that_is_being_written_is_read_up_to_what_is_there(tmp_path: Path) -> None:
    path = tmp_path / "a.bin.part"
    with path.open("wb") as file:
        for words in (0, 10, 10_000):
            file.write(HEADER if not words else counter_words(0, words) + b"\x00\x01\x02")
            file.flush()
            tr = load(path)
            assert len(tr) == words
            np.testing.assert_array_equal(tr.words, np.arange(words))
            file.seek(len(HEADER))


def test_a_file_that_became_shorter_while_open_is_an_error_not_a_death(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", 100_000)
    tr = load(path)
    os.truncate(path, 4096)

    for values in (tr.phase, tr.radius, tr.i, tr.stats, lambda: tr.envelope(10)):
        with pytest.raises(StreamFormatError, match=r"a\.bin: became shorter while it was open"):
            values()
    np.testing.assert_array_equal(tr[:100].i(), np.zeros(100))


# -- sidecars that disagree ------------------------------------------------------------------------------


def test_a_truncated_capture_is_told_and_its_words_are_right(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 1000), ledger=[ledger_entry(10, 5), ledger_entry(900, 7)])
    os.truncate(path, len(HEADER) + 8 * 500)
    tr = load(path)

    np.testing.assert_array_equal(tr.words, np.arange(500))
    assert tr.gaps == (Gap(10, 10, 5, "ring"),)
    assert tr.problems == tuple(warnings(caplog))
    assert "truncated" in tr.problems[0]


def test_words_that_were_not_captured_are_told(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100))
    with path.open("ab") as file:
        file.write(counter_words(0, 3))
    tr = load(path)

    assert len(tr) == 103
    assert "only" in tr.problems[0]
    assert warnings(caplog) == list(tr.problems)


def test_a_sidecar_that_counts_other_words_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), words=99)

    assert len(load(path)) == 100
    assert "100 words, its sidecar says 99" in load(path).problems[0]


@pytest.mark.parametrize("header_bytes", [8, 1000, 10**12])
def test_a_sidecar_of_another_header_is_refused(tmp_path: Path, header_bytes: int) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100))
    edit_sidecar(path, header_bytes=header_bytes)

    with pytest.raises(StreamFormatError, match=rf"byte {header_bytes}, .* say payload='8n' "):
        load(path)
    assert len(load(path, payload="8n")) == 100


def test_a_sidecar_may_take_the_other_payload(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), words=99)
    edit_sidecar(path, header_bytes=len(HEADER) + 8)

    tr = load(path)
    assert len(tr) == 99
    assert tr.payload == {"layout": "8n+8", "known_by": "sidecar"}
    (problem,) = tr.problems
    assert f"at byte {len(HEADER) + 8}, which is used" in problem
    assert "--payload 8n)" in problem


def test_a_sidecar_that_tells_of_a_header_that_is_not_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100))
    path.write_bytes(counter_words(1 << 60, 100))

    with pytest.raises(StreamFormatError, match="sidecar says that data follow a header"):
        load(path)


def test_a_sidecar_of_two_rates_is_told(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100))
    sidecar = path.with_suffix(".sigmf-meta")
    meta = json.loads(sidecar.read_text())
    meta["global"]["core:sample_rate"] = 3.0
    sidecar.write_text(json.dumps(meta))

    (problem,) = load(path).problems
    assert problem.endswith("words/s, which is used, and core:sample_rate 3.0")


def test_a_sidecar_of_another_rate_is_told_and_used(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), sample_rate_hz=5e6)
    tr = load(path)

    assert tr.sample_rate == 5_000_000
    assert "5000000 words/s, which is used; its header 2000000" in tr.problems[0]


def test_a_header_without_a_command_line_contradicts_no_rate(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), header=build_header(None, START))
    tr = load(path)

    assert tr.sample_rate == 2_000_000
    assert not [problem for problem in tr.problems if "words/s" in problem]


def test_a_header_of_another_time_is_told_as_in_a_replay_of_an_old_file(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), header=build_header(ARGV, START - timedelta(days=365)))
    tr = load(path)

    assert tr.start == datetime(2026, 11, 22, 2, 0, 0, 123456, tzinfo=UTC)
    (problem,) = tr.problems
    assert "begins at 2026-11-22 10:00:00.123456+08:00, which is used; its header at 2025-11-22" in problem


@pytest.mark.parametrize(
    "changed",
    [
        {"sample_rate_hz": -1.0},
        {"sample_rate_hz": 0.0},
        {"sample_rate_hz": float("inf")},
        {"header_bytes": -8},
        {"words": -1},
        {"started": "yesterday"},
        {"started": "2026-11-22T10:00:00"},
        {"ledger": [{**ledger_entry(3, -4)}]},
    ],
)
def test_a_sidecar_of_impossible_values_is_refused(tmp_path: Path, changed: dict[str, Any]) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100))
    edit_sidecar(path, **changed)
    text = Path(sidecar_path(path)).read_text()
    Path(sidecar_path(path)).write_text(text.replace("Infinity", "1e999"))

    with pytest.raises(StreamFormatError, match=r"a\.sigmf-meta: "):
        load(path)


def test_a_start_beyond_the_calendar_is_not_known(tmp_path: Path) -> None:
    path = tmp_path / "a.bin"
    write_capture(path, counter_words(0, 100), started="9999-12-31T23:59:59+00:00")
    edit_sidecar(path, ledger=[ledger_entry(1, 10**18)])

    assert load(path).start is not None
    assert load(path)[50:].start is None


# -- windows ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("start", "duration"),
    [(-1, None), ("-1s", 1), (0, -1), (float("nan"), None), (0, float("nan")), (float("inf"), None), (2, None),
     (0, 1.1), ("0.5s", "0.6s"), ("soon", None), (None, 1), (True, None), (0, 10**10), ("1e99s", None)],
)  # fmt: skip
def test_windows_that_are_none_are_refused(start: Any, duration: Any) -> None:
    tr = Trace.from_words(np.arange(100, dtype=np.uint64), sample_rate=100)

    with pytest.raises(ValueError, match=r"is not a time|is not within this trace"):
        tr.window(start, duration)


@pytest.mark.parametrize("columns", [0, -1, 1.5, float("nan"), "3"])
def test_an_envelope_needs_columns(columns: Any) -> None:
    tr = Trace.from_words(np.arange(100, dtype=np.uint64))

    with pytest.raises((ValueError, TypeError)):
        tr.envelope(columns)


@pytest.mark.parametrize("out", [np.empty(99), np.empty(100, np.float32), np.empty((100, 1)), [0.0] * 100])
def test_an_output_that_does_not_fit_is_refused(out: Any) -> None:
    tr = Trace.from_words(np.arange(100, dtype=np.uint64))

    for values in (tr.phase, tr.radius):
        with pytest.raises(ValueError, match="out is "):
            values(out)


# -- sizes, processes ------------------------------------------------------------------------------------


def test_a_terabyte_opens_and_its_first_and_last_words_are_right(tmp_path: Path) -> None:
    path = write(tmp_path / "a.bin", 1000)
    size = 1000 * GIB
    os.truncate(path, size)
    with path.open("r+b") as file:
        file.seek(size - 8)
        file.write((77).to_bytes(8, "little"))
    tr = load(path)

    assert len(tr) == (size - len(HEADER)) // 8
    np.testing.assert_array_equal(tr[:1000].words, np.arange(1000))
    assert tr[-1:].words[0] == 77
    assert tr[len(tr) // 2 :][:10].radius().sum() == 0
    assert tr.window(float(67_000), "1ms").start == START + timedelta(seconds=67_000)
    assert os.stat(path).st_blocks * 512 < 1 << 20


def test_a_trace_goes_to_another_process_as_its_name_and_window(tmp_path: Path) -> None:
    words = encode(np.cumsum(np.random.default_rng(1).uniform(-9000, 9000, 5000)), 1e5)
    path = tmp_path / "a.bin"
    path.write_bytes(HEADER + words.tobytes())

    for tr in (load(path), Trace.from_words(words, sample_rate=5), load(path, payload="8n")):
        other = pickle.loads(pickle.dumps(tr[100:300]))
        np.testing.assert_array_equal(other.phase(), tr[100:300].phase())
        assert (other.start, other.sample_rate, other.path) == (tr[100:].start, tr.sample_rate, tr.path)
    assert len(pickle.dumps(load(path))) < 1000
    sent = pickle.dumps(load(path))
    os.truncate(path, 1000)
    with pytest.raises(StreamFormatError, match="when its trace was sent"):
        pickle.loads(sent)
