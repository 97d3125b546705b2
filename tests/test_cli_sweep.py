"""``fastcap sweep``: plans, errors that point at the key, going on, exit statuses."""

from __future__ import annotations

import errno
import json
import signal

import pytest
from support import wait_until
from sweep_fixtures import events

pytest_plugins = ["command_line"]

PLAN = """
folder = "out"
[board]
source = "sim://?rate=2MHz&voa={name}&fifo=512MiB"
ring = "16MiB"
[devices.voa]
kind = "voa"
port = "sim://voa?name={name}"
at_exit = "zero"
[[axes]]
name = "volt"
target = "voa.0.volt"
updown = [0, 4, 2]
[record]
length = "20ms"
[analysis]
function = "mine:analyse"
[readings]
set = "voa.0.volt"
[meta]
fibre = "F12"
"""
MINE = """
def analyse(tr):
    return {"r": tr.radius()[12_000:].mean()}
def bad(tr):
    raise RuntimeError("no")
"""


@pytest.fixture
def place(tmp_path):
    (tmp_path / "mine.py").write_text(MINE)
    (tmp_path / "plan.toml").write_text(PLAN.format(name=tmp_path / "voa.tie"))
    return tmp_path


def edited(place, *pairs):
    text = (place / "plan.toml").read_text()
    for old, new in pairs:
        assert old in text
        text = text.replace(old, new)
    (place / "plan.toml").write_text(text)


@pytest.mark.fuse
def test_kept_plan_is_whole_or_kept_again(clean_cli, place, faultfs):
    fs = faultfs()
    edited(place, ('folder = "out"', f'folder = "{fs.mount}/out"'))
    fs.error("write", errno.ENOSPC, path="*plan.toml*", count=None)
    assert clean_cli("sweep", "plan.toml", cwd=place).status == 1
    fs.clear()

    assert clean_cli("sweep", "plan.toml", cwd=place).status == 0
    assert (fs.backing / "out" / "plan.toml").read_bytes() == (place / "plan.toml").read_bytes()
    assert "4/4 done" in clean_cli("sweep", f"{fs.mount}/out", "--resume").out


def test_plan_is_run_resumed_extended_and_analysed_again(clean_cli, place):
    done = clean_cli("sweep", "plan.toml", "--json", cwd=place)
    assert done.status == 0, done.err
    assert (done.json["done"], done.json["keys"], done.json["failed"]) == (4, ["r"], [])
    assert clean_cli("sweep", "plan.toml", cwd=place).status == 1
    assert "4/4 done" in clean_cli("sweep", "out", "--resume", cwd=place).out

    edited(place, ("updown = [0, 4, 2]", "updown = [0, 4, 3]"))
    refused = clean_cli("sweep", "plan.toml", "--resume", cwd=place)
    assert refused.status == 1
    assert "volt: 4 values from 0 to 4 -> 6 values" in refused.error
    assert clean_cli("sweep", "plan.toml", "--extend", "--json", cwd=place).json["done"] == 6

    bad = clean_cli("sweep", "out", "--reanalyse", "mine:bad", "--json", cwd=place)
    assert bad.status == 3
    assert {f["why"] for f in bad.json["failed"]} == {"analysis: RuntimeError: no"}
    assert clean_cli("sweep", "out", "--reanalyse", "mine:analyse", cwd=place).status == 0
    assert clean_cli("sweep", "out", cwd=place).status == 0


def test_dry_run_tells_and_starts_nothing(clean_cli, place):
    told = clean_cli("sweep", "plan.toml", "--dry-run", cwd=place)

    assert told.status == 0
    assert "volt 4 V down" in told.out
    assert "are free" in told.out
    assert clean_cli("sweep", "plan.toml", "--dry-run", "--json", cwd=place).json["left"] == 4
    assert not (place / "out").exists()


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (('folder = "out"', ""), "has no folder"),
        (("updown", "updwon"), "[axes 1] has an unknown key 'updwon'; did you mean 'updown'"),
        (("updown = [0, 4, 2]", "updown = [0, 5, 2]"), "[axes 1] updown: channel 0 volt of 5 V is not from 0"),
        (("updown = [0, 4, 2]", "updown = [0, 4]"), "[axes 1] updown: "),
        (("updown = [0, 4, 2]", "values = 3"), "[axes 1] values: 3 is not a list of 1 or more numbers"),
        (("voa.0.volt\"\nupdown", "vao.0.volt\"\nupdown"), "[axes 1] target: there is no device 'vao'"),
        (("voa.0.volt\"\nupdown", "voa.9.volt\"\nupdown"), "[axes 1] target: 'voa.9.volt'"),
        (("voa.0.volt\"\nupdown", "mine:nope\"\nupdown"), "[axes 1] target: 'mine:nope' is not found"),
        (('kind = "voa"', 'kind = "vao"'), "[devices.voa] kind: 'vao' is not one of voa, laser, scpi, command"),
        (('length = "20ms"', 'lenght = "20ms"'), "[record] has an unknown key 'lenght'"),
        (('set = "voa.0.volt"', 'set = "voa.0"'), "[readings] set: "),
        (("[board]\nsource", "[board]\nsuorce"), "[board] has an unknown key 'suorce'"),
        (("rate=2MHz", "rate=2Mhz"), "[board] source: "),
        (("[analysis]", "[analysis"), "cannot be read"),
        (('length = "20ms"', 'length = "20 parsecs"'), "[record] length: "),
        (('length = "20ms"', 'length = "0s"'), "[record] length: '0s' is not above 0"),
        (('length = "20ms"', 'length = "20ms"\nsamples = 5'), "[record] has both length and samples"),
        (('length = "20ms"', "repeats = 0"), "[record] repeats: 0 is not a whole number of at least 1"),
        (('length = "20ms"', 'fifo = "-1s"'), "[record] fifo: "),
        (('length = "20ms"', 'gapless = "yes"'), "[record] gapless: 'yes' is neither true nor false"),
        (('updown = [0, 4, 2]', 'updown = [0, 4, 2]\nsettle = "soon"'), "[axes 1] settle: "),
        (('updown = [0, 4, 2]', 'updown = [0, 4, 2]\nvalues = [1]'), "[axes 1] has values and updown; give one"),
        (('updown = [0, 4, 2]', 'updown = [0, "4", 2]'), "[axes 1] updown: '4' is not a number"),
        (('updown = [0, 4, 2]', 'updown = [0, 4, 1]'), "[axes 1] updown: 1 point"),
        (("port = ", "prot = "), "[devices.voa] has an unknown key 'prot'; did you mean 'port'"),
        (('port = "sim://voa', 'port = 3 # "'), "[devices.voa] port: 3 is not a text in quotes"),
        (('at_exit = "zero"', 'timeout_s = "long"'), "[devices.voa] timeout_s: 'long' is not a number"),
        (('at_exit = "zero"', 'at_exit = "zreo"'), "[devices.voa]: at_exit of 'zreo' is not"),
        (('ring = "16MiB"', 'ring = "much"'), "[board] ring: "),
        (('ring = "16MiB"', 'config = "board.ini"'), "[board] has config and source; give one of"),
        (('function = "mine:analyse"', 'function = "mine"'), "[analysis] function: 'mine' is not MODULE:FUNCTION"),
    ],
)  # fmt: skip
def test_errors_point_at_the_key(cli, place, change, message):
    edited(place, change)
    done = cli("sweep", "plan.toml", "--dry-run", cwd=place)

    assert done.status == 2
    assert message in done.error


def test_dry_run_looks_the_analysis_up(clean_cli, place):
    edited(place, ("mine:analyse", "mine:analsye"))
    told = clean_cli("sweep", "plan.toml", "--dry-run", cwd=place)

    assert told.status == 2
    assert "has no 'analsye'; did you mean 'analyse'?" in told.error


def test_dry_run_with_a_problem_ends_as_the_sweep_would(clean_cli, place):
    (place / "mine.py").write_text("import not_there\n" + (place / "mine.py").read_text())
    told = clean_cli("sweep", "plan.toml", "--dry-run", "--json", cwd=place)

    assert told.status == 1
    (problem,) = told.json["problems"]
    assert problem.startswith("analysis mine:analyse: ModuleNotFoundError")


@pytest.mark.parametrize(
    "args", [["nowhere.toml"], ["."], [".", "--resume"], ["plan.toml", "--reanalyse", "a:b"]]
)
def test_what_is_no_sweep_is_said_so(cli, place, args):
    done = cli("sweep", *args, cwd=place)

    assert done.status in (1, 2)
    assert done.error


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interrupted_sweep_leaves_the_device_as_planned_and_goes_on(clean_cli, place, number):
    edited(place, ('length = "20ms"', 'length = "500ms"'), ("0, 4, 2", "4, 0, 2"))
    running = clean_cli.start("sweep", "plan.toml", cwd=place)
    journal = place / "out" / "journal.jsonl"
    wait_until(lambda: journal.exists() and len(events(place / "out", "begin")) >= 2, 60, "second point")
    running.send_signal(number)
    ended = clean_cli.finish(running)

    assert ended.status == 130
    assert events(place / "out", "end")[-1]["why"] == "interrupted"
    got = clean_cli("voa", f"sim://voa?name={place / 'voa.tie'}", "get", "0", "--json")
    assert got.json["volt"] == 0
    resumed = clean_cli("sweep", "out", "--resume", "--json", cwd=place)
    assert resumed.status == 0
    assert json.loads(resumed.out)["done"] == 4
