"""What a report says of losses: which file, after which word, and in words for people."""

from __future__ import annotations

import json
from types import SimpleNamespace
from typing import Any

from made_files import ledger_entry, make_report

from fastcap.events import GAP, SLIP, Event
from fastcap.report import build
from fastcap.verdict import judge
from fastcap.workers.recording import Recording
from fastcap.workers.replace import Replacer


def test_unknown_loss_is_not_called_nothing():
    unknown = ledger_entry(500, None, "unknown")

    assert "nothing lost" not in judge(make_report(ledger=[unknown])).line
    both = judge(make_report(words_lost=10, ledger=[ledger_entry(3, 10), unknown])).line
    assert "10 words lost" in both
    assert "and an unknown number" in both


def test_unknown_loss_stands_in_the_file_in_which_it_was():
    r = _recording()
    r.unknown_losses = [{**ledger_entry(1500, None, "unknown"), "stage": "pipe"}]

    first, second, third = (build(r, _segment(i)) for i in range(3))

    assert first["ledger"] == third["ledger"] == []
    assert [e["after_word"] for e in second["ledger"]] == [500]


def test_file_lasts_as_long_as_its_words_those_that_were_lost_among_them():
    r = _recording()
    lost = {"after_word": 1500, "words": 300, "odd_bytes": 0, "dropped_ns": 0}
    r.gaps = [Event(GAP, 4096 + 8 * 1500, 1, 0, json.dumps(lost).encode())]

    first, second, _ = (build(r, _segment(i)) for i in range(3))

    assert (first["duration_s"], first["words_lost"]) == (0.0005, 0)
    assert (second["duration_s"], second["words_lost"]) == (0.00065, 300)
    assert second["ledger"][0]["after_word"] == 500


def test_loss_of_the_destination_is_placed_behind_the_gaps_before_it_and_parted_by_those_within():
    r = _recording()
    begin = _segment(1)["position"]
    for after, words, at in (
        (1100, 10, 100),
        (1310, 5, 300),
    ):  # after so many of the source's, kept words of this file
        lost = {"after_word": after, "words": words, "odd_bytes": 0, "dropped_ns": 0}
        r.gaps.append(Event(GAP, begin + 8 * at, 1, 0, json.dumps(lost).encode()))
    r.sink_losses = [{"index": 1, "position": begin + 8 * 200, "bytes": 8 * 150, "at_s": 1.0}]

    entries = build(r, {**_segment(1), "index": 1, "sink": {}})["ledger"]

    assert [(e["stage"], e["after_word"], e["words"]) for e in entries] == [
        ("ring", 100, 10), ("sink", 210, 100), ("ring", 310, 5), ("sink", 315, 50),
    ]  # fmt: skip


def test_bytes_behind_the_last_whole_word_are_told_with_their_file():
    file = build(_recording(), {**_segment(2), "bytes": 8003})

    assert (file["words"], file["odd_bytes"], file["complete"]) == (1000, 3, False)


def test_what_the_board_lost_in_all_is_told_with_the_last_file_alone():
    r = _recording()
    whole = {"board": {"estimated_words_lost": 7, "detectable_words": 5}, "clock": {}}
    r.clock_report = lambda: whole

    files = [build(r, _segment(i)) for i in range(3)]

    assert [file["board"]["estimated_words_lost"] for file in files] == [None, None, 7]


def test_slip_stands_in_its_file_and_is_told_of_in_those_behind_it():
    r = _recording()
    place = {"after_word": 1500, "low": 1490, "high": 1510, "bytes": 3, "new": 5}
    r.slips = [Event(SLIP, 0, 1, 0, json.dumps(place).encode())]

    first, second, third = (build(r, _segment(i))["ledger"] for i in range(3))

    assert first == []
    assert [(e["after_word"], e["within_words"], e["bytes"]) for e in second] == [(500, [490, 510], 3)]
    assert [(e["after_word"], e["carried"], e["bytes"]) for e in third] == [(0, True, 3)]


def test_every_gap_stands_in_one_file_that_before_it_where_it_is_at_a_border():
    for at in (0, 1, 999, 1000, 1001, 2000, 2999, 3000):
        r = _recording()
        lost = {"after_word": at, "words": 7, "odd_bytes": 3, "dropped_ns": 0}
        r.gaps = [Event(GAP, 4096 + 8 * at, 1, 0, json.dumps(lost).encode())]

        ledgers = [build(r, _segment(i))["ledger"] for i in range(3)]

        expected: list[list[tuple[int, int]]] = [[], [], []]
        expected[max(0, at - 1) // 1000] = [(at - max(0, at - 1) // 1000 * 1000, 3)]
        assert [[(e["after_word"], e["odd_bytes"]) for e in each] for each in ledgers] == expected


def test_unknown_loss_at_a_border_stands_in_one_file():
    for at in (0, 1000, 2000, 3000):
        r = _recording()
        r.unknown_losses = [{**ledger_entry(at, None, "unknown"), "stage": "pipe"}]

        found = [e["after_word"] for i in range(3) for e in build(r, _segment(i))["ledger"]]

        assert found == [1000 if at else 0]


def test_recording_that_is_interrupted_is_so_in_its_last_file():
    r = _recording()
    r.stopped_why = "interrupted"

    files = [build(r, _segment(i)) for i in range(3)]

    assert [(f["interrupted"], f["complete"]) for f in files] == [(False, True), (False, True), (True, False)]


def test_unknown_loss_is_placed_behind_header_and_drops():
    r = _recording()
    r.header = {"header_bytes": 104}
    state = {"start": 4096, "dropped_bytes": 80}
    ring = SimpleNamespace(head=4096 + 104 + 8 * 1000, reader_state=lambda: state)
    conductor: Any = SimpleNamespace(s=SimpleNamespace(ring=ring))
    replacer = Replacer(conductor)
    replacer._counts_exact = False

    replacer._count(r, None)  # type: ignore[arg-type]

    assert [e["after_word"] for e in r.unknown_losses] == [1010]


def _recording() -> Recording:
    reader = {"first_ns": 0, "last_ns": 0, "pipe_full_ns": 0}
    ring: Any = SimpleNamespace(capacity=1 << 20, high_water=0, reader_state=lambda: reader)
    spec = {
        "recording": 1, "word_bytes": 8, "source": {"kind": "command"}, "rate": [2_000_000, 1],
        "started": "2026-11-22T10:00:00+08:00",
    }  # fmt: skip
    return Recording(spec, ring)


def _segment(number: int) -> dict[str, Any]:
    """Return one of three files of 1,000 words each."""
    begin = 4096 + 8000 * number
    return {
        "path": f"/mnt/nas/{number}.bin", "first_word": 1000 * number, "header_bytes": 0, "bytes": 8000,
        "position": begin, "end": begin + 8000, "last": number == 2, "checksum": None, "sink": None,
    }  # fmt: skip
