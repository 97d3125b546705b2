"""What other extensions may use of the signal."""

from libc.stdint cimport int64_t, uint64_t

from fastcap.sim._optics cimport Optics

cdef enum:
    SEGMENT = 64            # words between two exact evaluations of the phase
    CHANGES = 1024          # steps of the light that can be ahead of the words made


cdef struct Light:          # from a word on
    uint64_t first
    double scale            # of the radius
    double shift_turns      # of the phase's step; counts from the next segment on


cdef inline uint64_t mix(uint64_t x) noexcept nogil:
    """Hash 64 bits (the finaliser of splitmix64)."""
    x = (x ^ (x >> 30)) * <uint64_t>0xBF58476D1CE4E5B9
    x = (x ^ (x >> 27)) * <uint64_t>0x94D049BB133111EB
    return x ^ (x >> 31)


cdef inline uint64_t spread(uint64_t n) noexcept nogil:
    """Map consecutive numbers to ones far apart, to be mixed."""
    return n * <uint64_t>0x9E3779B97F4A7C15


cdef class Signal:
    cdef public double radius
    cdef double noise, step_turns, walk_turns, drift_turns, drift_words
    cdef uint64_t seed, transient_words
    cdef uint64_t segment   # turns and frac are the phase at its first word
    cdef int64_t turns
    cdef double frac
    cdef uint64_t ready     # 1 + the segment that words holds
    cdef uint64_t words[SEGMENT]
    cdef readonly Optics optics
    cdef Light light        # at the segment's first word
    cdef Light changes[CHANGES]
    cdef uint64_t changes_first, changes_count

    cdef void fill(self, uint64_t first, uint64_t count, uint64_t *out) noexcept nogil
    cdef void follow(self, uint64_t first, double scale, double shift_turns) noexcept nogil
    cdef double move(self) noexcept nogil
    cdef void pass_changes(self) noexcept nogil
    cdef void advance(self, uint64_t segment) noexcept nogil
    cdef void make_segment(self) noexcept nogil
