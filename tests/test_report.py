"""What a report says of losses: which file, after which word, and in words for people."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from made_files import ledger_entry, make_report

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
