"""Phase at a lower rate: filtered without phase shift and decimated, in one pass and in constant memory.

The filter is that of ``scipy.signal.decimate(phase, q, ftype="fir")``: 20 q + 1 taps, Hamming window, cutoff
at half the new rate. Up to 0.41 of the new rate its gain is 1 within 0.4 %; what would fold onto that is damped
by 50 dB and more. It is symmetric and centred: value k is the phase at k/rate after the first word.

A gap is never filtered over. Each stretch of words without one is continued beyond its ends by its point
reflection there (as `scipy.signal.filtfilt` does it), so that a drift stays a drift up to the last value.
Values whose time lies in a gap are NaN, and so is all of a stretch that is shorter than half the filter, which
is ten values.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import datetime
from fractions import Fraction
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from fastcap._stretches import Source, Stretch, source_of
from fastcap.errors import ConfigError
from fastcap.units import format_rate_hz, parse_rate_hz

if TYPE_CHECKING:
    from fastcap.trace import Trace

__all__ = ["phase_at", "phase_blocks", "stages", "times_at"]

Floats = NDArray[np.float64]

HALF_VALUES = 10  # of the filter's length, in values at the new rate
_MAX_STAGE = 1 << 15  # words; the taps of one stage then take 5 MiB
_BATCH_WORDS = 1 << 18


def phase_at(trace: Trace | Source, rate: str | float | Fraction) -> Floats:
    """Return the phase in turns at ``rate``, unwrapped as ``trace.phase()`` is.

    Parameters
    ----------
    trace : Trace, Window or TraceSet
        Words outside a window do not count, not even for the filter.
    rate : str or number
        ``"400Hz"``; the trace's rate must be a whole multiple of it. A `fractions.Fraction` is exact.

    Returns
    -------
    (n,) float64
        Value k is the phase at k/rate after the first word, lost words counted; see `times_at`. NaN in gaps.

    Raises
    ------
    ValueError
        The trace's rate is unknown or no whole multiple of ``rate``, or it is too short to be filtered.
    ConfigError
        scipy is not installed.
    """
    source = source_of(trace)
    factor = factor_of(source, rate)
    out = np.full(-(-source.span_words // factor), np.nan)
    for stretch in source.stretches():
        for at, values in phase_blocks(stretch, factor):
            out[at : at + values.size] = values
    if out.size and np.isnan(out).all():
        assert source.sample_rate is not None
        least_s = HALF_VALUES * factor / source.sample_rate
        raise ValueError(
            f"not a stretch without a gap is longer than {float(least_s):.6g} s, half the filter's length for "
            f"{format_rate_hz(source.sample_rate / factor)}; give a higher rate"
        )
    return out


def times_at(trace: Trace | Source, rate: str | float | Fraction) -> NDArray[np.datetime64]:
    """Return when the values of ``phase_at(trace, rate)`` were, ``(n,) datetime64[ns]``, UTC, cut to the ns.

    Raises
    ------
    ValueError
        As `phase_at`, or the trace's start is not known.
    """
    source = source_of(trace)
    factor = factor_of(source, rate)
    assert source.sample_rate is not None
    if source.start is None:
        raise ValueError("when the first word was sampled is not known; count k/rate from it")
    count = -(-source.span_words // factor)
    return absolute_times(source.start, np.arange(count), factor / source.sample_rate)


def absolute_times(start: datetime, steps: NDArray[np.int64], step_s: Fraction) -> NDArray[np.datetime64]:
    """Return ``start + steps * step_s`` as datetime64[ns] in UTC, in integer arithmetic."""
    step_ns = step_s * 10**9
    over, under = step_ns.numerator, step_ns.denominator
    elapsed = steps // under * over + steps % under * over // under
    return start_ns(start) + elapsed.astype("timedelta64[ns]")


def start_ns(start: datetime) -> np.datetime64:
    """Return an aware time as datetime64[ns], UTC."""
    from datetime import UTC

    return np.datetime64(start.astimezone(UTC).replace(tzinfo=None), "ns")


def factor_of(source: Source, rate: str | float | Fraction) -> int:
    """Return by how much to decimate for ``rate``.

    Raises
    ------
    ValueError
        The source's rate is not known or no whole multiple of ``rate``.
    """
    if source.sample_rate is None:
        raise ValueError("the word rate is not known, so there is no other to decimate to")
    wanted = parse_rate_hz(rate)
    ratio = source.sample_rate / wanted
    if ratio.denominator != 1:
        near = sorted({max(1, int(ratio)), int(ratio) + 1})
        raise ValueError(
            f"rate {float(wanted):.10g} Hz does not divide the words' {float(source.sample_rate):.10g} Hz; the "
            f"nearest that do: {', '.join(_fraction(source.sample_rate / n) for n in near)}"
        )
    stages(int(ratio))
    return int(ratio)


def _fraction(rate: Fraction) -> str:
    exact = rate.denominator == 1 and f"{rate.numerator} Hz"
    return exact or f"Fraction({rate.numerator}, {rate.denominator}) = {float(rate):.10g} Hz"


def stages(factor: int) -> tuple[int, ...]:
    """Return the factors by which is decimated in turn: one up to 32,768, two beyond, to bound the memory.

    Each stage is ``scipy.signal.decimate(..., ftype="fir")`` by its factor.

    Raises
    ------
    ValueError
        The factor is larger and no product of two such.
    """
    if factor <= _MAX_STAGE:
        return (factor,)
    for first in range(_MAX_STAGE, 1, -1):
        if factor % first == 0 and factor // first <= _MAX_STAGE:
            return (first, factor // first)
    raise ValueError(
        f"a decimation of {factor} to 1 is not a product of two factors up to {_MAX_STAGE}; give a rounder rate"
    )


def phase_blocks(stretch: Stretch, factor: int) -> Iterator[tuple[int, Floats]]:
    """Yield blocks of a stretch's decimated phase with the index of their first value, counted in its source.

    A block is valid until the next. A stretch that is too short yields none.
    """
    first, length, blocks = stretch.at, len(stretch), stretch.phases()
    for stage in stages(factor):
        blocks = _decimated(blocks, first, length, stage)
        first, length = -(-first // stage), -(-(first + length) // stage) - -(-first // stage)
    for block in blocks:
        yield first, block
        first += block.size


def _decimated(blocks: Iterator[Floats], first: int, length: int, factor: int) -> Iterator[Floats]:
    """Yield the values at multiples of ``factor`` of a stretch from ``first`` on; nothing if it is too short.

    With rows x[r] of ``factor`` samples, value k is the sum over j of x[k + j] · h[j], h in rows likewise: one
    matrix product for a batch of rows, and a sum along its diagonals.
    """
    if factor == 1:
        yield from blocks
        return
    half = HALF_VALUES * factor
    center = -first % factor
    if length <= half:
        return
    count = (length - 1 - center) // factor + 1
    behind = center + (count - 1) * factor + half + 1 - length
    taps = _taps(factor)
    table = taps[:-1].reshape(2 * HALF_VALUES, factor)
    gains = np.append(table.sum(axis=1), taps[-1])
    products, references = np.empty((0, gains.size)), np.empty(0)
    for rows in _rows(_extended(blocks, half - center, behind), factor):
        reference = np.floor(rows[:, 0])  # off first: a phase of a million turns keeps its digits
        rows -= reference[:, None]
        products = np.concatenate([products, np.column_stack([rows @ table.T, rows[:, 0] * taps[-1]])])
        references = np.concatenate([references, reference])
        done = products.shape[0] - 2 * HALF_VALUES
        if done > 0:
            yield _diagonal_sums(products, references, gains, done)
            products, references = products[done:], references[done:]


def _diagonal_sums(products: Floats, references: Floats, gains: Floats, count: int) -> Floats:
    base = references[HALF_VALUES : HALF_VALUES + count]
    total = np.zeros(count)
    for j, gain in enumerate(gains):
        total += products[j : j + count, j] + (references[j : j + count] - base) * gain
    return np.asarray(total + base, dtype=np.float64)


def _extended(blocks: Iterator[Floats], before: int, behind: int) -> Iterator[Floats]:
    """Yield the blocks, point reflections of the first ``before`` and last ``behind`` samples around them."""
    head, need = [], before + 1
    for block in blocks:
        head.append(block.copy())
        need -= block.size
        if need <= 0:
            break
    begun = np.concatenate(head)
    yield 2 * begun[0] - begun[before:0:-1]
    last = begun[-behind - 1 :]
    yield begun
    for block in blocks:
        last = block[-behind - 1 :].copy() if block.size > behind else np.append(last, block)[-behind - 1 :]
        yield block
    yield 2 * last[-1] - last[-2 : -behind - 2 : -1]


def _rows(blocks: Iterator[Floats], size: int) -> Iterator[Floats]:
    """Yield the samples in new arrays of rows of ``size``; the last row is filled up with zeros."""
    batch = np.empty(max(1, _BATCH_WORDS // size) * size)
    filled = 0
    for block in blocks:
        at = 0
        while at < block.size:
            n = min(block.size - at, batch.size - filled)
            batch[filled : filled + n] = block[at : at + n]
            at, filled = at + n, filled + n
            if filled == batch.size:
                yield batch.reshape(-1, size)
                filled = 0
    if filled:
        rows = -(-filled // size)
        batch[filled : rows * size] = 0.0
        yield batch[: rows * size].reshape(-1, size)


@lru_cache(maxsize=4)
def _taps(factor: int) -> Floats:
    """Return the filter; symmetric, and its sum is 1."""
    try:
        from scipy.signal import firwin
    except ImportError as error:
        raise ConfigError(
            "filtering needs scipy, which is not installed: pip install 'fastcap[plot]'"
        ) from error
    taps = np.asarray(firwin(2 * HALF_VALUES * factor + 1, 1 / factor, window="hamming"), dtype=np.float64)
    taps.setflags(write=False)
    return taps
