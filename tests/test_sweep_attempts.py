"""Which number an attempt has, how often one is made, and what a finished recording is held against."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from made_files import counter_words, ledger_entry, make_report, write_capture
from sweep_fixtures import SIM, Device, events, order

import fastcap as fc
from fastcap.errors import SweepError
from fastcap.sweeping.attempts import Attempts
from fastcap.sweeping.finish import _unverified, fault
from fastcap.sweeping.store import Store
from fastcap.verdict import settle

ORDER = order([0.0, 1.0, 2.0, 3.0])
SHOTS = list(ORDER)


def begun(*numbers: int) -> list[dict[str, Any]]:
    """Return the journal's entries of attempts at the first recording."""
    return [{"event": "begin", "key": ORDER.key(SHOTS[0]), "attempt": number} for number in numbers]


def attempts(folder: Path, entries: list[dict[str, Any]] = [], **options: Any) -> Attempts:  # noqa: B006
    return Attempts(Store(ORDER, entries), folder, **{"retries": 1, "when": "now", **options})


@pytest.mark.parametrize(
    ("journalled", "files", "number"),
    [
        ((), (), 1),
        ((1,), (), 2),
        ((3, 2), (), 4),
        ((1,), ("a7.bin",), 8),
        ((9,), ("a7.bin",), 10),
        ((), ("a1.bin.part",), 2),
        ((), ("a2.sigmf-meta", "a1.bin"), 3),
        ((), ("a5.index.part",), 6),
        ((), ("a10.bin", "a9.bin"), 11),
        ((), ("a3.txt", "b_a5.bin"), 1),
    ],
)
def test_attempt_s_number_is_above_all_in_the_journal_and_all_whose_files_are_there(
    tmp_path: Path, journalled: tuple[int, ...], files: tuple[str, ...], number: int
) -> None:
    point = ORDER.point(SHOTS[0])
    for name in files:
        (tmp_path / f"{point}_{name}").touch()
    (tmp_path / f"{ORDER.point(SHOTS[1])}_a20.bin").touch()

    tried = attempts(tmp_path, begun(*journalled))

    assert [tried.number(SHOTS[0]) for _ in range(2)] == [number, number + 1]
    assert tried.number(SHOTS[1]) == 21


@pytest.mark.parametrize("retries", [0, 1, 2])
@pytest.mark.parametrize("when", ["now", "end"])
def test_recording_that_fails_is_made_again_so_often_and_no_oftener(
    tmp_path: Path, retries: int, when: str
) -> None:
    tried = attempts(tmp_path, retries=retries, when=when)
    shot = tried.todo.popleft()
    for _ in range(retries):
        assert tried.failed(shot, "broken")
        assert tried.todo[0 if when == "now" else -1] == shot
        tried.todo.remove(shot)
    assert not tried.failed(shot, "broken")
    assert list(tried.todo) == SHOTS[1:]


def test_sweep_ends_when_three_recordings_in_a_row_are_given_up(tmp_path: Path) -> None:
    tried = attempts(tmp_path, retries=0)
    for shot in SHOTS[:2]:
        assert not tried.failed(shot, "broken")
    tried.succeeded()
    for shot in SHOTS[:2]:
        assert not tried.failed(shot, "broken")
    with pytest.raises(SweepError, match="3 recordings in a row failed for good, the last for this: broken"):
        tried.failed(SHOTS[2], "broken")


def test_what_is_done_is_not_to_be_done(tmp_path: Path) -> None:
    done = {"event": "done", "key": ORDER.key(SHOTS[1])}
    assert list(attempts(tmp_path, [done]).todo) == [SHOTS[0], *SHOTS[2:]]


def test_only_a_complete_recording_without_any_loss_counts() -> None:
    assert fault(make_report()) is None
    for report in (
        make_report(ledger=[ledger_entry(3, 10)]),
        make_report(ledger=[ledger_entry(3, None, "unknown")]),
        make_report(board={"estimated_words_lost": 7, "detectable_words": 5}),
        make_report(interrupted=True),
        make_report(complete=False),
    ):
        assert fault(report | settle(report, arrived=report["complete"])), report


@pytest.mark.parametrize("how", ["size", "read"])
def test_file_is_held_against_its_report(tmp_path: Path, how: Any) -> None:
    path = tmp_path / "one.bin"
    report = write_capture(path, counter_words(0, 1000))
    whole = path.read_bytes()
    assert _unverified(report, how) is None

    for wrong in (whole[:-8], whole + bytes(8)):
        path.write_bytes(wrong)
        assert f"has {len(wrong)} bytes, not the {len(whole)}" in (_unverified(report, how) or "")
    path.write_bytes(whole[:-1] + b"x")
    assert (_unverified(report, how) is None) == (how == "size")
    path.write_bytes(whole)
    path.with_suffix(".sigmf-meta").unlink()
    assert "is not there" in (_unverified(report, how) or "")
    path.unlink()
    assert "is not there" in (_unverified(report, how) or "")


def test_no_axis_is_believed_to_be_where_it_was_when_another_failed(tmp_path: Path) -> None:
    first, second = Device(), Device(fails=1)
    axes = [fc.Axis(device, [0.0], name=name) for device, name in ((first, "x"), (second, "y"))]
    with fc.open(SIM, ring="16MiB") as board:
        res = fc.sweep(board, *axes, save=tmp_path / "s", progress=False)

    assert res.complete
    assert (first.history, second.history) == ([0, 0], [0])
    assert [e["attempt"] for e in events(tmp_path / "s", "begin")] == [2]
