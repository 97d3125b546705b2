"""``fastcap index``: what it says, what it leaves, and its errors in one line."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_files import ARGV, START, counter_words

from fastcap.cli import main
from fastcap.stream import build_header

HEADER = build_header(ARGV, START)


def write(path: Path, words: int) -> str:
    path.write_bytes(HEADER + counter_words(0, words))
    return str(path)


def test_index_leaves_one_beside_each_file(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, b = write(tmp_path / "a.bin", 70_000), write(tmp_path / "b.bin", 5)

    assert main(["index", a, b]) == 0
    first, second = capsys.readouterr().out.splitlines()
    assert first.startswith(f"{a}: 70,000 words, 2 of 2 blocks read in ")
    assert first.endswith(str(tmp_path / "a.index"))
    assert second.startswith(f"{b}: 5 words, 1 of 1 blocks")
    assert main(["index", a]) == 0
    assert capsys.readouterr().out == f"{a}: 70,000 words, {tmp_path / 'a.index'} was there\n"


def test_index_prints_one_json_object(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    a, none = write(tmp_path / "a.bin", 70_000), write(tmp_path / "none.bin", 0)

    assert main(["index", a, none, "--json"]) == 0
    out, err = capsys.readouterr()
    told = json.loads(out)
    assert {k: v for k, v in told["files"][0].items() if k != "took_s"} == {
        "path": a, "index": str(tmp_path / "a.index"), "words": 70_000, "blocks": 2, "made_blocks": 2,
    }  # fmt: skip
    assert (told["files"][1]["index"], told["files"][1]["words"]) == (None, 0)
    assert "nothing to index" in err


@pytest.mark.parametrize(
    ("content", "said"), [(b"", "0 bytes"), (b"text text text", "looks like text"), (None, "No such file")]
)
def test_index_of_what_is_no_trace_is_an_error_of_one_line(
    content: bytes | None, said: str, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "a.bin"
    if content is not None:
        path.write_bytes(content)

    assert main(["index", str(path)]) == 1
    out, err = capfd.readouterr()
    assert (out, err.count("\n")) == ("", 1)
    assert said in err
    assert str(path) in err


def test_index_without_a_file_is_wrong_usage(capfd: pytest.CaptureFixture[str]) -> None:
    assert main(["index"]) == 2
    assert "fastcap index --help" in capfd.readouterr().err


def test_a_bad_file_among_others_does_not_keep_them_from_theirs(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    bad, good = str(tmp_path / "bad.bin"), write(tmp_path / "good.bin", 100)

    assert main(["index", bad, good, "--json"]) == 1
    first, second = json.loads(capsys.readouterr().out)["files"]
    assert (first["path"], "No such file" in first["error"]) == (bad, True)
    assert second["index"] == str(tmp_path / "good.index")
