"""Byte slips in the running stream: found by the splitter, told once, placed, in whatever file they lie."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from engine import arrived_bytes, assert_law, kill, recording
from harness import Engine
from slipping import emulated, without
from support import wait_until

import fastcap as fc
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES
from fastcap.events import MARK, SLIP
from fastcap.sidecar import load_sidecar
from fastcap.verdict import judge

WORDS = 300_000
C = MIN_RING_BYTES


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine()
    yield engine
    engine.close()


def flow(engine: Engine, data: bytes, piece: int = 100_000) -> None:
    """Let data pass the splitter, piece by piece."""
    for at in range(0, len(data), piece):
        engine.feed(data[at : at + piece])
        engine.split()


def slips(engine: Engine) -> list[dict[str, Any]]:
    return [event.data for event in engine.events() if event.kind == SLIP]


@pytest.mark.parametrize("count", range(1, 8))
@pytest.mark.parametrize("rate", ["2MHz", "10MHz"])
def test_a_slip_is_told_once_with_its_place(engine: Engine, rate: str, count: int) -> None:
    word = 30_000 * count + 12_345
    engine.begin()
    flow(engine, without(emulated(WORDS, "--rate", rate), word, count % 2, count))
    told = [message for message in engine.told() if message["op"] == "slip"]
    engine.end()

    (slip,) = slips(engine)
    assert (slip["after_word"], slip["bytes"]) == (word, count)
    assert slip["low"] <= word <= slip["high"] <= slip["low"] + 8
    assert [(m["after_word"], m["bytes"]) for m in told] == [(word, count)], "before the stream ended"


@pytest.mark.parametrize("piece", [4_099, 1_000_000])
def test_two_slips_are_two_whatever_the_pieces(engine: Engine, piece: int) -> None:
    data = without(without(emulated(WORDS), 103_000, 0, 6), 100_000, 2, 5)
    engine.begin()
    flow(engine, data, piece)
    engine.end()

    assert [(s["after_word"], s["bytes"]) for s in slips(engine)] == [(100_000, 5), (102_999, 6)]


@pytest.mark.parametrize("word", [1_100, 20_000, WORDS - 1_300])
def test_slips_near_the_ends_are_told_where_they_can_be(engine: Engine, word: int) -> None:
    engine.begin()
    flow(engine, without(emulated(WORDS), word, 3, 2))
    engine.end()

    assert [(s["after_word"], s["bytes"]) for s in slips(engine)] == [(word, 2)]


@pytest.mark.parametrize("word", [0, 5, 300, WORDS - 700, WORDS - 1])
def test_slips_too_near_the_ends_are_not_told(engine: Engine, word: int) -> None:
    engine.begin()
    flow(engine, without(emulated(WORDS), word, 3, 2))
    engine.end()

    assert slips(engine) == []


@pytest.mark.parametrize("offset", range(8))
def test_a_stream_that_begins_within_a_word_gives_no_alarm(engine: Engine, offset: int) -> None:
    engine.begin()
    flow(engine, emulated(WORDS)[offset:])
    engine.end()

    assert slips(engine) == []


def test_words_that_the_ring_dropped_are_no_slip_and_count(engine: Engine) -> None:
    writer = engine.claim(LOSSLESS | ESSENTIAL)
    data = without(emulated(WORDS), 250_000, 1, 3)
    engine.begin()
    for at in range(0, len(data), 250_000):
        engine.feed(data[at : at + 250_000])
        engine.split()
        if at % 2_000_000 == 1_750_000:
            writer.advance(engine.ring.framed)
            engine.split()
    engine.end()

    assert engine.ring.reader_state()["drops"] > 0
    (slip,) = slips(engine)
    assert (slip["after_word"], slip["bytes"]) == (250_000, 3)


def test_a_slip_is_told_in_the_file_that_holds_it(engine: Engine) -> None:
    """A file's report is made at its MARK: slips must be events before that."""
    engine.begin(rate=[50_000, 1], split_seconds=[1, 1])
    flow(engine, without(without(emulated(WORDS), 148_000, 0, 1), 60_000, 0, 2))
    engine.end()

    order = [(e.kind, e.data.get("after_word", e.data.get("first_word"))) for e in engine.events()]
    order = [entry for entry in order if entry[0] in (MARK, SLIP)]
    assert order == [
        (MARK, 50_000), (SLIP, 60_000), (MARK, 100_000), (SLIP, 148_000 - 1), (MARK, 150_000),
        (MARK, 200_000), (MARK, 250_000),
    ]  # fmt: skip


@pytest.mark.parametrize("killed_at", range(680_000, 1_200_000, 40_000))
def test_a_successor_tells_neither_twice_nor_nothing(engine: Engine, killed_at: int) -> None:
    data = without(emulated(WORDS), 100_000, 1, 3)
    engine.begin()
    flow(engine, data[:killed_at], 40_000)
    engine.new_splitter()
    engine.announce(**{k: v for k, v in engine.message.items() if k not in ("op", "recording")})
    flow(engine, data[killed_at:], 40_000)
    engine.end()

    assert [(s["after_word"], s["bytes"]) for s in slips(engine)] == [(100_000, 3)]


def test_bytes_that_are_no_words_are_not_looked_at(engine: Engine) -> None:
    engine.begin(word_bytes=1)
    flow(engine, without(emulated(WORDS), 100_000, 1, 3))
    engine.end()

    assert slips(engine) == []


def test_data_that_look_wrong_again_and_again_are_looked_at_less_often(engine: Engine) -> None:
    """Three runs out of step are no slip, wherever they come; the stream must not wait for a look at them."""
    data = bytearray(emulated(WORDS))
    whole = bytes(data)
    for at in range(50_000, 290_000, 1_000):
        data[8 * at : 8 * at + 2_400] = whole[8 * at + 3 : 8 * at + 2_403]
    engine.begin()
    flow(engine, bytes(data))
    flow(engine, without(emulated(WORDS), 200_000, 1, 3))
    engine.end()

    assert [s["bytes"] for s in slips(engine)] == [3]


# -- real captures ---------------------------------------------------------------------------------------


def board(*, words: int = 900_000, **options: Any) -> str:
    given = {"rate": "2MHz", "q": words, "speed": "max", **options}
    faults = "".join(f"&fault={fault}" for fault in given.pop("faults", []))
    return "sim://?" + "&".join(f"{key}={value}" for key, value in given.items()) + faults


def test_report_and_sidecar_tell_of_slips(tmp_path: Path) -> None:
    with fc.open(board(faults=["slip@300000:3", "slip@700000:6"])) as emulator:
        cap = emulator.record(None, tmp_path / "a.bin")

    report, verdict = cap.report, judge(cap.report)
    entries = [
        (e["stage"], e["after_word"], e["words"], e["bytes"], e["certainty"]) for e in report["ledger"]
    ]
    assert entries == [("slip", 300_000, 1, 3, "estimated"), ("slip", 699_999, 1, 6, "estimated")]
    assert all(low <= e["after_word"] <= high for e in report["ledger"] for low, high in [e["within_words"]])
    assert (report["complete"], report["words_lost"], verdict.exit_status) == (True, 0, 3)
    assert "2 byte slips, the first of 3 bytes about word 300000" in verdict.line
    assert "realign=True" in verdict.reasons[0]
    assert_law(report)
    marks = load_sidecar(cap.path)["annotations"]
    assert [(m["core:label"], m["core:sample_start"], m["fastcap:bytes_lost"]) for m in marks] == [
        ("byte slip", 300_000, 3), ("byte slip", 699_999, 6)
    ]  # fmt: skip


def test_a_recording_that_nobody_writes_is_watched_too() -> None:
    with fc.open(board(faults=["slip@300000:1"])) as emulator:
        cap = emulator.record(None, "none")

    assert [(e["stage"], e["after_word"], e["bytes"]) for e in cap.report["ledger"]] == [("slip", 300_000, 1)]


def test_files_behind_a_slip_say_that_they_are_out_of_step(tmp_path: Path) -> None:
    url = board(words=1_000_000, speed="realtime", faults=["slip@300000:3", "slip@700000:6"])
    with fc.open(url) as emulator:
        cap = emulator.record(None, tmp_path / "a.bin", split="0.1s")

    told = [
        [(e["after_word"], e["bytes"], e.get("carried", False)) for e in r["ledger"]] for r in cap.reports
    ]
    assert told[0] == []
    assert told[1] == [(100_000, 3, False)]
    assert told[2] == [(0, 3, True)]
    assert told[3] == [(0, 3, True), (99_999, 6, False)]
    assert told[4] == [(0, 9, True)]
    assert [judge(r).exit_status for r in cap.reports] == [0, 3, 3, 3, 3]
    assert "out of step from the first on (9 bytes" in judge(cap.reports[4]).line


@pytest.mark.parametrize("pattern", ["signal", "counter"])
def test_a_board_without_faults_gives_no_alarm(pattern: str) -> None:
    with fc.open(board(words=2_000_000, pattern=pattern)) as emulator:
        cap = emulator.record(None, "none")

    assert cap.report["ledger"] == []
    assert judge(cap.report).exit_status == 0


def test_a_killed_splitter_costs_no_slip(tmp_path: Path) -> None:
    url = board(words=4_000_000, speed="realtime", faults=["slip@2000000:5"])
    with recording(url, tmp_path) as (finish, emulator):
        wait_until(lambda: arrived_bytes(emulator) >= 8_000_000, 20, "half of what is before the slip")
        kill("splitter")
        cap = finish()

    assert cap.report["replaced"]["splitter"] == 1
    assert [(e["after_word"], e["bytes"]) for e in cap.report["ledger"]] == [(2_000_000, 5)]
    json.dumps(cap.report.to_dict())
