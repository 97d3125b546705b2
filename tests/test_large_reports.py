"""Reports of megabytes pass between the processes, whoever sends them to whom."""

from __future__ import annotations

import json
from pathlib import Path

from engine import assert_whole, counting

import fastcap as fc
from fastcap.verify import verify_file


def test_report_of_megabytes_is_finished_and_verified(tmp_path: Path) -> None:
    """To the supervisor as metadata, from there to the writer, and back to the user's process twice."""
    meta = {f"key{n}": f"{n:07d}" * 150_000 for n in range(8)}
    with fc.open(counting(100_000)) as board:
        cap = board.record(None, tmp_path / "run.bin", meta=meta)
        again = board.record(None, tmp_path / "next.bin")

    assert_whole(cap, 100_000)
    assert_whole(again, 100_000)
    assert {key: cap.report["meta"][key] for key in meta} == meta
    sidecar = json.loads((tmp_path / "run.sigmf-meta").read_bytes())
    assert sidecar["global"]["fastcap:report"]["meta"]["key7"] == meta["key7"]
    assert verify_file(cap.path).ok


def test_large_result_of_an_analysis_comes_back(tmp_path: Path) -> None:
    with fc.open(counting(100_000)) as board:
        cap = board.record(None, tmp_path / "run.bin", analyse=lambda trace: {"text": "x" * 5_000_000})

    assert len(cap.report["analysis"]["function"]["result"]["text"]) == 5_000_000
    assert_whole(cap, 100_000)
