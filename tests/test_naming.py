"""Names: exactly as documented, safe whatever the details hold, short enough for any file system."""

from __future__ import annotations

import os
import re
from datetime import datetime, timedelta, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from fastcap.errors import ConfigError
from fastcap.naming import name_suffix, numbered, plain_name, recording_name, split_destination

START = datetime(2026, 11, 22, 10, 0, 0, 123456, tzinfo=timezone(timedelta(hours=8)))
LONGEST = ".sigmf-meta.part"
anything = st.dictionaries(st.text(max_size=40), st.text(max_size=300), max_size=6)


def test_name_is_time_then_details_then_meta():
    name = recording_name(START, {"laser_num": "2"}, {"laser_curr": "392.8mA", "T": "+20 °C"})

    assert name == "2026-11-22T10:00:00.123456_laser_num_2_laser_curr_392.8mA_T_+20--C.bin"


def test_lab_s_names_hold_the_offset():
    details = {"laser_chip": "ULN00238", "laser_curr": "392.8mA"}
    start = datetime(2025, 2, 18, 17, 3, 8, 123456, tzinfo=timezone(timedelta(hours=8)))
    name = recording_name(start, details, {}, offset=True)

    assert name == "2025-02-18T17:03:08.123456+0800_laser_chip_ULN00238_laser_curr_392.8mA.bin"


@pytest.mark.parametrize(
    ("value", "part"),
    [
        ("ä", "ä"),
        ("a\u0308", "ä"),
        ("µm", "µm"),
        ("レーザー", "レーザー"),
        ("20 °C", "20--C"),
        ("²", "-"),
        ("\u202e", "-"),
    ],
)
def test_letters_of_every_alphabet_stay(value, part):
    assert name_suffix({"k": value}, {}) == f"_k_{part}"


def test_name_for_file_systems_that_do_not_take_every_character():
    assert plain_name("2025-02-18T17:03:08.123456+0800_µ_1.bin") == "2025-02-18T17-03-08.123456+0800_-_1.bin"


def test_name_without_details_is_the_time():
    assert recording_name(START.replace(microsecond=0), {}, {}) == "2026-11-22T10:00:00.000000.bin"


def test_meta_counts_where_both_have_a_key():
    assert name_suffix({"a": 1, "b": 2}, {"a": 3}) == "_a_3_b_2"


@given(anything, anything)
def test_any_details_make_a_safe_name(details, meta):
    name = recording_name(START, details, meta)

    assert re.fullmatch(r"2026-11-22T10:00:00\.123456[\w.+_-]*\.bin", name)
    assert name.isprintable()
    assert len(os.fsencode(numbered(name, 1).removesuffix(".bin") + LONGEST)) <= 255
    assert name == f"2026-11-22T10:00:00.123456{name_suffix(details, meta)}.bin"


def test_longest_names_can_be_created(tmp_path):
    for name in (recording_name(START, {"k": "x" * 999}, {}), recording_name(START, {}, {}, "n" * 999)):
        stem = numbered(name, 99_999_999).removesuffix(".bin")
        assert len(stem) == 255 - len(LONGEST)
        (tmp_path / (stem + LONGEST)).touch()


def test_long_details_are_cut_at_the_end():
    name = recording_name(START, {"first": "1", "long": "x" * 500, "last": "2"}, {})

    assert name.startswith("2026-11-22T10:00:00.123456_first_1_long_xxx")
    assert "last" not in name


@pytest.mark.parametrize(
    ("name", "safe"),
    [
        ("run_1", "run_1.bin"),
        ("run.bin", "run.bin"),
        ("a/b", "a-b.bin"),
        ("../../etc/passwd", "etc-passwd.bin"),
        ("/etc/passwd", "etc-passwd.bin"),
        (".hidden", "hidden.bin"),
        ("--rf", "rf.bin"),
        ("a\nb\0c", "a-b-c.bin"),
        ("a b;$(id)", "a-b---id-.bin"),
        ("Messung ä", "Messung-ä.bin"),
        ("10:30=x,y@z+1", "10:30=x,y@z+1.bin"),
    ],
)
def test_explicit_names_are_made_safe(name, safe):
    assert recording_name(START, {"not": "used"}, {}, name) == safe


@pytest.mark.parametrize("name", ["", ".", "..", "/", "-", ".bin", "_", "\n", "°"])
def test_name_of_which_nothing_is_left_is_refused(name):
    with pytest.raises(ConfigError, match="letters or digits") as caught:
        recording_name(START, {}, {}, name)
    assert "\n" not in str(caught.value)


@given(st.text(min_size=1))
def test_any_explicit_name_stays_in_its_directory(name):
    try:
        safe = recording_name(START, {}, {}, name)
    except ConfigError:
        return
    assert os.path.basename(safe) == safe
    assert safe[0] not in ".-"
    assert safe.isprintable()
    assert len(numbered(safe, 1).removesuffix(".bin") + LONGEST) <= 255


def test_numbered_files_sort():
    assert [numbered("run.bin", k) for k in (0, 1, 20, 12345)] == [
        "run_0000.bin",
        "run_0001.bin",
        "run_0020.bin",
        "run_12345.bin",
    ]
    assert numbered("run", 7) == "run_0007.bin"


@pytest.mark.parametrize(
    ("to", "parts"),
    [
        ("/mnt/nas/run", ("/mnt/nas/run", None)),
        ("/mnt/nas/run/", ("/mnt/nas/run/", None)),
        (".", (".", None)),
        ("run.bin", (".", "run.bin")),
        ("/mnt/a b/run.1.bin", ("/mnt/a b", "run.1.bin")),
        ("/run.bin", ("/", "run.bin")),
        ("../run.bin", ("..", "run.bin")),
        ("run.bin/", ("run.bin/", None)),
        (Path("/a/run.bin"), ("/a", "run.bin")),
        ("~/x", ("~/x", None)),
    ],
)
def test_destination_is_a_directory_or_a_bin_file(to, parts):
    assert split_destination(to) == parts


@pytest.mark.parametrize("to", ["", "a\0b", ".bin", "/mnt/.bin", f"/mnt/{'x' * 240}.bin", f"{'ä' * 120}.bin"])
def test_destination_that_cannot_be_is_refused(to):
    with pytest.raises(ConfigError, match=r"destination|file name"):
        split_destination(to)
