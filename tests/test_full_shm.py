"""/dev/shm is filled by somebody else: what was promised stays, and what is said is what happened."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest
from harness import Engine, counter

from fastcap.events import END, GAP

SCRIPT = """
import json, os, sys
from engine import counting
import fastcap as fc

said = []
with fc.open(counting(200_000), ring="64MiB") as board:
    first = board.record(None, sys.argv[1] + "/first.bin", on_full="wait")
    left = os.statvfs("/dev/shm")
    with open("/dev/shm/somebody-else", "wb") as file:
        os.posix_fallocate(file.fileno(), 0, left.f_bavail * left.f_bsize)
    second = board.record(None, sys.argv[1] + "/second.bin", on_full="drop")
    said += board.session.recordings[2].warnings
    os.unlink("/dev/shm/somebody-else")
    third = board.record(None, sys.argv[1] + "/third.bin", on_full="drop")
reports = [cap.report for cap in (first, second, third)]
print(json.dumps({"said": said, "complete": [r["complete"] for r in reports], "words": [r["words"] for r in reports]}))
"""


@pytest.mark.root
def test_ring_that_cannot_grow_goes_on_with_what_it_has(tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(SCRIPT)
    mount = 'mount -t tmpfs -o size=100m,mode=1777 tmpfs /dev/shm && exec "$@"'
    command = [sys.executable, str(tmp_path / "script.py"), str(tmp_path)]
    paths = os.pathsep.join([str(Path(__file__).parent), str(Path(__file__).parents[1]), *sys.path])
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", mount, "sh", *command], capture_output=True, text=True, check=False,
        timeout=120, env={**os.environ, "PYTHONPATH": paths},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert found["words"] == [200_000] * 3
    assert found["complete"] == [True] * 3
    assert any("No space left on device" in text for text in found["said"]), found


def test_event_log_has_its_room_beforehand(monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands of gaps are written, and the end, while nothing more can be allocated."""

    def refuse(*_: int) -> None:
        raise OSError(28, "No space left on device")

    engine = Engine()
    monkeypatch.setattr(os, "posix_fallocate", refuse)
    engine.begin()
    assert engine.splitter.now is not None
    for n in range(2000):
        engine.splitter.emit(GAP, 0, {"after_word": n, "words": 1, "odd_bytes": 0, "drop": 0})
    engine.feed(counter(0, 100))
    engine.end()

    seen = engine.events()
    assert sum(event.kind == GAP for event in seen) == 2000
    assert seen[-1].kind == END
    engine.close()


def test_full_log_waits_for_room_and_says_so(monkeypatch: pytest.MonkeyPatch) -> None:
    engine = Engine()
    engine.begin()
    refusals = [OSError(28, "No space left on device")] * 3
    real = os.posix_fallocate

    def refuse_at_first(*args: int) -> None:
        if refusals:
            raise refusals.pop()
        real(*args)

    engine.splitter.log._room = engine.splitter.log.nbytes
    monkeypatch.setattr(os, "posix_fallocate", refuse_at_first)
    engine.end()

    assert engine.events()[-1].kind == END
    said = [m["text"] for m in engine.told() if m["op"] == "log_full"]
    assert len(said) == 1
    assert "No space left on device" in said[0]
    engine.close()
