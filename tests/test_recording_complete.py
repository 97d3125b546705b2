"""Whether a recording is complete, for every combination of how it ended and of what went wrong."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from itertools import chain, combinations, product
from types import SimpleNamespace
from typing import Any

import pytest

from fastcap.events import SLIP, Event
from fastcap.workers.recording import Recording

KEPT = 1000
ENDINGS = ("by itself", "at its length", "stopped")
MENDED_BY_AN_END = (
    "odd bytes",
    "read error",
    "exit status",
    "short",
)  # an end that was asked for makes up for it
GRAVE = ("header", "no end")
GIVEN_UP = (None, "interrupted", "silent", "failed")
HARMLESS = ("words lost", "bytes slipped", "no exit status", "length from the header")


def subsets(of: Iterable[str]) -> Iterator[frozenset[str]]:
    """Yield every subset."""
    names = list(of)
    return map(frozenset, chain.from_iterable(combinations(names, n) for n in range(len(names) + 1)))


def recording(
    ending: str, faults: frozenset[str], harmless: frozenset[str], given_up: str | None
) -> Recording:
    """Return a recording of `KEPT` words of which all came, but for what the arguments say."""
    state = {"recording": 1, "first_ns": 5, "last_ns": 9, "pipe_full_ns": 7_000, "quiet_ns": 0}
    ring: Any = SimpleNamespace(
        capacity=1 << 20, high_water=300, reader_state=lambda: state, slot_state=lambda i: {"high_water": i}
    )
    lost = 10 if "words lost" in harmless else 0
    wanted = KEPT + lost + (1 if "short" in faults else 0)
    r = Recording({"recording": 1, "word_bytes": 8, "source": {"kind": "command"}, "max_words": wanted}, ring)
    slipped = 5 if "bytes slipped" in harmless else 0
    odd = -slipped % 8 if slipped else 0
    words = KEPT - (1 if slipped else 0)  # what is there besides the slipped bytes' word
    odd += 3 if "odd bytes" in faults else 0
    r.slips = [Event(SLIP, 0, 1, 0, json.dumps({"bytes": slipped}).encode())] if slipped else []
    r.ended = {"bytes": 8 * words + odd, "words": words, "odd_bytes": odd, "words_lost": lost, "odd_lost": 0}
    r.ended["why"] = "cut" if ending == "at its length" else "end"
    r.eof = {"error": "Input/output error" if "read error" in faults else None}
    r.source_status = 4 if "exit status" in faults else None if "no exit status" in harmless else 0
    if "length from the header" in harmless:
        r.header, r.spec["max_words"] = {"max_words": wanted}, None
    if "header" in faults:
        r.header = {**r.header, "header_error": "no magic word"}
    if "no end" in faults:
        r.ended = None
    r.stopped_why = given_up or ("stopped" if ending == "stopped" else None)
    return r


def test_recording_is_complete_only_if_nothing_is_missing() -> None:
    for ending, given_up in product(ENDINGS, GIVEN_UP):
        for faults, harmless in product(subsets((*MENDED_BY_AN_END, *GRAVE)), subsets(HARMLESS)):
            wrong = faults - frozenset(MENDED_BY_AN_END) if ending != "by itself" else faults
            told = recording(ending, faults, harmless, given_up).complete
            assert told == (not wrong and given_up is None), (ending, given_up, set(faults), set(harmless))


@pytest.mark.parametrize(("slot", "peak"), [(None, 300), (5, 5)])
def test_ring_s_peak_is_the_writer_s_where_there_is_one(slot: int | None, peak: int) -> None:
    r = recording("by itself", frozenset(), frozenset(), None)
    r.writer_slot = slot
    assert r.high_water() == peak


def test_time_that_a_pipe_stood_full_is_null_where_the_source_is_no_pipe() -> None:
    r = recording("by itself", frozenset(), frozenset(), None)
    assert r.pipe_full_s is None
    r.pipe_bytes = 65536
    assert r.pipe_full_s == 7e-6


def test_reader_s_counters_of_another_recording_are_not_this_one_s() -> None:
    r = recording("by itself", frozenset(), frozenset(), None)
    r.eof = None
    r.ring.reader_state()["quiet_ns"] = 2_000_000_000
    assert (r.first_ns, r.silent_s) == (5, 2.0)
    r.ring.reader_state()["recording"] = 2
    assert (r.first_ns, r.silent_s) == (0, 0.0)
