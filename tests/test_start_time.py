"""The forms of a recording start, by the tests' own arithmetic."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.start_time import FORMS, NS, format_start, parse_start, start_in_form
from fastcap.stream import build_header, parse_header, rewrite_start

NOON_NS = 1_739_869_388 * NS  # 2025-02-18 17:03:08 at +08:00


@pytest.mark.parametrize(
    ("text", "unix_ns"),
    [
        ("2025-02-18 17:03:08 +0800", NOON_NS),
        ("2025-02-18T17:03:08+0800", NOON_NS),
        ("2025-02-18T17:03:08+08:00", NOON_NS),
        ("2025-02-18T09:03:08Z", NOON_NS),
        ("2025-02-18T17:03:08.123456789+0800", NOON_NS + 123_456_789),
        ("2025-02-18T17:03:08.5+08:00", NOON_NS + 500_000_000),
        ("2025-02-18T17:03:08.000000001+08:00[Asia/Singapore]", NOON_NS + 1),
        ("2025-02-18 17:03:08.25 +0800 [Asia/Singapore]", NOON_NS + 250_000_000),
        ("2025-02-18T05:33:08-03:30", NOON_NS),
        ("1969-12-31T23:59:59.999999999+00:00", -1),
    ],
)
def test_every_form_is_read_to_the_nanosecond_and_written_as_it_was(text: str, unix_ns: int) -> None:
    start = parse_start(text)

    assert start is not None
    assert start.unix_ns == unix_ns
    assert start.text() == text
    assert start.moment == datetime(1970, 1, 1, tzinfo=UTC) + timedelta(microseconds=unix_ns // 1000)


@pytest.mark.parametrize(
    "text",
    [
        *("", "yesterday", "2025-02-18", "2025-02-18 17:03", "2025-13-18 17:03:08 +0800"),
        *("2025-02-18_17:03:08 +0800", "2025-02-18 17:03:08 +08", "2025-02-18 17:03:08 +080"),
        *("2025-02-18 17:03:08 +2500", "2025-02-18 17:03:08  +0800", "2025-02-18T17:03:08.+0800"),
        *("2025-02-18T17:03:08.1234567890+0800", "2025-02-18T17:03:08+0800[", "2025-02-18T17:03:08+0800]"),
        *("2025-02-18T17:03:08+0800[]", "2025-02-18T17:03:08 +0800x", "\u0662025-02-18T17:03:08+0800"),
        "2025-02-30T17:03:08+0800",
    ],
)  # fmt: skip
def test_what_is_no_time_is_none(text: str) -> None:
    assert parse_start(text) is None


def test_without_an_offset_it_is_local_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "Asia/Singapore")
    time.tzset()
    try:
        start = parse_start("2025-02-18T17:03:08.5")
        assert start is not None
        assert (start.unix_ns, start.text()) == (NOON_NS + 500_000_000, "2025-02-18T17:03:08.5")
        assert start.later(NS).text() == "2025-02-18T17:03:09.5"
    finally:
        monkeypatch.undo()
        time.tzset()


@pytest.mark.parametrize("form", FORMS)
@given(
    st.datetimes(datetime(1950, 1, 1), datetime(2150, 1, 1)),
    st.integers(-840, 840),
    st.integers(0, 10**18),
    st.data(),
)
def test_a_later_start_keeps_form_and_length(
    form: str, clock: datetime, minutes: int, elapsed_ns: int, data: st.DataObject
) -> None:
    moment = clock.replace(tzinfo=UTC if form == "local" else timezone(timedelta(minutes=minutes)))
    start = start_in_form(moment, form, data.draw(st.integers(0, 999)))
    later = start.later(elapsed_ns)

    assert len(later.text()) == len(start.text())
    read = parse_start(later.text())
    assert read is not None
    if form != "local":  # which an hour of the year is twice
        unit = 1 if form in ("iso-ns", "zone") else NS
        assert read.unix_ns == later.unix_ns // unit * unit
    raw = build_header(["teststream", "-l", "-b"], start)
    assert rewrite_start(raw, later) == build_header(["teststream", "-l", "-b"], later)
    assert parse_header(raw).start_time is not None


def test_the_form_of_2023_is_to_the_second() -> None:
    assert format_start(datetime(2025, 2, 18, 9, 3, 8, 999_999, tzinfo=UTC)) == "2025-02-18 09:03:08 +0000"
