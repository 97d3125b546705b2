"""What a report comes to: exit status, complete, losses and the last line never contradict each other."""

from __future__ import annotations

from itertools import product
from typing import Any

from made_files import ledger_entry, make_report

from fastcap.model import Report
from fastcap.verdict import judge, settle

SOURCES: dict[str, dict[str, Any]] = {
    "ended well": {},
    "status 4": {"source": {"command": ["b"], "exit_status": 4, "stderr_tail": "no board\n"}},
    "torn word": {"odd_bytes": 3},
    "no header": {"header": {"bytes": 0, "error": "no magic word"}},
    "short": {},
}
LEDGERS: dict[str, list[dict[str, Any]]] = {
    "none": [],
    "ring": [ledger_entry(3, 10), ledger_entry(500, 7)],
    "sink": [ledger_entry(3, 10) | {"stage": "sink"}],
    "pipe, uncounted": [ledger_entry(3, None, "unknown") | {"stage": "pipe"}],
    "a stage of later": [ledger_entry(9, 1, "estimated") | {"stage": "elsewhere"}],
}
ESTIMATES = (None, 0, 299_884)
FILES = (None, "somebody removed it")


def _report(source: str, ledger: str, estimate: int | None, file_error: str | None, interrupted: bool) -> Any:
    made = make_report(
        ledger=LEDGERS[ledger], board={"estimated_words_lost": estimate}, interrupted=interrupted,
        **SOURCES[source],
    )  # fmt: skip
    made["sink"] = {**made["sink"], "file_error": file_error}
    return made | settle(made, arrived=source == "ended well" and not interrupted)


ALL = [_report(*case) for case in product(SOURCES, LEDGERS, ESTIMATES, FILES, (False, True))]


def test_everything_that_says_how_it_went_agrees() -> None:
    for report in ALL:
        _check_agreement(report)


def _check_agreement(report: dict[str, Any]) -> None:
    verdict = judge(report)
    exact = sum(e["words"] for e in report["ledger"] if e["certainty"] == "exact")
    estimate = report["board"]["estimated_words_lost"] or 0
    lossless = not report["ledger"] and not estimate
    safe = report["sink"]["file_error"] is None

    assert verdict.words_lost == report["words_lost"] == exact
    assert verdict.complete == report["complete"]
    assert not (verdict.complete and (not safe or any(e["stage"] == "sink" for e in report["ledger"])))
    if verdict.interrupted:
        assert verdict.exit_status == (130 if safe else 3)
    else:
        assert verdict.exit_status == (0 if verdict.complete and lossless else 3)
    assert ("complete, nothing lost" in verdict.line) == (verdict.exit_status == 0)
    assert ("INCOMPLETE" in verdict.line) == (not verdict.complete and not verdict.interrupted)
    assert ("interrupted" in verdict.line) == verdict.interrupted
    assert (f"about {estimate} words lost by the board" in verdict.line) == bool(estimate)
    assert (f"{exact} words lost" in verdict.line) == bool(exact)
    assert ("unknown number of words lost" in verdict.line) == (
        any(e["certainty"] == "unknown" for e in report["ledger"])
    )
    assert ("somebody removed it" in verdict.line) == (not safe)
    assert bool(verdict.reasons) == (verdict.exit_status == 3 or (verdict.interrupted and not lossless))
    assert Report(report).exit_status == verdict.exit_status
    assert verdict.line in repr(Report(report))
    assert "\n" not in verdict.line


def test_line_says_one_thing() -> None:
    board = _report("ended well", "none", 299_884, None, False)

    assert judge(board).line == "1000 words, about 299884 words lost by the board: /mnt/nas/run/one.bin"
    assert judge(make_report()).line == "1000 words, complete, nothing lost: /mnt/nas/run/one.bin"


def test_losses_are_told_by_stage_and_with_what_helps() -> None:
    lossy = make_report(ledger=LEDGERS["ring"] + LEDGERS["sink"])
    verdict = judge(lossy | settle(lossy, arrived=True))

    assert "17 words lost in 2 gaps, the first after word 3 (the ring was full)" in verdict.line
    assert "10 words lost after word 3 (on the destination)" in verdict.line
    assert any(reason.endswith("; use a larger --ring") for reason in verdict.reasons)


def test_full_ring_is_no_wish_for_a_larger_one_where_the_destination_failed() -> None:
    lossy = make_report(ledger=LEDGERS["ring"])
    lossy["sink"]["errors"] = [
        {"at_s": 1.0, "for_s": 0.5, "text": "cannot fsync a.bin.part: Input/output error"},
        {"at_s": 2.0, "for_s": 30.0, "text": "cannot write a.bin.part: No space left on device"},
    ]
    (reason,) = judge(lossy | settle(lossy, arrived=True)).reasons

    assert "took nothing for 30.0 s (cannot write a.bin.part: No space left on device)" in reason
    assert "--ring" not in reason


def test_gravest_reason_stands_in_the_line() -> None:
    assert "INCOMPLETE (the source ended with status 4 (no board))" in (
        judge(_report("status 4", "none", 0, None, False)).line
    )
    assert "INCOMPLETE (the source ended early, after 1000 words)" in (
        judge(_report("short", "none", 0, None, False)).line
    )
    assert "INCOMPLETE (somebody removed it)" in (
        judge(_report("status 4", "none", 0, "somebody removed it", False)).line
    )
