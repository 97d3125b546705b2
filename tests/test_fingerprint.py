"""A function is the same if it does the same; where its source stands does not count."""

from __future__ import annotations

import functools

import numpy as np
import pytest

from fastcap._fingerprint import fingerprint, name_of

SOURCE = "def f(w, a=1):\n    return w.radius() * a + 3\n"


def made(source, name="f", **given):
    spaces = {"__name__": "notebook", **given}
    exec(compile(source, "<cell>", "exec"), spaces)
    return spaces[name]


def test_comments_lines_and_new_definitions_change_nothing():
    moved = "\n\n# a comment\n" + SOURCE.replace("    return", "    # why\n    return")

    assert fingerprint(made(SOURCE)) == fingerprint(made(moved))


@pytest.mark.parametrize(
    ("old", "new"), [("+ 3", "+ 4"), ("a=1", "a=2"), ("radius", "phase"), ("w.radius()", "w.radius()[5:]")]
)
def test_what_it_does_counts(old, new):
    assert fingerprint(made(SOURCE)) != fingerprint(made(SOURCE.replace(old, new)))


def test_functions_and_constants_that_it_uses_count():
    def using(helper, limit):
        helper_source = f"LIMIT = {limit}\ndef g(w):\n    return w + {helper}\n"
        return fingerprint(made(helper_source + "def f(w):\n    return [g(w) for w in w if w > LIMIT]\n"))

    assert using(1, 5) == using(1, 5)
    assert len({using(1, 5), using(2, 5), using(1, 6)}) == 3


def test_what_it_has_closed_over_counts():
    def scaled(by):
        return lambda w: w * by

    assert fingerprint(scaled(2)) == fingerprint(scaled(2))
    assert fingerprint(scaled(2)) != fingerprint(scaled(3))
    assert fingerprint(scaled(np.arange(3))) != fingerprint(scaled(np.arange(4)))


def test_partials_methods_and_recursion():
    class Model:
        def __init__(self, a):
            self.a = a

        def of(self, w):
            return self.a * w

    assert fingerprint(Model(1).of) == fingerprint(Model(1).of)
    assert fingerprint(Model(1).of) != fingerprint(Model(2).of)
    f = made(SOURCE)
    assert fingerprint(functools.partial(f, a=1)) != fingerprint(functools.partial(f, a=2))
    assert name_of(functools.partial(f, a=1)) == "f"
    recursive = made("def f(n):\n    return n and f(n - 1)\n")
    assert fingerprint(recursive) == fingerprint(made("def f(n):\n    return n and f(n - 1)\n"))


def test_objects_and_builtins_have_fingerprints_without_addresses():
    class Plain:
        pass

    assert fingerprint(len) != fingerprint(max)
    assert fingerprint(functools.partial(len, Plain())) == fingerprint(functools.partial(len, Plain()))
