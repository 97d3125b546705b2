"""Where data begin: both layouts, every length of text, whatever word follows; by a writer of the tests' own."""

from __future__ import annotations

import os
from pathlib import Path
from random import Random

import numpy as np
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import fastcap as fc
from fastcap.errors import StreamFormatError
from fastcap.info import file_info
from fastcap.payload import LOOK_BYTES, Layout, NoMagicError, TornHeaderError, find_layout, layout_of_size
from fastcap.stream import parse_header, parse_whole_header
from fastcap.verify import verify_file

EARLIER = (
    Path(__file__).parent / "vectors" / "earlier"
)  # written by fastcap when it took n for the words of text
STARTS = (
    "2023-11-23 17:03:08 +0800",
    "2025-02-18T17:03:08+0800",
    "2025-02-18T17:03:08.123456789+08:00",
    "2025-02-18T17:03:08.5+08:00[Asia/Singapore]",
)
HOSTILE = (
    *(
        bytes(8),
        b"\n" + bytes(7),
        b"\xff" * 8,
        b"+0800\n\0\0",
        b"0\n\0\0\0\0\0\0",
        b"# comman",
        b"\xb5\x9c\n\0\0\0\0\0",
    ),
    *(
        b"abcdefg\n",
        b"\0\0\0\0\0\0\0\n",
        b"\n\0\0\0\0\0\0\1",
        b"\r\n\0\0\0\0\0\0",
        b"        ",
        b"\x01\n\0\0\0\0\0\0",
    ),
)


def text_of(device: str, start: str = STARTS[0], end: str = "\n") -> bytes:
    return f"# command line: teststream -U {device} -s 4 -l -b -v 3\n# recording start: {start}{end}".encode()


def framed(text: bytes, layout: str, stale: bytes = b"") -> bytes:
    """Return magic word and text, as FORMAT lays them out."""
    words = -(-len(text) // 8) + (layout == "8n")
    room = -(-len(text) // 8) * 8
    padding = (b"\0" + stale + bytes(room))[: room - len(text)]
    return words.to_bytes(2, "little") + bytes.fromhex("efcdab563412") + text + padding


def words_after(text: bytes, count: int = 40) -> list[bytes]:
    random = Random(len(text))
    return [*HOSTILE, *(random.randbytes(8) for _ in range(count))]


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("length", range(16))
def test_8n_is_told_whatever_word_follows(length: int, start: str) -> None:
    text = text_of("/dev/" + "d" * length, start)
    for stale in (b"", b"\xb5\xff\xfe" * 3):
        raw = framed(text, "8n", stale)
        for word in words_after(text):
            want = Layout("8n", "text", 0, len(raw))
            assert find_layout(raw + word + b"more") == want, word
            assert parse_header(raw + word).raw == raw


@pytest.mark.parametrize("length", range(16))
def test_8n_plus_8_is_told_whatever_word_follows(length: int) -> None:
    text = text_of("/dev/" + "d" * length)
    raw = framed(text, "8n+8")
    for word in words_after(text):
        assert find_layout(raw + word) == Layout("8n+8", "text", 0, len(raw)), word
        assert parse_header(raw + word).start_ns == 1700730188 * 10**9


@pytest.mark.parametrize("start", STARTS)
@pytest.mark.parametrize("length", range(16))
def test_8n_without_a_last_newline_is_told_wherever_the_text_allows(length: int, start: str) -> None:
    text = text_of("/dev/" + "d" * length, start, end="")
    raw = framed(text, "8n")
    for word in words_after(text):
        if len(text) % 8 == 0 and word == b"\n" + bytes(7) and start == STARTS[0]:
            continue  # byte for byte what the other layout is when its text ends in a newline
        found = find_layout(raw + word)
        assert isinstance(found, Layout)
        assert (found.name, found.header_bytes) == ("8n", len(raw)), word


@given(
    st.text(st.characters(exclude_categories=("Cs", "Cc")), max_size=30), st.binary(min_size=8, max_size=8)
)
@example("/dev/dd", b"0\n\0\0\0\0\0\0")
def test_both_layouts_are_told_with_any_path_and_any_word(path: str, word: bytes) -> None:
    import shlex

    text = text_of(shlex.quote(f"/{path}"))
    for layout in ("8n", "8n+8"):
        raw = framed(text, layout)
        assert find_layout(raw + word) == Layout(layout, "text", 0, len(raw))
        assert parse_whole_header(raw).layout == Layout(layout, "text", 0, len(raw))


@pytest.mark.parametrize("layout", ["8n", "8n+8"])
@pytest.mark.parametrize("length", range(8))
def test_no_more_than_a_word_of_data_is_waited_for(length: int, layout: str) -> None:
    text = text_of("/dev/" + "d" * length)
    raw = framed(text, layout)
    stream, n = raw + os.urandom(64), int.from_bytes(raw[:2], "little")
    have = 0
    while isinstance(found := find_layout(stream[:have]), int):
        assert have < found <= 8 * n + 8
        have = found
    assert found.header_bytes == len(raw)
    assert find_layout(raw, final=True) == found, "a header and nothing behind it"


def test_what_cannot_be_told_is_8n_and_says_so() -> None:
    text = b"# gain 7".ljust(16, b"7")
    raw = framed(text, "8n")

    assert find_layout(raw + b"12345678") == Layout("8n", "default", 0, len(raw))
    assert layout_of_size(raw, len(raw)) == Layout("8n", "default", 0, len(raw))


@pytest.mark.parametrize("payload", ["8n", "8n+8", "none"])
def test_an_option_overrules_the_text(payload: str) -> None:
    raw = framed(text_of("/dev/x"), "8n") + bytes(16)
    begin = {"8n": len(raw) - 16, "8n+8": len(raw) - 8, "none": 0}[payload]

    assert find_layout(raw, payload) == Layout(payload, "option", 0, begin)


# -- text before the magic word ----------------------------------------------------------------------------


@pytest.mark.parametrize("layout", ["8n", "8n+8"])
@pytest.mark.parametrize(
    "preamble", [b"x\n", b"gain: 7\r\nfilter: 3\n", "µ = 3\n".encode() * 7, b"a line\n" * 9000]
)
def test_text_before_the_magic_word_is_counted_apart(preamble: bytes, layout: str) -> None:
    raw = framed(text_of("/dev/abc"), layout)
    stream = preamble + raw + bytes(range(16))

    want = Layout(layout, "text", len(preamble), len(preamble) + len(raw))
    assert find_layout(stream) == want
    header = parse_header(stream)
    assert (header.preamble, header.raw, header.device) == (preamble, preamble + raw, "/dev/abc")
    whole = parse_whole_header(preamble + raw)
    assert (whole.layout, whole.text) == (want, text_of("/dev/abc"))


@given(st.data())
def test_a_preamble_in_pieces_is_waited_for(data: st.DataObject) -> None:
    stream = b"gain: 7\nunit: \xc2\xb5\n" + framed(text_of("/dev/abc"), "8n") + bytes(64)
    have = 0
    while isinstance(found := find_layout(stream[:have]), int):
        assert found > have
        have = data.draw(st.integers(have + 1, len(stream)))
    assert (found.preamble_bytes, found.name) == (17, "8n")


@pytest.mark.parametrize(
    "stream",
    [
        bytes(64),
        b"\x01" + framed(text_of("/dev/x"), "8n"),
        b"text\n\0" + framed(text_of("/dev/x"), "8n"),
        b"\xff\xfe\n" + framed(text_of("/dev/x"), "8n"),
        b"a" * (64 << 10) + b"\n" + framed(text_of("/dev/x"), "8n"),
        b"only text\n" * 9000,
    ],
)
def test_what_is_no_text_before_the_magic_word_is_data(stream: bytes) -> None:
    with pytest.raises(NoMagicError, match="magic word"):
        find_layout(stream, final=len(stream) < LOOK_BYTES // 16)


def test_short_text_that_ends_is_no_header() -> None:
    assert isinstance(find_layout(b"gain: 7\n"), int)
    with pytest.raises(NoMagicError, match="only binary"):
        find_layout(b"gain: 7\n", final=True)
    with pytest.raises(TornHeaderError, match="less than its header of"):
        find_layout(b"gain: 7\n" + framed(text_of("/dev/x"), "8n")[:-1], final=True)


# -- files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("path", sorted(EARLIER.glob("plain-*.bin")), ids=lambda path: path.stem)
def test_streams_of_earlier_versions_are_told_by_their_text(path: Path) -> None:
    trace = fc.load(path)

    np.testing.assert_array_equal(trace.words, np.arange(6))
    assert trace.payload == {"layout": "8n+8", "known_by": "text"}
    assert (trace.sample_rate, trace.problems) == (2_000_000, ())
    assert file_info(path)["words"] == 6


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("recorded", range(40)),
        ("split_0000", range(20)),
        ("split_0001", range(20, 40)),
        ("headerless", range(16)),
    ],
)
def test_recordings_of_earlier_versions_are_as_they_were(name: str, words: range) -> None:
    path = EARLIER / f"{name}.bin"
    trace = fc.load(path)

    np.testing.assert_array_equal(trace.words, np.array(words))
    assert trace.problems == ()
    assert trace.payload == {"layout": "none" if name == "headerless" else "8n+8", "known_by": "sidecar"}
    assert verify_file(path).ok
    info = file_info(path)
    assert (info["payload"], info["words"]) == (trace.payload, len(words))
    assert info["index_problem"] is None
    assert fc.load(path, payload="auto").start == trace.start


def test_a_real_stream_recorded_by_an_earlier_version_says_what_is_missing(tmp_path: Path) -> None:
    sidecar = (EARLIER / "recorded.sigmf-meta").read_text()
    raw = (EARLIER / "recorded.bin").read_bytes()
    path = tmp_path / "recorded.bin"
    path.write_bytes((raw[0] + 1).to_bytes(1, "little") + raw[1:104] + (7).to_bytes(8, "little") + raw[104:])
    text = sidecar.replace('"core:header_bytes": 104', '"core:header_bytes": 112').replace(
        '"bytes": 424', '"bytes": 432'
    )
    (tmp_path / "recorded.sigmf-meta").write_text(text)

    trace = fc.load(path)
    np.testing.assert_array_equal(trace.words, np.arange(40), "as before")
    (problem,) = trace.problems
    assert "payload='8n'" in problem
    assert fc.load(path, payload="8n").words[0] == 7


def test_a_file_whose_text_fills_its_last_word_is_read(tmp_path: Path) -> None:
    path = tmp_path / "full.bin"
    text = text_of("/dev/" + "d" * (-len(text_of("/dev/")) % 8))
    assert len(text) % 8 == 0
    path.write_bytes(framed(text, "8n") + b"\x01\x02\x03\x04\x05\x06\x07\x08" * 4)

    assert len(fc.load(path)) == 4
    assert file_info(path)["payload"] == {"layout": "8n", "known_by": "text"}


def test_an_unknown_payload_is_refused_before_anything_is_opened() -> None:
    for call in (fc.load, file_info, verify_file):
        with pytest.raises(ValueError, match="'16n' is not one of auto, 8n"):
            call("/nowhere.bin", payload="16n")
    with pytest.raises(ValueError, match="16n"):
        fc.open("sim://", payload="16n")
    with pytest.raises(StreamFormatError):
        fc.load("/nowhere.bin")
