"""The ring's Spin models: exhausted without error at small bounds, and a seeded mistake is found."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest
from harness import need_program

MODELS = Path(__file__).parents[1] / "docs" / "model"

RIGHT = {
    "slots while the splitter dies": ("attach.pml", "KS=1"),
    "drops while the reader dies": ("ring.pml", "N=3", "DROP", "KR=1"),
    "drops while the splitter dies": ("ring.pml", "N=3", "DROP", "KS=1"),
    "growth while the reader dies": ("ring.pml", "N=5", "C=3", "F=2", "KR=1"),
    "growth under a lossy consumer": ("ring.pml", "N=3", "C=2", "F=1", "LOSSY"),
    "growth, then drops": ("ring.pml", "N=5", "C=3", "F=1", "DROP"),
    "spilling": ("ring.pml", "N=3", "SPILL"),
    "a spiller of its own": ("ring2.pml", "N=3", "DROP"),
}
WRONG = {
    "a slot keeps its last owner's spilled": ("attach.pml", "H_STALE_SPILLED"),
    "a dead reader's bytes are put down by place, not by mode": (
        "ring.pml",
        "N=3",
        "DROP",
        "KR=1",
        "H_NOMODE",
    ),
    "drops are matched to events by position": ("ring.pml", "N=3", "DROP", "KS=1", "H_GI_BY_POS"),
    "a writer is replaced before it is gone": ("ring.pml", "N=3", "SPILL", "KW=1", "H_NOWAIT_W"),
    "a ring grows beyond what is free": ("ring.pml", "N=5", "C=3", "F=2", "H_GROW_LATE"),
    "a grown ring's places are counted from 0": ("ring.pml", "N=5", "C=3", "F=2", "H_GROWN_FROM_ZERO"),
    "the cursor moves before the fsync": ("ring.pml", "N=3", "FF=1", "H_CURSOR_EARLY"),
}


@pytest.fixture(autouse=True)
def _programs() -> None:
    need_program("spin", "spin")
    need_program("gcc", "gcc")


def errors(folder: Path, model: str, *defines: str) -> int:
    """Search the model's states exhaustively; return how many errors the verifier counted."""
    shutil.copy(MODELS / model, folder)
    argvs = (
        ["spin", "-a", *[f"-D{d}" for d in defines], model],
        ["gcc", "-O1", "-w", "-DSAFETY", "-o", "pan", "pan.c"],
        ["./pan", "-m200000", "-w22"],
    )
    for argv in argvs:
        done = subprocess.run(argv, cwd=folder, capture_output=True, text=True, check=True, timeout=120)
    assert "max search depth too small" not in done.stdout, "not exhausted"
    return int(re.findall(r"errors: (\d+)", done.stdout)[0])


@pytest.mark.parametrize("case", RIGHT)
def test_model_is_exhausted_without_error(case: str, tmp_path: Path) -> None:
    assert errors(tmp_path, *RIGHT[case]) == 0


@pytest.mark.parametrize("case", WRONG)
def test_seeded_mistake_is_found(case: str, tmp_path: Path) -> None:
    assert errors(tmp_path, *WRONG[case]) == 1
