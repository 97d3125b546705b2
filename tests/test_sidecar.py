"""The sidecar: SigMF's shape, gaps, JSON that any parser takes, typed errors for everything else."""

from __future__ import annotations

import copy
import json
import math
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from made_files import ledger_entry as entry
from made_files import make_report

from fastcap.errors import StreamFormatError
from fastcap.sidecar import build_sidecar, encode, exact_gaps, load_sidecar, sidecar_path

HEADER_BYTES = 128


def build(report: dict[str, Any] | None = None, **options: Any) -> dict[str, Any]:
    return build_sidecar(report or make_report(), header_bytes=HEADER_BYTES, raw_header_text="# a", **options)


def test_global_object_is_sigmf_and_holds_the_report_word_for_word() -> None:
    report = make_report()

    core = build(report, settings={"vga_num": 3})["global"]

    assert core["core:datatype"] == "ru16_le"
    assert core["core:num_channels"] == 4
    assert core["core:sample_rate"] == 2_000_000.0
    assert core["core:dataset"] == "one.bin"
    assert core["core:trailing_bytes"] == 3
    assert core["core:extensions"] == [{"name": "fastcap", "version": "1.0.0", "optional": True}]
    assert "core:sha512" not in core
    assert core["fastcap:checksum"] == {"algorithm": "sha256", "value": "ab" * 32}
    assert core["fastcap:settings"] == {"vga_num": 3}
    assert core["fastcap:header"] == "# a"
    assert core["fastcap:report"] == report


def test_a_file_without_gaps_is_one_segment_with_its_start_in_utc() -> None:
    assert build(first_word=77)["captures"] == [
        {
            "core:sample_start": 0,
            "core:global_index": 77,
            "core:header_bytes": HEADER_BYTES,
            "core:datetime": "2026-11-22T02:00:00.123456Z",
        }
    ]


def test_gaps_are_annotated_at_their_place_in_the_file_and_later_ones_count_earlier_losses() -> None:
    report = make_report(words_lost=4096 + 10, ledger=[entry(5000, 10), entry(100, 4096)])

    sidecar = build(report)

    found = [
        (a["core:sample_start"], a["core:sample_count"], a["fastcap:words_lost"])
        for a in sidecar["annotations"]
    ]
    assert found == [(100, 0, 4096), (904, 0, 10)]
    assert sidecar["annotations"][0]["core:comment"] == "4,096 words lost (ring, exact)"
    segments = [(c["core:sample_start"], c["core:global_index"]) for c in sidecar["captures"]]
    assert segments == [(0, 0), (100, 4196), (904, 5010)]
    assert sidecar["captures"][1]["core:datetime"] == "2026-11-22T02:00:00.125554Z"  # 4196 words of 0.5 us


def test_a_later_file_of_a_split_counts_its_gaps_from_its_own_first_word() -> None:
    report = make_report(words_lost=10, ledger=[entry(500, 10)])

    captures = build(report, first_word=1_000_000)["captures"]

    assert [c["core:sample_start"] for c in captures] == [0, 500]
    assert [c["core:global_index"] for c in captures] == [1_000_000, 1_000_510]
    assert captures[1]["core:datetime"] == "2026-11-22T02:00:00.123711Z"  # 510 words after the file's start


def test_estimated_losses_are_annotated_but_shift_no_index() -> None:
    report = make_report(
        ledger=[entry(100, 50, "estimated"), entry(200, None, "unknown"), entry(None, 5, "estimated")]
    )

    sidecar = build(report)

    assert [a["core:sample_start"] for a in sidecar["annotations"]] == [100, 200]
    assert sidecar["annotations"][1]["core:comment"].startswith("an unknown number of")
    assert len(sidecar["captures"]) == 1


@given(st.lists(st.tuples(st.integers(1, 500), st.integers(1, 500)), max_size=30))
def test_gaps_lie_where_a_model_that_deletes_words_finds_them(runs: list[tuple[int, int]]) -> None:
    kept: list[int] = []
    ledger, index, expected = [], 0, []
    for kept_words, lost_words in runs:
        kept.extend(range(index, index + kept_words))
        index += kept_words
        ledger.append(entry(index, lost_words))
        expected.append(len(kept))
        index += lost_words

    gaps = exact_gaps(make_report(ledger=ledger))

    assert [gap.file_word for gap in gaps] == expected
    assert all(kept[gap.file_word - 1] == gap.word - 1 for gap in gaps)


def test_blocks_take_one_line_and_are_read_back() -> None:
    blocks = {"bytes": 64 << 20, "algorithm": "sha256-running", "values": [f"{k:016x}" for k in range(5000)]}

    raw = encode(build(blocks=blocks))

    assert json.loads(raw)["global"]["fastcap:blocks"] == blocks
    assert len(raw.splitlines()) < 150


def test_what_is_no_json_number_becomes_null_and_foreign_objects_their_text() -> None:
    np = pytest.importorskip("numpy")
    analysis = {
        "std": math.nan,
        "worst": -math.inf,
        "mean": np.float32(1.5),
        "n": np.int64(3),
        "row": np.array([1.0, math.nan]),
        ("a", 1): {2, 1},
        "where": Path("/x"),
        "name": "bad\udcff",
    }

    raw = encode(build(make_report(analysis=analysis)))

    assert raw.isascii()
    assert json.loads(raw, parse_constant=pytest.fail)["global"]["fastcap:report"]["analysis"] == {
        "std": None,
        "worst": None,
        "mean": 1.5,
        "n": 3,
        "row": [1.0, None],
        "('a', 1)": [1, 2],
        "where": "/x",
        "name": "bad\udcff",
    }


def test_encoding_is_stable() -> None:
    report = make_report(ledger=[entry(1, 2)], words_lost=2)

    assert encode(build(report)) == encode(build(copy.deepcopy(report)))


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("run.bin", "run.sigmf-meta"),
        ("run.bin.part", "run.sigmf-meta"),
        ("2026-11-22T10:00:00.123456.bin", "2026-11-22T10:00:00.123456.sigmf-meta"),
        ("2026-11-22T10:00:00.123456", "2026-11-22T10:00:00.123456.sigmf-meta"),
    ],
)
def test_sidecar_stands_beside_the_file(name: str, expected: str) -> None:
    assert sidecar_path(Path(f"/d/{name}")) == sidecar_path(f"/d/{name}") == f"/d/{expected}"


def test_what_was_written_is_loaded(tmp_path: Path) -> None:
    sidecar = build(make_report(ledger=[entry(1, 2)], words_lost=2), blocks=None)
    (tmp_path / "one.sigmf-meta").write_bytes(encode(sidecar))

    assert load_sidecar(tmp_path / "one.bin") == sidecar


def broken(path: str, value: Any) -> bytes:
    sidecar = build(make_report(ledger=[entry(1, 2)]), blocks={"bytes": 1, "algorithm": "x", "values": [""]})
    *parents, last = path.split("/")
    target: Any = sidecar
    for key in parents:
        target = target[int(key) if isinstance(target, list) else key]
    target[int(last) if isinstance(target, list) else last] = value
    return json.dumps(sidecar).encode()


@pytest.mark.parametrize(
    "raw",
    [
        b"",
        b"\xff\xfe\x00",
        b"not JSON",
        b"[]",
        b"null",
        b"{}",
        b"[" * 200_000,
        b'{"global": {"a": NaN}}',
        b"9" * 10_000,
        broken("global", []),
        broken("captures", []),
        broken("captures/0/core:header_bytes", "128"),
        broken("annotations", None),
        broken("global/core:datatype", 3),
        broken("global/fastcap:report", {}),
        broken("global/fastcap:report/bytes", -1),
        broken("global/fastcap:report/words", 1.5),
        broken("global/fastcap:report/complete", "yes"),
        broken("global/fastcap:report/ledger/0", {"stage": "ring"}),
        broken("global/fastcap:report/ledger/0/words", None),
        broken("global/fastcap:report/checksum", "abc"),
        broken("global/fastcap:report/sink/stalls", [1]),
        broken("global/fastcap:blocks/bytes", 0),
        broken("global/fastcap:blocks/values", [1]),
        broken("global/fastcap:first_word", "0"),
    ],
)
def test_what_is_no_sidecar_is_refused_by_name_in_one_line(tmp_path: Path, raw: bytes) -> None:
    (tmp_path / "one.sigmf-meta").write_bytes(raw)

    with pytest.raises(StreamFormatError, match=r"one\.sigmf-meta: ") as caught:
        load_sidecar(tmp_path / "one.bin")
    assert "\n" not in str(caught.value)


def test_missing_and_unreadable_sidecars_are_typed_errors(tmp_path: Path) -> None:
    with pytest.raises(StreamFormatError, match="no such sidecar"):
        load_sidecar(tmp_path / "one.bin")
    (tmp_path / "one.sigmf-meta").mkdir()
    with pytest.raises(StreamFormatError, match="cannot be read"):
        load_sidecar(tmp_path / "one.bin")


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture], max_examples=200)
@given(data=st.data())
def test_no_damage_raises_anything_but_the_typed_error(tmp_path: Path, data: st.DataObject) -> None:
    raw = bytearray(encode(build(make_report(ledger=[entry(1, 2)]))))
    for _ in range(data.draw(st.integers(1, 4))):
        at = data.draw(st.integers(0, len(raw) - 1))
        raw[at : at + data.draw(st.integers(0, 3))] = data.draw(st.binary(max_size=3))
    (tmp_path / "one.sigmf-meta").write_bytes(raw)

    try:
        sidecar = load_sidecar(tmp_path / "one.bin")
    except StreamFormatError:
        return
    exact_gaps(sidecar["global"]["fastcap:report"])


def test_a_worker_gets_it_without_numpy() -> None:
    code = "import sys, fastcap.sidecar; sys.exit('numpy' in sys.modules)"

    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
