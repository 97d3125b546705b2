"""Gapless sweeps: one run of the board, its words all kept, points as windows in which nothing moves."""

from __future__ import annotations

import os
import signal
import time
from contextlib import closing
from pathlib import Path

import numpy as np
import pytest
from support import wait_until
from support.processes import children_of
from sweep_fixtures import Device, events, first_words

import fastcap as fc
from fastcap import spec
from fastcap.sweeping.plan import load_plan
from fastcap.verify import verify_file

WORDS = 40_000
SIM = "sim://?rate=2MHz&pattern=counter&fifo=512MiB"
FIFO_S = 0.01


def sweep(folder, board, axis, **options):
    given = {"record": {"samples": WORDS}, "gapless": True, "fifo": FIFO_S, "progress": False, **options}
    return fc.sweep(board, axis, save=folder, **given)


def counters(path):
    """Return the numbers in a file of the counter pattern, its header apart."""
    return fc.load(path).words.view("<u8")


def run_of(folder):
    """Return the files of a sweep of one run, in the order of their words."""
    files = {int(counters(p)[0]): p for p in folder.glob("*.bin") if len(counters(p))}
    return [files[k] for k in sorted(files)]


def test_no_word_is_missing_between_the_windows(tmp_path):
    device = Device()
    with fc.open(SIM, ring="32MiB") as board:
        res = sweep(tmp_path, board, fc.Axis(device, fc.linspace(0, 3, 4), name="x"), analyse=first_words)

    assert res.complete
    assert device.history == [0, 1, 2, 3]
    assert (res["words"] == WORDS).all()
    files = run_of(tmp_path)
    words = np.concatenate([counters(p) for p in files])
    assert np.array_equal(words, np.arange(len(words)))
    assert sum(p.name.startswith("x_") for p in files) == 4
    (account,) = events(tmp_path, "run_ended")
    assert (account["run"], account["words"], account["words_lost"]) == ("between_001", len(words), 0)
    for path in res.files():
        assert len(counters(path)) == WORDS
        assert verify_file(path).ok


def test_repeats_follow_one_another_without_a_word_between(tmp_path):
    with fc.open(SIM, ring="32MiB") as board:
        res = sweep(tmp_path, board, fc.Axis(Device(), [0, 1], name="x"), repeats=3, analyse=first_words)

    first = res["first"][..., 0]
    assert np.array_equal(np.diff(first, axis=1), np.full((2, 2), WORDS))


def test_each_window_has_a_header_of_its_own_and_says_what_was_set(tmp_path):
    with fc.open(SIM, ring="32MiB") as board:
        res = sweep(tmp_path, board, fc.Axis(Device(), [0, 5], name="x", unit="V"), meta={"fibre": "F12"})

    starts = []
    for path, value in zip(res.files(), ("0V", "5V"), strict=True):
        trace = fc.load(path)
        assert trace.header.sample_rate_hz == 2_000_000
        assert (trace.meta["x"], trace.meta["fibre"]) == (value, "F12")
        starts.append(trace.start)
    assert starts[0] < starts[1]


@pytest.mark.parametrize("killed", ["splitter", "nas_writer", "reader"])
def test_death_of_a_worker_costs_no_word_and_no_window(tmp_path, killed):
    def kill(value):
        if value == 2:
            pid = worker_pid(board.session, killed)
            os.kill(pid, signal.SIGKILL)
            wait_until(lambda: not os.path.exists(f"/proc/{pid}"), 20, "its end")
        return value

    with fc.open(SIM, ring="64MiB") as board:
        res = sweep(tmp_path, board, fc.Axis(kill, [0, 1, 2, 3], name="x"), analyse=first_words)

    assert res.complete
    words = np.concatenate([counters(p) for p in run_of(tmp_path)])
    assert np.array_equal(words, np.arange(len(words)))
    assert all(len(counters(p)) == WORDS for p in res.files())


def worker_pid(session, role):
    """Return the busiest worker of a role: the one that is no spare."""
    workers = children_of(session._process.pid, f"fastcap.workers.{role}")
    return max(workers, key=lambda pid: (cpu_ticks(pid), -pid))


def cpu_ticks(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return int(fields[11]) + int(fields[12])


def test_writer_killed_within_a_window_has_a_successor_that_goes_on_with_it(tmp_path):
    words = 3_000_000
    killed = []

    def kill():
        part = tmp_path / "x_0_up_r1_a1.bin.part"
        wait_until(lambda: part.exists() and part.stat().st_size > 1 << 20, 20, "a part of the window")
        killed.append(worker_pid(board.session, "nas_writer"))
        os.kill(killed[0], signal.SIGKILL)
        return 0.0

    with fc.open(SIM, ring="128MiB") as board:
        res = sweep(
            tmp_path, board, fc.Axis(Device(), [0], name="x"), record={"samples": words}, readings={"r": kill}
        )

    assert killed
    assert res.complete
    (path,) = res.files()
    assert path.name == "x_0_up_r1_a1.bin"
    assert verify_file(path).ok
    assert np.array_equal(np.diff(counters(path)), np.ones(words - 1))


def test_end_is_told_to_the_successor_of_a_dead_splitter(tmp_path):
    with fc.open(SIM, ring="32MiB") as board:
        message, _ = spec.recording(
            board.source, endless=True, to=os.fspath(tmp_path), ring_bytes=board.ring_bytes()
        )
        run = board.begin({**message, "windows": []}).recording
        with closing(run.session.attach()) as ring:
            wait_until(lambda: ring.framed > 1 << 16, 30, "words to be there: an empty recording is an error")
        splitter = worker_pid(run.session, "splitter")
        os.kill(splitter, signal.SIGSTOP)
        run.session.finish(run.number)
        run.session.attach().close()  # answered: the wish before it was heard
        os.kill(splitter, signal.SIGKILL)

        assert run.wait_for(lambda: run.done, 30)
        assert run.reports[0]["complete"]


def test_no_window_contains_a_step_of_the_attenuator(tmp_path):
    """The emulated light follows the attenuator at the word made at that moment, however late that is written.

    The board's program writes nothing for 0.2 s again and again: words wait in its FIFO for as long.
    """

    def spread(trace):
        radius = trace.radius().reshape(-1, 4_000).mean(axis=1)
        return {"radius": radius.mean(), "spread": (radius.max() - radius.min()) / radius.mean()}

    name = f"gapless{os.getpid()}"
    stalls = "".join(f"&fault=stall@{at}:0.2" for at in range(500_000, 12_000_000, 500_000))
    board_url = f"sim://?rate=2MHz&voa={name}&fifo=512MiB&transient=0{stalls}"
    with (
        fc.VOA(f"sim://voa?name={name}", at_exit="zero") as voa,
        fc.open(board_url, ring="64MiB") as board,
    ):
        volt = voa.channel(0).volt

        def slowly(value):
            time.sleep(0.1)  # a device that takes its time: the board stalls meanwhile
            return volt.set(value)

        axis = fc.Axis(slowly, [0, 2.2] * 6, name="volt", unit="V")
        res = sweep(tmp_path, board, axis, fifo="300ms", analyse=spread)

    assert res.complete
    assert (res["spread"] < 0.05).all(), res["spread"]
    clear, dimmed = res["radius"][0::2].ravel(), res["radius"][1::2].ravel()
    assert clear.min() > 1.5 * dimmed.max()  # else nothing was to be seen
    for level in (clear, dimmed):  # no window is of the setpoint before
        assert np.ptp(level) < 0.05 * level.mean(), level


def test_window_that_lost_words_is_made_again_in_the_same_run(tmp_path):
    """A ring that the destination's stall fills: the window is recorded again when there is room."""
    stalled = []

    with fc.open(SIM.replace("fifo=512MiB", "fifo=8KiB"), ring="8MiB") as board:

        def stall(value):
            if value == 1 and not stalled:
                pid = worker_pid(board.session, "nas_writer")
                os.kill(pid, signal.SIGSTOP)
                stalled.append(pid)
            return value

        def release():
            if stalled and stalled[-1]:
                ring = board.session.ring_bytes
                wait_until(lambda: lost(board) > ring // 8, 20, "words to be dropped")
                os.kill(stalled[-1], signal.SIGCONT)
                stalled[-1] = 0
            return 0.0

        res = sweep(
            tmp_path, board, fc.Axis(stall, [0, 1, 2], name="x"), record={"samples": 1_500_000},
            readings={"r": release}, analyse=first_words,
        )  # fmt: skip

    assert res.complete
    assert (res["words"] == 1_500_000).all()
    assert res["attempts"].ravel()[1] > 1
    assert any("words were lost" in entry["reason"] for entry in events(tmp_path, "failed"))


def lost(board):
    recording = max(board.session.recordings)
    return board.session.recordings[recording].progress.get("dropped_bytes", 0)


def test_board_that_ends_gets_another_run(tmp_path):
    source = [*_endless_that_dies(tmp_path)]
    folder = tmp_path / "s"
    with fc.open(source, ring="32MiB") as board:
        res = sweep(folder, board, fc.Axis(Device(), fc.linspace(0, 3, 4), name="x"), analyse=first_words)

    assert res.complete
    assert {p.name[:11] for p in folder.glob("between_*.bin")} >= {"between_001", "between_002"}
    assert any("run ended" in e["reason"] for e in events(folder, "failed"))


def test_repeats_that_a_dead_run_had_prepared_get_other_names(tmp_path):
    """The first run dies within the second repeat: its third was asked for, and must not be met again."""
    folder = tmp_path / "s"
    with fc.open([*_endless_that_dies(tmp_path)], ring="32MiB") as board:
        res = sweep(folder, board, fc.Axis(Device(), [0, 1], name="x"), repeats=8, analyse=first_words)

    assert res.complete
    assert (res["words"] == WORDS).all()
    assert len(set(res.files())) == 16
    assert not list(folder.glob("*.part"))
    assert len(events(folder, "run_ended")) == 2


def _endless_that_dies(folder):
    import sys

    script, count = folder / "teststream", folder / "count"
    count.write_text("0")
    sim = f"{sys.executable} -P -m fastcap.sim.board --pattern counter --fifo 512MiB"
    script.write_text(
        f"#!/bin/sh\nn=$(($(cat {count})+1)); echo $n > {count}\n"
        f'[ $n = 1 ] && exec {sim} --fault exit@150000:3 "$@"\nexec {sim} "$@"\n'
    )
    script.chmod(0o755)
    return str(script), "-q", "1000", "-s", "4", "-l", "-b", "-v", "3"


def test_resumed_sweep_begins_a_run_with_what_is_left(tmp_path):
    def stop_at_one(row):
        return row["x"] >= 1

    points = 100  # their windows take two seconds: the second is analysed before the last has begun
    axis = fc.Axis(Device(), fc.linspace(0, points - 1, points), name="x")
    with fc.open(SIM, ring="32MiB") as board:
        first = sweep(tmp_path, board, axis, stop_when=stop_at_one)
        assert not first.complete
    with fc.open(SIM, ring="32MiB") as board:
        res = sweep(tmp_path, board, axis, resume=True)

    assert res.complete
    assert len(set(res.files())) == points
    assert load_plan(tmp_path).fifo_s == FIFO_S
    with fc.open(SIM, ring="32MiB") as board, pytest.raises(fc.SweepError, match="fifo_s"):
        sweep(tmp_path, board, axis, resume=True, gapless=False)


def test_interrupted_sweep_keeps_the_windows_that_were_full(tmp_path):
    def interrupt(value):
        if value == 2:
            raise KeyboardInterrupt
        return value

    axis = fc.Axis(interrupt, fc.linspace(0, 3, 4), name="x")
    with fc.open(SIM, ring="32MiB") as board, pytest.raises(KeyboardInterrupt):
        sweep(tmp_path, board, axis)

    assert len(events(tmp_path, "done")) == 2
    assert not list(tmp_path.glob("*.part"))


def test_analysis_of_a_window_is_contained(tmp_path):
    def analyse(trace):
        if trace.meta["x"].startswith("1"):
            os.kill(os.getpid(), signal.SIGSEGV)
        if trace.meta["x"].startswith("2"):
            time.sleep(60)
        return {"words": len(trace)}

    with fc.open(SIM, ring="32MiB") as board:
        record = {"samples": WORDS, "analyse_timeout": "1s"}
        res = sweep(
            tmp_path, board, fc.Axis(Device(), [0, 1, 2, 3], name="x"), record=record, analyse=analyse
        )

    assert np.array_equal(np.isnan(res["words"]).ravel(), [False, True, True, False])
    reasons = [res.failed[place] for place in sorted(res.failed)]
    assert "SIGSEGV" in reasons[0]
    assert "FunctionTimeout" in reasons[1]


@pytest.mark.parametrize("bad", [{"fifo": "-1s"}, {"fifo": "soon"}, {"gapless": "yes"}])
def test_bad_options_are_refused_before_anything_is_set(tmp_path, bad):
    device = Device()
    with fc.open(SIM) as board, pytest.raises(ValueError):  # noqa: PT011
        sweep(tmp_path / "s", board, fc.Axis(device, [1], name="x"), **bad)
    assert device.history == []
    assert not (tmp_path / "s").exists()
