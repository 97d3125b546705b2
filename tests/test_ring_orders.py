"""_ring.h on a machine with weak memory orders: every outcome the orders allow is right, and each fence is needed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from harness import need_program

import fastcap

HERE = Path(__file__).parent / "c"
HEADER = (Path(fastcap.__file__).parent / "_ring.h").read_text()
EXECUTIONS = 10_000  # of each scenario, systematically, and as many at random

MISTAKES = {
    "a publication's wake is not fenced": ("arrival", "fc_bump", r"fc_fence_full\(&c->seq\);", ""),
    "the splitter's flag is not fenced": ("arrival", "fc_sleep", r"fc_fence_full\(&c->seq\);", ""),
    "a consumer's flag is not fenced": ("events", "fc_sleep_slot", r"fc_fence_full\(&c->seq\);", ""),
    "a consumer's cursor is not fenced": ("wrap", "fc_advance", r"fc_fence_full\(&c->seq\);", ""),
    "who waits for room asks before its flag is up": (
        "wrap",
        "fc_ask_for_room",
        r"fc_fence_full\(&c->seq\);",
        "",
    ),
    "the splitter is not asked when a drop begins": (
        "dropping",
        "fc_begin_dropping",
        r"fc_ask_for_room\(c\);",
        "",
    ),
    "memory is used again before its tail is seen": (
        "overrun",
        "fc_store_limit",
        r"fc_fence_release\(&c->tail\);",
        "",
    ),
    "tail is looked at before the copy": ("overrun", "fc_still_valid", r"fc_fence_acquire\(&c->tail\);", ""),
    "the log's begin is looked at before the record": (
        "log",
        "fc_events_from",
        r"fc_fence_acquire\(&c->events_from\);",
        "",
    ),
    "framed is seen before its events": (
        "events",
        "fc_readable",
        r"fc_load\(&c->framed\)",
        "fc_peek(&c->framed)",
    ),
}


@pytest.fixture(scope="module")
def explorer(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_program("gcc", "gcc")
    compiled = tmp_path_factory.mktemp("explorer") / "weak_memory.o"
    compile_c("-O2", "-Wno-clobbered", "-c", HERE / "weak_memory.c", "-o", compiled)
    return compiled


def compile_c(*arguments: str | Path) -> None:
    argv = ["gcc", "-std=gnu11", "-g", "-Wall", "-Wextra", *map(str, arguments)]
    done = subprocess.run(argv, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def build(folder: Path, explorer: Path, header: str) -> Path:
    """Compile the scenarios against this text of the header."""
    (folder / "_ring.h").write_text(header)
    program, scenarios = folder / "ring_orders", folder / "ring_orders.o"
    # what fences mean is asked of the explorer, not of the sanitiser: -Wno-tsan
    compile_c(
        "-O1", "-fsanitize=thread", "-Wno-tsan", f"-I{folder}", "-c", HERE / "ring_orders.c", "-o", scenarios
    )
    compile_c(scenarios, explorer, "-o", program)
    return program


def run(program: Path, *scenarios: str) -> subprocess.CompletedProcess[str]:
    argv = [str(program), "-x", str(EXECUTIONS), "-n", str(EXECUTIONS), *scenarios]
    return subprocess.run(argv, capture_output=True, text=True, check=False, timeout=300)


def test_every_outcome_that_weak_orders_allow_is_right(explorer: Path, tmp_path: Path) -> None:
    done = run(build(tmp_path, explorer, HEADER))
    assert (done.returncode, done.stderr) == (0, ""), done.stdout[-20_000:]
    assert len(re.findall(r"executions \d+ all [01] random", done.stdout)) == 12


@pytest.mark.parametrize("mistake", MISTAKES)
def test_an_order_left_out_is_found_out(mistake: str, explorer: Path, tmp_path: Path) -> None:
    scenario, function, old, new = MISTAKES[mistake]
    begin = re.search(rf"^static inline .*\b{function}\(", HEADER, re.MULTILINE)
    assert begin is not None
    end = HEADER.index("\n", begin.start())
    if "}" not in HEADER[begin.start() : end]:
        end = HEADER.index("\n}\n", begin.start())
    body, changes = re.subn(old, new, HEADER[begin.start() : end])
    assert changes == 1

    done = run(build(tmp_path, explorer, HEADER[: begin.start()] + body + HEADER[end:]), scenario)

    assert done.returncode == 1, f"{EXECUTIONS} executions found nothing wrong"
    assert re.search(r"lost wake-up|data race|what was read|believed|events, framed", done.stderr), (
        done.stderr
    )
