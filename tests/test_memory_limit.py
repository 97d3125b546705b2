"""A control group's memory limit kills where memory is taken: a ring beyond it is refused before it is made."""

from __future__ import annotations

import re
from pathlib import Path

import numpy as np
import pytest
from cli_runs import COUNTER, counted

from fastcap import ringsize

pytest_plugins = ["command_line"]
MIB = 1 << 20


def test_ring_beyond_the_limit_is_refused_before_it_is_made(clean_cli, cgroup, tmp_path):
    group = cgroup("memory")
    group.limit(256 * MIB)
    run = ("capture", COUNTER, "--to", tmp_path, "--samples", "1000000", "--ring", "160MiB")
    ended = clean_cli(*run, prefix=group.prefix)

    assert ended.status == 1
    found = re.search(rf"ring of {160 * MIB} bytes does not fit: .* memory (\d+) ", ended.error)
    assert found
    assert 0 < int(found[1]) < 256 * MIB
    assert group.oom_kills == 0
    assert not list(tmp_path.iterdir())


def test_ring_within_the_limit_grows_to_its_whole_beside_cached_files(clean_cli, cgroup, tmp_path):
    group = cgroup("memory")
    group.limit(256 * MIB)
    fill = (*group.prefix, "sh", "-c", 'head -c 160M /dev/zero > "$0" && exec "$@"', str(tmp_path / "cached"))
    run = (
        "capture",
        COUNTER,
        "--to",
        tmp_path / "run.bin",
        "--samples",
        "1000000",
        "--ring",
        "96MiB",
        "--json",
    )
    ended = clean_cli(*run, prefix=fill)

    assert ended.status == 0, ended.err
    assert ended.json["ring"]["capacity_bytes"] == 96 * MIB
    assert (counted(tmp_path / "run.bin") == np.arange(1_000_000, dtype=np.uint64)).all()
    assert group.oom_kills == 0


FILES = {
    1: ("4:memory:/a/b\n0::/\n", "memory/a", "memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file"),
    2: ("0::/a/b\n", "a", "memory.max", "memory.current", "inactive_file"),
}  # fmt: skip


@pytest.mark.parametrize("version", FILES)
def test_limit_of_an_ancestor_counts_in_either_version(tmp_path: Path, version: int) -> None:
    own, folder, limit, used, cache = FILES[version]
    (tmp_path / "own").write_text(own)
    for name, most in (("", 10_000), ("b", 9_000)):
        group = tmp_path / "root" / folder / name
        group.mkdir(parents=True)
        (group / limit).write_text(f"{most}\n")
        (group / used).write_text("6000\n" if name == "" else "500\n")
        (group / "memory.stat").write_text(f"{cache} 100\n")

    assert ringsize._cgroup_left(str(tmp_path / "root"), str(tmp_path / "own")) == 4100
    (tmp_path / "root" / folder / limit).write_text("max\n" if version == 2 else "9223372036854771712\n")
    assert ringsize._cgroup_left(str(tmp_path / "root"), str(tmp_path / "own")) == 8600
