"""The NAS writer step by step: what must be durable, and what the ring still has to hold, before it goes on."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path

import pytest
from harness import Engine, counter
from support import wait_until
from writer_thread import Writer

from fastcap._ring import ESSENTIAL, LOSSLESS
from fastcap.workers.whereabouts import Whereabouts

MIB = 1 << 20


@pytest.fixture
def engine() -> Iterator[Engine]:
    engine = Engine(32 * MIB)
    yield engine
    engine.close()


def test_file_of_which_nobody_knows_whether_it_is_durable_is_fsynced_before_its_report(
    engine: Engine, tmp_path: Path
) -> None:
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    end = engine.begin() + 8000
    engine.feed(counter(0, 1000))
    writer = Writer(engine, slot, tmp_path)
    engine.split()
    wait_until(lambda: writer.writer.durable == end, 20, "all is durable")
    writer.writer.sink.dirty = True  # as a successor finds it, whose predecessor died in its fsync

    engine.end()
    wait_until(
        lambda: (got := writer.ours.poll()) is not None and got[0]["op"] == "segment", 20, "the report"
    )

    assert not writer.writer.sink.dirty
    writer.abandon()


def test_ring_holds_what_is_only_in_a_file_without_a_name(
    engine: Engine, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Until the copy that gets the name is whole a successor would find nothing else."""
    gate, copy_on = threading.Event(), Whereabouts.copy_on

    def held(self: Whereabouts, size: int) -> None:
        if gate.is_set():
            copy_on(self, size)

    monkeypatch.setattr(Whereabouts, "copy_on", held)
    slot = engine.claim(LOSSLESS | ESSENTIAL)
    start = engine.begin()
    engine.feed(counter(0, MIB // 8))
    writer = Writer(engine, slot, tmp_path)
    engine.split()
    wait_until(lambda: slot.cursor == start + MIB, 20, "that the first MiB is done with")
    (part,) = tmp_path.glob("*.bin.part")
    part.unlink()
    wait_until(lambda: writer.writer.sink.whereabouts.copying, 20, "that it is seen")

    engine.feed(counter(MIB // 8, MIB // 8))
    engine.split()
    wait_until(lambda: writer.writer.durable == start + 2 * MIB, 20, "that it is durable")
    assert slot.cursor == start + MIB
    gate.set()
    wait_until(lambda: slot.cursor == start + 2 * MIB, 20, "that the copy is whole")
    assert part.read_bytes() == counter(0, 2 * MIB // 8)
    writer.abandon()
