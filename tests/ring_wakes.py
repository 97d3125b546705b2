"""Sleepers of the ring and who wakes them, for `test_ring_wakes`: a process in which no wait ends by itself.

    LD_PRELOAD=long_waits.so PYTHONPATH=. python tests/ring_wakes.py

A scenario puts somebody to sleep, sees him asleep, and does what is to wake him; it fails where he sleeps on. What
came of each is printed as JSON, null where nothing went wrong.
"""

from __future__ import annotations

import ctypes
import json
import os
import threading
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

from harness import Engine, counter
from support.waiting import wait_until

from fastcap import _split
from fastcap._pump import STOPPED
from fastcap._ring import ESSENTIAL, LOSSLESS, MIN_RING_BYTES, Slot

C = MIN_RING_BYTES
HOUR_NS = 3600 * 10**9
AWAKE_S = 20.0
SOURCE = counter(0, 2 * C // 8)
waits = ctypes.CDLL(None)


class Sleeper:
    """A thread that runs ``call`` and is seen to sleep in it, waiting for a wake-up.

    Attributes
    ----------
    result
        What the call returned.
    """

    def __init__(self, call: Callable[..., Any], *args: Any, **options: Any) -> None:
        def run() -> None:
            self.result = call(*args, **options)

        self.result: Any = None
        self.thread = threading.Thread(target=run, daemon=True)
        self.thread.start()
        wait_until(self._sleeps, AWAKE_S, "a sleeper")

    def _sleeps(self) -> bool:
        if not waits.fc_waits(self.thread.native_id):
            return False
        stat = Path(f"/proc/self/task/{self.thread.native_id}/stat").read_text()
        return stat.rpartition(")")[2].split()[0] == "S"

    def ends(self) -> Any:
        """Return what the call returned; it has been woken for that."""
        self.thread.join(AWAKE_S)
        assert not self.thread.is_alive(), "not woken"
        return self.result


def splitter(engine: Engine) -> Sleeper:
    """Return the splitter's loop, asleep; it comes back with reasons."""
    engine.split()
    return Sleeper(engine.splitter.loop.loop.run, HOUR_NS)  # type: ignore[attr-defined]


def by_arrival_the_splitter(engine: Engine) -> None:
    engine.begin()
    sleeper = splitter(engine)
    engine.feed(counter(0, 10))
    wait_until(lambda: engine.ring.framed == 80, AWAKE_S, "what arrived to be framed")
    engine.ring.command()
    assert sleeper.ends() & _split.COMMAND


def by_a_recording_s_begin_the_splitter(engine: Engine) -> None:
    engine.announce()
    sleeper = splitter(engine)
    engine.reader.begin(-1, 1, word_bytes=8, can_wait=False)
    assert sleeper.ends() & _split.RECORDING


def by_a_recording_s_end_the_splitter(engine: Engine) -> None:
    engine.begin()
    sleeper = splitter(engine)
    engine.reader.end()
    assert sleeper.ends() & _split.RECORDING


def by_a_successor_s_recovery_the_splitter(engine: Engine) -> None:
    engine.begin()
    sleeper = splitter(engine)
    engine.new_reader()
    engine.reader.resume(-1, 1, 80, word_bytes=8, can_wait=False)
    wait_until(lambda: engine.ring.framed == 80, AWAKE_S, "what was recovered to be framed")
    engine.ring.command()
    sleeper.ends()


def by_claim_and_leave_the_splitter_and_by_the_grant_the_consumer(engine: Engine) -> None:
    engine.begin()
    sleeper = splitter(engine)
    claim = Sleeper(Slot.claim, engine.ring)
    assert sleeper.ends() & _split.SLOTS
    engine.split()
    slot = claim.ends()
    sleeper = splitter(engine)
    slot.leave()
    assert sleeper.ends() & _split.SLOTS


def by_the_word_it_waits_for_the_consumer(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    woken = waits.fc_woken()
    sleeper = Sleeper(slot.wait, 160, engine.ring.events, 60.0)
    engine.feed(counter(0, 10))
    engine.split()
    engine.feed(counter(10, 10))
    engine.split()
    assert sleeper.ends() == 160
    assert waits.fc_woken() == woken + 1, "woken for less than it waits for"


def by_an_event_the_consumer(engine: Engine) -> None:
    slot = engine.claim()
    engine.begin()
    sleeper = Sleeper(slot.wait, 80, engine.ring.events, 60.0)
    engine.end()
    assert sleeper.ends() == 0


def by_a_command_everybody(engine: Engine) -> None:
    slot = full_ring(engine, can_wait=True)
    asleep = [splitter(engine), Sleeper(slot.wait, HOUR_NS, engine.ring.events, 60.0)]
    ours, theirs = os.pipe()
    os.write(theirs, SOURCE[:80])
    engine.reader.resume(ours, 1, engine.taken, word_bytes=8, can_wait=True)
    reader = Sleeper(engine.reader.run)
    engine.ring.stop_reading(1)
    for sleeper in asleep:
        sleeper.ends()
    assert reader.ends()[0] == STOPPED


def full_ring(engine: Engine, *, can_wait: bool = False) -> Slot:
    """Fill the ring but for one word with what an essential consumer holds; return his slot."""
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    engine.begin(can_wait=can_wait)
    engine.feed(SOURCE[: C - 8])  # and a word less: a reader that waits for room does not see the pipe's end
    engine.split()
    return slot


def by_the_tail_the_reader(engine: Engine) -> None:
    slot = full_ring(engine, can_wait=True)
    reader = Sleeper(engine.feed, SOURCE[C - 8 : C + 80])
    slot.advance(C // 2)
    engine.split()
    reader.ends()
    assert engine.ring.head == C + 80


def by_a_cursor_the_splitter_and_the_reader(engine: Engine) -> None:
    slot = full_ring(engine, can_wait=True)
    sleeper = splitter(engine)
    reader = Sleeper(engine.feed, SOURCE[C - 8 : C + 80])
    slot.advance(C // 2)
    reader.ends()
    engine.ring.command()
    sleeper.ends()


def by_a_cursor_the_splitter_while_words_are_dropped(engine: Engine) -> None:
    slot = full_ring(engine)
    engine.feed(SOURCE[C - 8 : C + 80])
    assert engine.ring.reader_state()["dropping"]
    sleeper = splitter(engine)
    slot.advance(C // 2)
    wait_until(lambda: engine.ring.tail > 0, AWAKE_S, "memory to be given up")
    engine.ring.command()
    sleeper.ends()


def by_memory_that_is_ready_the_reader(engine: Engine) -> None:
    engine.close()
    engine = Engine(ready=C // 4)
    engine.begin(can_wait=True)
    reader = Sleeper(engine.feed, SOURCE[: C // 4 + 80])
    engine.ring.allocate(C)
    reader.ends()
    assert engine.ring.head == C // 4 + 80


SCENARIOS = {name: call for name, call in list(globals().items()) if name.startswith("by_")}


def outcome(scenario: Callable[[Engine], None]) -> str | None:
    """Run a scenario; return what went wrong."""
    try:
        scenario(Engine())
    except Exception:
        return traceback.format_exc()
    return None


if __name__ == "__main__":
    print(json.dumps({name: outcome(call) for name, call in SCENARIOS.items()}), flush=True)
    os._exit(0)  # sleepers that are left would hold it up
