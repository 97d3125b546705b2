"""Where words begin in bytes, and where that changes: `_align.h` for Python. What it means is in `fastcap.slips`."""

from libc.stdint cimport int8_t, uint8_t, uint64_t
from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize

cdef extern from "_align.h" nogil:
    const int FC_RUN, FC_RUN_BYTES, FC_UNKNOWN

    struct fc_place:
        uint64_t low
        uint64_t word
        uint64_t high

    int fc_alignment(const uint8_t *data)
    fc_place fc_place_of(const uint8_t *data, uint64_t words, int old, int later)

RUN_WORDS = FC_RUN
RUN_BYTES = FC_RUN_BYTES
UNKNOWN = FC_UNKNOWN


def alignments(const uint8_t[::1] data, uint64_t step_bytes=FC_RUN * 8):
    """Return at which byte words begin, run by run.

    Parameters
    ----------
    data : (n,) uint8
        From the beginning of a plain word on. Read only, not kept.
    step_bytes : int
        From a run to the next; a multiple of 8.

    Returns
    -------
    bytes
        One a run that lies within ``data``: 0 to 7, or 255 where it cannot be told.

    Raises
    ------
    ValueError
        ``step_bytes`` is no multiple of 8 above 0.
    """
    cdef uint64_t size = data.shape[0], k, runs
    cdef bytes found
    cdef char *out
    if not step_bytes or step_bytes % 8:
        raise ValueError(f"step_bytes is {step_bytes}; give a multiple of 8")
    runs = (size - FC_RUN_BYTES) // step_bytes + 1 if size >= FC_RUN_BYTES else 0
    found = PyBytes_FromStringAndSize(NULL, runs)
    out = PyBytes_AsString(found)
    with nogil:
        for k in range(runs):
            out[k] = <char> fc_alignment(&data[k * step_bytes])
    return found


def place(const uint8_t[::1] data, int old, int new):
    """Return how many whole words stand before a change of alignment in ``data``: (at least, likely, at most).

    Parameters
    ----------
    data : (n,) uint8
        From the beginning of a plain word on. Its first run is of alignment ``old``, its last of ``new``.
    old, new : int
        At which byte of each eight words begin: 0 to 7.

    Raises
    ------
    ValueError
        ``data`` is shorter than two runs, or an alignment is none or the same.
    """
    cdef uint64_t words
    cdef fc_place found
    if data.shape[0] < 2 * FC_RUN_BYTES or not (0 <= old < 8 and 0 <= new < 8) or old == new:
        raise ValueError(f"{data.shape[0]} bytes from alignment {old} to {new} hold no slip that could be placed")
    words = data.shape[0] // 8 - 2
    with nogil:
        found = fc_place_of(&data[0], words, old, new if new > old else new + 8)
    return found.low, found.word, found.high
