"""Keeps figures, and makes README.md's table of them.

    python bench/figures.py --keep bench/results.jsonl tee
    python bench/table.py

The last run of each figure becomes a row.
"""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
RESULTS, README = HERE / "results.jsonl", HERE / "README.md"
BEGIN, END = "<!-- figures: made by table.py -->\n", "<!-- end of figures -->\n"
FACTS = ("machine", "load", "date", "commit")
Run = dict[str, Any]


def keep(path: Path, what: str, facts: dict[str, str], figures: list[Run]) -> None:
    """Append one run of figures.py."""
    run = {"what": what, **{key: facts[key] for key in FACTS}, "figures": figures}
    with path.open("a") as file:
        file.write(json.dumps(run) + "\n")


def rows(runs: list[Run]) -> list[str]:
    """Return the table: each figure as it was when it was last measured, in the order of first runs."""
    last: dict[str, dict[str, tuple[Run, Run]]] = {}
    for run in runs:
        last[run["what"]] = {f["figure"]: (f, run) for f in run["figures"]}
    found = ["| figure | measured | target | | when |", "|---|---|---|---|---|"]
    for figures in last.values():
        for name, (f, run) in figures.items():
            mark = {True: "met", False: "missed", None: ""}[f["ok"]]
            measured = f"{f['value']} {f['unit']}".strip() + (f"; {f['detail']}" if f["detail"] else "")
            when = f"{run['date'][:10]}, {run['commit'].split()[0]}, load {run['load'].split()[0]}"
            target = (f["target"] or "").replace(">=", "≥").replace("<=", "≤")
            found.append(f"| {name} | {measured.replace('|', '/')} | {target} | {mark} | {when} |")
    return found


def main() -> None:
    """Replace the table between the markers."""
    runs = [json.loads(line) for line in RESULTS.read_text().splitlines()]
    text = README.read_text()
    before, _, rest = text.partition(BEGIN)
    _, _, after = rest.partition(END)
    machines = sorted({run["machine"] for run in runs})
    table = "\n".join(["", *machines, "", *rows(runs), ""])
    README.write_text(f"{before}{BEGIN}{table}\n{END}{after}")


if __name__ == "__main__":
    main()
