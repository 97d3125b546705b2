"""Estimate the board's own losses: words that never came, seen only as words that come late for good.

The stream has no counter. Word k of a board that loses nothing arrives at start + k/rate, or later:
scheduling, full pipes and stalls delay an arrival, nothing advances it, and a delay is made up for. A lost
word is not: all that follows stays late by 1/rate. So a loss is a step that lasts, in the least lateness of
what is yet to come.

A crystal is off its nominal rate, by 100 ppm at most. That is a slope, not a step, and is taken out first.
"""

from __future__ import annotations

from bisect import bisect_left
from collections import deque
from collections.abc import Sequence
from fractions import Fraction
from itertools import pairwise
from statistics import median

import msgspec

WINDOW_NS = 250_000_000
MIN_WINDOWS = 5
MIN_SPAN_NS = 1_000_000_000
# Windows that must agree that a step lasts. What comes late after that is a loss or a delay, nobody knows which:
# it raises what is detectable. Of the last window, a quarter of a second, the least late arrival counts.
SUPPORT = 3
# How far ahead an arrival that is not late is looked for. A delay that lasts longer counts as a loss until it
# is made up for, and then no more.
HORIZON_NS = 60_000_000_000
MIN_STEP_NS = 3_000_000
JITTERS_PER_STEP = 6.0
CRYSTAL_DRIFT = 1e-4  # of an ordinary crystal
MAX_DRIFT = 200e-6
# What is left of the slope (a crystal that warms up, a clock that is slewed) may move the floor this fast.
WANDER = 10e-6
FIRST_SPAN_NS = 2_500_000_000
SECOND_SPAN_NS = 10_000_000_000
MAX_SAMPLES = 20_000
_KEEP_FINE = 256


class ClockEstimate(msgspec.Struct, frozen=True):
    """What arrivals against the monotonic clock tell. None: the capture is too short to tell.

    Attributes
    ----------
    rate_hz : float or None
        Measured word rate.
    drift_ppm : float or None
        By how much it is above the nominal rate. Beyond ±200 ppm it is no crystal's.
    estimated_words_lost : int or None
        Words that the board took and did not deliver. Also None for a source that is faster than the nominal
        rate by more than 200 ppm: its arrivals do not follow a clock of that rate.
    detectable_words : int or None
        A single loss smaller than this is not seen, and each one seen is right to within this: the words of
        3 ms, or of six times the jitter of arrivals if that is more, or of what comes late at the very end:
        it may be a delay, or a loss too near the end to tell.
    """

    rate_hz: float | None = None
    drift_ppm: float | None = None
    estimated_words_lost: int | None = None
    detectable_words: int | None = None


Sample = tuple[int, int]  # CLOCK_MONOTONIC ns, words that had arrived by then


class ClockRecorder:
    """Gather arrivals for an estimate, at most 20,000 of them however long the capture is.

    When they are too many, each stretch of time keeps the arrival with the least lateness; stretches grow
    with the capture, but the newest 256 arrivals are all kept.
    """

    def __init__(self) -> None:
        self._samples: list[Sample] = []
        self._window_ns = WINDOW_NS

    def __len__(self) -> int:
        return len(self._samples)

    def add(self, t_ns: int, words: int) -> None:
        """Note that ``words`` in all had arrived at ``t_ns``; words that fastcap itself dropped count.

        An arrival that is not later than the one before, or has fewer words, says nothing and is left out.
        """
        if self._samples and (t_ns <= self._samples[-1][0] or words < self._samples[-1][1]):
            return
        self._samples.append((t_ns, words))
        if len(self._samples) > MAX_SAMPLES:
            self._thin()

    def _thin(self) -> None:
        old, fine = self._samples[:-_KEEP_FINE], self._samples[-_KEEP_FINE:]
        (first_ns, first_words), (last_ns, last_words) = old[0], old[-1]
        mean_rate = Fraction(max(1, last_words - first_words) * 10**9, last_ns - first_ns)
        old = least_late(old, mean_rate, self._window_ns)
        while len(old) > MAX_SAMPLES // 2:
            self._window_ns *= 2
            old = least_late(old, mean_rate, self._window_ns)
        self._samples = old + fine

    def estimate(self, nominal_hz: Fraction) -> ClockEstimate:
        """Return the estimate from the arrivals so far, against the board's nominal word rate."""
        return estimate(self._samples, nominal_hz)


def least_late(samples: list[Sample], rate_hz: Fraction, window_ns: int) -> list[Sample]:
    """Return of each window of time the arrival with the least lateness against ``rate_hz``."""
    if not samples:
        return []
    first_ns, kept, window, best = samples[0][0], list[Sample](), -1, 0
    for t_ns, words in samples:
        late = _lateness_ns(t_ns, words, rate_hz)
        if (t_ns - first_ns) // window_ns != window:
            window = (t_ns - first_ns) // window_ns
            kept.append((t_ns, words))
            best = late
        elif late < best:
            kept[-1] = (t_ns, words)
            best = late
    return kept


def estimate(samples: list[Sample], nominal_hz: Fraction) -> ClockEstimate:
    """Estimate rate and losses from arrivals in their order.

    Parameters
    ----------
    samples : list of (int, int)
        Monotonic nanoseconds and words that had arrived by then; both rising.
    nominal_hz : Fraction
        Words per second, above 0.

    Notes
    -----
    A delay of many seconds that is made up slowly, in a capture not much longer, hides the crystal: with a drift
    near 100 ppm it may then be taken for a loss of a few milliseconds.

    The slope of lateness is a median of slopes between pairs (after Theil and Sen), of pairs 2.5 s apart
    only, of which a loss spoils few. With it losses are found and taken out; then the slope is found again
    from pairs 10 s apart, and with that the losses.
    """
    samples = least_late(samples, nominal_hz, WINDOW_NS)
    if len(samples) < MIN_WINDOWS or samples[-1][0] - samples[0][0] < MIN_SPAN_NS:
        return ClockEstimate()
    origin_ns, origin_words = samples[0]
    times = [t_ns - origin_ns for t_ns, _ in samples]
    late = [_lateness_ns(t_ns - origin_ns, words - origin_words, nominal_hz) for t_ns, words in samples]
    nominal = float(nominal_hz)
    step_ns = max(float(MIN_STEP_NS), JITTERS_PER_STEP * _jitter(late))
    slope = _median_slope(times, late, FIRST_SPAN_NS, step_ns)
    steep = (abs(slope) - MAX_DRIFT) * times[-1] > step_ns
    ahead_ns = min(late[:SUPPORT]) - min(late[-SUPPORT:])
    if steep and ahead_ns > MAX_DRIFT * times[-1] + step_ns:
        return ClockEstimate(rate_hz=nominal * (1 - slope), drift_ppm=-slope * 1e6)
    if steep:  # words are missing at all times: of the crystal nothing is known
        lost_ns, unsettled_ns = _lasting_steps(times, late, 0.0, step_ns)
    else:
        lost_ns, _ = _lasting_steps(times, late, slope, step_ns)
        whole = [float(y - lost) for y, lost in zip(late, lost_ns, strict=True)]
        slope = _median_slope(times, whole, SECOND_SPAN_NS, step_ns)
        lost_ns, unsettled_ns = _lasting_steps(times, late, slope, step_ns)
    # What is lost stays lost: no more can be than the end is later than the beginning, plus a crystal's drift.
    missing_ns = min(lost_ns[-1], max(0.0, CRYSTAL_DRIFT * times[-1] - ahead_ns))
    return ClockEstimate(
        rate_hz=nominal * (1 - slope),
        drift_ppm=-slope * 1e6,
        estimated_words_lost=round(missing_ns * 1e-9 * nominal) if missing_ns >= step_ns else 0,
        detectable_words=round(max(step_ns, unsettled_ns) * 1e-9 * nominal),
    )


def _lateness_ns(t_ns: int, words: int, rate_hz: Fraction) -> int:
    """Return by how much ``words`` come later than ``rate_hz`` says, exactly: floats do not last a day."""
    return t_ns - words * 10**9 * rate_hz.denominator // rate_hz.numerator


def _median_slope(times: list[int], late: Sequence[float], span_ns: int, step_ns: float) -> float:
    """Return the median slope of pairs some time apart, in a short capture a quarter of its length.

    Pairs too steep for a crystal have a loss, or the end of a delay, between them; they count only if nearly
    all are.
    """
    span = min(span_ns, times[-1] // 4)
    slopes = []
    for i, t in enumerate(times):
        j = bisect_left(times, t + span, i + 1)
        if j == len(times):
            break
        slopes.append((late[j] - late[i]) / (times[j] - t))
    steepest = MAX_DRIFT + step_ns / span
    of_crystal = [slope for slope in slopes if abs(slope) <= steepest]
    return median(of_crystal if len(of_crystal) * 8 > len(slopes) else slopes)


def _jitter(late: list[int]) -> float:
    """Return the standard deviation of an arrival's lateness: from neighbours' differences, by their MAD."""
    jumps = [b - a for a, b in pairwise(late)]
    middle = median(jumps)
    return 1.4826 * median(abs(jump - middle) for jump in jumps) / 2**0.5


def _floor(times: list[int], level: list[float]) -> list[float]:
    """Return for each window, but those too near the end, the least lateness from there to the horizon."""
    floor: list[float] = []
    ahead: deque[int] = deque()  # windows that may be the least, lateness rising
    j = 0
    for i in range(len(times) - SUPPORT + 1):
        while j < len(times) and (j < i + SUPPORT or times[j] <= times[i] + HORIZON_NS):
            while ahead and level[ahead[-1]] >= level[j]:
                ahead.pop()
            ahead.append(j)
            j += 1
        while ahead[0] < i:
            ahead.popleft()
        floor.append(level[ahead[0]])
    return floor


def _lasting_steps(
    times: list[int], late: Sequence[float], slope: float, step_ns: float
) -> tuple[list[float], float]:
    """Return for each window the sum of the floor's steps so far, and by how much the last one is above the floor.

    The crystal's slope is taken out. A step back undoes those before it: that was a delay, now made up for.
    """
    crystal = min(MAX_DRIFT, max(-MAX_DRIFT, slope))
    level = [y - crystal * t for t, y in zip(times, late, strict=True)]
    floor = _floor(times, level)
    held, total, moving = floor[0], 0.0, 0
    totals = [0.0]
    for i in range(1, len(floor)):
        jump = floor[i] - held
        rest_of_step = jump * moving > step_ns / 10  # a step may take several windows
        if abs(jump) >= step_ns or rest_of_step:
            moving = 1 if jump > 0 else -1
            total = max(0.0, total + jump)
            held = floor[i]
        else:
            moving = 0
            wander = WANDER * (times[i] - times[i - 1])
            held += min(wander, max(-wander, jump))
        totals.append(total)
    return totals + [total] * (len(times) - len(totals)), level[-1] - held
