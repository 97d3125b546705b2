"""Analysing a sweep's recordings again, from their files: no board, no device."""

from __future__ import annotations

import base64
import os
import sys
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any

from fastcap.errors import ConfigError, FastcapError
from fastcap.sweeping.journal import Journal, read_journal
from fastcap.sweeping.order import Order
from fastcap.sweeping.plan import load_plan
from fastcap.sweeping.results import Results, save_results
from fastcap.sweeping.store import Store
from fastcap.trace import load
from fastcap.workers.limits import Limits
from fastcap.workers.userfunc import UserFunction

if TYPE_CHECKING:
    from pathlib import Path

__all__ = ["reanalyse"]


def reanalyse(
    results: Results, analyse: str | Callable[..., Mapping[str, Any]], *, progress: bool = True
) -> Results:
    """Analyse every recording that is done with another function; see `Results.reanalyse`."""
    function = _function(analyse)
    folder = results.folder
    order = Order(load_plan(folder))
    journal = Journal(folder)
    try:
        store = Store(order, read_journal(folder))
        done = store.done()
        for shot, entry in _told(done, progress):
            outcome = _outcome(function, folder / entry["file"])
            error = outcome.get("error")
            store.take(
                journal.append(
                    "analysed",
                    key=order.key(shot),
                    values=outcome.get("result"),
                    analysis=function.name,
                    error=f"{error['type']}: {error['message']}" if error else None,
                )
            )
        journal.flush()
        found = Results(folder, store)
        save_results(found)
        return found
    finally:
        journal.close()


def _function(analyse: str | Callable[..., Mapping[str, Any]]) -> UserFunction:
    pickled = None
    if not isinstance(analyse, str):
        import cloudpickle

        pickled = base64.b64encode(cloudpickle.dumps(analyse)).decode()
    elif analyse.count(":") != 1:
        raise ConfigError(f"analysis function '{analyse}' is not MODULE:FUNCTION")
    name = analyse if isinstance(analyse, str) else None
    function = UserFunction.from_message({"path": os.getcwd(), "pickled": pickled, "analyse": name})
    assert function is not None
    if function.wants_blocks:
        raise ConfigError(
            f"{function.name} is a function of blocks as they come; give one of the finished trace"
        )
    error = function.call(_probe, Limits(None, None))["error"]
    if error["type"] != _Probe.__name__:  # it could not be found, so it was not even tried
        raise ConfigError(f"analysis function '{function.name}': {error['type']}: {error['message']}")
    return function


class _Probe(Exception):  # noqa: N818 - a function that is called at all gets this far
    pass


def _probe() -> None:
    raise _Probe


def _outcome(function: UserFunction, path: Path) -> dict[str, Any]:
    try:
        trace = load(path)
    except (FastcapError, OSError) as error:
        return {"error": {"type": type(error).__name__, "message": str(error)}}
    return function.call(lambda: trace, Limits(None, None))


def _told(done: list[Any], progress: bool) -> Any:
    if not progress or not sys.stderr.isatty():
        return done
    from tqdm import tqdm

    return tqdm(done, unit="rec", leave=False, desc="analysing")
