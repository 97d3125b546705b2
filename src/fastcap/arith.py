"""Integer arithmetic in configuration values: a bounded walk over the syntax tree, never ``eval``."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastcap._messages import shown
from fastcap.errors import ConfigError

if TYPE_CHECKING:
    import ast

__all__ = ["evaluate_integer"]

_MOST_CHARACTERS = 200
_MOST_DEPTH = 40
_MOST_BITS = 256
_ALPHABET = frozenset("0123456789_+-*/%() \t")
_FORMS = "a whole number or integer arithmetic such as 2**25 or (5 - 1) * 2 (+ - * // % ** and parentheses)"


def evaluate_integer(text: str) -> int:
    """Return the value of integer arithmetic such as ``2**25`` or ``5 - 1``.

    Numbers are decimal, results have at most 256 bits, and so has every step on the way.

    Raises
    ------
    ConfigError
        ``text`` is anything else, or divides by zero.
    """
    stripped = text.strip()
    if stripped.isascii() and stripped.isdigit() and len(stripped) < 19:
        return int(stripped)
    return _bounded(_walk(_parsed(text, stripped), text, _MOST_DEPTH), text)


def _parsed(text: str, stripped: str) -> ast.expr:
    import ast

    # names, strings, calls and comments need letters, quotes or '#': none of them gets as far as the parser
    if not stripped or len(stripped) > _MOST_CHARACTERS or not _ALPHABET.issuperset(stripped):
        raise _refused(text)
    try:
        return ast.parse(stripped, mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError) as error:
        raise _refused(text) from error


def _walk(node: ast.expr, text: str, depth: int) -> int:
    """Evaluate one node; ``depth`` says how much deeper it may go."""
    import ast

    if depth == 0:
        raise ConfigError(f"{shown(text)} is nested deeper than {_MOST_DEPTH} levels")
    if isinstance(node, ast.Constant) and type(node.value) is int:
        return _bounded(node.value, text)
    if isinstance(node, ast.UnaryOp) and isinstance(node.op, (ast.USub, ast.UAdd)):
        value = _walk(node.operand, text, depth - 1)
        return -value if isinstance(node.op, ast.USub) else value
    if isinstance(node, ast.BinOp):
        left, right = _walk(node.left, text, depth - 1), _walk(node.right, text, depth - 1)
        return _bounded(_apply(node.op, left, right, text), text)
    raise _refused(text)


def _apply(operator: ast.operator, left: int, right: int, text: str) -> int:
    import ast

    match operator:
        case ast.Add():
            return left + right
        case ast.Sub():
            return left - right
        case ast.Mult():
            return left * right
        case ast.Pow():
            return _power(left, right, text)
        case ast.FloorDiv() | ast.Mod():
            if right == 0:
                raise ConfigError(f"{shown(text)} divides by zero")
            return left // right if isinstance(operator, ast.FloorDiv) else left % right
    raise _refused(text)


def _power(base: int, exponent: int, text: str) -> int:
    """Raise to a power whose size is known to be bounded before it is computed."""
    if exponent < 0:
        raise ConfigError(f"{shown(text)} has a negative exponent; the result is no whole number")
    if abs(base) > 1 and exponent * (base.bit_length() - 1) > _MOST_BITS:
        raise _too_large(text)
    return int(base**exponent)


def _bounded(value: int, text: str) -> int:
    if value.bit_length() > _MOST_BITS:
        raise _too_large(text)
    return value


def _too_large(text: str) -> ConfigError:
    return ConfigError(f"{shown(text)} is too large: numbers here have at most {_MOST_BITS} bits")


def _refused(text: str) -> ConfigError:
    return ConfigError(f"{shown(text)} is not {_FORMS}")
