"""Analysing a sweep's recordings again, from their files: no board, no device."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping
from typing import Any

from fastcap.errors import ConfigError
from fastcap.spec import analysis
from fastcap.sweeping.analyst import Analyst
from fastcap.sweeping.journal import Journal, read_journal
from fastcap.sweeping.order import Order
from fastcap.sweeping.plan import load_plan
from fastcap.sweeping.results import Results, save_results
from fastcap.sweeping.store import Store

__all__ = ["reanalyse"]


def reanalyse(
    results: Results, analyse: str | Callable[..., Mapping[str, Any]], *, progress: bool = True
) -> Results:
    """Analyse every recording that is done with another function; see `Results.reanalyse`."""
    analyst = _analyst(analyse)
    folder = results.folder
    order = Order(load_plan(folder))
    journal = Journal(folder)
    try:
        store = Store(order, read_journal(folder))
        done, name = store.done(), analyst.found()["name"]
        for shot, entry in _told(done, progress):
            outcome = analyst.call(folder / entry["file"])
            error = outcome.get("error")
            store.take(
                journal.append(
                    "analysed",
                    key=order.key(shot),
                    values=outcome.get("result"),
                    analysis=name,
                    error=f"{error['type']}: {error['message']}" if error else None,
                )
            )
        journal.flush()
        found = Results(folder, store)
        save_results(found)
        return found
    finally:
        analyst.close()
        journal.close()


def _analyst(analyse: str | Callable[..., Mapping[str, Any]]) -> Analyst:
    """Return who calls the function, once it is known that there is one."""
    message = analysis(analyse)
    assert message is not None
    analyst = Analyst(message)
    found = analyst.found()
    name = found.get("name", analyse if isinstance(analyse, str) else "function")
    problem = found["error"] and f"{found['error']['type']}: {found['error']['message']}"
    if problem is None and found["blocks"]:
        problem = "it is a function of blocks as they come; give one of the finished trace"
    if problem is None:
        return analyst
    analyst.close()
    raise ConfigError(f"analysis function '{name}': {problem}")


def _told(done: list[Any], progress: bool) -> Any:
    if not progress or not sys.stderr.isatty():
        return done
    from tqdm import tqdm

    return tqdm(done, unit="rec", leave=False, desc="analysing")
