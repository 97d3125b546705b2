"""Tell whether a function is the same as it was: by what it does, not by where its source stands.

Counted are its bytecode, constants and defaults, what it has closed over, and in the same way the functions of
its own module that it names. Comments, blank lines and moves to other lines change nothing; other modules,
their versions, and data that it reads do not count.
"""

from __future__ import annotations

import functools
import hashlib
import sys
from types import CodeType, FunctionType, MethodType, ModuleType
from typing import Any


def fingerprint(function: Any) -> str:
    """Return 32 hexadecimal digits, equal for functions that are the same under one version of Python."""
    digest = hashlib.blake2b(digest_size=16)
    digest.update(f"{sys.version_info[:2]}".encode())
    for text in _told(function, set()):
        digest.update(text.encode(errors="backslashreplace") + b"\0")
    return digest.hexdigest()


def name_of(function: Any) -> str:
    """Return a function's name for people."""
    inner = function
    while isinstance(inner, functools.partial):
        inner = inner.func
    return str(getattr(inner, "__qualname__", type(inner).__qualname__))


def _told(value: Any, seen: set[int]) -> list[str]:
    """Return a value as texts."""
    if isinstance(value, MethodType):
        return ["method", *_told(value.__func__, seen), *_told(vars(value.__self__), seen)]
    if isinstance(value, functools.partial):
        return ["partial", *_told(value.func, seen), *_told((value.args, value.keywords), seen)]
    if isinstance(value, FunctionType):
        return _function(value, seen)
    if isinstance(value, CodeType):
        return [value.co_code.hex(), *value.co_names, *value.co_varnames, *_told(value.co_consts, seen)]
    if isinstance(value, dict):
        ordered = sorted(value.items(), key=lambda item: repr(item[0]))
        return [f"dict {len(ordered)}", *(text for item in ordered for text in _told(item, seen))]
    if isinstance(value, frozenset | set):
        return [f"set {sorted(map(repr, value))}"]
    if isinstance(value, list | tuple):
        return [
            f"{type(value).__name__} {len(value)}",
            *(text for item in value for text in _told(item, seen)),
        ]
    if isinstance(value, ModuleType):
        return [f"module {value.__name__}"]
    if hasattr(value, "tobytes") and hasattr(value, "dtype"):
        return [
            f"array {value.dtype} {getattr(value, 'shape', ())}",
            hashlib.sha256(value.tobytes()).hexdigest(),
        ]
    if callable(value):
        return [
            f"{getattr(value, '__module__', '')}.{getattr(value, '__qualname__', type(value).__qualname__)}"
        ]
    if " object at 0x" in repr(value):
        return [type(value).__qualname__, *_told(getattr(value, "__dict__", {}), seen)]
    return [repr(value)]


def _function(function: FunctionType, seen: set[int]) -> list[str]:
    if id(function) in seen:
        return ["again"]
    seen.add(id(function))
    cells = [cell.cell_contents for cell in function.__closure__ or ()]
    told = ["function", *_told(function.__code__, seen)]
    told += _told((function.__defaults__, function.__kwdefaults__, cells), seen)
    for name in sorted(_names(function.__code__)):
        used = function.__globals__.get(name)
        if isinstance(used, FunctionType) and used.__module__ == function.__module__:
            told += [name, *_told(used, seen)]
        elif isinstance(used, int | float | str | bytes | tuple):
            told += [name, repr(used)]
    return told


def _names(code: CodeType) -> set[str]:
    """Return the global names that a function and those within it use."""
    names = set(code.co_names)
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            names |= _names(constant)
    return names
