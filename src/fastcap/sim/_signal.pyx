# cython: cdivision=True
"""The emulated board's signal: a beat that drifts and walks, as data words.

A word is a pure function of the parameters and its index. It is made in segments of 64: the phase is exact at
a segment's start and moves evenly inside, so words that were lost cost next to nothing.
"""

cimport cython
from libc.math cimport atan2, cos, fabs, floor, lrint, sin
from libc.stdint cimport int64_t, uint64_t
from libc.string cimport memcpy

from fastcap.sim._optics cimport Optics

cdef extern from "endian.h" nogil:
    uint64_t htole64(uint64_t)

cdef enum:
    MAX_COUNT = 8388607     # largest I or Q

cdef double TURN = 6.283185307179586476925

SEGMENT_WORDS = SEGMENT  # the random walk steps once in so many words


cdef inline double gauss(uint64_t key) noexcept nogil:
    """Return a number of mean 0 and variance 1, close to normal: the sum of four uniform ones."""
    cdef uint64_t x = mix(key)
    cdef int64_t total = (x & 0xFFFF) + (x >> 16 & 0xFFFF) + (x >> 32 & 0xFFFF) + (x >> 48)
    return <double>(total - 131070) * (1.0 / 37837.227)


cdef inline uint64_t encode(double f, int64_t turns, double i, double q) noexcept nogil:
    """Encode I, Q and the phase ``turns + f``. M follows from the rounded I and Q, as when decoding."""
    cdef double whole = floor(f + 0.5)
    cdef int64_t ii = lrint(i), qq = lrint(q), correction = 0
    ii = MAX_COUNT if ii > MAX_COUNT else -MAX_COUNT if ii < -MAX_COUNT else ii
    qq = MAX_COUNT if qq > MAX_COUNT else -MAX_COUNT if qq < -MAX_COUNT else qq
    f -= whole
    # With x = -atan2(I, Q)/2pi the correction is rint(x - f); it needs no atan2 where the signs decide it.
    if qq < 0 and fabs(f) > 0.25:
        correction = <int64_t>(f < 0) - <int64_t>(ii >= 0)
    elif not (qq > 0 and fabs(f) < 0.25):
        correction = lrint(-atan2(<double>ii, <double>qq) / TURN - f)
    cdef uint64_t m = <uint64_t>(correction - turns - <int64_t>whole)
    return htole64(m << 48 | (<uint64_t>ii & 0xFFFFFF) << 24 | (<uint64_t>qq & 0xFFFFFF))


@cython.final
cdef class Signal:
    """The signal and where its phase has got to; indices asked of it never go back.

    Parameters
    ----------
    seed : int
        Of noise and walk.
    radius, noise : float
        ADC counts; ``noise`` is the standard deviation of I and of Q. ``radius`` may be set at any time and
        holds from the next segment on.
    step_turns : float
        Mean step of the phase from word to word.
    walk_turns : float
        Standard deviation of the random walk's step per segment.
    drift_turns, drift_words : float
        Amplitude and period of a slow sine.
    transient_words : int
        Words at the start with a radius that climbs from a quarter, and eight times the noise.
    optics : Optics, optional
        What the light passes; whoever asks for words tells `follow` what happens there.
    """

    def __cinit__(self, *, uint64_t seed, double radius, double noise, double step_turns, double walk_turns,
                  double drift_turns, double drift_words, uint64_t transient_words, Optics optics=None):
        self.seed = mix(seed + spread(1))
        self.radius, self.noise = radius, noise
        self.step_turns, self.walk_turns = step_turns, walk_turns
        self.drift_turns, self.drift_words = drift_turns, drift_words
        self.transient_words = transient_words
        self.optics = optics
        self.light.scale = 1
        if optics is not None:
            self.light.scale, self.light.shift_turns = optics.scale, optics.shift_turns

    cdef void fill(self, uint64_t first, uint64_t count, uint64_t *out) noexcept nogil:
        """Write words ``first`` and following."""
        cdef uint64_t offset, n
        while count:
            offset = first % SEGMENT
            if self.ready != first // SEGMENT + 1:
                self.advance(first // SEGMENT)
                self.make_segment()
            n = min(count, SEGMENT - offset)
            memcpy(out, &self.words[offset], n * 8)
            out += n
            first += n
            count -= n

    cdef void follow(self, uint64_t first, double scale, double shift_turns) noexcept nogil:
        """Let the light be another from word ``first`` on, which is not before words already given out.

        Of more changes than there is room for, the last before the newest is given up.
        """
        cdef Light *change
        if self.changes_count:
            change = &self.changes[(self.changes_first + self.changes_count - 1) % CHANGES]
            first = max(first, change.first)
        if self.changes_count < CHANGES:
            change = &self.changes[(self.changes_first + self.changes_count) % CHANGES]
            self.changes_count += 1
        change.first, change.scale, change.shift_turns = first, scale, shift_turns
        self.ready = 0  # the segment at hand may have to be made again

    cdef double move(self) noexcept nogil:
        """Return how far the phase moves in the current segment: beat, drift and walk."""
        cdef double here = <double>(self.segment * SEGMENT) / self.drift_words
        cdef double there = <double>((self.segment + 1) * SEGMENT) / self.drift_words
        cdef double drift = sin(TURN * (there - floor(there))) - sin(TURN * (here - floor(here)))
        cdef double walk = gauss(~self.seed + spread(self.segment))
        return (self.step_turns + self.light.shift_turns) * SEGMENT + self.drift_turns * drift + self.walk_turns * walk

    cdef void advance(self, uint64_t segment) noexcept nogil:
        """Move the phase on to the start of a later segment."""
        cdef double whole
        while self.segment < segment:
            self.frac += self.move()
            whole = floor(self.frac + 0.5)
            self.frac -= whole
            self.turns += <int64_t>whole
            self.segment += 1
            self.pass_changes()

    cdef void pass_changes(self) noexcept nogil:
        """Take over the changes that lie at or before the segment's first word."""
        while self.changes_count and self.changes[self.changes_first].first <= self.segment * SEGMENT:
            self.light = self.changes[self.changes_first]
            self.changes_first = (self.changes_first + 1) % CHANGES
            self.changes_count -= 1

    cdef void make_segment(self) noexcept nogil:
        """Make the current segment; sine and cosine by rotation from its exact start."""
        cdef double slope = self.move() / SEGMENT
        cdef double c = cos(TURN * self.frac), s = sin(TURN * self.frac)
        cdef double c_step = cos(TURN * slope), s_step = sin(TURN * slope), c_old
        cdef double radius = self.radius, noise = self.noise, scale = self.light.scale
        cdef uint64_t j, k, key, passed = 0
        cdef Light *change
        for j in range(SEGMENT):
            k = self.segment * SEGMENT + j
            if k < self.transient_words:
                radius = self.radius * (0.25 + 0.75 * <double>k / <double>self.transient_words)
                noise = 8 * self.noise
            else:
                radius, noise = self.radius, self.noise
            while passed < self.changes_count:
                change = &self.changes[(self.changes_first + passed) % CHANGES]
                if change.first > k:
                    break
                scale = change.scale
                passed += 1
            radius *= scale
            key = self.seed + spread(2 * k)
            self.words[j] = encode(
                self.frac + slope * <double>j, self.turns,
                noise * gauss(key) - radius * s, noise * gauss(key + spread(1)) + radius * c,
            )
            c_old = c
            c = c * c_step - s * s_step
            s = s * c_step + c_old * s_step
        self.ready = self.segment + 1
