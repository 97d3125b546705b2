# cython: cdivision=True
"""The emulated light path: what attenuator and laser do to the signal, read from their ties.

The layout of a tie is told in `fastcap.sim.tie`.
"""

cimport cython
from libc.math cimport cos
from libc.stdint cimport int64_t, uint64_t

from fastcap.sim._optics cimport Change

cdef extern from *:
    """
    #include <endian.h>
    #include <stdint.h>
    #include <string.h>

    /* Copy the entry in a slot. True if it is whole: the device may be writing it at this moment. */
    static int fc_tie_entry(const unsigned char *memory, uint64_t slot, uint64_t *number, int64_t *at_ns,
                            double *value)
    {
        const volatile uint64_t *entry = (const volatile uint64_t *)(memory + 4096 + slot * 32);
        uint64_t words[4];
        for (int k = 0; k < 4; k++)
            words[k] = le64toh(entry[k]);
        *number = words[0];
        *at_ns = (int64_t)words[1];
        memcpy(value, &words[2], 8);
        return words[0] && words[3] == ((words[0] * 0x9E3779B97F4A7C15u) ^ words[1] ^ words[2]);
    }
    """
    int fc_tie_entry(const unsigned char *memory, uint64_t slot, uint64_t *number, int64_t *at_ns,
                     double *value) noexcept nogil

cdef enum:
    SLOTS = 256

cdef double HALF_TURN = 3.14159265358979323846
cdef double DARK_V = 4.5        # where the attenuator lets least through
cdef double LEAK = 0.002        # what it lets through there
cdef double THRESHOLD_A = 0.030  # where the laser begins to shine
cdef double NOMINAL_A = 0.400   # where the radius is the one asked for
cdef double SHIFT_PER_A = 0.01  # turns a word: 20 kHz/A at 2 MHz


cpdef double transmission(double volts) noexcept nogil:
    """Return what part of the radius the attenuator lets through (Malus, and a leak)."""
    cdef double c = cos(HALF_TURN / 2 * volts / DARK_V)
    return LEAK + (1 - LEAK) * c * c


cpdef double gain(double amps) noexcept nogil:
    """Return the radius at a laser current, as a part of that at the nominal one."""
    return max(0.0, (amps - THRESHOLD_A) / (NOMINAL_A - THRESHOLD_A))


cpdef double shift(double amps) noexcept nogil:
    """Return how much faster the phase moves at a laser current than at the nominal one, in turns a word."""
    return SHIFT_PER_A * (amps - NOMINAL_A)


@cython.final
cdef class Optics:
    """The attenuator's and the laser's ties, followed; without a device the light passes unchanged.

    Parameters
    ----------
    voa, laser : buffer of tie memory, or None
        Kept as long as this lives.
    """

    def __cinit__(self, voa=None, laser=None):
        cdef Change change
        self.voa_scale, self.laser_scale = 1, 1
        if voa is not None:
            self.voa_memory = voa
            self.voa = &self.voa_memory[0]
        if laser is not None:
            self.laser_memory = laser
            self.laser = &self.laser_memory[0]
            self.laser_scale, self.shift_turns = gain(0), shift(0)
        while self.next(&change):
            pass

    @property
    def scale(self):
        """The radius now, as a part of the one asked for."""
        return self.voa_scale * self.laser_scale

    cdef bint next(self, Change *change) noexcept nogil:
        """Tell the next thing that a device did; False: nothing more happened so far."""
        cdef double value
        if self.voa and step(self.voa, &self.voa_seen, &change.at_ns, &value):
            self.voa_scale = transmission(value)
        elif self.laser and step(self.laser, &self.laser_seen, &change.at_ns, &value):
            self.laser_scale, self.shift_turns = gain(value), shift(value)
        else:
            return False
        change.scale = self.voa_scale * self.laser_scale
        change.shift_turns = self.shift_turns
        return True


cdef bint step(const unsigned char *memory, uint64_t *seen, int64_t *at_ns, double *value) noexcept nogil:
    """Read the entry after ``seen``, or the newest if that one was overwritten; True if there is one."""
    cdef uint64_t number = 0, newest = 0, slot, newest_slot = (seen[0] + 1) % SLOTS
    if seen[0] and fc_tie_entry(memory, newest_slot, &number, at_ns, value) and number == seen[0] + 1:
        seen[0] = number
        return True
    if seen[0] and number < seen[0] + 1:
        return False
    for slot in range(SLOTS):
        if fc_tie_entry(memory, slot, &number, at_ns, value) and number > newest:
            newest, newest_slot = number, slot
    if newest <= seen[0]:
        return False
    if not fc_tie_entry(memory, newest_slot, &number, at_ns, value) or number < newest:
        return False
    seen[0] = number
    return True
