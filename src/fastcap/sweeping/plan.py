"""What makes two sweeps the same: axes, repeats, recording, analysis; as ``plan.json``."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError, SweepError
from fastcap.units import parse_duration_s

if TYPE_CHECKING:
    from fastcap.sweeping.axis import Axis

PLAN, RESULTS, JOURNAL = "plan.json", "results.npz", "journal.jsonl"
FIFO = "50ms"
RECORD_OPTIONS = (
    "length",
    "samples",
    "checksum",
    "fsync_every",
    "analyse_timeout",
    "analyse_memory",
    "source_timeout",
)
Analyse = str | Callable[..., Mapping[str, Any]] | None


class AxisPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """An axis: what is needed to know a sweep again."""

    name: str
    unit: str
    settle_s: float
    values: tuple[float, ...]


class AnalysisPlan(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The analysis: its name, and a fingerprint of a function that was given as such."""

    name: str
    fingerprint: str | None = None


class Plan(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What is swept, recorded and analysed."""

    version: int = 1
    axes: tuple[AxisPlan, ...]
    repeats: int
    record: dict[str, Any]
    source: str
    analysis: AnalysisPlan | None = None
    readings: tuple[str, ...] = ()
    meta: dict[str, str] = {}
    fifo_s: float | None = (
        None  # gapless: how long a word may wait in the board; None: a run for each recording
    )

    name: str | None = None  # a template of the files' names: see `fastcap.sweeping.names`

    @property
    def shape(self) -> tuple[int, ...]:
        """Lengths of the axes, then the repeats."""
        return (*(len(axis.values) for axis in self.axes), self.repeats)

    def to_json(self) -> bytes:
        """Return the plan as text: the same plan, the same bytes."""
        return msgspec.json.format(msgspec.json.encode(self, order="sorted"), indent=1) + b"\n"


def plan_of(
    axes: Sequence[Axis], *, repeats: int, record: Any, source: str, analyse: Analyse,
    readings: Mapping[str, Any], meta: Mapping[str, Any], gapless: bool = False, fifo: Any = FIFO,
    name: str | None = None,
) -> Plan:  # fmt: skip
    """Return the plan of a sweep.

    Raises
    ------
    ConfigError, ValueError
        Something makes no sense.
    """
    if not axes:
        raise ConfigError("the sweep has no axis; give at least one fc.Axis")
    if isinstance(repeats, bool) or not isinstance(repeats, int) or repeats < 1:
        raise ValueError(f"repeats of {shown(repeats)}: give a whole number of at least 1")
    names = Counter([axis.name for axis in axes] + list(readings))
    if twice := [name for name, count in names.items() if count > 1]:
        raise ConfigError(f"{shown(twice[0])} names two axes or readings; give each a name of its own")
    return Plan(
        axes=tuple(AxisPlan(a.name, a.unit, a.settle_s, a.values) for a in axes),
        repeats=repeats,
        record=_record_options(record),
        source=source,
        analysis=_analysis(analyse),
        readings=tuple(readings),
        meta={str(key): str(value) for key, value in meta.items()},
        fifo_s=_fifo_s(fifo) if gapless else None,
        name=name,
    )


def _fifo_s(fifo: Any) -> float:
    seconds = float(parse_duration_s(fifo))
    if seconds < 0:
        raise ValueError(
            f"fifo of {shown(fifo)}: give the time that a word may wait in the board, such as '50ms'"
        )
    return seconds


def _record_options(record: Any) -> dict[str, Any]:
    """Return the options of `Board.record` that ``record`` stands for."""
    if not isinstance(record, Mapping):
        record = {} if record is None else {"length": record}
    for key in record:
        if key not in RECORD_OPTIONS:
            raise ConfigError(
                f"record has an unknown option {shown(key)}{did_you_mean(str(key), RECORD_OPTIONS)}"
            )
    if record.get("length") is not None and parse_duration_s(record["length"]) <= 0:
        raise ValueError(f"record of {shown(record['length'])}: must be above 0, such as '15s'")
    return dict(record)


def _analysis(analyse: Analyse) -> AnalysisPlan | None:
    if analyse is None:
        return None
    if isinstance(analyse, str):
        if analyse.count(":") != 1:
            raise ConfigError(f"analysis function {shown(analyse)} is not MODULE:FUNCTION")
        return AnalysisPlan(analyse)
    if not callable(analyse):
        raise ConfigError(f"analyse of {shown(analyse)} is no function; give one, or 'module:function'")
    from fastcap._fingerprint import fingerprint, name_of

    return AnalysisPlan(name_of(analyse), fingerprint(analyse))


# -- files -------------------------------------------------------------------------------------------


def load_plan(folder: str | os.PathLike[str]) -> Plan:
    """Return the plan of a sweep's folder.

    Raises
    ------
    SweepError
        There is none, or it is not one.
    """
    path = Path(folder, PLAN)
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except FileNotFoundError as error:
        raise SweepError(
            f"{os.fspath(folder)} holds no sweep: there is no {PLAN}; name a sweep's folder"
        ) from error
    except (OSError, msgspec.DecodeError) as error:
        raise SweepError(f"{path} cannot be read: {error}; restore it from a copy") from error


# -- differences -------------------------------------------------------------------------------------


def differences(old: Plan, new: Plan) -> list[str]:
    """Return in what two plans differ, a line each; empty if they do not."""
    if [axis.name for axis in old.axes] != [axis.name for axis in new.axes]:
        return [f"axes: {_names(old)} -> {_names(new)}"]
    lines = []
    for a, b in zip(old.axes, new.axes, strict=True):
        lines += [
            f"{a.name}.{field}: {shown(getattr(a, field))} -> {shown(getattr(b, field))}"
            for field in ("unit", "settle_s")
            if getattr(a, field) != getattr(b, field)
        ]
        lines += _value_changes(a, b)
    for field in ("repeats", "record", "source", "readings", "meta", "fifo_s", "name"):
        one, other = getattr(old, field), getattr(new, field)
        if one != other:
            lines.append(f"{field}: {shown(one)} -> {shown(other)}")
    return lines + list(_analysis_changes(old.analysis, new.analysis))


def _names(plan: Plan) -> str:
    return ", ".join(axis.name for axis in plan.axes)


def _value_changes(old: AxisPlan, new: AxisPlan) -> list[str]:
    if old.values == new.values:
        return []
    if len(old.values) != len(new.values):
        return [f"{old.name}: {_span(old)} -> {_span(new)}"]
    k = next(k for k, (a, b) in enumerate(zip(old.values, new.values, strict=True)) if a != b)
    return [f"{old.name}[{k}]: {old.values[k]:g} -> {new.values[k]:g}"]


def _span(axis: AxisPlan) -> str:
    return f"{len(axis.values)} values from {min(axis.values):g} to {max(axis.values):g}"


def _analysis_changes(old: AnalysisPlan | None, new: AnalysisPlan | None) -> Iterator[str]:
    if old == new:
        return
    if old is not None and new is not None and old.name == new.name:
        yield f"analyse: the function '{new.name}' has changed (resume with the old one, then reanalyse)"
    else:
        yield f"analyse: {old.name if old else None} -> {new.name if new else None}"
