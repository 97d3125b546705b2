"""What a report comes to: complete or not, what was lost where, exit status, and the words for it.

Everything that says how a capture went asks here: the last line, the reasons on stderr, exit statuses, a
sweep's retries, a notebook's table. A new kind of loss is a line in ``_STAGES``; a new reason why a capture is
incomplete is a line in ``_SHORTFALLS``.
"""

from __future__ import annotations

import os

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any, TypeAlias

    Report: TypeAlias = "Mapping[str, Any]"

COMPLETE, LOSSES, INTERRUPTED = 0, 3, 130

# By the ledger's stage: what happened there, and what helps.
_STAGES = {
    "board": ("by the board or its program", ""),
    "pipe": ("between the source and the ring", ""),
    "ring": ("the ring was full", "use a larger --ring"),
    "sink": ("on the destination", "keep other programs away from files that end in .part"),
}


class Verdict:
    """What a report comes to.

    Attributes
    ----------
    complete, interrupted : bool
        All that was asked for arrived and is where the report says; the user ended it.
    words_lost : int
        What fastcap itself saw lost, exactly counted.
    estimated_words_lost : int
        What the board lost besides, by the clock; 0 also where the capture was too short to tell.
    reasons : list of str
        Why it is not a complete capture without losses, the gravest first, with what helps.
    exit_status : int
        0, 3 or 130.
    state, line : str
        The same in one phrase; with the number of words and the file.
    """

    def __init__(self, report: Report) -> None:
        self.complete = bool(report["complete"])
        self.interrupted = bool(report["interrupted"])
        self.words_lost = int(report["words_lost"])
        self.estimated_words_lost = int((report.get("board") or {}).get("estimated_words_lost") or 0)
        losses, remedies = _losses(report, self.estimated_words_lost)
        shortfalls = _shortfalls(report)
        self.reasons = [*incomplete(report), *remedies]
        safe = not _file_error(report)
        self.exit_status = COMPLETE
        if self.interrupted and safe:
            self.exit_status = INTERRUPTED
        elif losses or not self.complete:
            self.exit_status = LOSSES
        if self.complete and not self.interrupted:
            self.state = " and ".join(losses) or "complete, nothing lost"
        else:
            word = "interrupted" if self.interrupted else "INCOMPLETE"
            first = f"{word} ({shortfalls[0]})" if shortfalls else word
            self.state = ", ".join([first, " and ".join(losses)] if losses else [first])
        path = report["path"]
        self.line = f"{report['words']} words, {self.state}: {os.fspath(path) if path else 'nothing written'}"


def settle(draft: Report, *, arrived: bool) -> dict[str, Any]:
    """Return the fields of a report that sum up the others: ``complete`` and ``words_lost``.

    Parameters
    ----------
    draft : mapping
        The report without them.
    arrived : bool
        The source gave all that was asked of it, and ended well.
    """
    lost = sum(e["words"] for e in draft["ledger"] if e["certainty"] == "exact")
    there = not _file_error(draft) and not _sink_loss(draft)
    return {"complete": arrived and there, "words_lost": lost}


def judge(report: Report) -> Verdict:
    """Return what a report comes to."""
    return Verdict(report)


def incomplete(report: Report) -> list[str]:
    """Return why a capture is not complete, as a list of one sentence; empty: it is, or was interrupted and is safe."""
    shortfalls = _shortfalls(report)
    return [f"the capture is not complete: {'; '.join(shortfalls)}"] if shortfalls else []


def _losses(report: Report, estimate: int) -> tuple[list[str], list[str]]:
    """Return what was lost where, in short, and in whole sentences with what helps."""
    short, long = [], []
    for stage in dict.fromkeys(e["stage"] for e in report["ledger"]):
        where, remedy = _STAGES.get(stage, (stage, ""))
        if stage == "ring" and (error := _longest_error(report)):
            remedy = f"the destination took nothing for {error['for_s'] or 0:.1f} s ({error['text']})"
        entries = [e for e in report["ledger"] if e["stage"] == stage]
        if stage == "slip":
            short.append(_slips(entries))
            long.append(f"{_slips(entries)}; fc.load(path, realign=True) gives the words behind")
            continue
        for certainty in dict.fromkeys(e["certainty"] for e in entries):
            found = [e for e in entries if e["certainty"] == certainty]
            amount, at = _amount(certainty, found)
            short.append(f"{amount} lost {at} ({where})")
            long.append(f"{amount} were lost {at}: {where}" + (f"; {remedy}" if remedy else ""))
    if estimate:
        short.append(f"about {estimate} words lost by the board")
        long.append(f"about {estimate} words were lost by the board or its program, by the clock")
    return short, long


def _longest_error(report: Report) -> Report | None:
    """Return what the destination failed with for the longest time: that filled the ring."""
    errors = (report.get("sink") or {}).get("errors") or []
    return max(errors, key=lambda error: error["for_s"] or 0.0, default=None)


def _amount(certainty: str, entries: list[Report]) -> tuple[str, str]:
    """Return how many words entries of one certainty stand for, and where they are."""
    first, count = entries[0]["after_word"], len(entries)
    at = "" if first is None else f"after word {first}"
    if count > 1:
        at = f"in {count} gaps" if first is None else f"in {count} gaps, the first after word {first}"
    words = sum(e["words"] or 0 for e in entries)
    if certainty == "exact":
        return f"{words} words", at
    return (
        f"about {words} words" if words and certainty == "estimated" else "an unknown number of words"
    ), at


def _slips(entries: list[Report]) -> str:
    """Return where bytes are missing in mid-stream."""
    slips = [e for e in entries if not e.get("carried")]
    if not slips:
        return (
            f"words out of step from the first on ({entries[0]['bytes']} bytes were lost in an earlier file)"
        )
    count = f"{slips[0]['bytes']} byte{'s' if slips[0]['bytes'] > 1 else ''}"
    if len(slips) == 1:
        return (
            f"{count} lost about word {slips[0]['after_word']} (byte slip: the words behind are out of step)"
        )
    first = f"the first of {count} about word {slips[0]['after_word']}"
    return f"{len(slips)} byte slips, {first} (the words behind are out of step)"


def _file_error(report: Report) -> str | None:
    """Return why the file is not at the report's ``path``, as it was written."""
    error: str | None = (report.get("sink") or {}).get("file_error")
    return error


def _sink_loss(report: Report) -> str | None:
    lost = any(e["stage"] == "sink" for e in report["ledger"])
    return "words that were on the destination are not there any more" if lost else None


def _source(report: Report) -> Report:
    return report.get("source") or {}


def _source_ended(report: Report) -> str | None:
    ended = _source(report).get("ended")
    return f"the source was ended: {ended}" if ended else None


def _source_status(report: Report) -> str | None:
    source = _source(report)
    if not source.get("exit_status") or source.get("ended"):
        return None
    tail = (source.get("stderr_tail") or "").strip().splitlines()
    return f"the source ended with status {source['exit_status']}" + (f" ({tail[-1]})" if tail else "")


def _odd(report: Report) -> str | None:
    odd = report.get("odd_bytes")
    return f"it ended in the middle of a word, {odd} bytes after its beginning" if odd else None


def _header(report: Report) -> str | None:
    error = (report.get("header") or {}).get("error")
    return f"header: {error}" if error else None


def _read_error(report: Report) -> str | None:
    error = _source(report).get("read_error")
    return f"reading the source failed: {error}" if error else None


_SHORTFALLS: tuple[Callable[[Report], str | None], ...] = (
    _file_error,
    _sink_loss,
    _header,
    _read_error,
    _source_ended,
    _source_status,
    _odd,
)


def _shortfalls(report: Report) -> list[str]:
    """Return why a capture is not complete; nothing but a file that is gone makes an interrupted one worse."""
    if report["interrupted"]:
        return [error] if (error := _file_error(report)) else []
    if report["complete"]:
        return []
    found = [why for shortfall in _SHORTFALLS if (why := shortfall(report))]
    return found or [f"the source ended early, after {report['words']} words"]


__all__ = ["Verdict", "incomplete", "judge", "settle"]
