"""The history of destinations: whole lines from many processes, torn ones passed over, never in the way."""

from __future__ import annotations

import fcntl
import json
import logging
import os
import subprocess
import sys
from pathlib import Path

import pytest
from made_files import make_report

from fastcap import history


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path / "state"


def entry(destination: str = "/mnt/nas", **more: object) -> dict[str, object]:
    return {"destination": destination, **more}


def test_a_report_becomes_a_line_with_all_that_bears_on_its_destination() -> None:
    stalls = [{"at_s": 4.0, "for_s": 5.1}]
    report = make_report()
    report["sink"]["stalls"] = stalls

    assert history.append(history.entry_from_report(report, device="166:0"))

    assert history.read() == [
        {
            "started": "2026-11-22T10:00:00.123456+08:00",
            "destination": "/mnt/nas/run",
            "device": "166:0",
            "duration_s": 0.0005,
            "rate_bytes_per_s": 16_000_000.0,
            "bytes": 8131,
            "words_lost": 0,
            "stalls": stalls,
            "write_p99_s": 0.002,
            "write_max_s": 0.003,
            "fsync_p99_s": 0.02,
            "fsync_max_s": 0.03,
            "high_water_bytes": 8192,
            "ring_bytes": 1 << 26,
        }
    ]


def test_a_capture_that_kept_nothing_has_no_destination_and_no_zeros() -> None:
    made = history.entry_from_report(make_report(path=None, sink=None, ring=None))

    assert made["destination"] is None
    assert made["write_max_s"] is None
    assert made["ring_bytes"] is None


def test_entries_are_read_back_in_order_and_by_destination(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for k, destination in enumerate([str(tmp_path), "/mnt/nas", str(tmp_path)]):
        assert history.append(entry(destination, k=k))

    assert [e["k"] for e in history.read()] == [0, 1, 2]
    assert [e["k"] for e in history.read(tmp_path)] == [0, 2]
    assert [e["k"] for e in history.read(".")] == [0, 2]
    assert history.read("/elsewhere") == []


def test_without_a_history_there_is_nothing_to_read() -> None:
    assert history.read() == []


def test_a_torn_last_line_costs_only_itself(state: Path) -> None:
    history.append(entry(k=1))
    with history.history_path().open("ab") as file:
        file.write(b'{"destination": "/mnt/n')
    assert [e["k"] for e in history.read()] == [1]

    history.append(entry(k=2))

    assert [e["k"] for e in history.read()] == [1, 2]


@pytest.mark.parametrize("line", [b"\xff\xfe", b"[]", b"3", b'{"k": 3}', b"[" * 100_000, b""])
def test_a_line_that_is_no_entry_is_passed_over(line: bytes) -> None:
    history.append(entry(k=1))
    with history.history_path().open("ab") as file:
        file.write(line + b"\n")
    history.append(entry(k=2))

    assert [e["k"] for e in history.read()] == [1, 2]


def test_lines_of_many_processes_do_not_mix() -> None:
    code = (
        "import sys; from fastcap import history\n"
        "entry = {'destination': '/d', 'who': sys.argv[1], 'pad': 'x' * 3000}\n"
        "for k in range(200): assert history.append(entry | {'k': k})"
    )
    writers = [subprocess.Popen([sys.executable, "-c", code, str(n)]) for n in range(4)]
    assert [writer.wait(60) for writer in writers] == [0] * 4

    lines = history.history_path().read_bytes().splitlines()
    assert len(lines) == 800
    for n in range(4):
        assert [e["k"] for e in map(json.loads, lines) if e["who"] == str(n)] == list(range(200))


def test_the_file_is_the_users_own(state: Path) -> None:
    history.append(entry())

    assert history.history_path().stat().st_mode & 0o777 == 0o600
    assert history.history_path().parent.stat().st_mode & 0o777 == 0o700


def test_home_is_used_without_xdg_and_instead_of_a_relative_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for value in ("", "relative/state"):
        monkeypatch.setenv("XDG_STATE_HOME", value)
        assert history.history_path() == tmp_path / ".local/state/fastcap/history.jsonl"


def test_a_history_that_cannot_be_written_is_a_warning(
    state: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    state.write_text("a file where the directory should be")
    with caplog.at_level(logging.WARNING):
        assert history.append(entry()) is False
    assert "not in the history" in caplog.text

    monkeypatch.setenv("XDG_STATE_HOME", "/proc/nowhere")
    assert history.append(entry()) is False


@pytest.mark.parametrize("bad", [{"destination": float("nan")}, {"destination": object()}])
def test_an_entry_that_is_no_json_is_a_warning_and_leaves_no_line(bad: dict[str, object]) -> None:
    assert history.append(bad) is False
    assert history.read() == []


def test_a_short_write_is_reported(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    real = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: real(fd, data[:5]))
    assert history.append(entry(k=1)) is False
    assert "5 of 33 bytes were written" in caplog.text
    monkeypatch.undo()


def test_a_lock_that_is_never_given_up_delays_but_does_not_prevent(monkeypatch: pytest.MonkeyPatch) -> None:
    history.append(entry(k=1))
    monkeypatch.setattr(history, "_LOCK_PATIENCE_S", 0.05)
    with history.history_path().open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        assert history.append(entry(k=2))

    assert [e["k"] for e in history.read()] == [1, 2]
