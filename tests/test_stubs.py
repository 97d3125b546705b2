"""The typed stubs of the engine's extensions say exactly what the compiled modules have."""

from __future__ import annotations

import ast
import importlib
import inspect
import re
import types
from pathlib import Path
from typing import Any

import pytest

import fastcap

MODULES = ("_ring", "_pump", "_slips", "_split", "_stats")
SOURCES = Path(fastcap.__file__).parent
Parameters = list[tuple[str, str, Any]]


def stub(module: str) -> ast.Module:
    return ast.parse((SOURCES / f"{module}.pyi").read_text())


def compiled(module: str) -> types.ModuleType:
    return importlib.import_module(f"fastcap.{module}")


def stated(function: ast.FunctionDef) -> Parameters:
    """Return the (name, kind, default) of a stub's parameters; ``...`` stands for any default."""
    a = function.args
    positional = [*a.posonlyargs, *a.args]
    defaults: list[ast.expr | None] = [None] * (len(positional) - len(a.defaults)) + list(a.defaults)
    found = [(p.arg, "positional", d) for p, d in zip(positional, defaults, strict=True)]
    found += [(p.arg, "keyword", d) for p, d in zip(a.kwonlyargs, a.kw_defaults, strict=True)]
    return [(n, kind, "none" if d is None else ast.literal_eval(d)) for n, kind, d in found]


def actual(function: Any) -> Parameters:
    """Return the same of a compiled function."""
    found = []
    for p in inspect.signature(function).parameters.values():
        kind = "keyword" if p.kind is p.KEYWORD_ONLY else "positional"
        found.append((p.name, kind, "none" if p.default is p.empty else p.default))
    return found


def assert_same_parameters(where: str, function: ast.FunctionDef, real: Any) -> None:
    want, have = stated(function), actual(real)
    assert [p[:2] for p in want] == [p[:2] for p in have], where
    for (name, _, in_stub), (_, _, in_module) in zip(want, have, strict=True):
        assert in_stub is ... or in_stub == in_module, f"{where}: default of {name}"


def members(body: list[ast.stmt]) -> dict[str, ast.stmt]:
    """Return what a stub's body declares."""
    found: dict[str, ast.stmt] = {}
    for node in body:
        if isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            found[node.target.id] = node
        elif isinstance(node, ast.FunctionDef | ast.ClassDef):
            found[node.name] = node
    return found


def public(names: Any) -> set[str]:
    return {name for name in names if not name.startswith("_")}


@pytest.mark.parametrize("module", MODULES)
def test_stub_names_what_the_module_has(module: str) -> None:
    made_here = {
        name
        for name, value in vars(compiled(module)).items()
        if not inspect.ismodule(value)
        and getattr(value, "__module__", f"fastcap.{module}") == f"fastcap.{module}"
    }
    assert public(members(stub(module).body)) == public(made_here)


@pytest.mark.parametrize("module", MODULES)
def test_stub_functions_take_what_the_module_s_do(module: str) -> None:
    for name, node in members(stub(module).body).items():
        if isinstance(node, ast.FunctionDef):
            assert_same_parameters(name, node, getattr(compiled(module), name))


@pytest.mark.parametrize("module", MODULES)
def test_stub_classes_have_what_the_module_s_have(module: str) -> None:
    for name, node in members(stub(module).body).items():
        if not isinstance(node, ast.ClassDef):
            continue
        real = getattr(compiled(module), name)
        inside = members(node.body)
        assert public(inside) == public(vars(real)), name
        for member, declared in inside.items():
            if member.startswith("__"):
                continue
            data = inspect.isdatadescriptor(vars(real)[member])
            is_property = isinstance(declared, ast.FunctionDef) and any(
                isinstance(d, ast.Name) and d.id == "property" for d in declared.decorator_list
            )
            assert data == (is_property or isinstance(declared, ast.AnnAssign)), f"{name}.{member}"
            if isinstance(declared, ast.FunctionDef) and not data:
                assert_same_parameters(f"{name}.{member}", declared, getattr(real, member))


@pytest.mark.parametrize("module", MODULES)
def test_constructors_take_what_the_stubs_say(module: str) -> None:
    source = (SOURCES / f"{module}.pyx").read_text()
    taken = re.findall(
        r"^cdef class (\w+):.*?\n    def __cinit__\(self, ([^)]*)\)", source, re.DOTALL | re.MULTILINE
    )
    for name, parameters in taken:
        declared = members(stub(module).body)[name]
        assert isinstance(declared, ast.ClassDef)
        init = members(declared.body)["__init__"]
        assert isinstance(init, ast.FunctionDef)
        assert [a.arg for a in init.args.args[1:]] == [p.split()[-1] for p in parameters.split(",")], name
