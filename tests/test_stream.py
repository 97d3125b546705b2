import subprocess
import sys
from datetime import UTC, datetime, timedelta, timezone
from fractions import Fraction

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.errors import StreamFormatError
from fastcap.stream import (
    MAX_HEADER_BYTES,
    build_header,
    format_start,
    header_bytes,
    parse_header,
    rewrite_start,
)

SINGAPORE = timezone(timedelta(hours=8))
START = datetime(2023, 11, 23, 17, 3, 8, tzinfo=SINGAPORE)
ARGV = ("teststream", "-U", "/dev/usbhybrid0", "-q", "33554432", "-s", "4", "-l", "-b", "-v", "3")
TEXT = (
    b"# command line: teststream -U /dev/usbhybrid0 -q 33554432 -s 4 -l -b -v 3\n"
    b"# recording start: 2023-11-23 17:03:08 +0800\n"
)

argvs = st.lists(st.text(st.characters(exclude_categories=("Cs", "Cc"))), max_size=8).map(
    lambda values: ["teststream", "-l", "-b", *(part for value in values for part in ("-U", f"/{value}"))]
)
starts = st.datetimes(
    datetime(1900, 1, 1),
    datetime(2200, 1, 1),
    timezones=st.integers(-23 * 60, 23 * 60).map(lambda minutes: timezone(timedelta(minutes=minutes))),
).map(lambda start: start.replace(microsecond=0))


def header_of(text, padding=b"\0"):
    """Frame text by hand, as the board's program does, independently of build_header."""
    words = -(-len(text) // 8) + 1  # the magic word counts
    room = words * 8 - 8 - len(text)
    return bytes([words & 255, words >> 8]) + b"\xef\xcd\xab\x56\x34\x12" + text + (padding * room)[:room]


def test_header_is_laid_out_as_documented():
    assert build_header(ARGV, START) == header_of(TEXT)


def test_usual_header_is_read_whole():
    header = parse_header(header_of(TEXT) + b"data words follow")

    assert header.raw == header_of(TEXT)
    assert header.header_bytes == len(header.raw)
    assert header.argv == ARGV
    assert header.start == START
    assert header.start.utcoffset() == timedelta(hours=8)
    assert header.device == "/dev/usbhybrid0"
    assert header.num_words == 33_554_432
    assert header.sample_rate_hz == Fraction(2_000_000)
    assert header.text_lines == tuple(TEXT.decode().splitlines())
    assert header.unknown_lines == header.warnings == ()


def test_size_is_unknown_until_the_magic_word_is_there():
    raw = header_of(TEXT)

    assert [header_bytes(raw[:k]) for k in range(len(raw))] == [None] * len(raw)
    assert header_bytes(raw) == len(raw)
    assert header_bytes(raw[:8], "8n") is None


def test_largest_header_is_read():
    raw = b"\xff\xff\xef\xcd\xab\x56\x34\x12" + TEXT.ljust(MAX_HEADER_BYTES - 8, b"\0")

    assert header_bytes(raw, "8n+8") == len(raw) == MAX_HEADER_BYTES
    assert header_bytes(raw) == MAX_HEADER_BYTES - 8
    assert parse_header(raw).start == START


def test_other_reading_ends_the_header_one_word_later():
    raw = header_of(TEXT) + bytes(8)

    assert header_bytes(raw, payload="8n+8") == len(raw)
    assert parse_header(raw, payload="8n+8").raw == raw
    assert parse_header(raw, payload="8n").raw == raw[:-8]
    with pytest.raises(ValueError, match="16n"):
        header_bytes(raw, payload="16n")


def test_stale_padding_after_the_first_nul_is_ignored():
    text = TEXT + b"\0\xff\xfe# command line: other -h\n"
    header = parse_header(header_of(text, padding=b"\xee"))

    assert header.argv == ARGV
    assert header.warnings == header.unknown_lines == ()


def test_path_that_looks_like_flags_or_comments_is_one_argument():
    argv = ("teststream", "-U", "/dev/my -h board # 2", "-l", "-b", "-s", "4")
    header = parse_header(build_header(argv, START))

    assert header.argv == argv
    assert header.device == "/dev/my -h board # 2"
    assert header.base_rate_hz == 10_000_000


def test_unbalanced_quote_is_split_at_spaces_with_a_warning():
    header = parse_header(header_of(TEXT.replace(b"/dev/usbhybrid0", b"/dev/bob's")))

    assert header.device == "/dev/bob's"
    assert header.sample_rate_hz == 2_000_000
    assert "quoted" in header.warnings[0]


def test_unknown_lines_are_kept():
    header = parse_header(header_of(TEXT + b"# gain: 7\n# \xe6\xb8\xa9: 1\r\n"))

    assert header.unknown_lines == ("# gain: 7", "# 温: 1")


def test_absent_clock_is_told_in_the_warnings():
    header = parse_header(header_of(TEXT.replace(b" -l", b"")))

    assert header.base_rate_hz == 20_000_000
    assert any("20 MHz" in warning for warning in header.warnings)


@pytest.mark.parametrize("start", [b"yesterday", b"2023-11-23 17:03", b"2023-13-23 17:03:08 +0800", b""])
def test_start_that_is_no_time_is_none_with_a_warning(start):
    header = parse_header(header_of(TEXT.replace(b"2023-11-23 17:03:08 +0800", start)))

    assert header.start is None
    assert any("recording start" in warning for warning in header.warnings)


def test_header_without_command_line_says_what_rate_it_took():
    header = parse_header(header_of(TEXT.partition(b"\n")[2]))

    assert header.argv is None
    assert header.sample_rate_hz == 20_000_000
    assert any("20 MHz" in warning for warning in header.warnings)


def test_text_that_is_not_utf8_is_read_with_a_warning():
    header = parse_header(header_of(TEXT.replace(b"usbhybrid0", b"\xb5board")))

    assert header.device == "/dev/\ufffdboard"
    assert any("UTF-8" in warning for warning in header.warnings)


@pytest.mark.parametrize("flag", [b"-x", b"-A"])
def test_other_output_format_is_refused(flag):
    with pytest.raises(StreamFormatError, match="-b"):
        parse_header(header_of(TEXT.replace(b"-b", flag)))


def test_wrong_number_in_the_command_line_is_a_format_error():
    with pytest.raises(StreamFormatError, match="-s 'four'"):
        parse_header(header_of(TEXT.replace(b"-s 4", b"-s four")))


def test_wrong_magic_names_the_bytes_found():
    with pytest.raises(StreamFormatError, match="de ad be ef 00 01 02 03"):
        parse_header(bytes.fromhex("deadbeef00010203"))


@pytest.mark.parametrize("text", [b"0x12AB34\n", b"# command line: x", b"1.25 7\r\n\t3"])
def test_text_instead_of_magic_hints_at_binary_output(text):
    with pytest.raises(StreamFormatError, match="-b"):
        parse_header(text)


def test_magic_that_announces_no_text_is_refused():
    with pytest.raises(StreamFormatError, match="0 words"):
        header_bytes(bytes.fromhex("0000efcdab563412"))


@given(st.data())
def test_header_cut_anywhere_is_torn(data):
    raw = header_of(TEXT)
    with pytest.raises(StreamFormatError):
        parse_header(raw[: data.draw(st.integers(0, len(raw) - 1))])


@given(st.integers(1, len(TEXT) - 1))
def test_text_that_stops_inside_a_line_is_torn_unless_nothing_is_missing(end):
    raw = header_of(TEXT)
    torn = raw[: 8 + end].ljust(len(raw), b"\0")
    if TEXT[:end].endswith(b"\n") or end == len(TEXT) - 1:
        assert parse_header(torn).argv == ARGV
    elif TEXT[:end].endswith(b"17:03:08 ") and end > len(TEXT) - 8:
        assert any("no offset" in warning for warning in parse_header(torn).warnings), "a time all the same"
    else:
        with pytest.raises(StreamFormatError):
            parse_header(torn)


@pytest.mark.parametrize("fill", range(8))
def test_command_line_alone_may_do_without_its_newline(fill):
    line = TEXT.partition(b"\n")[0] + b" " + b"-" * fill
    header = parse_header(header_of(line) + b"\x12\x00\xff data")

    assert header.num_words == 33_554_432
    assert header.start is None
    assert any("does not end" in warning for warning in header.warnings)


@given(st.binary(max_size=300))
def test_garbage_raises_nothing_else(garbage):
    with pytest.raises(StreamFormatError):
        parse_header(garbage)


@given(
    st.binary(max_size=400), st.sampled_from([b"", b"# ", TEXT[:16], TEXT]), st.sampled_from(["8n+8", "8n"])
)
def test_garbage_after_the_magic_raises_nothing_else(garbage, begin, payload):
    raw = header_of(begin + garbage + b"\n") + bytes(8)
    try:
        header = parse_header(raw, payload)
    except StreamFormatError:
        return
    assert raw.startswith(header.raw)
    assert header.sample_rate_hz > 0


@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_in_the_lines_raises_nothing_else(command, start):
    text = f"# command line: {command}\n# recording start: {start}\n".encode(errors="surrogatepass")
    try:
        header = parse_header(header_of(text))
    except StreamFormatError:
        return
    assert header.text_lines


@given(argvs, starts)
def test_built_header_is_read_back(argv, start):
    raw = build_header(argv, start)
    header = parse_header(raw)

    assert header_bytes(raw) == len(raw) == len(header.raw)
    assert header.argv == tuple(argv)
    assert header.start == start
    assert header.start.utcoffset() == start.utcoffset()
    assert header.sample_rate_hz == 10_000_000


@pytest.mark.parametrize("bad", ["a\nb", "a\0b", "\x1b[0m"])
def test_argument_a_line_cannot_hold_is_refused(bad):
    with pytest.raises(ValueError, match="line break"):
        build_header(["teststream", bad], START)


def test_command_line_longer_than_a_header_is_refused():
    with pytest.raises(ValueError, match="524272"):
        build_header(["teststream", "x" * 600_000], START)


@given(argvs, starts, starts)
def test_rewritten_start_changes_nothing_else(argv, start, later):
    raw = build_header(argv, start)
    rewritten = rewrite_start(raw, later)

    assert rewritten == build_header(argv, later.astimezone(start.tzinfo)), (
        "in the form, and the zone, of the first"
    )
    assert len(rewritten) == len(raw)


def test_rewriting_leaves_a_path_alone_that_looks_like_the_start():
    argv = ["teststream", "-U", "# recording start: 2023-11-23 17:03:08 +0800", "-l", "-b"]
    later = START + timedelta(days=1)

    header = parse_header(rewrite_start(build_header(argv, START), later))

    assert header.start == later
    assert header.argv == tuple(argv)


@pytest.mark.parametrize("text", [b"# command line: x\n", TEXT.replace(b"2023", b"then")])
def test_rewriting_a_header_without_start_is_refused(text):
    with pytest.raises(StreamFormatError, match="no recording start"):
        rewrite_start(header_of(text), START)


def test_start_needs_a_time_zone_and_loses_its_fraction():
    assert format_start(datetime(2026, 1, 2, 3, 4, 5, 999_999, tzinfo=UTC)) == "2026-01-02 03:04:05 +0000"
    assert (
        format_start(datetime(987, 1, 2, tzinfo=timezone(-timedelta(minutes=210))))
        == "0987-01-02 00:00:00 -0330"
    )
    with pytest.raises(ValueError, match="time zone"):
        format_start(datetime(2026, 1, 2))
    with pytest.raises(ValueError, match="time zone"):
        format_start(datetime(2026, 1, 2, tzinfo=timezone(timedelta(seconds=1))))


def test_reading_headers_needs_no_numpy():
    code = "import sys, fastcap.stream; print('numpy' in sys.modules)"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)

    assert result.stdout == "False\n"
