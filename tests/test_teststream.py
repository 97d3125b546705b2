import shlex
import time
from fractions import Fraction

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from fastcap.errors import ConfigError
from fastcap.teststream import parse_board_argv, split_command


def test_usual_command_gives_two_megahertz_exactly():
    flags = parse_board_argv(
        ["teststream", "-U", "/dev/usbhybrid0", "-q", "33554432", "-s", "4", "-l", "-b", "-v", "3"]
    )

    assert flags.program == "teststream"
    assert flags.device == "/dev/usbhybrid0"
    assert flags.num_words == 33_554_432
    assert flags.sample_rate_hz == Fraction(2_000_000)
    assert flags.verbosity == "3"
    assert flags.warnings == ()


@pytest.mark.parametrize(
    "argv", [["-q33554432", "-s4", "-lb"], ["-bls4", "-q", "33554432"], ["-lbs", "4", "-q33554432"]]
)
def test_joined_flags_read_as_getopt_does(argv):
    flags = parse_board_argv(["teststream", *argv])

    assert (flags.num_words, flags.skip, flags.base_rate_hz) == (33_554_432, 4, 10_000_000)


def test_rate_that_is_no_whole_number_stays_exact():
    assert parse_board_argv(["t", "-h", "-b", "-s", "2"]).sample_rate_hz == Fraction(20_000_000, 3)


def test_absent_clock_is_twenty_megahertz_with_a_warning():
    flags = parse_board_argv(["t", "-b", "-s", "1"])

    assert flags.base_rate_hz == 20_000_000
    assert any("20 MHz" in warning for warning in flags.warnings)


@pytest.mark.parametrize("argv", [["-q", "0"], []])
def test_no_count_or_zero_is_endless(argv):
    assert parse_board_argv(["t", "-lb", *argv]).num_words is None


def test_last_of_contradicting_flags_counts():
    flags = parse_board_argv(["t", "-h", "-l", "-s", "1", "-s", "4", "-x", "-b"])

    assert (flags.base_rate_hz, flags.skip, flags.encoding) == (10_000_000, 4, "binary")


@pytest.mark.parametrize(("flag", "encoding"), [("-x", "hexadecimal"), ("-A", "ascii"), ("-b", "binary")])
def test_encoding_is_told(flag, encoding):
    assert parse_board_argv(["t", "-l", flag]).encoding == encoding


def test_unknown_flags_are_kept_and_do_not_set_known_ones():
    flags = parse_board_argv(["t", "-phase", "7", "--hello", "-l", "-b", "stray", "--", "-h"])

    assert flags.extra == ("-phase", "7", "--hello", "stray", "-h")
    assert flags.base_rate_hz == 10_000_000


def test_value_may_look_like_a_flag():
    assert parse_board_argv(["t", "-U", "-l # x", "-b"]).device == "-l # x"


@pytest.mark.parametrize(
    "argv",
    [["-q"], ["-q", "1e6"], ["-s", "-4"], ["-q", "0x10"], ["-q", "٣"], ["-s", "9" * 30], ["-q", str(2**63)]],
)
def test_wrong_number_names_the_flag(argv):
    with pytest.raises(ConfigError, match=argv[0]):
        parse_board_argv(["t", *argv])


@given(st.text(alphabet="a-\u00e9'\"\\# \t\n\x0b", max_size=12))
@example("'a b'\\ \"c\\\"\\d\"e '' x")
def test_command_line_is_split_as_the_standard_library_does(text):
    try:
        expected = tuple(shlex.split(text))
    except ValueError:
        with pytest.raises(ValueError, match="no end"):
            split_command(text)
    else:
        assert split_command(text) == expected


@pytest.mark.parametrize("mark", ["", "'", '"'])
def test_one_argument_may_be_as_long_as_a_header(mark):
    long = "x y" * 170_000 if mark else "x" * 510_000
    assert split_command(f"teststream {mark}{long}{mark} -b") == ("teststream", long, "-b")


@pytest.mark.parametrize("mark", ["", "'", '"'])
def test_eight_times_the_argument_takes_no_square_of_the_time(mark):
    """CPU time: 8 times as much, 64 if it grows with the square."""

    def least_s(length):
        text = f"teststream {mark}{'x' * length}{mark}"
        took = []
        for _ in range(5):
            before_s = time.process_time()
            split_command(text)
            took.append(time.process_time() - before_s)
        return min(took)

    assert least_s(480_000) < 32 * max(least_s(60_000), 1e-4)
