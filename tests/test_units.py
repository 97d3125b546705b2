"""Quantities as people write them: exact where clear, refused where not."""

from __future__ import annotations

import math
import subprocess
import sys
from datetime import timedelta
from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.arith import evaluate_integer
from fastcap.errors import ConfigError
from fastcap.units import (
    format_duration,
    format_rate,
    format_rate_hz,
    format_size,
    parse_byte_rate,
    parse_duration_s,
    parse_rate_hz,
    parse_size,
    whole_number,
)

NONSENSE = [
    "",
    " ",
    "abc",
    "-1",
    "nan",
    "inf",
    "-inf",
    "1e999",
    "1e",
    "1 2",
    "0x10",
    "1_000",
    "٣",
    "1\n2",
    "1;2",
]


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("64MiB", 64 << 20),
        ("64mib", 64 << 20),
        ("1GB", 10**9),
        ("1 GB", 10**9),
        ("4096", 4096),
        (4096, 4096),
        (np.int64(4096), 4096),
        (4096.0, 4096),
        ("1.5KiB", 1536),
        ("1.1GiB", 1181116006),
        ("0", 0),
        (".5kB", 500),
        ("1e6", 10**6),
        ("7B", 7),
    ],
)
def test_size_is_whole_bytes(text, size):
    assert parse_size(text) == size
    assert type(parse_size(text)) is int


@pytest.mark.parametrize("wrong", ["64M", "64Mb", "1.5", 1.5, "64 MiB/s", "2MHz", "9EB", "9999999TB", "1e30"])
def test_size_that_is_unclear_is_refused(wrong):
    with pytest.raises(ValueError, match="64MiB"):
        parse_size(wrong)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("30s", 30),
        ("5min", 300),
        ("24h", 86400),
        ("2d", 172800),
        ("1.5", Fraction(3, 2)),
        ("500ms", Fraction(1, 2)),
        ("1us", Fraction(1, 10**6)),
        (30, 30),
        (0.1, Fraction(1, 10)),
        (Fraction(1, 3), Fraction(1, 3)),
        (np.float64(0.1), Fraction(1, 10)),
        (np.float32(2.1), Fraction(21, 10)),
        (timedelta(days=2, microseconds=1), Fraction(172_800_000_001, 10**6)),
        ("0", 0),
    ],
)
def test_duration_is_exact(text, seconds):
    assert parse_duration_s(text) == seconds


@pytest.mark.parametrize(
    "wrong",
    ["5m", "5MIN", "1h30min", "1e10", "3 weeks", float("nan"), float("inf"), 1e10, True, [1], timedelta(-1)],
)
def test_duration_that_is_unclear_is_refused(wrong):
    with pytest.raises(ValueError, match="30s, 500ms") as caught:
        parse_duration_s(wrong)
    assert str(caught.value).startswith(repr(wrong))


@pytest.mark.parametrize(
    ("text", "rate_hz"),
    [
        ("2MHz", 2_000_000),
        ("2e6", 2_000_000),
        ("2.5 kHz", 2500),
        (400, 400),
        ("0.1Hz", Fraction(1, 10)),
        (Fraction(20_000_000, 3), Fraction(20_000_000, 3)),
    ],
)
def test_rate_is_exact(text, rate_hz):
    assert parse_rate_hz(text) == rate_hz


@pytest.mark.parametrize("wrong", ["0", 0, "2mHz", "2mhz", "2MB/s", "2M", "1e13"])
def test_rate_that_is_unclear_or_zero_is_refused(wrong):
    with pytest.raises(ValueError, match="2MHz"):
        parse_rate_hz(wrong)


@pytest.mark.parametrize(
    ("text", "rate"),
    [("16MB/s", 16e6), ("12 MiB/s", 12 * 2**20), ("16000000", 16e6), (5.5, 5.5), ("1kB/s", 1e3)],
)
def test_byte_rate_is_bytes_per_second(text, rate):
    assert parse_byte_rate(text) == rate


@pytest.mark.parametrize("wrong", ["16MB", "16Mb/s", "2MHz", "0", "16MB/min"])
def test_byte_rate_that_is_unclear_or_zero_is_refused(wrong):
    with pytest.raises(ValueError, match="16MB/s"):
        parse_byte_rate(wrong)


@pytest.mark.parametrize("parse", [parse_size, parse_byte_rate, parse_rate_hz, parse_duration_s])
@pytest.mark.parametrize("wrong", [*NONSENSE, -1, -0.5, True, None, [], b"1"])
def test_nonsense_is_refused_by_its_name(parse, wrong):
    with pytest.raises(ValueError, match=r" is not a (size|rate|time) ") as caught:
        parse(wrong)
    assert repr(wrong) in str(caught.value)
    assert "\n" not in str(caught.value)


@given(st.text(max_size=20))
def test_any_text_is_a_quantity_or_a_value_error(text):
    messages = []
    for parse in (parse_size, parse_byte_rate, parse_rate_hz, parse_duration_s):
        try:
            assert parse(text) >= 0
        except ValueError as error:
            messages.append(str(error))
    assert all(len(message.splitlines()) == 1 for message in messages)


def test_long_values_are_cut_in_messages():
    with pytest.raises(ValueError, match="…") as caught:
        parse_size("9" * 10_000)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "size"),
    [("64 MiB", 64 << 20), ("1.5 GiB", 3 << 29), ("512 B", 512), ("0 B", 0), ("953 MiB", 999_292_928)],
)
def test_sizes_are_told_in_binary_units(text, size):
    assert format_size(size) == text


def test_rates_are_told_in_decimal_units():
    assert [format_rate(r) for r in (16e6, 80e6, 1.25e9, 500)] == [
        "16 MB/s",
        "80 MB/s",
        "1.25 GB/s",
        "500 B/s",
    ]
    assert [format_rate_hz(r) for r in (Fraction(2_000_000), 400, 6666666.7)] == [
        "2 MHz",
        "400 Hz",
        "6.67 MHz",
    ]


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0, "0 s"),
        (3e-6, "3 us"),
        (0.003, "3 ms"),
        (Fraction(1678, 100), "16.8 s"),
        (59.96, "1 min"),
        (303, "5 min 3 s"),
        (3599.9, "1 h"),
        (7500, "2 h 5 min"),
        (100_800, "1 d 4 h"),
    ],
)
def test_durations_are_told_as_people_say_them(seconds, text):
    assert format_duration(seconds) == text


@given(st.floats(0, 1e7))
def test_told_duration_never_shows_a_full_smaller_unit(seconds):
    words = format_duration(seconds).split()
    if len(words) == 4:
        assert int(words[2]) < {"s": 60, "min": 60, "h": 24}[words[3]]


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("2**25", 2**25),
        ("5 - 1", 4),
        ("(1 + 2) * 3 // 2 % 3", 1),
        ("-7 // 2", -4),
        ("-(2**3)", -8),
        (" 10 ", 10),
        ("1_000", 1000),
        ("2**3**2", 512),
        ("0**0", 1),
        ("1**9999999999999", 1),
        ("08", 8),
        ("250 - 1", 249),
        ("int(1e6)", 1_000_000),
        ("int(2.5e6) - 1", 2_499_999),
        ("int( 5 )", 5),
        ("int(-3.7)", -3),
        ("int(1e6 / 4) // int(2.0)", 125_000),
        ("int(int(1.5) + 0.5)", 1),
        ("int(1e6 * 10**-3)", 1000),
        ("2 * int(1E3)", 2000),
        ("int(7 % 2.5)", 2),
        ("int(1e23)", 10**23),
    ],
)
def test_arithmetic_is_evaluated_as_python_would(text, value):
    assert evaluate_integer(text) == value


@pytest.mark.parametrize(
    "text",
    [
        "__import__('os').system('true')",
        "multiprocessing.cpu_count()",
        "[1][0]",
        "(1).__class__",
        "1 if 2 else 3",
        "'5'",
        "1.5",
        "1e3",
        "0x10",
        "True",
        "1/2",
        "1 << 3",
        "~1",
        "1 < 2",
        "1, 2",
        "(1)(2)",
        "2**25 # comment",
        "1\n+1",
        "1\0",
        "",
        "()",
        "08 + 1",
        "(" * 150,
        "٣",
        "2**",
        "int",
        "int()",
        "int(1, 2)",
        "int(1e6",
        "int(int)",
        "int(x)",
        "int('5')",
        "int(*(1))",
        "int(0x10)",
        "int(2)(3)",
        "int.real",
        "print(1)",
        "intint(5)",
        "float(1e6)",
        "1e6 + int(1)",
        "int(2**0.5)",
        "int(1e)",
        "int(1j)",
        "int[0]",
        "1 / 2 + int(1)",
    ],
)
def test_anything_but_integer_arithmetic_is_refused(text):
    with pytest.raises(ConfigError, match="2\\*\\*25 or"):
        evaluate_integer(text)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("9**9**9**9", "too large"),
        ("2**256", "too large"),
        ("2**200 * 2**200", "too large"),
        ("9" * 100, "too large"),
        ("(-2)**999999999999", "too large"),
        ("2**-1", "negative exponent"),
        ("int(1e400)", "too large"),
        ("int(1e-300)", "too large"),
        ("int(9.5**9**9)", "too large"),
        ("int(1e70 * 1e70)", "too large"),
        ("int(1 / 0)", "divides by zero"),
        ("int(0 ** -1)", "divides by zero"),
        ("1 // 0", "divides by zero"),
        ("1 % (2 - 2)", "divides by zero"),
        ("+".join("1" * 60), "nested deeper"),
        ("-" * 60 + "1", "nested deeper"),
    ],
)
def test_arithmetic_is_bounded(text, why):
    with pytest.raises(ConfigError, match=why):
        evaluate_integer(text)


@given(st.text("0123456789+-*/%() ", max_size=40))
def test_arithmetic_agrees_with_python_or_refuses(text):
    try:
        value = evaluate_integer(text)
    except ConfigError:
        return
    assert value == (int(text) if text.strip().isdigit() else eval(text.strip()))


def test_quantities_need_nothing_heavy_to_import():
    code = "import sys, fastcap.units; print({'numpy', 'fractions', 'ast', 'msgspec'} & set(sys.modules))"
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout == "set()\n"


@pytest.mark.parametrize("value", [12_000, 12e3, np.int32(12_000), np.float32(12e3), Fraction(24_000, 2)])
def test_counts_may_be_any_whole_number(value):
    assert whole_number(value, "skip_words") == 12_000
    assert type(whole_number(value, "skip_words")) is int


@pytest.mark.parametrize("value", [-1, 1.5, math.nan, math.inf, True, "12", None, 1j])
def test_counts_that_are_none_are_refused_by_name(value):
    with pytest.raises(ValueError, match=r"^skip_words .* is not a whole number of at least 0$"):
        whole_number(value, "skip_words")
