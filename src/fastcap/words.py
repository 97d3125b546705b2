"""The arithmetic of data words: I, Q, M, radius, unwrapped phase, and the way back.

A word holds M (whole turns, int16) in bits 63..48, I (int24) in 47..24 and Q (int24) in 23..0. Work goes in
pieces that stay in cache, so memory beyond the result is small and constant.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]

MAX_COUNT = 2**23 - 1  # largest I or Q, ADC counts
_ROLLOVER = 0x8000  # a step of M larger than half its range is a rollover: the other way round is shorter
_PIECE_WORDS = 16_384


class Carry(msgspec.Struct):
    """Rollover state between consecutive blocks of one file; before its first word ``last_m`` is None."""

    wraps: int = 0
    last_m: int | None = None


def split_iqm(words: Words) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]:
    """Split words into I, Q and M.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only, not kept.

    Returns
    -------
    i, q : (n,) int32
        ADC counts.
    m : (n,) int16
        Whole turns, as they are in the word: not unwrapped.

    Raises
    ------
    ValueError
        ``words`` is no one-dimensional array of uint64.
    """
    _check_words(words)
    return _i(words).astype(np.int32), _q(words).astype(np.int32), _m(words)


def radius(words: Words, out: Floats | None = None) -> Floats:
    """Fill ``out`` with the radius of ``words``.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only, not kept.
    out : (n,) float64, optional
        Radius in ADC counts; made if not given.

    Raises
    ------
    ValueError
        Shapes or types differ. ``out`` is unchanged.

    Notes
    -----
    I² + Q² is below 2⁴⁸, hence exact in float64, and the root of it is rounded once: hypot is no better.
    """
    _check_words(words)
    out = _out_for(words, out)
    for piece in _pieces(words):
        i, q = _i(words[piece]).astype(np.float64), _q(words[piece]).astype(np.float64)
        np.sqrt(i * i + q * q, out=out[piece])
    return out


def phase(words: Words, out: Floats | None = None, carry: Carry | None = None) -> Floats:
    """Fill ``out`` with the unwrapped phase of ``words``: ``-atan2(I, Q)/2π - M~``.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only, not kept.
    out : (n,) float64, optional
        Phase in turns; made if not given.
    carry : Carry, optional
        Rollover state after the previous block; advanced in place. Without it, ``words`` begins a file.

    Raises
    ------
    ValueError
        Shapes or types differ. ``out`` and ``carry`` are unchanged.
    """
    _check_words(words)
    out = _out_for(words, out)
    if carry is None:
        carry = Carry()
    for piece in _pieces(words):
        part, target = words[piece], out[piece]
        turns = _unwrap(_m(part), carry)
        np.arctan2(_i(part).astype(np.float64), _q(part).astype(np.float64), out=target)
        np.negative(target, out=target)
        target /= 2 * np.pi
        target -= turns
    return out


def encode(phase_turns: Floats, radius: Floats | float) -> Words:
    """Encode phase and radius as board words, as the board itself would have sent them.

    Parameters
    ----------
    phase_turns : (n,) float64
        Phase in turns; below 2⁵², where float64 still tells half turns.
    radius : (n,) float64 or float
        Radius in ADC counts.

    Returns
    -------
    words : (n,) uint64
        M is computed from the rounded I and Q, so that decoding never lands a turn off.

    Raises
    ------
    ValueError
        A value is not finite, or does not fit the word.
    """
    phase_turns = np.asarray(phase_turns, dtype=np.float64)
    angle = -2 * np.pi * (phase_turns - np.floor(phase_turns + 0.5))
    # An I of -0.0 would be +0.0 when decoded: half a turn on the other side. Adding 0.0 mends it.
    i, q = np.rint(radius * np.sin(angle)) + 0.0, np.rint(radius * np.cos(angle)) + 0.0
    largest = max(np.max(np.abs(i), initial=0), np.max(np.abs(q), initial=0))
    if not largest <= MAX_COUNT + 1 or max(np.max(i, initial=0), np.max(q, initial=0)) > MAX_COUNT:
        raise ValueError(
            f"I or Q of {largest} counts does not fit 24 bits; give a radius of at most {MAX_COUNT}"
        )
    if not np.max(np.abs(phase_turns), initial=0) < 2**52:
        raise ValueError("phase is not finite or not below 2**52 turns")
    m = np.rint(-np.arctan2(i, q) / (2 * np.pi) - phase_turns).astype(np.int64)
    bits = (m << 48) | ((i.astype(np.int64) & 0xFFFFFF) << 24) | (q.astype(np.int64) & 0xFFFFFF)
    return bits.view(np.uint64)


def _unwrap(m: NDArray[np.int16], carry: Carry) -> Any:
    """Return M with rollovers removed as float64, or M itself where there is none, and advance ``carry``."""
    first = int(m[0])
    steps = np.empty(m.size, dtype=np.int32)
    steps[0] = 0 if carry.last_m is None else first - carry.last_m
    np.subtract(m[1:], m[:-1], out=steps[1:], dtype=np.int32)
    turns = m.astype(np.float64)
    wraps: Any = carry.wraps
    if steps.max() > _ROLLOVER or steps.min() < -_ROLLOVER:
        wraps = carry.wraps + np.cumsum((steps > _ROLLOVER).astype(np.int64) - (steps < -_ROLLOVER))
        carry.wraps = int(wraps[-1])
    turns -= 65536.0 * wraps
    carry.last_m = int(m[-1])
    return turns


def _i(words: Words) -> NDArray[np.int64]:
    return (words.view(np.int64) << 16) >> 40


def _q(words: Words) -> NDArray[np.int64]:
    return (words.view(np.int64) << 40) >> 40


def _m(words: Words) -> NDArray[np.int16]:
    return (words.view(np.int64) >> 48).astype(np.int16)


def _pieces(words: Words) -> Iterator[slice]:
    """Yield slices that cut ``words`` into pieces of cache size."""
    for start in range(0, words.size, _PIECE_WORDS):
        yield slice(start, start + _PIECE_WORDS)


def _check_words(words: Words) -> None:
    if not isinstance(words, np.ndarray) or words.ndim != 1 or words.dtype != np.uint64:
        kind = f"{words.dtype} array of shape {words.shape}" if isinstance(words, np.ndarray) else type(words)
        raise ValueError(f"words are a {kind}; give a one-dimensional array of uint64")


def _out_for(words: Words, out: Floats | None) -> Floats:
    """Return ``out`` after checking it against ``words``, or a new array."""
    if out is None:
        return np.empty(words.shape, dtype=np.float64)
    if out.shape != words.shape or out.dtype != np.float64 or not out.flags.writeable:
        raise ValueError(
            f"out is {out.dtype} of shape {out.shape}, writeable {out.flags.writeable}; "
            f"give a writeable float64 array of shape {words.shape}"
        )
    return out
