"""Moments, and counting into bins, in C: see `_moments.h`."""

from libc.stdint cimport int32_t, int64_t, uint64_t

cdef extern from "_moments.h":
    const int FC_ORDER

    ctypedef struct fc_pair:
        double high
        double low

    ctypedef struct fc_moments:
        double count
        double least
        double greatest
        fc_pair mean
        fc_pair m[7]

    fc_pair fc_add(fc_pair a, fc_pair b) noexcept nogil
    void fc_moments_clear(fc_moments *s) noexcept nogil
    void fc_moments_merge(fc_moments *a, const fc_moments *b) noexcept nogil
    void fc_moments_update(fc_moments *s, const double *x, size_t n) noexcept nogil
    void fc_i_doubles(const uint64_t *words, size_t n, double *out) noexcept nogil
    void fc_q_doubles(const uint64_t *words, size_t n, double *out) noexcept nogil
    void fc_count(const double *x, size_t n, double per_width, double first, int64_t *bins, size_t size) noexcept nogil
    void fc_count_field(const uint64_t *words, size_t n, int down, int shift, int32_t first, int64_t *bins,
                        size_t size) noexcept nogil


cdef class Moments:
    """Count, mean, extremes and central moments 2 to 6 of all values so far.

    Attributes
    ----------
    count : int
    mean, least, greatest : float
    """

    cdef fc_moments s

    def __cinit__(self):
        fc_moments_clear(&self.s)

    @property
    def count(self):
        return int(self.s.count)

    @property
    def mean(self):
        return self.s.mean.high + self.s.mean.low

    @property
    def least(self):
        return self.s.least

    @property
    def greatest(self):
        return self.s.greatest

    def central(self, int order):
        """Return the sum of the powers, ``order`` 2 to 6, of deviations from the mean."""
        if not 2 <= order <= FC_ORDER:
            raise ValueError(f"moment of order {order}: 2 to {FC_ORDER}")
        return self.s.m[order].high + self.s.m[order].low

    def update(self, const double[::1] values not None):
        """Take in values; they are not kept. The GIL is released."""
        if values.shape[0]:
            with nogil:
                fc_moments_update(&self.s, &values[0], values.shape[0])

    def merge(self, Moments other not None):
        """Take in all that ``other`` has seen; ``other`` is unchanged."""
        cdef fc_moments theirs = other.s
        fc_moments_merge(&self.s, &theirs)

    def shift(self, double by):
        """Add ``by`` to every value so far."""
        cdef fc_pair step
        step.high, step.low = by, 0.0
        if self.s.count:
            self.s.mean = fc_add(self.s.mean, step)
            self.s.least += by
            self.s.greatest += by

    def __getstate__(self):
        cdef int p
        pairs = [(self.s.m[p].high, self.s.m[p].low) for p in range(2, FC_ORDER + 1)]
        return self.s.count, self.s.least, self.s.greatest, (self.s.mean.high, self.s.mean.low), pairs

    def __setstate__(self, state):
        cdef int p
        self.s.count, self.s.least, self.s.greatest, mean, pairs = state
        self.s.mean.high, self.s.mean.low = mean
        for p in range(2, FC_ORDER + 1):
            self.s.m[p].high, self.s.m[p].low = pairs[p - 2]

    def __reduce__(self):
        return Moments, (), self.__getstate__()


def i_doubles(const uint64_t[::1] words not None, double[::1] out not None):
    """Fill ``out`` with I of ``words``. The GIL is released."""
    _same_size(words.shape[0], out.shape[0])
    if words.shape[0]:
        with nogil:
            fc_i_doubles(&words[0], words.shape[0], &out[0])


def q_doubles(const uint64_t[::1] words not None, double[::1] out not None):
    """Fill ``out`` with Q of ``words``. The GIL is released."""
    _same_size(words.shape[0], out.shape[0])
    if words.shape[0]:
        with nogil:
            fc_q_doubles(&words[0], words.shape[0], &out[0])


cdef int _same_size(Py_ssize_t words, Py_ssize_t out) except -1:
    if words != out:
        raise ValueError(f"{words} words do not fit an array of {out}")
    return 0


def count(const double[::1] values not None, double per_width, double first, int64_t[::1] bins not None):
    """Count each value in bin ``floor(value * per_width) - first``.

    The last bin takes those that fall into no other, and what is not finite. The GIL is released.
    """
    if not 1 < bins.shape[0] < 2**31:
        raise ValueError(f"{bins.shape[0]} bins: 2 to {2**31 - 1}")
    if values.shape[0]:
        with nogil:
            fc_count(&values[0], values.shape[0], per_width, first, &bins[0], bins.shape[0] - 1)


def count_field(const uint64_t[::1] words not None, bint q, int shift, int32_t first, int64_t[::1] bins not None):
    """Count I of each word, or Q, in bin ``(I >> shift) - first``, as `count` does."""
    if not 1 < bins.shape[0] < 2**31:
        raise ValueError(f"{bins.shape[0]} bins: 2 to {2**31 - 1}")
    if not 0 <= shift < 24:
        raise ValueError(f"a shift by {shift} bits: 0 to 23")
    if words.shape[0]:
        with nogil:
            fc_count_field(&words[0], words.shape[0], 0 if q else 24, shift, first, &bins[0], bins.shape[0] - 1)
