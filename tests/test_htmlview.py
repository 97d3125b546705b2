"""What a notebook shows: well-formed, escaped, small, and true."""

from __future__ import annotations

from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import numpy as np
import pytest
from made_files import ledger_entry, make_report, write_capture

from fastcap import Report, Trace, load
from fastcap.errors import SinkError
from fastcap.htmlview import capture_html, report_html, trace_html
from fastcap.words import encode

HOSTILE = '<script>alert("x")</script>&\'"'


def cells(html: str) -> dict[str, str]:
    """Return the table's rows; the HTML must be well-formed."""
    tree = ElementTree.fromstring(f"<html>{html}</html>")
    assert not tree.findall(".//script")
    rows = [("".join(row[0].itertext()), "".join(row[1].itertext())) for row in tree.iter("tr")]
    return dict(rows)


def test_trace_tells_its_facts(tmp_path: Path) -> None:
    path = tmp_path / "run.bin"
    words = encode(np.arange(4000) * 0.4, 30_000.0)
    write_capture(path, words[:3000].tobytes(), ledger=[ledger_entry(2000, 1000)], words_lost=1000)

    shown = cells(trace_html(load(path)))

    assert shown["file"] == str(path)
    assert shown["words"] == "3,000"
    assert shown["rate"] == "2 MHz"
    assert shown["duration"] == "2 ms"
    assert shown["gaps"] == "1, 1,000 words missing"
    assert shown["start"].startswith("2026-11-22 10:00:00.123456")
    assert shown["laser_curr"] == "392.8mA"


def test_trace_draws_its_phase() -> None:
    phase = np.zeros(10_000)
    phase[5_000] = 70.0
    html = trace_html(Trace.from_words(encode(phase, 30_000.0), sample_rate=1000))

    (polygon,) = ElementTree.fromstring(f"<html>{html}</html>").iter("polygon")
    points = [tuple(map(float, point.split(","))) for point in polygon.attrib["points"].split()]

    assert len(points) == 1200  # two steps for each of 300 columns
    left, right = (x for x, y in points if y == 0.0)
    assert 298 < left < right < 304
    assert "spans 70 turns" in html


@pytest.mark.parametrize("words", [0, 1, 3_000_000])
def test_a_trace_of_any_length_is_shown_at_once(words: int) -> None:
    html = trace_html(Trace.from_words(np.zeros(words, np.uint64)))

    assert cells(html)["words"] == f"{words:,}"
    assert "svg" not in html


def test_report_tells_losses() -> None:
    lossy = make_report(words_lost=5, ledger=[ledger_entry(3, 5)], board={"estimated_words_lost": 7})
    good = make_report()

    assert cells(report_html(lossy))["lost"] == "5 words; by the board: about 7"
    assert "5 words lost after word 3 (the ring was full)" in report_html(lossy)
    assert cells(Report(good)._repr_html_())["lost"] == "nothing"
    assert "complete, nothing lost" in report_html(good)
    assert "interrupted" in report_html(make_report(interrupted=True))


def test_report_of_what_was_not_written_or_not_measured() -> None:
    bare = make_report(
        path=None, sample_rate_hz=None, duration_s=None, started=None, sink=None, checksum=None
    )

    shown = cells(report_html(bare | {"source": None, "ring": None, "meta": None, "board": None}))

    assert shown["file"] == "nothing written"
    assert "rate" not in shown


def test_all_text_is_escaped(tmp_path: Path) -> None:
    report = make_report(
        path=HOSTILE, meta={HOSTILE: HOSTILE}, source={"command": [HOSTILE]}, started=HOSTILE
    )
    assert cells(report_html(report))[HOSTILE] == HOSTILE

    path = tmp_path / "<b>&.bin"
    write_capture(path, b"", meta={HOSTILE: HOSTILE})
    assert cells(trace_html(load(path)))[HOSTILE] == HOSTILE


def test_much_is_cut_off_and_said_to_be() -> None:
    html = report_html(make_report(meta={f"key{k}": "x" * 10_000 for k in range(1000)}))

    assert len(html) < 20_000
    assert "and 9" in cells(html)["..."]


class Running:
    """A capture as `capture_html` sees it."""

    def __init__(self, **state: Any) -> None:
        self.__dict__ |= {"done": False, "sampled": False, "progress": {"bytes": 5, "rate": None}, **state}


def test_capture_tells_how_far_it_is() -> None:
    assert cells(capture_html(Running())) == {"state": "running", "bytes": "5"}  # type: ignore[arg-type]
    draining = capture_html(Running(sampled=True))  # type: ignore[arg-type]
    assert cells(draining)["state"].startswith("draining")
    done = capture_html(Running(done=True, reports=(Report(make_report()),)))  # type: ignore[arg-type]
    assert cells(done)["words"].startswith("1,000")


def test_capture_that_failed_tells_why() -> None:
    class Failed(Running):
        @property
        def reports(self) -> None:
            raise SinkError("the disk <is> gone")

    assert cells(capture_html(Failed(done=True))) == {"failed": "the disk <is> gone"}  # type: ignore[arg-type]
