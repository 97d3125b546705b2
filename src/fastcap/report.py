"""The report of a capture: put together by the supervisor from what each process measured.

Nothing here is assumed: what nobody measured is null. Losses that fastcap itself made are exact and stand in
``words_lost``; the board's own are an estimate and stand apart. What it all comes to is `fastcap.verdict`'s.
"""

from __future__ import annotations

from itertools import pairwise

from fastcap import events, verdict
from fastcap.events import Event

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, TypeAlias

VERSION = "0.1.0"
Json: TypeAlias = "dict[str, Any]"


def ledger(
    gaps: list[Event], *, begin: int, end: int, last: bool, first_word: int, started_ns: int
) -> list[Json]:
    """Return the ledger entries of the gaps that lie in one file.

    Parameters
    ----------
    gaps : list of Event
        GAP events of the recording.
    begin, end : int
        The file's ring positions; a gap at ``end`` belongs to this file, for the words before it are here.
    last : bool
        The file is the recording's last.
    first_word : int
        The source's index of the file's first word; ``after_word`` counts from there.
    started_ns : int
        CLOCK_MONOTONIC of the recording's start.
    """
    entries = []
    for gap in gaps:
        inside = begin < gap.position <= end or (gap.position == begin and first_word == 0)
        if not inside:
            continue
        data = gap.data
        entry = {
            "stage": "ring",
            "after_word": data["after_word"] - first_word,
            "words": data["words"],
            "certainty": "exact",
            "at_s": round((data["dropped_ns"] - started_ns) * 1e-9, 6),
        }
        if data["odd_bytes"]:
            entry["odd_bytes"] = data["odd_bytes"]
        entries.append(entry)
    return entries


def _sink_losses(recording: Any, segment: Json) -> list[Json]:
    """Return the ledger entries of what the destination had of one file, and lost; a gap within parts it."""
    header_bytes = (
        0 if segment["first_word"] else segment["header_bytes"]
    )  # later files' stand not in the ring
    begin, entries = segment["position"], []
    inside = [g for g in recording.gaps if begin <= g.position <= segment["end"]]
    gaps = [g for g in inside if g.position > begin or segment["first_word"] == 0]
    for loss in recording.sink_losses:
        if loss["index"] != segment["index"]:
            continue
        first, last = loss["position"], loss["position"] + loss["bytes"]
        edges = [first, *sorted({g.position for g in gaps if first < g.position < last}), last]
        for start, end in pairwise(edges):
            words_before = (start - begin - header_bytes) // recording.word_bytes
            words_before += sum(g.data["words"] for g in gaps if g.position <= start)
            words = (end - start) // recording.word_bytes
            entry = {"stage": "sink", "after_word": words_before, "words": words, "certainty": "exact"}
            entries.append({**entry, "at_s": loss["at_s"]})
    return entries


def _told_of_sink(recording: Any, index: int) -> Json:
    return {"errors": recording.errors_of(index), "incidents": recording.incidents_of(index)}


def _unknown(losses: list[Json], first_word: int, upto: int | None) -> list[Json]:
    """Return the ledger entries of losses that nobody could count, those in a file up to word ``upto``."""
    return [
        {**entry, "after_word": entry["after_word"] - first_word}
        for entry in losses
        if (entry["after_word"] > first_word or first_word == 0)
        and (upto is None or entry["after_word"] <= upto)
    ]


def slip_entries(slips: list[Event], *, first_word: int, upto: int | None, started_ns: int) -> list[Json]:
    """Return the ledger entries of byte slips in one file, and one of those before it: so far it is out of step.

    Parameters
    ----------
    slips : list of Event
        SLIP events of the recording.
    first_word, upto : int
        The source's indices of the file's first word and the one behind its last; None: the recording's last file.
    started_ns : int
        CLOCK_MONOTONIC of the recording's start.
    """
    entries, before = [], [slip for slip in slips if slip.data["after_word"] < first_word]
    if before:
        missing = sum(slip.data["bytes"] for slip in before)
        entries.append(
            {**_slip_entry(before[-1], started_ns, 0), "words": -(-missing // 8), "bytes": missing}
        )
        entries[0] |= {"within_words": [0, 0], "carried": True}
    for slip in slips:
        data = slip.data
        if first_word <= data["after_word"] and (upto is None or data["after_word"] < upto):
            within = [max(0, data["low"] - first_word), data["high"] - first_word]
            entry = _slip_entry(slip, started_ns, data["after_word"] - first_word)
            entries.append({**entry, "words": 1, "bytes": data["bytes"], "within_words": within})
    return entries


def _slip_entry(slip: Event, started_ns: int, after_word: int) -> Json:
    at_s = round((slip.at_ns - started_ns) * 1e-9, 6)
    return {"stage": "slip", "after_word": after_word, "words": 0, "certainty": "estimated", "at_s": at_s}


def rate_hz(rate: list[int] | None) -> float | None:
    """Return [numerator, denominator] as a float."""
    return rate[0] / rate[1] if rate else None


def wanted_path(report: Json) -> str | None:
    """Return the path that a file was to have, by which it is known, whether or not it got that."""
    wanted: str | None = (report["sink"] or {}).get("wanted_path") or report["path"]
    return wanted


def build(recording: Any, segment: Json) -> Json:
    """Return the report of one file of a recording, INTERFACE's fields first.

    Parameters
    ----------
    recording : fastcap.workers.recording.Recording
        Everything that was gathered about it.
    segment : dict
        What the NAS writer measured of this file, or the whole recording where nothing is written.
    """
    spec, clock = recording.spec, recording.clock_report()
    first = segment["first_word"]
    header_bytes = segment["header_bytes"]
    words, odd = divmod(max(0, segment["bytes"] - header_bytes), recording.word_bytes)
    entries = ledger(
        recording.gaps,
        begin=segment["position"],
        end=segment["end"],
        last=segment["last"],
        first_word=first,
        started_ns=recording.started_ns,
    )
    entries += _sink_losses(recording, segment)
    entries.sort(key=lambda e: int(e["after_word"]))
    lost = sum(e["words"] for e in entries)
    upto = None if segment["last"] else first + words + lost
    entries += _unknown(recording.unknown_losses, first, upto)
    entries += slip_entries(recording.slips, first_word=first, upto=upto, started_ns=recording.started_ns)
    rate = rate_hz(recording.rate)
    unmeasured = {"estimated_words_lost": None, "detectable_words": None}
    last = segment["last"]
    checksum = {"algorithm": "sha256" if segment["checksum"] else "none", "value": segment["checksum"]}
    draft = {
        "path": segment["path"],
        "bytes": segment["bytes"],
        "words": words,
        "sample_rate_hz": rate,
        "started": recording.started_at(first),
        "duration_s": round((words + lost) / rate, 9) if rate else recording.file_s(first),
        "complete": None,  # this place in the order of fields; see below
        "interrupted": recording.interrupted if last else False,
        "words_lost": None,
        "ledger": entries,
        "board": clock["board"] if last else unmeasured,
        "ring": {"capacity_bytes": recording.capacity, "high_water_bytes": recording.high_water()},
        "spill": None,
        "pipe_full_s": recording.pipe_full_s,
        "pipe_bytes": recording.pipe_bytes or None,
        "clock": clock["clock"],
        "sink": segment["sink"] and segment["sink"] | _told_of_sink(recording, segment["index"]),
        "checksum": checksum if segment["path"] else None,
        "source": recording.source_report(),
        "analysis": recording.analysis_result,
        "meta": {**spec.get("meta", {}), **recording.meta_of(wanted_path(segment))},
        "payload": recording.payload,
        "preamble": recording.preamble,
        "header": {"bytes": header_bytes, "error": recording.header_error},
        "odd_bytes": odd,
        "accounting": recording.accounting() if last else None,
        "replaced": recording.replaced,
        "fastcap": VERSION,
    }
    return draft | verdict.settle(draft, arrived=recording.complete if last else True)


def placed(report: Json, place: Json, *, arrived: bool) -> Json:
    """Return the report of a file of which it became known only later where it is.

    Parameters
    ----------
    place : dict
        ``path``; ``wanted_path`` and ``file_error``, the sink's.
    arrived : bool
        See `fastcap.verdict.settle`.
    """
    sink = report["sink"] | {key: place[key] for key in ("wanted_path", "file_error")}
    draft = report | {"path": place["path"], "sink": sink}
    return draft | verdict.settle(draft, arrived=arrived)


def without_file(report: Json, why: str) -> Json:
    """Return the report of a file that is not where the report says; ``why`` in words."""
    draft = report | {"sink": report["sink"] | {"file_error": why}}
    return draft | verdict.settle(draft, arrived=report["complete"])


__all__ = ["build", "events", "ledger", "placed", "rate_hz", "without_file"]
