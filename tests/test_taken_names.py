"""Names that others have: seen at the start where they are known to be needed, stepped aside from afterwards."""

from __future__ import annotations

import errno
import os
import re
import signal
from pathlib import Path

import pytest
from cli_runs import CommandLine
from engine import assert_exact, assert_law, counting, kill, recording
from support import wait_until

import fastcap as fc
from fastcap.workers.filenames import FileNames, needed

pytest_plugins = ["command_line"]

WORDS = 1_500_000
BOARD = counting(WORDS, rate="2MHz")  # 0.75 s
FOREIGN = b"somebody else's"


def foreign(path: Path) -> Path:
    path.write_bytes(FOREIGN)
    return path


def assert_whole_run(reports: list[dict], words: int = WORDS) -> None:
    index = 0
    for report in reports:
        index = assert_exact(report, first_word=index)
    assert index == words
    assert_law(*reports)


# -- at the start --------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "taken", ["run_0002.bin", "run_0002.sigmf-meta", "run_0001.bin.part", "run_0000.bin"]
)
def test_name_that_a_split_will_need_is_noticed_before_the_source_starts(tmp_path, taken):
    there = foreign(tmp_path / taken)
    with fc.open(BOARD, ring="32MiB") as board, pytest.raises(fc.SinkError, match=f"{taken}: File exists"):
        board.record(None, tmp_path / "run.bin", split="0.25s", check_first=True)

    assert list(tmp_path.iterdir()) == [there]
    assert there.read_bytes() == FOREIGN


def test_name_beyond_the_known_end_is_nobody_s_business(tmp_path):
    foreign(tmp_path / "run_0003.bin")
    with fc.open(BOARD, ring="32MiB") as board:
        reports = board.record(None, tmp_path / "run.bin", split="0.25s").reports

    assert [Path(r["path"]).name for r in reports] == ["run_0000.bin", "run_0001.bin", "run_0002.bin"]


@pytest.mark.parametrize("how", [("--to", "run.bin"), ("--to", ".", "--name", "run")])
def test_name_of_a_later_run_is_noticed_before_the_first(clean_cli: CommandLine, tmp_path: Path, how) -> None:
    foreign(tmp_path / "run_0003.bin")
    ended = clean_cli(
        "capture", BOARD, "--samples", "1000", "--repeat", "3", "--check-first", "--json", *how, cwd=tmp_path
    )

    assert ended.status == 1
    assert "run_0003.bin: File exists" in ended.error
    assert ended.json["captures"] == []
    assert len(list(tmp_path.iterdir())) == 1


def test_names_of_split_runs_are_all_known():
    names = {"base": "a_0001", "later": ["a_0002"], "split": True, "files": 2, "file_words": 5}

    assert list(needed(names)) == ["a_0001_0000.bin", "a_0001_0001.bin", "a_0002_0000.bin", "a_0002_0001.bin"]


def test_times_of_split_files_are_known_beforehand():
    start = {"start": "2026-11-22T10:00:00+08:00", "suffix": "_k_v", "rate": [2, 1]}
    names = {"base": "x", "split": True, "files": 3, "file_words": 4, **start}

    assert [name[17:19] for name in needed(names)] == ["00", "02", "04"]


# -- in mid-run ----------------------------------------------------------------------------------------


def test_next_free_name_is_taken_in_mid_run_and_no_word_waits(tmp_path):
    with recording(BOARD, tmp_path / "run.bin", split="0.25s") as (finish, _):
        wait_until(lambda: (tmp_path / "run_0000.bin.part").exists(), 20, "the first file")
        there = [
            foreign(tmp_path / name) for name in ("run_0001.bin", "run_0001-2.bin", "run_0002.sigmf-meta")
        ]
        cap = finish()

    names = [Path(r["path"]).name for r in cap.reports]
    assert names == ["run_0000.bin", "run_0001-3.bin", "run_0002-2.bin"]
    assert_whole_run(cap.reports)
    wanted = [r["sink"]["wanted_path"] for r in cap.reports]
    assert wanted == [None, str(tmp_path / "run_0001.bin"), str(tmp_path / "run_0002.bin")]
    assert all(path.read_bytes() == FOREIGN for path in there)
    assert any("run_0001.bin is taken" in text for text in cap.recording.warnings)
    assert not list(tmp_path.glob("*.part"))


@pytest.mark.parametrize("taken", ["run.bin", "run.sigmf-meta"])
def test_name_that_is_taken_before_the_end_is_left_alone(tmp_path, taken):
    with recording(BOARD, tmp_path / "run.bin") as (finish, _):
        wait_until(lambda: (tmp_path / "run.bin.part").exists(), 20, "the file")
        there = foreign(tmp_path / taken)
        cap = finish()

    assert cap.path == tmp_path / "run-2.bin"
    assert cap.report["complete"]
    assert_whole_run([cap.report])
    assert there.read_bytes() == FOREIGN
    assert {p.name for p in tmp_path.iterdir()} == {taken, "run-2.bin", "run-2.index", "run-2.sigmf-meta"}
    assert cap.recording.warnings == [f"{tmp_path}/run.bin is taken: the file is {tmp_path}/run-2.bin"]


@pytest.mark.fuse
@pytest.mark.parametrize("after", [0, 1, 2])
def test_writer_that_dies_while_it_steps_aside_has_a_successor_that_does(tmp_path, faultfs, after):
    fs = faultfs()
    rule = fs.stall("rename", after=after, count=1, killable=True)
    with recording(BOARD, fs.mount / "run.bin") as (finish, _):
        wait_until(lambda: (fs.backing / "run.bin.part").exists(), 20, "the file")
        there = foreign(fs.backing / "run.bin")
        fs.wait_fired(rule)
        kill("nas_writer")
        fs.clear()
        cap = finish()

    assert there.read_bytes() == FOREIGN
    assert cap.path is not None
    assert cap.path.name == "run-2.bin"
    assert_whole_run([cap.report])
    assert {p.suffix for p in fs.backing.iterdir()} <= {".bin", ".index", ".sigmf-meta"}


@pytest.mark.fuse
def test_name_taken_while_the_destination_does_not_answer_costs_nothing(tmp_path, faultfs):
    fs = faultfs()
    foreign(fs.backing / "run.bin")
    rule = fs.stall("statfs")
    with recording(BOARD, fs.mount / "run.bin") as (finish, _):
        fs.wait_fired(rule)
        fs.clear(rule)
        cap = finish()

    assert cap.path == fs.mount / "run-2.bin"
    assert_whole_run([cap.report])


# -- names that a file system does not take --------------------------------------------------------------


@pytest.mark.fuse
@pytest.mark.parametrize("split", [None, "0.25s"])
def test_file_system_that_takes_no_colon_gets_a_plain_name(tmp_path, faultfs, split):
    fs = faultfs()
    fs.error(("create", "getattr"), errno.EINVAL, path="*:*")
    with recording(BOARD, fs.mount, split=split, meta={"µ": "1"}, check_first=True) as (finish, _):
        cap = finish()

    names = [Path(r["path"]).name for r in cap.reports]
    assert len(names) == (3 if split else 1)
    assert all(re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d-\d\d-\d\d\.\d{6}_-_1\.bin", name) for name in names)
    assert_whole_run(cap.reports)
    assert "the file system there does not take" in cap.recording.warnings[0]


@pytest.mark.fuse
def test_writer_that_dies_on_such_a_disk_has_a_successor_that_finds_the_file(tmp_path, faultfs):
    fs = faultfs()
    fs.error(("create", "getattr"), errno.EINVAL, path="*:*")
    rule = fs.stall("write", after=3, count=1, killable=True)
    with recording(BOARD, fs.mount) as (finish, _):
        fs.wait_fired(rule)
        kill("nas_writer")
        fs.clear(rule)
        cap = finish()

    assert ":" not in cap.path.name
    assert_whole_run([cap.report])


@pytest.mark.fuse
def test_name_that_somebody_chose_is_not_changed(tmp_path, faultfs):
    fs = faultfs()
    fs.error(("create", "getattr"), errno.EINVAL, path="*:*")
    with fc.open(BOARD, ring="32MiB") as board, pytest.raises(fc.SinkError, match="choose another"):
        board.record(None, fs.mount / "10:30.bin", check_first=True)


# -- what was complete before something failed ---------------------------------------------------------


def test_files_that_are_complete_are_in_the_json_whatever_happens_later(
    cli: CommandLine, tmp_path: Path
) -> None:
    board = counting(rate="2MHz")
    capture = cli.start("capture", board, "--to", tmp_path / "run.bin", "--split", "0.2s", "--json")
    wait_until(lambda: (tmp_path / "run_0002.bin").exists(), 20, "three files")
    (supervisor,) = cli.processes("fastcap.workers.supervisor")
    os.kill(supervisor, signal.SIGKILL)
    ended = cli.finish(capture)

    assert ended.status == 1
    assert [Path(r["path"]).name for r in ended.json["captures"]][:2] == ["run_0000.bin", "run_0001.bin"]
    assert ended.json["error"]


def test_alternatives_are_numbered_and_remembered():
    names = FileNames({"base": "run", "split": True, "taken": {"1": 3}})

    assert [names.name(k, 0, None) for k in (0, 1)] == ["run_0000.bin", "run_0001-3.bin"]
    assert names.wanted(1, 0, None) == "run_0001.bin"
