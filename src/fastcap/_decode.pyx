"""Decode kernels: words to I, Q, M, radius, phase, sums and index rows, at the processor's best level.

What is computed, and how, is in _word.h; this module checks sizes and lets go of the GIL. Arrays are taken as
they are: C-contiguous, of the right type, not overlapping. `fastcap.words` looks after all that.
"""

from cpython.bytes cimport PyBytes_AsString, PyBytes_FromStringAndSize
from libc.stdint cimport int16_t, int32_t, int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memcpy, strerror

cdef extern from "_rows.h" nogil:
    ctypedef uint64_t fc_word
    enum: FC_NO_M
    enum: FC_BLOCK
    enum: FC_WORD
    struct fc_level:
        const char *name
    const fc_level fc_all_levels[3]
    int fc_count_levels()
    struct fc_carry:
        int64_t wraps
        int32_t last_m
    void fc_decode_shared(const fc_level *, const fc_word *, size_t, fc_carry *, double *, double *, int)
    void fc_split(const fc_level *, const fc_word *, size_t, int32_t *, int32_t *, int16_t *)
    struct fc_row:
        pass
    struct fc_rows:
        uint64_t blocks
        fc_carry carry
        uint32_t summed
    void fc_rows_begin(fc_rows *, int64_t, int32_t)
    size_t fc_rows_add(fc_rows *, const fc_level *, const uint8_t *, size_t)
    uint32_t fc_rows_begun(const fc_rows *)
    fc_row fc_rows_row(const fc_rows *)
    fc_row fc_rows_end(fc_rows *, const fc_level *)
    bint fc_rows_valid(const fc_rows *)

cdef extern from "_fetch.h" nogil:
    struct fc_file:
        int fd
        int64_t offset
        int swapped
    int FC_SHORT
    int fc_decode_file(const fc_level *, const fc_file *, size_t, fc_carry *, double *, double *, int, int64_t, size_t *)

NO_M = FC_NO_M  # `last_m` before a file's first word
BLOCK_WORDS = FC_BLOCK
ROW_BYTES = sizeof(fc_row)
cdef int64_t LOOK_NS = 100_000_000  # between two looks at signals
cdef int LEVELS = fc_count_levels()
cdef const fc_level *best = &fc_all_levels[LEVELS - 1]


def levels():
    """Return the names of the instruction levels that this machine has, the best last."""
    return tuple(fc_all_levels[k].name.decode() for k in range(LEVELS))


def use_level(str name):
    """Decode with the instructions of one level from now on, in the whole process; for tests and comparisons.

    Raises
    ------
    ValueError
        This machine has no such level.
    """
    global best
    cdef int k
    for k in range(LEVELS):
        if fc_all_levels[k].name.decode() == name:
            best = &fc_all_levels[k]
            return
    raise ValueError(f"no instruction level {name!r} on this machine; there are {', '.join(levels())}")


def decode(const uint64_t[::1] words, double[::1] phase, double[::1] radius, int64_t wraps, int32_t last_m,
           int threads=1):
    """Fill phase (turns, unwrapped) and radius, where they are given; return the rollover state after ``words``.

    Without ``phase`` and ``radius`` that state is all that is computed; with ``radius`` alone it stays.

    Raises
    ------
    ValueError
        Sizes or types differ, ``threads`` is less than 1, or ``last_m`` is none. Nothing was changed.
    """
    cdef fc_carry carry = carry_of(wraps, last_m)
    cdef size_t n = words.shape[0]
    cdef const fc_word *w = <const fc_word *> &words[0]
    cdef double *p = NULL
    cdef double *r = NULL
    if phase is not None:
        check_size("phase", phase.shape[0], n)
        p = &phase[0]
    if radius is not None:
        check_size("radius", radius.shape[0], n)
        r = &radius[0]
    if threads < 1:
        raise ValueError(f"threads is {threads}; give at least 1")
    with nogil:
        fc_decode_shared(best, w, n, &carry, p, r, threads)
    return carry.wraps, carry.last_m


def decode_file(int fd, int64_t offset, bint swapped, size_t n, double[::1] phase, double[::1] radius,
                int64_t wraps, int32_t last_m, int threads=1):
    """Read words of a file and decode them, as `decode` would; stop after about a tenth of a second.

    Parameters
    ----------
    fd, offset : int
        The file, open for reading, and the byte at which the words begin.
    swapped : bool
        Their bytes lie in the order that is not this machine's.
    n : int
        How many words.

    Returns
    -------
    done, wraps, last_m : int
        How many were done, at least one of ``n`` > 0, and the rollover state after them.

    Raises
    ------
    OSError
        The file cannot be read. Outputs hold nothing of use.
    EOFError
        It ends before the words do; likewise.
    ValueError
        As of `decode`. Nothing was changed.
    """
    cdef fc_carry carry = carry_of(wraps, last_m)
    cdef fc_file file
    cdef double *p = NULL
    cdef double *r = NULL
    cdef size_t done
    cdef int failed
    file.fd, file.offset, file.swapped = fd, offset, swapped
    if phase is not None:
        check_size("phase", phase.shape[0], n)
        p = &phase[0]
    if radius is not None:
        check_size("radius", radius.shape[0], n)
        r = &radius[0]
    if threads < 1:
        raise ValueError(f"threads is {threads}; give at least 1")
    with nogil:
        failed = fc_decode_file(best, &file, n, &carry, p, r, threads, LOOK_NS, &done)
    if failed == FC_SHORT:
        raise EOFError("the file ends before the words do")
    if failed:
        raise OSError(failed, strerror(failed).decode())
    return done, carry.wraps, carry.last_m


def split(const uint64_t[::1] words, int32_t[::1] i, int32_t[::1] q, int16_t[::1] m):
    """Fill I, Q and M, where they are given.

    Raises
    ------
    ValueError
        Sizes or types differ. Nothing was changed.
    """
    cdef size_t n = words.shape[0]
    cdef int32_t *i_out = NULL
    cdef int32_t *q_out = NULL
    cdef int16_t *m_out = NULL
    if i is not None:
        check_size("i", i.shape[0], n)
        i_out = &i[0]
    if q is not None:
        check_size("q", q.shape[0], n)
        q_out = &q[0]
    if m is not None:
        check_size("m", m.shape[0], n)
        m_out = &m[0]
    with nogil:
        fc_split(best, <const fc_word *> &words[0], n, i_out, q_out, m_out)


def index_rows(const uint64_t[::1] words, uint8_t[::1] rows, int64_t wraps, int32_t last_m):
    """Fill ``rows`` with the index rows of ``words``, which begin where a block does; return the state after.

    Raises
    ------
    ValueError
        ``rows`` is not of the size of as many rows, or ``last_m`` is none. Nothing was changed.
    """
    cdef fc_rows state
    cdef fc_row row
    cdef size_t left = words.shape[0] * FC_WORD, done
    cdef const uint8_t *data = <const uint8_t *> &words[0]
    cdef uint8_t *out = &rows[0]
    cdef fc_carry carry = carry_of(wraps, last_m)
    check_size("rows", rows.shape[0], (words.shape[0] + FC_BLOCK - 1) // FC_BLOCK * sizeof(fc_row))
    with nogil:
        fc_rows_begin(&state, carry.wraps, carry.last_m)
        while left:
            state.summed = 0
            done = fc_rows_add(&state, best, data, left)
            row = fc_rows_end(&state, best)
            memcpy(out, &row, sizeof(fc_row))
            out += sizeof(fc_row)
            data += done
            left -= done
    return state.carry.wraps, state.carry.last_m


cdef class IndexBuilder:
    """Makes index rows of a file's data while they pass by, in pieces of any size.

    Parameters
    ----------
    state : bytes
        That of the builder before, if this one goes on; without it, data begin.
    wraps : int
        Rollovers before they do.

    Attributes
    ----------
    words : int
        Words of which all bytes came.

    Raises
    ------
    ValueError
        ``state`` is none, or of another version.
    """

    cdef fc_rows rows
    cdef bytearray done

    def __cinit__(self, bytes state=b"", int64_t wraps=0):
        self.done = bytearray()
        fc_rows_begin(&self.rows, wraps, FC_NO_M)
        if state:
            if len(state) == sizeof(fc_rows):
                memcpy(&self.rows, PyBytes_AsString(state), sizeof(fc_rows))
            if len(state) != sizeof(fc_rows) or not fc_rows_valid(&self.rows):
                raise ValueError(f"{len(state)} bytes are no state of this version's index builder; begin anew")

    @property
    def words(self):
        return self.rows.blocks * FC_BLOCK + fc_rows_begun(&self.rows)

    def add(self, const uint8_t[::1] data):
        """Take in the next bytes of the data, behind the header; a word may come in two pieces."""
        self.take(&data[0], data.shape[0])

    def add_at(self, size_t address, size_t nbytes):
        """Take in the next bytes from memory that the caller keeps mapped until this returns."""
        self.take(<const uint8_t *> address, nbytes)

    cdef int take(self, const uint8_t *data, size_t nbytes) except -1:
        cdef fc_row row
        cdef size_t taken
        while nbytes:
            with nogil:
                taken = fc_rows_add(&self.rows, best, data, nbytes)
            data += taken
            nbytes -= taken
            if self.rows.summed == FC_BLOCK:
                row = fc_rows_row(&self.rows)
                self.done += PyBytes_FromStringAndSize(<const char *> &row, sizeof(fc_row))
                self.rows.blocks += 1
                self.rows.summed = 0
        return 0

    def take_rows(self):
        """Return the rows of the blocks completed since the last call, and forget them."""
        rows = bytes(self.done)
        self.done.clear()
        return rows

    def last_row(self):
        """Return the row of the block begun, as if the data ended here; nothing if no word of it came."""
        cdef fc_rows ended = self.rows
        cdef fc_row row
        if not fc_rows_begun(&ended):
            return b""
        row = fc_rows_end(&ended, best)
        return PyBytes_FromStringAndSize(<const char *> &row, sizeof(fc_row))

    def state(self):
        """Return what a successor needs to go on from here, but for rows not yet taken; about 8 KiB."""
        return PyBytes_FromStringAndSize(<const char *> &self.rows, sizeof(fc_rows))


cdef fc_carry carry_of(int64_t wraps, int32_t last_m) except *:
    cdef fc_carry carry
    if not -0x8000 <= last_m < 0x8000 and last_m != FC_NO_M:
        raise ValueError(f"last_m is {last_m}; give an M, from -32768 to 32767, or {FC_NO_M} for none")
    carry.wraps, carry.last_m = wraps, last_m
    return carry


cdef int check_size(str name, size_t size, size_t wanted) except -1:
    if size != wanted:
        raise ValueError(f"{name} is of size {size}; give {wanted}")
    return 0
