"""The table of figures in bench/README.md."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import pytest

BENCH = Path(__file__).parents[1] / "bench"
FACTS = {
    "machine": "2 cores",
    "load": "0.1 0.2 0.3 (…)",
    "date": "2026-01-02T03:04:05",
    "commit": "abc1234 subject",
}


@pytest.fixture
def table(monkeypatch, tmp_path):
    monkeypatch.syspath_prepend(str(BENCH))
    sys.modules.pop("table", None)
    import table as module

    monkeypatch.setattr(module, "RESULTS", tmp_path / "results.jsonl")
    monkeypatch.setattr(module, "README", tmp_path / "README.md")
    yield module
    sys.modules.pop("table", None)


def figure(name, value, ok=None):
    return {"figure": name, "value": value, "unit": "ms", "detail": "", "target": ">= 2", "ok": ok}


def test_last_run_of_each_figure_is_in_the_table_and_the_rest_of_the_text_stays(table):
    table.README.write_text(f"before\n{table.BEGIN}old\n{table.END}after\n")
    table.keep(table.RESULTS, "tee", FACTS, [figure("a", 1, ok=False), figure("b", 2)])
    table.keep(table.RESULTS, "cpu", FACTS, [figure("c", 3)])
    table.keep(table.RESULTS, "tee", FACTS, [figure("a", 4, ok=True)])

    table.main()

    text = table.README.read_text()
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert "old" not in text
    found = [line for line in text.splitlines() if line.startswith("| ")][1:]
    assert found == [
        "| a | 4 ms | ≥ 2 | met | 2026-01-02, abc1234, load 0.1 |",
        "| c | 3 ms | ≥ 2 |  | 2026-01-02, abc1234, load 0.1 |",
    ]


def test_table_that_is_kept_is_the_one_of_the_kept_figures():
    text = (BENCH / "README.md").read_text()
    results = BENCH / "results.jsonl"
    runs = [json.loads(line) for line in results.read_text().splitlines()]
    for name in {f["figure"] for f in runs[-1]["figures"]}:
        assert f"| {name} |" in text
