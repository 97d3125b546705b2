"""The arithmetic of data words: I, Q, M, radius, unwrapped phase, and the way back.

A word holds M (whole turns, int16) in bits 63..48, I (int24) in 47..24 and Q (int24) in 23..0. Results are the
same, to the last bit, on every machine, with any number of threads and however a file is cut into blocks; phase
and radius are within 4e-16 of the true value, relatively, before the phase is rounded with its whole turns.
No function keeps ``words``, or needs more memory than its result. Arrays with strides are copied piece by piece
on their way; what a result goes into must not overlap its words.
"""

from __future__ import annotations

from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from fastcap import _decode
from fastcap._arrays import check_apart, check_words, out_for, pieces
from fastcap._indexfile import BLOCK_WORDS, ROW_BYTES

Words = NDArray[np.uint64]
Floats = NDArray[np.float64]
Rows = NDArray[np.void]

MAX_COUNT = 2**23 - 1  # largest I or Q, ADC counts
ROW = np.dtype(
    [("wraps", "<i8"), ("m_before", "<i4"), ("words", "<u4")]
    + [(f"{what}_{sum_}", "<f8") for what in ("phase", "radius") for sum_ in ("min", "max", "mean", "m2")]
)
assert ROW.itemsize == ROW_BYTES
FIELDS: dict[str, Any] = {"i": np.int32, "q": np.int32, "m": np.int16}


class Carry(msgspec.Struct):
    """Rollover state between consecutive blocks of one file; before its first word ``last_m`` is None.

    A step of M of more than half its range is a rollover: the other way round is shorter.
    """

    wraps: int = 0
    last_m: int | None = None


def split_iqm(
    words: Words,
    i: NDArray[np.int32] | None = None,
    q: NDArray[np.int32] | None = None,
    m: NDArray[np.int16] | None = None,
) -> tuple[NDArray[np.int32], NDArray[np.int32], NDArray[np.int16]]:
    """Split words into I, Q and M.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only.
    i, q : (n,) int32, optional
        Where ADC counts go; made if not given.
    m : (n,) int16, optional
        Where whole turns go, as they are in the word: not unwrapped; made if not given.

    Raises
    ------
    ValueError
        Shapes or types differ, or arrays overlap. Nothing was changed.
    """
    check_words(words)
    i, q, m = (
        out_for(words, given, name, kind)
        for given, (name, kind) in zip((i, q, m), FIELDS.items(), strict=True)
    )
    check_apart(words, i, q, m)
    for piece, outs in pieces(words, i, q, m):
        _decode.split(piece, *outs)
    return i, q, m


def field(words: Words, name: str, out: NDArray[Any] | None = None) -> NDArray[Any]:
    """Return I, Q or M alone, as `split_iqm` would.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only.
    name : {"i", "q", "m"}
        Which.
    out : (n,) int32 or int16, optional
        Where it goes; made if not given.

    Raises
    ------
    ValueError
        There is no such field, shapes or types differ, or arrays overlap. ``out`` is unchanged.
    """
    check_words(words)
    if name not in FIELDS:
        raise ValueError(f"there is no field {name!r} of a word; give one of {', '.join(FIELDS)}")
    out = out_for(words, out, "out", FIELDS[name])
    check_apart(words, out)
    for piece, (part,) in pieces(words, out):
        _decode.split(piece, *(part if which == name else None for which in FIELDS))
    return out


def radius(words: Words, out: Floats | None = None, threads: int = 1) -> Floats:
    """Fill ``out`` with the radius of ``words``.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only.
    out : (n,) float64, optional
        Radius in ADC counts; made if not given.
    threads : int
        How many may work; this one is the first.

    Raises
    ------
    ValueError
        Shapes or types differ, or arrays overlap. ``out`` is unchanged.

    Notes
    -----
    I² + Q² is below 2⁴⁸, hence exact in float64, and the root of it is rounded once: hypot is no better.
    """
    check_words(words)
    out = out_for(words, out, "out", np.float64)
    check_apart(words, out)
    for piece, (part,) in pieces(words, out):
        _decode.decode(piece, None, part, 0, _decode.NO_M, threads)
    return out


def phase(words: Words, out: Floats | None = None, carry: Carry | None = None, threads: int = 1) -> Floats:
    """Fill ``out`` with the unwrapped phase of ``words``: ``-atan2(I, Q)/2π - M~``.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only.
    out : (n,) float64, optional
        Phase in turns; made if not given.
    carry : Carry, optional
        Rollover state after the previous block; advanced in place. Without it, ``words`` begins a file.
    threads : int
        How many may work; this one is the first.

    Raises
    ------
    ValueError
        Shapes or types differ, or arrays overlap. ``out`` and ``carry`` are unchanged.
    """
    check_words(words)
    out = out_for(words, out, "out", np.float64)
    check_apart(words, out)
    state = state_of(carry)
    for piece, (part,) in pieces(words, out):
        state = _decode.decode(piece, part, None, *state, threads)
    put_state(carry, state)
    return out


def phase_radius(
    words: Words,
    phase_out: Floats | None = None,
    radius_out: Floats | None = None,
    carry: Carry | None = None,
    threads: int = 1,
) -> tuple[Floats, Floats]:
    """Return what `phase` and `radius` would, to the last bit, in one pass that takes little more than the first.

    Parameters
    ----------
    words : (n,) uint64
        Board words. Read only.
    phase_out, radius_out : (n,) float64, optional
        Phase in turns, radius in ADC counts; made if not given.
    carry : Carry, optional
        Rollover state after the previous block; advanced in place. Without it, ``words`` begins a file.
    threads : int
        How many may work; this one is the first.

    Raises
    ------
    ValueError
        Shapes or types differ, or arrays overlap. Nothing was changed.
    """
    check_words(words)
    phase_out = out_for(words, phase_out, "phase_out", np.float64)
    radius_out = out_for(words, radius_out, "radius_out", np.float64)
    check_apart(words, phase_out, radius_out)
    state = state_of(carry)
    for piece, (phase_part, radius_part) in pieces(words, phase_out, radius_out):
        state = _decode.decode(piece, phase_part, radius_part, *state, threads)
    put_state(carry, state)
    return phase_out, radius_out


def advance(carry: Carry, words: Words) -> None:
    """Advance the rollover state past ``words``, without a look at anything but M.

    Raises
    ------
    ValueError
        ``words`` is no one-dimensional array of uint64. ``carry`` is unchanged.
    """
    check_words(words)
    state = state_of(carry)
    for piece, _ in pieces(words):
        state = _decode.decode(piece, None, None, *state)
    put_state(carry, state)


def index_rows(words: Words, carry: Carry) -> Rows:
    """Return the index rows of consecutive blocks of 65,536 words, the last of which may be short.

    Parameters
    ----------
    words : (n,) uint64
        They begin where a block does. Read only.
    carry : Carry
        Rollover state before them; advanced in place.

    Returns
    -------
    rows : (ceil(n / 65536),) ROW
        ``wraps`` and ``m_before`` (65536: none) are the state before the block's first word; ``m2`` is the sum
        of squared deviations from the mean. Phase is unwrapped, in turns; radius in ADC counts.

    Raises
    ------
    ValueError
        ``words`` is no one-dimensional array of uint64. ``carry`` is unchanged.
    """
    check_words(words)
    rows = np.empty(-(-words.size // BLOCK_WORDS), ROW)
    raw = rows.view(np.uint8)
    state = state_of(carry)
    step = max(1, words.size) if words.flags.c_contiguous else BLOCK_WORDS
    for at in range(0, words.size, step):
        block = np.ascontiguousarray(words[at : at + step])
        first, last = at // BLOCK_WORDS, -(-(at + block.size) // BLOCK_WORDS)
        state = _decode.index_rows(block, raw[first * ROW_BYTES : last * ROW_BYTES], *state)
    put_state(carry, state)
    return rows


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


def state_of(carry: Carry | None) -> tuple[int, int]:
    """Return a rollover state as the kernels take it."""
    if carry is None:
        return 0, _decode.NO_M
    return carry.wraps, _decode.NO_M if carry.last_m is None else carry.last_m


def put_state(carry: Carry | None, state: tuple[int, int]) -> None:
    """Set a rollover state to what the kernels returned."""
    if carry is not None:
        carry.wraps = state[0]
        carry.last_m = None if state[1] == _decode.NO_M else state[1]
