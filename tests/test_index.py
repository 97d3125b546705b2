"""The index beside a trace: made once, believed only where it fits its file, never needed for a right number."""

from __future__ import annotations

import logging
import os
import threading
from collections.abc import Callable
from datetime import timedelta
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from made_files import ARGV, START

from fastcap import _indexpass, _savedrows
from fastcap._indexfile import (
    BLOCK_WORDS,
    HEADER_BYTES,
    ROW_BYTES,
    Head,
    IndexWriter,
    check_head,
    index_path,
    pack_head,
    unpack_head,
)
from fastcap._indexrows import ROW, rows_of, same_rows
from fastcap._stored import FileWords
from fastcap.errors import SinkError, StreamFormatError
from fastcap.index import build_index
from fastcap.info import file_info, format_info
from fastcap.stream import build_header
from fastcap.trace import Trace, load
from fastcap.words import Carry, encode, phase, radius

HEADER = build_header(ARGV, START)
BLOCKS = 40
WORDS = BLOCKS * BLOCK_WORDS - 1234


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


@pytest.fixture(scope="module")
def words() -> np.ndarray:
    """Return words whose M rolls over in every block, both ways."""
    rng = np.random.default_rng(7)
    return encode(np.cumsum(rng.uniform(-900, 1000, WORDS)), 5e5 + rng.uniform(-1e4, 1e4, WORDS))


@pytest.fixture(scope="module")
def phases(words: np.ndarray) -> np.ndarray:
    return phase(words)


@pytest.fixture
def path(tmp_path: Path, words: np.ndarray) -> Path:
    path = tmp_path / "a.bin"
    path.write_bytes(HEADER + words.tobytes())
    return path


def warnings(caplog: pytest.LogCaptureFixture) -> list[str]:
    return [r.getMessage() for r in caplog.records if r.levelno == logging.WARNING]


def assert_right(path: Path, words: np.ndarray) -> Trace:
    """Assert that phases all over the file, and its envelope, are those of its words."""
    whole = phase(words)
    tr = load(path)
    for begin in (0, 1, BLOCK_WORDS - 1, BLOCK_WORDS, 3 * BLOCK_WORDS + 5, len(words) - 10):
        np.testing.assert_array_equal(tr[begin : begin + 50].phase(), whole[begin : begin + 50])
    found = tr.envelope(5)
    assert (found.phase_min.min(), found.phase_max.max()) == (whole.min(), whole.max())
    return tr


def index_file(path: Path) -> Path:
    return Path(index_path(path))


# -- rows --------------------------------------------------------------------------------------------------


def test_rows_are_what_their_blocks_come_to(words: np.ndarray, phases: np.ndarray) -> None:
    rows = rows_of(words, carry := Carry())
    r = radius(words)

    assert rows.size == BLOCKS
    assert rows["words"].sum() == WORDS
    assert carry.last_m == words[-1:].view(np.int64)[0] >> 48
    m = (words.view(np.int64) >> 48).astype(np.int64)
    for k, row in enumerate(rows):
        block = slice(k * BLOCK_WORDS, (k + 1) * BLOCK_WORDS)
        assert row["m_before"] == (m[block.start - 1] if k else 65536)
        for what, values in (("phase", phases[block]), ("radius", r[block])):
            assert (row[f"{what}_min"], row[f"{what}_max"]) == (values.min(), values.max())
            assert row[f"{what}_mean"] == pytest.approx(values.mean(), rel=1e-12)
            assert row[f"{what}_m2"] == pytest.approx(values.var() * values.size, rel=1e-9)
    assert (rows["wraps"][0], len(set(rows["wraps"].tolist())) > 5) == (0, True)


def test_rows_do_not_depend_on_how_the_words_come(words: np.ndarray) -> None:
    carry = Carry()
    parts = [rows_of(words[k : k + 3 * BLOCK_WORDS], carry) for k in range(0, WORDS, 3 * BLOCK_WORDS)]

    assert same_rows(np.concatenate(parts), rows_of(words, Carry()))


def test_a_row_of_other_words_is_not_the_same(words: np.ndarray) -> None:
    rows = rows_of(words[:BLOCK_WORDS], Carry())
    for name in ROW.names[:-1]:
        if not name.endswith("m2"):
            other = rows.copy()
            other[name] += 1
            assert not same_rows(rows, other), name


# -- making and keeping ------------------------------------------------------------------------------------


def test_a_window_far_in_leaves_an_index_beside_the_file(
    path: Path, words: np.ndarray, phases: np.ndarray
) -> None:
    tr = load(path)
    np.testing.assert_array_equal(tr[-100:].phase(), phases[-100:])

    assert index_file(path).exists()
    assert sorted(p.name for p in path.parent.iterdir()) == ["a.bin", "a.index"]
    again = load(path)
    assert again._origin.index.file == str(index_file(path))
    assert_right(path, words)


def reads(monkeypatch: pytest.MonkeyPatch) -> list[tuple[int, int]]:
    """Return a list that every read of words, from one to another, is added to."""
    found: list[tuple[int, int]] = []
    fill, decode = FileWords._fill, FileWords.decode

    def filled(self: FileWords, words: np.ndarray, begin: int) -> None:
        found.append((begin, begin + words.size))
        fill(self, words, begin)

    def decoded(self: FileWords, begin: int, end: int, *outs: object) -> None:
        found.append((begin, end))
        decode(self, begin, end, *outs)

    monkeypatch.setattr(FileWords, "_fill", filled)
    monkeypatch.setattr(FileWords, "decode", decoded)
    return found


def test_with_an_index_a_window_reads_its_own_block_only(
    path: Path, phases: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(path)
    monkeypatch.setattr(_savedrows, "_SAMPLES", 0)
    touched = reads(monkeypatch)
    begin = 30 * BLOCK_WORDS + 500

    np.testing.assert_array_equal(load(path)[begin : begin + 10].phase(), phases[begin : begin + 10])
    assert min(a for a, _ in touched) == 30 * BLOCK_WORDS - 1
    assert max(b for _, b in touched) == begin + 10


def test_a_file_is_read_only_as_far_as_is_asked_for(path: Path, phases: np.ndarray) -> None:
    tr = load(path)
    begin = 33 * BLOCK_WORDS
    np.testing.assert_array_equal(tr[begin : begin + 9].phase(), phases[begin : begin + 9])

    assert tr._origin.index.count == 33
    assert load(path)._origin.index.count == 33
    np.testing.assert_array_equal(load(path)[-9:].phase(), phases[-9:])


def test_a_short_file_gets_none_unless_it_is_asked_for(
    tmp_path: Path, words: np.ndarray, phases: np.ndarray
) -> None:
    path = tmp_path / "short.bin"
    path.write_bytes(HEADER + words[:200_000].tobytes())
    np.testing.assert_array_equal(load(path)[199_000:].phase(), phases[199_000:200_000])
    assert not index_file(path).exists()

    result = build_index(path)
    assert (result.words, result.blocks, result.made_blocks) == (200_000, 4, 4)
    assert result.index == str(index_file(path))
    assert build_index(path).made_blocks == 0


def test_a_file_without_words_needs_no_index(tmp_path: Path) -> None:
    path = tmp_path / "none.bin"
    path.write_bytes(HEADER)

    assert (build_index(path).index, build_index(path).blocks) == (None, 0)
    assert load(path).envelope(10).phase_min.size == 0


def test_words_in_memory_have_rows_too(words: np.ndarray, phases: np.ndarray) -> None:
    tr = Trace.from_words(words)

    np.testing.assert_array_equal(tr[-9:].phase(), phases[-9:])
    assert tr._origin.index.file is None


def test_where_nothing_can_be_written_the_cache_keeps_it(
    path: Path, words: np.ndarray, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    index_file(path).mkdir()
    result = build_index(path)

    assert Path(result.index or "").parent == tmp_path / "cache" / "fastcap"
    assert build_index(path).made_blocks == 0
    assert_right(path, words)


def test_where_nothing_at_all_can_be_written_numbers_are_right(
    path: Path, words: np.ndarray, tmp_path: Path
) -> None:
    index_file(path).mkdir()
    (tmp_path / "cache").write_text("in the way")

    assert_right(path, words)
    with pytest.raises(SinkError, match=r"a\.bin: its index cannot be written"):
        build_index(path)


def test_an_interrupted_pass_goes_on_where_it_stopped(path: Path, words: np.ndarray) -> None:
    index = load(path)._origin.index

    def stop(read: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        index.extend(BLOCKS, stop)
    assert index.count == 8
    assert same_rows(index.rows(0, BLOCKS), rows_of(words, Carry()))


@pytest.mark.parametrize("begin", [0, 3])
def test_a_pass_by_threads_makes_the_same_rows(
    begin: int, path: Path, words: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_indexpass, "_WORTH_THREADS", 0)
    monkeypatch.setattr(os, "sched_getaffinity", lambda pid: {0, 1})
    monkeypatch.setattr(_indexpass, "_BATCH_WORDS", 2 * BLOCK_WORDS)
    expected = rows_of(words[: begin * BLOCK_WORDS], carry := Carry())
    stored, end = load(path)._origin.stored, Carry()
    made = [expected, *_indexpass.rows_from(stored, begin * BLOCK_WORDS, WORDS, carry)]

    np.testing.assert_array_equal(np.concatenate(made), rows_of(words, end))
    assert carry == end


def test_threads_share_one_pass(path: Path, phases: np.ndarray) -> None:
    tr = load(path)
    found: dict[int, np.ndarray] = {}

    def look(k: int) -> None:
        found[k] = tr[k * 60_000 : k * 60_000 + 9].phase()

    threads = [threading.Thread(target=look, args=(k,)) for k in range(40)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for k in range(40):
        np.testing.assert_array_equal(found[k], phases[k * 60_000 : k * 60_000 + 9])


# -- what is not believed ------------------------------------------------------------------------------------


def damage(path: Path, at: int, value: bytes) -> None:
    with path.open("r+b") as file:
        file.seek(at)
        file.write(value)


SPOILERS = {
    "empty": lambda f: f.write_bytes(b""),
    "garbage": lambda f: f.write_bytes(b"garbage" * 1000),
    "text": lambda f: f.write_text("an index of keywords"),
    "half a header": lambda f: os.truncate(f, 50),
    "header only": lambda f: os.truncate(f, HEADER_BYTES),
    "truncated": lambda f: os.truncate(f, f.stat().st_size - 1),
    "longer": lambda f: f.write_bytes(f.read_bytes() + b"1234"),
    "header bit": lambda f: damage(f, 30, b"\xaa"),
    "row bit": lambda f: damage(f, HEADER_BYTES + 20 * ROW_BYTES, b"\x07"),
    "zeroed rows": lambda f: damage(f, HEADER_BYTES, bytes(30 * ROW_BYTES)),
    "crc": lambda f: damage(f, f.stat().st_size - 4, bytes(4)),
    "zeros": lambda f: f.write_bytes(bytes(f.stat().st_size)),
}


@pytest.mark.parametrize("spoil", SPOILERS)
def test_a_damaged_index_is_told_in_a_line_and_made_anew(
    spoil: str, path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    good = index_file(path).read_bytes()
    SPOILERS[spoil](index_file(path))

    assert_right(path, words)
    assert len(warnings(caplog)) == 1
    assert warnings(caplog)[0].startswith(f"{index_file(path)}: not used and made anew: ")
    assert len(index_file(path).read_bytes()) == len(good)
    caplog.clear()
    assert_right(path, words)
    assert warnings(caplog) == []


def test_an_index_older_than_its_file_is_made_anew(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    changed = words.copy()
    changed[17 * BLOCK_WORDS + 3 :] = words[: WORDS - 17 * BLOCK_WORDS - 3]
    path.write_bytes(HEADER + changed.tobytes())
    later = index_file(path).stat().st_mtime_ns + 1
    os.utime(path, ns=(later, later))

    assert_right(path, changed)
    assert "older than its file" in warnings(caplog)[0]


def test_an_index_of_another_file_is_made_anew(
    path: Path, tmp_path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    other = tmp_path / "b.bin"
    other.write_bytes(HEADER + words[::-1].tobytes())
    build_index(path)
    index_file(path).rename(index_file(other))

    assert_right(other, words[::-1])
    assert "is not that of the file's words" in warnings(caplog)[0]


def test_an_index_of_a_longer_file_is_made_anew(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    os.truncate(path, len(HEADER) + 8 * 1_000_000 + 3)

    assert_right(path, words[:1_000_000])
    assert "it is of a file of" in warnings(caplog)[0]


def test_a_row_that_does_not_follow_its_words_is_found_when_it_is_used(
    path: Path, phases: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Rewrite a file between two sampled blocks without a trace in its times."""
    build_index(path)
    times = path.stat()
    changed = 20 * BLOCK_WORDS - 1
    with path.open("r+b") as file:
        file.seek(len(HEADER) + 8 * changed)
        file.write(bytes(8))
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))
    words = np.fromfile(path, "<u8", offset=len(HEADER))

    np.testing.assert_array_equal(
        load(path)[20 * BLOCK_WORDS + 5 :][:9].phase(), phase(words)[changed + 6 :][:9]
    )
    assert "not that of its block" in warnings(caplog)[0]


def test_a_copy_is_believed_with_its_copied_index(
    path: Path, tmp_path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    (tmp_path / "copy").mkdir()
    copy = tmp_path / "copy" / "c.bin"
    copy.write_bytes(path.read_bytes())
    index_file(copy).write_bytes(index_file(path).read_bytes())
    now = copy.stat().st_mtime_ns
    os.utime(index_file(copy), ns=(now, now))

    tr = assert_right(copy, words)
    assert tr._origin.index.file == str(index_file(copy))
    assert warnings(caplog) == []


def test_a_file_that_has_grown_keeps_its_rows(
    tmp_path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "grows.bin"
    for count in (35 * BLOCK_WORDS + 77, 35 * BLOCK_WORDS + 500, WORDS):
        with path.open("ab") as file:
            file.seek(0, os.SEEK_END)
            have = max(0, file.tell() - len(HEADER)) // 8
            file.write((b"" if file.tell() else HEADER) + words[have:count].tobytes())
        before = load(path)._origin.index.count
        assert_right(path, words[:count])
        assert before == (35 if have else 0)
    assert warnings(caplog) == []


def test_a_capture_that_runs_is_indexed_in_the_cache_and_goes_on_there(
    tmp_path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    path = tmp_path / "run.bin.part"
    path.write_bytes(HEADER + words[: 36 * BLOCK_WORDS].tobytes() + b"\x01")
    assert_right(path, words[: 36 * BLOCK_WORDS])
    assert sorted(os.listdir(tmp_path)) == ["cache", "run.bin.part"]

    with path.open("r+b") as file:
        file.seek(len(HEADER) + 36 * BLOCK_WORDS * 8)
        file.write(words[36 * BLOCK_WORDS :].tobytes())
    assert load(path)._origin.index.count == 36
    assert_right(path, words)
    final = path.rename(tmp_path / "run.bin")
    assert load(final)._origin.index.count == BLOCKS
    assert warnings(caplog) == []


def test_a_trace_opened_before_its_file_grew_uses_the_newer_index(path: Path, words: np.ndarray) -> None:
    cut = 33 * BLOCK_WORDS + 99
    os.truncate(path, len(HEADER) + 8 * cut)
    old = load(path)
    with path.open("ab") as file:
        file.write(words[cut:].tobytes())
    build_index(path)

    np.testing.assert_array_equal(old.envelope(1).phase_max, [phase(words[:cut]).max()])
    np.testing.assert_array_equal(old[-5:].phase(), phase(words[:cut])[-5:])


def test_a_file_that_changed_while_it_was_read_leaves_no_index(path: Path) -> None:
    tr = load(path)
    times = path.stat()
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns + 1))
    tr[-5:].phase()

    assert not index_file(path).exists()


def test_a_file_that_grew_while_it_was_read_leaves_an_index_of_what_was_there(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    tr = load(path)
    with path.open("ab") as file:
        file.write(words[:70_000].tobytes())
    tr[-5:].phase()

    assert load(path)._origin.index.count == BLOCKS - 1
    assert_right(path, np.concatenate([words, words[:70_000]]))
    assert warnings(caplog) == []


def test_a_file_of_the_same_time_may_be_younger_than_its_index(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    """Copy an index without keeping its time, as a restore from an archive may."""
    build_index(path)
    os.utime(index_file(path), ns=(1, 1))

    assert_right(path, words)
    assert warnings(caplog) == []


def test_a_sampled_block_that_differs_in_its_values_alone_is_found(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    times = path.stat()
    changed = words.copy()
    changed[500] &= 0xFFFF_0000_0000_0000  # its M stays
    path.write_bytes(HEADER + changed.tobytes())
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))

    assert_right(path, changed)
    assert "its row 0 is not that" in warnings(caplog)[0]


@given(st.integers(0, HEADER_BYTES * 8 - 1))
def test_no_bit_of_a_header_may_differ(bit: int) -> None:
    raw = bytearray(pack_head(head := Head(80_112, 112, 10_000, 5)))
    assert unpack_head(bytes(raw), head.index_bytes) == head
    raw[bit // 8] ^= 1 << bit % 8

    with pytest.raises(ValueError, match=r"header is damaged|no index of this version"):
        unpack_head(bytes(raw), head.index_bytes)


@pytest.mark.parametrize(
    ("file_bytes", "data_offset", "mtime_ns", "said"),
    [
        (1000, 8, 5, None), (1000, 8, 4, None), (1000, 8, 9, None), (1001, 8, 99, None),
        (1000, 0, 5, "byte 8 on, not 0"), (999, 8, 5, "file of 1000 bytes, not 999"), (1000, 8, 11, "older"),
    ],
)  # fmt: skip
def test_which_file_a_head_can_be_of(
    file_bytes: int, data_offset: int, mtime_ns: int, said: str | None
) -> None:
    head = Head(file_bytes=1000, data_offset=8, words=124, mtime_ns=5)

    if said is None:
        check_head(head, 10, file_bytes, data_offset, mtime_ns)
    else:
        with pytest.raises(ValueError, match=said):
            check_head(head, 10, file_bytes, data_offset, mtime_ns)


def test_the_other_payload_has_an_index_of_its_own(
    path: Path, words: np.ndarray, caplog: pytest.LogCaptureFixture
) -> None:
    build_index(path)
    kept = index_file(path).read_bytes()

    np.testing.assert_array_equal(load(path, payload="8n+8")[-9:].phase(), phase(words[1:])[-9:])
    assert index_file(path).read_bytes() == kept
    assert "cache" in (load(path, payload="8n+8")._origin.index.file or "")
    assert not [text for text in warnings(caplog) if "index" in text]


# -- what info says ----------------------------------------------------------------------------------------


def test_info_tells_of_the_index(path: Path, tmp_path: Path) -> None:
    assert "index      none" in format_info(file_info(path))

    load(path)[33 * BLOCK_WORDS :][:5].phase()
    assert format_info(file_info(path)).endswith(
        f"{index_file(path)}, of the first {33 * BLOCK_WORDS:,} words"
    )
    build_index(path)
    info = file_info(path)
    assert (info["index"], info["index_words"], info["index_problem"]) == (str(index_file(path)), WORDS, None)
    index_file(path).write_bytes(b"garbage")
    info = file_info(path)
    assert (info["index"], info["index_problem"]) == (
        None,
        f"{index_file(path)}: it is no index of this version",
    )


# -- envelopes -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [1, 3, 7, 39, 60, 1000])
@pytest.mark.parametrize(
    ("begin", "end"), [(0, WORDS), (70_001, WORDS - 300_007), (5, 5000), (65_530, 65_540)]
)
def test_envelopes_are_those_of_every_word(
    columns: int, begin: int, end: int, path: Path, words: np.ndarray, phases: np.ndarray
) -> None:
    found = load(path)[begin:end].envelope(columns)
    starts = found.edges[:-1]

    assert (found.edges[0], found.edges[-1]) == (0, end - begin)
    assert np.diff(found.edges).min() > 0
    assert starts.size == min(columns, end - begin)
    assert np.diff(found.edges).max() <= (end - begin) / starts.size + BLOCK_WORDS
    r = radius(words)[begin:end]
    p = phases[begin:end]
    np.testing.assert_array_equal(found.phase_min, np.minimum.reduceat(p, starts))
    np.testing.assert_array_equal(found.phase_max, np.maximum.reduceat(p, starts))
    np.testing.assert_array_equal(found.radius_min, np.minimum.reduceat(r, starts))
    np.testing.assert_array_equal(found.radius_max, np.maximum.reduceat(r, starts))


def test_a_long_windows_envelope_reads_a_block_at_either_end(
    path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(path)
    monkeypatch.setattr(_savedrows, "_SAMPLES", 0)
    seen = reads(monkeypatch)

    load(path)[100 : WORDS - 100].envelope(3)
    assert sum(b - a for a, b in seen) <= 2 * BLOCK_WORDS


def test_a_window_of_a_hundred_gigabytes_needs_its_own_words_only(tmp_path: Path) -> None:
    path = tmp_path / "day.bin"
    path.write_bytes(HEADER)
    os.truncate(path, 100_000_000_000)
    total = (100_000_000_000 - len(HEADER)) // 8
    zeros = np.zeros(BLOCK_WORDS, np.uint64)
    status = path.stat()
    head = Head(status.st_size, len(HEADER), total, status.st_mtime_ns)
    rows = np.repeat(rows_of(zeros, Carry(0, 0)), head.rows)
    rows[:1] = rows_of(zeros, Carry())
    rows[-1:] = rows_of(zeros[: total % BLOCK_WORDS], Carry(0, 0))
    _savedrows.save_rows(index_path(path), [rows], head)
    tr = load(path)

    middle = tr.window(3000, "1s")
    assert len(middle) == 2_000_000
    assert middle.start == START + timedelta(seconds=3000)
    assert not middle.phase().any()
    found = tr.envelope(1000)
    assert (found.edges[-1], found.phase_max.max(), found.radius_min.min()) == (total, 0, 0)
    assert tr._origin.index.file == index_path(path)


# -- the file's bytes ------------------------------------------------------------------------------------------


def test_an_index_says_of_which_file_it_is(path: Path) -> None:
    build_index(path)
    raw = index_file(path).read_bytes()
    status = path.stat()

    assert unpack_head(raw[:HEADER_BYTES], len(raw)) == Head(
        status.st_size, len(HEADER), WORDS, status.st_mtime_ns
    )
    rows = np.frombuffer(raw, ROW, BLOCKS, HEADER_BYTES)
    assert rows["words"].tolist() == [BLOCK_WORDS] * (BLOCKS - 1) + [WORDS % BLOCK_WORDS]


def test_a_head_must_count_the_rows_that_were_written(tmp_path: Path) -> None:
    with (tmp_path / "x").open("wb") as file:
        writer = IndexWriter(file.fileno)
        writer.add(bytes(3 * ROW_BYTES))
        with pytest.raises(ValueError, match="3 rows cannot be those of 1000 words"):
            writer.finish(Head(8000, 0, 1000, 0))


@pytest.mark.parametrize("words_counted", [10**9, 2**63])
def test_a_head_that_counts_more_words_than_the_file_is_refused(words_counted: int) -> None:
    with pytest.raises(ValueError, match="counts"):
        unpack_head(pack_head(Head(8000, 0, words_counted, 0)), 10**9)


def test_a_pass_over_a_file_that_cannot_be_read_is_an_error(path: Path) -> None:
    tr = load(path)
    os.truncate(path, 1000)

    with pytest.raises(StreamFormatError, match="became shorter"):
        tr[-5:].phase()


# -- what a file's times prove -----------------------------------------------------------------------------------


def change_m(path: Path, word: int) -> np.ndarray:
    """Change the highest byte of a word in place, so that M rolls over there; return all words."""
    with path.open("r+b") as file:
        file.seek(len(HEADER) + 8 * word + 7)
        byte = file.read(1)[0]
        file.seek(-1, os.SEEK_CUR)
        file.write(bytes([byte ^ 0x80]))
    return np.fromfile(path, "<u8", offset=len(HEADER))


def keep_times(path: Path, times: os.stat_result) -> None:
    os.utime(path, ns=(times.st_atime_ns, times.st_mtime_ns))


def touched_index(path: Path, times: os.stat_result) -> None:
    os.utime(index_file(path))


@pytest.mark.parametrize("hiding", [lambda path, times: None, touched_index, keep_times])
@pytest.mark.parametrize("word", [5 * BLOCK_WORDS + 1000, 9 * BLOCK_WORDS - 1, 17 * BLOCK_WORDS])
def test_a_byte_changed_in_place_is_noticed_by_the_files_times(
    path: Path, word: int, hiding: Callable[[Path, os.stat_result], None]
) -> None:
    build_index(path)
    times = path.stat()
    changed = change_m(path, word)
    hiding(path, times)

    tr = load(path)
    np.testing.assert_array_equal(
        tr[30 * BLOCK_WORDS + 5 :][:9].phase(), phase(changed)[30 * BLOCK_WORDS + 5 :][:9]
    )
    assert_right(path, changed)


def copy_with_times(path: Path, target: Path, step_ns: int = 1) -> Path:
    """Copy a file and its index as ``cp -a`` does, onto a file system whose clock has steps of ``step_ns``."""
    target.mkdir()
    for name in (index_file(path), path):  # the index first: nobody says in which order
        copy, times = target / name.name, name.stat()
        copy.write_bytes(name.read_bytes())
        os.utime(copy, ns=(times.st_atime_ns, times.st_mtime_ns // step_ns * step_ns))
    return target / path.name


@pytest.mark.parametrize("step_ns", [1, 100, 1000, 1_000_000, 10_000_000, 10**9, 2 * 10**9])
def test_a_copy_that_kept_its_times_is_believed_at_once(
    path: Path, tmp_path: Path, step_ns: int, words: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(path)
    copy = copy_with_times(path, tmp_path / "nas", step_ns)
    seen = reads(monkeypatch)

    found = load(copy)[30 * BLOCK_WORDS + 5 :][:9].phase()
    assert sum(b - a for a, b in seen) <= 6 * BLOCK_WORDS  # the samples, and the window's own block
    np.testing.assert_array_equal(found, phase(words)[30 * BLOCK_WORDS + 5 :][:9])


def test_a_renamed_file_keeps_its_index(path: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(path)
    moved = path.rename(tmp_path / "b.bin")
    moved.chmod(0o444)
    index_file(path).rename(index_file(moved))
    seen = reads(monkeypatch)

    load(moved)[30 * BLOCK_WORDS + 5 :][:9].phase()
    assert sum(b - a for a, b in seen) <= 6 * BLOCK_WORDS


def test_what_times_do_not_prove_is_read_once_and_noted(
    path: Path, words: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(path)
    now = path.stat().st_mtime_ns + 10**9  # a copy that has a time of its own
    os.utime(path, ns=(now, now))
    os.utime(index_file(path), ns=(now, now))
    assert_right(path, words)
    seen = reads(monkeypatch)

    assert load(path)._origin.index.file == str(index_file(path))
    load(path)[30 * BLOCK_WORDS + 5 :][:9].phase()
    assert sum(b - a for a, b in seen) <= 11 * BLOCK_WORDS


def test_a_file_changed_and_grown_is_noticed(path: Path) -> None:
    cut = 35 * BLOCK_WORDS + 77
    whole = path.read_bytes()
    os.truncate(path, len(HEADER) + 8 * cut)
    build_index(path)
    change_m(path, 9 * BLOCK_WORDS)
    with path.open("ab") as file:
        file.write(whole[len(HEADER) + 8 * cut :])

    assert_right(path, np.fromfile(path, "<u8", offset=len(HEADER)))


def test_of_an_unproven_index_no_more_is_read_than_is_asked_for(
    path: Path, words: np.ndarray, monkeypatch: pytest.MonkeyPatch
) -> None:
    build_index(path)
    now = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(now, now))
    os.utime(index_file(path), ns=(now, now))
    seen = reads(monkeypatch)
    assert load(path)._origin.index.count == BLOCKS
    tr = load(path)

    tr[2 * BLOCK_WORDS + 5 :][:9].phase()
    assert max(b for a, b in seen if a % BLOCK_WORDS == 0 and a < 4 * BLOCK_WORDS) <= 3 * BLOCK_WORDS
    np.testing.assert_array_equal(tr[20 * BLOCK_WORDS :][:9].phase(), phase(words)[20 * BLOCK_WORDS :][:9])


def test_what_was_proven_of_an_index_is_kept(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    build_index(path)
    now = path.stat().st_mtime_ns + 10**9
    os.utime(path, ns=(now, now))
    os.utime(index_file(path), ns=(now, now))
    load(path)[34 * BLOCK_WORDS :][:9].phase()
    seen = reads(monkeypatch)

    assert load(path)._origin.index.count == 35
    load(path)[34 * BLOCK_WORDS + 5 :][:9].phase()
    assert sum(b - a for a, b in seen) <= 10 * BLOCK_WORDS
