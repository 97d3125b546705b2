"""Histograms that widen as they must, and percentiles from them; one pass, mergeable, the same over any split.

Bins are half-open, ``[k * width, (k + 1) * width)``, their width a power of two, and stand in pages of 1,024. Only
pages that hold a value exist; when they become too many, the width doubles. The width thus follows from the
values alone, neither from their order nor from how they were cut into blocks, and one value far out costs a page
of its own instead of the resolution of all the others.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from numpy.typing import NDArray

from fastcap._stats import count as count_into
from fastcap._stats import count_field, i_doubles, q_doubles

Floats = NDArray[np.float64]
Counts = NDArray[np.int64]

PAGE_BINS = 1024
REPORT_BARS = 256
_FEW, _MANY = 1024, 32_768  # values aside: of one block, of all
_LARGEST_KEY = 2.0**50  # of a bin: so far the kernel's arithmetic is exact


class Histogram:
    """Counts of values in bins of one width.

    Parameters
    ----------
    least_width : float
        The width to begin with: a power of two.
    most_pages : int
        Memory: 8 KiB a page.
    """

    def __init__(self, least_width: float = 1.0, most_pages: int = 4) -> None:
        if math.frexp(least_width)[0] != 0.5:
            raise ValueError(f"bins of width {least_width}: give a power of two")
        self._width = least_width
        self._most_pages = most_pages
        self._pages: dict[int, Counts] = {}
        self._window: Counts | None = (
            None  # consecutive pages that most values fall into, and a bin for the rest
        )
        self._window_page = 0
        self._aside: list[Floats] = []  # few values that fell outside the window, to be counted together

    @property
    def width(self) -> float:
        """The width of a bin, now."""
        self._flush()
        return self._width

    @property
    def count(self) -> int:
        """Values counted; those that are not finite are not."""
        self._flush()
        return sum(int(bins.sum()) for bins in self._pages.values())

    # -- taking in -------------------------------------------------------------------------------

    def add(self, values: Floats) -> None:
        """Take in a block of values, ``(n,) float64``; it is not kept."""
        if self._window is not None:
            count_into(values, 1.0 / self._width, float(self._window_page * PAGE_BINS), self._window)
            values = self._outside(values) if self._window[-1] else values[:0]
        self._add_rest(values)

    def add_field(self, words: NDArray[np.uint64], field: str) -> None:
        """Take in I or Q of a block of words (``field`` "i" or "q"), in bins of at least one count."""
        if self._window is not None:
            shift = int(self._width).bit_length() - 1
            count_field(words, field == "q", shift, self._window_page * PAGE_BINS, self._window)
            if not self._window[-1]:
                return
        values = np.empty(words.size)
        (q_doubles if field == "q" else i_doubles)(words, values)
        self._add_rest(values if self._window is None else self._outside(values))

    def _outside(self, values: Floats) -> Floats:
        """Return the values that are not in the window, and forget that they were counted."""
        assert self._window is not None
        self._window[-1] = 0
        keys = np.floor(values * (1.0 / self._width)) - self._window_page * PAGE_BINS
        return values[~((keys >= 0) & (keys < self._window.size - 1))]

    def _add_rest(self, values: Floats) -> None:
        """Count what is outside the window; move it there if that is much."""
        values = values[np.isfinite(values)] if values.size else values
        if not values.size:
            return
        if values.size <= _FEW and self._window is not None:
            self._aside.append(values)
            if sum(aside.size for aside in self._aside) > _MANY:
                self._flush()
        elif self._spread(values) > self._most_pages:
            self._add_sparse(values)
        else:
            self._add_window(values)

    def _page(self, value: float) -> int:
        return math.floor(value / self._width) // PAGE_BINS

    def _spread(self, values: Floats) -> int:
        """Return how many pages there are from the least to the greatest value."""
        return self._page(float(values.max())) - self._page(float(values.min())) + 1

    def _add_window(self, values: Floats) -> None:
        """Count values that lie closely together: they are the middle of a new window."""
        self._flush()
        self._represent(values)
        first, pages = self._page(float(values.min())), 2 * self._most_pages
        self._window_page = first - (pages - self._spread(values)) // 2
        self._window = np.zeros(pages * PAGE_BINS + 1, np.int64)
        count_into(values, 1.0 / self._width, float(self._window_page * PAGE_BINS), self._window)

    def _flush(self) -> None:
        """Move all that was counted or put aside to the pages."""
        if self._window is not None:
            pages, self._window = self._window[:-1].reshape(-1, PAGE_BINS), None
            for offset in np.flatnonzero(pages.any(axis=1)).tolist():
                self._into(self._window_page + offset, pages[offset])
            self._fit()
        if self._aside:
            aside, self._aside = np.concatenate(self._aside), []
            self._add_sparse(aside)

    def _represent(self, values: Floats) -> None:
        """Widen the bins until float64 can number those of all values."""
        while float(np.abs(values).max()) / self._width > _LARGEST_KEY:
            self._widen()

    def _add_sparse(self, values: Floats) -> None:
        """Count values wherever they are; slower."""
        self._flush()
        self._represent(values)
        keys = np.floor(values / self._width).astype(np.int64)
        held = np.fromiter(self._pages, np.int64, len(self._pages))
        pages = np.unique(np.concatenate([keys // PAGE_BINS, held]))
        while pages.size > self._most_pages:
            self._widen()
            keys >>= 1
            pages = np.unique(pages >> 1)
        found, counts = np.unique(keys, return_counts=True)
        for page in np.unique(found // PAGE_BINS).tolist():
            inside = found // PAGE_BINS == page
            bins = np.zeros(PAGE_BINS, np.int64)
            bins[found[inside] - page * PAGE_BINS] = counts[inside]
            self._into(page, bins)

    def _into(self, page: int, bins: NDArray[Any]) -> None:
        held = self._pages.get(page)
        if held is None:
            self._pages[page] = bins.astype(np.int64)
        else:
            held += bins

    def _fit(self) -> None:
        while len(self._pages) > self._most_pages:
            self._widen()

    def _widen(self) -> None:
        """Double the width. Nothing is in the window."""
        self._width *= 2
        half = PAGE_BINS // 2
        old, self._pages = self._pages, {}
        for page, bins in old.items():
            target = self._pages.setdefault(page >> 1, np.zeros(PAGE_BINS, np.int64))
            at = page % 2 * half
            target[at : at + half] += bins.reshape(half, 2).sum(axis=1)

    def merge(self, other: Histogram) -> None:
        """Take in all values that ``other`` has seen; ``other`` is unchanged."""
        wider = other.copy()
        while self.width < wider._width:
            self._widen()
        while wider._width < self._width:
            wider._widen()
        for page, bins in wider._pages.items():
            self._into(page, bins)
        self._fit()

    def shift(self, by: float) -> None:
        """Add ``by`` to every value so far.

        Raises
        ------
        ValueError
            ``by`` is not a whole number of bins: the counts would not be exact. Nothing has changed.
        """
        bins = by / self.width
        if not bins.is_integer():
            raise ValueError(f"a shift by {by} is not a whole number of bins of {self.width}")
        pages, rest = divmod(int(bins), PAGE_BINS)
        old, self._pages = self._pages, {}
        for page, counts in old.items():
            two_pages = np.concatenate(
                [np.zeros(rest, np.int64), counts, np.zeros(PAGE_BINS - rest, np.int64)]
            )
            for offset, part in enumerate((two_pages[:PAGE_BINS], two_pages[PAGE_BINS:])):
                if part.any():
                    self._into(page + pages + offset, part)
        self._fit()

    def copy(self) -> Histogram:
        """Return an independent copy."""
        other = Histogram(self.width, self._most_pages)
        other._pages = {page: bins.copy() for page, bins in self._pages.items()}
        return other

    # -- results ---------------------------------------------------------------------------------

    def quantile(self, share: float) -> float | None:
        """Return the middle of the bin that holds the least value that ``share`` of all do not exceed.

        Off by at most half the width; ``numpy.quantile(..., method="inverted_cdf")`` tells the value itself.
        None of no values.
        """
        count = self.count
        if not count:
            return None
        wanted = max(1, math.ceil(share * count))
        for page in sorted(self._pages):
            bins = self._pages[page]
            within = int(bins.sum())
            if wanted <= within:
                index = int(np.searchsorted(np.cumsum(bins), wanted))
                return (page * PAGE_BINS + index + 0.5) * self._width
            wanted -= within
        raise AssertionError("fewer values in the bins than were counted")

    def bars(self, most: int = REPORT_BARS) -> tuple[Floats, Counts]:
        """Return the edges and counts of at most ``most`` bars of equal width, from the least value on."""
        if not self.count:
            return np.zeros(1), np.zeros(0, np.int64)
        coarse = self.copy()
        while True:
            keys = [page * PAGE_BINS + np.flatnonzero(coarse._pages[page]) for page in sorted(coarse._pages)]
            first, last = int(keys[0][0]), int(keys[-1][-1])
            if last - first < most:
                break
            coarse._widen()
        counts = np.zeros(last - first + 1, np.int64)
        for page, bins in coarse._pages.items():
            inside = np.flatnonzero(bins)
            counts[page * PAGE_BINS + inside - first] = bins[inside]
        return np.arange(first, last + 2, dtype=np.float64) * coarse._width, counts

    def to_dict(self) -> dict[str, Any]:
        """Return ``first`` (the lower edge of the first bar), ``width`` and ``counts`` of at most 256 bars."""
        edges, counts = self.bars()
        width = float(edges[1] - edges[0]) if counts.size else self.width
        return {"first": float(edges[0]), "width": width, "counts": counts.tolist()}
