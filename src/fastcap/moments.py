"""Count, mean, spread, shape and extremes of a stream of values, in one pass and mergeable.

Sums are taken about each block's own mean and merged by Pébay's formulas, with mean and central moments carried
as unevaluated sums of two floats: see `_moments.h`. A phase of a million turns thus costs no digit of its
spread, and the result does not depend on how the stream was cut.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import ArrayLike

from fastcap._stats import Moments


class RunningStats:
    """Count, mean, standard deviation, standardised moments 3 to 6, minimum and maximum of all values so far.

    All moments are the population's (ddof 0). A standardised moment of order p is the mean of
    ``((x - mean) / std)**p``; of values that are all equal it is None. A value that is not finite makes
    everything but the count None.
    """

    __slots__ = ("_moments",)

    def __init__(self) -> None:
        self._moments = Moments()

    @property
    def count(self) -> int:
        """How many values."""
        return self._moments.count

    @property
    def minimum(self) -> float:
        """The least value; infinite of no values, NaN if one of them is not finite."""
        return self._known(self._moments.least)

    @property
    def maximum(self) -> float:
        """The greatest value; minus infinite of no values, NaN if one of them is not finite."""
        return self._known(self._moments.greatest)

    def _known(self, extreme: float) -> float:
        """Return an extreme, unless values took part in it that cannot be compared."""
        return math.nan if self.count and not math.isfinite(self._moments.mean) else extreme

    @property
    def mean(self) -> float | None:
        """The mean, or None of no values."""
        return finite(self._moments.mean) if self.count else None

    @property
    def std(self) -> float | None:
        """The standard deviation of the values taken as the whole population, or None of no values."""
        return finite(math.sqrt(self._moments.central(2) / self.count)) if self.count else None

    @property
    def skewness(self) -> float | None:
        """The third standardised moment: 0 of a symmetric distribution."""
        return self.standardised(3)

    @property
    def kurtosis(self) -> float | None:
        """The fourth standardised moment (Pearson's): 3 of a normal distribution; the excess is 3 less."""
        return self.standardised(4)

    @property
    def moment5(self) -> float | None:
        """The fifth standardised moment (hyperskewness): 0 of a symmetric distribution."""
        return self.standardised(5)

    @property
    def moment6(self) -> float | None:
        """The sixth standardised moment (hyperkurtosis): 15 of a normal distribution."""
        return self.standardised(6)

    def standardised(self, order: int) -> float | None:
        """Return the standardised moment of ``order`` 3 to 6; None of values without spread, or of none."""
        square = self._moments.central(2) / self.count if self.count else 0.0
        if not (square > 0.0 and math.isfinite(square)):
            return None
        scale = square ** (order // 2) * (math.sqrt(square) if order % 2 else 1.0)
        moment = self._moments.central(order) / self.count
        return finite(moment / scale) if scale else None

    def update(self, values: ArrayLike) -> None:
        """Take in a block of values; it is not kept.

        Parameters
        ----------
        values : (n,) array_like
            Converted to float64.
        """
        self._moments.update(np.ascontiguousarray(values, dtype=np.float64).ravel())

    def merge(self, other: RunningStats) -> None:
        """Take in all values that ``other`` has seen; ``other`` is unchanged."""
        self._moments.merge(other._moments)

    def shift(self, by: float) -> None:
        """Add ``by`` to every value so far."""
        self._moments.shift(by)

    def to_dict(self) -> dict[str, Any]:
        """Return all of it by name; what is unknown or not finite is None."""
        return {
            "count": self.count,
            "mean": self.mean,
            "std": self.std,
            "min": finite(self.minimum),
            "max": finite(self.maximum),
            "skewness": self.skewness,
            "kurtosis": self.kurtosis,
            "moment5": self.moment5,
            "moment6": self.moment6,
        }

    def __getstate__(self) -> Moments:
        return self._moments

    def __setstate__(self, state: Moments) -> None:
        self._moments = state


def finite(value: float) -> float | None:
    """Return the value, or None if it is NaN or infinite."""
    return value if math.isfinite(value) else None
