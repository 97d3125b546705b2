"""What everybody may know about a session, and what becomes of it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from fastcap.workers import statusfile
from fastcap.workers.statusfile import StatusFile


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
