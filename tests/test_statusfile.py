"""What everybody may know about a session, and what becomes of it."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from fastcap.commands.status import _lines, _told
from fastcap.workers import statusfile
from fastcap.workers.statusfile import PREFIX, StatusFile, read_all


@pytest.fixture(autouse=True)
def there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a directory that stands for /run/lock."""
    (where := tmp_path / "lock").mkdir()
    monkeypatch.setattr(statusfile, "LOCK_DIRS", (str(where),))
    return where


def session(folder: Path) -> StatusFile:
    return StatusFile({"ring_bytes": 1 << 20}, str(folder))


def names(there: Path) -> list[str]:
    return sorted(json.loads(path.read_bytes())["session"] for path in there.iterdir())


def test_session_left_behind_is_known_until_its_folder_is_gone(there: Path, tmp_path: Path) -> None:
    (folder := tmp_path / "left").mkdir()
    session(folder).close(left_behind=True)
    session(tmp_path / "next").close(left_behind=False)
    assert names(there) == ["left"]

    folder.rmdir()
    third = session(tmp_path / "third")
    assert names(there) == ["third"]
    third.close(left_behind=False)


def test_session_that_lives_is_known_without_its_folder(there: Path, tmp_path: Path) -> None:
    living = session(tmp_path / "living")
    session(tmp_path / "next").close(left_behind=False)

    assert names(there) == ["living"]
    living.close(left_behind=False)


# -- what else may stand there ---------------------------------------------------------------------------

RECORDING: dict[str, Any] = {
    "recording": 1, "state": "running", "bytes": 8, "dropped_bytes": 0, "backlog_bytes": 0, "stalled_s": 0.0,
    "silent_s": 0.0, "elapsed_s": 1.5, "trouble": None, "device": None, "destination": "/mnt", "expected_end": None,
}  # fmt: skip
SESSION: dict[str, Any] = {
    "session": "made-up", "folder": "/dev/shm/made-up", "uid": 0, "user": "eve", "pid": 7, "label": "a board",
    "started": "now", "ring_bytes": 1 << 20, "recordings": [RECORDING], "at": 0.0,
}  # fmt: skip


def _text(content: Any) -> Callable[[Path], object]:
    return lambda path: path.write_text(json.dumps(content) if isinstance(content, dict) else content)


def _socket(path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))


def _shut(path: Path) -> None:
    path.write_text(json.dumps(SESSION))
    os.chown(path, 65534, 65534)


HOSTILE: dict[str, Callable[[Path], object]] = {
    "a FIFO": os.mkfifo,
    "a directory": Path.mkdir,
    "a link to a file": lambda path: (path.with_suffix(".x").write_text("{}"), path.symlink_to(path.with_suffix(".x"))),
    "a dangling link": lambda path: path.symlink_to("nowhere"),
    "a socket": _socket,
    "a device": lambda path: os.mknod(path, 0o20644, os.makedev(1, 5)),
    "a terminal": lambda path: os.mknod(path, 0o20644, os.makedev(5, 0)),
    "a huge file": lambda path: (path.write_bytes(b""), os.truncate(path, 1 << 40)),
    "another user's under this name": _shut,
    "nothing in it": _text(""),
    "deep nesting": _text("[" * 1_000_000),
    "deep nesting that ends": _text("[" * 900 + "]" * 900),
    "a long number": _text('{"pid": ' + "9" * 100_000 + "}"),
    "no text": lambda path: path.write_bytes(bytes(range(256))),
    "no object": _text("[1]"),
}  # fmt: skip


@pytest.mark.parametrize("case", HOSTILE)
def test_what_is_no_status_file_is_passed_by(there: Path, tmp_path: Path, case: str) -> None:
    HOSTILE[case](there / f"{PREFIX}{os.getuid()}-made-up.json")

    assert read_all() == []
    mine = session(tmp_path / "mine")
    assert [s["session"] for s in read_all()] == ["mine"]
    mine.close(left_behind=False)


WRONG = [None, True, -1, 1.5, float("nan"), float("inf"), 10**30, "text", "\0", [], [1], {}, {"a": []}]


@pytest.mark.parametrize("key", [*SESSION, *(f"recordings.{key}" for key in RECORDING)])
def test_field_of_any_type_breaks_nothing(there: Path, tmp_path: Path, key: str) -> None:
    path = there / f"{PREFIX}{os.getuid()}-made-up.json"
    for value in WRONG:
        content = json.loads(json.dumps(SESSION))
        *inside, last = key.split(".")
        (content["recordings"][0] if inside else content)[last] = value
        path.write_text(json.dumps(content))
        found = read_all()
        list(_lines([_told(s) for s in found], []))
        assert all(s["uid"] == os.getuid() for s in found)
        session(tmp_path / "mine").close(left_behind=False)


def test_others_cannot_forge_lines(there: Path) -> None:
    path = there / f"{PREFIX}{os.getuid()}-made-up.json"
    path.write_text(
        json.dumps({**SESSION, "label": "a\nb\x1b[31m", "recordings": [{**RECORDING, "trouble": "x\r"}]})
    )

    lines = list(_lines([_told(s) for s in read_all()], []))

    assert len(lines) == 2
    assert all(line.isprintable() for line in lines)


def test_file_that_vanishes_between_listing_and_opening_is_none(
    there: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(statusfile, "_names", lambda folder: [f"{PREFIX}{os.getuid()}-gone.json"])

    assert read_all() == []


def test_lock_that_somebody_else_holds_stops_nobody(there: Path, tmp_path: Path, monkeypatch: Any) -> None:
    opened = os.open

    def opened_by_another_first(path: Any, *args: Any, **options: Any) -> int:
        fd = opened(path, *args, **options)
        if str(path).endswith("mine.json") and not held:
            held.append(opened(path, os.O_RDONLY))
            fcntl.flock(held[0], fcntl.LOCK_EX)
        return fd

    held: list[int] = []
    monkeypatch.setattr(os, "open", opened_by_another_first)
    mine = session(tmp_path / "mine")
    assert [s["session"] for s in read_all()] == ["mine"]
    mine.close(left_behind=False)
    os.close(held[0])


def test_removed_file_is_made_anew_and_its_end_is_quiet(there: Path, tmp_path: Path) -> None:
    mine = session(tmp_path / "mine")
    for path in there.iterdir():
        path.unlink()
    mine.write([])
    assert [(s["session"], s["alive"]) for s in read_all()] == [("mine", True)]

    for path in there.iterdir():
        path.unlink()
        path.write_text("somebody else's")
    mine.close(left_behind=False)
    assert [path.read_text() for path in there.iterdir()] == ["somebody else's"]


def test_removed_directory_ends_nothing(there: Path, tmp_path: Path) -> None:
    mine = session(tmp_path / "mine")
    for path in there.iterdir():
        path.unlink()
    there.rmdir()
    mine.write([])
    mine.close(left_behind=False)
    assert read_all() == []


@pytest.mark.parametrize("how", ["short", "none"])
def test_full_disk_leaves_a_file_that_can_be_read(
    there: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    mine = session(tmp_path / "mine")
    real = os.pwrite

    def full(fd: int, data: bytes, offset: int) -> int:
        if len(data) > 4096 and how == "none":
            raise OSError(errno.ENOSPC, "No space left on device")
        return real(fd, data[:4096], offset)

    monkeypatch.setattr(os, "pwrite", full)
    mine.write([{**RECORDING, "destination": "/" + "x" * 8000}])

    assert [(s["session"], s["recordings"]) for s in read_all()] == [("mine", [])]
    mine.close(left_behind=False)
