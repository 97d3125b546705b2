"""Integer arithmetic in configuration values: a bounded walk over the syntax tree, never ``eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcap._messages import shown
from fastcap.errors import ConfigError

if TYPE_CHECKING:
    import ast
    from fractions import Fraction

    Number = int | Fraction

__all__ = ["evaluate_integer"]

_MOST_CHARACTERS = 200
_MOST_DEPTH = 40
_MOST_BITS = 256
_ALPHABET = frozenset("0123456789_+-*/%() \t.eE")
_FORMS = (
    "a whole number or integer arithmetic such as 2**25 or (5 - 1) * int(1e3) (+ - * // % ** and parentheses)"
)


def evaluate_integer(text: str) -> int:
    """Return the value of integer arithmetic such as ``2**25``, ``5 - 1`` or ``int(1e6)``.

    Numbers are decimal, results have at most 256 bits, and so has every step on the way. Within ``int(…)`` there
    may be fractions, ``1e6`` and ``/``, too: they are exact, and what is left of one is cut off, as Python does.

    Raises
    ------
    ConfigError
        ``text`` is anything else, or divides by zero.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) < 19:
        return int(stripped)
    return int(_bounded(_walk(_parsed(text, stripped), text, _MOST_DEPTH, real=False), text))


def _parsed(text: str, stripped: str) -> ast.expr:
    import ast

    # names, strings and comments need letters, quotes or '#': none of them but int gets as far as the parser
    bare = stripped.replace("int", "")
    if not stripped or len(stripped) > _MOST_CHARACTERS or not _ALPHABET.issuperset(bare):
        raise _refused(text)
    try:
        return ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _refused(text) from error


def _walk(node: ast.expr, text: str, depth: int, *, real: bool) -> Number:
    """Evaluate one node; ``depth`` says how much deeper it may go, ``real`` that it stands within int(…)."""
    import ast

    if depth == 0:
        raise ConfigError(f"{shown(text)} is nested deeper than {_MOST_DEPTH} levels")
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return _bounded(node.value, text)
    if real and isinstance(node, ast.Constant) and type(node.value) is float:
        return _bounded(_exactly(node.value, text), text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _walk(node.operand, text, depth - 1, real=real)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left = _walk(node.left, text, depth - 1, real=real)
        right = _walk(node.right, text, depth - 1, real=real)
        return _bounded(_apply(node.op, left, right, text, real=real), text)
    if isinstance(node, ast.Call) and _is_int(node):
        return int(_walk(node.args[0], text, depth - 1, real=True))
    raise _refused(text)


def _is_int(call: ast.Call) -> bool:
    """Tell whether a call is ``int(…)`` of one argument."""
    import ast

    named = isinstance(call.func, ast.Name) and call.func.id == "int"
    return named and len(call.args) == 1 and not call.keywords


def _exactly(value: float, text: str) -> Fraction:
    """Return a number as it is written."""
    from fractions import Fraction

    if value in (float("inf"), float("-inf")):
        raise _too_large(text)
    return Fraction(repr(value))


def _apply(operator: ast.operator, left: Number, right: Number, text: str, *, real: bool) -> Number:
    import ast

    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Pow():
            return _power(left, right, text, real=real)
        case ast.Div() if real:
            from fractions import Fraction

            if right == 0:
                raise ConfigError(f"{shown(text)} divides by zero")
            return Fraction(left) / right
        case ast.FloorDiv() | ast.Mod():
            if right == 0:
                raise ConfigError(f"{shown(text)} divides by zero")
            return left // right if isinstance(operator, ast.FloorDiv) else left % right
    raise _refused(text)


def _power(base: Number, exponent: Number, text: str, *, real: bool) -> Number:
    """Raise to a power whose size is known to be bounded before it is computed."""
    from fractions import Fraction

    if exponent.denominator != 1:
        raise _refused(text)
    if exponent < 0 and not real:
        raise ConfigError(f"{shown(text)} has a negative exponent; the result is not a whole number")
    if exponent < 0 and base == 0:
        raise ConfigError(f"{shown(text)} divides by zero")
    power = int(exponent)
    if abs(power) * (_bits(base) - 1) > _MOST_BITS:
        raise _too_large(text)
    return Fraction(base) ** power if real else int(base) ** power


def _bits(value: Number) -> int:
    return max(value.numerator.bit_length(), value.denominator.bit_length())


def _bounded(value: Number, text: str) -> Number:
    if _bits(value) > _MOST_BITS:
        raise _too_large(text)
    return value


def _too_large(text: str) -> ConfigError:
    return ConfigError(f"{shown(text)} is too large: numbers here have at most {_MOST_BITS} bits")


def _refused(text: str) -> ConfigError:
    return ConfigError(f"{shown(text)} is not {_FORMS}")
