"""What cannot work is said before anything is started, by a capture and by its dry run alike, with the same status."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_runs import CommandLine, board_program

import fastcap as fc
from fastcap._analysisname import check_function
from fastcap.cli import main
from fastcap.devlock import DeviceLock
from fastcap.errors import ConfigError

pytest_plugins = ["command_line"]

SIM = "sim://?rate=2MHz&pattern=counter&speed=max"
INI = """\
[Board]
num_samples = 2**15
skip_num = 5 - 1
speed: low
encode: binary
v = 3
[Paths]
save_dir: nas
board: board
stream_exec: ./teststream
"""
MODULE = """\
import math
from math import floor as rounded_down
number = 5
def mean(trace): return {"mean": 1.0}
class Group:
    class Inner:
        @staticmethod
        def mean(trace): return {}
if number:
    def conditional(trace): return {}
"""


@pytest.fixture
def lab(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory with a configuration, a program, a device, a destination and modules; the current one."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "nas").mkdir()
    (tmp_path / "lab.ini").write_text(INI)
    (tmp_path / "direct.ini").write_text(INI.replace("stream_exec: ./teststream\n", ""))
    (tmp_path / "twice.ini").write_text(INI + "board: again\n")
    (tmp_path / "board").touch()
    (tmp_path / "taken.bin").touch()
    board_program(tmp_path / "teststream")
    (tmp_path / "lab_functions.py").write_text(MODULE)
    (tmp_path / "wrong_syntax.py").write_text("def mean(trace:\n")
    (tmp_path / "needs_more.py").write_text("import not_installed_anywhere\ndef mean(trace): return {}\n")
    return tmp_path


PROBLEMS = {
    "no destination": (["--config", "lab.ini", "--to", "nowhere"], 1, "nowhere"),
    "destination in a file": (["--config", "lab.ini", "--to", "board"], 1, "board"),
    "name taken": ([SIM, "--samples", "9", "--to", "taken.bin", "--check-first"], 1, "taken.bin"),
    "no program": (["--config", "lab.ini", "--set", "stream_exec=./no-such"], 1, "does not exist"),
    "no program named": (["--config", "direct.ini"], 1, "stream_exec"),
    "no device": (["--config", "lab.ini", "--set", "board=./no-such"], 1, "plugged in"),
    "device held": (["--config", "lab.ini", "--set", "board=held"], 1, "in use by"),
    "ring too small": (["--config", "lab.ini", "--ring", "4096"], 1, "4096"),
    "ring too large": (["--config", "lab.ini", "--ring", "100TiB"], 1, "does not fit"),
    "wrong INI": (["--config", "twice.ini"], 2, "key board stands twice"),
    "wrong override": (["--config", "lab.ini", "--set", "speeed=low"], 2, "did you mean"),
    "hex": (["--config", "lab.ini", "--set", "encode=hex"], 2, "not supported"),
    "no num_runs": (["--config", "lab.ini", "--split", "num_runs"], 2, "num_runs"),
    "no module": (["--config", "lab.ini", "--analyse", "no_such:mean"], 2, "no_such"),
    "no function": (["--config", "lab.ini", "--analyse", "lab_functions:meen"], 2, "did you mean 'mean'"),
    "no function named": (["--config", "lab.ini", "--analyse", "lab_functions:"], 2, "MODULE:FUNCTION"),
    "wrong syntax": (["--config", "lab.ini", "--analyse", "wrong_syntax:mean"], 2, "line 1"),
}


@pytest.fixture
def held(lab: Path):
    (lab / "held").touch()
    lock = DeviceLock.acquire(lab / "held", {"user": "else"})
    yield
    lock.release()


@pytest.mark.parametrize("problem", PROBLEMS)
def test_dry_run_ends_as_the_capture_would(lab: Path, held, capfd, problem: str) -> None:
    args, status, named = PROBLEMS[problem]

    assert main(["capture", *args, "--dry-run"]) == status
    lines = [line for line in capfd.readouterr().err.splitlines() if line.startswith("fastcap: ")]
    assert len(lines) == 1
    assert named in lines[0]

    assert main(["capture", *args, "--dry-run", "--json"]) == status
    said = json.loads(capfd.readouterr().out)
    assert said["exit_status"] == status
    assert not list((lab / "nas").iterdir())


@pytest.mark.parametrize("problem", PROBLEMS)
def test_capture_fails_at_its_start(clean_cli: CommandLine, lab: Path, held, problem: str) -> None:
    args, status, named = PROBLEMS[problem]
    ended = clean_cli("capture", *args, "--json", cwd=lab)

    assert ended.status == status
    assert named in ended.error
    assert not list((lab / "nas").iterdir())
    assert not (lab / "taken.bin").stat().st_size


def test_dry_run_of_what_works_says_so(lab: Path, capfd) -> None:
    assert (
        main(["capture", "--config", "lab.ini", "--analyse", "lab_functions:mean", "--dry-run", "--json"])
        == 0
    )
    said = json.loads(capfd.readouterr().out)
    assert said["problems"] == []
    assert said["words"] == 2**15


@pytest.mark.parametrize("ini", ["lab.ini", "direct.ini"])
def test_dry_run_tells_the_plan_of_a_board_that_is_not_there(lab: Path, capfd, ini) -> None:
    (lab / "board").unlink()
    assert main(["capture", "--config", ini, "--dry-run", "--json"]) == 1
    said = json.loads(capfd.readouterr().out)
    assert said["words"] == 2**15
    assert said["sample_rate_hz"] == 2e6
    assert said["device"] == str(lab / "board")


def test_later_names_are_looked_for_in_a_dry_run(lab: Path, capfd) -> None:
    (lab / "run_0002.sigmf-meta").touch()
    args = ["capture", "--config", "lab.ini", "--to", "run.bin", "--set", "num_runs=4", "--split", "num_runs"]
    assert main([*args, "--dry-run"]) == 1
    assert "run_0002.sigmf-meta exists" in capfd.readouterr().err


def test_dry_run_imports_the_function(lab: Path, capfd) -> None:
    assert main(["capture", "--config", "lab.ini", "--analyse", "needs_more:mean", "--dry-run"]) == 2
    assert "ModuleNotFoundError: No module named 'not_installed_anywhere'" in capfd.readouterr().err


def test_function_that_cannot_be_imported_is_told_at_once_and_costs_nothing(
    clean_cli: CommandLine, lab: Path
) -> None:
    ended = clean_cli(
        "capture", SIM, "--samples", "9", "--to", "none", "--analyse", "needs_more:mean", cwd=lab
    )

    assert "warning: analysis needs_more:mean cannot be had (ModuleNotFoundError" in ended.err


def test_record_refuses_a_function_that_is_not_there(lab: Path) -> None:
    with fc.open(SIM, ring="16MiB") as board, pytest.raises(ConfigError, match="did you mean 'mean'"):
        board.record(None, "none", samples=9, analyse="lab_functions:maen")


# -- looking without importing ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    [
        *(f"lab_functions:{name}" for name in ("mean", "Group.Inner.mean", "conditional", "rounded_down", "number")),
        *("math:floor", "sys:exit", "os.path:join", "json:dumps", "numpy:mean", "__main__:f", "package.inner:f"),
        *("stars:anything", "makers:anything", "tuples:b"),
    ],
)  # fmt: skip
def test_names_that_may_be_there_are_believed(lab: Path, name: str) -> None:
    (lab / "package").mkdir()
    (lab / "package" / "__init__.py").write_text("raise SystemExit('imported')")
    (lab / "package" / "inner.py").write_text("def f(trace): return {}\nraise SystemExit('imported')")
    (lab / "stars.py").write_text("from math import *")
    (lab / "makers.py").write_text("globals()['any' + 'thing'] = len")
    (lab / "tuples.py").write_text("a, (b, *c) = 1, (2, 3)")

    check_function(name, [str(lab)])


@pytest.mark.parametrize(
    "name", ["package.other:f", "package:f", "lab_functions.x:f", "..:f", ".a:f", "a b:c"]
)
def test_names_that_cannot_be_there_are_refused_and_nothing_is_imported(lab: Path, name: str) -> None:
    (lab / "package").mkdir()
    (lab / "package" / "__init__.py").write_text("raise SystemExit('imported')")

    with pytest.raises(ConfigError) as caught:
        check_function(name, [str(lab)])
    assert "\n" not in str(caught.value)
