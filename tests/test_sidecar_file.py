"""A sidecar beside its file: written, replaced by its own capture, and by nobody else."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from made_files import make_report

from fastcap.workers.directory import Directory, SinkFailed
from fastcap.workers.sidecar_file import replace_report, write_sidecar


def directory(path: Path) -> Directory:
    made = Directory(str(path))
    made.open()
    return made


def told(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "one.sigmf-meta").read_text())["global"]["fastcap:report"]
    return found


@pytest.mark.parametrize("moved", [False, True])
def test_own_sidecar_is_replaced_also_where_the_directory_was_moved(tmp_path: Path, moved: bool) -> None:
    first = make_report(path=str(tmp_path / "one.bin"))
    write_sidecar(directory(tmp_path), first, b"", 0, None)
    where = "/elsewhere" if moved else str(tmp_path)
    write_sidecar(directory(tmp_path), {**first, "path": f"{where}/one.bin", "meta": {}}, b"", 0, None)

    assert (told(tmp_path)["path"], told(tmp_path)["meta"]) == (f"{where}/one.bin", {})
    assert [p.name for p in tmp_path.iterdir()] == ["one.sigmf-meta"]


@pytest.mark.parametrize("other", [{"started": "2026-11-23T10:00:00+08:00"}, {"bytes": 8}])
def test_sidecar_of_another_capture_stays_as_it_is(tmp_path: Path, other: dict[str, Any]) -> None:
    first = make_report(path=str(tmp_path / "one.bin"))
    write_sidecar(directory(tmp_path), {**first, **other}, b"", 0, None)
    before = (tmp_path / "one.sigmf-meta").read_bytes()

    with pytest.raises(SinkFailed, match="File exists"):
        write_sidecar(directory(tmp_path), first, b"", 0, None)

    assert (tmp_path / "one.sigmf-meta").read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == ["one.sigmf-meta"]


@pytest.mark.parametrize("content", [b"", b"[]", b"{", b'{"global": {"fastcap:report": {"path": 1}}}'])
def test_what_is_no_sidecar_is_nobody_s_to_replace(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "one.sigmf-meta").write_bytes(content)
    with pytest.raises(SinkFailed, match="File exists"):
        write_sidecar(directory(tmp_path), make_report(path=str(tmp_path / "one.bin")), b"", 0, None)
    assert (tmp_path / "one.sigmf-meta").read_bytes() == content


def test_report_that_has_grown_is_put_where_the_old_one_was(tmp_path: Path) -> None:
    report = make_report(path=str(tmp_path / "one.bin"))
    with pytest.raises(SinkFailed, match="read the sidecar"):
        replace_report(directory(tmp_path), report)
    write_sidecar(directory(tmp_path), report, b"", 7, None)

    replace_report(directory(tmp_path), {**report, "analysis": {"mean": 1}})

    assert told(tmp_path)["analysis"] == {"mean": 1}
    assert json.loads((tmp_path / "one.sigmf-meta").read_text())["global"]["fastcap:first_word"] == 7
