"""Plans, the names of recordings, and the journal."""

from __future__ import annotations

import errno
import os

import pytest
from sweep_fixtures import order, plan

from fastcap.errors import ConfigError, SweepError
from fastcap.sweeping.journal import Journal, read_journal
from fastcap.sweeping.order import Order, check_extension
from fastcap.sweeping.plan import differences, load_plan
from fastcap.whole_file import save_whole


def keys(*values, **options):
    return list(order(*values, **options).shots)


def test_last_axis_varies_fastest_and_repeats_follow_one_another():
    assert keys([0, 1], [5, 6], repeats=2)[:4] == [
        "x=0_up y=5_up repeat=0",
        "x=0_up y=5_up repeat=1",
        "x=0_up y=6_up repeat=0",
        "x=0_up y=6_up repeat=1",
    ]


def test_values_that_come_again_have_names_of_their_own():
    assert keys([0, 1, 1, 0, 0, 1]) == [
        f"x={text} repeat=0" for text in ("0_up", "1_up", "1_down", "0_down", "0_up_2", "1_up_2")
    ]


def test_file_names_hold_the_coordinates_and_are_all_different():
    made = order([-1.25, 0, 1e-9, 0, -1.25], [1, 2], repeats=2)
    stems = [made.stem(shot, 3) for shot in made]

    assert stems[0] == "x_-1.25_up_y_1_up_r1_a3"
    assert len(set(stems)) == len(stems)
    assert all(stem.isascii() and "/" not in stem for stem in stems)


def test_long_axis_names_give_short_different_file_names():
    from fastcap.sweeping.axis import Axis
    from fastcap.sweeping.plan import plan_of

    axes = [Axis(lambda v: v, [0.1, 0.2], name=f"a very long name of an axis, number {k}") for k in range(9)]
    made = Order(plan_of(axes, repeats=1, record=None, source="s", analyse=None, readings={}, meta={}))
    stems = {made.stem(shot, 1) for shot in made}

    assert len(stems) == 2**9
    assert max(map(len, stems)) < 220


def test_denser_longer_and_repeated_plans_are_extensions():
    old = plan([0, 1, 2, 2, 1, 0], repeats=1)
    check_extension(old, plan([0, 0.5, 1, 2, 2, 1, 0.5, 0], repeats=3))
    check_extension(old, plan([0, 1, 2, 3, 3, 2, 1, 0]))


@pytest.mark.parametrize("values", [[0, 1, 2], [0, 1, 1, 0], [5, 6]])
def test_plan_without_an_old_point_is_no_extension(values):
    with pytest.raises(SweepError, match="has no place for 'x="):
        check_extension(plan([0, 1, 2, 2, 1, 0]), plan(values))


def test_extension_may_change_nothing_else():
    with pytest.raises(SweepError, match="record: "):
        check_extension(plan([0, 1]), plan([0, 1, 2], record="2s"))


def test_differences_are_named():
    old = plan([0, 1], repeats=2)
    assert differences(old, old) == []
    assert differences(old, plan([0, 2], repeats=2)) == ["x[1]: 1 -> 2"]
    assert differences(old, plan([0, 1, 2], repeats=2)) == ["x: 2 values from 0 to 1 -> 3 values from 0 to 2"]
    assert differences(old, plan([0, 1], repeats=3)) == ["repeats: 2 -> 3"]
    assert differences(old, plan([0, 1], [0], repeats=2)) == ["axes: x -> x, y"]


def test_analysis_with_another_body_is_another():
    old = plan([0], analyse=lambda tr: {"a": 1})
    assert differences(old, plan([0], analyse=lambda tr: {"a": 1})) == []
    assert "has changed" in differences(old, plan([0], analyse=lambda tr: {"a": 2}))[0]
    assert differences(old, plan([0])) == ["analyse: " + old.analysis.name + " -> None"]


def test_plan_survives_its_file(tmp_path):
    made = plan([0, 0.1, 1 / 3], repeats=2, record={"samples": 5}, analyse="m:f", meta={"a": 1})
    save_whole(tmp_path / "plan.json", made.to_json())

    assert load_plan(tmp_path) == made
    assert os.listdir(tmp_path) == ["plan.json"]


@pytest.mark.parametrize("content", ["", "{", "[]", '{"version": 1}', '{"axes": 3}'])
def test_damaged_plan_is_an_error_that_names_it(tmp_path, content):
    (tmp_path / "plan.json").write_text(content)
    with pytest.raises(SweepError, match=r"plan\.json cannot be read"):
        load_plan(tmp_path)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"record": {"lenght": "1s"}}, "did you mean 'length'"),
        ({"record": "0s"}, "above 0"),
        ({"record": "5m"}, "5min"),
        ({"repeats": 0}, "at least 1"),
        ({"readings": {"x": None}}, "names two"),
        ({"analyse": "module"}, "MODULE:FUNCTION"),
        ({"analyse": 3}, "no function"),
    ],
)
def test_plan_that_makes_no_sense_is_refused(options, message):
    with pytest.raises((ConfigError, ValueError), match=message):
        plan([0], **options)


# -- the journal -------------------------------------------------------------------------------------


def test_journal_holds_what_was_appended(tmp_path):
    journal = Journal(tmp_path)
    for k in range(50):
        journal.append("begin", key=str(k))
    journal.flush(10)
    assert [e["key"] for e in read_journal(tmp_path)] == [str(k) for k in range(50)]
    journal.close()


def test_torn_last_line_is_cut_off(tmp_path):
    (tmp_path / "journal.jsonl").write_text('{"event": "a"}\n{"event": "b", "k')
    assert [e["event"] for e in read_journal(tmp_path)] == ["a"]

    journal = Journal(tmp_path)
    journal.append("c")
    journal.close()
    assert [e["event"] for e in read_journal(tmp_path)] == ["a", "c"]


@pytest.mark.parametrize("line", ["{", "[]", "3", '{"key": 1}', "\x00\x00"])
def test_damage_before_the_end_is_an_error_that_names_the_line(tmp_path, line):
    (tmp_path / "journal.jsonl").write_text('{"event": "a"}\n' + line + '\n{"event": "b"}\n')
    with pytest.raises(SweepError, match="line 2 is damaged"):
        read_journal(tmp_path)


def test_journal_is_for_one_program(tmp_path):
    journal = Journal(tmp_path)
    with pytest.raises(SweepError, match="running in another program"):
        Journal(tmp_path)
    journal.close()
    Journal(tmp_path).close()


@pytest.mark.fuse
def test_piece_of_an_entry_that_cannot_be_taken_back_is_cut_off_before_the_next(tmp_path, faultfs):
    fs = faultfs()
    journal = Journal(fs.mount)
    journal.append("a")
    journal.flush(10)
    fs.error("truncate", errno.EIO, count=None)
    fs.short_writes(10, count=1)
    failed = fs.error("write", errno.EIO, after=1, count=1)
    journal.append("b", key="1")
    fs.wait_fired(failed)
    fs.clear()
    journal.append("c")
    journal.close()

    assert [e["event"] for e in read_journal(fs.backing)] == ["a", "b", "c"]


@pytest.mark.fuse
@pytest.mark.parametrize("operation", ["write", "fsync"])
def test_entry_that_could_not_be_written_is_written_later(tmp_path, faultfs, operation):
    fs = faultfs()
    journal = Journal(fs.mount)
    rule = fs.error(operation, 5, count=2)
    journal.append("a")
    fs.wait_fired(rule, 2)
    journal.append("b")
    journal.flush(20)
    journal.close()

    assert [e["event"] for e in read_journal(fs.mount)] == ["a", "b"]


@pytest.mark.fuse
def test_entry_is_written_whole_however_short_the_writes_are(tmp_path, faultfs):
    fs = faultfs()
    fs.short_writes(7)
    journal = Journal(fs.mount)
    for k in range(3):
        journal.append("begin", key=str(k))
        journal.flush(10)
    journal.close()

    assert [e["key"] for e in read_journal(fs.backing)] == ["0", "1", "2"]


@pytest.mark.fuse
def test_stalled_disk_keeps_nobody_who_appends_waiting(tmp_path, faultfs):
    fs = faultfs()
    journal = Journal(fs.mount)
    rule = fs.stall("fsync")
    journal.append("a")
    fs.wait_fired(rule)
    journal.append("b")
    with pytest.raises(SweepError, match="could not be written within"):
        journal.flush(0.5)
    fs.clear(rule)
    journal.flush(20)
    journal.close()
    assert [e["event"] for e in read_journal(fs.mount)] == ["a", "b"]
