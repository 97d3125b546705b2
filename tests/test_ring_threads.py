"""_ring.h under threads: right as it is, and found out where an order is taken away."""

from __future__ import annotations

import os
import re
import subprocess
from pathlib import Path

import pytest
from harness import need_program

import fastcap

PROGRAM = Path(__file__).parent / "c" / "ring_threads.c"
HEADERS = {name: (Path(fastcap.__file__).parent / name).read_text() for name in ("_ring.h", "_map.h")}
RACE = 66
RUNS = 40  # most mistakes show in every run, the rarest in every other
WORDS = 1_000_000

MUTATIONS = {
    "loads do not acquire": (r"(uint64_t fc_load\(.*)__ATOMIC_ACQUIRE", r"\1__ATOMIC_RELAXED"),
    "stores do not release": (r"(void fc_store\(.*)__ATOMIC_RELEASE", r"\1__ATOMIC_RELAXED"),
    "the reader only peeks at tail": (
        r"fc_load\(&c->tail\) \+ c->capacity",
        "fc_peek(&c->tail) + c->capacity",
    ),
    "the reader stores beyond tail + capacity": (
        r"fc_load\(&c->tail\) \+ c->capacity",
        "fc_load(&c->tail) + c->capacity + 4096",
    ),
    "the small ring ends beyond tail + first": (
        r"limit = fc_load\(&c->tail\) \+ c->first;",
        "limit = fc_load(&c->tail) + c->first + 4096;",
    ),
    "the ring grows beyond what is free": (r"store\(&c->grown, limit\)", "store(&c->grown, limit + 16384)"),
    "a grown ring's positions are where they would be from the start": (
        r"large\.origin = grown - first",
        "large.origin = 0",
    ),
    "what lay before a grown ring's new pages is not kept": (
        r"uint64_t o = grown % first",
        "uint64_t o = 0",
    ),
    "every use was valid": (r"return fc_load\(&c->tail\) <= pos", "return 1"),
    "a slot is done with all that is framed": (
        r"return cursor > spilled \? cursor : spilled",
        "return framed",
    ),
    "a full drop entry is not closed by head": (r"d->position = head", "d->position = head + 8"),
}


def build(folder: Path, headers: dict[str, str], *flags: str) -> Path:
    """Compile the program against these texts of the headers."""
    for name, text in headers.items():
        (folder / name).write_text(text)
    program = folder / "ring_threads"
    argv = ["gcc", "-std=gnu11", "-O1", "-g", "-Wall", "-Wextra", "-pthread", *flags, f"-I{folder}"]
    done = subprocess.run(
        [*argv, str(PROGRAM), "-o", str(program)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, seed: int, words: int = WORDS) -> subprocess.CompletedProcess[str]:
    options = f"halt_on_error=1 exitcode={RACE} report_thread_leaks=0"
    env = {**os.environ, "TSAN_OPTIONS": options}
    argv = [str(program), str(words), str(seed)]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=120, env=env)


def counts(output: str) -> dict[str, int]:
    return {name: int(n) for name, n in re.findall(r"(\w+) (\d+)", output)}


@pytest.fixture(autouse=True)
def _gcc() -> None:
    need_program("gcc", "gcc")


@pytest.mark.parametrize("flags", [("-fsanitize=thread",), ("-fsanitize=address,undefined",), ()])
def test_every_word_is_right_under_threads(flags: tuple[str, ...], tmp_path: Path) -> None:
    program = build(tmp_path, HEADERS, *flags)
    seen = {"dropped": 0, "waits": 0, "overruns": 0}
    for seed in (1, 2, 3):
        done = run(program, seed)
        assert done.returncode == 0, done.stderr
        seen = {name: n + counts(done.stdout)[name] for name, n in seen.items()}
    assert all(seen.values()), f"a run that shows nothing: {seen}"


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_header_with_a_mistake_is_found_out(mutation: str, tmp_path: Path) -> None:
    pattern, replacement = MUTATIONS[mutation]
    found = {name: re.subn(pattern, replacement, text) for name, text in HEADERS.items()}
    assert sum(changes for _, changes in found.values()) == 1
    broken = {name: text for name, (text, _) in found.items()}
    program = build(tmp_path, broken, "-fsanitize=thread")

    for seed in range(1, RUNS + 1):
        done = run(program, seed)
        if done.returncode:
            break

    assert done.returncode in (1, RACE), f"{RUNS} runs found nothing wrong"
    assert "data race" in done.stderr or "expected" in done.stderr or "kept, dropped" in done.stderr
