"""SIGKILL after every single instruction of what processes do to a ring: consistent, and gone on with."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest
from harness import need_program

import fastcap

PROGRAM = "ring_instructions.c"
OURS, THE_ENGINES = Path(__file__).parent / "c", Path(fastcap.__file__).parent
SOURCES = [OURS / name for name in (PROGRAM, "ring_operations.h", "ring_turns.h")]
TEXTS = {path.name: path.read_text() for path in (*SOURCES, THE_ENGINES / "_ring.h", THE_ENGINES / "_map.h")}

LEAST_KILLS = {
    "publish": 50, "grow": 150, "drop": 50, "store-again": 80, "recover": 20, "recover-dropping": 20, "frame": 50,
    "gaps": 50, "free-tail": 40, "grant": 50, "free-slot": 40, "consume": 40, "claim": 20, "withdraw": 40,
    "adopt-leave": 60, "wait-room": 30, "wait-arrival": 30, "wait-framed": 50,
}  # fmt: skip

# operation that finds it out, what to look for, what to put there
MUTATIONS = {
    "head tells of bytes that are not there yet": (
        "publish",
        r"n = read\(pipe_ends\[0\], at\(head\), piece\);",
        r"fc_publish_head(c, head + piece); \g<0>",
    ),
    "recovery takes head back to the start first": (
        "recover",
        r"head = start \+ taken - (\(d \? .*\));\n",
        r"fc_store(&c->head, start); \g<0>",
    ),
    "a drop is counted before its entry is written": (
        "drop",
        r"    d->position = head;\n",
        r"    fc_store(&c->ndrops, n + 1);\n\g<0>",
    ),
    "dropping begins before there is an entry": (
        "drop",
        r"    if \(n - fc_load\(&c->drops_done\)",
        r"    fc_store32(&c->mode, FC_DROP);\n\g<0>",
    ),
    "the ring grows in two steps": (
        "grow",
        r"    fc_store\(&c->grown, limit\);",
        r"    fc_store(&c->grown, limit - FC_PAGE); fc_store(&c->grown, limit);",
    ),
    "framed passes a gap before its event": (
        "gaps",
        r"    log_gaps\(final\);\n(.*\n)",
        r"\1    log_gaps(final);\n",
    ),
    "a slot is granted before its cursor is set": (
        "grant",
        r"(    fc_store\(&s->spilled, position\);\n(?:.*\n){4})    return ((?:.*\n)+?.*ACQUIRE\));\n",
        r"    int done = \2;\n\1    return done;\n",
    ),
    "a slot is claimed before its owner is known": (
        "claim",
        r"FC_WANT \| flags << 8 \| pid << 10, 0, __ATOMIC_ACQ_REL,\n.*\n.*\n",
        "FC_WANT | flags << 8, 0, __ATOMIC_ACQ_REL,\n __ATOMIC_ACQUIRE))\n return 0;\n"
        "__atomic_fetch_or(&s->state, pid << 10, __ATOMIC_RELEASE);\n",
    ),
    "the cursor passes what is not written": (
        "consume",
        r"    memcpy\(out->file \+ pos, at\(pos\), n\);\n(.*\n)",
        r"\1    memcpy(out->file + pos, at(pos), n);\n",
    ),
    "who wakes up takes others for awake": (
        "wait-framed",
        r"&c->sleepers_slots, ~fc_slot_bit\(i\)",
        "&c->sleepers_slots, 0",
    ),
}


def build(folder: Path, texts: dict[str, str]) -> Path:
    """Compile the program from these texts of it and of the headers."""
    for name, text in texts.items():
        (folder / name).write_text(text)
    program = folder / "ring_instructions"
    argv = ["gcc", "-std=gnu11", "-O2", "-static", "-Wall", "-Wextra", f"-I{folder}", str(folder / PROGRAM)]
    done = subprocess.run([*argv, "-o", str(program)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return program


def run(program: Path, operation: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, operation], capture_output=True, text=True, check=False, timeout=120)


@pytest.fixture(scope="module")
def program(tmp_path_factory: pytest.TempPathFactory) -> Path:
    need_program("gcc", "gcc")
    return build(tmp_path_factory.mktemp("instructions"), TEXTS)


@pytest.mark.parametrize("operation", LEAST_KILLS)
def test_killed_after_any_instruction_a_successor_goes_on(operation: str, program: Path) -> None:
    done = run(program, operation)

    assert done.returncode == 0, done.stderr
    name, kills = done.stdout.split()
    assert name == operation
    assert int(kills) >= LEAST_KILLS[operation]


def test_every_operation_of_the_program_is_tried() -> None:
    table = TEXTS["ring_operations.h"].partition("operations[] = {")[2].partition("};")[0]
    assert re.findall(r'\{"([\w-]+)"', table) == list(LEAST_KILLS)


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_an_order_that_a_death_breaks_is_found_out(mutation: str, tmp_path: Path) -> None:
    need_program("gcc", "gcc")
    operation, pattern, replacement = MUTATIONS[mutation]
    found = {name: re.subn(pattern, replacement, text) for name, text in TEXTS.items()}
    assert sum(changes for _, changes in found.values()) == 1

    done = run(build(tmp_path, {name: text for name, (text, _) in found.items()}), operation)

    assert done.returncode == 1
    assert f"{operation}, killed at " in done.stderr
