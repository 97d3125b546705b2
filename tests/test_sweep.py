"""Sweeps on emulated boards and devices: every point once, whatever fails on the way."""

from __future__ import annotations

import _thread
import json
import threading

import numpy as np
import pytest
from engine import counting
from support import assert_counter_file, wait_until
from sweep_fixtures import (
    SIM,
    WORDS,
    Device,
    events,
    failing_board,
    fails,
    first_words,
    journal,
    runs,
)

import fastcap as fc
from fastcap.verify import verify_file

QUIET = {"progress": False}


def run(source, device, values, folder, *, ring="16MiB", **options):
    with fc.open(source, ring=ring) as board:
        return fc.sweep(board, fc.Axis(device, values, name="x"), save=folder, **{**QUIET, **options})


def test_every_point_is_recorded_verified_and_analysed(tmp_path):
    device, readings = Device(), iter([20.0, 21.0, 22.0, 23.0])
    res = run(
        SIM, device, fc.updown(0, 1, 2), tmp_path / "s", analyse=first_words, readings={"temp": lambda: next(readings)},
        meta={"fibre": "F12"},
    )  # fmt: skip

    assert res.complete
    assert res["words"].tolist() == [[WORDS]] * 4
    assert res["first"].shape == (4, 1, 3)
    assert (res["first"] == [0, 1, 2]).all()
    assert res["x_readback"].ravel() == pytest.approx([0.001, 1.001, 1.001, 0.001])
    assert res["x_direction"].tolist() == [1, 1, -1, -1]
    assert res["temp"].ravel().tolist() == [20, 21, 22, 23]
    assert res["attempts"].ravel().tolist() == [1] * 4
    assert device.history == [0, 1, 0]
    assert [path.name for path in res.files()] == [
        "x_0_up_r1_a1.bin", "x_1_up_r1_a1.bin", "x_1_down_r1_a1.bin", "x_0_down_r1_a1.bin"
    ]  # fmt: skip
    for path in res.files():
        assert verify_file(path).ok
        assert assert_counter_file(str(path), WORDS) == []
    meta = fc.load(res.files()[2]).meta
    assert (meta["x"], meta["x_direction"], meta["fibre"]) == ("1", "-1", "F12")
    assert [e["event"] for e in journal(tmp_path / "s")][-1] == "end"


def test_recorded_radius_follows_the_attenuator(tmp_path):
    with (
        fc.VOA("sim://voa?name=sweep-follows", at_exit="zero") as voa,
        fc.open("sim://?rate=2MHz&voa=sweep-follows", ring="16MiB") as board,
    ):
        volt = fc.Axis(voa.channel(0).volt, [0, 2, 4])
        res = fc.sweep(
            board, volt, record="30ms", save=tmp_path, analyse=lambda tr: {"r": tr.radius()[12_000:].mean()}, **QUIET
        )  # fmt: skip
    expected = np.cos(np.pi / 2 * np.array([0, 2, 4]) / 4.5) ** 2

    assert res["r"].ravel() / res["r"].max() == pytest.approx(expected, abs=0.02)
    assert res.units == {"channel 0 volt": "V"}


# -- what fails --------------------------------------------------------------------------------------


def test_failed_recording_is_made_again_and_only_the_good_one_counts(tmp_path):
    res = run(failing_board(tmp_path, 2, 3), Device(), [0, 1, 2], tmp_path / "s", analyse=first_words)

    assert res.complete
    assert runs(tmp_path) == 5
    assert sorted(res["attempts"].ravel().tolist()) == [1, 1, 3] or sorted(res["attempts"].ravel()) == [
        1,
        2,
        2,
    ]
    assert len(events(tmp_path / "s", "failed")) == 2
    assert "with status 3" in events(tmp_path / "s", "failed")[0]["reason"]
    for path in res.files():
        assert assert_counter_file(str(path), WORDS) == []


def test_retry_at_the_end_comes_after_all_others(tmp_path):
    res = run(failing_board(tmp_path, 1), Device(), [0, 1, 2], tmp_path / "s", retry="end")

    assert res.complete
    assert [e["key"] for e in events(tmp_path / "s", "begin")] == [f"x={x}_up repeat=0" for x in (0, 1, 2, 0)]


def test_point_that_fails_for_good_is_missing_with_its_reason(tmp_path):
    res = run(
        failing_board(tmp_path, 1, 2), Device(), [0, 1], tmp_path / "s", analyse=first_words, retries=0
    )  # fmt: skip

    assert list(res.failed) == [(0, 0), (1, 0)]
    assert all("with status 3" in why for why in res.failed.values())
    assert runs(tmp_path) == 2
    assert res.done == 0


def test_sweep_in_which_everything_fails_stops_and_can_be_resumed(tmp_path):
    board = failing_board(tmp_path, *range(1, 9))
    with pytest.raises(fc.SweepError, match="3 recordings in a row"):
        run(board, Device(), list(range(6)), tmp_path / "s", retries=0)
    failing_board(tmp_path)
    res = run(board, Device(), list(range(6)), tmp_path / "s", resume=True)

    assert res.complete


def test_failed_analysis_never_records_again(tmp_path):
    res = run(failing_board(tmp_path), Device(), [0, 1, 2], tmp_path / "s", analyse=fails)

    assert runs(tmp_path) == 3
    assert res.failed == {(1, 0): "analysis: ZeroDivisionError: nothing to divide by"}
    assert np.isnan(res["words"]).ravel().tolist() == [False, True, False]
    assert res.done == 3

    again = res.reanalyse(first_words, progress=False)
    assert again.complete
    assert again["words"].ravel().tolist() == [WORDS] * 3
    assert fc.load_sweep(tmp_path / "s")["words"].ravel().tolist() == [WORDS] * 3
    assert runs(tmp_path) == 3


def test_failed_reading_costs_nothing_else(tmp_path):
    def read():
        raise OSError("no thermometer")

    res = run(SIM, Device(), [0], tmp_path / "s", analyse=first_words, readings={"temp": read})

    assert np.isnan(res["temp"]).all()
    assert res["words"][0, 0] == WORDS
    assert res.failed == {(0, 0): "reading temp: OSError: no thermometer"}


def test_device_that_recovers_is_set_again(tmp_path):
    device = Device(fails=2)
    res = run(SIM, device, [0, 1], tmp_path / "s")

    assert res.complete
    assert device.history == [0, 1]


def test_device_that_is_gone_stops_the_sweep(tmp_path):
    with pytest.raises(fc.SweepError, match="cannot be set: the device does not answer"):
        run(SIM, Device(fails=99), [0, 1], tmp_path / "s", retries=2)
    assert events(tmp_path / "s", "begin") == []


# -- going on ----------------------------------------------------------------------------------------


def test_folder_with_a_sweep_is_not_used_by_accident(tmp_path):
    run(SIM, Device(), [0], tmp_path / "s")
    before = (tmp_path / "s" / "journal.jsonl").read_bytes()
    with pytest.raises(fc.SweepError, match="resume=True"):
        run(SIM, Device(), [0], tmp_path / "s")
    assert (tmp_path / "s" / "journal.jsonl").read_bytes() == before


def test_resumed_sweep_records_only_what_is_not_done(tmp_path):
    board = failing_board(tmp_path)
    values = list(range(24))  # more than are recorded while the first is analysed, however busy the machine
    stopped = run(board, Device(), values, tmp_path / "s", analyse=first_words, stop_when=lambda row: True)
    assert 1 <= stopped.done < len(values)
    assert "not recorded yet" in stopped.failed.values()
    done = stopped.done
    device = Device()
    res = run(board, device, values, tmp_path / "s", analyse=first_words, resume=True)

    assert res.complete
    assert runs(tmp_path) == len(values)
    assert device.history == [0, *range(done, len(values))]


def test_changed_plan_is_refused_with_the_difference(tmp_path):
    run(SIM, Device(), [0, 1], tmp_path / "s")
    with pytest.raises(fc.SweepError, match=r"x\[1\]: 1 -> 2"):
        run(SIM, Device(), [0, 2], tmp_path / "s", resume=True)
    with pytest.raises(fc.SweepError, match=r"source: .*-s 4.*-s 1"):
        run(SIM.replace("2MHz", "5MHz"), Device(), [0, 1], tmp_path / "s", resume=True)


def test_extended_sweep_keeps_what_it_has(tmp_path):
    board = failing_board(tmp_path)
    first = run(board, Device(), [0, 2], tmp_path / "s", analyse=first_words)
    res = run(board, Device(), [0, 1, 2], tmp_path / "s", analyse=first_words, repeats=2, extend=True)

    assert res.complete
    assert runs(tmp_path) == 6
    assert res["words"].shape == (3, 2)
    assert set(first.files()) < set(res.files())
    assert fc.load_sweep(tmp_path / "s")["x"].tolist() == [0, 1, 2]


def test_unfinished_attempt_s_file_is_never_counted_nor_overwritten(tmp_path):
    folder = tmp_path / "s"
    folder.mkdir()
    for left in ("x_0_up_r1_a1.bin.part", "x_0_up_r1_a7.bin"):
        (folder / left).write_bytes(b"left over")
    res = run(SIM, Device(), [0], folder, analyse=first_words)

    assert [path.name for path in res.files()] == ["x_0_up_r1_a8.bin"]
    assert (folder / "x_0_up_r1_a7.bin").read_bytes() == b"left over"


def test_stop_when_sees_each_row(tmp_path):
    rows = []
    run(
        SIM, Device(), [0, 1], tmp_path / "s", analyse=first_words, readings={"temp": lambda: 3.0},
        stop_when=lambda row: rows.append(row),
    )  # fmt: skip

    assert [row["x"] for row in rows] == [0, 1]
    assert {"x_readback", "temp", "words", "file"} <= set(rows[0])


def test_ctrl_c_finishes_what_is_sampled_and_resume_goes_on(tmp_path):
    folder = tmp_path / "s"

    def interrupt():
        wait_until(lambda: folder.exists() and len(events(folder, "begin")) >= 2, 30, "second point")
        _thread.interrupt_main()

    thread = threading.Thread(target=interrupt)
    thread.start()
    with pytest.raises(KeyboardInterrupt):
        run(counting(rate="2MHz"), Device(), [0, 1, 2], folder, record="500ms", analyse=first_words)
    thread.join()

    (end,) = events(folder, "end")
    assert end["why"] == "interrupted"
    done = fc.load_sweep(folder).done
    assert 1 <= done < 3
    assert all(verify_file(path).ok for path in fc.load_sweep(folder).files())
    assert run(counting(rate="2MHz"), Device(), [0, 1, 2], folder, record="500ms", analyse=first_words,
               resume=True).complete  # fmt: skip


# -- the ring ----------------------------------------------------------------------------------------


@pytest.mark.fuse
def test_next_point_waits_until_the_ring_can_hold_it(tmp_path, faultfs, capsys):
    fs = faultfs()
    rule = fs.throttle(4_000_000)
    words = 1_000_000  # 8 MB in half a second, of which 2 MB are written meanwhile
    res = run(
        counting(words, rate="2MHz"), Device(), [0, 1, 2], fs.mount / "s", ring="16MiB", progress=True,
    )  # fmt: skip
    fs.clear(rule)

    assert "waiting: " in capsys.readouterr().err
    assert res.complete
    assert len(events(fs.mount / "s", "failed")) == 0
    for path in res.files():
        assert assert_counter_file(str(path), words) == []


def test_dry_run_starts_nothing(tmp_path):
    device = Device()
    found = run(SIM, device, fc.updown(0, 1, 10), tmp_path / "s", repeats=2, dry_run=True)

    assert (found.recordings, found.left) == (40, 40)
    assert found.needed_bytes == 40 * WORDS * 8
    assert found.duration_s > 0
    assert "x 0 up, repeat 1/2" in str(found)
    assert device.history == []
    assert not (tmp_path / "s").exists()


def test_dry_run_says_what_does_not_fit(tmp_path):
    found = run("sim://?rate=2MHz", Device(), range(1000), tmp_path / "s", record="24h", dry_run=True)

    assert any("are needed" in problem for problem in found.problems)


def test_results_are_saved_in_the_folder(tmp_path):
    res = run(SIM, Device(), [0, 1], tmp_path / "s", analyse=first_words, repeats=2)
    with np.load(tmp_path / "s" / "results.npz") as saved:
        assert saved["words"].tolist() == [[WORDS] * 2] * 2
        assert saved["x"].tolist() == [0, 1]
        assert saved["first"].shape == (2, 2, 3)
    header, *lines = (tmp_path / "s" / "results.csv").read_text().splitlines()
    assert header.startswith("x,x_readback,x_direction,repeat,attempts,file,words,first[0]")
    assert len(lines) == 4
    assert json.loads((tmp_path / "s" / "plan.json").read_text())["repeats"] == 2
    assert repr(res).startswith("<Results of ")
