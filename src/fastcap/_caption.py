"""What a picture says in words: title, settings, losses, stalls."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from fastcap._figure import plain_text
from fastcap.errors import StreamFormatError
from fastcap.info import file_info
from fastcap.units import format_duration, format_rate_hz

if TYPE_CHECKING:
    from fastcap._shown import Survey
    from fastcap.trace import Trace

_LONGEST_LINE = 120
_FACTS, _FACT_LENGTH = 12, 36


def facts_of(trace: Trace) -> dict[str, Any]:
    """Return what is known of all of a trace's file, under the names of `fastcap.info.file_info`, else None."""
    told: dict[str, Any] = {}
    if trace.path is not None:
        try:
            told = file_info(trace.path)
        except StreamFormatError:
            told = {}  # the trace was opened in a way of its own; what it knows is enough
    header, start = trace.header, trace._origin.facts.start
    own = {
        "path": trace.path or "words in memory",
        "words": trace._origin.words,
        "sample_rate_hz": trace.sample_rate_hz,
        "started": told.get("started") or (start.isoformat() if start else None),
        "command": told.get("command") or (list(header.argv or ()) if header else None),
        "meta": trace.meta,
    }
    keys = ("words_lost", "board", "stalls")
    return {**{key: told.get(key) for key in keys}, **own}


def title(facts: Mapping[str, Any], survey: Survey) -> str:
    """Return file, command line, and what of it is drawn."""
    command = " ".join(
        os.path.basename(word) if k == 0 else word for k, word in enumerate(facts["command"] or [])
    )
    span, lost = format_duration(survey.end_s - survey.begin_s), _lost(facts)
    if survey.words != facts["words"]:
        span, lost = f"{span} from {survey.begin_s:.9g} s on", f"{lost} in the whole file"
    told = f"{format_rate_hz(facts['sample_rate_hz'])}, {span}, {survey.words:,} words, {lost}"
    lines = (os.path.basename(facts["path"]), command, told)
    return "\n".join(_shortened(line, _LONGEST_LINE) for line in lines if line)


def side(facts: Mapping[str, Any]) -> str:
    """Return start, stalls, and what was noted with the capture."""
    started = facts["started"] or "not known"  # the second is enough here, the zone is not to be cut off
    rows = [f"start: {started[:19].replace('T', ' ')} {started[19:].lstrip('.0123456789')}".rstrip()]
    if facts["stalls"] is not None:
        longest = max((stall["for_s"] for stall in facts["stalls"]), default=0.0)
        count = len(facts["stalls"])
        rows.append(f"stalls: {count}" + (f", longest {longest:.3g} s" if count else ""))
    rows += [f"{key}: {value}" for key, value in (facts["meta"] or {}).items()]
    return "\n".join(_shortened(row, _FACT_LENGTH) for row in rows[:_FACTS])


def _lost(facts: Mapping[str, Any]) -> str:
    if facts["words_lost"] is None:
        return "losses not known"
    exact = "nothing lost" if facts["words_lost"] == 0 else f"{facts['words_lost']:,} words lost"
    board = (facts["board"] or {}).get("estimated_words_lost")
    return exact + (f", about {board:,} more by the board" if board else "")


def _shortened(line: str, most: int) -> str:
    """Return a line that fits and may stand in a picture."""
    return plain_text(line if len(line) <= most else line[: most - 3] + "...")
