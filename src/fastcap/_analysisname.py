"""Whether a function that is named ``MODULE:FUNCTION`` is there: looked for without running anything of its module.

A module may make names in ways that cannot be seen in its text (``from x import *``, ``globals()``); such a module is
believed. What only shows when it is imported is reported by the process that imports it.
"""

from __future__ import annotations

import ast
import os
import sys
from collections.abc import Iterator, Sequence
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import find_spec

from fastcap._messages import did_you_mean, shown
from fastcap.errors import ConfigError

_MOST_BYTES = 16 << 20
_MAKERS = frozenset({"globals", "vars", "locals", "exec", "eval", "setattr", "__getattr__"})


def check_function(name: str, places: Sequence[str]) -> None:
    """Check that a module can be found and that its text makes a function's name.

    Parameters
    ----------
    name : str
        ``module:function``, or ``module:name.attribute``.
    places : sequence of str
        Directories that are searched before ``sys.path``.

    Raises
    ------
    ConfigError
        There is no such module, its text is not Python, or nothing in it has that name.
    """
    module, _, function = name.partition(":")
    if module == "__main__":
        return
    spec = _found(module, places)
    if spec is None and module in sys.modules:
        return  # such as os.path
    if spec is None:
        where = f"neither in {places[0]} nor on Python's path" if places else "not on Python's path"
        raise ConfigError(f"analysis function {shown(name)}: module {shown(module)} is {where}")
    if not (spec.origin or "").endswith(".py"):
        return  # an extension, say: its names are not in a text
    tree = _parsed(spec.origin or "", name)
    names = set(_names(tree))
    wanted = function.partition(".")[0]
    if wanted not in names and not names & _MAKERS:
        hint = did_you_mean(wanted, sorted(names))
        raise ConfigError(f"analysis function {shown(name)}: {spec.origin} has no {shown(wanted)}{hint}")


def _found(module: str, places: Sequence[str]) -> ModuleSpec | None:
    """Return where a module is, without importing the packages that it lies in."""
    at: Sequence[str] | None = [*places, *sys.path]
    name, spec = "", None
    for part in module.split("."):
        name = f"{name}.{part}" if name else part
        spec = None if at is None else PathFinder.find_spec(name, list(at))
        if spec is None and name == part:
            try:
                spec = find_spec(name)  # built in, or found by somebody else's finder
            except ValueError:
                return None
        if spec is None:
            return None
        at = spec.submodule_search_locations
    return spec


def _parsed(path: str, name: str) -> ast.Module:
    try:
        with open(path, "rb") as file:
            return ast.parse(file.read(_MOST_BYTES), os.path.basename(path))
    except OSError as error:
        raise ConfigError(f"analysis function {shown(name)}: {path}: {error.strerror}") from error
    except (SyntaxError, ValueError, RecursionError, MemoryError) as error:
        line = f", line {error.lineno}" if isinstance(error, SyntaxError) else ""
        what = getattr(error, "msg", None) or str(error)
        raise ConfigError(f"analysis function {shown(name)}: {path}{line}: {what}") from error


def _names(tree: ast.Module) -> Iterator[str]:
    """Yield every name that is bound or used as a maker of names; those inside functions, too: rather too many."""
    for node in ast.walk(tree):
        match node:
            case ast.FunctionDef() | ast.AsyncFunctionDef() | ast.ClassDef():
                yield node.name
            case ast.Name(ctx=ast.Store()):
                yield node.id
            case ast.Name() if node.id in _MAKERS:
                yield node.id
            case ast.Import() | ast.ImportFrom():
                for alias in node.names:
                    yield "globals" if alias.name == "*" else alias.asname or alias.name.partition(".")[0]
