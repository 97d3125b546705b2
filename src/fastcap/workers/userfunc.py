"""The user's function: found by name or unpickled, called within its limits, its result made fit for JSON.

Nothing that goes wrong in it gets out: an error is a result, too, with type, message and traceback.
"""

from __future__ import annotations

import base64
import contextlib
import importlib
import inspect
import math
import numbers
import pickle
import sys
import time
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from fastcap.workers.limits import FunctionTimeout, Limits

MAX_VALUES = 1_000_000  # in a result: it travels as one message, and stands in the sidecar
BLOCKS = "blocks"  # the name of the parameter that says what a function wants
_TRACEBACK_CHARS = 8192
Json = dict[str, Any]


class UserFunction:
    """The function of one recording, or why there is none.

    Attributes
    ----------
    name : str
        As the user knows it: ``module:function``, or the pickled function's own name.
    """

    def __init__(self, name: str, find: Callable[[], Any]) -> None:
        self.name = name or "pickled function"
        self._function: Callable[[Any], Any] | None = None
        self._error: Json | None = None
        try:
            self._function = _callable(self.name, find())
        except BaseException as e:  # what it imports may raise anything, SystemExit too
            self._error = _described(e)
        else:
            if not name:
                self.name = getattr(self._function, "__qualname__", type(self._function).__name__)

    @property
    def error(self) -> Json | None:
        """Why there is no function: ``type``, ``message``, ``traceback``."""
        return self._error

    @property
    def wants_blocks(self) -> bool:
        """It is a function of blocks as they come, not of the finished recording's trace."""
        if self._function is None:
            return False
        with contextlib.suppress(ValueError, TypeError):  # a builtin may have no signature
            return next(iter(inspect.signature(self._function).parameters), None) == BLOCKS
        return False

    @classmethod
    def from_message(cls, message: Json) -> UserFunction | None:
        """Return the function that a ``record`` message names or holds; None if it wants none."""
        if message["path"] is not None and message["path"] not in sys.path[:1]:
            sys.path.insert(0, message["path"])
        sys.path += [place for place in message.get("sys_path", []) if place not in sys.path]
        if message["pickled"] is not None:
            return cls("", lambda: pickle.loads(base64.b64decode(message["pickled"])))
        if message["analyse"] is None:
            return None
        return cls(message["analyse"], lambda: _found(message["analyse"]))

    def call(self, make_argument: Callable[[], Any], limits: Limits) -> Json:
        """Call it with a trace, or with blocks, within its limits.

        Returns
        -------
        dict
            ``name``, ``seconds``, and ``result`` or ``error`` (``type``, ``message``, ``traceback``).
        """
        if self._function is None:
            return {"name": self.name, "error": self._error, "seconds": 0.0}
        began = time.monotonic()
        try:
            outcome = self._outcome(make_argument, limits)
        except FunctionTimeout as e:  # at the very end, when all else was through
            outcome = {"error": _described(e)}
        limits.stop()
        return {"name": self.name, **outcome, "seconds": round(time.monotonic() - began, 6)}

    def _outcome(self, make_argument: Callable[[], Any], limits: Limits) -> Json:
        assert self._function is not None
        try:
            argument = make_argument()
            limits.start()
            result = json_result(self._function(argument))
            limits.stop()
        except BaseException as e:  # foreign code may raise anything, SystemExit too
            limits.stop()
            error = _described(e)
            if isinstance(e, MemoryError):
                error["message"] = limits.told(e)
            return {"error": error}
        return {"result": result}


def _found(name: str) -> Any:
    """Return the object that ``module:function`` names."""
    module, _, path = name.partition(":")
    found: Any = importlib.import_module(module)
    for part in path.split("."):
        try:
            found = getattr(found, part)
        except AttributeError as e:
            where = getattr(found, "__file__", None) or module
            raise AttributeError(f"'{name}': there is no '{part}' in {where}") from e
    return found


def _callable(name: str, found: Any) -> Callable[[Any], Any]:
    if not callable(found):
        raise TypeError(f"'{name}' is {_a(found)}; give a function of one argument, the trace or the blocks")
    function: Callable[[Any], Any] = found
    return function


def _described(error: BaseException) -> Json:
    """Return an exception as a dict, its traceback without the frames of this module."""
    trace = error.__traceback__
    while trace is not None and trace.tb_frame.f_globals.get("__name__") == __name__:
        trace = trace.tb_next
    text = "".join(traceback.format_exception(type(error), error, trace))
    return {"type": type(error).__name__, "message": str(error), "traceback": text[-_TRACEBACK_CHARS:]}


def json_result(value: Any) -> Json:
    """Return the function's result in JSON's own types.

    Parameters
    ----------
    value : mapping
        Of numbers, strings, booleans, None, times, numpy scalars and arrays, and lists and mappings of
        these. Arrays become lists. NaN and infinities, which JSON does not have, become None: a reader of
        the result takes it for a missing value.

    Raises
    ------
    TypeError
        It is no mapping, or something in it has no JSON form.
    ValueError
        It holds too much, or two keys that are the same in JSON.
    """
    if not isinstance(value, Mapping):
        raise TypeError(f"the function returned {_a(value)}; return a dict of values")
    return _Plain().mapping(value, "result")


class _Plain:
    """Converts one result, counting its values."""

    def __init__(self) -> None:
        self._left = MAX_VALUES

    def mapping(self, value: Mapping[Any, Any], where: str) -> Json:
        plain = {str(key): self.value(item, f"{where}[{key!r}]") for key, item in value.items()}
        if len(plain) < len(value):
            raise ValueError(f"{where} has keys that are the same as text; JSON's keys are text")
        return plain

    def value(self, value: Any, where: str) -> Any:
        self._count(1, where)
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, str):
            return str(value)
        if isinstance(value, numbers.Integral):
            return int(value)
        if isinstance(value, numbers.Real):
            return float(value) if math.isfinite(value) else None
        if isinstance(value, Mapping):
            return self.mapping(value, where)
        if isinstance(value, Sequence) and not isinstance(value, bytes | bytearray | memoryview):
            return [self.value(item, f"{where}[{k}]") for k, item in enumerate(value)]
        return self._converted(value, where)

    def _converted(self, value: Any, where: str) -> Any:
        """Convert what brings its own conversion: numpy's scalars and arrays, dates."""
        for method in ("tolist", "isoformat"):
            convert = getattr(value, method, None)
            if callable(convert) and not isinstance(value, type):
                self._count(getattr(value, "size", 1), where, only_look=True)
                return self.value(convert(), where)
        raise TypeError(f"{where} is {_a(value)}, which has no JSON form; return numbers, text, lists, dicts")

    def _count(self, values: int, where: str, *, only_look: bool = False) -> None:
        if values > self._left:
            raise ValueError(
                f"the result holds more than {MAX_VALUES:,} values (at {where}); return a summary, "
                "and write arrays to a file of your own"
            )
        if not only_look:
            self._left -= values


def _a(value: Any) -> str:
    return "None" if value is None else f"of type '{type(value).__name__}'"
