"""What other extensions may use of the emulated light path."""

from libc.stdint cimport int64_t, uint64_t


cdef struct Change:         # from at_ns on
    int64_t at_ns
    double scale            # of the radius
    double shift_turns      # of the phase's mean step from word to word


cdef class Optics:
    cdef const unsigned char[::1] voa_memory, laser_memory
    cdef const unsigned char *voa       # NULL: no such device
    cdef const unsigned char *laser
    cdef uint64_t voa_seen, laser_seen
    cdef double voa_scale, laser_scale, shift_turns

    cdef bint next(self, Change *change) noexcept nogil
