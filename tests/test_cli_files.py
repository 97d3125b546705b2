"""``fastcap demo``, ``info`` and ``verify`` from outside."""

from __future__ import annotations

from pathlib import Path

import pytest
from cli_runs import CommandLine

pytest_plugins = ["command_line"]


@pytest.fixture
def captured(cli: CommandLine, tmp_path: Path) -> Path:
    """A finished capture."""
    path = tmp_path / "run.bin"
    ended = cli("capture", "sim://?rate=2MHz&pattern=counter&speed=max", "--to", path, "--samples", "100000")
    assert ended.status == 0, ended.err
    return path


def test_info_tells_what_a_file_holds(cli: CommandLine, captured: Path) -> None:
    assert cli("info", captured, "--json").json["words"] == 100_000
    assert "100,000" in cli("info", captured).out


def test_info_of_nothing_is_one_line(cli: CommandLine, tmp_path: Path) -> None:
    ended = cli("info", tmp_path / "nothing.bin")
    assert ended.status == 1
    assert "nothing.bin" in ended.error


def test_verify_tells_good_from_bad(cli: CommandLine, captured: Path) -> None:
    good = cli("verify", captured, "--json")
    assert (good.status, good.json["ok"]) == (0, True)
    with captured.open("r+b") as file:
        file.seek(5000)
        file.write(b"\xff")
    bad = cli("verify", captured)
    assert bad.status == 1
    assert "NOT" in bad.out


def test_demo_loses_nothing_and_can_be_repeated(clean_cli: CommandLine, tmp_path: Path) -> None:
    first = clean_cli("demo", "--seconds", "2", "--out", tmp_path / "demo", "--json")
    second = clean_cli("demo", "--seconds", "2", "--out", tmp_path / "demo")

    assert (first.status, second.status) == (0, 0), first.err + second.err
    told = first.json
    (injected,) = told["injected_stalls"]
    (stall,) = [s for s in told["report"]["sink"]["stalls"] if s["for_s"] > injected["for_s"] / 2]
    end = injected["at_s"] + injected["for_s"]
    assert injected["at_s"] <= stall["at_s"] + 0.02
    assert stall["at_s"] + stall["for_s"] == pytest.approx(end, abs=0.1)
    assert injected["for_s"] == pytest.approx(injected["survives_s"] / 2, abs=0.001)
    assert told["report"]["words_lost"] == 0
    assert told["verified"]["ok"] is True
    assert "lost       nothing" in second.out
    assert len(list((tmp_path / "demo").glob("*.bin"))) == 2
    assert len(list((tmp_path / "demo").glob("*.sigmf-meta"))) == 2
    assert told["picture"] is None or len(list((tmp_path / "demo").glob("*.png"))) == 2
